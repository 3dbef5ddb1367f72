"""What steps touch of a library's objects, observed through their attributes.

In a simulation in which the steps of tasks grow (`growing.py`) each object of the classes that report has a bit. Getting an attribute reads
the object; setting one writes it, and so does getting a container, which may be changed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from types import BuiltinMethodType, FrameType, FunctionType, MethodType
from typing import Any, NamedTuple, Protocol

from simharness.engine.kernel import Kernel, current
from simharness.engine.phases import RUNNING, SETUP
from simharness.instrument.marks import announces

INSIDE = "task step"
"""In a kernel's context: the growing steps of the run whose step is under way."""
NAMED = "task things"
"""In a kernel's context: the bits of a library's objects."""
CONTAINERS = (set, dict, list, deque)
CALLED = (MethodType, FunctionType, BuiltinMethodType)


class Touched(Protocol):
    """What the objects report to."""

    def touch(self, bit: int, write: bool) -> None:
        """Something with this bit is read or written."""

    def misfit(self) -> None:
        """Something happens whose footprint is not known."""


class Thing(NamedTuple):
    """An object and its bit."""

    bit: int
    thing: object


def named(kernel: Kernel) -> dict[int, Thing]:
    """Return the objects of the execution that have bits."""
    things: dict[int, Thing] = kernel.context.setdefault(NAMED, {})
    return things


def bit_of(kernel: Kernel, thing: object) -> int:
    """Return an object's bit; 0 if it was made outside the execution."""
    known = named(kernel).get(id(thing))
    return 0 if known is None else known.bit


def name(kernel: Kernel, thing: object) -> None:
    """Give an object that is being made its bit."""
    if kernel.phase in (RUNNING, SETUP) and not kernel.dying:
        library = type(thing).__module__.partition(".")[0]
        named(kernel)[id(thing)] = Thing(kernel.names.bit(kernel.new_name(f"{library}.{type(thing).__name__}")), thing)


def are_known(frames: Iterable[FrameType], modules: Collection[str]) -> bool:
    """Whether all frames that a task waits in are instrumented, or code of a library's modules whose footprint is known."""
    return all(announces(frame.f_globals) or frame.f_globals.get("__name__") in modules for frame in frames)


def inside() -> Any:
    """Return the growing steps of the run whose step is under way, if there are any."""
    kernel = current()
    if kernel is None or kernel.phase != RUNNING or kernel.dying:
        return None
    return kernel.context.get(INSIDE)


def touch(thing: object, write: bool) -> None:
    """Have the step under way, if it grows, read or write an object."""
    steps: Touched | None = inside()
    if steps is None:
        return
    kernel = current()
    assert kernel is not None
    bit = bit_of(kernel, thing)
    if bit:
        steps.touch(bit, write)
    else:
        steps.misfit()


def getting(commuting: frozenset[tuple[type, str]], observing: str = "") -> Callable[[Any, str], Any]:
    """Return what stands in for `__getattribute__`.

    Args:
        commuting: containers, by class and attribute, whose changes commute.
        observing: an attribute that shows everything.
    """

    def get(thing: Any, name: str) -> Any:
        value = object.__getattribute__(thing, name)
        if inside() is not None and not name.startswith("__"):
            if name == observing:
                touch(thing, True)
            elif not isinstance(value, CALLED):
                touch(thing, isinstance(value, CONTAINERS) and (type(thing), name) not in commuting)
        return value

    return get


def setting(thing: Any, name: str, value: Any) -> None:
    """Stand in for `__setattr__`."""
    touch(thing, True)
    object.__setattr__(thing, name, value)


def making(genuine: Callable[..., None], grows: Callable[[Kernel], bool]) -> Callable[..., None]:
    """Return what stands in for `__init__`."""
    holder = (genuine,)  # in a closure's cell it would be replaced too

    def make(thing: Any, *arguments: Any, **options: Any) -> None:
        kernel = current()
        if kernel is not None and grows(kernel):
            name(kernel, thing)
        holder[0](thing, *arguments, **options)

    return make
