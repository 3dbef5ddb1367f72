"""What the samplers share: random numbers of their own, figures about the executions drawn so far, and the words for what they prove.

A sampler draws executions until its budget ends and exhausts nothing: if it finds no failure the verdict is inconclusive. The papers'
guarantees speak of n actors (including the clock where it can move) and k steps; both are the most seen so far, beginning with those of
the first execution. The orderings met are counted by hash: a collision would count two as one, which has not been seen to happen.
"""

from __future__ import annotations

import math
from _random import Random
from abc import ABC, abstractmethod
from collections.abc import Sequence

from simharness.engine.actors import SHIFT
from simharness.engine.kernel import Kernel
from simharness.search.orderings import Ordering, Orderings
from simharness.search.strategy import Expected

DEFAULT_EXECUTIONS = 10_000
"""The budget of a sampler without a limit."""


class Sampler(ABC):
    """A strategy that draws.

    Args:
        seed: equal seeds draw equal executions.
    """

    exhausts = grows = False
    counted = True
    name = "sampler"

    def __init__(self, kernel: Kernel, seed: int) -> None:
        self.kernel = kernel
        self.seed = seed
        self.numbers = Random(seed)
        self.random = self.numbers.random
        self.movers: set[int] = set()
        self.steps = 0
        self.drawn = 0
        self.alike = 0
        self.met: set[Ordering] = set()
        self._orderings = Orderings(kernel, hash)
        self._options = 1
        self._actors = 0

    def begin(self) -> Sequence[int] | None:
        """Return the empty plan: every execution is drawn from the start."""
        self._orderings.begin()
        return ()

    def expected(self) -> Expected:
        """Return nothing: no step is known beforehand."""
        return (), ()

    @abstractmethod
    def choose(self, enabled: list[int]) -> int:
        """Return one of the enabled keys."""

    def below(self, limit: int) -> int:
        """Draw an integer from 0 to limit - 1."""
        return int(self.random() * limit)

    def end(self) -> None:
        """Record the execution's figures; `alike` counts the executions since n or k was last raised."""
        kernel = self.kernel
        self.drawn += 1
        self.alike += 1
        actors = len(self.movers)
        if kernel.record.n > self.steps or actors != self._actors:
            self.alike = 0
        self.steps, self._actors = max(self.steps, kernel.record.n), actors
        self.met.add(self._orderings.so_far())

    def pending(self) -> Sequence[int] | None:
        """Return None: there is no tree."""
        return None

    def words(self, executions: int, verified: bool) -> Sequence[str]:
        """Say how much was drawn, and what the paper guarantees."""
        met = f"{len(self.met):,} distinct orderings" if len(self.met) != 1 else "one ordering"
        return [f"{executions} executions", f"drawn with seed {self.seed}: {met}", self.guarantee(), *self._about_choices()]

    @abstractmethod
    def guarantee(self) -> str:
        """Say what the paper guarantees for each execution."""

    def _about_choices(self) -> list[str]:
        if self._options == 1:
            return []
        return [f"data choices are drawn evenly, which the guarantee does not count (up to {self._options} alternatives)"]

    def size(self) -> str:
        """Say what n and k are."""
        return f"n = {self._actors} actors, k = {self.steps} steps at most"


class ByMover(Sampler):
    """A sampler that draws a mover first, then one of its alternatives; a subclass says how to `pick` the mover."""

    def choose(self, enabled: list[int]) -> int:
        """Pick a mover; the alternatives of a data choice are drawn evenly."""
        movers = list(dict.fromkeys(key >> SHIFT for key in enabled))
        self.movers.update(movers)
        mover = self.pick(movers)
        keys = [key for key in enabled if key >> SHIFT == mover]
        self._options = max(self._options, len(keys))
        return keys[self.below(len(keys))]

    @abstractmethod
    def pick(self, movers: list[int]) -> int:
        """Return which of the enabled movers goes next."""


def power_of_ten(exponent: float) -> str:
    """Write 10 to a negative power in a readable form: 0.0012, or 10^-17."""
    return f"{10**exponent:.2g}" if exponent > -6 else f"10^{math.floor(exponent)}"
