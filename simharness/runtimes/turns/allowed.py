"""Which calls of examined code change nothing: functions in C that only read, and code of ours that says by its steps all that it does."""

from __future__ import annotations

import os
from collections import deque
from functools import lru_cache
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any

from simharness.engine.turns import ATOMS
from simharness.places import is_foreign, is_ours

CONTAINERS = (list, tuple, dict, set, frozenset, deque, str, bytes, range)
_PURE = frozenset({isinstance, issubclass, callable, id, len, bool, int, float, str, repr, hash, abs, getattr, hasattr})
_YIELD = getattr(os, "sched_yield", None)
_PURE_WHERE_SEEN = frozenset({len, repr, str, getattr, hasattr})
_CONSUMING = frozenset({min, max, any, all, sum})
_CONSUMING_METHODS = frozenset({"join", "issubset", "issuperset", "isdisjoint"})
"""Change nothing unless they are called with an iterator, which they advance."""
_PURE_TYPES = frozenset({bool, int, float, str, bytes, type})
_READERS = frozenset({"index", "count", "copy", "get", "keys", "values", "items", "__contains__", "__len__"})
_FILES = ("runtimes/threads/", "runtimes/memory/", "runtimes/sqlite/", "engine/")
_SILENT = ("runtimes/threads/", "runtimes/sqlite/")
_NAMED = ("Cell.", "VirtualClock.sleep", "World.step", "virtual_sleep", "looks.<locals>.does", "_looking.<locals>.does", "virtual_flock")
_STANDING_IN = tuple(f"runtimes/memory/{name}.py" for name in ("calls", "foreign", "on_opaque", "operators", "halfway"))
"""Where functions are defined that stand in for others; each has that as its variable `function`."""
_IMPURE_HOOKS = frozenset({"store", "update", "assigned", "augmented"})


def is_pure(function: Any, seen: bool) -> bool:
    """Whether a function in C changes nothing, whatever its arguments; in code that is not instrumented it must not read memory, either."""
    owner = getattr(function, "__self__", None)
    if owner is None or type(owner) is ModuleType:
        return function is _YIELD or function in (_PURE if seen else _PURE - _PURE_WHERE_SEEN)
    kind = type(owner)
    if kind in ATOMS:
        return function.__name__ not in _CONSUMING_METHODS
    return seen and kind in CONTAINERS and function.__name__ in _READERS


@lru_cache(maxsize=500)
def serves_us(file: str) -> bool:
    """Whether primitives may be made of the code of this file."""
    return is_foreign(file)


@lru_cache(maxsize=500)
def owes_step(file: str) -> bool:
    """Whether code of this file may change something where it makes no step, such as how often a reentrant lock was entered."""
    return _inside(file).startswith(_SILENT)


def _inside(file: str) -> str:
    """Return the path of a file of ours within the package."""
    return file.replace("\\", "/").rpartition("/simharness/")[2]


def stands_in(frame: FrameType | None) -> bool:
    """Whether a function of ours stands in for another."""
    return frame is not None and is_ours(frame.f_code.co_filename) and _inside(frame.f_code.co_filename).startswith(_STANDING_IN)


def says_all(frame: FrameType) -> bool:
    """Whether code of ours, called by examined code, says by its steps all that it does."""
    code = frame.f_code
    file = _inside(code.co_filename)
    if file.startswith(_STANDING_IN):
        values = frame.f_locals
        function = values.get("function")
        return _may_be_called(function) or _consumes_nothing(function, values.get("arguments"), values.get("keywords"))
    if file == "runtimes/memory/hooks.py":
        return _hook(code.co_name, frame.f_locals)
    return _says(code)


def _says(code: CodeType) -> bool:
    return _inside(code.co_filename).startswith(_FILES) or code.co_qualname.startswith(_NAMED)


def _hook(name: str, values: Any) -> bool:
    """Whether an access that rewritten code announces can only read."""
    if name in _IMPURE_HOOKS:
        return False
    if name == "on":
        return not hasattr(type(values["owner"]), "__missing__") and not hasattr(type(values["owner"]), "__next__")
    if name == "compared":
        return not hasattr(type(values["owner"]), "__next__")
    if name in ("walk", "iterator", "whole"):
        return type(values["value"]) in CONTAINERS
    return True


def consumed(frame: FrameType) -> Any:
    """Return the only argument of a function that consumes iterators, of which this frame of ours is the stand-in; None if it is none."""
    values = frame.f_locals
    arguments = values.get("arguments")
    if not stands_in(frame) or values.get("function") not in _CONSUMING or values.get("keywords"):
        return None
    return arguments[0] if type(arguments) is tuple and len(arguments) == 1 else None


def _consumes_nothing(function: Any, arguments: Any, keywords: Any) -> bool:
    """Whether a function that consumes iterators is given none, but only values and containers."""
    if keywords or type(arguments) is not tuple or type(function) is not BuiltinFunctionType:
        return False
    owner = function.__self__
    if function in _CONSUMING:
        return all(type(given) in ATOMS or type(given) in CONTAINERS for given in arguments)
    return (
        type(owner) in (str, bytes, set, frozenset)
        and function.__name__ in _CONSUMING_METHODS
        and all(type(given) in CONTAINERS for given in arguments)
    )


def _may_be_called(function: Any) -> bool:
    kind = type(function)
    if kind is MethodType:
        function, kind = function.__func__, type(function.__func__)
    if kind is FunctionType:
        code = function.__code__
        return not is_ours(code.co_filename) or (_says(code) and not owes_step(code.co_filename))
    if kind is type:
        return function in _PURE_TYPES
    return is_pure(function, seen=True)
