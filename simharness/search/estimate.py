"""How large the tree is that a depth-first search walks, estimated from the part it has walked.

Weighted tree estimates: what an unvisited branch holds is guessed from its siblings (Knuth: Estimating the efficiency of backtrack
programs, 1975; Kilby, Slaney, Thiébaux, Walsh: Estimating search tree size, AAAI 2006, the recursive estimator). The open nodes are those
along the path to the execution under way; each holds its closed children, whose leaves have been counted, the open child, and the
branches that are known and not begun. Two things are different under partial order reduction, and both are learned from nodes that have
been closed:

- sleep sets make later children smaller than earlier ones: the *decay* is how much smaller the last one was than those before it;
- branches are inserted late, while a child is being explored: a node with m movers still to come is expected to get as many more as
  closed nodes with m movers got beyond those known now.

The estimate is the geometric mean of two totals: of the known branches alone, and with the expected late ones. Those two, each moved
away by the share that is still to be explored, are the range. It is a heuristic: `benchmarks/estimates.py` measures how often the true
number lies in the range.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simharness.engine.actors import SHIFT

MOST = 1e300
"""What an estimate says at most: that of a tree without an end has no other number."""
FEWEST = 10
"""With fewer leaves no sensible estimate exists."""
SAMPLE = 3
"""How many closed nodes with as many movers are needed to expect the same of another node."""


@dataclass(frozen=True)
class Estimate:
    """How much there is to do. All three are equal when it is known.

    Attributes:
        total, low, high: executions in all: the best guess, and the range in which the truth probably is.
        seconds_left, seconds_low, seconds_high: (real) seconds until they are done, at the speed so far.
    """

    total: int
    low: int
    high: int
    seconds_left: float
    seconds_low: float
    seconds_high: float

    @property
    def known(self) -> bool:
        """Whether the total is exact."""
        return self.low == self.high

    def __str__(self) -> str:
        if self.known:
            return f"{self.total:,}"
        low, high = in_words(self.low), in_words(self.high)
        if low.partition(" ")[2] == high.partition(" ")[2]:
            low = low.partition(" ")[0]
        return f"about {in_words(self.total)} ({low}–{high})"

    @staticmethod
    def of(done: int, totals: tuple[float, float, float], seconds: float) -> Estimate:
        """Make one from (low, best, high) totals when `done` executions, at least one, took so many seconds."""
        low, total, high = (max(done, round(min(value, MOST))) for value in totals)
        each = seconds / done
        return Estimate(total, low, high, (total - done) * each, (low - done) * each, (high - done) * each)


def in_words(number: int) -> str:
    """Write a number with two digits, as guesses deserve: "4,200", "87 million", "10^31"."""
    rounded = round(number, 2 - len(str(number))) if number >= 100 else number
    if rounded >= 10**12:
        return f"10^{len(str(rounded)) - 1}"
    for size, word in ((10**9, "billion"), (10**6, "million")):
        if rounded >= size:
            return f"{rounded / size:g} {word}"
    return f"{rounded:,}"


class Branching:
    """How widely a depth-first search branches: how many branches it took at the points at which it took more than one."""

    def __init__(self) -> None:
        self.points = 0
        self.branches = 0
        self.open: list[int] = []

    def branch(self, depth: int) -> None:
        """The next execution takes another branch than the last one at this depth."""
        open_points = self.open
        while open_points and open_points[-1] > depth:
            open_points.pop()
        if not open_points or open_points[-1] != depth:
            open_points.append(depth)
            self.points += 1
            self.branches += 1
        self.branches += 1

    @property
    def mean(self) -> float:
        """Branches for each point; 1 where the search never branched."""
        return self.branches / self.points if self.points else 1.0


class Tree:
    """The walked part of the tree. `closed`, `leaves` and `begun` have an entry for each open node that has branched.

    `closed` counts a node's closed children, `leaves` the leaves below those, `begun` the leaves before its open child. `keys` are the
    choices of an execution through the open nodes.
    """

    def __init__(self) -> None:
        self.done = 0
        self.closed: list[int] = []
        self.leaves: list[int] = []
        self.begun: list[int] = []
        self._before = 0
        self.keys: Sequence[int] = ()
        self._widths: dict[int, Counter[int]] = {}
        self._last, self._mean = 0.0, 0.0

    def branch(self, depth: int, keys: Sequence[int]) -> None:
        """The execution with these choices, one more leaf, is over; the next one takes another branch at this depth."""
        self.close(depth, movers_beyond(keys, depth))
        self.keys = keys

    def close(self, depth: int, movers: bytes) -> None:
        """Do as `branch` does, for an execution that is not the last before an estimate.

        Args:
            movers: what `movers_beyond` returns for the execution.
        """
        self.done += 1
        self._learn(depth, movers)
        closed, leaves, begun = self.closed, self.leaves, self.begun
        del closed[depth + 1 :], leaves[depth + 1 :], begun[depth + 1 :]
        while len(closed) <= depth:
            closed.append(0)
            leaves.append(0)
            begun.append(self._before)
        leaves[depth] += self.done - begun[depth]
        closed[depth] += 1
        begun[depth] = self._before = self.done

    def state(self) -> dict[str, Any]:
        """Return what is known, as JSON."""
        widths = [[coming, list(map(list, counts.items()))] for coming, counts in self._widths.items()]
        return {**vars(self), "keys": list(self.keys), "_widths": widths}

    @staticmethod
    def of(state: Mapping[str, Any], moved: Callable[[Sequence[int]], Sequence[int]]) -> Tree:
        """Return the tree with this state; `moved` translates keys."""
        tree = Tree()
        vars(tree).update(state, keys=moved(state["keys"]))
        tree._widths = {coming: Counter(dict(counts)) for coming, counts in state["_widths"]}
        return tree

    def _learn(self, depth: int, movers: bytes) -> None:
        """Learn from the nodes below this depth how many children nodes have, and how much smaller the last one is."""
        for i, coming in enumerate(movers, depth + 1):
            children = 1
            if i < len(self.closed) and self.closed[i]:
                children += self.closed[i]
                self._last += self.done - self.begun[i]
                self._mean += self.leaves[i] / self.closed[i]
            self._widths.setdefault(coming, Counter())[children] += 1

    def totals(self, pending: Sequence[int], grows: bool) -> tuple[float, float, float] | None:
        """Return (low, best, high) for the leaves of the whole tree; None while too few are known.

        Args:
            pending: for each depth up to that of the last branch, how many branches are known and not begun.
            grows: whether more may be inserted.
        """
        if self.done < FEWEST or not self.closed:
            return None
        movers = movers_beyond(self.keys, -1)
        known = self._total(pending, None)
        grown = self._total(pending, movers) if grows else known
        best = math.sqrt(known * grown)
        away = 1 + max(0.0, 1 - self.done / best)
        least = self.done + 1 + sum(pending)
        low = max(least, known / away)
        return low, max(low, best), max(low, grown * away)

    def _total(self, pending: Sequence[int], movers: bytes | None) -> float:
        """Sum up from the deepest open node: the closed children, the open one, and for each branch to come as much as those had."""
        decay = min(1.0, self._last / self._mean) if self._mean else 1.0
        depth = len(self.closed) - 1
        total = self.leaves[depth] / self.closed[depth] * decay
        for i in range(depth, -1, -1):
            closed, leaves = self.closed[i], self.leaves[i]
            to_come = pending[i] + (self._late(movers[i], closed + 1 + pending[i]) if movers else 0.0)
            total += leaves + to_come * decay * (leaves + total) / (closed + 1)
        return total

    def _late(self, coming: int, known: int) -> float:
        """Return how many branches beyond those known an open node with so many movers to come may be expected to get."""
        for movers in range(coming, 0, -1):
            widths = self._widths.get(movers)
            if widths is not None and widths.total() >= SAMPLE:
                wider = [(width - known, count) for width, count in widths.items() if width >= known]
                nodes = sum(count for _, count in wider)
                return sum(more * count for more, count in wider) / nodes if nodes else 0.0
        return 0.0


def movers_beyond(keys: Sequence[int], depth: int) -> bytes:
    """Return for each choice beyond this depth how many movers move from it on; no more than 255 are counted."""
    coming: set[int] = set()
    counts = bytearray()
    for i in range(len(keys) - 1, depth, -1):
        coming.add(keys[i] >> SHIFT)
        counts.append(min(255, len(coming)))
    counts.reverse()
    return bytes(counts)
