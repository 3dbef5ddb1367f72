"""What makes unmodified code take its scheduling points: one module for each part of the standard library.

Each runtime module has `install(patches)`, which plans its replacements. They are made when an exploration begins and taken back
when it ends. A replacement asks `simharness.kernel.current()`: inside a simulation it declares operations to that kernel; outside,
and on other OS threads, it delegates to what it replaces.
"""

from __future__ import annotations

import importlib
from typing import Any

from simharness.kernel import Kernel
from simharness.runtimes.patching import Patches

NAMES = ("threads", "sqlite", "time", "explicit")
"""The runtimes whose operations are scheduling points, as verdicts name them."""

def _optional(name: str) -> Any:
    try:
        return importlib.import_module(f"simharness.runtimes.{name}")
    except ImportError:
        return None


def install(patches: Patches) -> None:
    """Plan the replacements of every runtime."""
    for name in ("threads", "thread", "queues", "sqlite", "time", "randomness", "refused", "logs"):
        module = _optional(name)
        if module is not None:
            module.install(patches)


def end_execution(kernel: Kernel) -> None:
    """Close what an execution has opened."""
    module = _optional("sqlite")
    if module is not None:
        module.end_execution(kernel)


def snapshot(kernel: Kernel) -> dict[str, dict[str, list[tuple[Any, ...]]]]:
    """Return the committed rows of every database of the execution: label, table, rows."""
    module = _optional("sqlite")
    return module.snapshot(kernel) if module is not None else {}
