"""Makes a counterexample short: the same failure with fewer context switches.

What the failure does not need is left out first: each fault in turn. Then two searches, cheapest first. *Merging* takes the failing
schedule and lets, at each switch in turn, the actor go on that was stopped there; what still fails the same way and is shorter is kept.
*Bounded search* then runs schedules in the order of their context switches, until those with fewer than the best one found are exhausted,
or the budget ends. It is the search of Musuvathi, Qadeer (Iterative context bounding, PLDI 2007) with another measure: they count
preemptions (switches away from an actor that could go on), a reader meets every switch. Beginnings that are equal up to swapping
independent neighbours lead to the same states, so one that was met before at no higher cost is not entered again; that is what
`Shrinker.run` means by "tried".

What comes after the failure is neither counted nor varied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import pairwise
from typing import Any, NamedTuple

from simharness.engine.actors import ALTERNATIVES, SHIFT, Failure
from simharness.engine.kernel import Kernel
from simharness.engine.operations import CLOCK
from simharness.engine.plan import ABANDON
from simharness.search.orderings import Exactly, Ordering, Orderings
from simharness.simulation.execution import Execution
from simharness.simulation.repeating import strictly
from simharness.simulation.simulation import Simulation
from simharness.simulation.transcript import following


class Cost(NamedTuple):
    """What makes one counterexample shorter than another, the weightiest first; all of it up to the failure.

    Attributes:
        switches: how often another actor moves than before.
        faults: how many strike.
        early: how often the clock moves while an actor could.
        steps: how many there are.
    """

    switches: int
    faults: int
    early: int
    steps: int


def cost_of(execution: Execution, kernel: Kernel) -> Cost:
    """Return the cost of the kernel's last execution, which failed."""
    assert execution.failure is not None
    keys = execution.keys[: execution.failure.step + 1]
    movers = [key >> SHIFT for key in keys if key >> SHIFT in kernel.cast.actors]
    faults = sum(1 for step, _ in kernel.record.struck if step < len(keys))
    advances = sum(1 for writes in kernel.record.writes[: len(keys)] if writes & CLOCK)
    lateness = [0, *(late for _, late in kernel.record.advances[:advances])]
    early = sum(1 for before, after in pairwise(lateness) if before != after)
    return Cost(sum(1 for before, after in pairwise(movers) if before != after), faults, early, len(keys))


def kind_of(failure: Failure | None) -> tuple[Any, ...] | None:
    """Return what makes two failures the same: the check or the actor, and the kind of exception."""
    return None if failure is None else (failure.check, failure.actor, type(failure.error))


def follow(simulation: Simulation, order: Sequence[int]) -> Execution:
    """Run a schedule as near to `order` as can be: what cannot move yet is passed over until it can."""
    waiting = list(order)
    kernel = simulation.kernel

    def choose(enabled: list[int]) -> int:
        for position, key in enumerate(waiting):
            if key in enabled:
                del waiting[position]
                return key
        current = kernel.actor
        return current.key if current is not None and current.key in enabled else enabled[0]

    return simulation.execute((), choose)


class Shrinker:
    """Shrinks one failing execution within a budget of executions; `best` is the shortest, `passing` lists those that pass."""

    def __init__(self, simulation: Simulation, failing: Execution, budget: int) -> None:
        self.simulation = simulation
        self.wanted = kind_of(failing.failure)
        self.best: Sequence[int] = list(failing.keys)
        self.passing: list[Sequence[int]] = []
        self.ran = 0
        self._budget = budget
        self._learned = simulation.kernel.learned
        self._version = self._learned.version
        self._repeat()

    def _repeat(self) -> None:
        """Run the best schedule again for its cost, and for the switches away from an actor that could have gone on."""
        kernel, keys = self.simulation.kernel, self.best
        preempted: list[int] = []
        last = -1
        next_key = following(kernel, keys, strictly(kernel))

        def choose(enabled: list[int]) -> int:
            nonlocal last
            key = next_key(enabled)
            if key >> SHIFT in kernel.cast.actors:
                if last >= 0 and key >> SHIFT != last and any(other >> SHIFT == last for other in enabled):
                    preempted.append(kernel.record.n)
                last = key >> SHIFT
            return key

        execution = self.simulation.execute((), choose)
        self.cost = cost_of(execution, kernel)
        self._struck = list(kernel.record.struck)
        self.preemptions = sum(1 for step in preempted if step < self.cost.steps)

    @property
    def spent(self) -> bool:
        """Whether no execution may be run any more: what is a scheduling point has changed, or the budget is used up."""
        return self._learned.version != self._version or self.ran >= self._budget

    def run(self) -> str:
        """Shrink; afterwards `best` holds the choices. Returns what is known about the result, in words."""
        self._spare()
        self._merge()
        search = _Search(self)
        search.run()
        self._merge()
        if self._learned.version == self._version:
            self._repeat()
        return self._words(search)

    def _words(self, search: _Search) -> str:
        """Say how short it is: what was searched, and no more."""
        switches, interrupting = self.cost.switches, self.preemptions
        if not switches:
            return "no context switch"
        kind = "none interrupts an actor that could go on"
        if interrupting:
            kind = f"{interrupting} {'interrupts' if interrupting == 1 else 'interrupt'} an actor that could go on"
        text = f"{switches} context {'switch' if switches == 1 else 'switches'} ({kind})"
        if search.fewest < switches:
            fewer = f"; none with fewer than {search.fewest} fails" if search.fewest > search.least else ""
            return f"{text}: the fewest among {self.ran} schedules tried{fewer}"
        if search.least >= switches:
            return f"{text}: no schedule that ends has fewer"
        return f"{text}: no schedule with fewer fails ({search.tried} tried, those that begin alike once)"

    def attempt(self, run: Callable[[], Execution]) -> bool:
        """Spend one execution; keep it if it fails in the same way and is shorter."""
        self.ran += 1
        execution = run()
        if self._learned.version != self._version or execution.status not in ("complete", "deadlock"):
            return False
        if execution.failure is None:
            self.passing.append(list(execution.keys))
            return False
        if kind_of(execution.failure) != self.wanted:
            return False
        cost = cost_of(execution, self.simulation.kernel)
        if cost >= self.cost:
            return False
        self.best, self.cost = list(execution.keys), cost
        return True

    def _spare(self) -> None:
        """Leave out each fault that the failure does not need, the last one first."""
        for position, _ in reversed(self._struck):
            if self.spent or position >= self.cost.steps:
                continue
            keys = self.best
            plain = [] if keys[position] >> SHIFT in self.simulation.kernel.movers.faults else [keys[position] & ~ALTERNATIVES]
            order = [*keys[:position], *plain, *keys[position + 1 :]]
            self.attempt(lambda order=order: follow(self.simulation, order))  # type: ignore[misc]  # bound now

    def _merge(self) -> None:
        improved = True
        while improved:
            improved = False
            keys = self.best
            for position in range(1, min(len(keys), self.cost.steps)):
                if self.spent:
                    return
                mover = keys[position - 1] >> SHIFT
                if keys[position] >> SHIFT == mover:
                    continue
                again = next((later for later in range(position, len(keys)) if keys[later] >> SHIFT == mover), None)
                if again is None:
                    continue
                end = again
                while end < len(keys) and keys[end] >> SHIFT == mover:
                    end += 1
                order = [*keys[:position], *keys[again:end], *keys[position:again], *keys[end:]]
                if self.attempt(lambda order=order: follow(self.simulation, order)):  # type: ignore[misc]  # bound now
                    improved = True
                    break


class _Node(NamedTuple):
    """A beginning of schedules. `bound`: the fewest switches of a failing schedule that begins so."""

    bound: int
    faults: int
    early: int
    number: int
    switches: int
    mover: int
    keys: Sequence[int]


class _Search:
    """The bounded search, by the least number of switches.

    When it has run, every schedule with fewer than `fewest` switches has been tried; `least` is what counting the actors alone proves.
    """

    def __init__(self, shrinker: Shrinker) -> None:
        self._shrinker = shrinker
        self._kernel = shrinker.simulation.kernel
        self._orderings = Orderings(self._kernel, Exactly())
        self._met: dict[Ordering, list[tuple[int, tuple[int, int, int]]]] = {}
        self._numbers = 0
        self._queue: list[_Node] = [_Node(0, 0, 0, 0, 0, -1, ())]
        world = shrinker.simulation.world
        assert world is not None
        assert shrinker.wanted is not None
        self._all_end = world.only_at_end(shrinker.wanted[0]) and not self._kernel.movers.may_crash
        self.tried = 0
        self.fewest = self.least = 0

    def run(self) -> None:
        """Search until schedules with fewer switches than the best are exhausted, or the budget ends."""
        shrinker, queue = self._shrinker, self._queue
        while queue and queue[0].bound < shrinker.cost.switches and not shrinker.spent:
            node = heappop(queue)
            self._switches, self._faults, self._early, self._mover = node.switches, node.faults, node.early, node.mover
            self._orderings.begin()
            shrinker.attempt(lambda node=node: shrinker.simulation.execute(node.keys, self._choose))  # type: ignore[misc]  # bound now
            self.tried += 1
        self.fewest = min(queue[0].bound, shrinker.cost.switches) if queue else shrinker.cost.switches

    def _choose(self, enabled: list[int]) -> int:
        """Take the cheapest choice that leads to something new, and put the others by."""
        kernel, shrinker = self._kernel, self._shrinker
        failed = kernel.failure is not None
        if failed and kind_of(kernel.failure) != shrinker.wanted:
            return ABANDON
        self._orderings.so_far()
        choices = len(enabled) if kernel.faults is None else kernel.movers.peaceful
        options = [self._node(key, failed, choices) for key in enabled]
        if not kernel.record.n:
            self.least = min(option.bound for option in options)
        taken: _Node | None = None
        for option in sorted(options):
            if option.bound >= shrinker.cost.switches:
                break
            if self._met_before(option):
                continue
            if taken is None:
                taken = option
            else:
                heappush(self._queue, option._replace(keys=(*kernel.record.keys, option.keys[-1])))
        if taken is None:
            return ABANDON
        self._switches, self._faults, self._early, self._mover = taken.switches, taken.faults, taken.early, taken.mover
        return taken.keys[-1]

    def _node(self, key: int, failed: bool, choices: int) -> _Node:
        """Return the node that a choice leads to; its `keys` are that choice alone."""
        kernel = self._kernel
        switches, faults, early, mover = self._switches, self._faults, self._early, self._mover
        faults += not failed and kernel.movers.strikes(key) is not None
        if key == kernel.movers.clock_key:
            early += not failed and choices > 1
        elif key >> SHIFT in kernel.cast.actors:
            switches += not failed and mover not in (key >> SHIFT, -1)
            mover = key >> SHIFT
        others = sum(1 for actor in kernel.cast.live if not actor.daemon and actor.index != mover) if self._all_end and not failed else 0
        others -= bool(others) and mover < 0  # the first actor to move costs no switch
        self._numbers += 1
        return _Node(switches + others, faults, early, self._numbers, switches, mover, (key,))

    def _met_before(self, node: _Node) -> bool:
        """Whether the ordering that a choice leads to was met at no higher cost; if not, it is now."""
        key = node.keys[-1]
        met = self._met.setdefault(self._orderings.after(key, *self._kernel.movers.footprint(key)), [])
        cost = node.switches, node.faults, node.early
        for mover, (switches, faults, early) in met:
            if (switches + (mover != node.mover), faults, early) <= cost:
                return True
        met.append((node.mover, cost))
        return False
