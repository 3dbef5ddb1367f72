"""The kernel's model of a running loop: which of its actors may move, and the entries of its run queue."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from simharness.engine.actors import Actor
from simharness.engine.kinds import Kind
from simharness.engine.operations import Operation, Resource


class LoopState(NamedTuple):
    """Which actors of a loop may move.

    Attributes:
        free: the loop runs, and no callback is in the middle of its step.
        may: names of the actors that may move.
        waits: names of the actors that may move later, with the instants from which on they may.
        cancellable: names of the tasks that a fault can cancel.
    """

    free: bool = False
    may: tuple[str, ...] = ()
    waits: tuple[tuple[str, int], ...] = ()
    cancellable: tuple[str, ...] = ()


@dataclass(eq=False)
class Entry:
    """A callback that is to run: registered, or a timer.

    Attributes:
        handle: of asyncio.
        stamp: the turn of the loop in which it was registered; for a timer, the one in which its time came.
        low, high: bounds of the iteration of the loop in which it runs.
        task: it is a step of a task.
        pause: a task has yielded to the loop without waiting for anything, as `sleep(0)` does.
        place: of a pause, where in its code the task has yielded.
        nap: of a pause in a loop that only looks again and again, the instant at which it ends.
        instant: of a timer, its time; the kernel's.
        due: of a timer, whether that has come.
        late: of a timer, whether it is past.
        overtaken: how often pauses, by task and place, have ended while this entry could have run.
    """

    handle: Any
    stamp: int
    low: int = 0
    high: int = 0
    task: bool = False
    pause: bool = False
    place: Any = None
    nap: int = 0
    instant: int = 0
    due: bool = False
    late: bool = False
    actor: Actor | None = None
    overtaken: dict[Any, int] = field(default_factory=dict)

    @property
    def cancelled(self) -> bool:
        """Whether the callback was cancelled."""
        return bool(self.handle._cancelled)


def operation(loop: Resource, name: str, kind: Kind, detail: str = "", timed: bool = False) -> Operation:
    """Return the next step of the actor of this name.

    Args:
        loop: whose state says who may move.
        timed: whether it may have to wait for an instant.
    """

    def may(state: LoopState) -> bool:
        return state.free and name in state.may

    def due(state: LoopState) -> int | None:
        return next((instant for other, instant in state.waits if other == name), None)

    return Operation(kind, loop, writes=loop.bit, enabled=may, detail=detail, due=due if timed else None)
