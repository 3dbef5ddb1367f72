"""Records of what functions keep: default arguments, attributes, the variables of closures, caches, and random numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random
from types import FunctionType
from typing import Any

from simharness.runtimes.heap.records import MISSING, Instead, Record, alike, rebind


class Cell(Record):
    """A variable of a closure."""

    exact = True

    def __init__(self, thing: Any, path: str) -> None:
        self.thing, self.path = thing, path
        self.saved: Any = self.take()

    def take(self) -> Any:
        """Return the value."""
        return _in_cell(self.thing)

    def same(self) -> bool:
        """Whether the variable has the same value."""
        return _in_cell(self.thing) is self.saved

    def give(self, state: Any) -> Any:
        """Bind the variable."""
        lost = _in_cell(self.thing)
        if state is not MISSING:
            self.thing.cell_contents = state
        elif lost is not MISSING:
            del self.thing.cell_contents
        return lost

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield the value."""
        if self.saved is not MISSING:
            yield "", self.saved

    def exchange(self, instead: Instead) -> None:
        """Keep another value."""
        self.saved = instead.get(id(self.saved), self.saved)


_Kept = tuple[Any, Any, dict[str, Any], dict[str, Any]]


class Function(Record):
    """The default arguments and the attributes of a function."""

    def __init__(self, thing: FunctionType, path: str) -> None:
        self.thing, self.path = thing, path
        self.saved: _Kept = self.take()

    def take(self) -> _Kept:
        """Return the default arguments, those by keyword with a copy, and the attributes."""
        thing = self.thing
        return thing.__defaults__, thing.__kwdefaults__, dict(thing.__kwdefaults__ or {}), dict(thing.__dict__)

    def same(self) -> bool:
        """Whether the default arguments and the attributes are the same."""
        function = self.thing
        defaults, by_keyword, kept, attributes = self.saved
        return (
            function.__defaults__ is defaults
            and function.__kwdefaults__ is by_keyword
            and alike(function.__kwdefaults__ or {}, kept)
            and alike(function.__dict__, attributes)
        )

    def give(self, state: _Kept) -> Any:
        """Set the default arguments and the attributes."""
        function = self.thing
        lost = [*self.take()]
        function.__defaults__, function.__kwdefaults__, kept, attributes = state
        if function.__kwdefaults__ is not None:
            rebind(function.__kwdefaults__, kept)
        rebind(function.__dict__, attributes)
        return lost

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield the default arguments, the attributes and the variables of the closure."""
        defaults, _, kept, attributes = self.saved
        yield from ((f" default {number}", value) for number, value in enumerate(defaults or ()))
        yield from ((f" default {name}", value) for name, value in kept.items())
        yield from ((f".{name}", value) for name, value in attributes.items())
        yield from ((f" {name}", cell) for name, cell in zip(self.thing.__code__.co_freevars, self.thing.__closure__ or (), strict=True))

    def exchange(self, instead: Instead) -> None:
        """Keep other default arguments and attributes."""
        defaults, by_keyword, kept, attributes = self.saved
        if any(id(value) in instead for value in defaults or ()):
            defaults = tuple(instead.get(id(value), value) for value in defaults)
        kept, attributes = ({name: instead.get(id(value), value) for name, value in each.items()} for each in (kept, attributes))
        self.saved = defaults, by_keyword, kept, attributes


class Cache(Record):
    """What an `lru_cache` remembers: an unbounded one gets its entries back, of a bounded one only an empty state can be restored.

    A bounded one that is not empty at the baseline keeps its entries until an execution adds some; then it is emptied for good.
    """

    def __init__(self, thing: Any, path: str, held: Iterable[Any]) -> None:
        self.thing, self.path = thing, path
        entries: Any = next((one for one in held if type(one) is dict and one is not thing.__dict__), {})
        self._unbounded = thing.cache_parameters()["maxsize"] is None
        self._entries = entries
        self.saved: dict[Any, Any] = self.take()
        if not thing.cache_info().currsize:
            thing.cache_clear()
        elif self._unbounded:
            self.put_back()
        self._info = thing.cache_info()

    def take(self) -> dict[Any, Any]:
        """Return what is remembered."""
        return dict(self._entries) if self._unbounded else {}

    def same(self) -> bool:
        """Whether it has been neither used nor emptied."""
        info = self.thing.cache_info()
        if self._unbounded or not self._info.currsize:
            return bool(info == self._info)
        return bool(info.misses == self._info.misses and info.currsize == self._info.currsize)

    def give(self, state: dict[Any, Any]) -> Any:
        """Have it remember this."""
        lost = dict(self._entries)
        self.thing.cache_clear()
        if self._unbounded:
            self._entries.update(state)
        return lost

    def put_back(self) -> Any:
        """Forget what it has learned since."""
        lost = self.give(self.saved)
        self._info = self.thing.cache_info()
        return lost

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield the function, and what is remembered."""
        yield "", getattr(self.thing, "__wrapped__", None)
        yield from (("(…)", value) for value in self.saved.values())

    def exchange(self, instead: Instead) -> None:
        """Remember other results."""
        self.saved = {key: instead.get(id(value), value) for key, value in self.saved.items()}


class Generator(Record):
    """The state of a `random.Random`."""

    def __init__(self, thing: Random, path: str) -> None:
        self.thing, self.path = thing, path
        self.saved: Any = self.take()

    def take(self) -> Any:
        """Return the state."""
        return Random.getstate(self.thing)

    def same(self) -> bool:
        """Whether it would draw the same numbers."""
        return bool(Random.getstate(self.thing) == self.saved)

    def give(self, state: Any) -> Any:
        """Have it draw the numbers that follow this state."""
        Random.setstate(self.thing, state)


def _in_cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING
