"""What a run of executions of one part of the tree has come to, as plain data that can be sent and put end to end.

The executions of a log follow each other in the order of the sequential search.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from simharness.engine.actors import SHIFT
from simharness.exploring.parallel.border import Border
from simharness.exploring.waits import shorter
from simharness.search.estimate import movers_beyond
from simharness.verdicts.covered import Tally


@dataclass
class Log:
    """Counts, and what estimates, samples and verdicts need to know of each execution.

    Attributes:
        tally: the counts; no failure is among them, unless failures are only counted.
        first: the depth at which the first execution leaves the one before it.
        closes: for each further execution the depth at which it leaves the one before, and how many movers each later step of that one had
            before it.
        longest: (number of the execution, steps) of each that was longer than those before it.
        keys: the choices of the last one.
        checked, checks: how often checks at the end were evaluated, and whether there are any.
        timeouts: the shortest wait that something other than time can end, and the shortest sleep; 0: none.
        kept: what executions have changed of the scenario (`Scenario.keeps`).
    """

    tally: Tally = field(default_factory=Tally)
    first: int = 0
    closes: list[tuple[int, bytes]] = field(default_factory=list)
    longest: list[tuple[int, int]] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    checked: int = 0
    checks: bool = False
    timeouts: tuple[int, int] = (0, 0)
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def runs(self) -> int:
        """How many executions there were."""
        return self.tally.runs

    def join(self, later: Log) -> None:
        """Add the log of the executions that follow."""
        if not later.runs:
            return
        if self.runs:
            self.closes.append((later.first, movers_beyond(self.keys, later.first)))
        else:
            self.first = later.first
        self.closes += later.closes
        most = self.longest[-1][1] if self.longest else 0
        self.longest += [(self.runs + number, steps) for number, steps in later.longest if steps > most]
        self.tally.join(later.tally)
        self.keys = later.keys
        self.checked += later.checked
        self.checks = self.checks or later.checks
        self.timeouts = shorter(self.timeouts, later.timeouts)
        self.kept = {name: together(self.kept[name], value) if name in self.kept else value for name, value in later.kept.items()}

    def move(self, border: Border) -> None:
        """Make keys those of this process."""
        if not border.same:
            self.keys = border.keys(self.keys)
            self.tally.moved = set(border.keys(self.tally.moved))
            self.tally.stuck = {name: border.key(index << SHIFT) >> SHIFT for name, index in self.tally.stuck.items()}


def together(before: Any, after: Any) -> Any:
    """Return what a scenario keeps of two runs: whether either was so, the larger number, all members, the last that there is."""
    if isinstance(before, bool):
        return before or after
    if isinstance(before, int):
        return max(before, after)
    if isinstance(before, set):
        return before | after
    return before if after is None else after
