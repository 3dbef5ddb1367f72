"""The random walk: at every step, all movers that can move are equally likely.

An interleaving of k steps among at most n movers is drawn with probability at least n^-k, which is tiny for all but the smallest
programs: a bug that needs an actor to be passed over many times in a row is not found this way. It is the baseline for the other samplers.
"""

from __future__ import annotations

import math

from simharness.search.sampling import ByMover, power_of_ten


class RandomWalk(ByMover):
    """Draws each mover evenly."""

    name = "random"

    def pick(self, movers: list[int]) -> int:
        """Return any of them."""
        return movers[self.below(len(movers))]

    def guarantee(self) -> str:
        """Each interleaving has probability at least n^-k."""
        chance = power_of_ten(-self.steps * math.log10(max(1, len(self.movers))))
        return f"a random walk draws a given interleaving with probability at least n^-k = {chance} ({self.size()})"
