"""Calls on opaque objects, and iterating over them: the object is touched in every step until the call returns."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import GeneratorType
from typing import Any

from simharness.engine.kernel import current
from simharness.engine.phases import RUNNING
from simharness.places import is_installed
from simharness.runtimes.memory.accesses import Part
from simharness.runtimes.memory.allowed import is_package
from simharness.runtimes.memory.deaths import WEAK, into
from simharness.runtimes.memory.halfway import during
from simharness.runtimes.memory.locations import shown
from simharness.runtimes.memory.opaque import is_iterator, parts
from simharness.runtimes.memory.shared import MEMORY, Memory


def enters(memory: Memory, thing: Any) -> bool:
    """Note that the current actor runs code of a package, if it does; return whether it does."""
    module = thing.__module__
    name = memory.packages.get(module)
    if name is None:
        name = memory.packages[module] = _package(str(module or ""))
    if name:
        memory.enters(name)
    return bool(name)


def _package(module: str) -> str:
    """Return how verdicts name the package that a module belongs to; nothing for the standard library, tools and the harness."""
    root = module.partition(".")[0]
    if not is_package(root):
        return ""
    file = getattr(sys.modules.get(module), "__file__", None)
    return root if file is None or is_installed(file) else shown(module)


def on_call(memory: Memory, owner: Any, write: bool, also: list[Part], call: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """Make a call on an opaque object, which is touched in every step until the call returns."""
    kernel = memory.kernel
    if arguments and isinstance(owner, WEAK):
        into(memory, owner, arguments)
    point = memory.access([*parts(owner, write), *also])
    if kernel.phase != RUNNING or kernel.dying:
        return call(*arguments, **keywords)
    before = kernel.record.n
    if point and write and type(owner) is GeneratorType:
        call = _resuming(memory, owner, call)
    if arguments or keywords:
        call = partial(call, *arguments, **keywords)
    try:
        return during(memory, point, call)
    finally:
        if kernel.record.n != before:
            memory.stepped.add(memory.rules(type(owner)).steps)


def _resuming(memory: Memory, generator: Any, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a call that resumes a generator which several actors use: others may move while it runs, and find it running."""

    def resumed(*arguments: Any, **keywords: Any) -> Any:
        if generator in memory.resumed:
            raise ValueError("generator already executing")
        memory.resumed.append(generator)
        try:
            memory.touch_all((), "")
            return call(*arguments, **keywords)
        finally:
            memory.resumed.remove(generator)

    return resumed


class Steps:
    """An iterator over an opaque object: each of its steps touches that, and the iterator stands for nothing else."""

    __slots__ = ("_memory", "_owner", "_steps", "_write")

    def __init__(self, memory: Memory, owner: Any, steps: Any, write: bool) -> None:
        self._memory = memory
        self._owner = owner
        self._steps = steps
        self._write = write

    def __iter__(self) -> Steps:
        return self

    def __next__(self) -> Any:
        return self._do(next, self._steps)

    def send(self, value: Any) -> Any:
        """Resume a generator."""
        return self._do(self._steps.send, value)

    def throw(self, *error: Any) -> Any:
        """Raise an exception inside a generator."""
        return self._do(self._steps.throw, *error)

    def close(self) -> None:
        """Close a generator."""
        if hasattr(self._steps, "close"):
            self._do(self._steps.close)

    def _do(self, call: Callable[..., Any], *arguments: Any) -> Any:
        memory = self._memory
        kernel = current()
        if kernel is None or kernel.context.get(MEMORY) is not memory:
            return call(*arguments)
        return on_call(memory, self._owner, self._write, [], call, *arguments)


class Managed:
    """An opaque object as a context manager: entering and leaving are calls on it."""

    __slots__ = ("_memory", "_owner")

    def __init__(self, memory: Memory, owner: Any) -> None:
        self._memory = memory
        self._owner = owner

    def __enter__(self) -> Any:
        return self._do("__enter__")

    def __exit__(self, *error: Any) -> Any:
        return self._do("__exit__", *error)

    def _do(self, name: str, *arguments: Any) -> Any:
        enters(self._memory, type(self._owner))
        return on_call(self._memory, self._owner, True, [], getattr(type(self._owner), name), self._owner, *arguments)


def stepped(memory: Memory, value: Any) -> Any:
    """Return an iterator over an opaque object, or one that is consumed, that announces each of its steps."""
    consumed = is_iterator(value)
    if consumed:
        return Steps(memory, value, value, True)
    return Steps(memory, value, on_call(memory, value, False, [], iter, value), False)
