"""Waiting by looking again and again: the step that stands for further turns of a loop, and what is learned about such loops.

A *turn* of a loop that wrote nothing and left its actor as it was repeats itself as long as all that it read stays as its first look saw
it. So the actor makes a step `await` after such a turn: it can be done once another actor has written, since that look, something that the
turn read. Leaving turns out loses nothing: an execution with such a turn leads to the same states as the one without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simharness.engine.actors import SHIFT
from simharness.engine.facts import Fact
from simharness.engine.kinds import ALONE, Kind, Role
from simharness.engine.operations import TIME, Operation, Resource, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simharness.engine.kernel import Kernel  # what was written is in its record; a circle of types only

AWAIT = Kind(
    ALONE,
    "await",
    Role.AWAITS,
    blocked="nobody has written {name} since it looked",
    awaited="a write of {detail}",
    done="waits until {detail} is written",
    noun="waiting until {detail} is written",
)


@dataclass(frozen=True)
class Polls(Fact, word="polls"):
    """This actor seems to wait by looking again and again: its turns are examined."""

    actor: str


@dataclass(frozen=True)
class PollsInTime(Fact, word="polls-in-time"):
    """An actor sleeps between its looks, so it has to be seen whether anything else depends on exact times."""


@dataclass(frozen=True)
class TimeMatters(Fact, word="time-matters"):
    """Something depends on exact times, so turns that take time are not left out."""


@dataclass(frozen=True)
class LockInTurn(Fact, word="lock-in-turn"):
    """Turns that look under this lock are left out unless another actor can see that the lock is held."""

    lock: str


@dataclass(frozen=True)
class LockSeen(Fact, word="lock-seen"):
    """An actor can see whether this lock is held without waiting for it."""

    lock: str


@dataclass(frozen=True)
class UnseenChange(Fact, word="unseen-change"):
    """Memory that a turn of this actor reads is written without a step, so its turns are not left out."""

    actor: str


class Writes(Resource):
    """What others have written of what a turn read, since it was read; the state is how often.

    `reads` maps each bit that the turn read to the position of the step that read it first.
    """

    __slots__ = ("_changed", "_index", "_kernel", "reads")

    def __init__(self, kernel: Kernel, index: int, reads: Mapping[int, int], name: str, changed: Callable[[], None]) -> None:
        self._kernel = kernel
        self._index = index
        self._changed = changed
        self.reads = reads
        self.name = name
        self.lock = False
        self.initial = 0
        self.history = []
        self.bit = 0
        for bit in reads:
            self.bit |= bit

    @property
    def state(self) -> State:
        """How often it has been written until now."""
        count = self._count(range(min(self.reads.values()), self._kernel.record.n))
        if not count:
            self._changed()
        return count

    def state_without(self, i: int, before: Sequence[int], end: int) -> State:
        """Return the state without a step and what happens after it."""
        bit = 1 << i
        first = min(self.reads.values())
        return self._count([m for m in range(first, min(end, self._kernel.record.n)) if m < i or (m != i and not before[m] & bit)])

    def state_in(self, configuration: int) -> State:
        """Return the state after the steps whose indices are set in the mask."""
        return self._count([m for m in range(min(self.reads.values()), self._kernel.record.n) if configuration >> m & 1])

    def _count(self, steps: Sequence[int]) -> int:
        record, mask, count = self._kernel.record, self.bit, 0
        for m in steps:
            written = record.writes[m] & mask
            if written and record.keys[m] >> SHIFT != self._index:
                while written:
                    bit = written & -written
                    written ^= bit
                    count += m > self.reads[bit]
        return count


def awaiting(resource: Writes, timed: bool) -> Operation:
    """Return the step by which an actor waits until something of this is written; `timed`: its time decides when the actor goes on."""
    return Operation(AWAIT, resource, reads=resource.bit | TIME if timed else resource.bit, enabled=bool, detail=resource.name)
