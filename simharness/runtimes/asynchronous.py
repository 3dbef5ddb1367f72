"""What runs an `async def` that is a scenario, an actor's work or a test: asyncio if its module uses that and not Trio, else Trio."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

from simharness.runtimes.trio.fixtures import trio_test
from simharness.runtimes.trio.order import require
from simharness.runtimes.trio.patches import run_with_trio


def on_asyncio(function: Callable[..., Any]) -> bool:
    """Whether the module of an `async def` has imported asyncio, or something of it, and nothing of Trio."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    roots = {_root_of(value) for value in getattr(function, "__globals__", {}).values()}
    return "asyncio" in roots and "trio" not in roots


def _root_of(value: object) -> str:
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return str(name).partition(".")[0].removeprefix("_")


def prepare(function: Callable[..., Any]) -> None:
    """Have what runs an `async def` imported.

    Raises:
        Misuse: that is Trio, which is not installed.
    """
    if not on_asyncio(function):
        require()


def run_async(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run an `async def`, as an actor does.

    Raises:
        Misuse: Trio is not installed, or was not imported when the exploration began.
    """
    return asyncio.run(function(*arguments)) if on_asyncio(function) else run_with_trio(function, *arguments)


def async_test(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap an `async def` test in a function that runs it: with Trio as `trio.testing.trio_test` does."""
    if not on_asyncio(function):
        return trio_test(function)

    @functools.wraps(function)
    def test(**fixtures: Any) -> Any:
        return asyncio.run(function(**fixtures))

    return test
