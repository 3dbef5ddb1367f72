"""Every interleaving, no reduction: depth-first search as an odometer. The oracle that the reduction is tested against."""

from __future__ import annotations

from collections.abc import Sequence

from simharness.engine.kernel import Kernel
from simharness.search.strategy import Expected


class Exhaustive:
    """Tries the alternatives at each scheduling point in order, the last point first."""

    exhausts = counted = True
    grows = False

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.plan: list[int] | None = []
        self.left: list[list[int]] = []
        self.known: Expected = ((), ())

    def begin(self) -> Sequence[int] | None:
        """The choices up to the next alternative."""
        return self.plan

    def expected(self) -> Expected:
        """The footprints of the execution before."""
        return self.known

    def choose(self, enabled: list[int]) -> int:
        """The first alternative; the others are kept for later."""
        self.left.append(enabled[:0:-1])
        return enabled[0]

    def end(self) -> None:
        """Move to the next alternative of the last point that has any left."""
        kernel, left = self.kernel, self.left
        del left[kernel.record.n :]
        while left and not left[-1]:
            left.pop()
        if not left:
            self.plan = None
            return
        self.plan = [*kernel.record.keys[: len(left) - 1], left[-1].pop()]
        self.known = kernel.record.reads, kernel.record.writes

    def pending(self) -> Sequence[int] | None:
        """Return how many alternatives are left at each depth."""
        return [len(alternatives) for alternatives in self.left]

    def words(self, executions: int, verified: bool) -> Sequence[str]:
        """Say that each interleaving has been run."""
        return [f"all {executions} interleavings", "each once, without reduction"] if verified else [f"{executions} executions"]
