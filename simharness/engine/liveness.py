"""Liveness: checks that must eventually hold, within a time, once faults have stopped.

A promise is checked after every step. Its time runs from the last fault of the execution (for a stall, from its end), or from the start;
every fault restarts it. It is broken if that much virtual time passes, or everything ends, without a moment at which the check holds. A
cycle that repeats up to the last allowed step without the clock advancing also breaks it, if the cycle is *fair*: every actor that could
move does. (The clock provides fairness in time: without a fault, no actor is late by more than `max_delay`.)

Schedules continue fairly unless a strategy decides otherwise: from step `PATIENCE` on actors take turns, so an endless execution soon
repeats itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simharness.engine.actors import SHIFT
from simharness.engine.clock import SECOND
from simharness.engine.kernel import Kernel
from simharness.engine.kinds import Kind

PATIENCE = 20
ROUNDS = 3
"""How often a sequence of steps must repeat to count as a cycle."""
LONGEST_CYCLE = 60


class Promise:
    """A check that must hold at some moment."""

    def __init__(self, check: Callable[[], Any], within: int) -> None:
        self.check = check
        self.within = within
        self.kept = False
        self._since = 0
        self._faults = 0

    def look(self, kernel: Kernel, over: bool = False) -> None:
        """Run the check now; end the execution if its time is over.

        Args:
            over: nothing moves any more, not even a stalled actor.

        Raises:
            Everything that the check raises, except AssertionError.
        """
        if len(kernel.record.struck) != self._faults:
            self._faults, self.kept = len(kernel.record.struck), False
            self._since = max(kernel.record.times[kernel.record.struck[-1][0]], *(until for _, _, until, *_ in kernel.record.stalled), 0)
        if self.kept or (kernel.clock.now < self._since and not over):
            return
        if kernel.clock.now - self._since > self.within:
            self._broken(kernel, f"it did not hold within {self._time()}")
            kernel.over = True
            return
        try:
            kernel.learned.check_reads(kernel.inspect(self.check))
            self.kept = True
        except AssertionError:
            return

    def judge(self, kernel: Kernel, cut: bool) -> None:
        """Report the promise if it is broken, when the execution is over or was cut at the last allowed step."""
        self.look(kernel, over=True)
        if self.kept or kernel.failure is not None:
            return
        if not cut:
            self._broken(kernel, "it never held, and no actor moves any more")
        elif _fair(kernel):
            self._broken(kernel, "livelock")

    def _time(self) -> str:
        after = " after the last fault" if self._faults else ""
        return f"{self.within / SECOND:g} s of virtual time{after}"

    def _broken(self, kernel: Kernel, reason: str) -> None:
        cycle = repeating(kernel)
        clock = kernel.movers.clock_key
        names = [
            "the clock moves" if key == clock else f"{kernel.mover(key).removeprefix('actor ')}: {str(kind).replace('_', ' ')}"
            for key, kind in cycle
        ]
        repeats = f"; over and over: {', '.join(names)}" if names else ""
        kernel.fail(AssertionError(f"{reason}{repeats}"), check=str(getattr(self.check, "__name__", "eventually")))


def repeating(kernel: Kernel) -> list[tuple[int, Kind]]:
    """Return the shortest cycle of steps, as movers and kinds, with which the execution ends; empty if there is none."""
    steps = [(key, operation.kind) for key, operation in zip(kernel.record.keys, kernel.record.operations, strict=True)]
    for length in range(1, LONGEST_CYCLE + 1):
        last = steps[-length:]
        if len(steps) >= ROUNDS * length and all(steps[-n * length :][:length] == last for n in range(2, ROUNDS + 1)):
            return last
    return []


def _fair(kernel: Kernel) -> bool:
    """Whether the execution ends in a cycle in which all actors that can move do, without any waiting for a time."""
    movers = {key >> SHIFT for key, _ in repeating(kernel)}
    now = kernel.clock.now
    waits = any(actor.deadline is not None and not actor.ready(now) for actor in kernel.cast.live)
    return bool(movers) and not waits and all(actor.index in movers for actor in kernel.cast.live if actor.ready(now))


def whose_turn(kernel: Kernel, enabled: list[int]) -> int | None:
    """Return the choice of the actor that has waited longest, once an execution has become long; None before."""
    if kernel.record.n < PATIENCE:
        return None
    waiting = [key for key in enabled if key >> SHIFT in kernel.cast.actors]
    for key in reversed(kernel.record.keys[-LONGEST_CYCLE:]):
        if len({choice >> SHIFT for choice in waiting}) < 2:
            break
        waiting = [choice for choice in waiting if choice >> SHIFT != key >> SHIFT]
    return waiting[0] if waiting else None
