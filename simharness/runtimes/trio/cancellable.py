"""What a fault can cancel in a `trio.run`: tasks, each in a cancel scope of its own, and the scopes that a named function opens.

A nursery's scope is opened by the function that opens the nursery.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import trio
from trio._core import _run

from simharness.places import is_foreign
from simharness.runtimes.patching import Patches
from simharness.runtimes.trio.run import Run

Task = trio.lowlevel.Task


class _Genuine(NamedTuple):
    """What is replaced; a tuple, because in a closure's cell it would be replaced too."""

    spawn: Callable[..., Any]
    enter: Callable[..., Any]


def install(patches: Patches, run_now: Callable[[], Run | None]) -> None:
    """Plan to note tasks and scopes that a fault may cancel.

    Args:
        run_now: returns the current run.
    """
    genuine = _Genuine(_run.Runner.spawn_impl, trio.CancelScope.__enter__)

    def spawn(runner: Any, async_fn: Callable[..., Any], args: Any, nursery: Any, name: Any, **options: Any) -> Any:
        """Make a task; if a fault can cancel it, in a cancel scope of its own."""
        run = run_now()
        if run is None or not run.cancellations.wanted or nursery is None or options.get("system_task"):
            return genuine.spawn(runner, async_fn, args, nursery, name, **options)
        scope = trio.CancelScope()
        task = genuine.spawn(runner, _scoped, (scope, async_fn, args), nursery, async_fn if name is None else name, **options)
        run.scopes.append((task, scope, ""))
        return task

    def enter(scope: Any) -> Any:
        """Enter a scope; if the function that opens it is named and its task is not, a fault can cancel it."""
        run = run_now()
        if run is not None and run.cancellations.wanted:
            task = trio.lowlevel.current_task()
            opener = _opener(task)
            if opener and run.cancellations.concerns((opener,), False) and not run.cancellations.concerns((task.name,), False):
                labels = run.kernel.labels
                name = labels.free(f"{opener} of {run.actors[id(task)].name}")
                labels.reserve(name)
                run.scopes.append((task, scope, name))
        return genuine.enter(scope)

    patches.attribute(_run.Runner, "spawn_impl", spawn)
    patches.attribute(trio.CancelScope, "__enter__", enter)


async def _scoped(scope: trio.CancelScope, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Call a task's function inside a scope; `anyio.forget` looks for the function."""
    with scope:
        return await function(*arguments)


def _opener(task: Task) -> str:
    """Return the name of the user's function that runs in a task; empty if there is none."""
    frame = sys._getframe(2)
    while is_foreign(frame.f_code.co_filename):
        if frame is task.coro.cr_frame or frame.f_back is None:
            return ""
        frame = frame.f_back
    return frame.f_code.co_name
