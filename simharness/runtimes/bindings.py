"""Names for what was made before the simulation: the path by which a module leads to it, such as `store.LOCKS['a']`.

Such a name is the same in every execution, for every case and in a fresh process. Modules of the standard library and of the tools
around a test lead to nothing of the user's, so paths begin in the others. What no path leads to is called by the line that used it first.
"""

from __future__ import annotations

import functools
import linecache
import re
import sys
import threading
import weakref
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from gc import get_referents
from types import CellType, FunctionType, MemberDescriptorType, MethodType, ModuleType, SimpleNamespace
from typing import Any

from simharness.engine.kernel import Kernel
from simharness.places import caller, is_installed

SCENARIOS = "simharness_scenarios_"
"""What the names of modules begin with that were loaded from the path of a scenario file; people know them without it."""
MOST, MOST_INSTALLED = 20_000, 5_000
"""Things looked at, in the code under test and in packages that are installed; what is further away has no path."""
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
_ASSIGNS = re.compile(r"(\w+)\s*(:[^=]*)?=")
_CACHE: type = type(functools.lru_cache(len))


def is_users(module: Any) -> bool:
    """Whether a module is neither the standard library's nor a part of the tools around a test."""
    root = str(module).partition(".")[0]
    return root == "__main__" or (root not in _TOOLS and root not in sys.stdlib_module_names)


Known = dict[int, tuple[Any, str]]


class _Names:
    """Names in one exploration by the identity of what they name, and what paths lead to; `modules`: how many there were then."""

    def __init__(self) -> None:
        self.known: Known = {}
        self.paths: Known = {}
        self.kinds: set[type] = set()
        self.modules = -1
        self.roots: tuple[tuple[str, Any], ...] = ()


class Bindings:
    """What is called how, in each exploration.

    Paths are looked for when an exploration meets the first thing of a class, and again when modules have been imported since. So the
    second case of a process has the names that it would have in a fresh one.
    """

    OWN = "own names"
    """In a kernel's context: what a thing's name ends with, in the process that moves."""

    def __init__(self) -> None:
        self._names: weakref.WeakKeyDictionary[Kernel, _Names] = weakref.WeakKeyDictionary()
        self._given: Known = {}
        self._packages = _Names()

    def begin(self, kernel: Kernel, roots: Mapping[str, Any]) -> None:
        """Have an exploration's paths begin in these too, such as the scenario function and what its closure holds."""
        self._names.setdefault(kernel, _Names()).roots = tuple(roots.items())

    def name(self, kernel: Kernel, thing: Any, family: str) -> str:
        """Return what a thing that was made before is called; no two in one execution are called the same."""
        names = self._names.setdefault(kernel, _Names())
        if id(thing) not in names.known:
            path = self._path(names, thing)
            names.known[id(thing)] = thing, f"{family} {path}" if path is not None else f"{family} used at {caller() or 'no line'}"
        own: Callable[[Any], str] = kernel.context.get(Bindings.OWN, _alike)
        wanted = name = names.known[id(thing)][1] + own(thing)
        taken: dict[str, Any] = kernel.context.setdefault(Bindings, {})
        number = 1
        while taken.setdefault(name, thing) is not thing:
            number += 1
            name = f"{wanted} #{number}"
        return name

    def named(self, kernel: Kernel) -> dict[str, Any]:
        """Return what has been called how in the execution under way."""
        return dict(kernel.context.get(Bindings, {}))

    def path(self, thing: Any) -> str | None:
        """Return the path that leads to a thing now, if there is one."""
        return self._path(_Names(), thing)

    def give(self, thing: Any, path: str) -> None:
        """Have a thing called this until everything is forgotten."""
        self._given[id(thing)] = thing, path

    def forget(self) -> None:
        """Let go of everything."""
        self._names.clear()
        self._given.clear()
        self._packages = _Names()

    def _path(self, names: _Names, thing: Any) -> str | None:
        for known in (names, self._packages):
            if id(thing) in self._given or id(thing) in names.paths:
                break
            if type(thing) not in known.kinds or len(sys.modules) != known.modules:
                known.kinds.add(type(thing))
                known.modules = len(sys.modules)
                _walk(known, installed=known is self._packages)
        _, path = self._given.get(id(thing)) or names.paths.get(id(thing)) or self._packages.paths.get(id(thing)) or (None, None)
        return path


def _alike(thing: Any) -> str:
    """All processes call a thing alike."""
    return ""


def _walk(names: _Names, installed: bool) -> None:
    """Breadth first, so that each thing has the shortest path; one that has its path keeps it."""
    waiting = deque((*_globals(installed), *names.roots))
    seen: dict[int, Any] = {}
    while waiting and len(seen) < (MOST_INSTALLED if installed else MOST):
        path, thing = waiting.popleft()
        if type(thing) in _SIMPLE or id(thing) in seen:
            continue
        seen[id(thing)] = thing
        if type(thing) in names.kinds:
            names.paths.setdefault(id(thing), (thing, path))
        waiting.extend((f"{path}{key}", value) for key, value in _within(thing))


def _globals(installed: bool) -> Iterator[tuple[str, Any]]:
    """Yield the variables of the user's modules, or of the packages that are installed.

    What several of them refer to counts where its name is assigned, not imported.
    """
    bound: dict[int, list[tuple[str, str, Any]]] = {}
    for module in sorted(sys.modules):
        space = getattr(sys.modules[module], "__dict__", None)
        if type(space) is dict and is_users(module) and is_installed(space.get("__file__")) is installed:
            for name, value in list(space.items()):
                if not name.startswith("__") and type(value) not in _SIMPLE and not issubclass(type(value), ModuleType):
                    bound.setdefault(id(value), []).append((module, name, value))
    for places in bound.values():
        module, name, value = places[0] if len(places) == 1 else next(filter(_is_assigned, places), places[0])
        yield f"{module.removeprefix(SCENARIOS)}.{name}", value


def _is_assigned(place: tuple[str, str, Any]) -> bool:
    module, name, value = place
    if issubclass(type(value), type | FunctionType):
        return bool(value.__module__ == module)
    return name in _assigned(getattr(sys.modules[module], "__file__", None) or "")


@functools.cache
def _assigned(file: str) -> frozenset[str]:
    """Return the names that lines of a module begin to assign."""
    return frozenset(found[1] for line in linecache.getlines(file) if (found := _ASSIGNS.match(line)))


def _within(thing: Any) -> Iterable[tuple[str, Any]]:
    """Return what a thing leads to, each with the last part of its path. A set leads to nothing: it has no order."""
    kind = type(thing)
    if issubclass(kind, dict):
        yield from ((f"[{_key(key, number)}]", value) for number, (key, value) in enumerate(list(dict.items(thing))))
    elif issubclass(kind, list | tuple | deque):
        yield from ((f"[{number}]", value) for number, value in enumerate(list(thing)))
    elif kind is FunctionType:
        yield from _of_function(thing) if is_users(thing.__module__) else ()
    elif kind is CellType:
        yield from (("", held) for held in get_referents(thing))
    elif kind is MethodType:
        yield from ((".__self__", thing.__self__), (".__func__", thing.__func__))
    elif issubclass(kind, functools.partial):
        yield from ((f"({number})", value) for number, value in enumerate(thing.args))
        yield from ((f"({name})", value) for name, value in thing.keywords.items())
        yield ".func", thing.func
    elif kind is _CACHE:
        yield from ((f"({number})", value) for number, value in enumerate(get_referents(thing)))
    if issubclass(kind, type):
        if is_users(thing.__module__):
            yield from ((f".{name}", value) for name, value in list(vars(thing).items()) if not name.startswith("__"))
    elif is_users(kind.__module__) or issubclass(kind, _OF_THE_LIBRARY):
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
