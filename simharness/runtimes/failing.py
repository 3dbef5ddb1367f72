"""The fault `error`: callables that the fault model names raise instead of being called.

Each call of one is a scheduling point whose alternative is that it raises. Functions are replaced wherever they are bound,
methods in their class. The name is looked for in the scenario's own module first, then as a dotted path from a module.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from simharness.engine.faults import Faults
from simharness.engine.kernel import current
from simharness.engine.operations import Operation
from simharness.engine.phases import RUNNING
from simharness.errors import Misuse
from simharness.runtimes.patching import Patches


@contextmanager
def failing(faults: Faults | None, known: Mapping[str, Any]) -> Iterator[None]:
    """Have what the fault model names replaced for the length of a block.

    Args:
        known: names that need no module before them.

    Raises:
        Misuse: there is nothing of such a name, or it cannot fail so.
    """
    patches = Patches()
    for name in faults.limited_to("error") if faults is not None and faults.limit("error") else ():
        path, _, kind = name.rpartition(":")
        _plan(patches, path, _exception(kind, known), known)
    patches.apply()
    try:
        yield
    finally:
        patches.undo()


def _plan(patches: Patches, path: str, kind: type[Exception], known: Mapping[str, Any]) -> None:
    before, _, name = path.rpartition(".")
    owner = _found(before, known) if before else None
    original = known.get(name) if owner is None else getattr(owner, name, None)
    if not callable(original) or isinstance(original, type):
        raise Misuse(f"faults: error: {path} is no function or method; write error=1@package.module.function:{kind.__name__}")
    if not isinstance(owner, type):
        patches.everywhere(original, _perhaps(original, path, kind))
        return
    raw = next(vars(base)[name] for base in owner.__mro__ if name in vars(base))
    if isinstance(raw, staticmethod | classmethod):
        patches.attribute(owner, name, type(raw)(_perhaps(raw.__func__, path, kind)))
    else:
        patches.attribute(owner, name, _perhaps(raw, path, kind))


def _perhaps(original: Callable[..., Any], path: str, kind: type[Exception]) -> Callable[..., Any]:
    """Return what calls the original, or raises where the fault strikes."""

    kept = (original,)  # in a tuple, where no replacement reaches it

    def perhaps(*arguments: Any, **options: Any) -> Any:
        kernel = current()
        if kernel is not None and kernel.phase == RUNNING and kernel.step(Operation("call", detail=path, faults=("error",))):
            kernel.note(f"raises {kind.__name__}")
            raise kind(f"{path} fails: a fault")
        return kept[0](*arguments, **options)

    functools.update_wrapper(perhaps, original)
    del perhaps.__wrapped__  # type: ignore[attr-defined]  # update_wrapper has just set it
    return perhaps


def _exception(name: str, known: Mapping[str, Any]) -> type[Exception]:
    before, _, last = name.rpartition(".")
    found = getattr(_found(before, known), last, None) if before else known.get(last, getattr(builtins, last, None))
    if not isinstance(found, type) or not issubclass(found, Exception):
        raise Misuse(f"faults: error: {name} is no exception; name one, such as OSError or sqlite3.OperationalError")
    return found


def _found(path: str, known: Mapping[str, Any]) -> Any:
    """Return what a dotted path names; None if there is no such thing."""
    first, *rest = path.split(".")
    found = known.get(first)
    if found is None:
        try:
            found = sys.modules.get(first) or importlib.import_module(first)
        except ImportError:
            return None
    walked = first
    for name in rest:
        walked = f"{walked}.{name}"
        if not hasattr(found, name):
            try:
                importlib.import_module(walked)
            except ImportError:
                return None
        found = getattr(found, name, None)
    return found
