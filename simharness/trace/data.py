"""The record of one execution for people: its steps, the actors that were stuck, and what is known about the cause of its failure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from simharness.engine.kinds import Kind
from simharness.places import Place
from simharness.trace.moves import Message, Move
from simharness.trace.tables import Tables


@dataclass(frozen=True)
class Step:
    """One step of an execution.

    Attributes:
        number: from 1.
        actor: its name; "clock" for an advance of the clock.
        kind, detail: the operation, such as `sqlite.begin` and its text; what can be asked of a kind is in `engine/kinds.py`.
        place: the user's source line, if there is one.
        notes: what the step read or changed, in words.
        time: virtual nanoseconds since the start.
        database: rows that the step added (+), removed (-) or changed (~) in the committed state, in words.
        held: for each actor, the locks it held after the step.
        shown: the values of `world.show` after the step.
        until: for the values that are held for a time, its end, in nanoseconds of the wall clock since the start.
        log: log lines that the step emitted, formatted `LEVEL logger: message`.
        choices: how many choices were possible where it was taken.
        calls: the user's lines that led to it, innermost first; `place` is the first of them.
        moves: what was possible where it was taken, this step included, and the operations of actors that could not move.
        tables: the committed rows of the tables that the step changed.
        wall: the wall clock after the step, in nanoseconds since the start.
        key: its choice, one of those of `moves`.
    """

    number: int
    actor: str
    kind: Kind
    detail: str
    place: Place | None
    notes: tuple[str, ...]
    time: int
    database: tuple[str, ...]
    held: Mapping[str, tuple[str, ...]]
    shown: Mapping[str, str]
    log: tuple[str, ...]
    choices: int
    calls: tuple[Place, ...] = ()
    until: Mapping[str, int] = field(default_factory=dict)
    moves: tuple[Move, ...] = field(default=(), repr=False)
    tables: Tables = field(default_factory=dict, repr=False)
    wall: int = 0
    key: int = field(default=-1, repr=False)


@dataclass(frozen=True)
class Waiting:
    """An actor that was stuck when the execution ended: what it waits for, which actor holds that, and where.

    Attributes:
        kind, detail: the operation; `detail` is the object where there is nothing else to say.
    """

    actor: str
    kind: Kind
    detail: str
    holder: str | None
    place: Place | None

    @property
    def operation(self) -> str:
        """What it waits for: `lock.acquire lock store.py:55`."""
        return self.kind.awaited.format(detail=self.detail) or f"{self.kind} {self.detail}".strip()

    def __str__(self) -> str:
        held = f", held by {self.holder}" if self.holder else ""
        where = f" at {self.place}" if self.place else ""
        return f"{self.actor} waits for {self.operation}{held}{where}"


@dataclass(frozen=True)
class Race:
    """Two steps of a failing execution that conflict, or a single step that is a data choice.

    Attributes:
        first: number of the step that came first.
        second: number of the step that came second; the same as `first` for a data choice; None if it was never made.
        actor: that made the second step, or would have made it.
        resources: what both touch and at least one changes, in words.
        instead: for a data choice, what was chosen in the execution that passes.
    """

    first: int
    second: int | None
    actor: str
    resources: tuple[str, ...] = ()
    instead: str = ""


@dataclass(frozen=True)
class Blame:
    """The races that a failure is due to: with these reversed, and nothing else changed on purpose, the execution passes.

    That was tried: `token` replays it. Where there are several races, reversing fewer was not enough.
    """

    races: tuple[Race, ...]
    token: str


@dataclass(frozen=True)
class Passing:
    """The passing execution nearest to a failing one, among those that were run.

    Attributes:
        token: replays it.
        parts_at: number of the first step of the failing execution that this execution does not make.
        actor: the actor that moves there instead.
        reversed: pairs of conflicting steps that it orders differently.
        trace: its record.
    """

    token: str
    parts_at: int
    actor: str
    reversed: int
    trace: Trace | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Why:
    """What is known about the cause of a failure.

    Attributes:
        blame: the smallest sets of races that decide it, nearest first; empty if none was found.
        passing: the nearest passing execution, or None if none was found.
        singles: how many races were reversed one at a time; `all_singles`: whether these were all.
        tried: how many executions were run in total.
    """

    blame: tuple[Blame, ...]
    passing: Passing | None
    singles: int
    all_singles: bool
    tried: int


@dataclass(frozen=True)
class Trace:
    """The record of one execution.

    Attributes:
        scenario, parameters: what was run.
        actors: their names, in the order in which they were created, with their processes.
        steps: what was done, first to last.
        waiting: the actors that were stuck at the end.
        failure: one line that says what went wrong, or None.
        failed_at: number of the step after which the failure showed (0: in the initial state), or None.
        initial, tables: the values of `world.show` and the committed rows before the first step.
        until: the ends of those initial values that are held for a time.
        why: what is known about the cause, for the counterexample of an exploration.
        messages: what one actor's step passed to another actor's step.
        moves: what was possible after the last step, and the operations of actors that could not move.
    """

    scenario: str
    parameters: Mapping[str, Any]
    actors: Mapping[str, str]
    steps: tuple[Step, ...]
    waiting: tuple[Waiting, ...] = ()
    failure: str | None = None
    failed_at: int | None = None
    initial: Mapping[str, str] = field(default_factory=dict)
    why: Why | None = field(default=None, compare=False)
    until: Mapping[str, int] = field(default_factory=dict)
    tables: Tables = field(default_factory=dict, repr=False)
    messages: tuple[Message, ...] = ()
    moves: tuple[Move, ...] = field(default=(), repr=False)

    @property
    def switches(self) -> int:
        """How often the moving actor changed, up to the failure; the clock is not an actor."""
        movers = [step.actor for step in self.steps[: self.failed_at] if step.actor in self.actors]
        return sum(1 for before, after in pairwise(movers) if before != after)
