"""Names for what was made before the simulation: the path by which a module leads to it, such as `store.LOCKS['a']`.

Such a name is the same in every execution, for every case and in a fresh process. Modules of the standard library and of the tools
around a test lead to nothing of the user's, so paths begin in the others. What no path leads to has a number, in the order in which an
exploration meets such things.
"""

from __future__ import annotations

import functools
import linecache
import re
import sys
import threading
import weakref
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Iterable, Iterator, Mapping
from gc import get_referents
from types import CellType, FunctionType, MemberDescriptorType, MethodType, ModuleType, SimpleNamespace
from typing import Any

from simharness.engine.kernel import Kernel

SCENARIOS = "simharness_scenarios_"
"""What the names of modules begin with that were loaded from the path of a scenario file; people know them without it."""
MOST = 20_000
"""Things looked at; what is further away has no path."""
LONGEST_KEY = 40
_SIMPLE = frozenset({int, float, complex, str, bytes, bool, type(None)})
_TOOLS = frozenset(
    {"simharness", "_pytest", "pytest", "pluggy", "greenlet", "coverage", "pytest_cov", "xdist", "execnet", "pydevd", "debugpy"}
)
_OF_THE_LIBRARY = (
    *(threading.Condition, threading.Semaphore, functools.cached_property, functools.partial, SimpleNamespace),
    *(ChainMap, UserDict, UserList, Mapping, property, staticmethod, classmethod),
)
"""Classes of the standard library whose objects hold the user's."""
_CACHE: type = type(functools.lru_cache(len))


def is_users(module: Any) -> bool:
    """Whether a module is neither the standard library's nor a part of the tools around a test."""
    root = str(module).partition(".")[0]
    return root == "__main__" or (root not in _TOOLS and root not in sys.stdlib_module_names)


class Paths:
    """The paths to things of some classes, looked for when the first is asked for, and again when modules have been imported since."""

    def __init__(self) -> None:
        self._wanted: set[type] = set()
        self._paths: dict[int, tuple[Any, str]] = {}
        self._modules = -1
        self._names: weakref.WeakKeyDictionary[Kernel, dict[int, tuple[Any, str]]] = weakref.WeakKeyDictionary()

    def name(self, kernel: Kernel, thing: Any, family: str) -> str:
        """Return what a thing that was made before is called, in this exploration and, if a path leads to it, in every other."""
        names = self._names.setdefault(kernel, {})
        known = names.get(id(thing))
        if known is None:
            path = self.path(thing)
            name = f"{family} {path}"
            if path is None:
                name = f"{family} made before, no. {1 + sum('made before, no. ' in other for _, other in names.values())}"
            known = names[id(thing)] = thing, name
        return known[1]

    def forget(self) -> None:
        """Let go of everything."""
        self._paths, self._modules = {}, -1
        self._names.clear()

    def give(self, thing: Any, path: str) -> None:
        """Have a thing called this until everything is forgotten."""
        self._paths[id(thing)] = thing, path

    def path(self, thing: Any) -> str | None:
        """Return the path that leads to a thing, if there is one."""
        kind, count = type(thing), len(sys.modules)
        if id(thing) not in self._paths and (kind not in self._wanted or count != self._modules):
            self._wanted.add(kind)
            self._modules = count
            self._walk()
        known = self._paths.get(id(thing))
        return known[1] if known is not None else None

    def _walk(self) -> None:
        """Breadth first, so that each thing has the shortest path; one that has its path keeps it."""
        waiting = deque(_globals())
        seen: dict[int, Any] = {}
        while waiting and len(seen) < MOST:
            path, thing = waiting.popleft()
            if type(thing) in _SIMPLE or id(thing) in seen:
                continue
            seen[id(thing)] = thing
            if type(thing) in self._wanted:
                self._paths.setdefault(id(thing), (thing, path))
            waiting.extend((f"{path}{key}", value) for key, value in _within(thing))


def _globals() -> Iterator[tuple[str, Any]]:
    """Yield the variables of the user's modules. What several of them refer to counts where its name is assigned, not imported."""
    bound: dict[int, list[tuple[str, str, Any]]] = {}
    for module in sorted(sys.modules):
        space = getattr(sys.modules[module], "__dict__", None)
        if type(space) is dict and is_users(module):
            for name, value in list(space.items()):
                if not name.startswith("__") and type(value) not in _SIMPLE and not isinstance(value, ModuleType):
                    bound.setdefault(id(value), []).append((module, name, value))
    for places in bound.values():
        module, name, value = places[0] if len(places) == 1 else next(filter(_is_assigned, places), places[0])
        yield f"{module.removeprefix(SCENARIOS)}.{name}", value


def _is_assigned(place: tuple[str, str, Any]) -> bool:
    module, name, value = place
    if isinstance(value, type | FunctionType):
        return value.__module__ == module
    lines = linecache.getlines(getattr(sys.modules[module], "__file__", None) or "")
    return any(line.startswith(name) and re.match(r"\s*(:[^=]*)?=", line[len(name) :]) for line in lines)


def _within(thing: Any) -> Iterable[tuple[str, Any]]:
    """Return what a thing leads to, each with the last part of its path. A set leads to nothing: it has no order."""
    kind = type(thing)
    if isinstance(thing, dict):
        yield from ((f"[{_key(key, number)}]", value) for number, (key, value) in enumerate(list(dict.items(thing))))
    elif isinstance(thing, list | tuple | deque):
        yield from ((f"[{number}]", value) for number, value in enumerate(list(thing)))
    elif kind is FunctionType:
        yield from _of_function(thing) if is_users(thing.__module__) else ()
    elif kind is CellType:
        yield from (("", held) for held in get_referents(thing))
    elif kind is MethodType:
        yield from ((".__self__", thing.__self__), (".__func__", thing.__func__))
    elif isinstance(thing, functools.partial):
        yield from ((f"({number})", value) for number, value in enumerate(thing.args))
        yield from ((f"({name})", value) for name, value in thing.keywords.items())
        yield ".func", thing.func
    elif kind is _CACHE:
        yield from ((f"({number})", value) for number, value in enumerate(get_referents(thing)))
    if isinstance(thing, type):
        if is_users(thing.__module__):
            yield from ((f".{name}", value) for name, value in list(vars(thing).items()) if not name.startswith("__"))
    elif is_users(kind.__module__) or isinstance(thing, _OF_THE_LIBRARY):
        yield from _attributes(thing)


def _key(key: Any, number: int) -> str:
    simple = type(key) in _SIMPLE or (type(key) is tuple and all(type(part) in _SIMPLE for part in key))
    text = repr(key) if simple else ""
    return text if 0 < len(text) <= LONGEST_KEY else f"no. {number}"


def _of_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    code = function.__code__
    yield from ((f".{name}", cell) for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True))
    defaults = function.__defaults__ or ()
    yield from zip((f"({name})" for name in code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]), defaults, strict=True)
    yield from ((f"({name})", value) for name, value in (function.__kwdefaults__ or {}).items())


def _attributes(thing: Any) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of an object, those in slots too, without running code of its class."""
    try:
        held = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        held = None
    if type(held) is dict:
        yield from ((f".{name}", value) for name, value in list(held.items()) if type(name) is str)
    for base in type(thing).__mro__:
        for name, member in vars(base).items() if base.__module__ != "builtins" else ():
            if type(member) is MemberDescriptorType:
                try:
                    yield f".{name}", member.__get__(thing)
                except AttributeError:
                    continue
