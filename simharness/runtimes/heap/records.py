"""Records: the state of one object at a moment, and the object put back to it in place, so that every alias of it stays right.

A record reads and writes with the methods of the built-in types alone: no code of the user's runs, but the `__hash__` and `__eq__` of keys
where Python itself calls them. Contents are compared by identity and order: an equal object in place of another one is a change.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import repeat
from operator import eq, is_
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any, Protocol

MISSING = object()
"""The value of a name that is not bound."""


class Record(Protocol):
    """The state of one object.

    Attributes:
        thing: the object.
        path: how a person finds it, such as `shop.REGISTRY`.
    """

    thing: Any
    path: str

    def same(self) -> bool:
        """Whether the object's state is the one that is kept."""

    def put_back(self) -> Any:
        """Give the object the state that is kept; return what it loses by that, to be released later."""

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield what the state leads to, each with the last part of its path."""


class Items:
    """The elements of a list, a `deque` or a `bytearray`."""

    def __init__(self, thing: Any, path: str, base: Any) -> None:
        self.thing, self.path = thing, path
        self._base = base
        self._saved = list(self._base.__iter__(thing))
        self.size = len(self._saved)

    def same(self) -> bool:
        """Whether the elements are the same, in the same order."""
        return self._base.__len__(self.thing) == len(self._saved) and all(map(is_, self._base.__iter__(self.thing), self._saved))

    def among(self, keys: Iterable[Any]) -> Record:
        """Return a record that compares the length and the elements at these indices, and puts all back."""
        saved = self._saved
        held = [(key, saved[key]) for key in keys if type(key) is int and key < len(saved)]
        return _Part(self, lambda thing: self._base.__len__(thing) == len(saved) and all(thing[key] is value for key, value in held))

    def put_back(self) -> Any:
        """Replace the elements."""
        lost = list(self._base.__iter__(self.thing))
        self._base.clear(self.thing)
        self._base.extend(self.thing, self._saved)
        return lost

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield the elements."""
        yield from ((f"[{number}]", value) for number, value in enumerate(self._saved))


class Entries:
    """The keys and values of a dictionary, in their order, and what a `defaultdict` makes the missing ones with."""

    def __init__(self, thing: Any, path: str, base: Any) -> None:
        self.thing, self.path = thing, path
        self._base = base
        self._factory = getattr(base, "default_factory", None)
        self._makes = self._factory.__get__(thing) if self._factory is not None else None
        self._saved: dict[Any, Any] = dict.copy(thing)
        self._keys, self._values = list(base.keys(thing)), list(base.values(thing))
        self.size = len(self._keys)

    def same(self) -> bool:
        """Whether the keys and values are the same, in the same order."""
        thing, base = self.thing, self._base
        return (
            dict.__len__(thing) == len(self._keys)
            and all(map(is_, base.values(thing), self._values))
            and all(map(is_, base.keys(thing), self._keys))
            and (self._factory is None or self._factory.__get__(thing) is self._makes)
        )

    def among(self, keys: Iterable[Any]) -> Record:
        """Return a record that compares the length and the values of these keys, and puts all back."""
        saved = self._saved
        held = [(key, saved.get(key, MISSING)) for key in keys if type(key) is str or type(key) is int]
        get = dict.get
        return _Part(
            self, lambda thing: dict.__len__(thing) == len(saved) and all(get(thing, key, MISSING) is value for key, value in held)
        )

    def put_back(self) -> Any:
        """Replace the keys and values."""
        thing, base = self.thing, self._base
        lost = [*base.keys(thing), *base.values(thing)]
        base.clear(thing)
        if issubclass(base, OrderedDict):
            for key, value in zip(self._keys, self._values, strict=True):
                base.__setitem__(thing, key, value)
        else:
            dict.update(thing, self._saved)
        if self._factory is not None:
            self._factory.__set__(thing, self._makes)
        return lost

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield the values and the keys."""
        for key, value in zip(self._keys, self._values, strict=True):
            yield f"[{key!r}]" if type(key) in (str, int) else "[…]", value
            yield "[a key]", key


class _Part:
    """A record of a large container of which only a part is compared."""

    def __init__(self, whole: Record, same: Callable[[Any], bool]) -> None:
        self.thing, self.path = whole.thing, whole.path
        self._whole = whole
        self._same = same

    def same(self) -> bool:
        """Whether that part is the same."""
        return self._same(self.thing)

    def put_back(self) -> Any:
        """Put all of it back."""
        return self._whole.put_back()

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield what all of it leads to."""
        return self._whole.leads_to()


class Elements:
    """The elements of a set.

    The order in which a set shows its elements depends on how they came into it, so what it holds at the baseline comes into it anew.
    """

    def __init__(self, thing: Any, path: str) -> None:
        self.thing, self.path = thing, path
        self._saved = set.copy(thing)
        if self._saved:
            self.put_back()
        self._order = list(set.__iter__(thing))

    def same(self) -> bool:
        """Whether the elements are the same, in the same order."""
        return set.__len__(self.thing) == len(self._order) and all(map(is_, set.__iter__(self.thing), self._order))

    def put_back(self) -> Any:
        """Replace the elements."""
        lost = list(set.__iter__(self.thing))
        set.clear(self.thing)
        set.update(self.thing, self._saved)
        return lost

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield the elements."""
        yield from (("[…]", value) for value in self._order)


class Attributes:
    """The attributes of an object, those in slots too, and its class."""

    def __init__(self, thing: Any, path: str, getter: Any, slots: Mapping[str, Any]) -> None:
        self.thing, self.path = thing, path
        self._class = type(thing)
        self._getter = getter
        self._saved: dict[str, Any] = dict(getter.__get__(thing)) if getter is not None else {}
        self._slots: list[tuple[str, Any, Any]] = [(name, member, _held(member, thing)) for name, member in slots.items()]

    def same(self) -> bool:
        """Whether the attributes are the same."""
        if type(self.thing) is not self._class:
            return False
        if self._getter is not None:
            names, saved = self._getter.__get__(self.thing), self._saved
            if len(names) != len(saved) or not all(map(is_, names.values(), saved.values())) or not all(map(eq, names, saved)):
                return False
        return all(_held(member, self.thing) is value for _, member, value in self._slots)

    def put_back(self) -> Any:
        """Set the attributes, and remove those that were not there."""
        thing = self.thing
        lost: list[Any] = []
        if type(thing) is not self._class:
            object.__setattr__(thing, "__class__", self._class)
        if self._getter is not None:
            names = self._getter.__get__(thing)
            lost += dict.values(names)
            rebind(names, self._saved)
        for _, member, value in self._slots:
            held = _held(member, thing)
            if held is not value:
                lost.append(held)
                member.__delete__(thing) if value is MISSING else member.__set__(thing, value)
        return lost

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield the attributes."""
        yield from ((f".{name}", value) for name, value in self._saved.items())
        yield from ((f".{name}", value) for name, _, value in self._slots)


class ClassAttributes:
    """The attributes of a class."""

    _FIXED = frozenset({"__dict__", "__weakref__"})

    def __init__(self, thing: Any, path: str) -> None:
        self.thing, self.path = thing, path
        self._saved = dict(type.__dict__["__dict__"].__get__(thing))

    def same(self) -> bool:
        """Whether the attributes are the same."""
        names, saved = type.__dict__["__dict__"].__get__(self.thing), self._saved
        return len(names) == len(saved) and all(map(is_, names.values(), saved.values()))

    def put_back(self) -> Any:
        """Set the attributes, and remove those that were not there."""
        names = dict(type.__dict__["__dict__"].__get__(self.thing))
        for name in (names.keys() | self._saved.keys()) - self._FIXED:
            value = self._saved.get(name, MISSING)
            if value is MISSING:
                type.__delattr__(self.thing, name)
            elif names.get(name, MISSING) is not value:
                type.__setattr__(self.thing, name, value)
        if list(type.__dict__["__dict__"].__get__(self.thing)) != list(self._saved):
            self._saved = dict(type.__dict__["__dict__"].__get__(self.thing))  # one that was deleted is last now: nothing can change that
        return names

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield the attributes."""
        yield from ((f".{name}", value) for name, value in self._saved.items() if name not in self._FIXED)


class Variables:
    """The globals of a module. Most executions touch few of many, so `among` gives a record of only some."""

    def __init__(self, space: dict[str, Any], path: str, ignored: frozenset[str]) -> None:
        self.space, self.path = space, path
        self._ignored = ignored
        self.saved = dict(space)

    def changed(self) -> set[str]:
        """Return the names of those that have other values."""
        space, saved = self.space, self.saved
        if len(space) == len(saved) and all(map(is_, space.values(), saved.values())) and space.keys() == saved.keys():
            return set()
        names = {name for name in space.keys() | saved.keys() if space.get(name, MISSING) is not saved.get(name, MISSING)}
        return {name for name in names if name not in self._ignored and not (name.startswith("__") and name.endswith("__"))}

    def among(self, names: Iterable[str]) -> Record:
        """Return the record of the variables of these names."""
        return _Some(self, names)

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield the values."""
        yield from ((f".{name}", value) for name, value in self.saved.items() if name not in self._ignored)


class _Some:
    """Some variables of a module, with the values that are kept when it is made."""

    def __init__(self, variables: Variables, names: Iterable[str]) -> None:
        self.thing: Any = variables.space
        self.path = variables.path
        self._saved = {name: variables.saved.get(name, MISSING) for name in names}

    def same(self) -> bool:
        """Whether they have the same values."""
        # In C, as this is asked of many variables after each execution.
        return all(map(is_, map(self.thing.get, self._saved, repeat(MISSING)), self._saved.values()))

    def put_back(self) -> Any:
        """Bind them as they were."""
        space: dict[str, Any] = self.thing
        lost = []
        for name, value in self._saved.items():
            held = space.get(name, MISSING)
            if held is not value:
                lost.append(held)
                if value is MISSING:
                    del space[name]
                else:
                    space[name] = value
        return lost

    def leads_to(self) -> Iterator[tuple[str, Any]]:
        """Yield the values."""
        yield from ((f".{name}", value) for name, value in self._saved.items() if value is not MISSING)


def _held(member: Any, thing: Any) -> Any:
    """Return the value of a slot."""
    try:
        return member.__get__(thing)
    except AttributeError:
        return MISSING


def alike(names: Mapping[str, Any], saved: Mapping[str, Any]) -> bool:
    """Whether two dictionaries of names have the same values."""
    return len(names) == len(saved) and all(map(is_, names.values(), saved.values())) and list(names) == list(saved)


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


CONTAINERS: tuple[type, ...] = (list, deque, bytearray)
_HEAP = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: the class was made at run time."""
