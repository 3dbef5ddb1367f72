"""Calls that touch shared memory although the called code is not instrumented: methods of containers, builtins that receive containers,
`getattr` and the like, and classes, whose results are new objects.
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from functools import partial
from types import FunctionType, MappingProxyType, MethodDescriptorType, MethodType, MethodWrapperType, WrapperDescriptorType
from typing import Any
from weakref import ReferenceType

from simharness.runtimes.identities import virtual_id
from simharness.runtimes.memory import guards
from simharness.runtimes.memory.accesses import ALL, BULK, IN_C, READ, REMOVE, WALK, WRITE, Part
from simharness.runtimes.memory.allowed import is_package, root_of
from simharness.runtimes.memory.attributes import CHANGING, changing, touch_attribute
from simharness.runtimes.memory.deaths import looking, referring
from simharness.runtimes.memory.foreign import INTO, filling, foreign, is_foreign, is_foreign_class, on_opaque
from simharness.runtimes.memory.halfway import during, keyed
from simharness.runtimes.memory.kinds import CLASS, DICT, EXEMPT, LIST, OBJECT, SET, own_attributes
from simharness.runtimes.memory.logging_calls import configures, configuring
from simharness.runtimes.memory.on_opaque import on_call
from simharness.runtimes.memory.opaque import is_iterator
from simharness.runtimes.memory.operators import getting, operation
from simharness.runtimes.memory.output import captured, captures
from simharness.runtimes.memory.reach import SHOWING, all_of, parts_of, source_of
from simharness.runtimes.memory.shared import Memory
from simharness.runtimes.memory.stateless import READERS
from simharness.runtimes.memory.wide import MODULES, for_all, registers

_LIST_READS = {"index": ALL, "count": ALL, "__contains__": ALL, "__len__": ALL, "copy": WALK}
_LIST_ITEMS = {"__getitem__": READ, "__setitem__": WRITE}
_COMPARING = frozenset({"index", "count", "remove", "sort", "__contains__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"})
"""Methods of lists, and comparisons of containers, that compare the elements."""
_LIST_STORES = frozenset({"append", "appendleft", "insert", "__setitem__"})
_KEYED = {
    DICT: {
        "get": READ,
        "__getitem__": READ,
        "__contains__": READ,
        "__setitem__": WRITE,
        "setdefault": WRITE,
        "__delitem__": REMOVE,
        "pop": REMOVE,
    },
    SET: {"__contains__": READ, "add": WRITE, "discard": REMOVE, "remove": REMOVE},
}
_READS: dict[int, dict[str, int | None]] = {
    DICT: {"__len__": ALL, "copy": WALK, "items": None, "keys": None, "values": None, "__eq__": ALL, "most_common": WALK, "total": ALL},
    SET: {
        "__len__": ALL,
        "copy": ALL,
        "union": ALL,
        "intersection": ALL,
        "difference": ALL,
        "symmetric_difference": ALL,
        "isdisjoint": ALL,
        "issubset": ALL,
        "issuperset": ALL,
        "__eq__": ALL,
    },
}
_NO_ACCESS = frozenset({"__init__", "__class__", "__sizeof__", "__reduce__", "__reduce_ex__", "__init_subclass__", "__dir__", "fromkeys"})
_SHALLOW = (len, list, tuple, dict, set, frozenset, bytearray, deque, OrderedDict, defaultdict, Counter)
"""Callables that read containers, but nothing of their elements."""
_COPYING = frozenset({"copy", "dataclasses", "pickle", "_pickle"})
_SIZES = (len, sorted, set, frozenset, min, max, any, all, sum, bool)
_LAZY = (enumerate, zip)
_WRITERS = frozenset({"heappush", "heappop", "heapify", "heapreplace", "heappushpop", "insort", "insort_left", "insort_right", "shuffle"})
_ATTRIBUTES = ("__setattr__", "__delattr__", "__getattribute__")


def called(memory: Memory, function: Any, kind: type) -> Any:
    """Return the callable to call in place of a function that is called next; that may be the function itself."""
    if issubclass(kind, type):
        return _class(memory, function)
    if kind in IN_C:
        return _in_c(memory, function, kind)
    if kind is MethodType:
        return _method_in_python(memory, function)
    if kind is FunctionType:
        if function.__module__ in guards.WALKERS:
            return _reading(memory, function, BULK if function.__name__ in _WRITERS else WALK)
        wrapped = for_all(memory, function) if function.__module__ in MODULES else None
        return wrapped or (configuring(memory, function) if configures(function) else foreign(memory, function, called))
    if kind in (MethodDescriptorType, WrapperDescriptorType):
        return _unbound(memory, function)
    if kind is partial:
        return _partial(memory, function)
    if kind.__module__ == "operator":
        return getting(memory, function, _announced)
    if kind is ReferenceType:
        return looking(memory, function)
    if memory.rules(kind).foreign("__call__"):
        return on_opaque(memory, function, function, "__call__", called)
    return function


def _in_c(memory: Memory, function: Any, kind: type) -> Any:
    owner = source_of(function.__self__)
    rules = memory.rules(type(owner))
    if type(function.__self__) in SHOWING and owner is not function.__self__:
        return _shown(memory, function, owner)
    if rules.kind >= LIST:
        return _method(memory, function, owner, function.__name__)
    if function.__name__ in _ATTRIBUTES and kind is MethodWrapperType:
        return _slot(memory, function, owner)
    if rules.opaque:
        return on_opaque(memory, function, owner, function.__name__, called)
    if function.__name__ in CHANGING:
        return changing(memory, function, owner)
    return _builtin(memory, function) if kind is not MethodWrapperType else function


def _method_in_python(memory: Memory, function: Any) -> Any:
    owner = function.__self__
    rules = memory.rules(type(owner))
    if rules.kind >= LIST and is_foreign(function.__func__):
        return _method(memory, function, owner, function.__name__)
    if rules.opaque and is_foreign(function.__func__):
        return on_opaque(memory, function, owner, function.__name__, called)
    if captures(owner):
        return captured(memory, function)
    registers(memory, function)
    return configuring(memory, function, owner) if configures(function.__func__, owner) else foreign(memory, function, called)


def _partial(memory: Memory, function: Any) -> Any:
    """A `functools.partial`: its function is called."""

    inner = _announced(memory, function.func)
    return lambda *given, **named: inner(*function.args, *given, **{**function.keywords, **named})


# Methods of containers


def _shown(memory: Memory, function: Any, owner: Any) -> Any:
    """A bound method of a view or a proxy of a dictionary."""
    if type(function.__self__) is MappingProxyType:
        return _method(memory, function, owner, function.__name__)

    def call(*arguments: Any) -> Any:
        point = memory.access([(owner, ALL, None), *parts_of(memory, arguments)])
        value = during(memory, point, function, *arguments)
        return guards.Walk(memory, owner, value) if function.__name__ == "__iter__" else value

    return call


def _method(memory: Memory, function: Any, owner: Any, name: str) -> Any:
    """A bound method of a container."""
    if name in _NO_ACCESS:
        return function
    if name in ("__setattr__", "__delattr__", "__getattribute__"):
        return _slot(memory, function, owner)
    kind = memory.rules(type(owner)).kind

    def call(*arguments: Any, **keywords: Any) -> Any:
        parts = [*_done(owner, kind, name, arguments), *_read_too(memory, owner, kind, name, arguments)]
        point = bool(parts) and memory.access(parts)
        value = (
            during(memory, keyed(memory, keywords, point, _announced), function, *arguments, **keywords)
            if point or keywords
            else function(*arguments)
        )
        if name in ("copy", "union", "intersection", "difference", "symmetric_difference", "most_common"):
            memory.made(value)
        if name == "__iter__":
            return guards.Walk(memory, owner, value)
        if point and memory.kernel.tracing:
            shown_arguments = ", ".join(guards.shown(argument) for argument in arguments)
            memory.kernel.note(f"{name}({shown_arguments})" + (f" = {guards.shown(value)}" if value is not None else ""))
        return value

    return call


def _done(owner: Any, kind: int, name: str, arguments: tuple[Any, ...]) -> list[Part]:
    """Return the accesses that a method makes to its container."""
    if name == "__iter__":
        return []
    if kind == LIST:
        if name in _LIST_ITEMS and arguments:
            return [(owner, _LIST_ITEMS[name], arguments[0])]
        return [(owner, _LIST_READS.get(name, BULK), None)]
    keyed = _KEYED[kind].get(name)
    if keyed is not None and arguments:
        return [(owner, keyed, arguments[0])]
    if name in _READS[kind]:
        done = _READS[kind][name]
        return [] if done is None else [(owner, done, None)]
    return [(owner, BULK, None)]


def _read_too(memory: Memory, owner: Any, kind: int, name: str, arguments: tuple[Any, ...]) -> list[Part]:
    """Return the accesses to the arguments that a method reads; those that it only stores are not read."""
    if name in _COMPARING and name not in _KEYED.get(kind, ()):
        return all_of(memory, (owner, *arguments))
    if (kind == LIST and name in _LIST_STORES) or (kind != LIST and name in _KEYED[kind]):
        return []
    return parts_of(memory, arguments)


def _unbound(memory: Memory, function: Any) -> Any:
    """`list.append`, `object.__setattr__`, …: the method of a class, called with its object."""
    name = function.__name__

    def call(*arguments: Any, **keywords: Any) -> Any:
        if arguments:
            owner, rest = arguments[0], arguments[1:]
            rules = memory.rules(type(owner))
            if name in _ATTRIBUTES and rest:
                touch_attribute(memory, owner, rest[0], name != "__getattribute__", slot=True)
            elif rules.kind >= LIST and name not in _NO_ACCESS:
                return _method(memory, function.__get__(owner), owner, name)(*rest, **keywords)
            elif rules.opaque and name not in _NO_ACCESS:
                return on_opaque(memory, function.__get__(owner), owner, name, called)(*rest, **keywords)
        return function(*arguments, **keywords)

    return call


def _slot(memory: Memory, function: Any, owner: Any) -> Any:
    """`super().__setattr__` and the like."""
    name = function.__name__

    def call(attribute: str, *value: Any) -> Any:
        touch_attribute(memory, owner, attribute, name != "__getattribute__", slot=True)
        return function(attribute, *value)

    return call


# Builtins


def _builtin(memory: Memory, function: Any) -> Any:
    """A function of the interpreter: it reads the containers among its arguments."""
    if function in (getattr, setattr, delattr, hasattr):

        def attribute(owner: Any, *rest: Any) -> Any:
            if rest and type(rest[0]) is str:
                touch_attribute(memory, owner, rest[0], function in (setattr, delattr))
            return function(owner, *rest)

        return attribute
    if function is vars:

        def attributes(*owner: Any) -> Any:
            if owner and memory.rules(type(owner[0])).kind == OBJECT:
                memory.as_a_whole(owner[0], "__dict__", False)
            return function(*owner)

        return attributes
    if function is virtual_id:
        return memory.identify
    if (wrapped := for_all(memory, function)) is not None:
        return wrapped
    if function is iter:
        return lambda *arguments: _iterated(memory, arguments)
    name = function.__name__
    if function.__module__ == "_operator":
        return operation(memory, function, _reading)
    if function is next:
        return lambda owner, *default: _next(memory, owner, default)
    if name in ("isinstance", "callable", "put", "put_nowait", "throw", "send", "switch"):
        return function
    if is_package(root_of(function)) or (function.__module__ in sys.stdlib_module_names and function.__module__ not in READERS):
        return foreign(memory, function, called)
    if name in INTO:
        return filling(memory, function)
    done = BULK if name in _WRITERS else ALL if function in _SIZES else WALK
    return _reading(memory, function, done)


def _next(memory: Memory, owner: Any, default: tuple[Any, ...]) -> Any:
    if memory.rules(type(owner)).foreign("__next__"):
        return on_call(memory, owner, True, [], next, owner, *default)
    return next(owner, *default)


def _iterated(memory: Memory, arguments: tuple[Any, ...]) -> Any:
    if len(arguments) == 1:
        source = source_of(arguments[0])
        rules = memory.rules(type(source))
        if rules.kind >= LIST and rules.native("__iter__"):
            return guards.Walk(memory, source, arguments[0])
        if rules.foreign("__iter__") and not is_iterator(source):
            return memory.made_by_call(on_call(memory, source, False, [], iter, source))
    return memory.made_by_call(iter(*arguments))


def _reading(memory: Memory, function: Any, done: int) -> Any:
    """Wrap a function so that it announces that it reads, or changes, the containers among its arguments."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        if function in _SHALLOW or done == BULK:
            parts = parts_of(memory, arguments[: 1 if done == BULK else None], done)
            parts += all_of(memory, arguments) if done == BULK else ()
        else:
            parts = all_of(memory, (*arguments, *keywords.values()), done, _goes_deep(function, keywords))
        point = bool(parts) and memory.access(parts)
        value = (
            during(memory, keyed(memory, keywords, point, _announced), function, *arguments, **keywords)
            if point or keywords
            else function(*arguments)
        )
        memory.made_by_call(value)
        if point and memory.kernel.tracing:
            memory.kernel.note(f"{function.__name__}(…) = {guards.shown(value)}")
        return value

    return call


def _goes_deep(function: Any, keywords: dict[str, Any]) -> bool:
    """Whether a call reads attributes of objects: copying does, and sorting by an `attrgetter`."""
    return function.__module__ in _COPYING or type(keywords.get("key")).__module__ == "operator"


# Classes


def _class(memory: Memory, cls: Any) -> Any:
    """Calling a class makes an object, or reads the container that it receives."""
    if cls is ReferenceType:
        return referring(memory, cls)
    if cls in (map, filter):
        return lambda applied, *sources: memory.made_by_call(
            cls(_announced(memory, applied), *(_lazily(memory, source) for source in sources))
        )
    if cls in _LAZY or cls.__module__ == "itertools":
        return lambda *arguments, **keywords: memory.made_by_call(cls(*(_lazily(memory, argument) for argument in arguments), **keywords))
    if cls is reversed:
        return lambda argument: _backwards(memory, argument)
    if cls.__module__ in ("builtins", "collections"):
        return _reading(memory, cls, ALL if cls in _SIZES else WALK) if memory.rules(cls).kind >= LIST or cls in _CONSUMERS else cls
    rules = memory.rules(cls)
    if rules.exempt or (rules.opaque and is_foreign_class(cls)):
        return foreign(memory, cls, called)
    if rules.kind == EXEMPT or memory.rules(type(cls)).kind != CLASS or issubclass(cls, BaseException):
        return cls
    return _maker(memory, cls)


_CONSUMERS: frozenset[Any] = frozenset({tuple, frozenset, str, bytes, bool})


def _announced(memory: Memory, function: Any) -> Any:
    """Wrap a function that other code will call so that it announces its accesses; the user's own functions already do."""
    return called(memory, function, type(function)) if callable(function) and type(function) is not FunctionType else function


def _lazily(memory: Memory, argument: Any) -> Any:
    source = source_of(argument)
    rules = memory.rules(type(source))
    return guards.Walk(memory, source, argument, own=False) if rules.kind >= LIST and rules.native("__iter__") else argument


def _backwards(memory: Memory, argument: Any) -> Any:
    source = source_of(argument)
    rules = memory.rules(type(source))
    if rules.kind >= LIST and rules.native("__reversed__"):
        return guards.Walk(memory, source, reversed(argument))
    return reversed(argument)


def _maker(memory: Memory, cls: Any) -> Callable[..., Any]:
    """Wrap a class in a function that names the new object, and the containers that a dataclass makes with it."""

    def make(*arguments: Any, **keywords: Any) -> Any:
        actor = memory.kernel.actor
        under_way = memory.constructing.setdefault(actor, [])
        under_way.append(cls)
        try:
            thing = cls(*arguments, **keywords)
        finally:
            under_way.pop()
        if type(thing) is cls:
            memory.made(thing)
            for name, factory in _factories(cls):
                value = own_attributes(thing).get(name)
                if type(value) is factory and not any(value is given for given in (*arguments, *keywords.values())):
                    memory.made(value, name)
        return thing

    return make


def _factories(cls: Any) -> list[tuple[str, Any]]:
    """Return the fields of a dataclass that are made for each instance, with the classes that make them."""
    fields: Any = getattr(cls, "__dataclass_fields__", None)
    if not issubclass(type(fields), dict):
        return []
    return [(name, field.default_factory) for name, field in fields.items() if issubclass(type(field.default_factory), type)]
