"""Virtual time: one clock for all actors, which only moves to instants.

The model is partial synchrony. An instant is a pending deadline (a sleep, a timed wait, a timer) of an actor that cannot move
before it, or, for each timescale the scenario declares, the moments just before and just after a value that was read from the
clock plus that timescale (a lease whose row says `expires_at < now` has no timer; this is how its expiry is explored). When
no actor can move, the clock advances to the next deadline for free. It may also advance while actors can move: a thread can always be
late. The lateness of actors, summed over one execution, stays below `max_delay`: lateness alone never makes a timeout of `max_delay`
expire.

Times are integers, in nanoseconds since the start of the execution.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from simharness.engine.kinds import Family

SECOND = 1_000_000_000
EPOCH = 1_767_225_600 * SECOND
"""Wall clock at the start of every execution: 2026-01-01 00:00:00 UTC."""
BOOT = 1_000 * SECOND
"""Monotonic clock at the start of every execution."""
CLOCK_STEPS = Family("clock")
EDGE = 1_000_000
"""How far "just before" and "just after" are from a passive expiry: one millisecond."""


_wall, _processor = time.perf_counter, time.process_time


def real_seconds() -> float:
    """Return real seconds, even inside a simulation: for measuring the simulation itself."""
    return _wall()


def processor_seconds() -> float:
    """Return this process's real processor seconds, even inside a simulation."""
    return _processor()


def nanoseconds(seconds: float) -> int:
    """Convert seconds to the clock's unit, rounded to the nearest."""
    return round(seconds * SECOND)


class Clock:
    """The clock of one execution.

    Attributes:
        asked: whether the time was read.
        refused: the shortest advance past actors that could move which their lateness so far did not allow.
    """

    __slots__ = ("asked", "lateness", "max_delay", "now", "refused", "timescales")

    def __init__(self, max_delay: int) -> None:
        self.max_delay = max_delay
        self.timescales: tuple[int, ...] = ()
        self.reset()

    def reset(self) -> None:
        """Go back to the start of an execution."""
        self.now = 0
        self.lateness = 0
        self.timescales = ()
        self.asked = False
        self.refused: int | None = None

    def advance(self, instant: int, free: bool) -> None:
        """Move to a later instant: for free, or past actors that could move and are then late."""
        if not free:
            self.lateness += instant - self.now
        self.now = instant

    def skip(self, duration: int) -> None:
        """Let time pass where no actor moves: in set-up and in checks."""
        self.now += max(0, duration)

    def expires_after(self, *durations: int) -> None:
        """Something expires this long after a time that is read from the clock: explore the instants just before and after that."""
        self.timescales += durations

    def target(self, deadlines: Iterable[int], idle: bool, readings: Iterable[int] = ()) -> int | None:
        """Return the instant to which the clock may move now, or None.

        Args:
            deadlines: those of actors that cannot move before them.
            idle: whether no actor can move.
            readings: values read from the clock.
        """
        if idle:
            return min((deadline for deadline in deadlines if deadline > self.now), default=None)
        first = min(self._coming(deadlines, readings), default=None)
        if first is None:
            return None
        if self.may_be_late(first):
            return first
        self.refuse(first - self.now)
        return None

    def may_be_late(self, instant: int) -> bool:
        """Whether the clock may advance to an instant past actors that could move."""
        return self.lateness + instant - self.now < self.max_delay

    def ask(self) -> None:
        """Note that the time was read."""
        self.asked = True

    def refuse(self, gap: int) -> None:
        """Note that an advance of this length was not allowed."""
        if self.refused is None or gap < self.refused:
            self.refused = gap

    def instants(self, deadlines: Iterable[int], readings: Iterable[int]) -> list[int]:
        """Return all instants that are pending, the earliest first; the arguments are those of `target`."""
        return sorted(set(self._coming(deadlines, readings)))

    def _coming(self, deadlines: Iterable[int], readings: Iterable[int]) -> list[int]:
        now = self.now
        coming = [deadline for deadline in deadlines if deadline > now]
        for scale in self.timescales:
            for value in readings:
                edges = (value + scale - EDGE, value + scale + EDGE)
                coming.extend(edge for edge in edges if edge > now)
        return coming
