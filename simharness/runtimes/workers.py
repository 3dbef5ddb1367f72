"""Whether a program sees which worker of a pool runs a task.

While nobody sees that, a task is an actor of its own (`threads/pools.py`), which has far fewer orderings than the genuine workers.
What shows a worker is the identity of the running thread, what belongs to a thread (its locals, an RLock or a context variable that a
task leaves behind), and the insides of pools and futures. The runtimes report it here. It is learned, and then the genuine workers run.
"""

from __future__ import annotations

from dataclasses import dataclass
from logging import LogRecord
from types import FrameType
from typing import NoReturn

from greenlet import GreenletExit

from simharness.engine.actors import Actor
from simharness.engine.facts import Fact
from simharness.engine.kernel import Kernel
from simharness.engine.kinds import ALONE, Kind
from simharness.engine.operations import Operation
from simharness.engine.phases import RUNNING

POOL = "the pool whose task this is"
"""The key, among the locals of a task's actor, of the name of its pool."""
SEE = Kind(ALONE, "see_worker")
_WITHIN_ONE_CALL = frozenset({"dataclasses", "reprlib", "importlib._bootstrap", "_frozen_importlib"})
"""Modules that use the identity of the thread only to recognise themselves further up the stack."""


@dataclass(frozen=True)
class WorkersSeen(Fact, word="workers-seen"):
    """The program can see which worker of this pool runs a task, or looks into the pool or its futures."""

    pool: str


def see(kernel: Kernel, pool: str) -> None:
    """The program looks at the workers of this pool, which are not there: learn that, and end an execution whose actors move."""
    kernel.learned.learn(WorkersSeen(pool))
    if kernel.phase == RUNNING and not kernel.dying:
        kernel.abandon()
        kernel.step(Operation(SEE))


def leave(kernel: Kernel, pool: str) -> NoReturn:
    """Do the same where nothing can be answered."""
    see(kernel, pool)
    raise GreenletExit


def identity_seen(kernel: Kernel, frame: FrameType | None = None) -> None:
    """The running code asks which thread it runs on, or uses what belongs to a thread; `frame`: of the code that asks."""
    actor = kernel.actor
    if actor is None or kernel.phase != RUNNING:
        return
    pool = actor.locals.get(POOL)
    if pool is not None and (frame is None or not _keeps_it_to_itself(frame)):
        see(kernel, pool)


def _keeps_it_to_itself(frame: FrameType) -> bool:
    """Whether this code does not show the identity that it asks for; what handlers of log records do with it, `logs.py` decides."""
    module = frame.f_globals.get("__name__")
    return module in _WITHIN_ONE_CALL or (module == "logging" and frame.f_code is LogRecord.__init__.__code__)


def compared(kernel: Kernel, one: Actor, other: Actor) -> None:
    """It matters whether two actors are one thread."""
    pool = one.locals.get(POOL)
    if pool is not None and pool == other.locals.get(POOL):
        see(kernel, pool)
