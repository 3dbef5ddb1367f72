"""Bounds on a schedule's preemptions or delays, and the strategy that stays within one by not being offered anything else.

A *preemption* is a switch away from an actor that could have continued (Musuvathi, Qadeer: Iterative context bounding, PLDI 2007). A
*delay* passes over the actor whose turn it is under a fixed scheduler: the one that moved last, for as long as it can, then the next in the
order in which they came into being (Emmi, Qadeer, Rakamarić: Delay-bounded scheduling, POPL 2011). Neither counts the clock, whose moves
`max_delay` bounds, nor faults, which have budgets, nor the alternatives of a data choice. At every point some choice is free, so no
execution gets stuck on its bound.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simharness.engine.actors import SHIFT
from simharness.search.strategy import Expected, Strategy

if TYPE_CHECKING:
    from simharness.engine.kernel import Kernel

NOBODY = -1
"""Instead of an actor: the next step interrupts none."""


@dataclass(frozen=True)
class Bound:
    """At most `most` "preemptions" or "delays"."""

    kind: str
    most: int

    def running(self, enabled: Sequence[int], last: int) -> int:
        """Return the actor that a switch would interrupt, given the actor that moved last: costs depend on it."""
        if self.kind == "delays" or any(key >> SHIFT == last for key in enabled):
            return last
        return NOBODY

    def cost(self, key: int, enabled: Sequence[int], running: int, actors: Container[int]) -> int:
        """Return what a choice adds, 0 for the free ones."""
        mover = key >> SHIFT
        if mover not in actors or mover == running:
            return 0
        if self.kind == "preemptions":
            return int(running != NOBODY)
        movers = sorted({other >> SHIFT for other in enabled if other >> SHIFT in actors})
        turn = next((place for place, other in enumerate(movers) if other >= running), 0)
        return (movers.index(mover) - turn) % len(movers)

    def __str__(self) -> str:
        return f"at most {self.most} {self.kind if self.most != 1 else self.kind[:-1]}"


class Within:
    """Offers a strategy only the choices that the bound allows; what the strategy exhausts is then the space within the bound."""

    counted = True

    def __init__(self, strategy: Strategy, kernel: Kernel, bound: Bound) -> None:
        self.strategy = strategy
        self.kernel = kernel
        self.bound = bound
        self.exhausts, self.grows = strategy.exhausts, strategy.grows
        self.points: list[tuple[int, int, dict[int, int]]] = []
        self.left_out = False

    def begin(self) -> Sequence[int] | None:
        """The strategy's own."""
        return self.strategy.begin()

    def expected(self) -> Expected:
        """The strategy's own."""
        return self.strategy.expected()

    def choose(self, enabled: list[int]) -> int:
        """Offer the strategy what is still affordable; each point keeps the running actor, what was spent, and the costs there."""
        kernel, bound, points = self.kernel, self.bound, self.points
        del points[kernel.record.n :]
        last, spent = NOBODY, 0
        if points:
            last, spent, costs = points[-1]
            taken = kernel.record.keys[-1]
            spent += costs[taken]
            if taken >> SHIFT in kernel.cast.actors:
                last = taken >> SHIFT
        running = bound.running(enabled, last)
        costs = {key: bound.cost(key, enabled, running, kernel.cast.actors) for key in enabled}
        points.append((running, spent, costs))
        affordable = [key for key in enabled if spent + costs[key] <= bound.most]
        self.left_out = self.left_out or len(affordable) < len(enabled)
        return self.strategy.choose(affordable)

    def end(self) -> None:
        """The strategy's own."""
        self.strategy.end()

    def pending(self) -> Sequence[int] | None:
        """The strategy's own."""
        return self.strategy.pending()

    def words(self, executions: int, verified: bool) -> Sequence[str]:
        """The strategy's own, within the bound."""
        return [*self.strategy.words(executions, verified), within(self.bound, self.left_out or not verified)]


def within(bound: Bound, left_out: bool) -> str:
    """Say how a bound limits a claim."""
    return (
        f"only schedules with {bound}: what needs more was not run"
        if left_out
        else f"{bound} reach everything: the bound leaves nothing out"
    )
