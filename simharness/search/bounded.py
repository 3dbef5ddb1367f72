"""Every ordering that a schedule within a bound reaches, those with the fewest preemptions or delays first.

A search over states, by cost, as Dijkstra's. What is to come depends on the ordering of the steps so far (`search.orderings`), on the
actor that a switch would interrupt, and on what has been spent; of two schedules that agree in the first two, the cheaper one can be
continued in every way the other can. So each pair (ordering so far, running actor) is gone on from once, at its least cost. This is the
caching of happens-before relations of Musuvathi and Qadeer (Iterative context bounding, PLDI 2007; Partial-order reduction for
context-bounded state exploration, MSR-TR-2007-12), and it needs neither sleep sets nor backtrack points, which a bound makes unsound
unless conservative ones are added (Coons, Musuvathi, McKinley: Bounded partial-order reduction, OOPSLA 2013): what is passed over here
has been reached for no more. Nothing rests on which operations can be disabled, on the clock, or on data choices, beyond what footprints
say.

An execution goes on with free choices as long as they lead to new states; where none does it is given up, as redundant. No end of an
ordering is lost so: the first to reach it does not find it known. States are told apart exactly, not by hashes, which takes some hundred
bytes each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from simharness.engine.actors import SHIFT
from simharness.engine.kernel import Kernel
from simharness.engine.plan import ABANDON
from simharness.search.bounds import NOBODY, Bound, within
from simharness.search.orderings import Exactly, Ordering, Orderings
from simharness.search.strategy import Expected

State = tuple[Ordering, int]
"""(ordering so far, who moved last, or NOBODY if that is of no consequence)."""


class Branch(NamedTuple):
    """A choice left for later: after the first n steps of an execution, this key; `expected` are that execution's footprints."""

    keys: Sequence[int]
    n: int
    key: int
    last: int
    expected: Expected
    state: State


class Bounded:
    """The search. `levels[c]` holds the branches whose schedules cost c; `spent` is the cost of the schedule under way."""

    exhausts = grows = True

    def __init__(self, kernel: Kernel, bound: Bound) -> None:
        self.kernel = kernel
        self.bound = bound
        self.orderings = Orderings(kernel, Exactly())
        self.levels: list[list[Branch]] = [[] for _ in range(bound.most + 1)]
        self.spent = 0
        self.last = NOBODY
        self.plan: Sequence[int] | None = []
        self.known: Expected = ((), ())
        self.visited: set[State] = set()
        self.planned: dict[State, int] = {}
        self.ends: set[Ordering] = set()
        self.beyond: set[Ordering] = set()

    def begin(self) -> Sequence[int] | None:
        """Return the next plan, a cheapest branch."""
        self.orderings.begin()
        return self.plan

    def expected(self) -> Expected:
        """Return the footprints of the plan's steps, from the execution that it branches off."""
        return self.known

    def choose(self, enabled: list[int]) -> int:
        """Take the first free choice that leads to a new state, and keep the others for later."""
        kernel, bound = self.kernel, self.bound
        so_far = self.orderings.so_far()
        running = bound.running(enabled, self.last)
        if self._known((so_far, running)):
            return ABANDON
        self.visited.update(((so_far, running), (so_far, self.last)))
        chosen = ABANDON
        for key in sorted(enabled, key=lambda key: key >> SHIFT != self.last):
            last = key >> SHIFT if key >> SHIFT in kernel.cast.actors else running
            state = self._after(key, last)
            if self._known(state):
                continue
            cost = bound.cost(key, enabled, running, kernel.cast.actors)
            if self.spent + cost > bound.most:
                self.beyond.add(state[0])
            elif not cost and chosen < 0:
                chosen, chosen_last = key, last
            else:
                self._keep(key, last, self.spent + cost, state)
        if chosen >= 0:
            self.last = chosen_last
        return chosen

    def end(self) -> None:
        """Note the ordering, and take the next of the cheapest branches."""
        kernel = self.kernel
        if not kernel.abandoned:
            ordering = self.orderings.so_far()
            self.visited.add((ordering, NOBODY))
            if not kernel.cast.left_out:
                self.ends.add(ordering)
        for cost in range(self.spent, self.bound.most + 1):
            level = self.levels[cost]
            while level:
                branch = level.pop()
                if not self._known(branch.state):
                    self.spent, self.last = cost, branch.last
                    self.plan = [*branch.keys[: branch.n], branch.key]
                    self.known = branch.expected
                    return
        self.plan = None

    def pending(self) -> Sequence[int] | None:
        """Return None: the search goes by cost, not by depth."""
        return None

    def words(self, executions: int, verified: bool) -> Sequence[str]:
        """Say that each ordering within the bound has been run."""
        if not verified:
            return [f"{executions} executions, {len(self.ends)} orderings", within(self.bound, True)]
        reached = {ordering for ordering, _ in self.visited}
        return [f"all {len(self.ends)} orderings", f"{within(self.bound, not self.beyond <= reached)}; up to swapping independent steps"]

    def _known(self, state: State) -> bool:
        """Whether the state, or one from which every choice is free, was reached, for no more than what has been spent now."""
        return state in self.visited or (state[0], NOBODY) in self.visited

    def _after(self, key: int, last: int) -> State:
        """Return the state that a choice leads to.

        Beside daemons the footprint of an actor's last step is known only when it was done: that state is then seen to be known on arrival.
        """
        return self.orderings.after(key, *self.kernel.movers.footprint(key)), last

    def _keep(self, key: int, last: int, cost: int, state: State) -> None:
        kernel = self.kernel
        if self.planned.get(state, cost + 1) <= cost:
            return
        self.planned[state] = cost
        self.levels[cost].append(Branch(kernel.record.keys, kernel.record.n, key, last, (kernel.record.reads, kernel.record.writes), state))
