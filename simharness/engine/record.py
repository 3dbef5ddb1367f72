"""The record of one execution: its steps, as parallel lists, and what the clock and faults did.

`keys`, `reads`, `writes`, `operations`, `times` and `deadlines` have one entry per step. A *key* is a choice: the index of the actor that
moved, shifted, plus the alternative taken where its operation is a data choice.
"""

from __future__ import annotations

from simharness.engine.operations import Operation
from simharness.places import Place

VERSIONED = "version"
"""In a kernel's context: what the execution depends on that another version of Python may do differently."""


class Record:
    """What one execution did, step by step.

    Attributes:
        n: how many steps it has made.
        calls: the user's lines that led to each step, innermost first; kept only when `tracing`.
        notes: what steps did, in words, by the step's index; kept only when `tracing`.
        advances: (instant, lateness) after each step of the clock, each stall, and each `nothing strikes`.
        struck: (step, kind) of each fault.
        stalled: (step, process, until, by how much it postpones deadlines, and those of waits that add up naps) of each stall.
        jumps: (step, nanoseconds) of each jump of the wall clock.
        clock_readings: (step, instant) of each reading of the clock, if the scenario declares timescales.
    """

    def __init__(self, tracing: bool = False) -> None:
        self.tracing = tracing
        self.n = 0
        self.keys: list[int] = []
        self.reads: list[int] = []
        self.writes: list[int] = []
        self.operations: list[Operation] = []
        self.times: list[int] = []
        self.deadlines: list[int | None] = []
        self.calls: list[tuple[Place, ...]] = []
        self.notes: dict[int, list[str]] = {}
        self.advances: list[tuple[int, int]] = []
        self.struck: list[tuple[int, str]] = []
        self.stalled: list[tuple[int, str, int, int, int]] = []
        self.jumps: list[tuple[int, int]] = []
        self.clock_readings: list[tuple[int, int]] = []

    def append(
        self,
        key: int,
        reads: int,
        writes: int,
        operation: Operation,
        now: int,
        deadline: int | None = None,
        calls: tuple[Place, ...] = (),
    ) -> None:
        """Record a step that is about to be made."""
        self.keys.append(key)
        self.reads.append(reads)
        self.writes.append(writes)
        self.operations.append(operation)
        self.times.append(now)
        self.deadlines.append(deadline)
        if self.tracing:
            self.calls.append(calls)
        self.n += 1

    def amend(self, reads: int, writes: int = 0) -> None:
        """Add to the footprint of the last step what was not known when it was recorded."""
        self.reads[-1] |= reads
        self.writes[-1] |= writes

    def note(self, text: str) -> None:
        """Note in words what the last step did."""
        if self.tracing:
            self.notes.setdefault(self.n - 1, []).append(text)

    def readings(self, configuration: int = -1) -> list[int]:
        """Return the instants that the steps whose indices are set in the mask read from clocks.

        A reading of the wall clock before a jump counts twice: at its instant, and when the wall clock shows that time again.
        Step -1 is set-up.
        """
        readings = [(step, value) for step, value in self.clock_readings if step < 0 or configuration >> step & 1]
        instants = [value for _, value in readings]
        jumps = [(step, size) for step, size in self.jumps if configuration >> step & 1]
        if jumps:
            instants += [value - sum(size for jump, size in jumps if jump > step) for step, value in readings]
        return instants
