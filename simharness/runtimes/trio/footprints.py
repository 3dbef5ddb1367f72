"""What steps touch of Trio: its events, locks, channels, limiters, cancel scopes and nurseries, observed through their attributes.

The classes below are Trio's own; `tasks/footprints.py` says what getting and setting their attributes touches. An exception: tasks that
begin to wait for an event, or stop waiting, commute. Of a nursery only two things count, as they order tasks: starting children, and
looking whether there are any.

`tests/test_trio_internals.py` fails when a release of Trio changes what is used here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import trio
from trio import _channel, _sync
from trio._core import _run

from simharness.engine.kernel import Kernel
from simharness.runtimes.patching import Patches
from simharness.runtimes.tasks.footprints import Touched, getting, inside, making, setting
from simharness.runtimes.trio import anyio
from simharness.runtimes.trio.order import StepsCannotGrow, StepsGrow

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
COMMUTING = frozenset({(trio.Event, "_tasks")})
"""Containers whose changes commute; an event's `set` writes its flag, which orders it against them."""
OBSERVING = "statistics"


class Growing(Touched, Protocol):
    """What the objects report to the run whose step is under way."""

    def starts(self, nursery: Any) -> None:
        """A task starts a child in a nursery."""

    def looks(self, nursery: Any, write: bool, children: bool) -> None:
        """A task looks at a nursery, or changes it except by a child's end; `children`: it also looks whether children have ended."""

    def aborts(self, task: Any) -> None:
        """A task looks whether another task can be cancelled."""


def grows(kernel: Kernel) -> bool:
    """Whether steps of tasks grow."""
    learned = kernel.learned
    return bool(learned.of(StepsGrow)) and not learned.of(StepsCannotGrow)


def install(patches: Patches) -> None:
    """Plan to have the objects of Trio's classes report how they are used."""
    reporting = (*TRACKED, *anyio.classes())
    get = getting(COMMUTING, OBSERVING)
    for kind in (*reporting, NURSERY):
        patches.attribute(kind, "__init__", making(kind.__init__, grows))
    for kind in reporting:
        patches.attribute(kind, "__getattribute__", get)
        patches.attribute(kind, "__setattr__", setting)
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
        run = inside()
        if run is not None:
            report(run, self)
        return holder[0](self, *arguments, **options)

    return reporting
