"""What asyncio only logs, or not even that, is a failure: a task that died and at which nobody looked, a callback that raised, a coroutine
that was never awaited, a call from another thread that wakes nobody.

A handler of the program (`loop.set_exception_handler`) gets what it would get without a simulation, and calls of other threads, too; what
it handles is no failure. A filter of warnings that ignores "coroutine … was never awaited" is respected.
"""

from __future__ import annotations

import warnings
from typing import Any

from simharness.engine.kernel import Kernel, current
from simharness.engine.phases import RUNNING
from simharness.errors import SimharnessError
from simharness.places import caller
from simharness.runtimes.aio import internals
from simharness.runtimes.patching import Patches

SILENT = frozenset({"Task was destroyed but it is pending!"})


class Hidden(AssertionError):
    """asyncio would have hidden a failure."""


class NotThreadSafe(RuntimeError):
    """A thread has used a loop that another thread runs."""


def _active(kernel: Kernel | None) -> bool:
    return kernel is not None and kernel.phase == RUNNING and not kernel.dying and kernel.error is None


def unhandled(loop: Any, context: dict[str, Any]) -> None:
    """Note a failure: what asyncio's own handler would log."""
    kernel: Kernel = loop.kernel
    message, error = context.get("message") or "Unhandled exception in event loop", context.get("exception")
    if current() is not kernel or not _active(kernel) or message in SILENT:
        return
    if isinstance(error, SimharnessError):
        kernel.give_up(error)
        return
    task = context.get("task") or context.get("future")
    name = task.get_name() if task is not None and hasattr(task, "get_name") else ""
    actor = None if kernel.actor is None else kernel.actor.name
    if error is None:
        error = Hidden(message)
    elif name:
        error.add_note(f"nobody looked at task {name}, which raised this")
    else:
        error.add_note(f"nobody handled this: {message.partition(' <')[0]}")
    kernel.fail(error, actor=actor)


def judge(loop: Any) -> None:
    """A loop is closed: report its tasks that have died and at which nobody has looked."""
    for task, error in _unseen(loop):
        task._log_traceback = False
        loop.call_exception_handler({"message": "Task exception was never retrieved", "exception": error, "task": task})


def judge_unclosed(loop: Any) -> None:
    """The execution is over, and the loop was not closed: report its tasks that have died, unless the program handles such things."""
    kernel: Kernel = loop.kernel
    if loop._closed or loop._exception_handler is not None or kernel.abandoned:
        return
    for task, error in _unseen(loop):
        error.add_note(f"nobody looked at task {task.get_name()}, which raised this")
        kernel.fail(error)


def _unseen(loop: Any) -> list[tuple[Any, BaseException]]:
    """Return the tasks of a loop that have died and at which nobody has looked, with what they raised; an exit has ended the loop."""
    found = [(task, internals.failure_of(task)) for task in loop.made if task.done() and task._log_traceback]
    return [(task, error) for task, error in found if error is not None and not isinstance(error, SystemExit | KeyboardInterrupt)]


def foreign_call(loop: Any, call: str) -> None:
    """Report a call from another thread that wakes nobody."""
    where = caller()
    message = (
        f"{f'{where}: ' if where else ''}{call} by a thread that does not run the loop, which it does not wake: use call_soon_threadsafe"
    )
    loop.call_exception_handler({"message": message, "exception": NotThreadSafe(message)})


def install(patches: Patches, has_loops: Any) -> None:
    """Plan to have coroutines that were never awaited reported."""
    genuine = (warnings._warn_unawaited_coroutine,)  # type: ignore[attr-defined]  # not in the stubs

    def never_awaited(coroutine: Any) -> None:
        kernel = current()
        if kernel is None or not has_loops(kernel):
            genuine[0](coroutine)
        elif _active(kernel):
            with warnings.catch_warnings(record=True) as heard:
                try:
                    genuine[0](coroutine)
                    said = [str(warning.message) for warning in heard]
                except Warning as warning:  # a filter makes errors of warnings
                    said = [str(warning)]
            for text in said:
                kernel.fail(Hidden(text), actor=None if kernel.actor is None else kernel.actor.name)

    patches.attribute(warnings, "_warn_unawaited_coroutine", never_awaited)
