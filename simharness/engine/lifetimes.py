"""The lifetimes of actors, as others see them: where somebody can ask whether an actor has ended, its end is a step of its own.

Elsewhere an actor ends with its last step, or with the step that started it if it makes none. What is left between that step and
the end changes nothing, so only a question tells the two apart: whether the thread is alive, which threads there are. Whether anybody
asks is learned. As in CPython, a thread leaves the list of threads first and is no longer alive after that.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenlet import GreenletExit

from simharness.engine.actors import Actor
from simharness.engine.facts import Fact
from simharness.engine.kinds import Family, Kind, Role
from simharness.engine.operations import Operation, Resource
from simharness.engine.phases import SETUP

if TYPE_CHECKING:
    from simharness.engine.kernel import Kernel  # ending an actor is a part of the kernel; a circle of types only

THREAD = Family("thread", said=False)
START = Kind(THREAD, "start", Role.ABOUT_ACTORS, calls=("start()",))
LEAVE = Kind(THREAD, "leave", Role.ABOUT_ACTORS, done="leave the list of threads", noun="leaving the list of threads")
END = Kind(THREAD, "end", Role.ABOUT_ACTORS, done="end", noun="end")
MADE, STARTED, OVER = "made", "started", "over"
"""The states of a lifetime."""


@dataclass(frozen=True)
class LifetimeSeen(Fact, word="lifetime"):
    """An actor may ask whether this thread has started, or is alive, while another may start or end it."""

    thread: str


@dataclass(frozen=True)
class ThreadsListed(Fact, word="threads-listed"):
    """Somebody asks which threads there are, or how many."""


def lifetime(kernel: Kernel, name: str, label: str, state: str) -> Resource:
    """Return the lifetime of this name; `label`: the name of the thread; `state`: that at first."""
    return kernel.resource(f"lifetime of {name}", state, f"lifetime of {label}")


def births(kernel: Kernel) -> int:
    """Return the mask of what every start writes where somebody asks which threads there are."""
    return kernel.names.bit("threads started") if kernel.learned.of(ThreadsListed) else 0


def entry(kernel: Kernel, actor: Actor) -> int:
    """Return the mask of an actor's place in the list of threads."""
    return kernel.names.bit(f"entry of {actor.name}")


class Leaving:
    """How the actors of a kernel end."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._seen = kernel.learned.of(LifetimeSeen)
        self._listed = kernel.learned.of(ThreadsListed)

    def leave(self, actor: Actor) -> None:
        """Make the steps by which the running actor, whose work is done, ends; there are none where nobody can notice."""
        kernel = self._kernel
        if not (self._seen or self._listed) or kernel.phase == SETUP or kernel.dying or kernel.error is not None:
            return
        name = actor.thread or actor.name
        with contextlib.suppress(GreenletExit):
            if self._listed:
                kernel.step(Operation(LEAVE, writes=entry(kernel, actor), detail=actor.name))
                actor.listed = False
            if name in self._seen:
                life = lifetime(kernel, name, actor.name, STARTED)
                kernel.step(Operation(END, life, writes=life.bit, detail=actor.name))
                kernel.put(life, OVER)
