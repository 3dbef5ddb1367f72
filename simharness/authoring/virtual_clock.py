"""The world's clock, as an object."""

from __future__ import annotations

from simharness.engine.clock import SECOND
from simharness.engine.clock_steps import read_clock, sleep
from simharness.engine.kernel import Kernel


class VirtualClock:
    """The world's clock, for reading and sleeping without the `time` module; both are scheduling points in actors."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def time(self) -> float:
        """Return the wall clock in seconds since 1970."""
        read_clock(self._kernel, wall=True)
        return self._kernel.movers.wall() / SECOND

    def elapsed_ns(self) -> int:
        """Return the virtual nanoseconds since the start of the execution."""
        return read_clock(self._kernel)

    def sleep(self, seconds: float) -> None:
        """Wait for this many virtual seconds."""
        sleep(self._kernel, seconds)
