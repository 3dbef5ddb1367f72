"""AnyIO on Trio: its objects report how they are used, as Trio's own do (`footprints.py`), so that steps of its tasks are reduced.

Most of them pass calls on to an object of Trio's; conditions and memory streams keep what they need themselves.
`tests/test_trio_anyio.py` fails when AnyIO changes what is used here.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any

import trio

from simharness.engine.kernel import current
from simharness.runtimes.patching import Patches
from simharness.runtimes.tasks.anyio import load

_OBJECTS = {
    "anyio._backends._trio": ("CancelScope", "TaskGroup", "Event", "Lock", "Semaphore", "CapacityLimiter"),
    "anyio._core._tasks": ("TaskHandle",),
    "anyio._core._synchronization": (
        *("EventAdapter", "LockAdapter", "SemaphoreAdapter", "CapacityLimiterAdapter"),
        *("Condition", "ResourceGuard"),
    ),
    "anyio.streams.memory": (
        *("_MemoryObjectStreamState", "MemoryObjectStreamState", "_MemoryObjectItemReceiver", "MemoryObjectItemReceiver"),
        *("MemoryObjectReceiveStream", "MemoryObjectSendStream"),
    ),
    "anyio.streams.stapled": ("StapledObjectStream",),
}
"""Modules of AnyIO, and their classes whose objects have state; releases have one or the other name."""
_STATELESS = ("anyio._core._eventloop", "anyio.lowlevel", "anyio.abc._streams", "anyio.abc._resources")
KNOWN = frozenset((*_OBJECTS, *_STATELESS))
"""Modules whose coroutines touch only what reports it."""


def classes() -> list[Any]:
    """Return the classes whose objects report how they are used, if the program has imported AnyIO."""
    if not load("trio"):
        return []
    found = []
    for name, wanted in _OBJECTS.items():
        module = vars(importlib.import_module(name))
        found += [module[each] for each in wanted if each in module]
    return found


def install(patches: Patches) -> None:
    """Plan to have AnyIO's plugin of pytest run each fixture, and the test, in a run of its own, not all in one guest of another loop.

    So a fixture cannot hold a nursery or a cancel scope open while the test runs.
    """
    if "anyio" in sys.modules:
        runner = importlib.import_module("anyio._backends._trio").TestRunner
        patches.attribute(runner, "_call_in_runner_task", _in_a_run(runner._call_in_runner_task))


def _in_a_run(genuine: Callable[..., Any]) -> Callable[..., Any]:
    holder = (genuine,)  # in a closure's cell it would be replaced too

    def call(runner: Any, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        if current() is None:
            return holder[0](runner, function, *arguments, **keywords)
        waited = function(*arguments, **keywords)  # outside the run, at whose end Trio would close a fixture's generator

        async def main() -> Any:
            return await waited

        return trio.run(main, **runner._options)

    return call


def forget(coroutine: Any) -> None:
    """Close the coroutine that AnyIO's handle of a task holds, if the task will never begin: Python would warn that nobody awaited it."""
    if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
        values = coroutine.cr_frame.f_locals
        handle = values["self"] if "self" in values else getattr(values.get("function"), "__self__", None)
        held = getattr(handle, "_coro", None)
        if inspect.iscoroutine(held):
            held.close()


def run_variable() -> Any:
    """Return the class of AnyIO's variables of a run; None if the program has not imported AnyIO."""
    return importlib.import_module("anyio.lowlevel").RunVar if "anyio" in sys.modules else None
