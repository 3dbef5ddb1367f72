"""The state of modules that are not instrumented, in outline: nothing puts it back, but two outlines show what has been left behind.

An outline has a short text for each variable, attribute and item of packages and of the user's own modules: sizes of containers, values of
what is simple, and the classes of everything else.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import FunctionType, ModuleType
from typing import Any

from simharness.instrument.loader import is_wanted
from simharness.instrument.marks import is_instrumented
from simharness.runtimes.bindings import is_users
from simharness.runtimes.heap.records import places_of
from simharness.runtimes.memory.allowed import TOOLS, TRANSPARENT
from simharness.runtimes.memory.kinds import SIMPLE

MOST = 20_000
LONGEST = 40
_CONTAINERS = (list, dict, set, deque)
_DIGITS = 4 * 640
"""Bits of numbers that are always written out: Python may refuse longer ones."""
Outline = dict[str, str]


def outline() -> tuple[Outline, dict[str, Callable[[], str]]]:
    """Return the outline of the state as it is now, and for each path a function that returns the text that it has later."""
    texts: Outline = {}
    later: dict[str, Callable[[], str]] = {}
    waiting: deque[tuple[str, Any]] = deque()
    for name in sorted(sys.modules):
        if _is_users(name) and not is_instrumented(name) and issubclass(type(sys.modules[name]), ModuleType):
            waiting.append((name, vars(sys.modules[name])))
    seen: set[int] = set()
    while waiting and len(texts) < MOST:
        path, thing = waiting.popleft()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        for part, value, again in _parts(thing):
            where = f"{path}{part}"
            texts[where] = text_of(value)
            later[where] = again
            if issubclass(type(value), _CONTAINERS) or _is_users_object(value):
                waiting.append((where, value))
    return texts, later


def uses_others(names: Sequence[str]) -> bool:
    """Whether modules of these names, or below them, have in a variable a module that is another one's, or a thing of it."""
    for name, module in list(sys.modules.items()):
        if is_wanted(name, names) and issubclass(type(module), ModuleType):
            for value in list(vars(module).values()):
                other = value.__name__ if type(value) is ModuleType else getattr(type(value), "__module__", None)
                if issubclass(type(value), type | FunctionType):
                    other = value.__module__
                if isinstance(other, str) and _is_users(other) and not is_wanted(other, names):
                    return True
    return False


def differences(before: Outline, after: Outline) -> list[str]:
    """Return the paths whose texts differ, the shortest first."""
    paths = [path for path in before.keys() | after.keys() if before.get(path) != after.get(path)]
    return sorted(paths, key=lambda path: (len(path), path))


def text_of(value: Any) -> str:
    """Return the short text for a value."""
    if type(value) in SIMPLE:
        return repr(value)[:LONGEST] if type(value) is not int or value.bit_length() < _DIGITS else f"int of {value.bit_length()} bits"
    kind = type(value).__name__
    sizes: Any = next((base.__len__ for base in _CONTAINERS if issubclass(type(value), base)), None)
    return kind if sizes is None else f"{kind} of {sizes(value)}"


def _parts(thing: Any) -> Iterator[tuple[str, Any, Callable[[], str]]]:
    if issubclass(type(thing), dict):
        dotted = "__name__" in thing and "__spec__" in thing
        for key, value in list(dict.items(thing)):
            if type(key) in (str, int) and not str(key).startswith("__"):
                yield f".{key}" if dotted else f"[{key!r}]", value, lambda key=key: text_of(dict.get(thing, key))  # type: ignore[misc]
    elif issubclass(type(thing), list | deque):
        for number, value in enumerate(list(thing)):
            yield f"[{number}]", value, lambda: "?"
    elif issubclass(type(thing), type):
        for name, value in list(vars(thing).items()):
            if not name.startswith("__") and type(value) is not FunctionType:
                yield f".{name}", value, lambda name=name: text_of(vars(thing).get(name))  # type: ignore[misc]
    elif not issubclass(type(thing), set):
        getter, _ = places_of(type(thing))
        for name, value in list(getter.__get__(thing).items()) if getter is not None else ():
            yield f".{name}", value, lambda name=name: text_of(getter.__get__(thing).get(name))  # type: ignore[misc]


def _is_users_object(value: Any) -> bool:
    kind = value if issubclass(type(value), type) else type(value)
    return _is_users(kind.__module__) and kind.__module__ != "builtins" and not issubclass(kind, ModuleType | FunctionType)


def _is_users(module: object) -> bool:
    return isinstance(module, str) and is_users(module) and module.partition(".")[0] not in TOOLS | TRANSPARENT
