"""Which ordering an execution belongs to, as a value that can be compared, built up step by step.

Two executions belong to one ordering (Mazurkiewicz trace) when one becomes the other by swapping neighbouring steps that do not conflict. A
step is identified by its key, its footprint and, for each resource that it reads or writes, the last step before it that wrote that:
which step each step read and which it overwrote determine the order of all conflicting steps. An actor's steps all write the actor's own
bit, so its last one determines them all, and the last steps of all movers determine the ordering. An advance of the clock that conflicts
with everything, or a stall, follows all steps before it; any other counts as another step if it leaves another lateness, which decides what
is possible later. Equal values mean equal states, and so equal futures, even where the executions are not over.
"""

from __future__ import annotations

from collections.abc import Callable

from simharness.engine.actors import SHIFT
from simharness.engine.kernel import Kernel
from simharness.engine.operations import CLOCK, TIME

Ordering = tuple[int, ...]


class Exactly:
    """Gives each description of a step its own number: different ones are never confused."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, ...], int] = {}

    def __call__(self, description: tuple[int, ...]) -> int:
        """Return the number of this description."""
        return self._numbers.setdefault(description, len(self._numbers) + 1)


class Orderings:
    """The ordering of the kernel's execution so far.

    Args:
        identify: `Exactly()` where a mistake would lose an ordering; `hash` where orderings are only counted, which stores nothing.
    """

    def __init__(self, kernel: Kernel, identify: Callable[[tuple[int, ...]], int]) -> None:
        self._kernel = kernel
        self._identify = identify
        self._taken = self._advances = 0
        self._writer: dict[int, int] = {}
        self._last: dict[int, int] = {}

    def begin(self) -> None:
        """Another execution begins."""
        self._taken = self._advances = 0
        self._writer.clear()
        self._last.clear()

    def so_far(self) -> Ordering:
        """Return the ordering of the steps that the kernel has recorded; equal for equal orderings only."""
        kernel = self._kernel
        for n in range(self._taken, kernel.record.n):
            key, reads, writes = kernel.record.keys[n], kernel.record.reads[n], kernel.record.writes[n]
            lateness = 0
            if writes & (CLOCK | TIME):
                lateness = kernel.record.advances[self._advances][1]
                self._advances += 1
            step = self._step(key, reads, writes, lateness)
            self._last[key >> SHIFT] = step
            writes &= ~CLOCK
            while writes:
                bit = writes & -writes
                writes ^= bit
                self._writer[bit] = step
        self._taken = kernel.record.n
        return tuple(sorted(self._last.values()))

    def after(self, key: int, reads: int, writes: int) -> Ordering:
        """Return what `so_far`, which must have been called here, would be after a step with this footprint."""
        last = self._last.copy()
        lateness = self._kernel.movers.lateness_after() if writes & TIME else 0
        last[key >> SHIFT] = self._step(key, reads, writes, lateness)
        return tuple(sorted(last.values()))

    def _step(self, key: int, reads: int, writes: int, lateness: int) -> int:
        if writes & CLOCK:
            return self._identify((key, *sorted(self._last.values())))
        past = [key, reads, writes, lateness]
        touched = (reads | writes) & ~CLOCK
        while touched:
            bit = touched & -touched
            touched ^= bit
            past.append(self._writer.get(bit, 0))
        return self._identify(tuple(past))
