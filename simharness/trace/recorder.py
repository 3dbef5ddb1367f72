"""What happened in one execution, for people: steps with their places, what they did, and what the world looked like after each.

A trace is recorded only when an execution is run for its trace; exploring keeps only footprints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from simharness.engine.actors import SHIFT
from simharness.engine.clock import EPOCH, nanoseconds
from simharness.engine.kernel import Kernel
from simharness.engine.operations import Operation
from simharness.errors import Misuse
from simharness.trace.data import Step, Trace, Waiting
from simharness.trace.log_lines import LogLines
from simharness.trace.moves import Move, messages, moves
from simharness.trace.tables import Tables, changed_rows, changed_tables, written


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
        self._log = LogLines(kernel, prints=True)

    def __enter__(self) -> Recorder:
        self._log.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._log.__exit__()

    def asked(self, keys: list[int]) -> None:
        """The kernel asks for a choice: keep what is possible."""
        self.observe()
        self._moves[self._kernel.record.n] = moves(self._kernel, keys)

    def observe(self) -> None:
        """Look at the world after the step that was made last."""
        kernel = self._kernel
        position = kernel.record.n - 1
        if position in self._after:
            return
        tables = self._snapshot(kernel)
        changes = tuple(changed_rows(self._tables, tables)) if position >= 0 else ()
        changed, self._tables = changed_tables(self._tables, tables), tables
        held_by: dict[int, Any] = kernel.context.get("held", {})
        held = {actor.name: tuple(held_by.get(actor.index, ())) for actor in kernel.cast.actors.values() if held_by.get(actor.index)}
        shown: dict[str, str] = {}
        until: dict[str, int] = {}
        for name, (show, runs_out) in kernel.context.get("shown", {}).items():
            shown[name] = str(self._look(name, partial(_text, show)))
            end = self._look("", runs_out) if runs_out is not None else None
            if isinstance(end, int | float):
                until[name] = nanoseconds(end) - EPOCH
        self._after[position] = _World(changes, changed, held, shown, until, kernel.movers.wall() - EPOCH)

    def _look(self, name: str, show: Callable[[], object]) -> object:
        """Return a value of `world.show`; where it cannot be computed (a lock that it needs is held), the value before."""
        values: list[object] = []
        try:
            with self._kernel.learned.unchanged():
                self._kernel.inspect(lambda: values.append(show()))
            if name:
                self._last_shown[name] = str(values[0])
        except Misuse:
            values = [self._last_shown.get(name, "")]
        except Exception as error:
            values = [f"({type(error).__name__})"]
        return values[0]

    def trace(self, scenario: str, parameters: Mapping[str, Any], failure: str | None, failed_at: int | None) -> Trace:
        """Return the trace of the kernel's execution, which is over."""
        kernel = self._kernel
        first = self._after.get(-1, _World())
        return Trace(
            scenario=scenario,
            parameters=dict(parameters),
            actors={actor.name: actor.process for actor in kernel.cast.actors.values()},
            steps=tuple(self._step(position) for position in range(len(kernel.record.operations))),
            waiting=waiting(kernel),
            failure=failure,
            failed_at=failed_at,
            initial=first.shown,
            until=first.until,
            tables=written(first.tables or {}, kernel.canonical),
            messages=messages(kernel, self._moves, kernel.canonical),
            moves=self._moves.get(len(kernel.record.operations), ()),
        )

    def _step(self, position: int) -> Step:
        kernel = self._kernel
        clean = kernel.canonical
        operation, key = kernel.record.operations[position], kernel.record.keys[position]
        actor = kernel.cast.actors.get(key >> SHIFT)
        world = self._after.get(position, _World())
        possible = self._moves.get(position, ())
        return Step(
            number=position + 1,
            actor=actor.name if actor is not None else kernel.mover(key),
            kind=operation.kind,
            detail=clean(operation.detail or _object(operation)),
            place=kernel.record.calls[position][0] if kernel.record.calls[position] else None,
            calls=kernel.record.calls[position],
            notes=tuple(map(clean, kernel.record.notes.get(position, ()))),
            time=kernel.record.times[position],
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
    """Return the actors that were stuck at the end of the kernel's execution, and what they wait for."""
    result = []
    for actor in kernel.cast.stuck:
        operation = actor.pending
        assert operation is not None
        kind, resource = operation.kind, operation.resource
        name, holder = (resource.name, kind.holder(resource.state)) if resource is not None else ("", None)
        result.append(Waiting(actor.name, kind, operation.detail or name, holder, kernel.cast.stuck_at.get(actor.name)))
    return tuple(result)


def _object(operation: Operation) -> str:
    """Return the name of what an operation works on, where that says something."""
    resource = operation.resource
    return "" if resource is None or resource.name in ("assume", "asyncio", "sleep", "trio") else resource.name
