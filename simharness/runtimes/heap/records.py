"""Records: the state of one thing at a moment, and the thing put back to it in place, so that every alias of it stays right.

All that is kept has a record: objects, classes and modules here, and in the modules beside this one containers, what functions keep,
iterators, loggers. A record reads and writes with the methods of the built-in types alone: no code of the user's runs, but the `__hash__`
and `__eq__` of keys where Python itself calls them. Values are compared by identity: an equal object in place of another one is a change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import repeat
from operator import eq, is_
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any

MISSING = object()
"""The value of a name that is not bound."""
Instead = Mapping[int, Any]
"""Things in place of others, by the identity of those."""


class Record:
    """The state of one thing at a moment, which can be compared with what it is now, put back, and exchanged for another one.

    Attributes:
        thing: what has the state.
        path: how a person finds it, such as `shop.REGISTRY`.
        saved: the state that is kept.
        exact: whether `same` compares all that `take` returns.
    """

    thing: Any
    path: str
    saved: Any
    exact = False

    @property
    def whole(self) -> Record:
        """The record of all of it."""
        return self

    def take(self) -> Any:
        """Return the state that the thing has now."""
        raise NotImplementedError

    def same(self) -> bool:
        """Whether the thing has the state that is kept."""
        raise NotImplementedError

    def give(self, state: Any) -> Any:
        """Give the thing a state; return what it loses by that, to be released later."""
        raise NotImplementedError

    def put_back(self) -> Any:
        """Give the thing the state that is kept; return what it loses by that."""
        return self.give(self.saved)

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield what the state that is kept leads to, each with the last part of its path."""
        yield from ()

    def exchange(self, instead: Instead) -> None:
        """Keep others in place of these things."""

    def touched(self, items: Iterable[Any]) -> Record:
        """Return what to compare and to put back after an execution has touched the thing, of a container these items."""
        return self

    def besides(self, known: Iterable[Record]) -> Record | None:
        """Return what to compare and to put back from now on, as the thing has changed; None if that shows in what is known."""
        return self if all(one.same() for one in known) else None


class Part(Record):
    """A record of something of which only a part is compared."""

    def __init__(self, whole: Record, same: Callable[[Any], bool]) -> None:
        self.thing, self.path = whole.thing, whole.path
        self._whole = whole
        self._same = same

    @property
    def whole(self) -> Record:
        """The record of all of it."""
        return self._whole

    def same(self) -> bool:
        """Whether that part is the same."""
        return self._same(self.thing)

    def put_back(self) -> Any:
        """Put all of it back."""
        return self._whole.put_back()


class Attributes(Record):
    """The attributes of an object, those in slots too, and its class."""

    exact = True

    def __init__(self, thing: Any, path: str, getter: Any, slots: Mapping[str, Any]) -> None:
        self.thing, self.path = thing, path
        self._getter = getter
        self._slots = list(slots.items())
        self.saved: tuple[type, dict[str, Any], list[Any]] = self.take()

    def take(self) -> tuple[type, dict[str, Any], list[Any]]:
        """Return the class, the attributes, and what is in the slots."""
        thing = self.thing
        names = dict(self._getter.__get__(thing)) if self._getter is not None else {}
        return type(thing), names, [_held(member, thing) for _, member in self._slots]

    def same(self) -> bool:
        """Whether the attributes are the same."""
        cls, saved, slots = self.saved
        if type(self.thing) is not cls:
            return False
        if self._getter is not None:
            names = self._getter.__get__(self.thing)
            if len(names) != len(saved) or not all(map(is_, names.values(), saved.values())) or not all(map(eq, names, saved)):
                return False
        return all(_held(member, self.thing) is value for (_, member), value in zip(self._slots, slots, strict=True))

    def give(self, state: tuple[type, dict[str, Any], list[Any]]) -> Any:
        """Set the attributes, and remove those that are not among them."""
        thing = self.thing
        cls, saved, slots = state
        lost: list[Any] = []
        if type(thing) is not cls:
            object.__setattr__(thing, "__class__", cls)
        if self._getter is not None:
            names = self._getter.__get__(thing)
            lost += dict.values(names)
            rebind(names, saved)
        for (_, member), value in zip(self._slots, slots, strict=True):
            held = _held(member, thing)
            if held is not value:
                lost.append(held)
                member.__delete__(thing) if value is MISSING else member.__set__(thing, value)
        return lost

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield the attributes."""
        _, names, slots = self.saved
        yield from ((f".{name}", value) for name, value in names.items())
        yield from ((f".{name}", value) for (name, _), value in zip(self._slots, slots, strict=True))

    def exchange(self, instead: Instead) -> None:
        """Keep other values."""
        cls, names, slots = self.saved
        names = {name: instead.get(id(value), value) for name, value in names.items()}
        self.saved = cls, names, [instead.get(id(value), value) for value in slots]


class ClassAttributes(Record):
    """The attributes of a class."""

    _FIXED = frozenset({"__dict__", "__weakref__"})

    def __init__(self, thing: Any, path: str) -> None:
        self.thing, self.path = thing, path
        self.saved: dict[str, Any] = self.take()

    def take(self) -> dict[str, Any]:
        """Return the attributes."""
        return dict(type.__dict__["__dict__"].__get__(self.thing))

    def same(self) -> bool:
        """Whether the attributes are the same."""
        names, saved = type.__dict__["__dict__"].__get__(self.thing), self.saved
        return len(names) == len(saved) and all(map(is_, names.values(), saved.values()))

    def give(self, state: dict[str, Any]) -> Any:
        """Set the attributes, and remove those that are not among them."""
        names = self.take()
        for name in (names.keys() | state.keys()) - self._FIXED:
            value = state.get(name, MISSING)
            if value is MISSING:
                type.__delattr__(self.thing, name)
            elif names.get(name, MISSING) is not value:
                type.__setattr__(self.thing, name, value)
        return names

    def put_back(self) -> Any:
        """Set the attributes; one that was deleted is last then: nothing can change that."""
        lost = self.give(self.saved)
        if list(type.__dict__["__dict__"].__get__(self.thing)) != list(self.saved):
            self.saved = self.take()
        return lost

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield the attributes."""
        yield from ((f".{name}", value) for name, value in self.saved.items() if name not in self._FIXED)

    def exchange(self, instead: Instead) -> None:
        """Keep other values."""
        self.saved = {name: instead.get(id(value), value) for name, value in self.saved.items()}


class Variables(Record):
    """The globals of a module. Most executions touch few of many, so `among` gives a record of only some."""

    def __init__(self, space: dict[str, Any], path: str, ignored: frozenset[str]) -> None:
        self.thing: dict[str, Any] = space
        self.path = path
        self._ignored = ignored
        self.saved: dict[str, Any] = dict(space)

    def changed(self) -> set[str]:
        """Return the names of those that have other values."""
        space, saved = self.thing, self.saved
        if len(space) == len(saved) and all(map(is_, space.values(), saved.values())) and space.keys() == saved.keys():
            return set()
        names = {name for name in space.keys() | saved.keys() if space.get(name, MISSING) is not saved.get(name, MISSING)}
        return {name for name in names if name not in self._ignored and not (name.startswith("__") and name.endswith("__"))}

    def same(self) -> bool:
        """Whether all have the same values."""
        return not self.changed()

    def put_back(self) -> Any:
        """Bind all as they were."""
        return self.among(self.changed()).put_back()

    def among(self, names: Iterable[str]) -> Some:
        """Return the record of the variables of these names."""
        return Some(self, names)

    def touched(self, items: Iterable[Any]) -> Record:
        """Compare those that have other values now, as the globals were used as a dictionary."""
        return self.among(self.changed())

    def besides(self, known: Iterable[Record]) -> Record | None:
        """Return the record of those that are not known."""
        names = self.changed().difference(*(one.names for one in known if isinstance(one, Some)))
        return self.among(names) if names else None

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield the values."""
        yield from ((f".{name}", value) for name, value in self.saved.items() if name not in self._ignored)

    def exchange(self, instead: Instead) -> None:
        """Keep other values."""
        self.saved = {name: instead.get(id(value), value) for name, value in self.saved.items()}


class Some(Record):
    """Some variables of a module."""

    def __init__(self, variables: Variables, names: Iterable[str]) -> None:
        self.thing: dict[str, Any] = variables.thing
        self.path = variables.path
        self.names = frozenset(names)
        self._variables = variables
        self._order = tuple(self.names)
        self._of: Mapping[str, Any] | None = None
        self._values: list[Any] = []

    def take(self) -> dict[str, Any]:
        """Return the values."""
        return {name: self.thing.get(name, MISSING) for name in self.names}

    def same(self) -> bool:
        """Whether they have the same values."""
        saved = self._variables.saved
        if self._of is not saved:
            self._of, self._values = saved, [saved.get(name, MISSING) for name in self._order]
        return all(map(is_, map(self.thing.get, self._order, repeat(MISSING)), self._values))

    def put_back(self) -> Any:
        """Bind them as they were."""
        saved = self._variables.saved
        return self.give({name: saved.get(name, MISSING) for name in self.names})

    def give(self, state: Mapping[str, Any]) -> Any:
        """Bind them to these values."""
        return bind(self.thing, state)


class Several(Record):
    """Some variables of several modules, compared in one go."""

    path = "modules"

    def __init__(self) -> None:
        self.thing: list[Some] = []
        self._spaces: list[dict[str, Any]] = []
        self._names: list[str] = []
        self._values: list[Any] = []

    def add(self, some: Some) -> None:
        """Compare these, too, with what they are now."""
        self.thing.append(some)
        for name, value in some.take().items():
            self._spaces.append(some.thing)
            self._names.append(name)
            self._values.append(value)

    def same(self) -> bool:
        """Whether all have the same values."""
        return all(map(is_, map(dict.get, self._spaces, self._names, repeat(MISSING)), self._values))

    def put_back(self) -> Any:
        """Bind all as they were."""
        return [some.put_back() for some in self.thing if not some.same()]


def _held(member: Any, thing: Any) -> Any:
    """Return the value of a slot."""
    try:
        return member.__get__(thing)
    except AttributeError:
        return MISSING


def alike(names: Mapping[str, Any], saved: Mapping[str, Any]) -> bool:
    """Whether two dictionaries of names have the same values."""
    return len(names) == len(saved) and all(map(is_, names.values(), saved.values())) and list(names) == list(saved)


def bind(space: dict[str, Any], values: Mapping[str, Any]) -> list[Any]:
    """Give variables of a module these values; return what they had."""
    lost = []
    for name, value in values.items():
        held = space.get(name, MISSING)
        if held is not value:
            lost.append(held)
            if value is MISSING:
                del space[name]
            else:
                space[name] = value
    return lost


def rebind(names: dict[str, Any], saved: Mapping[str, Any]) -> None:
    """Give a dictionary of names the values that are saved, in place and in the same order."""
    if list(names)[: len(saved)] != list(saved):
        names.clear()
    for name in [name for name in names if name not in saved]:
        del names[name]
    names.update(saved)


def places_of(cls: type) -> tuple[Any, dict[str, Any]]:
    """Return how the attributes of a class's objects are got without running code of theirs: that of `__dict__`, and the slots."""
    getter: Any = None
    slots: dict[str, Any] = {}
    for base in cls.__mro__:
        for name, member in vars(base).items():
            if name == "__dict__" and getter is None and type(member) in (GetSetDescriptorType, MemberDescriptorType):
                getter = member
            elif type(member) is MemberDescriptorType and base.__flags__ & _HEAP:
                slots.setdefault(name, member)
    return getter, slots


_HEAP = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: the class was made at run time."""
