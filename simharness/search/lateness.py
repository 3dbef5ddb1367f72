"""Late advances of the clock in the search: where one could come instead of a step, and what a reversal costs in lateness.

An advance that is free, because no actor can move, and a late one to the same instant conflict with the same steps. So the same advance
can be free in one order and late in another. Where step i is reversed, its actor can move until the end of what is repeated: each advance
in there is late. What the bound on lateness does not allow then, and what comes after that, stays out, but for the reversing step, if that
is possible without.

Why nothing is lost, in the terms of Abdulla et al. (JACM 2017, proof of theorem 4.4): let w be an execution after P that none of the steps
tried or asleep at P covers, and p the actor's step among them that commutes with the longest prefix u of w; w is u, r and more, and p
conflicts with r. The race of p and r, met in an execution that begins with P p u, leads to a reversal of whose initials one is tried at P;
also where p was tried earlier, at Q, and P is on the way of a planned sequence, as then the reversal is planned at Q and repeats that way.
There is such a p: a late advance is the first that is tried only where it is planned, or all actors that can move sleep.

- An actor's step x among them commutes with u r, so x contradicts the choice of p, or covers w: an execution in which an actor's step
  comes before an advance instead of after it is not later.
- An advance among them costs lateness. It covers w if w has it, late as well. In u it is late, as p can be done until r. If it is not in
  u, it may be free in w, or not there. An advance that happens before r is in u; of the others a first part, maybe none, is in u. So each
  first part gives a reversal (`repeated`). Repeating none of them is not enough: where an advance has been planned with a later one after
  it, only the reversal that repeats just the first leads to executions in which the second is free.
- What the bound refuses is not in u, as P u is possible. So r is possible without (`reversing`).
- If r is an advance, the execution that begins with P p u can be chosen such that the steps that p frees are made in time, and then the
  clock moves on, late, as long as it can. Each step that does not happen after p then commutes with r, or is one that lets the clock move
  earlier, or not, and comes before r in the reversal. If such a step is what is tried at P, the same holds for it, with fewer of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from simharness.engine.kernel import Kernel
from simharness.engine.operations import CHECKED, CLOCK, ENDING, TIME, conflict
from simharness.search.configurations import instead

Event = tuple[int, int, int]
"""(key, reads, writes)"""


class Rest(NamedTuple):
    """What a reversal repeats: the steps after its first one that do not happen after that.

    Attributes:
        steps: their mask.
        refused: the mask of those that stay out.
        since: the time and the lateness after the steps.
    """

    steps: int
    refused: int
    since: tuple[int, int]


class Lateness:
    """The advances of the kernel's last execution; `before` is the happens-before relation of its steps, as in `Races`."""

    def __init__(self, kernel: Kernel, before: list[int]) -> None:
        self._kernel = kernel
        self._before = before
        self._advances: list[int] = []

    def update(self) -> None:
        """Take in the kernel's execution."""
        record = self._kernel.record
        self._advances = [j for j, writes in enumerate(record.writes) if writes & (CLOCK | TIME)] if record.advances else []

    def time_without(self, i: int, end: int) -> int:
        """Return the time after the steps before `end` without step i and what happens after it."""
        record = self._kernel.record
        bit = 1 << i
        for (instant, _), j in zip(reversed(record.advances), reversed(self._advances), strict=True):
            if j < i:
                break
            if i < j < end and not self._before[j] & bit:
                return instant
        return record.times[i]

    def rest(self, i: int, steps: int) -> Rest:
        """Return what a reversal of step i repeats of these steps, those after it that do not happen after it."""
        record, most = self._kernel.record, self._kernel.clock.max_delay
        if not record.advances:
            return Rest(steps, 0, (0, 0))
        now, lateness, refused = record.times[i], 0, 0
        for (instant, late), j in zip(record.advances, self._advances, strict=True):
            if j < i:
                lateness = late
            elif steps >> j & 1:
                lateness += instant - now
                if lateness >= most:
                    lateness -= instant - now
                    refused = 1 << j
                    break
                now = instant
        if refused:
            for j in range(refused.bit_length(), len(self._before)):
                if self._before[j] & refused:
                    refused |= 1 << j
        return Rest(steps & ~refused, steps & refused, (now, lateness))

    def repeated(self, rest: Rest, event: Event) -> list[int]:
        """Return the masks of the steps to repeat: up to each advance that need not come before the last step, and all; least first."""
        steps = rest.steps
        if not any(steps >> j & 1 for j in self._advances):
            return [steps]
        record, actor = self._kernel.record, self._kernel.cast.maker_of(event[0])
        past = 0 if actor is None or actor.born < 0 else self._before[actor.born] | 1 << actor.born
        for j in _each(steps):
            if conflict(*event[1:], record.reads[j], record.writes[j]):
                past |= self._before[j] | 1 << j
        late = [1 << j for j in self._advances if (steps & ~past) >> j & 1]
        return [*(steps & ~(bit | sum(1 << j for j in _each(steps) if self._before[j] & bit)) for bit in late), steps]

    def needs(self, steps: int, reads: int, writes: int) -> bool:
        """Whether a step with this footprint conflicts with one of these steps."""
        record = self._kernel.record
        while steps:
            j = steps.bit_length() - 1
            if conflict(reads, writes, record.reads[j], record.writes[j]):
                return True
            steps ^= 1 << j
        return False

    def reversing(self, i: int, rest: Rest, j: int, event: Event, steps_of: dict[int, int]) -> Event | None:
        """Return the second step of a race as it is if the refused steps stay out of the reversal; None if it is then not possible.

        Args:
            j: the second step's index; the execution's length: it is still waiting at the end.
            event: its key, reads and writes.
            steps_of: for each actor's index, the mask of its steps.
        """
        key, reads, writes = event
        kernel, refused = self._kernel, rest.refused
        if not refused:
            return event
        actor = kernel.cast.maker_of(key)
        if actor is None:
            return None if self.needs(refused, reads, writes) else event
        if steps_of.get(actor.index, 0) & refused or (actor.born >= 0 and refused >> actor.born & 1):
            return None
        waits = j == kernel.record.n
        operation = actor.pending if waits else kernel.record.operations[j]
        deadline = actor.deadline if waits else kernel.record.deadlines[j]
        resource = None if operation is None else operation.resource
        if operation is None or resource is None or (operation.enabled is None and operation.writes_when is None):
            return event
        state = resource.state_in((1 << i) - 1 | rest.steps)
        if operation.enabled is not None and not operation.enabled(state):
            deadline = deadline if operation.due is None else operation.due(state)
            if deadline is None or rest.since[0] < deadline:
                return None
        if operation.writes_when is None:
            return event
        plain_reads, plain_writes = operation.footprint(state)
        return key, reads & ~resource.bit | plain_reads, writes & ~(resource.bit | operation.also) | plain_writes

    def races(self, steps_of: dict[int, int], end: int, independent_of: Callable[[int], int]) -> Iterator[tuple[int, int, int, int]]:
        """Yield the races of a late advance with each step that it conflicts with and without which it is possible.

        Args:
            steps_of: for each actor's index, the mask of its steps.
            end: how many steps can be reversed.
            independent_of: gives the mask of the steps after a step that do not happen after it.
        """
        kernel, record = self._kernel, self._kernel.record
        awaited = self._awaited()
        may_move: dict[tuple[int, int], bool] = {}
        for i in kernel.budget.checked(range(end)):
            reads, writes = record.reads[i], record.writes[i]
            if writes & (CLOCK | TIME) or not (writes & awaited or reads & (TIME | ENDING) or record.deadlines[i] is not None):
                continue
            rest = self.rest(i, independent_of(i))
            if rest.since not in may_move:
                may_move[rest.since] = kernel.movers.clock_may_move(*rest.since)
            if not may_move[rest.since]:
                continue
            for key, other_reads, other_writes in instead(kernel, steps_of, (1 << i) - 1 | rest.steps, rest.since):
                if conflict(other_reads, other_writes, reads, writes):
                    yield i, key, other_reads, other_writes

    def _awaited(self) -> int:
        """Return the mask of all that actors with deadlines wait for, and of what checks read."""
        record, actors = self._kernel.record, self._kernel.cast.actors.values()
        waits = [*zip(record.operations, record.deadlines, strict=True), *((actor.pending, actor.deadline) for actor in actors)]
        mask = CHECKED
        for operation, deadline in waits:
            if deadline is not None and operation is not None and operation.resource is not None:
                mask |= operation.resource.bit
        return mask


def _each(steps: int) -> Iterator[int]:
    """Yield the indices of the steps in a mask."""
    while steps:
        low = steps & -steps
        yield low.bit_length() - 1
        steps ^= low
