"""The walk from instrumented modules to what hangs on them: containers, objects with attributes, classes, functions, closures, caches.

It stops at other modules and their classes and functions, and at what `memory/allowed.py` exempts: locks and queues, whose state belongs to
the simulation, values, files, the tools around a test. A weak reference leads to its object, which is then held.
"""

from __future__ import annotations

import gc
import sys
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache, partial
from random import Random
from types import BuiltinMethodType, CellType, FunctionType, MappingProxyType, MethodType, MethodWrapperType, ModuleType
from typing import Any

from simharness.instrument.marks import HOOKS, announces, is_instrumented
from simharness.runtimes.heap.functions import Cache, Cell, Function, Generator
from simharness.runtimes.heap.iterators import KINDS, Position, face_of, state_of
from simharness.runtimes.heap.records import (
    CONTAINERS,
    Attributes,
    ClassAttributes,
    Elements,
    Entries,
    Items,
    Record,
    Variables,
    places_of,
)
from simharness.runtimes.memory.allowed import is_controlled, is_exempt
from simharness.runtimes.memory.kinds import EXEMPT, SIMPLE, kind_of
from simharness.runtimes.memory.locations import shown

MOST = 100_000
"""Objects to keep; what is further away is not put back."""
IGNORED = frozenset({HOOKS, "__builtins__"})
_CACHE: type = type(lru_cache(len))
_CARRIERS: tuple[type, ...] = (tuple, frozenset, MethodType, partial, staticmethod, classmethod, property, cached_property)
_CARRIERS += (weakref.ref, MappingProxyType, BuiltinMethodType, MethodWrapperType)
_DICTIONARIES: tuple[type, ...] = (OrderedDict, defaultdict, dict)


class Walk:
    """Finds what hangs on modules that have not been visited yet; `records` are by the identity of the object."""

    def __init__(self) -> None:
        self.records: dict[int, Record] = {}
        self.spaces: dict[str, Variables] = {}
        self.held: list[Any] = []
        self.positions: dict[int, Position] = {}
        self._seen: set[int] = set()
        self._fixed: set[int] = set()
        self._places: dict[type, tuple[Any, dict[str, Any]] | None] = {}

    def visit(self, others: Iterable[tuple[str, Any]] = ()) -> None:
        """Visit the instrumented modules that there are now, and what hangs on them, and other things, each with its path."""
        waiting: deque[tuple[str, Any]] = deque(others)
        for name in sorted(_with_hooks()):
            if name not in self.spaces and is_instrumented(name):
                space = self.spaces[name] = Variables(vars(sys.modules[name]), shown(name), IGNORED)
                self._seen.add(id(space.space))
                waiting.extend(self._below(space))
        while waiting and len(self.records) < MOST:
            path, thing = waiting.popleft()
            if id(thing) in self._seen:
                continue
            self._seen.add(id(thing))
            self.held.append(thing)
            if self._is_position(thing, path):
                waiting.extend(self._below(self.positions[id(face_of(thing))]))
                continue
            for record in self._records_of(thing, path):
                self.records[id(thing)] = record if id(thing) not in self.records else Both(self.records[id(thing)], record)
                waiting.extend(self._below(record))
            waiting.extend((path, part) for part in self._carried(thing) if type(part) not in SIMPLE)

    def _carried(self, thing: Any) -> Iterator[Any]:
        """Yield what a thing leads to that is never changed itself; an iterator among it is held for good."""
        for part in _held_by(thing):
            if type(face_of(part)) in KINDS:
                self._fixed.add(id(face_of(part)))
            yield part

    def _is_position(self, thing: Any, path: str) -> bool:
        """Whether a thing is an iterator, or its bound `__next__`, that can be replaced by another."""
        owner = face_of(thing)
        if state_of(owner) is None:
            return False
        if id(owner) not in self.positions:
            self.positions[id(owner)] = Position(owner, path)
        self.positions[id(owner)].faces.append(thing)
        return True

    def replace(self, position: Position) -> list[Record]:
        """Have another iterator stand where one stood at the baseline; return the records of what holds it, none if that is impossible."""
        del self.positions[id(position.thing)]
        if id(position.thing) in self._fixed or not position.can_be_replaced(self._everything()):
            return []
        records = position.replace()
        self.positions[id(position.thing)] = position
        self._seen.update(map(id, position.faces))
        self.held.extend(position.faces)
        return records

    def _everything(self) -> Iterator[Record | Variables]:
        """Yield all records, those of the modules' variables too."""
        yield from self.spaces.values()
        yield from self.records.values()

    def _below(self, record: Record | Variables | Position) -> Iterator[tuple[str, Any]]:
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
        return [*_contents(thing, cls, path), *self._attributes(thing, cls, path)]

    def _attributes(self, thing: Any, cls: type, path: str) -> Iterable[Record]:
        if cls not in self._places:
            plain = kind_of(cls) != EXEMPT or (issubclass(cls, tuple | frozenset | weakref.ref) and not is_exempt(cls))
            self._places[cls] = places_of(cls) if plain and not is_controlled(cls) else None
        places = self._places[cls]
        return () if places is None or places == (None, {}) else (Attributes(thing, path, *places),)


def _with_hooks() -> list[str]:
    """Return the names of the modules that may be instrumented; there may be thousands, so none is asked twice."""
    return [name for name, module in list(sys.modules.items()) if type(module) is not ModuleType or HOOKS in module.__dict__]


class Both:
    """A container that has attributes, too."""

    def __init__(self, first: Record, second: Record) -> None:
        self.thing, self.path = first.thing, first.path
        self.parts = first, second

    def same(self) -> bool:
        """Whether the contents and the attributes are the same."""
        return all(part.same() for part in self.parts)

    def put_back(self) -> Any:
        """Put both back."""
        return [part.put_back() for part in self.parts]

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield what both lead to."""
        for part in self.parts:
            yield from part.leads_to()


def _contents(thing: Any, cls: type, path: str) -> Iterable[Record]:
    for base in CONTAINERS:
        if issubclass(cls, base):
            return (Items(thing, path, base),)
    for base in _DICTIONARIES:
        if issubclass(cls, base):
            return (Entries(thing, path, base),)
    return (Elements(thing, path),) if issubclass(cls, set) else ()


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
