"""What steps touch of Trio: its events, locks, channels, limiters, cancel scopes and nurseries, observed through their attributes.

The classes below are Trio's own. In a simulation in which the steps of tasks grow (`growing.py`) each of their objects has a bit.
Getting an attribute reads the object; setting one writes it, and so does getting a container, which may be changed. An exception: tasks
that begin to wait for an event, or stop waiting, commute. Of a nursery only two things count, as they order tasks: starting children, and
looking whether there are any.

`tests/test_trio_internals.py` fails when a release of Trio changes what is used here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import BuiltinMethodType, FunctionType, MethodType
from typing import Any, NamedTuple, Protocol

import trio
from trio import _channel, _sync
from trio._core import _run

from simharness.engine.kernel import Kernel, current
from simharness.engine.phases import RUNNING, SETUP
from simharness.runtimes.patching import Patches
from simharness.runtimes.trio import anyio
from simharness.runtimes.trio.order import StepsCannotGrow, StepsGrow

INSIDE = "trio step"
"""In a kernel's context: the run whose step is under way, while its steps grow."""
NAMED = "trio things"
"""In a kernel's context: the bits of Trio's objects."""
TRACKED: tuple[Any, ...] = (
    trio.Event,
    _sync._LockImpl,
    trio.Semaphore,
    trio.CapacityLimiter,
    trio.MemorySendChannel,
    trio.MemoryReceiveChannel,
    _channel.MemoryChannelState,
    trio.lowlevel.ParkingLot,
    trio.CancelScope,
)
NURSERY = trio.Nursery
CONTAINERS = (set, dict, list, deque)
CALLED = (MethodType, FunctionType, BuiltinMethodType)
COMMUTING = frozenset({(trio.Event, "_tasks")})
"""Containers whose changes commute; an event's `set` writes its flag, which orders it against them."""
OBSERVING = "statistics"


class Growing(Protocol):
    """What the objects report to the run whose step is under way."""

    def touch(self, bit: int, write: bool) -> None:
        """Something with this bit is read or written."""

    def misfit(self) -> None:
        """Something happens whose footprint is not known."""

    def starts(self, nursery: Any) -> None:
        """A task starts a child in a nursery."""

    def looks(self, nursery: Any, write: bool, children: bool) -> None:
        """A task looks at a nursery, or changes it except by a child's end; `children`: it also looks whether children have ended."""

    def aborts(self, task: Any) -> None:
        """A task looks whether another task can be cancelled."""


class Thing(NamedTuple):
    """One of Trio's objects and its bit."""

    bit: int
    thing: object


def grows(kernel: Kernel) -> bool:
    """Whether steps of tasks grow."""
    learned = kernel.learned
    return bool(learned.of(StepsGrow)) and not learned.of(StepsCannotGrow)


def named(kernel: Kernel) -> dict[int, Thing]:
    """Return the objects of the execution that have bits."""
    things: dict[int, Thing] = kernel.context.setdefault(NAMED, {})
    return things


def bit_of(kernel: Kernel, thing: object) -> int:
    """Return an object's bit; 0 if it was made outside the execution."""
    known = named(kernel).get(id(thing))
    return 0 if known is None else known.bit


def _inside() -> Growing | None:
    kernel = current()
    if kernel is None or kernel.phase != RUNNING or kernel.dying:
        return None
    run: Growing | None = kernel.context.get(INSIDE)
    return run


def _touch(thing: object, write: bool) -> None:
    run = _inside()
    if run is None:
        return
    kernel = current()
    assert kernel is not None
    bit = bit_of(kernel, thing)
    if bit:
        run.touch(bit, write)
    else:
        run.misfit()


def _get(thing: Any, name: str) -> Any:
    value = object.__getattribute__(thing, name)
    if _inside() is not None and not name.startswith("__"):
        if name == OBSERVING:
            _touch(thing, True)
        elif not isinstance(value, CALLED):
            _touch(thing, isinstance(value, CONTAINERS) and (type(thing), name) not in COMMUTING)
    return value


def _set(thing: Any, name: str, value: Any) -> None:
    _touch(thing, True)
    object.__setattr__(thing, name, value)


def _made(genuine: Callable[..., None]) -> Callable[..., None]:
    holder = (genuine,)  # in a closure's cell it would be replaced too

    def make(thing: Any, *arguments: Any, **options: Any) -> None:
        kernel = current()
        if kernel is not None and grows(kernel) and kernel.phase in (RUNNING, SETUP) and not kernel.dying:
            library = type(thing).__module__.partition(".")[0]
            bit = kernel.names.bit(kernel.new_name(f"{library}.{type(thing).__name__}"))
            named(kernel)[id(thing)] = Thing(bit, thing)
        holder[0](thing, *arguments, **options)

    return make


def install(patches: Patches) -> None:
    """Plan to have the objects of Trio's classes report how they are used."""
    reporting = (*TRACKED, *anyio.classes())
    for kind in (*reporting, NURSERY):
        patches.attribute(kind, "__init__", _made(kind.__init__))
    for kind in reporting:
        patches.attribute(kind, "__getattribute__", _get)
        patches.attribute(kind, "__setattr__", _set)
    for name, report in _REPORTS.items():
        patches.attribute(NURSERY, name, _reporting(vars(NURSERY)[name], report))
    children = vars(NURSERY)["child_tasks"].fget
    patches.attribute(NURSERY, "child_tasks", property(_reporting(children, lambda run, nursery: run.looks(nursery, False, True))))
    attempt = _run.Task._attempt_delivery_of_any_pending_cancel
    patches.attribute(_run.Task, attempt.__name__, _reporting(attempt, lambda run, task: run.aborts(task)))
    for variable in filter(None, (trio.lowlevel.RunVar, anyio.run_variable())):
        patches.attribute(variable, "set", _reporting(variable.set, lambda run, _: run.misfit()))


_REPORTS: dict[str, Callable[[Growing, Any], None]] = {
    "start_soon": lambda run, nursery: run.starts(nursery),
    "start": lambda run, _: run.misfit(),
    "_add_exc": lambda run, nursery: run.looks(nursery, True, False),
    "_nested_child_finished": lambda run, nursery: run.looks(nursery, True, True),
}


def _reporting(genuine: Callable[..., Any], report: Callable[[Growing, Any], None]) -> Callable[..., Any]:
    holder = (genuine,)

    def reporting(self: Any, *arguments: Any, **options: Any) -> Any:
        run = _inside()
        if run is not None:
            report(run, self)
        return holder[0](self, *arguments, **options)

    return reporting
