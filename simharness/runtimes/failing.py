"""The fault `error`: callables named by the fault model raise instead of being called.

Each call of such a callable is a scheduling point whose alternative is that it raises. Functions are replaced wherever they are bound,
methods in their class. The name is looked up in the scenario's own module first, then as a dotted path from a module.
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
from simharness.engine.kinds import ALONE, Kind
from simharness.engine.operations import Operation
from simharness.engine.phases import RUNNING
from simharness.errors import Misuse
from simharness.runtimes.patching import Patches

CALL = Kind(ALONE, "call")


@contextmanager
def failing(faults: Faults | None, known: Mapping[str, Any]) -> Iterator[None]:
    """Replace what the fault model names, for the length of a block.

    Args:
        known: names that can be given without a module.

    Raises:
        Misuse: there is nothing of such a name, or it cannot fail in this way.
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
    owner = _object_at(before, known) if before else None
    original = known.get(name) if owner is None else getattr(owner, name, None)
    if not callable(original) or isinstance(original, type):
        raise Misuse(f"faults: error: {path} is no function or method; write error=1@package.module.function:{kind.__name__}")
    if not isinstance(owner, type):
        patches.everywhere(original, _may_fail(original, path, kind))
        return
    raw = next(vars(base)[name] for base in owner.__mro__ if name in vars(base))
    if isinstance(raw, staticmethod | classmethod):
        patches.attribute(owner, name, type(raw)(_may_fail(raw.__func__, path, kind)))
    else:
        patches.attribute(owner, name, _may_fail(raw, path, kind))


def _may_fail(original: Callable[..., Any], path: str, kind: type[Exception]) -> Callable[..., Any]:
    """Wrap a callable so that it raises where the fault strikes."""

    kept = (original,)  # in a tuple, where no replacement reaches it

    def may_fail(*arguments: Any, **options: Any) -> Any:
        kernel = current()
        if kernel is not None and kernel.phase == RUNNING and kernel.step(Operation(CALL, detail=path, faults=("error",))):
            kernel.note(f"raises {kind.__name__}")
            raise kind(f"{path} fails: a fault")
        return kept[0](*arguments, **options)

    functools.update_wrapper(may_fail, original)
    del may_fail.__wrapped__  # type: ignore[attr-defined]  # update_wrapper has just set it
    return may_fail


def _exception(name: str, known: Mapping[str, Any]) -> type[Exception]:
    before, _, last = name.rpartition(".")
    error = getattr(_object_at(before, known), last, None) if before else known.get(last, getattr(builtins, last, None))
    if not isinstance(error, type) or not issubclass(error, Exception):
        raise Misuse(f"faults: error: {name} is no exception; name one, such as OSError or sqlite3.OperationalError")
    return error


def _object_at(path: str, known: Mapping[str, Any]) -> Any:
    """Return the object that a dotted path names; None if there is none."""
    first, *rest = path.split(".")
    thing = known.get(first)
    if thing is None:
        try:
            thing = sys.modules.get(first) or importlib.import_module(first)
        except ImportError:
            return None
    walked = first
    for name in rest:
        walked = f"{walked}.{name}"
        if not hasattr(thing, name):
            try:
                importlib.import_module(walked)
            except ImportError:
                return None
        thing = getattr(thing, name, None)
    return thing
