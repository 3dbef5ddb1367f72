"""Executions that are thrown away: what set-up does once for all others runs in one, with the threads that it starts, to their ends.

No strategy decides in such an execution, and nobody looks on: the actor that was there first moves, and the clock only when no actor can.
"""

from __future__ import annotations

from collections.abc import Iterator

from simharness.engine.actors import SHIFT, Actor
from simharness.engine.kernel import Kernel
from simharness.engine.kinds import Kind
from simharness.engine.operations import Operation
from simharness.engine.plan import ABANDON, Plan


def rehearse(kernel: Kernel) -> None:
    """Throw away the execution that is setting up; the actors that it has declared are left out."""

    def choose(enabled: list[int]) -> int:
        return next((key for key in enabled if key >> SHIFT in kernel.cast.actors or key == kernel.movers.clock_key), ABANDON)

    kernel.rehearsed, kernel.plan = True, Plan(choose=choose)
    kernel.after_step = kernel.when_asked = None
    kernel.polled, kernel.turn = False, kernel.loop.turn  # examining loops takes long, and waiting in them gains nothing here
    kernel.cast.waiting.clear()


def finish(kernel: Kernel, kind: Kind) -> None:
    """Wait for all threads that the execution has started; if one does not end, the execution ends before this returns.

    Args:
        kind: that of the steps that wait for a thread.
    """
    while (other := next(others(kernel), None)) is not None:
        if other.daemon:
            other.daemon = False  # what daemons do while nobody else can move may count as nothing
            kernel.cast.unfinished += 1
        kernel.step(Operation(kind, other.done, reads=other.bit, enabled=bool, detail=other.name))


def others(kernel: Kernel) -> Iterator[Actor]:
    """Yield the threads that have not ended."""
    root = kernel.actor if kernel.error is None and not kernel.dying else None
    yield from (actor for actor in kernel.cast.live if actor is not root)
