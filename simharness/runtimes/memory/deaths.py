"""When objects die: what a weak reference, or a weak dictionary or set, shows of an object depends on who lets go of it last, and when.

No access announces that, so it is not explored: where one actor looks through a weak reference and another one lets the object die, the
verdict names weak references.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, WeakSet, WeakValueDictionary, ref

from simharness.engine.actors import Actor
from simharness.engine.phases import RUNNING
from simharness.runtimes.memory.shared import Memory

_DEATHS = "deaths of objects"
WEAK = (WeakKeyDictionary, WeakValueDictionary, WeakSet)
NAME = "weak references"


class _Deaths:
    """Who looks, and who lets die, in one execution, by the identity of the weak reference or container."""

    def __init__(self, memory: Memory) -> None:
        self._kernel = memory.kernel
        self._lookers: dict[int, set[Actor | None]] = {}
        self._killers: dict[int, set[Actor | None]] = {}
        self._holders: dict[int, Any] = {}
        self._held: dict[tuple[int, int], Any] = {}

    def watch(self, holder: Any, thing: Any) -> None:
        """A weak reference or container holds an object from now on."""
        both = id(holder), id(thing)
        if both not in self._held and type(thing).__weakrefoffset__ and not isinstance(thing, type):
            self._holders[id(holder)] = holder
            self._held[both] = ref(thing, partial(self._died, both))

    def _died(self, both: tuple[int, int], reference: object) -> None:
        del self._held[both]  # another object may come to have this identity
        self._meet(self._killers, self._lookers, both[0])

    def look(self, holder: Any) -> None:
        """The current actor looks through a weak reference, or into a container."""
        self._holders[id(holder)] = holder
        self._meet(self._lookers, self._killers, id(holder))

    def _meet(self, own: dict[int, set[Actor | None]], others: dict[int, set[Actor | None]], key: int) -> None:
        kernel = self._kernel
        if kernel.phase == RUNNING and not kernel.dying:
            own.setdefault(key, set()).add(kernel.actor)
            if others.get(key, set()) - {kernel.actor}:
                kernel.learned.leaves_out(NAME)


def _of(memory: Memory) -> _Deaths:
    deaths: _Deaths | None = memory.kernel.context.get(_DEATHS)
    if deaths is None:
        deaths = memory.kernel.context[_DEATHS] = _Deaths(memory)
    return deaths


def referring(memory: Memory, kind: type[ReferenceType[Any]]) -> Callable[..., Any]:
    """Return what to call in place of the class of weak references."""

    def make(thing: Any, *callback: Any) -> Any:
        reference = kind(thing, *callback)
        _of(memory).watch(reference, thing)
        return reference

    return make


def looking(memory: Memory, reference: ReferenceType[Any]) -> Callable[[], Any]:
    """Return what to call in place of a weak reference."""

    def look() -> Any:
        deaths, thing = _of(memory), reference()
        deaths.look(reference)
        if thing is not None:
            deaths.watch(reference, thing)
        return thing

    return look


def into(memory: Memory, container: Any, received: tuple[Any, ...] = ()) -> None:
    """A weak dictionary or set is used, perhaps by a method that is called with these arguments."""
    deaths = _of(memory)
    deaths.look(container)
    for thing in received:
        deaths.watch(container, thing)


def end_execution(kernel: Any) -> None:
    """Forget an execution's objects."""
    kernel.context.pop(_DEATHS, None)
