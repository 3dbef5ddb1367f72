"""How long the waits of an execution may last."""

from __future__ import annotations

from collections.abc import Iterator

from simharness.engine.actors import SHIFT
from simharness.engine.kernel import Kernel
from simharness.engine.kinds import Role


def shortest_waits(kernel: Kernel) -> tuple[int, int]:
    """Return how long the shortest wait of the last execution may last that something other than time can end, and the shortest sleep.

    In nanoseconds; 0 if there is none.
    """
    wait = sleep = 0
    for length, sleeps in _waits(kernel):
        if sleeps:
            sleep = min(sleep or length, length)
        else:
            wait = min(wait or length, length)
    return wait, sleep


def _waits(kernel: Kernel) -> Iterator[tuple[int, bool]]:
    """Yield how long each wait of the last execution may last, and whether it is a sleep."""
    record = kernel.record
    since: dict[int, int] = {}
    for key, operation, now, deadline in zip(record.keys, record.operations, record.times, record.deadlines, strict=True):
        index = key >> SHIFT
        actor = kernel.cast.actors.get(index)
        if actor is not None and deadline is not None:
            declared = since.get(index, record.times[actor.born] if actor.born >= 0 else 0)
            if deadline > declared:
                yield deadline - declared, operation.kind.role is Role.SLEEPS
        since[index] = now


def shorter(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    """Return the shorter of each two lengths, where 0 is none."""
    wait, sleep = (min(a or b, b or a) for a, b in zip(one, other, strict=True))
    return wait, sleep
