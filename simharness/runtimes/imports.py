"""Imports inside a simulation: the first import of a module is not part of an execution.

It happens in the first execution only, so it would be nondeterministic; and its steps would be made under the interpreter's import locks,
which are real. So it runs outside: it makes no steps, its objects count as made before the simulation, its clocks are real.
"""

from __future__ import annotations

import builtins
import importlib
import sys
from types import ModuleType
from typing import Any

from simharness.engine.kernel import current, outside
from simharness.runtimes.patching import Patches

WHEN_IMPORTED = "when imported"
"""In a kernel's context: called when modules have been imported."""
_import = builtins.__import__
_import_module = importlib.import_module


def _virtual_import(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> ModuleType:
    if current() is None or (name in sys.modules and not fromlist and not level):
        return _import(name, globals, locals, fromlist, level)
    before = len(sys.modules)
    try:
        with outside():
            return _import(name, globals, locals, fromlist, level)
    finally:
        _imported(before)


def _virtual_import_module(name: str, package: str | None = None) -> ModuleType:
    if current() is None:
        return _import_module(name, package)
    before = len(sys.modules)
    try:
        with outside():
            return _import_module(name, package)
    finally:
        _imported(before)


def _imported(before: int) -> None:
    kernel = current()
    if len(sys.modules) != before and kernel is not None and WHEN_IMPORTED in kernel.context:
        kernel.context[WHEN_IMPORTED]()


def install(patches: Patches) -> None:
    """Plan the replacements."""
    patches.attribute(builtins, "__import__", _virtual_import)
    patches.everywhere(_import_module, _virtual_import_module)
