"""Which tasks of a loop a fault can cancel."""

from __future__ import annotations

from inspect import CORO_SUSPENDED, getcoroutinestate, iscoroutine
from typing import TYPE_CHECKING, Any

from simharness.runtimes.aio import internals, kinds
from simharness.runtimes.aio.state import operation

if TYPE_CHECKING:
    from simharness.runtimes.aio.run import Run  # which calls this; a circle of types only


def cancellable(run: Run) -> tuple[str, ...]:
    """Return the names of the tasks that live and that the fault model names, unless they are about to find themselves cancelled."""
    if not run.cancellations.wanted or run.cancellations.under_way is not None:
        return ()
    entries = [(entry.handle, internals.task_of(entry.handle)) for entry in (*run.queue.ready, *run.queue.pauses)]
    doomed = [task for handle, task in entries if task is not None and internals.is_cancelled(handle, task)]
    return tuple(
        run.cancellations.offer(run.actor_of_task(task).name, run.owner, task.cancel)
        for task in run.loop.made
        if not task.done() and task not in doomed and run.cancellations.concerns(internals.names_of(task), task is not run.main)
    )


def cancelling(run: Run) -> str:
    """Have the cancellation of a task that a fault has struck be the loop's next step; return the name of the actor that makes it."""
    actor = run.actor_of_callbacks()
    assert run.cancellations.under_way is not None
    actor.pending = operation(run.state, actor.name, kinds.CANCELS, run.cancellations.under_way[0])
    return actor.name


def has_begun(task: Any) -> bool:
    """Whether a task waits already, though the loop has not run it: an eager one."""
    coroutine = task.get_coro()
    return iscoroutine(coroutine) and getcoroutinestate(coroutine) == CORO_SUSPENDED
