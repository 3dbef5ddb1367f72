"""Calls of code that is not instrumented: what it receives, what it is handed to call later, and which package it belongs to.

Such a call reads the containers that it receives, and what they lead to; it writes those of which a call has been seen to change them
(`Changes`). Code of the standard library writes the opaque objects that it receives, too; a package's reads them: if several actors run it,
the verdict names it anyway.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import (
    FunctionType,
    MethodDescriptorType,
    MethodType,
    WrapperDescriptorType,
)
from typing import Any

from simharness.engine.kernel import current
from simharness.engine.phases import RUNNING
from simharness.instrument.marks import announces
from simharness.runtimes.memory.accesses import ALL, BULK, DEEP, IN_C, Part
from simharness.runtimes.memory.allowed import TOOLS, is_package, root_of
from simharness.runtimes.memory.deaths import WEAK, into
from simharness.runtimes.memory.facts import Changes
from simharness.runtimes.memory.halfway import during
from simharness.runtimes.memory.kinds import EXEMPT, LIST, MODULE, SIMPLE
from simharness.runtimes.memory.on_opaque import enters, on_call
from simharness.runtimes.memory.opaque import Through, writes
from simharness.runtimes.memory.reach import all_of, parts_of, source_of
from simharness.runtimes.memory.shared import MEMORY, Memory

Called = Callable[[Memory, Any, type], Any]
"""`calls.called`: returns what to call in place of a function."""
_SENSITIVE = (
    TOOLS
    | {"logging", "warnings", "inspect", "traceback", "typing", "types", "enum", "collections", "abc", "sys", "builtins", "unittest"}
    | {"dataclasses", "ast", "linecache", "pdb"}
)
"""Modules whose functions look at the frame that calls them, or only describe."""
_CALLERS = frozenset(
    {"simharness", "threading", "_thread", "concurrent", "contextlib", "functools", "weakref", "atexit", "trio", "sched", "asyncio"}
    | {"contextvars", "signal", "queue", "sqlite3"}
)
"""Modules that call what they receive, and whose own memory is known to the runtimes."""
_FACE = "simharness.authoring"
"""Where the harness has functions that take functions. Those that stand in for the standard library's look at the frame that calls them."""
_FILES = "simharness.runtimes.files"
"""Where the functions are that stand in for those that make file objects."""
INTO = frozenset({"pack_into", "readinto", "readinto1", "recv_into", "recvfrom_into"})
"""Functions that fill a buffer that they receive."""
_DATA = frozenset({list, dict, set, tuple})
_UNBOUND = (MethodDescriptorType, WrapperDescriptorType, partial)
_ANNOUNCED = frozenset({"builtins", "_heapq", "heapq", "_bisect", "bisect", "copy", "_json", "_pickle", "_functools", "_operator"})
"""Modules of functions in C that are announced when other code calls them."""


def is_foreign(function: Any) -> bool:
    """Whether a function is Python code that is not instrumented."""
    return type(function) is FunctionType and not announces(function.__globals__)


def is_foreign_class(cls: type) -> bool:
    """Whether a class belongs to a module that is not instrumented."""
    module = sys.modules.get(str(cls.__module__))
    return module is not None and not announces(vars(module))


def foreign(memory: Memory, function: Any, called: Called) -> Any:
    """Return what to call in place of a function, method or class that is not instrumented."""
    inner = function.__func__ if type(function) is MethodType else function
    root = root_of(inner)
    if str(inner.__module__).startswith(_FILES):
        return lambda *arguments, **keywords: memory.made_by_call(function(*arguments, **keywords))
    if root in _SENSITIVE or (root == "simharness" and not str(inner.__module__).startswith(_FACE)):
        return function
    if root in _CALLERS:
        return lambda *arguments, **keywords: _with_handed(memory, function, arguments, keywords, called, True)()
    name = f"{inner.__module__}.{getattr(inner, '__qualname__', '')}"

    def call(*arguments: Any, **keywords: Any) -> Any:
        package = enters(memory, inner)
        made = _with_handed(memory, function, arguments, keywords, called)
        if memory.kernel.phase != RUNNING:
            return made()
        return _receiving(memory, name, package, (*arguments, *keywords.values()), made)

    return call


def _receiving(memory: Memory, name: str, package: bool, received: tuple[Any, ...], call: Callable[[], Any]) -> Any:
    """Make a call that receives these values."""
    kernel = memory.kernel
    containers = [source_of(value) for value in received if memory.rules(type(source_of(value))).kind >= LIST]
    before = [_contents(container) for container in containers]
    parts: list[Part] = [(Through(value, not package), DEEP, None) for value in received if memory.rules(type(value)).opaque]
    if Changes(name) in kernel.learned:
        parts += [(container, BULK, None) for container in containers]
    parts += reads(memory, received, package)
    point = bool(parts) and memory.access(parts)
    step = kernel.record.n
    try:
        return during(memory, point, call)
    finally:
        if kernel.record.n != step:
            memory.stepped.update(memory.rules(type(value)).steps for value in received)
        elif before != [_contents(container) for container in containers] and not kernel.dying:
            kernel.learned.learn(Changes(name))


def _contents(container: Any) -> list[int]:
    if isinstance(container, dict):
        return [id(part) for pair in dict.items(container) for part in pair]
    return [id(part) for part in container]


def filling(memory: Memory, function: Any) -> Any:
    """Wrap a function that fills the buffers that it receives."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        point = memory.access(parts_of(memory, (*arguments, *keywords.values()), BULK))
        return during(memory, point, function, *arguments, **keywords)

    return call


def reads(memory: Memory, received: tuple[Any, ...], package: bool) -> list[Part]:
    """Return what a call reads of what it receives; of what a package's code does, which is named, only the containers themselves."""
    return parts_of(memory, received, ALL) if package else all_of(memory, received)


def on_opaque(memory: Memory, function: Any, owner: Any, name: str, called: Called) -> Any:
    """Return what to call in place of a method of an opaque object."""
    write = writes(memory, owner, name)

    def call(*arguments: Any, **keywords: Any) -> Any:
        package = enters(memory, function.__func__ if type(function) is MethodType else type(owner))
        made = _with_handed(memory, function, arguments, keywords, called)
        received = (*arguments, *keywords.values())
        if isinstance(owner, WEAK):
            into(memory, owner, received)
        also = parts_of(memory, received, BULK) if name in INTO else reads(memory, received, package)
        value = on_call(memory, owner, write, also, made)
        if value is not owner:
            memory.made_by_call(value)
        return value

    return call


def _with_handed(
    memory: Memory, function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], called: Called, calls: bool = False
) -> Callable[[], Any]:
    """Return a call of a function whose arguments are `handed`."""
    if not arguments and not keywords:
        return function  # type: ignore[no-any-return]  # it is called
    given = [handed(memory, argument, called, calls) for argument in arguments]
    if not keywords:
        return partial(function, *given)
    named = {key: handed(memory, argument, called, calls) for key, argument in keywords.items()}
    return partial(function, *given, **named)


class Handed:
    """A function that other code will call: each call announces what it touches, in whichever execution it is."""

    __slots__ = ("__weakref__", "__wrapped__", "_called")

    def __init__(self, function: Any, called: Called) -> None:
        self.__wrapped__ = function
        self._called = called

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:  # noqa: D102  # as the function's
        function, kernel = self.__wrapped__, current()
        memory = None if kernel is None else kernel.context.get(MEMORY)
        return (function if memory is None else self._called(memory, function, type(function)))(*arguments, **keywords)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def __eq__(self, other: object) -> bool:
        return bool(self.__wrapped__ == (other.__wrapped__ if isinstance(other, Handed) else other))

    def __hash__(self) -> int:
        return hash(self.__wrapped__)

    def __repr__(self) -> str:
        return repr(self.__wrapped__)


def handed(memory: Memory, value: Any, called: Called, calls: bool = False) -> Any:
    """Wrap a function in C, or a method of a container or opaque object, that is handed to other code.

    Args:
        calls: the other code is known to call it, so any function that is not instrumented is wrapped.
    """
    kind = type(value)
    if kind in SIMPLE or kind in _DATA:
        return value
    if kind in IN_C:
        rules = memory.rules(type(source_of(value.__self__)))
        wrapped = rules.kind >= LIST or rules.opaque or (rules.kind in (EXEMPT, MODULE) and getattr(value, "__module__", "") in _ANNOUNCED)
    elif kind is MethodType:
        rules = memory.rules(type(value.__self__))
        wrapped = is_foreign(value.__func__) and (rules.kind >= LIST or rules.opaque)
    elif kind in _UNBOUND:
        wrapped = True
    elif kind is FunctionType:
        wrapped = calls and is_foreign(value) and is_package(root_of(value))
    else:
        wrapped = not issubclass(kind, type) and memory.rules(kind).foreign("__call__")
    return Handed(value, called) if wrapped else value
