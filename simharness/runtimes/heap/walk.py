"""The walk from instrumented modules to what hangs on them: containers, objects with attributes, classes, functions, closures, caches.

It stops at other modules and their classes and functions, and at what `memory/allowed.py` exempts: locks and queues, whose state belongs to
the simulation, values, files, the tools around a test. A weak reference leads to its object, which is then held.
"""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections import deque
from collections.abc import Container, Iterable, Iterator, Set
from functools import cached_property, lru_cache, partial
from random import Random
from types import BuiltinMethodType, CellType, FunctionType, MappingProxyType, MethodType, MethodWrapperType, ModuleType
from typing import Any

from simharness.instrument.marks import HOOKS, announces, is_instrumented
from simharness.runtimes.bindings import is_users
from simharness.runtimes.heap.containers import Both, contents
from simharness.runtimes.heap.functions import Cache, Cell, Function, Generator
from simharness.runtimes.heap.iterators import KINDS, Position, face_of, state_of
from simharness.runtimes.heap.records import Attributes, ClassAttributes, Record, Variables, places_of
from simharness.runtimes.memory.allowed import is_controlled, is_exempt
from simharness.runtimes.memory.kinds import EXEMPT, SIMPLE, kind_of
from simharness.runtimes.memory.locations import shown

MOST = 100_000
"""Objects to keep; what is further away is not put back."""
IGNORED = frozenset({HOOKS, "__builtins__"})
_CACHE: type = type(lru_cache(len))
_PRIMITIVES = frozenset({"_thread", "threading"})
_CARRIERS: tuple[type, ...] = (tuple, frozenset, MethodType, partial, staticmethod, classmethod, property, cached_property)
_CARRIERS += (weakref.ref, MappingProxyType, BuiltinMethodType, MethodWrapperType)


class Walk:
    """Finds what hangs on modules that have not been visited yet.

    Attributes:
        records: of everything found, by the identity of the thing.
        spaces: those of them that are the globals of modules, by the name of the module.
        own: the identities of locks, events and the like that were found: the simulation has their state.

    Args:
        before: what an earlier walk has found is left out.
    """

    def __init__(self, before: Walk | None = None) -> None:
        self.records: dict[int, Record] = {}
        self.spaces: dict[str, Variables] = {} if before is None else before.spaces
        self.held: list[Any] = []
        self.own: set[int] = set()
        self._seen: set[int] = set()
        self._before: Set[int] = frozenset() if before is None else before._seen
        self._places: dict[type, tuple[Any, dict[str, Any]] | None] = {}

    def visit(self, others: Iterable[tuple[str, Any]] = ()) -> None:
        """Visit the instrumented modules that there are now, and what hangs on them, and other things, each with its path."""
        waiting: deque[tuple[str, Any]] = deque(others)
        for name in sorted(_with_hooks()):
            if name not in self.spaces and is_instrumented(name):
                space = self.spaces[name] = Variables(vars(sys.modules[name]), shown(name), IGNORED)
                self.records[id(space.thing)] = space
                self._seen.add(id(space.thing))
                waiting.extend(self._below(space))
        self.follow(waiting)

    def follow(self, things: Iterable[tuple[str, Any]]) -> None:
        """Visit these things, each with its path, and what hangs on them."""
        waiting = deque(things)
        while waiting and len(self.records) < MOST:
            path, thing = waiting.popleft()
            if id(thing) in self._seen or id(thing) in self._before:
                continue
            self._seen.add(id(thing))
            self.held.append(thing)
            if type(thing).__module__ in _PRIMITIVES:
                self.own.update(map(id, _primitive(thing)))
            position = self._position(face_of(thing), path)
            if position is not None:
                position.faces.append(thing)
                waiting.extend(self._below(position))
                continue
            for record in self._records_of(thing, path):
                self.records[id(thing)] = record if id(thing) not in self.records else Both(self.records[id(thing)], record)
                waiting.extend(self._below(record))
            waiting.extend((path, part) for part in self._carried(thing) if type(part) not in SIMPLE)

    def _carried(self, thing: Any) -> Iterator[Any]:
        """Yield what a thing leads to that is never changed itself."""
        for part in _held_by(thing):
            position = self._position(face_of(part), "") if type(face_of(part)) in KINDS else None
            if position is not None:
                position.held = True
            yield part

    def _position(self, thing: Any, path: str) -> Position | None:
        """Return the record of an iterator that can be replaced by another; None for other things."""
        known = self.records.get(id(thing))
        if known is None and state_of(thing) is not None:
            known = self.records[id(thing)] = Position(thing, path, self.records)
        if not isinstance(known, Position):
            return None
        known.path = known.path or path
        return known

    def _below(self, record: Record) -> Iterator[tuple[str, Any]]:
        for part, value in record.leads_to():
            if type(value) not in SIMPLE and id(value) not in self._seen:
                yield record.path + part, value

    def _records_of(self, thing: Any, path: str) -> Iterable[Record]:
        cls = type(thing)
        if issubclass(cls, type):
            return (ClassAttributes(thing, path),) if is_instrumented(str(thing.__module__)) else ()
        if cls is FunctionType:
            return (Function(thing, path),) if announces(thing.__globals__) or is_instrumented(str(thing.__module__)) else ()
        if cls is CellType:
            return (Cell(thing, path),)
        if cls is _CACHE:
            return (Cache(thing, path, gc.get_referents(thing)),) if is_instrumented(str(thing.__module__)) else ()
        if issubclass(cls, ModuleType):
            return ()
        if cls is Random:
            return (Generator(thing, path),)
        return [*contents(thing, cls, path), *self._attributes(thing, cls, path)]

    def _attributes(self, thing: Any, cls: type, path: str) -> Iterable[Record]:
        if cls not in self._places:
            plain = kind_of(cls) != EXEMPT or (issubclass(cls, tuple | frozenset | weakref.ref) and not is_exempt(cls))
            self._places[cls] = places_of(cls) if plain and not is_controlled(cls) else None
        places = self._places[cls]
        return () if places is None or places == (None, {}) else (Attributes(thing, path, *places),)


def _with_hooks() -> list[str]:
    """Return the names of the modules that may be instrumented; there may be thousands, so none is asked twice."""
    return [name for name, module in list(sys.modules.items()) if type(module) is not ModuleType or HOOKS in module.__dict__]


def _held_by(thing: Any) -> Iterable[Any]:
    cls = type(thing)
    if issubclass(cls, tuple):
        return tuple.__iter__(thing)
    if issubclass(cls, frozenset):
        return frozenset.__iter__(thing)
    if issubclass(cls, weakref.ref):
        held = weakref.ref.__call__(thing)
        return () if held is None else (held,)
    return gc.get_referents(thing) if issubclass(cls, _CARRIERS) else ()


def _primitive(thing: Any) -> Iterator[Any]:
    """Yield a lock, an event or the like, and the locks in it."""
    yield thing
    yield from getattr(thing, "__dict__", {}).values()


def primitives_elsewhere(known: Container[str]) -> dict[int, tuple[Any, str]]:
    """Return the locks, events and the like that are variables of modules that are not known, by identity, each with its module."""
    found: dict[int, tuple[Any, str]] = {}
    for module, space in ((name, getattr(sys.modules[name], "__dict__", None)) for name in sorted(sys.modules)):
        if module in known or type(space) is not dict or not is_users(module):
            continue
        for value in list(space.values()):
            if type(value).__module__ in _PRIMITIVES and not issubclass(type(value), type | threading.local):
                found.update((id(part), (part, module)) for part in _primitive(value))
    return found
