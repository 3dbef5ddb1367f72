"""What steps touch of asyncio: its locks, events, conditions, semaphores, queues and task groups, and its futures and tasks.

Futures and tasks are written in C. Those that a loop makes while steps grow are of classes in Python, which C asks by name, so that
each use is seen. A future that is made otherwise ends this mode: every future asks its loop for its debug mode when it is made.
"""

from __future__ import annotations

import asyncio
from asyncio import tasks
from collections.abc import Callable, Generator
from typing import Any

from simharness.engine.kernel import Kernel, current
from simharness.runtimes.aio.order import grows
from simharness.runtimes.patching import Patches
from simharness.runtimes.tasks import footprints

TRACKED: tuple[Any, ...] = (
    asyncio.Lock,
    asyncio.Event,
    asyncio.Condition,
    asyncio.Semaphore,
    asyncio.Queue,
    asyncio.Barrier,
    asyncio.TaskGroup,
)
UNSEEN: tuple[Any, ...] = (asyncio.StreamReader, asyncio.StreamWriter, asyncio.StreamReaderProtocol)
"""Classes whose objects are used in ways that are not seen."""
GATHERING: Any = tasks._GatheringFuture  # type: ignore[attr-defined]  # not in the stubs
READ = frozenset({"result", "exception", "done", "cancelled", "_state", "_result", "_exception"})
PLAIN = frozenset(
    {"get_loop", "_loop", "_asyncio_future_blocking", "get_coro", "get_name", "get_context", "_log_traceback", "_log_destroy_pending"}
    | {"_source_traceback", "_simharness_number", "_must_cancel", "_coro"}
)
"""What is the same for ever, or concerns nobody but the task itself."""
MISFITS = frozenset({"cancel", "set_exception", "uncancel", "cancelling", "get_stack", "print_stack", "set_name", "_make_cancelled_error"})


def uses(future: Any, name: str) -> Any:
    """Stand in for `__getattribute__` of a future."""
    if name not in PLAIN and not name.startswith("__"):
        steps = footprints.inside()
        if name in MISFITS:
            misfit()
        elif steps is not None:
            footprints.touch(future, name not in READ)
    return object.__getattribute__(future, name)


def misfit() -> None:
    """A simulation whose steps grow does something whose footprint is not known."""
    kernel = current()
    steps = None if kernel is None or kernel.dying else kernel.context.get(STEPS)
    if steps is not None:
        steps.misfit()


STEPS = "asyncio growing"
"""In a kernel's context: the growing steps of its loop."""


class Reports:
    """A future or task that reports its uses."""

    __getattribute__ = uses

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in PLAIN and not name.startswith("__"):
            footprints.touch(self, True)
        object.__setattr__(self, name, value)

    def __await__(self) -> Generator[Any, None, Any]:
        footprints.touch(self, False)
        return super().__await__()  # type: ignore[misc,no-any-return]  # of the future

    def __iter__(self) -> Generator[Any, None, Any]:
        return self.__await__()

    def __repr__(self) -> str:
        footprints.touch(self, True)
        return super().__repr__()


def make(kernel: Kernel, future: Any) -> None:
    """Give a future that is being made its bit, and its number among those that its maker makes."""
    footprints.name(kernel, future)
    object.__setattr__(future, "_simharness_number", kernel.labels.count(f"futures of {kernel.actor.name if kernel.actor else ''}"))


def counts(kernel: Kernel) -> None:
    """The step under way uses what all tasks are numbered by."""
    steps = footprints.inside()
    if steps is not None:
        steps.touch(kernel.names.bit("asyncio numbers"), True)


def in_step_misfit() -> None:
    """A step of which the footprint is not known; outside steps that is no matter."""
    steps = footprints.inside()
    if steps is not None:
        steps.misfit()


def _unseen(thing: Any, name: str) -> Any:
    """Stand in for `__getattribute__`."""
    in_step_misfit()
    return object.__getattribute__(thing, name)


def install(patches: Patches) -> None:
    """Plan to have asyncio's objects report how they are used."""

    def growing(kernel: Kernel) -> bool:
        return grows(kernel.learned)

    get = footprints.getting(frozenset())
    for kind in TRACKED:
        patches.attribute(kind, "__init__", footprints.making(kind.__init__, growing))
        patches.attribute(kind, "__getattribute__", get)
        patches.attribute(kind, "__setattr__", footprints.setting)
    for kind in UNSEEN:
        patches.attribute(kind, "__getattribute__", _unseen)
    genuine: Callable[..., Any] = GATHERING.__await__
    awaited = (genuine,)

    def await_it(future: Any) -> Any:
        footprints.touch(future, False)
        return awaited[0](future)

    patches.attribute(GATHERING, "__init__", footprints.making(GATHERING.__init__, growing))
    patches.attribute(GATHERING, "__getattribute__", uses)
    patches.attribute(GATHERING, "__await__", await_it)
    patches.attribute(GATHERING, "__iter__", await_it)


def shared_by(callback: Any) -> Any:
    """Return the future that a callback of `gather` or `wait` may complete, counting with its siblings; None for other callbacks."""
    variable = COUNTING.get(getattr(callback, "__code__", None))
    if variable is None:
        return None
    return dict(zip(callback.__code__.co_freevars, callback.__closure__, strict=True))[variable].cell_contents


def _inner(function: Any, name: str) -> Any:
    return next(code for code in function.__code__.co_consts if getattr(code, "co_name", "") == name)


COUNTING = {_inner(asyncio.gather, "_done_callback"): "outer", _inner(getattr(tasks, "_wait"), "_on_completion"): "waiter"}  # noqa: B009 not in the stubs
