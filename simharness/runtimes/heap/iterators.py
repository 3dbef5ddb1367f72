"""Iterators that modules hold: counters, turns and positions. None can be set back, so a new one takes its place wherever it is held.

`itertools.count`, `itertools.cycle` in its first round, the iterators of lists, tuples, strings, bytes and ranges, and their bound
`__next__`. One that a tuple, a generator or another iterator holds has no other that could take its place there: it is left alone, and
what it shows is found by the repeat of the first execution.
"""

from __future__ import annotations

import ast
import copy
import gc
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from types import AsyncGeneratorType, CoroutineType, GeneratorType, MethodWrapperType, ModuleType
from typing import Any

from simharness.runtimes.heap.records import Record, Variables

_SOURCES: tuple[Any, ...] = ([], (), "", "é", b"", bytearray(), range(0), range(1 << 80))
_PLAIN = frozenset(type(iter(source)) for source in _SOURCES)
KINDS = _PLAIN | {itertools.count, itertools.cycle}
_USERS = frozenset({map, filter, zip, enumerate, GeneratorType, CoroutineType, AsyncGeneratorType})
_State = tuple[Any, ...]
_NOWHERE: _State = ("nowhere",)
_OVER: _State = ("over",)


def state_of(thing: Any) -> _State | None:
    """Return where an iterator stands, or nothing if that does not show."""
    kind = type(thing)
    if kind is itertools.count:
        return tuple(_numbers(thing)) or None
    if kind is itertools.cycle:
        inner, seen = _parts(thing)
        where = state_of(inner)
        return None if where is None else (*where, len(seen))
    if kind not in _PLAIN:
        return None
    _, (source, *_), *index = thing.__reduce__()
    return (source if type(source) is range else id(source), *index) if index else _OVER


def face_of(thing: Any) -> Any:
    """Return the iterator whose `__next__` a bound method is, or the thing itself."""
    return thing.__self__ if type(thing) is MethodWrapperType and thing.__name__ == "__next__" else thing


class Position:
    """Where an iterator stands.

    Attributes:
        faces: the iterator, if something holds it, and the bound methods of it that something holds.
    """

    def __init__(self, thing: Any, path: str) -> None:
        self.thing, self.path = thing, path
        self.faces: list[Any] = []
        self._saved = state_of(thing)
        self._again = _maker(thing)
        self._holders: list[Record | Variables] | None = None

    def same(self) -> bool:
        """Whether it stands where it stood."""
        return (state_of(self.thing) or _NOWHERE) == self._saved

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield what it goes through."""
        inner = _parts(self.thing)[0] if type(self.thing) is itertools.cycle else self.thing
        if type(inner) in _PLAIN:
            yield "", inner.__reduce__()[1][0]

    def can_be_replaced(self, everything: Iterable[Record | Variables]) -> bool:
        """Whether all that holds it can hold another one.

        Args:
            everything: the records of all that may hold it.
        """
        if self._holders is not None:
            return True
        self._holders = [one for one in everything if any(value is face for _, value in one.leads_to() for face in self.faces)]
        spaces = {id(one.space) for one in self._holders if isinstance(one, Variables)}
        others = {id(vars(module)) for module in list(sys.modules.values()) if isinstance(module, ModuleType)} - spaces
        return not [one for one in gc.get_referrers(self.thing, *self.faces) if id(one) in others or _keeps(one)]

    def replace(self) -> list[Record]:
        """Have a new one held in its place; return the records of what holds it, whose state is now another."""
        assert self._holders is not None
        new = self._again()
        by_identity = {id(face): new if face is self.thing else new.__next__ for face in self.faces}
        changed: list[Record] = []
        for holder in self._holders:
            if isinstance(holder, Variables):
                names = [name for name, value in holder.saved.items() if id(value) in by_identity]
                _exchange(holder, by_identity)
                changed.append(holder.among(names))
            else:
                for part in getattr(holder, "parts", (holder,)):
                    _exchange(part, by_identity)
                changed.append(holder)
        self.thing, self.faces = new, list(by_identity.values())
        self._saved = state_of(new)
        return changed


def _keeps(holder: Any) -> bool:
    """Whether a thing that refers to an iterator goes on with it whatever the records say."""
    if type(holder) is tuple:
        return bool(_USERS & {type(one) for one in gc.get_referrers(holder)})
    return type(holder) in _USERS or (type(holder).__module__ == "itertools" and type(holder) not in KINDS)


def _exchange(record: Any, by_identity: dict[int, Any]) -> None:
    """Put new values in place of old ones in what a record keeps."""
    kept = vars(record)
    for name, value in list(kept.items()):
        if name in ("thing", "space", "_entries"):
            continue
        kept[name] = by_identity.get(id(value), value)
        if type(value) is list:
            kept[name] = [_in_a_tuple(part, by_identity) for part in value]
        elif type(value) is dict:
            kept[name] = {key: by_identity.get(id(part), part) for key, part in value.items()}
        elif type(value) is tuple:
            kept[name] = _in_a_tuple(value, by_identity)


def _in_a_tuple(value: Any, by_identity: dict[int, Any]) -> Any:
    if type(value) is tuple and value:
        return tuple(_in_a_tuple(part, by_identity) for part in value)
    return by_identity.get(id(value), value)


def _maker(thing: Any) -> Callable[[], Any]:
    """Return what makes an iterator that stands where this one stands now."""
    if type(thing) is itertools.count:
        numbers = _numbers(thing)
        return lambda: itertools.count(*numbers)
    if type(thing) is itertools.cycle:
        inner, seen = _parts(thing)
        turns = [*copy.copy(inner), *seen]
        return lambda: itertools.cycle(iter(list(turns)))
    kept = copy.copy(thing)
    return lambda: copy.copy(kept)


def _numbers(counter: Any) -> list[Any]:
    """Return the arguments that make a counter of the same numbers; none if they are not plain numbers."""
    try:
        return [ast.literal_eval(number) for number in repr(counter)[len("count(") : -1].split(", ")]
    except (ValueError, SyntaxError):
        return []


def _parts(cycle: Any) -> tuple[Any, list[Any]]:
    """Return the iterator of a cycle's first round, which is not there later, and what that has given."""
    held = [one for one in gc.get_referents(cycle) if not isinstance(one, type)]
    return (held[0], held[1]) if len(held) == 2 and type(held[1]) is list else (None, [])
