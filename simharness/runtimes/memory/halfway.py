"""Calls in C that run instrumented code half-way: a `key` or `__eq__` of the user's, a generator that is consumed.

Between two such pieces of code the call does a part of what it does to its container, and other actors may move wherever instrumented code
touches memory, private memory too. So the call takes several steps, and each of them touches what the call reads and changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simharness.runtimes.memory.opaque import is_iterator
from simharness.runtimes.memory.reach import all_of
from simharness.runtimes.memory.shared import Memory


def during(memory: Memory, point: bool, call: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """Make a call; if the access before it was a point, all steps until it returns touch what that has touched."""
    actor = memory.kernel.actor
    if not point or actor is None:
        return call(*arguments, **keywords)
    base, mark, within = actor.base, actor.mark, actor in memory.halfway
    hold(memory)
    try:
        return call(*(Held(memory, given) if _is_consumed(given) else given for given in arguments), **keywords)
    finally:
        actor.base, actor.mark = base, mark
        if not within:
            memory.halfway.discard(actor)


def _is_consumed(value: Any) -> bool:
    """Whether a call may only iterate over an argument; a file, which iterates over its lines, it may also write."""
    return is_iterator(value) and not (hasattr(type(value), "read") or hasattr(type(value), "write"))


def hold(memory: Memory) -> None:
    """Have all further steps of the call under way touch what the last access has touched."""
    actor = memory.kernel.actor
    if actor is not None and memory.reads | memory.writes:
        actor.base |= memory.reads
        actor.mark |= memory.writes
        memory.halfway.add(actor)


def keyed(memory: Memory, keywords: dict[str, Any], point: bool, announced: Callable[[Memory, Any], Any]) -> bool:
    """Wrap the `key` of a call: what it returns is read until the call returns. Return whether steps of the call touch memory."""
    key = keywords.get("key")
    if not callable(key) or type(key).__module__ == "operator":
        return point
    if not point:
        memory.reads = memory.writes = 0
    function = announced(memory, key)

    def call(element: Any) -> Any:
        value = function(element)
        if memory.access(all_of(memory, (value,))):
            hold(memory)
        return value

    keywords["key"] = call
    return True


class Held:
    """An iterator that a call consumes: each of its elements is a step that touches what the call touches."""

    __slots__ = ("footprint", "memory", "steps")

    def __init__(self, memory: Memory, steps: Any) -> None:
        self.memory = memory
        self.steps = steps
        self.footprint = memory.reads, memory.writes

    def __iter__(self) -> Held:
        return self

    def __next__(self) -> Any:
        self.memory.reads, self.memory.writes = self.footprint
        return during(self.memory, True, self._next)

    def _next(self) -> Any:
        element = next(self.steps)
        self.memory.touch_all((), "")
        return element
