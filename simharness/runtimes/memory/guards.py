"""Stand-ins for objects in the expressions that are about to use them: each announces an access to the object, then makes it.

No other code sees a stand-in: an expression uses it once and continues with the result.
"""

from __future__ import annotations

import operator
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any

from simharness.engine.kernel import Kernel
from simharness.engine.phases import RUNNING
from simharness.runtimes.memory.accesses import ALL, BULK, READ, REMOVE, WALK, WRITE, Part
from simharness.runtimes.memory.attributes import touch_attribute
from simharness.runtimes.memory.halfway import during
from simharness.runtimes.memory.kinds import LIST, OBJECT, SIMPLE, own_attributes, text_of
from simharness.runtimes.memory.on_opaque import on_call
from simharness.runtimes.memory.opaque import parts as parts_of_opaque
from simharness.runtimes.memory.opaque import writes
from simharness.runtimes.memory.reach import compared, parts_of, sought, source_of
from simharness.runtimes.memory.shared import Memory
from simharness.runtimes.memory.tracked import MANY

WALKERS = frozenset({"copy", "json", "pprint", "heapq", "bisect", "statistics", "dataclasses", "pickle", "_pickle", "_json"})
"""Modules whose functions iterate over the values that they receive."""
LONGEST = 40


def look(memory: Memory | None, value: Any, done: int) -> None:
    """Announce that a container is read as a whole; do nothing for other values."""
    if memory is None:
        return
    source = source_of(value)
    rules = memory.rules(type(source))
    if rules.kind >= LIST:
        memory.access([(source, done, None)])
    elif rules.opaque and (rules.foreign("__bool__") or rules.foreign("__len__")):
        memory.access(parts_of_opaque(source, False))


def combine(memory: Memory, left: Any, right: Any, done: int) -> bool:
    """Announce that two values are combined, the left one read or changed; return whether that was a scheduling point."""
    parts = [*parts_of(memory, (left,), done), *parts_of(memory, (right,))]
    return bool(parts) and memory.access(parts)


def is_private(memory: Memory, owner: Any, key: Any, write: bool) -> bool:
    """Whether a touch of an item was recorded before, and nobody else has touched the item."""
    tracked = memory.objects.get(id(owner))
    if tracked is None or (type(key) is not str and type(key) is not int) or tracked.base is None or tracked.base.bit:
        return False
    spot = tracked.items.get(key)
    if spot is None or memory.kernel.phase != RUNNING or memory.halfway:
        return False
    if spot.private is not memory.kernel.actor:
        return spot.private is MANY and not write
    return not write or (spot.written and _stays(owner, key))


def _stays(owner: Any, key: Any) -> bool:
    """Whether writing an item leaves the order of the keys as it is."""
    return type(owner) is list or (type(owner) is dict and dict.__contains__(owner, key))


class Guard:
    """A container in an expression that subscripts, searches, compares or combines it."""

    __slots__ = ("memory", "owner")

    def __init__(self, memory: Memory, owner: Any) -> None:
        self.memory = memory
        self.owner = owner

    def _announce(self, method: str, done: int, key: Any = None) -> bool:
        memory, owner = self.memory, source_of(self.owner)
        return memory.rules(type(owner)).native(method) and memory.access([(owner, done, key)])

    def __getitem__(self, key: Any) -> Any:
        memory, owner = self.memory, self.owner
        if is_private(memory, owner, key, False):
            return owner[key]
        if memory.rules(type(owner)).foreign("__getitem__"):
            return on_call(memory, owner, writes(memory, owner, "__getitem__"), [], operator.getitem, owner, key)
        point = self._announce("__getitem__", READ, key)
        if issubclass(type(owner), defaultdict) and owner.default_factory is not None:
            if memory.rules(type(owner)).native("__missing__") and not dict.__contains__(owner, key):
                point = self._announce("__missing__", WRITE, key)
                value = during(memory, point, operator.getitem, owner, key)
                memory.made(value)
                return value
        value = during(memory, point, operator.getitem, owner, key) if point else owner[key]
        if point and memory.kernel.tracing:
            memory.kernel.note(shown(value))
        elif type(key) is slice:
            memory.made(value)
        return value

    def __setitem__(self, key: Any, value: Any) -> None:
        if is_private(self.memory, self.owner, key, True):
            self.owner[key] = value
            return
        if self.memory.rules(type(self.owner)).foreign("__setitem__"):
            on_call(self.memory, self.owner, True, [], operator.setitem, self.owner, key, value)
            return
        parts = [(self.owner, WRITE, key), *(parts_of(self.memory, (value,)) if type(key) is slice else ())]
        point = self.memory.rules(type(self.owner)).native("__setitem__") and self.memory.access(parts)
        if point and self.memory.kernel.tracing:
            self.memory.kernel.note(shown(value))
        if point:
            during(self.memory, point, operator.setitem, self.owner, key, value)
        else:
            self.owner[key] = value

    def __delitem__(self, key: Any) -> None:
        if self.memory.rules(type(self.owner)).foreign("__delitem__"):
            on_call(self.memory, self.owner, True, [], operator.delitem, self.owner, key)
            return
        if self.memory.rules(type(self.owner)).kind == LIST:
            point = self._announce("__delitem__", BULK)
        else:
            point = self._announce("__delitem__", REMOVE, key)
        during(self.memory, point, operator.delitem, self.owner, key)

    def __contains__(self, key: Any) -> bool:
        rules = self.memory.rules(type(self.owner))
        if rules.opaque and not (rules.foreign("__contains__") or rules.foreign("__iter__")):
            return key in self.owner
        parts = sought(self.memory, self.owner, key)
        point = bool(parts) and self.memory.access(parts)
        present: bool = during(self.memory, point, operator.contains, self.owner, key)
        if point and self.memory.kernel.tracing:
            self.memory.kernel.note(f"{shown(key)} is {'in it' if present else 'not in it'}")
        return present

    __hash__ = None  # type: ignore[assignment]  # no code keeps it


def _comparing(name: str) -> Callable[[Guard, Any], Any]:
    combining = getattr(operator, name)

    def method(self: Guard, other: Any) -> Any:
        if type(other) is Guard:
            other = other.owner
        if name in _COMPARISONS:
            parts = compared(self.memory, self.owner, other)
            point = bool(parts) and self.memory.access(parts)
        else:
            point = combine(self.memory, self.owner, other, ALL if name in _UNORDERED else WALK)
        value = during(self.memory, point, combining, self.owner, other)
        self.memory.made(value) if self.memory.rules(type(value)).kind >= LIST else None
        return value

    method.__name__ = name
    return method


_COMPARISONS = frozenset({"__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"})
_UNORDERED = frozenset({"__and__", "__or__", "__sub__", "__xor__"})
for _name in (*_COMPARISONS, *_UNORDERED, "__add__", "__mul__"):
    setattr(Guard, _name, _comparing(_name))


class Update:
    """An object in an augmented assignment: an attribute or item of it is read, and then written."""

    __slots__ = ("_memory", "_owner")

    def __init__(self, memory: Memory, owner: Any) -> None:
        object.__setattr__(self, "_memory", memory)
        object.__setattr__(self, "_owner", owner)

    def __getattribute__(self, name: str) -> Any:
        memory, owner = _parts(self)
        point = touch_attribute(memory, owner, name, False)
        value = getattr(owner, name)
        if point and memory.kernel.tracing:
            memory.kernel.note(shown(value))
        return InPlace(memory, value) if _changes_in_place(memory, value) else value

    def __setattr__(self, name: str, value: Any) -> None:
        memory, owner = _parts(self)
        if touch_attribute(memory, owner, name, True) and memory.kernel.tracing:
            memory.kernel.note(shown(value))
        setattr(owner, name, value)

    def __getitem__(self, key: Any) -> Any:
        memory, owner = _parts(self)
        value = (Guard(memory, owner) if _changes_in_place(memory, owner) else owner)[key]
        return InPlace(memory, value) if _changes_in_place(memory, value) else value

    def __setitem__(self, key: Any, value: Any) -> None:
        memory, owner = _parts(self)
        (Guard(memory, owner) if _changes_in_place(memory, owner) else owner)[key] = value


def _changes_in_place(memory: Memory, value: Any) -> bool:
    rules = memory.rules(type(value))
    return rules.kind >= LIST or rules.opaque


def _parts(update: Update) -> tuple[Memory, Any]:
    return object.__getattribute__(update, "_memory"), object.__getattribute__(update, "_owner")


def class_read(memory: Memory, function: Any) -> Any:
    """Return what to call in place of `type` or `isinstance`: they read the class of an object, if one is assigned anywhere."""
    if not memory.wholes:
        return function

    def call(*arguments: Any) -> Any:
        if arguments and memory.rules(type(arguments[0])).kind == OBJECT:
            memory.as_a_whole(arguments[0], "__class__", False)
        return function(*arguments)

    return call


class InPlace:
    """A container that is the left side of an augmented assignment to an attribute or item."""

    __slots__ = ("memory", "owner")

    def __init__(self, memory: Memory, owner: Any) -> None:
        self.memory = memory
        self.owner = owner


def _in_place(name: str) -> Callable[[InPlace, Any], Any]:
    combining = getattr(operator, name)

    def method(self: InPlace, other: Any) -> Any:
        point = combine(self.memory, self.owner, other, BULK)
        return during(self.memory, point, combining, self.owner, other)

    return method


for _name in ("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift", "and", "or", "xor"):
    setattr(InPlace, f"__i{_name}__", _in_place(f"__i{_name}__"))


class Store:
    """An object whose attribute is written in an execution that is recorded: notes the value."""

    __slots__ = ("_memory", "_owner")

    def __init__(self, kernel: Kernel, owner: Any) -> None:
        object.__setattr__(self, "_memory", kernel)
        object.__setattr__(self, "_owner", owner)

    def __setattr__(self, name: str, value: Any) -> None:
        kernel, owner = object.__getattribute__(self, "_memory"), object.__getattribute__(self, "_owner")
        kernel.note(shown(value))
        setattr(owner, name, value)

    def __delattr__(self, name: str) -> None:
        kernel, owner = object.__getattribute__(self, "_memory"), object.__getattribute__(self, "_owner")
        kernel.note("deleted")
        delattr(owner, name)


class Walk:
    """An iterator over a container; each of its steps reads the container.

    Making it reads the container, too (its size, for a dictionary); a loop does that together with its first step. `own`: others may
    have the iterator, so each step also writes how far it has come.
    """

    __slots__ = ("__weakref__", "memory", "own", "source", "steps", "value")

    def __init__(self, memory: Memory, source: Any, value: Any, looping: bool = False, own: bool = True) -> None:
        self.memory = memory
        self.source = source
        self.value = value
        self.own = own and not looping
        self.steps: Iterator[Any] | None = None
        if not looping:
            if memory.rules(type(source)).kind != LIST or issubclass(type(source), deque):
                memory.access([(source, ALL, None)])
            self.steps = iter(value)

    def __iter__(self) -> Walk:
        return self

    def __next__(self) -> Any:
        memory = self.memory
        point = self._access([(self, BULK, None), (self.source, WALK, None)] if self.own else [(self.source, WALK, None)])
        steps = self.steps
        if steps is None:
            steps = self.steps = iter(self.value)
        element = next(steps)
        if point and memory.kernel.tracing:
            memory.kernel.note(shown(element))
        return element

    def _access(self, parts: list[Part]) -> bool:
        memory = self.memory
        return memory.access(parts) if memory.watched is None else memory.watched.walking(lambda: memory.access(parts))

    def __reduce__(self) -> Any:
        return (self.steps or iter(self.value)).__reduce__()

    def __length_hint__(self) -> int:
        return operator.length_hint(self.steps or self.value)


# Values as text


def shown(value: Any, depth: int = 1) -> str:
    """Return a short text for a value, without running any code of the user's."""
    kind = type(value)
    if kind in SIMPLE:
        text = text_of(value)
    elif depth and kind in (list, tuple, set, dict) and len(value) <= 4:
        pairs = value.items() if kind is dict else ()
        inner = [f"{shown(key, 0)}: {shown(element, 0)}" for key, element in pairs] or [shown(element, 0) for element in value]
        opening, closing = "[]" if kind is list else "()" if kind is tuple else "{}"
        text = f"{opening}{', '.join(inner)}{',' if kind is tuple and len(value) == 1 else ''}{closing}"
    elif kind in (list, tuple, set, dict):
        text = f"{kind.__name__} of {len(value)}"
    else:
        text = f"<{(value if issubclass(kind, type) else kind).__name__}>"
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def note_read(kernel: Kernel, owner: Any, name: str) -> None:
    """Note the value of an attribute that is read next, unless getting it runs code."""
    held = own_attributes(owner)
    if name in held:
        kernel.note(shown(held[name]))
        return
    for base in type(owner).__mro__:
        if name in vars(base):
            value = vars(base)[name]
            if type(value).__name__ == "member_descriptor":
                try:
                    value = value.__get__(owner)
                except AttributeError:
                    return
            kernel.note(shown(value))
            return
