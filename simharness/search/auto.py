"""Find first, then prove: the reduction, and samples between its executions.

The reduction finds most bugs within a few executions, but it starts in one corner of the space, which may hold none. So after its first
executions samples are drawn in between, one to one, and later one for every ten of its executions. How many there are depends on the
number of executions alone, so that a seed repeats a run. The reduction keeps its place in lists of its own and does not notice them.

A sample covers nothing: it is counted apart, and everything is explored when the reduction says so. It may fail, and it may teach facts,
as any execution. It is abandoned when it becomes much longer than those of the reduction: a walk may starve an actor that others wait for.
"""

from __future__ import annotations

from collections.abc import Sequence

from simharness.engine.kernel import Kernel
from simharness.engine.plan import ABANDON
from simharness.search.dpor import Dpor
from simharness.search.pct import Pct
from simharness.search.pos import Pos
from simharness.search.strategy import Expected, Strategy
from simharness.search.surw import Profile, Roles, Surw

FIRST = 16
"""Executions of the reduction before the first sample."""
SAMPLES = 100
"""Samples in the beginning: a tenth of the 1,000 executions after which a tenth is the limit."""
SHARE = 10
"""From `SHARE * SAMPLES` executions of the reduction on, a sample for every so many of them."""
LONGER, PATIENCE = 4, 100
"""A sample is abandoned when it has so many times the steps of the longest execution of the reduction, and so many more."""


class Auto:
    """The reduction with samples.

    Attributes:
        counted: whether the execution under way is one of the reduction.
        searched, drawn: how many executions of the reduction, and how many samples, have begun.
        longest: the steps of the longest execution of the reduction.
        silent: no more samples are drawn.
    """

    exhausts = grows = True

    def __init__(self, kernel: Kernel, seed: int) -> None:
        self.kernel = kernel
        self.search = Dpor(kernel)
        self.counted = True
        self.silent = False
        self.profile = Profile(kernel)
        self.samplers = Surw(kernel, seed, self.profile), Roles(kernel, seed, self.profile), Pos(kernel, seed), Pct(kernel, seed, 2)
        self._now: Strategy = self.search
        self.searched = self.drawn = self.longest = 0

    def begin(self) -> Sequence[int] | None:
        """Return the reduction's plan or, if a sample is due and the reduction has not ended, that of a sampler."""
        plan = self.search.begin()
        self.counted = plan is None or not self.due
        if self.counted:
            self._now = self.search
            self.searched += 1
            return plan
        self._now = self.samplers[self.drawn % len(self.samplers)]
        self.drawn += 1
        return self._now.begin()

    @property
    def due(self) -> bool:
        """Whether a sample comes before the next execution of the reduction."""
        if self.silent:
            return False
        beyond = self.searched - FIRST
        at_first = min(SAMPLES, max(0, beyond + 1))
        return self.drawn < max(at_first, self.searched // SHARE if self.searched >= SHARE * SAMPLES else 0)

    @property
    def settled(self) -> bool:
        """Whether samplers no longer learn from executions of the reduction."""
        return self.drawn >= SAMPLES

    def passed(self, steps: int) -> None:
        """An execution of the reduction, with so many steps, was run elsewhere; no sample is due before it."""
        self.searched += 1
        self.longest = max(self.longest, steps)

    def take_back(self) -> None:
        """The execution of the reduction that `begin` has planned is not run now."""
        self.searched -= 1

    def expected(self) -> Expected:
        """The reduction's own, or nothing."""
        return self._now.expected()

    def choose(self, enabled: list[int]) -> int:
        """The reduction's own choice, or the sampler's."""
        if not self.counted and self.kernel.record.n >= LONGER * self.longest + PATIENCE:
            return ABANDON
        return self._now.choose(enabled)

    def end(self) -> None:
        """End the execution where it belongs; at first samplers learn from those of the reduction how many steps there are."""
        self._now.end()
        if not isinstance(self._now, Surw) and self.drawn < SAMPLES:
            self.profile.observe()  # later, what the walks show themselves is enough
        if self.counted:
            self.longest = max(self.longest, self.kernel.record.n)

    def pending(self) -> Sequence[int] | None:
        """The reduction's own."""
        return self.search.pending()

    def words(self, executions: int, verified: bool) -> Sequence[str]:
        """The reduction's own."""
        return self.search.words(executions, verified)
