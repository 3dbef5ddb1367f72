"""The kernel's model of a `trio.run`: its state, the operations of its tasks and of its loop, and its clock."""

from __future__ import annotations

from typing import NamedTuple

import trio

from simharness.engine.kernel import Kernel
from simharness.engine.kinds import Kind
from simharness.engine.operations import Operation, Resource
from simharness.runtimes.tasks.actors import ExactTimes


class RunState(NamedTuple):
    """Which tasks may be resumed.

    Attributes:
        free: no task is in the middle of its step.
        runnable: names of the actors whose tasks are runnable, in the order in which they became so.
        batch: the rest of the batch under way.
        idle: nothing is runnable, and Trio's loop would act on that.
        deadline: the next one, in the clock's nanoseconds.
        cancellable: names of the tasks that a fault can cancel.
    """

    free: bool = False
    runnable: tuple[str, ...] = ()
    batch: tuple[str, ...] = ()
    idle: bool = False
    deadline: int | None = None
    cancellable: tuple[str, ...] = ()


class RunClock(trio.abc.Clock):
    """The kernel's clock as a run sees it. A time that was rounded to the kernel's nanoseconds reads as before rounding."""

    def __init__(self, kernel: Kernel) -> None:
        self._times = ExactTimes(kernel)

    def start_clock(self) -> None:
        """Do nothing: it runs already."""

    def current_time(self) -> float:
        """Return the monotonic clock in seconds."""
        return self._times.now()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Return the seconds until a time."""
        return deadline - self.current_time()

    def instant(self, deadline: float) -> int:
        """Convert a time of this clock to the kernel's."""
        return self._times.instant(deadline)


def task_operation(run: Resource, name: str, batches: bool, kind: Kind, detail: str) -> Operation:
    """Return the next step of the task whose actor has this name.

    Args:
        run: its run, whose state says which tasks may be resumed.
        batches: whether it is resumed only when the batch has reached it.
    """

    def in_any(state: RunState) -> bool:
        return state.free and name in state.runnable

    def in_batches(state: RunState) -> bool:
        return state.free and state.batch[:1] == (name,)

    return Operation(kind, run, writes=run.bit, enabled=in_batches if batches else in_any, detail=detail)


def loop_operation(both: Resource, name: str, batches: bool, kind: Kind, options: int = 1, detail: str = "") -> Operation:
    """Return the next step of a run's loop, whose actor has this name.

    Args:
        both: the run and the waiting callbacks.
        batches: whether it takes a batch when the last batch is over, and runs callbacks only when the batch has reached them.
    """

    def in_any(state: tuple[RunState, int]) -> bool:
        run, callbacks = state
        return run.free and (callbacks > 0 or run.idle)

    def in_batches(state: tuple[RunState, int]) -> bool:
        run, callbacks = state
        if run.batch:
            return run.free and run.batch[0] == name
        return run.free and bool(run.runnable or callbacks or run.idle)

    def due(state: tuple[RunState, int]) -> int | None:
        run, _ = state
        return run.deadline if run.free and not run.batch else None

    return Operation(kind, both, writes=both.bit, enabled=in_batches if batches else in_any, options=options, detail=detail, due=due)
