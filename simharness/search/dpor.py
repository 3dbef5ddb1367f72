"""Optimal dynamic partial order reduction: each ordering exactly once.

Follows Abdulla, Aronis, Jonsson, Sagonas: Optimal dynamic partial order reduction (POPL 2014), algorithm 2, in the form of the
JACM 2017 article (Source sets), section 7. At each depth of the current execution there are a *sleep set* (choices that
need not be taken there, with their footprints) and the rest of a *wakeup tree* (the sequences still to be tried there,
besides the current one). Each race of a maximal execution is reversed: the reversal `v` is inserted at the depth of
its first step, unless a sleeping choice is a weak initial of it, or the tree covers it.

With daemons, source sets without wakeup sequences are used (section 5), since wakeup trees need exact footprints: a daemon conflicts
with the last step of an actor, and whether a step is the last is known only after it. The same holds where steps grow
(`Learned.late`): what the reversing step does without the other step is known only if it has been made there.

Departures: `simharness.search.races` defines the races of blocked operations, of state-dependent operations and of the clock; data
choices are branches whose keys differ only in the alternative. Each execution is searched for races among all its steps, not only the
new ones, and `v` is the whole of notdep: cheaper variants lose orderings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from simharness.engine.actors import SHIFT
from simharness.engine.kernel import Kernel
from simharness.engine.liveness import whose_turn
from simharness.engine.operations import conflict
from simharness.engine.plan import ABANDON
from simharness.errors import HarnessBug
from simharness.search.lateness import Rest
from simharness.search.races import Races
from simharness.search.strategy import Expected

Event = tuple[int, int, int]
"""(key, reads, writes)"""


class WakeupNode:
    """A node of a wakeup tree: a step to take, and the branches below it; `taken`: what lies below is explored elsewhere."""

    __slots__ = ("branches", "key", "reads", "taken", "writes")

    def __init__(self, key: int, reads: int, writes: int) -> None:
        self.key = key
        self.reads = reads
        self.writes = writes
        self.branches: list[WakeupNode] = []
        self.taken = False


class Dpor:
    """The search; lists are indexed by depth, which is the number of steps taken before.

    Attributes:
        plan: the choices with which the next execution starts; None: all orderings have been run.
        known: the footprints of its steps, but for the last.
        sleep, left: the sleep set, and the rest of the wakeup tree, at each depth.
        ahead: the wakeup tree below the plan.
        root: the depth above which nothing is explored: the first so many choices stay the same.
        last: the footprint that the last step of the plan is expected to have.
        fresh: the plan does not go on from the execution before.
    """

    exhausts = grows = counted = True
    root = 0

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.races = Races(kernel)
        self.plan: list[int] | None = []
        self.known: Expected = ((), ())
        self.sleep: list[dict[int, tuple[int, int]]] = []
        self.left: list[list[WakeupNode]] = []
        self.ahead: list[WakeupNode] = []
        self.last = 0, 0
        self.fresh = False

    def begin(self) -> Sequence[int] | None:
        """Return the next plan: a prefix of the previous execution, and a branch off it."""
        return self.plan

    def expected(self) -> Expected:
        """Return the footprints of the plan's steps, from the previous execution."""
        return self.known

    def choose(self, enabled: list[int]) -> int:
        """Follow the wakeup tree; beyond it, continue with the same actor unless it is asleep."""
        kernel = self.kernel
        n = kernel.record.n
        asleep: dict[int, tuple[int, int]] = {}
        if n and self.sleep[n - 1]:
            reads, writes = kernel.record.reads[n - 1], kernel.record.writes[n - 1]
            either = reads | writes
            asleep = {
                key: footprint for key, footprint in self.sleep[n - 1].items() if not (either & footprint[1] or writes & footprint[0])
            }
            if enabled == [kernel.movers.clock_key]:
                asleep.pop(enabled[0], None)  # it is free now, and was late when it was explored before
        self.sleep.append(asleep)
        branches = self.ahead
        if branches:
            if asleep:
                branches = [branch for branch in branches if branch.key not in asleep]
            self.left.append(branches[1:])
            if not branches:
                return ABANDON
            branch = branches[0]
            self.ahead = branch.branches
            if branch.key not in enabled:
                raise HarnessBug(f"step {n + 1}: a wakeup sequence asks for a choice that is not enabled")
            return branch.key
        self.left.append([])
        current = kernel.actor
        if kernel.fair and (turn := whose_turn(kernel, enabled)) is not None and turn not in asleep:
            return turn
        if current is not None and not asleep and current.key in enabled:
            return current.key
        for key in enabled if kernel.faults is None else enabled[: kernel.movers.peaceful]:
            if key not in asleep:
                return key
        return self._only_faults([key for key in enabled[kernel.movers.peaceful :] if key not in asleep])

    def _only_faults(self, keys: list[int]) -> int:
        """Choose where only faults are awake: with wakeup sequences nothing is left to explore; without, each of these faults."""
        if not keys or self.kernel.faults is None or not self.kernel.learned.daemons:
            return ABANDON
        self.left[-1] = [WakeupNode(key, 0, 0) for key in keys[1:]]
        return keys[0]

    def end(self) -> None:
        """Insert the reversals of the execution's races, and go back to the deepest step with something left to try."""
        kernel = self.kernel
        assert self.plan is not None
        self.races.update(0 if self.fresh else max(0, len(self.plan) - 1))
        self.fresh = False
        self._reverse_races()
        keys, reads, writes = kernel.record.keys, kernel.record.reads, kernel.record.writes
        depth = kernel.record.n
        del self.left[depth:], self.sleep[depth:]
        while depth > self.root:
            depth -= 1
            self.sleep[depth][keys[depth]] = reads[depth], writes[depth]
            while self.left[depth]:
                branch = self.left[depth].pop(0)
                if branch.key in self.sleep[depth]:
                    continue
                self.ahead = branch.branches
                self.plan = [*keys[:depth], branch.key]
                self.known = reads, writes
                self.last = branch.reads, branch.writes
                del self.left[depth + 1 :], self.sleep[depth + 1 :]
                return
        self.plan = None

    def pending(self) -> Sequence[int] | None:
        """Return how many branches are left at each depth, without those that are now asleep."""
        return [sum(branch.key not in asleep for branch in left) for left, asleep in zip(self.left, self.sleep, strict=True)]

    def words(self, executions: int, verified: bool) -> Sequence[str]:
        """Say that each ordering has been run."""
        return [f"all {executions} orderings", "each once, up to swapping independent steps"] if verified else [f"{executions} executions"]

    def _reverse_races(self) -> None:
        races, kernel = self.races, self.kernel
        exact = not (kernel.learned.daemons or kernel.learned.late)
        independent: dict[int, Rest] = {}
        for group, rests_on in kernel.budget.checked(races.all()):
            done: list[int] = []
            for position, (i, key, reads, writes) in enumerate(group):
                rest = independent.get(i)
                if rest is None:
                    rest = independent[i] = races.rest(i)
                if kernel.faults is not None and not races.affordable(i, rest.steps, key):
                    continue
                event = races.lateness.reversing(i, rest, rests_on, (key, reads, writes), races.steps_of)
                if event is None:
                    continue
                covered = True
                for steps in races.lateness.repeated(rest, event):
                    verdict = self._covered(i, steps, event, rests_on) if exact else "no"
                    covered = covered and verdict == "for good"
                    if verdict == "no":
                        self.reverse(i, self._sequence(steps, *event))
                if covered:
                    done.append(position)
            for position in reversed(done):
                del group[position]

    def _covered(self, i: int, rest: int, last: Event, rests_on: int) -> str:
        """Whether a sleeping choice at depth i is a weak initial of the reversal: "no", "now" or "for good".

        "For good" means as long as the first `rests_on` steps stay the same.
        """
        sleeping = self.sleep[i]
        if not sleeping:
            return "no"
        races, kernel = self.races, self.kernel
        before, steps_of = races.before, races.steps_of
        key, reads, writes = last
        mover = key >> SHIFT
        union: tuple[int, int] | None = None
        for asleep, (asleep_reads, asleep_writes) in sleeping.items():
            index = asleep >> SHIFT
            own = steps_of.get(index, 0) & rest
            if own:
                first = (own & -own).bit_length() - 1
                if kernel.record.keys[first] == asleep and not before[first] & rest:
                    return "for good" if first < rests_on else "now"
                continue
            if index != mover and kernel.movers.may_stay_out(asleep):
                continue  # orderings after it do not cover those without it
            if union is None:
                rest_reads, rest_writes = union = self._union(rest)
            either = asleep_reads | asleep_writes
            if asleep_writes & rest_reads or either & rest_writes:
                continue
            if index == mover:
                if asleep == key:
                    return "now"
            elif not (asleep_writes & reads or either & writes):
                return "now"
        return "no"

    def _union(self, steps: int) -> tuple[int, int]:
        all_reads, all_writes = self.kernel.record.reads, self.kernel.record.writes
        reads = writes = 0
        while steps:
            j = steps.bit_length() - 1
            reads |= all_reads[j]
            writes |= all_writes[j]
            steps ^= 1 << j
        return reads, writes

    def _sequence(self, rest: int, key: int, reads: int, writes: int) -> list[Event]:
        kernel = self.kernel
        keys, all_reads, all_writes = kernel.record.keys, kernel.record.reads, kernel.record.writes
        events: list[Event] = []
        while rest:
            low = rest & -rest
            j = low.bit_length() - 1
            events.append((keys[j], all_reads[j], all_writes[j]))
            rest ^= low
        events.append((key, reads, writes))
        return events

    def reverse(self, i: int, events: list[Event]) -> None:
        """Plan a reversal at depth i."""
        add(self.kernel, self.sleep[i], self.left[i], events)


def add(kernel: Kernel, sleeping: Mapping[int, tuple[int, int]], branches: list[WakeupNode], events: list[Event]) -> None:
    """Plan a reversal at a depth with this sleep set and this wakeup tree, in the way that the known facts allow."""
    if kernel.learned.daemons or kernel.learned.late:
        _add_source(sleeping, branches, events, kernel.learned.late)
    else:
        _insert(branches, events, kernel.movers.may_stay_out)


def _add_source(sleeping: Mapping[int, tuple[int, int]], branches: list[WakeupNode], events: list[Event], late: bool) -> None:
    """Plan an initial of the reversal, unless an initial is planned or was tried: source sets (article, section 5)."""
    tried = {branch.key for branch in branches}
    tried.update(sleeping)
    last = len(events) - 1
    for position, (key, reads, writes) in enumerate(events):
        if key not in tried:
            continue
        if position and position == last and late:
            if key not in sleeping:
                continue  # its footprint after the others is known only from where it was made before them
            reads, writes = sleeping[key]  # noqa: PLW2901
        if not any(conflict(reads, writes, *earlier[1:]) for earlier in events[:position]):
            return
    branches.append(WakeupNode(*events[0]))


def _insert(branches: list[WakeupNode], events: list[Event], may_stay_out: Callable[[int], bool]) -> None:
    """Insert a sequence into a wakeup tree, below the leftmost branch that is a weak initial of it, if there is one."""
    while events:
        for branch in branches:
            left = _without(branch, events, may_stay_out(branch.key))
            if left is not None:
                if not branch.branches:
                    return
                events, branches = left, branch.branches
                break
        else:
            for key, reads, writes in events:
                branch = WakeupNode(key, reads, writes)
                branches.append(branch)
                branches = branch.branches
            return


def _without(branch: WakeupNode, events: list[Event], may_stay_out: bool) -> list[Event] | None:
    """Return the rest of the sequence after the branch's step, or None if that step is not a weak initial of it.

    A step that never has to happen must occur in the sequence.
    """
    wanted, reads, writes = branch.key, branch.reads, branch.writes
    if events[0][0] == wanted:
        return events[1:]
    mover = wanted >> SHIFT
    either = reads | writes
    for position, (key, other_reads, other_writes) in enumerate(events):
        if key >> SHIFT == mover:
            if key != wanted or (other_reads | other_writes, other_writes) != (either, writes):
                return None
            return events[:position] + events[position + 1 :]
        if writes & other_reads or either & other_writes:
            return None
    return None if may_stay_out else events
