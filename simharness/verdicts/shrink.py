"""Shortens a counterexample: the same failure with fewer context switches.

First, each fault in turn is left out if the failure does not need it. Then follow two searches. *Merging* takes the failing schedule and,
at each switch in turn, lets the actor continue that was stopped there; what still fails the same way and is shorter is kept. *Bounded
search* then runs schedules in the order of their context switches, until those with fewer than the best are exhausted or the budget
ends. It is the search of Musuvathi, Qadeer (Iterative context bounding, PLDI 2007) with another measure: they count preemptions
(switches away from an actor that could continue), but a reader has to follow every switch. Prefixes that are equal up to swapping
independent neighbours lead to the same states, so equivalent prefixes are tried once, at the lowest cost.

Steps after the failure are neither counted nor varied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from simharness.engine.actors import ALTERNATIVES, SHIFT, Failure
from simharness.engine.kernel import Kernel
from simharness.engine.operations import CLOCK, TIME
from simharness.engine.plan import ABANDON
from simharness.search.least_cost import Choice, LeastCost, Spent
from simharness.search.orderings import Ordering
from simharness.simulation.execution import Execution
from simharness.simulation.repeating import strictly
from simharness.simulation.simulation import Simulation
from simharness.simulation.transcript import following


class Cost(NamedTuple):
    """The size of a counterexample, the weightiest measure first; only steps up to the failure count.

    Attributes:
        switches: how often the moving actor changes.
        faults: how many faults strike.
        early: how often the clock moves while an actor could.
        steps: how many steps there are.
    """

    switches: int
    faults: int
    early: int
    steps: int


def cost_of(execution: Execution, kernel: Kernel) -> Cost:
    """Return the cost of the kernel's last execution, which failed."""
    assert execution.failure is not None
    keys = execution.keys[: execution.failure.step + 1]
    movers = [key >> SHIFT for key in keys if key >> SHIFT in kernel.cast.actors]
    faults = sum(1 for step, _ in kernel.record.struck if step < len(keys))
    advances = sum(1 for writes in kernel.record.writes[: len(keys)] if writes & (CLOCK | TIME))
    lateness = [0, *(late for _, late in kernel.record.advances[:advances])]
    early = sum(1 for before, after in pairwise(lateness) if before != after)
    return Cost(sum(1 for before, after in pairwise(movers) if before != after), faults, early, len(keys))


def kind_of(failure: Failure | None) -> tuple[Any, ...] | None:
    """Return what makes two failures the same: the check, the actor, and the type of exception; for a data race, its location."""
    if failure is None:
        return None
    return (failure.check, failure.actor, type(failure.error), getattr(failure.error, "location", None))


def next_of(waiting: list[int], enabled: Sequence[int], current: int | None) -> int:
    """Return the next choice of a schedule and take it from `waiting`: a choice that is not possible yet is postponed until it is."""
    for position, key in enumerate(waiting):
        if key in enabled:
            del waiting[position]
            return key
    return current if current is not None and current in enabled else enabled[0]


def follow(simulation: Simulation, order: Sequence[int]) -> Execution:
    """Run a schedule as close to `order` as possible."""
    kernel, waiting = simulation.kernel, list(order)
    return simulation.execute((), lambda enabled: next_of(waiting, enabled, None if kernel.actor is None else kernel.actor.key))


class Shrinker:
    """Shrinks a failing execution within a budget of executions; `best` is the shortest, `passing` lists those that pass."""

    def __init__(self, simulation: Simulation, failing: Execution, budget: int) -> None:
        self.simulation = simulation
        self.wanted = kind_of(failing.failure)
        self.best: Sequence[int] = list(failing.keys)
        self.passing: list[Sequence[int]] = []
        self.ran = 0
        self._budget = budget
        self._mark = simulation.kernel.learned.mark()
        self._repeat()

    def _repeat(self) -> None:
        """Run the best schedule again to measure its cost, and the switches away from an actor that could have continued."""
        kernel, keys = self.simulation.kernel, self.best
        preempted: list[int] = []
        last = -1
        next_key = following(kernel, keys, strictly(kernel))

        def choose(enabled: list[int]) -> int:
            nonlocal last
            key = next_key(enabled)
            if key >> SHIFT in kernel.cast.actors:
                if last >= 0 and key >> SHIFT != last and any(other >> SHIFT == last for other in enabled):
                    preempted.append(kernel.record.n)
                last = key >> SHIFT
            return key

        execution = self.simulation.execute((), choose)
        self.cost = cost_of(execution, kernel)
        self._struck = list(kernel.record.struck)
        self.preemptions = sum(1 for step in preempted if step < self.cost.steps)

    @property
    def spent(self) -> bool:
        """Whether to run no more executions: the set of scheduling points has changed, or the budget is used up."""
        return not self._mark.holds or self.ran >= self._budget

    def run(self) -> str:
        """Shrink; afterwards `best` holds the choices. Return what is known about the result, in words."""
        self._spare()
        self._merge()
        search = _Search(self)
        search.run()
        self._merge()
        if self._mark.holds:
            self._repeat()
        return self._words(search)

    def _words(self, search: _Search) -> str:
        """Say how short it is, claiming no more than the search has proved."""
        switches, interrupting = self.cost.switches, self.preemptions
        if not switches:
            return "no context switch"
        kind = "none interrupts an actor that could continue"
        if interrupting:
            kind = f"{interrupting} {'interrupts' if interrupting == 1 else 'interrupt'} an actor that could continue"
        text = f"{switches} context {'switch' if switches == 1 else 'switches'} ({kind})"
        if search.fewest < switches:
            fewer = f"; none with fewer than {search.fewest} fails" if search.fewest > search.least else ""
            return f"{text}: the fewest among {self.ran} schedules tried{fewer}"
        if search.least >= switches:
            return f"{text}: no complete schedule has fewer"
        return f"{text}: no failing schedule has fewer ({search.tried} tried; equivalent prefixes tried once)"

    def attempt(self, run: Callable[[], Execution]) -> bool:
        """Spend one execution; keep it if it fails in the same way and is shorter."""
        self.ran += 1
        execution = run()
        if not self._mark.holds or execution.status not in ("complete", "deadlock"):
            return False
        if execution.failure is None:
            self.passing.append(list(execution.keys))
            return False
        if kind_of(execution.failure) != self.wanted:
            return False
        cost = cost_of(execution, self.simulation.kernel)
        if cost >= self.cost:
            return False
        self.best, self.cost = list(execution.keys), cost
        return True

    def _spare(self) -> None:
        """Leave out each fault that the failure does not need, the last one first."""
        for position, _ in reversed(self._struck):
            if self.spent or position >= self.cost.steps:
                continue
            keys = self.best
            plain = [] if keys[position] >> SHIFT in self.simulation.kernel.movers.faults else [keys[position] & ~ALTERNATIVES]
            order = [*keys[:position], *plain, *keys[position + 1 :]]
            self.attempt(lambda order=order: follow(self.simulation, order))  # type: ignore[misc]  # bound now

    def _merge(self) -> None:
        improved = True
        while improved:
            improved = False
            keys = self.best
            for position in range(1, min(len(keys), self.cost.steps)):
                if self.spent:
                    return
                mover = keys[position - 1] >> SHIFT
                if keys[position] >> SHIFT == mover:
                    continue
                again = next((later for later in range(position, len(keys)) if keys[later] >> SHIFT == mover), None)
                if again is None:
                    continue
                end = again
                while end < len(keys) and keys[end] >> SHIFT == mover:
                    end += 1
                order = [*keys[:position], *keys[again:end], *keys[position:again], *keys[end:]]
                if self.attempt(lambda order=order: follow(self.simulation, order)):  # type: ignore[misc]  # bound now
                    improved = True
                    break


class _Search:
    """The bounded search: `simharness.search.least_cost` by the number of switches, of which the best counterexample's is the limit.

    Where the failure can show only once all actors have ended, each other actor that has not costs at least one more switch. When the
    search has run, every schedule with fewer than `fewest` switches has been tried; `least` is what counting the actors alone proves.
    """

    def __init__(self, shrinker: Shrinker) -> None:
        self._shrinker = shrinker
        self._kernel = shrinker.simulation.kernel
        self._search = LeastCost(self._kernel, self, (0, 0, 0), only_free=False, newest_first=False)
        self._met: dict[Ordering, list[tuple[int, Spent]]] = {}
        world = shrinker.simulation.world
        assert world is not None
        assert shrinker.wanted is not None
        self._all_end = world.only_at_end(shrinker.wanted[0]) and not self._kernel.movers.may_crash
        self.tried = 0
        self.fewest = self.least = 0

    def run(self) -> None:
        """Search until schedules with fewer switches than the best are exhausted, or the budget ends."""
        shrinker, search = self._shrinker, self._search
        while search.least is not None and search.least[0] < shrinker.cost.switches and not shrinker.spent:
            plan = search.next().plan
            shrinker.attempt(lambda plan=plan: shrinker.simulation.execute(plan, self._choose))  # type: ignore[misc]  # bound now
            self.tried += 1
        self.fewest = min(search.least[0] if search.least is not None else shrinker.cost.switches, shrinker.cost.switches)

    def _choose(self, enabled: list[int]) -> int:
        """Abandon an execution that fails in another way; make the cheapest choice in others."""
        failure = self._kernel.failure
        if failure is not None and kind_of(failure) != self._shrinker.wanted:
            return ABANDON
        return self._search.choose(enabled)

    def choices(self, so_far: Ordering, enabled: list[int], before: Choice) -> list[Choice]:
        """Return the choices after which a total below the best's switches is still possible, the cheapest first."""
        kernel, limit = self._kernel, self._shrinker.cost.switches
        costs = [(key, *self._costs(key, enabled, before)) for key in enabled]
        if not kernel.record.n:
            self.least = min(least[0] for *_, least in costs)
        affordable = [Choice(*cost, self._search.after(cost[0])) for cost in costs if cost[-1][0] < limit]
        return sorted(affordable, key=lambda choice: choice.least)

    def _costs(self, key: int, enabled: list[int], before: Choice) -> tuple[int, Spent, Spent]:
        """Return the last mover after a choice, what has then been spent, and the least cost of a failing schedule with that prefix."""
        kernel = self._kernel
        failed = kernel.failure is not None
        (switches, faults, early), mover = before.spent, before.mover
        faults += not failed and kernel.movers.strikes(key) is not None
        if key == kernel.movers.clock_key:
            early += not failed and (len(enabled) if kernel.faults is None else kernel.movers.peaceful) > 1
        elif key >> SHIFT in kernel.cast.actors:
            switches += not failed and mover not in (key >> SHIFT, -1)
            mover = key >> SHIFT
        others = sum(1 for actor in kernel.cast.live if not actor.daemon and actor.index != mover) if self._all_end and not failed else 0
        others -= bool(others) and mover < 0  # the first actor to move costs no switch
        return mover, (switches, faults, early), (switches + others, faults, early)

    def enters(self, choice: Choice, now: bool) -> bool:
        """Whether the ordering that a choice leads to was not met at any cost as low; it is now.

        An ordering that was met with another last mover can be continued in the same ways at one more switch.
        """
        met = self._met.setdefault(choice.ordering, [])
        for mover, (switches, faults, early) in met:
            if (switches + (mover != choice.mover), faults, early) <= choice.spent:
                return False
        met.append((choice.mover, choice.spent))
        return True
