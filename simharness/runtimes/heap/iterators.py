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
from collections.abc import Callable, Iterator
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


class Position(Record):
    """Where an iterator stands. One that cannot be replaced stays where it is.

    Args:
        others: the records of all that may hold it, by the identity of the thing; the position is among them.

    Attributes:
        faces: the iterator, if something holds it, and the bound methods of it that something holds.
        held: whether something holds it that never changes.
    """

    def __init__(self, thing: Any, path: str, others: dict[int, Record]) -> None:
        self.thing, self.path = thing, path
        self.faces: list[Any] = []
        self.held = False
        self.saved: _State | None = state_of(thing)
        self._again = _maker(thing)
        self._others = others
        self._holders: list[Record] | None = None

    def same(self) -> bool:
        """Whether it stands where it stood."""
        return (state_of(self.thing) or _NOWHERE) == self.saved

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield what it goes through."""
        inner = _parts(self.thing)[0] if type(self.thing) is itertools.cycle else self.thing
        if type(inner) in _PLAIN:
            yield "", inner.__reduce__()[1][0]

    def put_back(self) -> Any:
        """Have a new one held in its place, if all that holds it can hold another."""
        if self._holders is None:
            self._holders = self._found()
        if not self._holders:
            return None
        old, new = self.thing, self._again()
        instead = {id(face): new if face is old else new.__next__ for face in self.faces}
        lost = [old, self.faces]
        self.thing, self.faces, self.saved = new, list(instead.values()), state_of(new)
        del self._others[id(old)]
        self._others[id(new)] = self
        for holder in self._holders:
            holder.exchange(instead)
            lost.append(holder.put_back())
        return lost

    def _found(self) -> list[Record]:
        """Return the records of what holds it; none if something else holds it, too."""
        holders = [one for one in self._others.values() if any(value is face for _, value in one.leads_to() for face in self.faces)]
        spaces = {id(one.thing) for one in holders if isinstance(one, Variables)}
        others = {id(vars(module)) for module in list(sys.modules.values()) if issubclass(type(module), ModuleType)} - spaces
        elsewhere = [one for one in gc.get_referrers(self.thing, *self.faces) if id(one) in others or _keeps(one)]
        return [] if elsewhere or self.held else holders


def _keeps(holder: Any) -> bool:
    """Whether a thing that refers to an iterator goes on with it whatever the records say."""
    if type(holder) is tuple:
        return bool(_USERS & {type(one) for one in gc.get_referrers(holder)})
    return type(holder) in _USERS or (type(holder).__module__ == "itertools" and type(holder) not in KINDS)


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
    held = [one for one in gc.get_referents(cycle) if not issubclass(type(one), type)]
    return (held[0], held[1]) if len(held) == 2 and type(held[1]) is list else (None, [])
