"""The `id` of what an execution makes: a number that is the same in each execution, where an address is another one each time.

Each actor has numbers of its own, given when it first asks for the `id` of an object, so numbers of different actors do not depend on who
moved first. An object that was there before the first execution keeps its address as its `id`: what ran before may have remembered that.
Which objects those are is looked up once, when an execution has asked for an `id`, and they are held from then on, since others would get
the addresses of those that go; then exploring starts over.

The standard library asks for many ids that nobody sees, as keys of what it is about to copy: it gets the number of an object that has one,
and else the address. `copy`, which asks most often, asks the interpreter itself as long as no object has a number. An object that has a
number and that no weak reference can refer to lives until the execution is over.
"""

from __future__ import annotations

import copy
import gc
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from simharness.engine.facts import Fact
from simharness.engine.kernel import Kernel, current
from simharness.engine.phases import INSPECTING
from simharness.places import is_foreign
from simharness.runtimes.patching import Patches

IDS, BEFORE = "ids", "objects before"
_address = id
_HIGH = 1 << 60
"""A bit that no address has."""
DRAWER = "drawer"
"""In a kernel's context: whose numbers are given, instead of the actor's."""
_SHOWING = ("unittest.mock",)
"""Modules of the standard library that show ids."""
_foreign: dict[str, bool] = {}


@dataclass(frozen=True)
class Identified(Fact, word="ids"):
    """An execution asks for the `id` of an object."""


class Numbers:
    """The numbers that one execution has given."""

    def __init__(self) -> None:
        self._given: dict[str, int] = {}
        self._known: dict[int, int] = {}
        self._held: list[Any] = []
        self.known: Callable[..., Any] = self._known.get

    def give(self, thing: Any, actor: str) -> int:
        """Give an object the next number of an actor."""
        count = self._given[actor] = self._given.get(actor, 0) + 1
        number = _HIGH | crc32(actor.encode(errors="surrogatepass")) << 24 | count << 4
        address = _address(thing)
        try:
            self._held.append(weakref.ref(thing, lambda gone, known=self._known: known.pop(address, None)))  # type: ignore[misc]  # default
        except TypeError:
            self._held.append(thing)
        self._known[address] = number
        vars(copy)["id"] = self._of_library
        return number

    def all(self) -> list[tuple[Any, int]]:
        """Return the objects that have numbers, and these."""
        things = [thing() if type(thing) is weakref.ref else thing for thing in self._held]
        return [(thing, self._known[_address(thing)]) for thing in things if thing is not None and _address(thing) in self._known]

    def adopt(self, numbers: list[tuple[Any, int]]) -> None:
        """Give objects the numbers that they have."""
        for thing, number in numbers:
            self._known[_address(thing)] = number
            self._held.append(thing)
        if numbers:
            vars(copy)["id"] = self._of_library

    def _of_library(self, thing: Any) -> int:
        address = _address(thing)
        return int(self.known(address, address))


def number_of(kernel: Kernel, thing: Any) -> int:
    """Return what `id(thing)` is in a simulation."""
    address = _address(thing)
    ids = numbers_of(kernel)
    known = ids.known(address)
    if known is not None:
        return int(known)
    if not gc.is_tracked(thing) or issubclass(type(thing), type):
        return address
    before: Before | None = kernel.context.get(BEFORE)
    if before is None:
        kernel.learned.learn(Identified())
        return address
    if address in before.addresses:
        return address
    actor = kernel.actor
    if DRAWER in kernel.context:
        return ids.give(thing, str(kernel.context[DRAWER]))
    return ids.give(thing, "a check" if kernel.phase == INSPECTING or actor is None else actor.name)


def virtual_id(thing: Any, /) -> int:
    """Return an object's number, or its address."""
    kernel = current()
    if kernel is None:
        return _address(thing)
    caller = sys._getframe(1)
    if "id" in caller.f_code.co_names and _of_this_project(caller.f_globals):
        return _address(thing)  # a module of this project that was imported after the replacement
    while caller.f_back is not None and _of_this_project(caller.f_globals):
        caller = caller.f_back  # on behalf of the code that has called
    file = caller.f_code.co_filename
    foreign = _foreign.get(file)
    if foreign is None:
        foreign = _foreign[file] = is_foreign(file)
    if foreign and caller.f_globals.get("__name__") not in _SHOWING:
        address = _address(thing)
        return int(numbers_of(kernel).known(address, address))
    return number_of(kernel, thing)


def _of_this_project(namespace: dict[str, Any]) -> bool:
    return str(namespace.get("__name__")).startswith("simharness.")


class Before:
    """The objects that the garbage collector knows now. Garbage has been collected: it would be held, too."""

    def __init__(self) -> None:
        self._held = gc.get_objects()
        self.addresses = frozenset(map(_address, self._held))


def numbers_of(kernel: Kernel) -> Numbers:
    """Return the numbers of the execution under way."""
    ids = kernel.context.get(IDS)
    if ids is None:
        ids = kernel.context[IDS] = Numbers()
    assert isinstance(ids, Numbers)
    return ids


def end_execution() -> None:
    """The numbers of the execution are void."""
    if "id" in vars(copy):
        vars(copy)["id"] = _address


def install(patches: Patches) -> None:
    """Plan the replacement, but for this project's own code, which asks for addresses."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "simharness":
            patches.attribute(module, "id", _address)
    patches.attribute(copy, "id", _address)
    patches.everywhere(_address, virtual_id)
