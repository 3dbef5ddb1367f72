"""What happened in one execution, for people: steps with their places, what they did, and what the world looked like after each.

A trace is recorded only when an execution is run for its trace; exploring keeps no more than footprints.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

from simharness.actors import SHIFT
from simharness.clock import EPOCH, nanoseconds
from simharness.errors import Misuse
from simharness.kernel import Kernel
from simharness.moves import Message, Move, messages, moves
from simharness.operations import Operation
from simharness.places import Place
from simharness.tables import Tables, changed_rows, changed_tables, written


@dataclass(frozen=True)
class Step:
    """One step of an execution.

    Attributes:
        number: from 1.
        actor: its name; "clock" for an advance of the clock.
        kind, detail: the operation, such as `sql` and its text.
        place: the user's source line, if there is one.
        notes: what the step read or changed, in words.
        time: virtual nanoseconds since the start.
        database: rows that the step added (+), removed (-) or changed (~) in the committed state, in words.
        held: for each actor, the locks it held after the step.
        shown: the values of `world.show` after the step.
        until: when those that are held for a time run out, in nanoseconds of the wall clock since the start.
        log: log lines that the step emitted, formatted `LEVEL logger: message`.
        choices: how many choices were possible where it was taken.
        calls: the user's lines that led to it, innermost first; `place` is the first of them.
        moves: what was possible where it was taken, this step included, and what actors wanted and could not do.
        tables: the committed rows of the tables that the step changed.
        wall: the wall clock after the step, in nanoseconds since the start.
        key: its choice, one of those of `moves`.
    """

    number: int
    actor: str
    kind: str
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
    """An actor that was stuck when the execution ended: what it waits for, who has that, and where."""

    actor: str
    operation: str
    holder: str | None
    place: Place | None

    def __str__(self) -> str:
        held = f", held by {self.holder}" if self.holder else ""
        where = f" at {self.place}" if self.place else ""
        return f"{self.actor} waits for {self.operation}{held}{where}"


@dataclass(frozen=True)
class Race:
    """Two steps of a failing execution that conflict, or one that is a data choice.

    Attributes:
        first: number of the step that came first.
        second: number of the step that came second; the same as `first` for a data choice; None if it was never made.
        actor: whose the second step is, or would have been.
        resources: what both touch and one of them changes, in words.
        instead: for a data choice, what was chosen in the execution that passes.
    """

    first: int
    second: int | None
    actor: str
    resources: tuple[str, ...] = ()
    instead: str = ""


@dataclass(frozen=True)
class Blame:
    """What a failure is due to: when these races come out the other way, and nothing else is changed on purpose, it passes.

    That was tried: `token` replays it. Where there are several, none of them is enough alone.
    """

    races: tuple[Race, ...]
    token: str


@dataclass(frozen=True)
class Passing:
    """The passing execution nearest to a failing one, among those that were run.

    Attributes:
        token: replays it.
        parts_at: number of the first step of the failing execution that it does not make.
        actor: who moves there instead.
        reversed: pairs of conflicting steps that it orders otherwise.
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
        singles: how many races were reversed one at a time, and `all_singles` whether these were all.
        tried: executions that were run in all.
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
        actors: names in the order in which they came into being, with their processes.
        failed_at: number of the step after which the failure showed (0: in the initial state), or None.
        initial, tables: the values of `world.show` and the committed rows before the first step.
        until: when the initial values run out.
        why: what is known about the cause, for the counterexample of an exploration.
        messages: what went from one actor's step to another's.
        moves: what was possible after the last step, and what actors wanted and could not do.
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
        """How often another actor moved than before, up to the failure; the clock is no actor."""
        movers = [step.actor for step in self.steps[: self.failed_at] if step.actor in self.actors]
        return sum(1 for before, after in pairwise(movers) if before != after)


@dataclass(frozen=True)
class _World:
    """What the world looks like after a step."""

    changes: tuple[str, ...] = ()
    tables: Tables | None = None
    held: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    shown: Mapping[str, str] = field(default_factory=dict)
    until: Mapping[str, int] = field(default_factory=dict)
    wall: int = 0


class Recorder:
    """Watches an execution and keeps what its trace needs beyond the kernel's own record."""

    def __init__(self, kernel: Kernel, snapshot: Callable[[Kernel], Tables]) -> None:
        self._kernel = kernel
        self._snapshot = snapshot
        self._tables: Tables = {}
        self._after: dict[int, _World] = {}
        self._moves: dict[int, tuple[Move, ...]] = {}
        self._last_shown: dict[str, str] = {}
        self._log = LogLines(kernel)

    def __enter__(self) -> Recorder:
        self._log.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._log.__exit__()

    def asked(self, keys: list[int]) -> None:
        """The kernel asks who goes next: keep what is possible."""
        self.observe()
        self._moves[self._kernel.n] = moves(self._kernel, keys)

    def observe(self) -> None:
        """Look at the world after the step that was made last."""
        kernel = self._kernel
        position = kernel.n - 1
        if position in self._after:
            return
        tables = self._snapshot(kernel)
        changes = tuple(changed_rows(self._tables, tables)) if position >= 0 else ()
        changed, self._tables = changed_tables(self._tables, tables), tables
        held_by: dict[int, Any] = kernel.context.get("held", {})
        held = {actor.name: tuple(held_by.get(actor.index, ())) for actor in kernel.actors.values() if held_by.get(actor.index)}
        shown: dict[str, str] = {}
        until: dict[str, int] = {}
        for name, (show, runs_out) in kernel.context.get("shown", {}).items():
            shown[name] = str(self._look(name, partial(_text, show)))
            end = self._look("", runs_out) if runs_out is not None else None
            if isinstance(end, int | float):
                until[name] = nanoseconds(end) - EPOCH
        self._after[position] = _World(changes, changed, held, shown, until, kernel.wall() - EPOCH)

    def _look(self, name: str, show: Callable[[], object]) -> object:
        """Return a value of `world.show`; where it cannot be had (a lock that it needs is held), the one before."""
        values: list[object] = []
        learned = self._kernel.learned
        facts, version = set(learned.shared), learned.version
        try:
            self._kernel.inspect(lambda: values.append(show()))
            if name:
                self._last_shown[name] = str(values[0])
        except Misuse:
            values = [self._last_shown.get(name, "")]
        except Exception as error:
            values = [f"({type(error).__name__})"]
        finally:
            learned.shared, learned.version = facts, version  # what only a timeline looks at must not change what is a point
        return values[0]

    def trace(self, scenario: str, parameters: Mapping[str, Any], failure: str | None, failed_at: int | None) -> Trace:
        """Return the trace of the kernel's execution, which is over."""
        kernel = self._kernel
        first = self._after.get(-1, _World())
        return Trace(
            scenario=scenario,
            parameters=dict(parameters),
            actors={actor.name: actor.process for actor in kernel.actors.values()},
            steps=tuple(self._step(position) for position in range(len(kernel.operations))),
            waiting=waiting(kernel),
            failure=failure,
            failed_at=failed_at,
            initial=first.shown,
            until=first.until,
            tables=written(first.tables or {}, kernel.canonical),
            messages=messages(kernel, self._moves, kernel.canonical),
            moves=self._moves.get(len(kernel.operations), ()),
        )

    def _step(self, position: int) -> Step:
        kernel = self._kernel
        clean = kernel.canonical
        operation, key = kernel.operations[position], kernel.keys[position]
        actor = kernel.actors.get(key >> SHIFT)
        world = self._after.get(position, _World())
        possible = self._moves.get(position, ())
        return Step(
            number=position + 1,
            actor=actor.name if actor is not None else kernel.mover(key),
            kind=operation.kind,
            detail=clean(operation.detail or _object(operation)),
            place=kernel.calls[position][0] if kernel.calls[position] else None,
            calls=kernel.calls[position],
            notes=tuple(map(clean, kernel.notes.get(position, ()))),
            time=kernel.times[position],
            database=tuple(map(clean, world.changes)),
            held=world.held,
            shown={name: clean(value) for name, value in world.shown.items()},
            log=tuple(map(clean, self._log.lines.get(position, ()))),
            choices=sum(move.possible for move in possible) or 1,
            until=world.until,
            moves=possible,
            tables=written(world.tables or {}, clean),
            wall=world.wall,
            key=key,
        )


def _text(show: Callable[[], object]) -> str:
    return str(show())


def waiting(kernel: Kernel) -> tuple[Waiting, ...]:
    """Say who was stuck at the end of the kernel's execution, on what."""
    result = []
    for actor in kernel.stuck:
        operation = actor.pending
        assert operation is not None
        holder = operation.resource.state if operation.resource is not None else None
        name = operation.resource.name if operation.resource is not None else ""
        words = f"{operation.kind} {operation.detail if operation.detail and operation.detail != name else name}".strip()
        if name == "trio" and operation.kind != "trio":
            words = "its turn"
        held = holder if isinstance(holder, str) and operation.kind.startswith(("lock", "rlock", "sql", "db")) else None
        result.append(Waiting(actor.name, words, held, kernel.stuck_at.get(actor.name)))
    return tuple(result)


class LogLines(logging.Handler):
    """Collects the log lines that an execution emits, as a context around it: `lines` maps the index of a step to its own.

    `wanted` is the level that the root logger has without it.
    """

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self._kernel = kernel
        self.lines: dict[int, list[str]] = {}
        self.wanted = logging.NOTSET

    def __enter__(self) -> LogLines:
        root = logging.getLogger()
        self.wanted = root.level
        root.addHandler(self)
        if root.level > logging.INFO:
            root.setLevel(logging.INFO)
        return self

    def __exit__(self, *_: object) -> None:
        root = logging.getLogger()
        root.removeHandler(self)
        root.setLevel(self.wanted)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line of the running step."""
        if not self._kernel.dying:
            self.lines.setdefault(self._kernel.n - 1, []).append(f"{record.levelname} {record.name}: {record.getMessage()}")


def _object(operation: Operation) -> str:
    """Return the name of what an operation works on, where that says something."""
    resource = operation.resource
    return "" if resource is None or resource.name in ("assume", "sleep", "trio") else resource.name
