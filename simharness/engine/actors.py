"""Actors: the flows of control that the kernel schedules, as all other modules see them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from greenlet import greenlet

from simharness.engine.operations import CHECKED, CLOCK, ENDING, Names, Operation, Resource
from simharness.places import Place, place_of

SHIFT = 16
ALTERNATIVES = (1 << SHIFT) - 1
ROOT = "MainThread"
"""The name of the scenario function's own actor; the function becomes one by starting a thread."""


class Actor:
    """One flow of control.

    `key` is its key for choices, `bit` what a join of it reads, `mark` what all its steps write, `base` what all its steps read,
    `wakes` when a stall of its process ends, `crashed` the step at which its process died, `listed` whether it is among the threads
    that there are, `thread` the name of its lifetime if that is not its own.
    """

    fresh = True
    born = -1
    finished = False
    listed = True
    thread = ""
    kills = 0
    pending: Operation | None = None
    deadline: int | None = None
    calls: tuple[Place, ...] = ()
    failure: BaseException | None = None
    places: Callable[[], tuple[Place, ...]] | None = None
    absorbs: Callable[[Operation], bool] | None = None
    """Makes an operation part of the current step if possible; set while the actor's steps grow until they are over."""
    base = CLOCK
    wakes = 0
    crashed: int | None = None

    def __init__(self, names: Names, hub: greenlet, name: str, work: Callable[[], Any], daemon: bool, process: str) -> None:
        self.name = name
        self.work = work
        self.daemon = daemon
        self.process = process
        self.bit = names.bit(f"actor {name}")
        self.mark = self.bit
        self.index = self.bit.bit_length() - 1
        self.key = self.index << SHIFT
        self.done = Resource(f"end of {name}", self.bit, False)
        self.greenlet: greenlet | None = None
        self.starter: greenlet = hub
        self.locals: dict[Any, Any] = {}

    def __repr__(self) -> str:
        return f"<actor {self.name}>"

    @property
    def host(self) -> Actor:
        """The actor on whose thread this one runs: itself, unless it is a task."""
        return self

    def place(self) -> Place | None:
        """Return the user's line at which the actor waits."""
        if self.places is not None:
            return next(iter(self.places()), None)
        return None if self.greenlet is None else place_of(self.greenlet.gr_frame)

    def footprint(self, checked: int) -> tuple[int, int]:
        """Return (reads, writes) that the pending operation has if it is done now; `checked` is the mask of what checks read.

        Exact, except that an actor's last step beside daemons also reads the ending, which shows only when it has been done.
        """
        operation = self.pending
        assert operation is not None
        reads, writes = operation.footprint(operation.resource.state if operation.resource is not None else None)
        writes |= self.mark | (ENDING if self.daemon else 0)
        return reads | self.base, writes | CHECKED if writes & checked else writes

    def in_time(self, now: int) -> bool:
        """Whether the pending operation, if it is done now, ends a wait before its deadline: the next advance is then a later one."""
        return self.deadline is not None and now < self.deadline

    def ready(self, now: int) -> bool:
        """Whether the pending operation can be done now."""
        operation = self.pending
        assert operation is not None
        if now < self.wakes:
            return False
        enabled = operation.enabled
        if enabled is None or enabled(operation.resource.state):  # type: ignore[union-attr]  # enabled implies a resource
            return True
        return self.deadline is not None and now >= self.deadline


def ended() -> None:
    """The work of an actor that has ended, so that its pooled greenlet does not keep its own work alive."""


class Failure:
    """What went wrong in an execution: the step after which it showed, the actor or check that failed, and the exception."""

    def __init__(self, step: int, actor: str | None, check: str | None, error: BaseException) -> None:
        self.step = step
        self.actor = actor
        self.check = check
        self.error = error
