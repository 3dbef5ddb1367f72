"""Records of what functions keep: default arguments, attributes, the variables of closures, caches, and random numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random
from types import FunctionType
from typing import Any

from simharness.runtimes.heap.records import MISSING, alike, rebind


class Cell:
    """A variable of a closure."""

    def __init__(self, thing: Any, path: str) -> None:
        self.thing, self.path = thing, path
        self._saved = _in_cell(thing)

    def same(self) -> bool:
        """Whether the variable has the same value."""
        return _in_cell(self.thing) is self._saved

    def put_back(self) -> Any:
        """Bind the variable."""
        lost = _in_cell(self.thing)
        if self._saved is MISSING:
            del self.thing.cell_contents
        else:
            self.thing.cell_contents = self._saved
        return lost

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield the value."""
        if self._saved is not MISSING:
            yield "", self._saved


class Function:
    """The default arguments and the attributes of a function."""

    def __init__(self, thing: FunctionType, path: str) -> None:
        self.thing, self.path = thing, path
        self._saved = thing.__defaults__, thing.__kwdefaults__
        self._by_keyword = dict(thing.__kwdefaults__ or {})
        self._attributes = dict(thing.__dict__)

    def same(self) -> bool:
        """Whether the default arguments and the attributes are the same."""
        function = self.thing
        return (
            function.__defaults__ is self._saved[0]
            and function.__kwdefaults__ is self._saved[1]
            and alike(function.__kwdefaults__ or {}, self._by_keyword)
            and alike(function.__dict__, self._attributes)
        )

    def put_back(self) -> Any:
        """Set the default arguments and the attributes."""
        function = self.thing
        lost = [function.__defaults__, function.__kwdefaults__, dict(function.__dict__)]
        function.__defaults__, function.__kwdefaults__ = self._saved
        if function.__kwdefaults__ is not None:
            lost.append(dict(function.__kwdefaults__))
            rebind(function.__kwdefaults__, self._by_keyword)
        rebind(function.__dict__, self._attributes)
        return lost

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield the default arguments, the attributes and the variables of the closure."""
        yield from ((f" default {number}", value) for number, value in enumerate(self._saved[0] or ()))
        yield from ((f" default {name}", value) for name, value in self._by_keyword.items())
        yield from ((f".{name}", value) for name, value in self._attributes.items())
        yield from ((f" {name}", cell) for name, cell in zip(self.thing.__code__.co_freevars, self.thing.__closure__ or (), strict=True))


class Cache:
    """What an `lru_cache` remembers: an unbounded one gets its entries back, of a bounded one only an empty state can be restored.

    A bounded one that is not empty at the baseline keeps its entries until an execution adds some; then it is emptied for good.
    """

    def __init__(self, thing: Any, path: str, held: Iterable[Any]) -> None:
        self.thing, self.path = thing, path
        entries: Any = next((one for one in held if type(one) is dict and one is not thing.__dict__), {})
        self._unbounded = thing.cache_parameters()["maxsize"] is None
        self._entries = entries
        self._saved = dict(entries) if self._unbounded else {}
        if not thing.cache_info().currsize:
            thing.cache_clear()
        elif self._unbounded:
            self.put_back()
        self._info = thing.cache_info()

    def same(self) -> bool:
        """Whether it has been neither used nor emptied."""
        info = self.thing.cache_info()
        if self._unbounded or not self._info.currsize:
            return bool(info == self._info)
        return bool(info.misses == self._info.misses and info.currsize == self._info.currsize)

    def put_back(self) -> Any:
        """Forget what it has learned since."""
        lost = dict(self._entries)
        self.thing.cache_clear()
        if self._unbounded:
            self._entries.update(self._saved)
        self._info = self.thing.cache_info()
        return lost

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield the function, and what is remembered."""
        yield "", getattr(self.thing, "__wrapped__", None)
        yield from (("(…)", value) for value in self._saved.values())


class Generator:
    """The state of a `random.Random`."""

    def __init__(self, thing: Random, path: str) -> None:
        self.thing, self.path = thing, path
        self._saved = Random.getstate(thing)

    def same(self) -> bool:
        """Whether it would draw the same numbers."""
        return Random.getstate(self.thing) == self._saved

    def put_back(self) -> Any:
        """Have it draw the same numbers again."""
        Random.setstate(self.thing, self._saved)

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield nothing."""
        yield from ()


def _in_cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING
