"""Records of containers: their contents by identity and in order. Of a large one only what an execution has touched is compared."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from operator import is_
from typing import Any

from simharness.runtimes.heap.records import MISSING, Instead, Part, Record

LARGE = 200
"""Elements or entries of a container that is not compared whole."""
_LISTS: tuple[type, ...] = (list, deque, bytearray)
_DICTIONARIES: tuple[type, ...] = (OrderedDict, defaultdict, dict)


def contents(thing: Any, cls: type, path: str) -> Iterable[Record]:
    """Return the record of what a container of this class holds; none for other things."""
    for base in _LISTS:
        if issubclass(cls, base):
            return (Items(thing, path, base),)
    for base in _DICTIONARIES:
        if issubclass(cls, base):
            return (Entries(thing, path, base),)
    return (Elements(thing, path),) if issubclass(cls, set) else ()


class Items(Record):
    """The elements of a list, a `deque` or a `bytearray`."""

    exact = True

    def __init__(self, thing: Any, path: str, base: Any) -> None:
        self.thing, self.path = thing, path
        self._base = base
        self.saved: list[Any] = self.take()

    def take(self) -> list[Any]:
        """Return the elements."""
        return list(self._base.__iter__(self.thing))

    def same(self) -> bool:
        """Whether the elements are the same, in the same order."""
        return self._base.__len__(self.thing) == len(self.saved) and all(map(is_, self._base.__iter__(self.thing), self.saved))

    def touched(self, items: Iterable[Any]) -> Record:
        """Of a large one, compare the length and the elements at these indices; all is put back."""
        saved = self.saved
        if len(saved) <= LARGE:
            return self
        held = [(key, saved[key]) for key in items if type(key) is int and key < len(saved)]
        return Part(self, lambda thing: self._base.__len__(thing) == len(saved) and all(thing[key] is value for key, value in held))

    def give(self, state: list[Any]) -> Any:
        """Replace the elements."""
        lost = self.take()
        self._base.clear(self.thing)
        self._base.extend(self.thing, state)
        return lost

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield the elements."""
        yield from ((f"[{number}]", value) for number, value in enumerate(self.saved))

    def exchange(self, instead: Instead) -> None:
        """Keep other elements."""
        self.saved = [instead.get(id(value), value) for value in self.saved]


class Entries(Record):
    """The keys and values of a dictionary, in their order, and what a `defaultdict` makes the missing ones with."""

    exact = True

    def __init__(self, thing: Any, path: str, base: Any) -> None:
        self.thing, self.path = thing, path
        self._base = base
        self._factory = getattr(base, "default_factory", None)
        self.saved: tuple[dict[Any, Any], list[Any], list[Any], Any] = self.take()

    def take(self) -> tuple[dict[Any, Any], list[Any], list[Any], Any]:
        """Return a copy, made without asking for hashes, the keys and the values in their order, and what makes the missing ones."""
        thing, base = self.thing, self._base
        makes = self._factory.__get__(thing) if self._factory is not None else None
        return dict.copy(thing), list(base.keys(thing)), list(base.values(thing)), makes

    def same(self) -> bool:
        """Whether the keys and values are the same, in the same order."""
        thing, base = self.thing, self._base
        _, keys, values, makes = self.saved
        return (
            dict.__len__(thing) == len(keys)
            and all(map(is_, base.values(thing), values))
            and all(map(is_, base.keys(thing), keys))
            and (self._factory is None or self._factory.__get__(thing) is makes)
        )

    def touched(self, items: Iterable[Any]) -> Record:
        """Of a large one, compare the length and the values of these keys; all is put back."""
        saved = self.saved[0]
        if len(saved) <= LARGE:
            return self
        held = [(key, saved.get(key, MISSING)) for key in items if type(key) is str or type(key) is int]
        get = dict.get
        return Part(self, lambda thing: dict.__len__(thing) == len(saved) and all(get(thing, key, MISSING) is value for key, value in held))

    def give(self, state: tuple[dict[Any, Any], list[Any], list[Any], Any]) -> Any:
        """Replace the keys and values."""
        thing, base = self.thing, self._base
        entries, keys, values, makes = state
        lost = [*base.keys(thing), *base.values(thing)]
        base.clear(thing)
        if issubclass(base, OrderedDict):
            for key, value in zip(keys, values, strict=True):
                base.__setitem__(thing, key, value)
        else:
            dict.update(thing, entries)
        if self._factory is not None:
            self._factory.__set__(thing, makes)
        return lost

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield the values and the keys."""
        _, keys, values, _ = self.saved
        for key, value in zip(keys, values, strict=True):
            yield f"[{key!r}]" if type(key) in (str, int) else "[…]", value
            yield "[a key]", key

    def exchange(self, instead: Instead) -> None:
        """Keep other keys and values."""
        _, keys, values, makes = self.saved
        keys, values = ([instead.get(id(one), one) for one in each] for each in (keys, values))
        self.saved = dict(zip(keys, values, strict=True)), keys, values, makes


class Elements(Record):
    """The elements of a set.

    The order in which a set shows its elements depends on how they came into it, so what it holds at the baseline comes into it anew.
    """

    exact = True

    def __init__(self, thing: Any, path: str) -> None:
        self.thing, self.path = thing, path
        self.saved: tuple[set[Any], list[Any]] = self.take()
        if self.saved[1]:
            self.put_back()
            self.saved = self.saved[0], list(set.__iter__(thing))

    def take(self) -> tuple[set[Any], list[Any]]:
        """Return a copy, made without asking for hashes, and the elements in their order."""
        return set.copy(self.thing), list(set.__iter__(self.thing))

    def same(self) -> bool:
        """Whether the elements are the same, in the same order."""
        order = self.saved[1]
        return set.__len__(self.thing) == len(order) and all(map(is_, set.__iter__(self.thing), order))

    def give(self, state: tuple[set[Any], list[Any]]) -> Any:
        """Replace the elements."""
        lost = list(set.__iter__(self.thing))
        set.clear(self.thing)
        set.update(self.thing, state[0])
        return lost

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield the elements."""
        yield from (("[…]", value) for value in self.saved[1])

    def exchange(self, instead: Instead) -> None:
        """Keep other elements."""
        if any(id(value) in instead for value in self.saved[1]):
            order = [instead.get(id(value), value) for value in self.saved[1]]
            self.saved = set(order), order


class Both(Record):
    """A container that has attributes, too."""

    def __init__(self, first: Record, second: Record) -> None:
        self.thing, self.path = first.thing, first.path
        self._parts = first, second

    def take(self) -> Any:
        """Return the states of both."""
        return tuple(part.take() for part in self._parts)

    def same(self) -> bool:
        """Whether the contents and the attributes are the same."""
        return all(part.same() for part in self._parts)

    def give(self, state: Any) -> Any:
        """Give both their states."""
        return [part.give(one) for part, one in zip(self._parts, state, strict=True)]

    def put_back(self) -> Any:
        """Put both back."""
        return [part.put_back() for part in self._parts]

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield what both lead to."""
        for part in self._parts:
            yield from part.leads_to()

    def exchange(self, instead: Instead) -> None:
        """Keep others in both."""
        for part in self._parts:
            part.exchange(instead)
