"""What an operation reads of its arguments: containers, those within containers, and the fields of dataclasses.

A view or a proxy of a dictionary is that dictionary. Code that is not instrumented reads values in a single step: comparing, formatting and
copying a value reads its contents, and theirs. The generated methods of a dataclass read its fields.
"""

from __future__ import annotations

import gc
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from types import MappingProxyType
from typing import Any

from simharness.runtimes.memory.accesses import ALL, ATTRIBUTE, ATTRIBUTES, BULK, DEEP, READ, WALK, Part
from simharness.runtimes.memory.allowed import PROXIES
from simharness.runtimes.memory.kinds import DICT, LIST, OBJECT, SIMPLE, attributes, referent_of
from simharness.runtimes.memory.opaque import Through, is_iterator
from simharness.runtimes.memory.shared import Memory
from simharness.runtimes.memory.tracked import Spot

_ORDERED: OrderedDict[Any, Any] = OrderedDict()
_ITEMS: frozenset[type] = frozenset({type({}.items()), type(_ORDERED.items())})
_KEYS: frozenset[type] = frozenset({type({}.keys()), type(_ORDERED.keys()), MappingProxyType})
_OF_EXCEPTIONS = ("args", "errno", "strerror", "filename", "filename2", "value", "code")
"""Attributes of exceptions that their texts consist of."""
SHOWING: frozenset[type] = _ITEMS | _KEYS | {type({}.values()), type(_ORDERED.values())}
"""Types whose instances are views or proxies of a dictionary."""


def source_of(value: Any) -> Any:
    """Return the dictionary that a view or proxy shows, or what a weak proxy stands for; anything else is its own source."""
    if type(value) in PROXIES:
        return referent_of(value)
    if type(value) in SHOWING:
        for referent in gc.get_referents(value):
            if issubclass(type(referent), dict):
                return referent
    return value


def parts_of(memory: Memory, values: Iterable[Any], done: int = WALK) -> list[Part]:
    """Return what iterating over these values reads: the containers among them."""
    parts: list[Part] = []
    for value in values:
        source = source_of(value)
        rules = memory.rules(type(source))
        if rules.kind >= LIST:
            parts.append((source, done, None))
        elif rules.opaque:
            parts.append((Through(source, done == BULK or is_iterator(source)), DEEP, None))
    return parts


def all_of(memory: Memory, values: Iterable[Any], done: int = WALK, copying: bool = False) -> list[Part]:
    """Return what comparing or formatting these values reads: containers, their contents, and fields of dataclasses.

    Copying reads the attributes of every object.
    """
    held = [value for value in values if type(value) not in SIMPLE]
    return [(Reached(held, done, copying), DEEP, None)] if held else []


class Reached:
    """What some values lead to, when it is read."""

    __slots__ = ("copying", "done", "values")

    def __init__(self, values: list[Any], done: int, copying: bool) -> None:
        self.values = values
        self.done = done
        self.copying = copying

    def touch(self, memory: Memory, touched: list[tuple[Spot, bool]], seen: int) -> str:
        """Add the locations that are read; what a shared one holds counts only if its bits are in `seen`: it has its turn."""
        label = ""
        met: set[int] = set()
        waiting: deque[tuple[Any, int]] = deque((value, self.done) for value in self.values)
        while waiting:
            value, how = waiting.popleft()
            source = source_of(value)
            if type(source) in SIMPLE or id(source) in met:
                continue
            met.add(id(source))
            rules = memory.rules(type(source))
            first, text = len(touched), ""
            if rules.kind >= LIST:
                text = memory.locate((source, how, None), touched)
                if _have_turn(touched, first, seen):
                    waiting.extend((held, WALK) for held in _held(source, rules.kind))
            elif issubclass(type(source), tuple | frozenset):
                within: Iterator[Any] = tuple.__iter__(source) if issubclass(type(source), tuple) else frozenset.__iter__(source)
                waiting.extend((held, WALK) for held in within)
            elif issubclass(type(source), BaseException):
                for name in _OF_EXCEPTIONS:
                    text = memory.locate((source, ATTRIBUTE, name), touched)
                waiting.append((source.args, WALK))
            elif rules.opaque and not rules.generated:
                text = Through(source, is_iterator(source)).touch(memory, touched, seen)
            elif rules.kind == OBJECT and (self.copying or rules.generated):
                text = memory.locate((source, ATTRIBUTES, None), touched)
                if _have_turn(touched, first, seen):
                    for name, held in list(attributes(source)):
                        memory.locate((source, ATTRIBUTE, name), touched)
                        waiting.append((held, WALK))
            label = label or text
        return label


def _have_turn(touched: list[tuple[Spot, bool]], first: int, seen: int) -> bool:
    return not any(spot.bit & ~seen for spot, _ in touched[first:])


def _held(source: Any, kind: int) -> Iterator[Any]:
    cls = type(source)
    if issubclass(cls, bytearray):
        return
    base: Any = cls if cls is list or cls is dict else next(base for base in (list, deque, dict, set) if issubclass(cls, base))
    for held in base.__iter__(source):
        if type(held) not in SIMPLE:
            yield held
    if kind == DICT:
        yield from (held for held in dict.values(source) if type(held) not in SIMPLE)


def sought(memory: Memory, owner: Any, key: Any) -> list[Part]:
    """Return what a search for a key in a container, view, proxy or tuple reads."""
    source = source_of(owner)
    rules = memory.rules(type(source))
    if rules.kind >= LIST and not rules.native("__contains__"):
        return []
    if type(owner) in _ITEMS and issubclass(type(key), tuple) and tuple.__len__(key) == 2:
        return [(source, READ, key[0])]
    if rules.kind > LIST and (source is owner or type(owner) in _KEYS):
        return [(source, READ, key)]
    return all_of(memory, (owner, key), ALL)


def compared(memory: Memory, left: Any, right: Any) -> list[Part]:
    """Return what comparing two values reads."""
    ordered = memory.rules(type(source_of(left))).kind == LIST
    return [*all_of(memory, (left,), WALK if ordered else ALL), *all_of(memory, (right,))]
