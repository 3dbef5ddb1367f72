"""Orderings that are explored in place of those of a queue: there are more of them, but they are reduced by what steps touch.

What holds in all of them holds in those of the queue. A failure proves nothing, since the queue may exclude it, nor does a claimed outcome:
then the queue's own orderings are explored, without reduction. They are also explored first: often there are few.
"""

from __future__ import annotations

import time
from typing import Protocol

from simharness.runtimes.aio import order as asyncio
from simharness.search.dpor import Dpor
from simharness.search.strategy import Strategy
from simharness.settings import Settings
from simharness.simulation.execution import Execution
from simharness.simulation.simulation import Simulation
from simharness.verdicts.covered import Tally

_monotonic = time.monotonic
FIRST = 200
"""How many of the queue's own orderings are explored first."""
MOST = 2_000
"""After how many executions the superset is given up."""
SHARE = 0.3
"""Of the time that there is, after which the superset is given up."""


class Exploring(Protocol):
    """The run-loop of an exploration."""

    simulation: Simulation
    settings: Settings
    strategy: Strategy
    tally: Tally
    began: float
    stop_on_first: bool

    @property
    def search(self) -> Dpor | None:
        """The reduction; None if another search explores."""

    @property
    def most_executions(self) -> int | None:
        """How many executions there may be."""


def judge(rounds: Exploring, execution: Execution) -> None:
    """Go over to the superset, or back from it, after an execution that counts."""
    if not rounds.strategy.exhausts or execution.status == "abandoned":
        return
    learned, runs, limit = rounds.simulation.kernel.learned, rounds.tally.runs, rounds.most_executions
    seconds = rounds.settings.max_seconds
    spent = 0.0 if seconds is None else (_monotonic() - rounds.began) / seconds
    good = execution.failure is None and execution.status == "complete" and not execution.outcomes
    if asyncio.grows(learned):
        if not good or runs > MOST or spent > SHARE or (limit is not None and runs >= limit):
            learned.learn(asyncio.StepsCannotGrow())
    elif good and runs == FIRST and spent < SHARE / 2 and asyncio.MAY_GROW in rounds.simulation.kernel.context and _alone(rounds):
        learned.learn(asyncio.StepsGrow())


def _alone(rounds: Exploring) -> bool:
    """Whether the exploration is to find one failure, by reduction, in this process."""
    settings = rounds.settings
    shared = settings.workers > 1 or settings.cluster is not None or settings.isolation == "fork"
    kept = settings.checkpoint or settings.resume or settings.shard
    return rounds.stop_on_first and type(rounds.search) is Dpor and not (shared or kept or settings.reached)
