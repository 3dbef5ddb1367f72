"""Partial order sampling: Yuan, Yang, Gu: Partial order aware concurrency sampling (CAV 2018).

Each pending step has a random priority, and of those that can be done the highest is done. A step that was done loses its priority, and
so does every pending step that conflicts with it: the order in one race says nothing about the next. Steps that conflict with nothing
keep theirs, so that no probability is spent on orders that make no difference.

An ordering is drawn with probability at least n^-k · R^U with R ≥ 1 and U ≥ 0 that grow with the share of steps that do not race: never
worse than a random walk's n^-k, and far better for programs with few races.

What a pending operation would conflict with follows from its declared footprint in the present state of its resource.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from simharness.engine.actors import SHIFT
from simharness.engine.kernel import Kernel
from simharness.engine.operations import conflict
from simharness.search.sampling import ByMover, power_of_ten


class Pos(ByMover):
    """Draws by the priorities of pending steps."""

    name = "pos"

    def __init__(self, kernel: Kernel, seed: int) -> None:
        super().__init__(kernel, seed)
        self.priority: dict[int, float] = {}

    def begin(self) -> Sequence[int] | None:
        """Forget all priorities."""
        self.priority.clear()
        return super().begin()

    def pick(self, movers: list[int]) -> int:
        """Return the mover with the highest priority, after those that conflict with the last step have drawn new ones."""
        kernel, priority = self.kernel, self.priority
        if kernel.record.n:
            self._forget(kernel.record.keys[-1] >> SHIFT, kernel.record.reads[-1], kernel.record.writes[-1])
        for mover in movers:
            if mover not in priority:
                priority[mover] = self.random()
        return max(movers, key=priority.__getitem__)

    def _forget(self, moved: int, reads: int, writes: int) -> None:
        kernel, priority = self.kernel, self.priority
        priority.pop(moved, None)
        for index in list(priority):
            if conflict(reads, writes, *kernel.movers.footprint(index << SHIFT)):
                del priority[index]

    def guarantee(self) -> str:
        """Each ordering has probability at least n^-k, and more where few steps race."""
        chance = power_of_ten(-self.steps * math.log10(max(1, self._actors)))
        return (
            f"pos draws a given ordering with probability at least n^-k·R^U ≥ n^-k = {chance} ({self.size()}), "
            "R ≥ 1 and U ≥ 0 growing with the share of steps that do not race"
        )
