"""A search over the beginnings of schedules, the cheapest first, as Dijkstra's. Bounded exploration and shrinking both are one.

What can follow a beginning depends on the ordering of its steps (`simharness.search.orderings`) and, because a switch costs something, on
the actor that moved last. Of two beginnings that agree in both, the cheaper one can be continued in every way the other can, so only that
one is continued: this is the caching of happens-before relations of Musuvathi and Qadeer (Iterative context bounding, PLDI 2007, and
Partial-order reduction for context-bounded state exploration, MSR-TR-2007-12).

An execution starts from a branch taken off the queue, makes choices that lead to new states, and leaves the others in the queue. Where no
choice leads to a new state the execution is abandoned as redundant. States are compared exactly, not by hashes, which takes some hundred
bytes each: a collision would lose an ordering.

What a choice costs, and which states count as reached, is for the caller to say (`Rules`): a bound counts preemptions or delays and
reaches each state once; the shrinker counts context switches, faults and early advances, of which one can be traded for another. What the
search is for, and when it is over, is the caller's loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import NamedTuple, Protocol

from simharness.engine.kernel import Kernel
from simharness.engine.plan import ABANDON
from simharness.search.orderings import Exactly, Ordering, Orderings
from simharness.search.strategy import Expected

Spent = tuple[int, ...]
"""What a beginning costs, the weightiest first: 2 preemptions, or 3 switches, no fault and one early advance."""


class Choice(NamedTuple):
    """A choice, and the beginning of schedules that it leads to.

    Attributes:
        key: the choice; -1 where nothing has been chosen yet.
        mover: the actor that has then moved last, or -1.
        spent: what the beginning costs.
        least: a lower bound on what it costs when it has been continued to an end that matters; the search is ordered by it.
        ordering: of the steps so far. With daemons the footprint of an actor's last step is known only once it was made; the state is
            then seen to be known on arrival.
    """

    key: int
    mover: int
    spent: Spent
    least: Spent
    ordering: Ordering


class Branch(NamedTuple):
    """A choice left for later, after the first n steps of an execution; `expected` are the footprints of that execution."""

    choice: Choice
    keys: Sequence[int]
    n: int
    expected: Expected

    @property
    def plan(self) -> Sequence[int]:
        """The choices with which an execution starts in order to continue from here."""
        return [*self.keys[: self.n], self.choice.key] if self.choice.key >= 0 else []


class Rules(Protocol):
    """What the search asks its caller: the costs, and which states need not be continued again."""

    def choices(self, so_far: Ordering, enabled: list[int], before: Choice) -> Iterable[Choice]:
        """Return the affordable choices after `before`, in order of preference; none if this state has been continued already."""

    def enters(self, choice: Choice, now: bool) -> bool:
        """Whether to continue from the state that a choice leads to, now or later. Asked once for each choice; may note the answer."""


class LeastCost:
    """The search.

    Args:
        start: the cost of the empty schedule.
        only_free: an execution makes only choices that cost nothing, and is abandoned where there is none. Each state is then first
            reached at its least cost, so a set of states is enough to recognise it. Otherwise an execution makes the cheapest choice and
            continues to its end, as any end may be a better one; a state may then be reached again at a lower cost.
        newest_first: whether, of branches that cost the same, the one that was left last comes first.
    """

    def __init__(self, kernel: Kernel, rules: Rules, start: Spent, only_free: bool, newest_first: bool) -> None:
        self._kernel = kernel
        self._rules = rules
        self._only_free = only_free
        self._later = -1 if newest_first else 1
        self._left = 0
        self.orderings = Orderings(kernel, Exactly())
        self.at = Choice(-1, -1, start, start, ())
        self._queue: list[tuple[Spent, int, Branch]] = [(start, 0, Branch(self.at, (), 0, ((), ())))]

    @property
    def least(self) -> Spent | None:
        """The least cost of any branch that is left; None if there is none."""
        return self._queue[0][0] if self._queue else None

    def next(self) -> Branch:
        """Take the cheapest branch, for an execution that starts with its plan."""
        self.orderings.begin()
        branch = heappop(self._queue)[2]
        self.at = branch.choice
        return branch

    def after(self, key: int) -> Ordering:
        """Return the ordering that a choice leads to."""
        return self.orderings.after(key, *self._kernel.movers.footprint(key))

    def choose(self, enabled: list[int]) -> int:
        """Make the first choice that leads to a new state, and leave the others for later."""
        kernel, rules, before = self._kernel, self._rules, self.at
        taken: Choice | None = None
        for choice in rules.choices(self.orderings.so_far(), enabled, before):
            now = taken is None and (not self._only_free or choice.spent == before.spent)
            if not rules.enters(choice, now):
                continue
            if now:
                taken = choice
                continue
            self._left += 1
            branch = Branch(choice, kernel.record.keys, kernel.record.n, (kernel.record.reads, kernel.record.writes))
            heappush(self._queue, (choice.least, self._later * self._left, branch))
        if taken is None:
            return ABANDON
        self.at = taken
        return taken.key
