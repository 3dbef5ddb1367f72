"""Probabilistic concurrency testing: Burckhardt, Kothari, Musuvathi, Nagarakatte (ASPLOS 2010).

Each actor has its own random priority, and of the actors that can move the highest does. At d - 1 steps drawn evenly from the k of an
execution, the actor that has just moved falls below all that have not fallen. A bug has *depth* d when d constraints on the order of
steps are enough to show it; an execution of at most k steps by n actors finds it with probability at least 1/(n·k^(d-1)): d = 1 depends
on which actor is first, d = 2 on a preemption at the right step, d = 3 on two of them.

The first execution has no falls: it measures n and k. When a later execution has more of either, they are raised, and the guarantee is
given for the executions drawn since. The clock is an actor with a priority, too. An actor that is created later draws its priority then.
"""

from __future__ import annotations

from collections.abc import Sequence

from simharness.engine.actors import SHIFT
from simharness.engine.kernel import Kernel
from simharness.search.sampling import ByMover


class Pct(ByMover):
    """Draws by priorities; those that have fallen are below zero.

    Args:
        depth: d, of the bugs that are looked for.
    """

    name = "pct"

    def __init__(self, kernel: Kernel, seed: int, depth: int) -> None:
        super().__init__(kernel, seed)
        self.depth = depth
        self.priority: dict[int, float] = {}
        self.falls: dict[int, int] = {}

    def begin(self) -> Sequence[int] | None:
        """Draw at which steps an actor falls, and how low."""
        self.priority.clear()
        self.falls = {1 + self.below(self.steps): low - self.depth for low in range(1, self.depth)} if self.steps else {}
        return super().begin()

    def pick(self, movers: list[int]) -> int:
        """Return the mover with the highest priority, after the last mover has fallen if this is a step to fall at."""
        kernel, priority = self.kernel, self.priority
        fall = self.falls.get(kernel.record.n)
        if fall is not None:
            priority[kernel.record.keys[-1] >> SHIFT] = fall
        for mover in movers:
            if mover not in priority:
                priority[mover] = self.random()
        return max(movers, key=priority.__getitem__)

    def guarantee(self) -> str:
        """Each execution finds a bug of this depth with probability at least 1/(n·k^(d-1))."""
        actors, steps, depth = max(1, self._actors), max(1, self.steps), self.depth
        bound = actors * steps ** (depth - 1)
        power = str(depth - 1).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")) if depth > 2 else ""
        formula = "1/n" if depth == 1 else f"1/(n·k{power})"
        missed = (1 - 1 / bound) ** self.alike
        together = f"at least {1 - missed:.2f}" if missed > 0.01 else "more than 0.99"
        return (
            f"pct, depth {depth}: each execution finds a bug of depth {depth} with probability at least {formula} = 1/{bound:,}, "
            f"{self.alike:,} of them with {together} ({self.size()})"
        )
