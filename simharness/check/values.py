"""Values as they can be compared between executions: by their contents, not by their identity.

Two objects of a class are equal if their attributes are. What has no contents that matter (a lock, a thread, a connection) is equal to
whatever is of its type; so is what cannot be looked into.
"""

from __future__ import annotations

import collections
import contextlib
import enum
import itertools
import operator
import pathlib
import types
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any

from simharness.errors import Misuse
from simharness.places import repr_of, without_addresses
from simharness.visible import shortened

MOST = 20_000
"""Objects that are looked into at most."""
LONGEST = 60
"""Characters of a value in words."""
TAKEN = 50
"""Items that are taken from an iterator that a call returns."""
_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_BY_NAME = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType, types.MethodDescriptorType, types.WrapperDescriptorType)
_OPAQUE = frozenset(
    {
        "_thread",
        "asyncio",
        "threading",
        "sqlite3",
        "_io",
        "socket",
        "_socket",
        "weakref",
        "_weakref",
        "concurrent",
        "multiprocessing",
        "logging",
        "trio",
    }
)
_IMMUTABLE = (*_PLAIN, *_BY_NAME, tuple, frozenset, range, enum.Enum, pathlib.PurePath)
_SHOWN = (list, tuple, dict, set, frozenset, collections.deque, range, bytearray, itertools.count, types.MethodType, types.MappingProxyType)
"""Types whose contents are known."""
_VIEWS: tuple[type[Any], ...] = (type({}.keys()), type({}.values()), type({}.items()))


class Freezing:
    """Turns values into hashable ones; what occurs twice is the same in both places.

    Args:
        canonical: returns a text as it is in every execution, without the names of temporary folders.

    Attributes:
        hidden: the types of values that have met and cannot be looked into.
    """

    def __init__(self, canonical: Callable[[str], str] = str) -> None:
        self._canonical = canonical
        self.hidden: set[str] = set()
        self._numbers: dict[int, int] = {}
        self._kept: list[Any] = []

    def of(self, value: Any) -> Hashable:
        """Return the contents of a value.

        Raises:
            Misuse: they are too large.
        """
        kind = type(value)
        if kind is str:
            return "str", self._canonical(value)
        if kind in _PLAIN:
            return kind.__name__, value if value == value else "nan"  # noqa: PLR0124  # nan differs from itself
        if isinstance(value, enum.Enum):
            return kind.__qualname__, value.name
        if isinstance(value, _BY_NAME):
            return kind.__name__, getattr(value, "__qualname__", getattr(value, "__name__", ""))
        if isinstance(value, pathlib.PurePath):
            return kind.__qualname__, self._canonical(str(value))
        if isinstance(value, BaseException):
            return "raises", kind.__qualname__
        if id(value) in self._numbers:
            return "again", self._numbers[id(value)]
        if len(self._numbers) >= MOST:
            raise Misuse(f"a {kind.__name__} holds more than {MOST:,} objects: say what is to be compared, with a method state()")
        self._numbers[id(value)] = len(self._numbers)
        self._kept.append(value)
        left = operator.length_hint(value) if hasattr(kind, "__length_hint__") else None
        return kind.__qualname__ if left is None else left, *self._contents(value)

    def _contents(self, value: Any) -> Iterator[Hashable]:
        if _is_opaque(type(value)) or hasattr(value, "__length_hint__"):
            return
        if isinstance(value, collections.OrderedDict):
            yield tuple((self.of(key), self.of(each)) for key, each in collections.OrderedDict.items(value))
        elif isinstance(value, dict):
            yield frozenset([(self.of(key), self.of(each)) for key, each in dict.items(value)])
        elif isinstance(value, Mapping) and type(value) is types.MappingProxyType:
            yield frozenset([(self.of(key), self.of(each)) for key, each in value.items()])
        elif isinstance(value, set | frozenset):
            yield frozenset([self.of(each) for each in sorted(value, key=repr_of)])
        elif isinstance(value, (list, tuple, collections.deque, range, *_VIEWS)):
            yield tuple([self.of(each) for each in _items(value)])
        elif isinstance(value, bytearray):
            yield bytes(value)
        elif type(value) is itertools.count:
            yield repr(value)
        elif isinstance(value, types.MethodType):
            yield self.of(value.__func__)
            yield self.of(value.__self__)
        attributes = attributes_of(value)
        if attributes:
            yield frozenset([(name, self.of(each)) for name, each in attributes.items()])
        elif _compares(type(value)) and not isinstance(value, list | tuple | dict | set | frozenset | collections.deque):
            yield self._canonical(without_addresses(repr_of(value)))  # a type written in C: a date, a decimal number
        elif _is_hidden(type(value)):
            self.hidden.add(type(value).__qualname__)


def attributes_of(value: Any) -> dict[str, Any]:
    """Return an object's own attributes, those in slots too, without locks and the like."""
    found: dict[str, Any] = {}
    if getattr(type(value), "__flags__", 0) & _HEAP_TYPE:
        for cls in type(value).__mro__:
            slots = cls.__dict__.get("__slots__", ())
            for slot in (slots,) if isinstance(slots, str) else slots:
                name = f"_{cls.__name__.lstrip('_')}{slot}" if slot.startswith("__") and not slot.endswith("__") else slot
                descriptor = cls.__dict__.get(name)
                if isinstance(descriptor, types.MemberDescriptorType):
                    try:
                        found[slot] = descriptor.__get__(value)
                    except AttributeError:
                        continue
    try:
        space = object.__getattribute__(value, "__dict__")  # whatever the class's own `__getattribute__` hides
    except AttributeError:
        space = getattr(value, "__dict__", None)
    found.update(space if isinstance(space, dict) else {})
    return {name: each for name, each in found.items() if name not in ("__dict__", "__weakref__") and not _is_opaque(type(each))}


_HEAP_TYPE = 1 << 9


def _is_opaque(kind: type[Any]) -> bool:
    """Whether the contents of objects of this type say nothing about the object that has them."""
    if hasattr(kind, "__length_hint__"):  # an iterator: it is compared by what is left
        return False
    home = str(getattr(kind, "__module__", "")).partition(".")[0]
    return home in _OPAQUE or home == "simharness"


def _is_hidden(kind: type[Any]) -> bool:
    """Whether objects of this type, which has no attributes and does not compare, may have contents all the same: it is written in C."""
    if kind in (object, type(...), type(NotImplemented)) or issubclass(kind, _SHOWN):
        return False
    return not any("__dict__" in vars(cls) or "__slots__" in vars(cls) for cls in kind.__mro__)


def _items(value: Any) -> Iterable[Any]:
    items: Iterable[Any] = value
    return items


def _compares(kind: type[Any]) -> bool:
    return any("__eq__" in vars(cls) for cls in kind.__mro__ if cls is not object)


def frozen(value: Any, canonical: Callable[[str], str] = str) -> Hashable:
    """Return a value's contents, to be compared with those of others."""
    return Freezing(canonical).of(value)


def same_objects(values: list[Any]) -> tuple[int, ...]:
    """Return for each value the position of the first that is the same object; values that cannot change are themselves only."""
    first: dict[int, int] = {}
    return tuple(first.setdefault(id(each), at) if not isinstance(each, _IMMUTABLE) else at for at, each in enumerate(values))


def taken(value: Any) -> Any:
    """Return what a call returned; of an iterator its items, of a generator's context manager what it is entered with."""
    if isinstance(value, contextlib._GeneratorContextManager):
        with value as entered:
            return taken(entered)
    if isinstance(value, (Iterator, *_VIEWS)):
        return list(itertools.islice(_items(value), TAKEN))
    return value


def in_words(value: Any) -> str:
    """Return a value as it is shown, in at most some sixty characters; an object without a text of its own by its class."""
    if getattr(type(value), "__repr__", None) is object.__repr__:
        return f"<{type(value).__name__}>"
    text = without_addresses(repr_of(value))
    return shortened(" ".join(text.split()), LONGEST)


def parts_in_words(value: Any) -> tuple[tuple[str, str], ...]:
    """Return the parts of an object's state as they are shown: what it contains, without a name, and its attributes."""
    inside = value if isinstance(value, dict | list | set | frozenset | collections.deque) else None
    said = [] if inside is None else [("", in_words(inside))]
    said += [(name, in_words(each)) for name, each in attributes_of(value).items()]
    return tuple(said or [("", in_words(value))])
