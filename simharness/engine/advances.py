"""What an advance of the clock conflicts with.

An advance depends on little: on who waits for a time up to its instant, on what they wait for, and on earlier advances; and only steps that
set deadlines, end a wait before its deadline or read the clock depend on it. So it writes the time, which advances write and those steps
read, and reads the actors with deadlines up to its instant and the resources that could free them earlier. Code reads the clock and sets
deadlines within the step before it, so which steps read the time is learned.

An advance that is possible only when no actor can move, as actors would be too late otherwise, conflicts with everything. So does every
advance where all may depend on the time, as with faults.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from simharness.engine.actors import SHIFT, Actor
from simharness.engine.cast import Cast
from simharness.engine.facts import Fact, Learned
from simharness.engine.operations import CHECKED, CLOCK, ENDING, TIME, Operation
from simharness.engine.record import Record

Step = tuple[str, str, str]
"""An actor's name, the name of an operation's kind, and what it is done on."""


@dataclass(frozen=True)
class TimeSeen(Fact, word="time-seen", in_tokens=False):
    """After such steps an actor's code sets a deadline or reads the clock."""

    actor: str
    kind: str
    on: str


@dataclass(frozen=True)
class TimeSeenByAll(Fact, word="time-seen-by-all", in_tokens=False):
    """Any step may depend on the time."""


class Wait(NamedTuple):
    """An actor with a deadline; `mask`: its own bit, and that of the resource that it waits for."""

    deadline: int
    mask: int
    daemon: bool


EVERYTHING = 0, CLOCK | TIME
"""The footprint of an advance that conflicts with every step."""


def step_of(actor: Actor, operation: Operation) -> Step:
    """Return what facts say of a step."""
    resource = operation.resource
    return actor.name, operation.kind.name, operation.detail if resource is None else resource.name


def wait_of(actor: Actor, operation: Operation, deadline: int) -> Wait:
    """Return the wait of an actor for this operation."""
    return Wait(deadline, actor.bit | (operation.resource.bit if operation.resource is not None else 0), actor.daemon)


def footprint(waits: Iterable[Wait], now: int, instant: int, learned: Learned) -> tuple[int, int]:
    """Return (reads, writes) of an advance to this instant for which actors may be late."""
    reads, writes = 0, TIME
    for deadline, mask, daemon in waits:
        if now < deadline <= instant:
            reads |= mask
            if daemon:  # the execution may end without it
                writes |= ENDING
    return reads, writes | CHECKED if writes & learned.checked else writes


class Seen:
    """Which steps of the execution under way see the time; what is new is learned at its end, if deadlines matter in it.

    Attributes:
        by_all: whether to take all steps for such.
        known: the facts about steps.
    """

    def __init__(self, learned: Learned, record: Record, cast: Cast) -> None:
        self._learned = learned
        self.known = learned.of(TimeSeen)
        self._record = record
        self._cast = cast
        self._steps: set[Step] = set()
        self.by_all = False

    def by_step(self) -> None:
        """Note that the code of the step under way depends on the time."""
        record = self._record
        if record.n and not record.reads[-1] & TIME:
            actor = self._cast.actors.get(record.keys[-1] >> SHIFT)
            if actor is None:
                self.by_all = True
            else:
                self._steps.add(step_of(actor, record.operations[-1]))

    def declare(self, actor: Actor) -> bool:
        """Note that an actor has declared its next step: one that may see the time, or one with a deadline; return whether it has one."""
        operation = actor.pending
        assert operation is not None
        if actor.deadline is not None and operation.enabled is not None:
            self.by_step()  # the code before this has set the deadline
        actor.base = actor.base | TIME if step_of(actor, operation) in self.known else actor.base & ~TIME
        return actor.deadline is not None

    def learn(self, timed: bool) -> None:
        """Learn what this execution has shown, if it has deadlines."""
        if not timed:
            return
        if self.by_all:
            self._learned.learn(TimeSeenByAll())
        for step in self._steps:
            self._learned.learn(TimeSeen(*step))
