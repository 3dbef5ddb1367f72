"""Happens-before over the steps of one execution, and the races in it that can be reversed.

Step i happens before step j when a chain of conflicting steps, each before the next, leads from i to j (Mazurkiewicz). A race
is a pair (i, j) of conflicting steps of different actors with nothing between them in that order; it is reversible when the
operation of j could have been done without i. The reversal of a race is the sequence `notdep(i) . j`: everything after i that
does not happen after it, then j (Abdulla, Aronis, Jonsson, Sagonas: Source sets, JACM 2017, section 6).

Beyond the paper, for operations that can be disabled (locks, waits) or whose effect depends on a state (compare-and-set):

- what j would have done is computed from the state that its resource has after the remaining steps;
- a step that could not have been done just before the step that it conflicts with races with the latest earlier write of its resource
  before which it could; operations that are pending at the end of the execution count too, or deadlocks are missed;
- the other alternatives of a data choice conflict with the alternative taken;
- where a state decides how many alternatives there are (`Operation.due`), a reversal takes the first, from which the others are reached;
- for every step of a process that can crash, a crash in its place is tried too, as are the faults that can strike at the step;
- the step of a striker, which never has to happen, races as one that is pending at the end of each execution;
- an advance of the clock may come as soon as an instant is pending and lateness allows it: it races with each step that it conflicts with
  and without which it is possible; where it conflicts with everything, with all since the last advance; the stall of a process likewise.

Results are kept per step, so that those of a prefix shared with the next execution are not computed again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from simharness.engine.actors import ALTERNATIVES, SHIFT, Actor
from simharness.engine.kernel import Kernel
from simharness.engine.kinds import Role
from simharness.engine.operations import CHECKED, CLOCK, ENDING, TIME, Operation
from simharness.search.configurations import instead
from simharness.search.lateness import Lateness, Rest

Race = tuple[int, int, int, int]
"""(i, key of the reversing step, its reads, its writes)."""


class Second(NamedTuple):
    """The second step of races, taken as step j of the execution or still waiting at its end (j is then its length)."""

    j: int
    key: int
    actor: Actor
    operation: Operation
    deadline: int | None
    reads: int
    writes: int


class Reversal(NamedTuple):
    """A race to reverse for an explanation: its first step i, its second step j (the execution's length: still waiting at the end).

    `key` is the choice that makes the second step, `past` the mask of the steps that happen before it, `shared` that of the resources on
    which the two conflict. For a data choice i is j, and `key` another alternative.
    """

    i: int
    j: int
    key: int
    past: int
    shared: int


class Races:
    """The happens-before relation and the races of the kernel's last execution.

    `before[j]` is a mask of the steps that happen before j; `races[j]` lists the races whose second step is j, still to be tried.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.before: list[int] = []
        self.races: list[list[Race]] = []
        self.steps_of: dict[int, int] = {}
        self.end = 0
        self.tail: list[Race] = []
        self.lateness = Lateness(kernel, self.before)

    def update(self, shared: int) -> None:
        """Take in the kernel's execution, whose first `shared` steps are those of the previous execution."""
        del self.before[shared:]
        del self.races[shared:]
        kernel = self.kernel
        self.lateness.update()
        keep = (1 << shared) - 1
        self.steps_of = {index: mask & keep for index, mask in self.steps_of.items()}
        keys, operations, all_reads, all_writes = kernel.record.keys, kernel.record.operations, kernel.record.reads, kernel.record.writes
        daemons = kernel.learned.daemons
        movers = kernel.movers.faults
        for j in kernel.budget.checked(range(shared, kernel.record.n)):
            key, operation, reads, writes = keys[j], operations[j], all_reads[j], all_writes[j]
            index = key >> SHIFT
            past, direct = self.past(j, index, reads, writes)
            self.before.append(past)
            races: list[Race] = []
            if kernel.record.stalled and direct:
                direct = self._awake(direct, kernel.cast.maker_of(key))
            # Most steps take the third branch: no state decides whether they can be made or what they write, so without i they have the
            # footprint that was recorded. For the others `_races` asks what they would have been. An advance or a stall conflicts with
            # every step, which says nothing about whether it could have come earlier: `_clock_races` asks that of configurations. What a
            # crash writes depends on the locks held at that point. No actor moves before the step that started it (`born`).
            # Beside daemons `_races` is needed for all: without i, the step might be its actor's last and so conflict with the daemons.
            if not direct or key == kernel.movers.clock_key or (index in movers and writes & CLOCK):
                pass
            elif index in movers and index not in kernel.cast.strikers:
                races = [(i, key, *kernel.movers.footprint_without(i, j, self.before)) for i in direct]
            elif operation.enabled is None and operation.writes_when is None and not daemons:
                born = self._maker(key).born
                races = [(i, key, reads, writes) for i in direct if i != born]
            else:
                again = key if operation.due is None else index << SHIFT
                races = self._races(Second(j, again, self._maker(key), operation, kernel.record.deadlines[j], reads, writes), direct)
            if operation.options > 1:
                if daemons:
                    reads |= ENDING
                first = index << SHIFT
                races += [(j, other, reads, writes) for other in range(first, first + operation.options) if other != key]
            if kernel.faults is not None:
                races += self._faults_instead(j)
            self.races.append(races)
            self.steps_of[index] = self.steps_of.get(index, 0) | 1 << j
        self.end = kernel.record.n - (kernel.record.n > 0 and keys[-1] == kernel.movers.nothing_key)
        self.tail = self._pending_races()
        if kernel.faults is not None and daemons:
            self.tail += self._pending_crashes()
        if kernel.timed or kernel.clock.timescales:
            self._clock_races(shared)

    def all(self) -> Iterator[tuple[list[Race], int]]:
        """Yield each list of races with the number of steps that its reversals depend on; the caller may remove a race for good."""
        for j, races in enumerate(self.races):
            if races:
                yield races, j
        if self.tail:
            yield self.tail, self.kernel.record.n

    def independent_of(self, i: int) -> int:
        """Return the mask of the steps after i that do not happen after it: notdep(i)."""
        before = self.before
        bit = 1 << i
        result = 0
        for j in range(i + 1, len(before)):
            if not before[j] & bit:
                result |= 1 << j
        return result

    def rest(self, i: int) -> Rest:
        """Return what a reversal of step i repeats."""
        return self.lateness.rest(i, self.independent_of(i))

    def reversals(self) -> Iterator[Reversal]:
        """Yield every race of the execution, and every other conflicting pair whose second step could have come first.

        None of them adds a fault.

        Between the steps of such a pair lie steps that must come after its first and before its second step; they are reversed with the
        pair. No step that the second step needs from its own actor happens after the first step.
        """
        kernel = self.kernel
        yielded: set[tuple[int, int]] = set()
        for races, j in self.all():
            for i, key, reads, writes in races:
                if self._strikes_anew(i, j, key):
                    continue
                yielded.add((i, key if j == kernel.record.n else j))
                past = (1 << j) - 1 if writes & CLOCK else self.past(min(j, self.end), key >> SHIFT, reads, writes)[0]
                yield Reversal(i, j, key, past, self._shared(i, reads, writes))
        pending = [(kernel.record.n, actor.key, *actor.footprint(kernel.learned.checked)) for actor in self._waiting()]
        for j, key, reads, writes in [
            *zip(range(kernel.record.n), kernel.record.keys, kernel.record.reads, kernel.record.writes, strict=True),
            *pending,
        ]:
            if key >> SHIFT not in kernel.cast.actors:
                continue
            own = self.steps_of.get(key >> SHIFT, 0) & ((1 << j) - 1)
            last = max(own.bit_length() - 1, kernel.cast.actors[key >> SHIFT].born)
            settled = (self.before[last] | 1 << last) if last >= 0 else 0
            past = self.before[j] if j < kernel.record.n else self.past(self.end, key >> SHIFT, reads, writes)[0]
            for i in range(j):
                if not settled >> i & 1 and self._shared(i, reads, writes) and (i, key if j == kernel.record.n else j) not in yielded:
                    yield Reversal(i, j, key, past, self._shared(i, reads, writes))

    def _strikes_anew(self, i: int, j: int, key: int) -> bool:
        """Whether a race's second step is a fault that has not struck in the execution."""
        kernel = self.kernel
        if j < kernel.record.n and kernel.record.keys[j] == key:
            return False
        return key >> SHIFT in kernel.movers.faults or (i == j and key & ALTERNATIVES > 0 and bool(kernel.record.operations[j].faults))

    def _waiting(self) -> Iterator[Actor]:
        """Yield the actors whose operations were still waiting when the execution ended; all of them if a promise was cut short."""
        now, cut = self.kernel.clock.now, self.kernel.cut and self.kernel.fair
        for actor in self.kernel.cast.actors.values():
            operation = actor.pending
            waits = operation is not None and operation.kind.role is not Role.ASSUMES
            if not actor.finished and waits and (actor.daemon or cut or not actor.ready(now)):
                yield actor

    def _shared(self, i: int, reads: int, writes: int) -> int:
        kernel = self.kernel
        return (kernel.record.writes[i] & (reads | writes)) | (kernel.record.reads[i] & writes)

    def past(self, j: int, index: int, reads: int, writes: int) -> tuple[int, list[int]]:
        """Return the mask of the steps before j that happen before it, and those of other actors with nothing in between."""
        kernel = self.kernel
        all_reads, all_writes, keys, before = kernel.record.reads, kernel.record.writes, kernel.record.keys, self.before
        either = reads | writes
        remaining = (1 << j) - 1
        past = 0
        direct: list[int] = []
        while remaining:
            i = remaining.bit_length() - 1
            if writes & all_reads[i] or either & all_writes[i]:
                upto = before[i] | 1 << i
                past |= upto
                remaining &= ~upto
                if keys[i] >> SHIFT != index:
                    direct.append(i)
            else:
                remaining ^= 1 << i
        return past, direct

    def _races(self, second: Second, direct: list[int]) -> list[Race]:
        """Return the reversible races of a step with those directly before it, or with the write that would have allowed it."""
        races: list[Race] = []
        refused = False
        born = second.actor.born
        for i in direct:
            if i == born:
                continue
            footprint = self._reversed(i, second)
            if footprint is None:
                refused = True
            else:
                races.append((i, second.key, *footprint))
        if refused:
            self._walk_back(second, races)
        return races

    def _walk_back(self, second: Second, races: list[Race]) -> None:
        """Add the race with the latest write of the operation's resource before which the operation could have been done."""
        resource, actor = second.operation.resource, second.actor
        if resource is None:
            return
        kernel = self.kernel
        last = max(self.steps_of.get(actor.index, 0).bit_length() - 1, actor.born)
        settled = (self.before[last] | 1 << last) if last >= 0 else 0
        tried = {race[0] for race in races}
        for i in range(second.j - 1, -1, -1):
            if settled >> i & 1:
                if kernel.record.writes[i] & resource.bit:
                    return
                continue
            if not kernel.record.writes[i] & resource.bit or i == actor.born:
                continue
            if i in tried:
                return
            footprint = self._reversed(i, second)
            if footprint is not None:
                races.append((i, second.key, *footprint))
                return

    def _reversed(self, i: int, second: Second) -> tuple[int, int] | None:
        """Return the footprint of the second step's operation if it is done without i; None if it cannot be."""
        operation, reads, writes = second.operation, second.reads, second.writes
        if self.kernel.learned.daemons and not second.actor.daemon:
            reads = self._perhaps_last(i, reads, writes)
        resource = operation.resource
        if resource is None or (operation.enabled is None and operation.writes_when is None):
            return reads, writes
        if second.deadline is not None and self.lateness.time_without(i, second.j) < second.deadline:
            reads |= TIME
        state = resource.state_without(i, self.before, second.j)
        if operation.enabled is not None and not operation.enabled(state):
            deadline = second.deadline if operation.due is None else operation.due(state)
            if deadline is None or self.lateness.time_without(i, second.j) < deadline:
                return None
        if operation.writes_when is None:
            return reads, writes
        plain_reads, plain_writes = operation.footprint(state)
        plain_writes |= writes & ~(resource.bit | operation.also | CHECKED)
        if plain_writes & self.kernel.learned.checked:
            plain_writes |= CHECKED
        return plain_reads | reads & ~resource.bit, plain_writes

    def _perhaps_last(self, i: int, reads: int, writes: int) -> int:
        """Add to the reads of a reversing step that its actor may end with it, if what it reads may be different without i.

        Whether the actor ends is known only after the step; trying an ordering in vain is better than losing one.
        """
        kernel = self.kernel
        shared = (reads | writes) & kernel.record.writes[i] | writes & kernel.record.reads[i]
        return reads | ENDING if shared & ~(ENDING | CHECKED) else reads

    def _pending_races(self) -> list[Race]:
        """Races of the operations that were still waiting when the execution ended."""
        kernel = self.kernel
        races: list[Race] = []
        strikers = (striker for striker in kernel.cast.strikers.values() if not striker.finished)
        for actor in (*self._waiting(), *strikers):
            operation = actor.pending
            assert operation is not None
            reads, writes = actor.footprint(kernel.learned.checked)
            _, direct = self.past(self.end, actor.index, reads, writes)
            if kernel.record.stalled:
                direct = self._awake(direct, actor)
            if direct:
                alternatives = operation.options if operation.due is None else 1
                for key in range(actor.key, actor.key + alternatives):  # of a daemon's data choice one may be asleep, another not
                    races += self._races(Second(self.end, key, actor, operation, actor.deadline, reads, writes), direct)
        return races

    def _maker(self, key: int) -> Actor:
        """Return who makes the step of a choice that is neither the clock's nor the kernel's own."""
        actor = self.kernel.cast.maker_of(key)
        assert actor is not None
        return actor

    # Faults

    def _awake(self, direct: list[int], actor: Actor | None) -> list[int]:
        """Return the steps of `direct` at which the actor's process was not stalled: only there could the actor have moved."""
        if actor is None:
            return direct
        own = [(step, until) for step, process, until, *_ in self.kernel.record.stalled if process == actor.process and step > actor.born]
        return [i for i in direct if not any(step < i and self.kernel.record.times[i] < until for step, until in own)]

    def _faults_instead(self, j: int) -> Iterator[Race]:
        """Yield the races of step j with the faults that could have struck instead of it, whatever the budgets."""
        kernel = self.kernel
        key, operation, reads, writes = kernel.record.keys[j], kernel.record.operations[j], kernel.record.reads[j], kernel.record.writes[j]
        actor = kernel.cast.actors.get(key >> SHIFT)
        if key == kernel.movers.nothing_key:
            for fault in kernel.movers.offered:
                yield j, fault, *kernel.movers.footprint(fault)
        elif actor is not None:
            plain = writes & ~(kernel.movers.fault_bit | kernel.movers.wall_bit)
            for k, kind in enumerate(("", *operation.faults) if operation.faults else ()):
                if actor.key + k != key:
                    yield j, actor.key + k, reads, plain | kernel.movers.writes_of(kind) if kind else plain
            instead = kernel.movers.crash_key(actor.process)
            if instead is not None:
                yield j, instead, *kernel.movers.crash_footprint(actor.process, lambda lock: lock.state_in((1 << j) - 1))

    def _pending_crashes(self) -> Iterator[Race]:
        """Yield the races of crashes of processes that had only daemons left when the execution ended."""
        kernel = self.kernel
        for process in dict.fromkeys(actor.process for actor in kernel.cast.live):
            key = kernel.movers.crash_key(process)
            if key is not None:
                reads, writes = kernel.movers.crash_footprint(process)
                for i in self.past(self.end, key >> SHIFT, reads, writes)[1]:
                    yield i, key, reads, writes

    def affordable(self, i: int, rest: int, key: int) -> bool:
        """Whether the budgets allow the reversal with this rest, notdep(i), to end with this choice."""
        kernel = self.kernel
        if not kernel.record.struck or not (key & ALTERNATIVES or key >> SHIFT in kernel.movers.faults):
            return True
        kind = kernel.movers.kind_of(key)
        if key & ALTERNATIVES and kernel.record.keys[i] >> SHIFT == key >> SHIFT and kernel.record.operations[i].faults:
            kind = kernel.record.operations[i].faults[(key & ALTERNATIVES) - 1]
        return kind is None or kernel.movers.may_strike(kind, (1 << i) - 1 | rest)

    # The clock

    def _clock_races(self, shared: int) -> None:
        """Add the races of advances and stalls with the steps that they could come before.

        Where they conflict with everything: for each step since an advance or a stall, the race of the next one with it.
        """
        kernel = self.kernel
        if kernel.movers.narrow:
            self.tail += self.lateness.races(self.steps_of, self.end, self.independent_of)
            return
        start, now, lateness = 0, 0, 0
        ends = [j for j in range(self.end) if kernel.record.writes[j] & CLOCK]
        for number, end in enumerate([*ends, self.end]):
            if (end >= shared or end == self.end) and kernel.movers.clock_may_move(now, lateness):
                target = self.tail if end == self.end else self.races[end]
                for i in kernel.budget.checked(range(start, end)):
                    bit = 1 << i
                    done = bit - 1
                    for m in range(i + 1, end):
                        if not self.before[m] & bit:
                            done |= 1 << m
                    target += [(i, *event) for event in instead(kernel, self.steps_of, done, (now, lateness))]
                if end < self.end:
                    done = (1 << end) - 1
                    others = instead(kernel, self.steps_of, done, (now, lateness))
                    target += [(end, *event) for event in others if event[0] not in (kernel.record.keys[end], kernel.movers.clock_key)]
            if end < self.end:
                start = end + 1
                now, lateness = kernel.record.advances[number]
