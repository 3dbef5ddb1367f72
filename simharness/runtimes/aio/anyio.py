"""AnyIO on asyncio: its cancel scopes are numbered, and its plugin of pytest begins each execution without a runner.

AnyIO's own code runs. Its sets of scopes are ordered by hash; its plugin keeps the runner of the last test, which an execution that ends
early would leave to the next one. `tests/test_asyncio_pytest.py` fails when AnyIO changes what is used here.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from simharness.runtimes.patching import Patches
from simharness.runtimes.tasks.anyio import load
from simharness.runtimes.tasks.numbers import number

PLUGIN = "anyio.pytest_plugin"
LEFT: dict[str, Callable[[], Any]] = {"_current_runner": lambda: None, "_runner_stack": ExitStack, "_runner_leases": int}
"""What AnyIO's plugin keeps between tests, and what it begins with."""


def install(patches: Patches) -> None:
    """Plan the replacements, if the program has imported AnyIO."""
    if load("asyncio"):
        backend = importlib.import_module("anyio._backends._asyncio")
        patches.attribute(backend.CancelScope, "__hash__", number)


def begin_execution() -> None:
    """Begin an execution without a runner of AnyIO's plugin."""
    plugin = sys.modules.get(PLUGIN)
    for name, first in LEFT.items():
        if plugin is not None and hasattr(plugin, name):
            setattr(plugin, name, first())
