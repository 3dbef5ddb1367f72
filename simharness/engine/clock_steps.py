"""Reading the virtual clock, with a step and without, and sleeping: what every runtime may need."""

from __future__ import annotations

from simharness.engine.clock import CLOCK_STEPS, nanoseconds
from simharness.engine.kernel import Kernel
from simharness.engine.kinds import ALONE, Kind, Role
from simharness.engine.operations import CLOCK, TIME, Operation
from simharness.engine.phases import INSPECTING, RUNNING

READ = Kind(CLOCK_STEPS, "read", Role.READS_CLOCK, done="read the clock")
SLEEP = Kind(
    ALONE,
    "sleep",
    Role.SLEEPS,
    blocked="sleeps until {until}",
    done="slept {detail}",
    next="end a sleep of {detail}",
    calls=("sleep",),
)
_READ = Operation(READ, reads=CLOCK | TIME)


def read_clock(kernel: Kernel, wall: bool = False) -> int:
    """Read the virtual clock as a step of the current actor; return nanoseconds since the start of the execution.

    Args:
        wall: read the wall clock, which may jump.
    """
    if wall and kernel.faults is not None and kernel.faults.limit("clock_jump"):
        taken = kernel.step(Operation(READ, reads=CLOCK | kernel.movers.wall_bit, faults=("clock_jump", "clock_jump")))
        if taken:
            kernel.movers.jump(taken)
    else:
        kernel.step(_READ)
    if not kernel.setting_up:
        kernel.clock.ask()
    now = kernel.clock.now
    if kernel.clock.timescales:
        kernel.record.clock_readings.append((kernel.record.n - 1, now))
    return now


def sees_time(kernel: Kernel, by_all: bool = False) -> None:
    """Note that the running code depends on the time without a step that reads it; `by_all`: so may the code of every step."""
    if by_all or (kernel.phase == INSPECTING and kernel.checking):
        kernel.movers.seen.by_all = True
    elif kernel.phase == RUNNING and not kernel.dying:
        kernel.movers.seen.by_step()


def sleep(kernel: Kernel, seconds: float) -> None:
    """Sleep in virtual time, as a step of the current actor."""
    never = kernel.resource("sleep", False)
    duration = nanoseconds(seconds)
    operation = Operation(SLEEP, never, enabled=bool, detail=f"{seconds:g} s") if duration > 0 else Operation(SLEEP, detail="0 s")
    kernel.step(operation, kernel.clock.now + max(0, duration))
