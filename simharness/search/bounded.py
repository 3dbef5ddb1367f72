"""Every ordering that a schedule within a bound reaches, those with the fewest preemptions or delays first.

A least-cost search (`simharness.search.least_cost`) over pairs (ordering so far, actor that a switch would interrupt). It needs neither
sleep sets nor backtrack points, which a bound makes unsound unless conservative ones are added (Coons, Musuvathi, McKinley: Bounded
partial-order reduction, OOPSLA 2013): a state is passed over only if it has been reached at no higher cost. Nothing depends on which
operations can be disabled, on the clock, or on data choices, beyond what footprints say.

An execution continues with free choices as long as they lead to new states; where none does it is abandoned, as redundant. No end of an
ordering is lost by that: the first execution to reach it does not find it known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from simharness.engine.actors import SHIFT
from simharness.engine.kernel import Kernel
from simharness.search.bounds import NOBODY, Bound, within
from simharness.search.least_cost import Branch, Choice, LeastCost
from simharness.search.orderings import Ordering
from simharness.search.strategy import Expected

State = tuple[Ordering, int]
"""(ordering so far, the actor that moved last, or NOBODY if that makes no difference)."""


class Bounded:
    """The search. `visited` holds the states that were reached, `planned` the least cost at which a branch to a state was left."""

    exhausts = grows = counted = True

    def __init__(self, kernel: Kernel, bound: Bound) -> None:
        self.kernel = kernel
        self.bound = bound
        self.search = LeastCost(kernel, self, (0,), only_free=True, newest_first=True)
        self.visited: set[State] = set()
        self.planned: dict[State, int] = {}
        self.ends: set[Ordering] = set()
        self.beyond: set[Ordering] = set()
        self.branch: Branch | None = self.search.next()

    def begin(self) -> Sequence[int] | None:
        """Return the next plan, a cheapest branch."""
        return None if self.branch is None else self.branch.plan

    def expected(self) -> Expected:
        """Return the footprints of the plan's steps, from the execution that it branches off."""
        assert self.branch is not None
        return self.branch.expected

    def choose(self, enabled: list[int]) -> int:
        """Make the first free choice that leads to a new state, and leave the others for later."""
        return self.search.choose(enabled)

    def choices(self, so_far: Ordering, enabled: list[int], before: Choice) -> Iterator[Choice]:
        """Yield the choices within the bound, those of the actor that moved last first; none if this state is known."""
        bound, actors, last = self.bound, self.kernel.cast.actors, before.mover
        running = bound.running(enabled, last)
        if self._known(so_far, running):
            return
        self.visited.update(((so_far, running), (so_far, last)))
        for key in sorted(enabled, key=lambda key: key >> SHIFT != last):
            ordering = self.search.after(key)
            cost = before.spent[0] + bound.cost(key, enabled, running, actors)
            if cost > bound.most:
                self.beyond.add(ordering)
            else:
                yield Choice(key, key >> SHIFT if key >> SHIFT in actors else running, (cost,), (cost,), ordering)

    def enters(self, choice: Choice, now: bool) -> bool:
        """Whether a choice leads to a state that is not known, nor planned at no higher cost if it is left for later."""
        state, cost = (choice.ordering, choice.mover), choice.spent[0]
        if self._known(*state):
            return False
        if not now:
            if self.planned.get(state, cost + 1) <= cost:
                return False
            self.planned[state] = cost
        return True

    def end(self) -> None:
        """Note the ordering, and take the next of the cheapest branches."""
        kernel, search = self.kernel, self.search
        if not kernel.abandoned:
            ordering = search.orderings.so_far()
            self.visited.add((ordering, NOBODY))
            if not kernel.cast.left_out:
                self.ends.add(ordering)
        self.branch = None
        while self.branch is None and search.least is not None:
            branch = search.next()
            if not self._known(branch.choice.ordering, branch.choice.mover):
                self.branch = branch

    def pending(self) -> Sequence[int] | None:
        """Return None: the search is ordered by cost, not by depth."""
        return None

    def words(self, executions: int, verified: bool) -> Sequence[str]:
        """Say that each ordering within the bound has been run."""
        if not verified:
            return [f"{executions} executions, {len(self.ends)} orderings", within(self.bound, True)]
        reached = {ordering for ordering, _ in self.visited}
        return [f"all {len(self.ends)} orderings", f"{within(self.bound, not self.beyond <= reached)}; up to swapping independent steps"]

    def _known(self, ordering: Ordering, last: int) -> bool:
        """Whether the state, or the one with this ordering from which every choice is free, was reached, at no higher cost than now."""
        return (ordering, last) in self.visited or (ordering, NOBODY) in self.visited
