"""Access to asyncio's internals: what handles run, what tasks wait for, what the running loop is.

`REACHED` lists what is used here, by the loop and by its run; `tests/test_asyncio_internals.py` fails when CPython changes it.
"""

from __future__ import annotations

import asyncio
from asyncio import base_events, coroutines, events, runners, selector_events, tasks, unix_events
from typing import Any

from greenlet import GreenletExit

from simharness.places import Place, is_foreign

ATTEMPTS = 100
"""How often an exception is thrown into an abandoned task to end it, before it is left alone."""
STEPS = frozenset({"TaskStepMethWrapper"})
PY_TASK: Any = tasks._PyTask  # type: ignore[attr-defined]  # not in the stubs
SHUTDOWN = {
    base_events.BaseEventLoop.shutdown_asyncgens.__code__: "_asyncgens",
    base_events.BaseEventLoop.shutdown_default_executor.__code__: "_default_executor",
}
"""The coroutines by which `asyncio.run` ends, and the attributes of the loop that say whether they have anything to do."""


def task_of(handle: Any) -> Any:
    """Return the task that a handle steps; None if it steps none."""
    owner = getattr(handle._callback, "__self__", None)
    if isinstance(owner, asyncio.Task | PY_TASK) and not isinstance(handle, events.TimerHandle):
        return owner if is_step(handle) or _is_wake_up(handle) else None
    return None


def is_step(handle: Any) -> bool:
    """Whether a handle is a task's step that waits for no future: its first, or the one after a pause."""
    callback = handle._callback
    return type(callback).__name__ in STEPS or getattr(callback, "__name__", "").endswith("__step")


def _is_wake_up(handle: Any) -> bool:
    return getattr(handle._callback, "__name__", "").lower().endswith("wakeup")


def is_cancelled(handle: Any, task: Any) -> bool:
    """Whether the task that a handle steps will find itself cancelled."""
    if getattr(task, "_must_cancel", False):
        return True
    awaited = handle._args[0] if handle._args else None
    return asyncio.isfuture(awaited) and awaited.cancelled()


def failure_of(future: Any) -> BaseException | None:
    """Return the exception of a future without having it count as retrieved."""
    failure: BaseException | None = future._exception
    return failure


def name_of(handle: Any) -> str:
    """Return the name of what a handle calls."""
    callback = handle._callback
    while hasattr(callback, "func"):
        callback = callback.func
    return getattr(callback, "__qualname__", None) or type(callback).__name__


def places_of(handle: Any) -> tuple[Place, ...]:
    """Return the first line of what a handle calls, if it is a function of the user's."""
    callback = handle._callback
    while hasattr(callback, "func"):
        callback = callback.func
    code = getattr(getattr(callback, "__func__", callback), "__code__", None)
    if code is None or is_foreign(code.co_filename):
        return ()
    return (Place(code.co_filename, code.co_firstlineno, code.co_name),)


def names_of(task: Any) -> tuple[str, ...]:
    """Return the names by which a task can be meant: its own, and that of its function."""
    return task.get_name(), getattr(task.get_coro(), "__name__", "")


def quiet(future: Any) -> None:
    """Have a future's finaliser say nothing."""
    if isinstance(future, asyncio.Task | PY_TASK):
        future._log_destroy_pending = False  # type: ignore[union-attr]
    if future.done() and future._log_traceback:
        future._log_traceback = False


def abandon(tasks_made: list[Any]) -> None:
    """End the coroutines of the tasks of an execution that is dying, in the order in which they were made."""
    for task in tasks_made:
        coroutine = task.get_coro()
        quiet(task)
        if task.done() or not hasattr(coroutine, "throw"):
            continue
        for _ in range(ATTEMPTS):
            try:
                coroutine.throw(GreenletExit())
            except BaseException:
                break


REACHED: dict[Any, tuple[str, ...]] = {
    base_events.BaseEventLoop: (
        *("run_forever", "run_until_complete", "_run_once", "_check_closed", "_check_running", "_call_soon", "call_at", "call_soon"),
        *("_asyncgen_firstiter_hook", "_asyncgen_finalizer_hook", "_timer_handle_cancelled", "_write_to_self", "close", "create_task"),
        *("call_soon_threadsafe", "default_exception_handler", "call_exception_handler", "shutdown_asyncgens", "shutdown_default_executor"),
    ),
    selector_events.BaseSelectorEventLoop: ("_make_self_pipe", "_close_self_pipe", "_process_events"),
    unix_events._UnixSelectorEventLoop: ("add_signal_handler", "close"),
    events.Handle: ("_callback", "_args", "_run", "_cancelled", "_context"),
    events.TimerHandle: ("_when", "_scheduled"),
    asyncio.Task: ("_must_cancel", "_fut_waiter", "_log_destroy_pending", "get_coro"),
    asyncio.Future: ("_exception", "_log_traceback"),
    coroutines: ("_is_debug_mode",),
    events: ("_set_running_loop", "_get_running_loop", "new_event_loop"),
    runners: ("_cancel_all_tasks",),
}
"""The attributes of asyncio's internals that are used, by owner; a test looks for each."""
OF_LOOPS = (
    "_ready",
    "_scheduled",
    "_selector",
    "_clock_resolution",
    "_stopping",
    "_thread_id",
    "_asyncgens",
    "_default_executor",
    "_task_factory",
)
"""The attributes of a loop that are used."""
