"""Reports how far an exploration is, with an estimate of what there is to do."""

from __future__ import annotations

import math
import time
from typing import Any

from simharness.exploring.parallel.border import Border
from simharness.exploring.parallel.log import Log
from simharness.exploring.parallel.parts import Parts
from simharness.exploring.progress import Progress
from simharness.exploring.proofs import Timeouts
from simharness.exploring.rounds import Rounds
from simharness.exploring.watching import Watcher
from simharness.search.estimate import Estimate, Tree
from simharness.simulation.execution import Execution

_monotonic = time.monotonic


class Reporter(Watcher):
    """Calls a progress while exploring, some ten times a second, with an estimate of what there is to do.

    Args:
        estimates: whether there is to be an estimate, which takes a little time at each execution, and the time-outs in play.
    """

    keeps = ("timeouts",)
    spreads = True

    def __init__(self, progress: Progress | None, began: float, estimates: bool) -> None:
        self.progress = progress or Progress()
        self._estimates = estimates
        self._began = self._round_began = began
        self._next_report = 0.0
        self._tree: Tree | None = None
        self._ahead = 0
        self._branched = False
        self._pending: list[int] | None = None
        self.timeouts = Timeouts()

    def begin(self, rounds: Rounds) -> None:
        """A round begins: the tree that the search walks is another one."""
        self._round_began = _monotonic()
        self._branched, self._pending = False, None
        self._tree = Tree() if self._estimates and rounds.branching is not None else None

    def before(self, rounds: Rounds, branch: int | None) -> None:
        """An execution is about to be run: report how far the exploration is, if it is time to."""
        if branch is None and not rounds.strategy.counted:
            return  # the search is between two executions, where what is pending belongs to a plan that has not begun
        self._ahead, self._pending = 0, None
        self._branch(rounds, branch)
        self.tick(rounds.tally.executions, rounds)

    def after(self, rounds: Rounds, execution: Execution) -> None:
        """An execution has ended."""
        if self._estimates:
            self.timeouts.after(rounds, execution)

    def passed(self, rounds: Rounds, log: Log, announced: bool) -> None:
        """Other processes have run the next executions."""
        if not announced:
            self._branch(rounds, log.first)
        if self._tree is not None:
            for depth, movers in log.closes:
                self._tree.close(depth, movers)
            self._tree.keys = log.keys
        if self._estimates:
            self.timeouts.add(log.timeouts)

    def state(self, rounds: Rounds) -> Any:
        """Return what was seen of the tree, the time-outs, and the seconds that went by."""
        tree = None if self._tree is None else self._tree.state()
        return {
            "tree": tree,
            "timeouts": [self.timeouts.shortest, self.timeouts.sleep],
            "seconds": _monotonic() - self._round_began,
            "branched": self._branched,
        }

    def restore(self, state: Any, border: Border) -> None:
        """Go on from such a state of another process."""
        self.timeouts.add((state["timeouts"][0], state["timeouts"][1]))
        self._round_began = _monotonic() - state["seconds"]
        self._branched = state["branched"]
        self._tree = None if self._tree is None or state["tree"] is None else Tree.of(state["tree"], border.keys)

    def waiting(self, rounds: Rounds, parts: Parts) -> None:
        """Other processes are at work on these parts."""
        if _monotonic() >= self._next_report:
            branch, self._pending = parts.standing()
            self._branch(rounds, branch)
            self._branched = True
            self._ahead = parts.ahead
            self.tick(rounds.tally.executions + self._ahead, rounds)

    def _branch(self, rounds: Rounds, branch: int | None) -> None:
        """The next execution leaves the last one at this depth; the tree may know that already."""
        branched, self._branched = self._branched, False
        if self._tree is not None and branch is not None and rounds.execution is not None and not branched:
            self._tree.branch(branch, rounds.execution.keys)

    def tick(self, executions: int, rounds: Rounds | None = None) -> None:
        """Report how many executions have been run, if it is time to."""
        now = _monotonic()
        if now >= self._next_report:
            self._next_report = now + 0.1
            self.progress.advanced(executions, now - self._began, None if rounds is None else self.estimate(rounds))

    def estimate(self, rounds: Rounds, limited: bool = True) -> Estimate | None:
        """Return how much there is to do, in executions that run to their end; not `limited`: without the limit on executions."""
        seconds = _monotonic() - self._round_began
        tally, strategy, limit = rounds.tally, rounds.strategy, rounds.most_executions
        if not tally.executions:
            return None
        most = math.inf if limit is None or not limited else float(limit)
        pending = strategy.pending() if self._pending is None else self._pending
        totals = None if self._tree is None or pending is None else self._tree.totals(pending, strategy.grows)
        if totals is None:
            return None if strategy.exhausts or limit is None else Estimate.of(tally.executions, (most, most, most), seconds)
        share = tally.executions / tally.runs
        low, best, high = (min(total, most) * share for total in totals)
        return Estimate.of(tally.executions + self._ahead, (low, best, high), seconds)
