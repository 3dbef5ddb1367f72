"""Orderings that are explored in place of those of a queue: there are more of them, but they are reduced by what steps touch.

What holds in all of them holds in those of the queue. A failure proves nothing, since the queue may exclude it, nor does a claimed outcome:
then the queue's own orderings are explored, without reduction. They are also explored first: often there are few.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simharness.runtimes.aio import order as asyncio
from simharness.search.dpor import Dpor

if TYPE_CHECKING:
    from simharness.exploring.rounds import Rounds
    from simharness.simulation.execution import Execution

FIRST = 200
"""How many of the queue's own orderings are explored first."""
MOST = 2_000
"""After how many executions the superset is given up."""
SHARE = 0.3
"""Of the time that there is, after which the superset is given up."""


def judge(rounds: Rounds, execution: Execution, spent: float) -> None:
    """Go over to the superset, or back from it, after an execution that counts; `spent` is the share of the time that is gone."""
    learned, runs, limit = rounds.simulation.kernel.learned, rounds.tally.runs, rounds.most_executions
    good = execution.failure is None and execution.status == "complete" and not execution.outcomes
    if asyncio.grows(learned):
        if not good or runs > MOST or spent > SHARE or (limit is not None and runs >= limit):
            learned.learn(asyncio.StepsCannotGrow())
    elif good and runs == FIRST and spent < SHARE / 2 and asyncio.MAY_GROW in rounds.simulation.kernel.context and _alone(rounds):
        learned.learn(asyncio.StepsGrow())


def _alone(rounds: Rounds) -> bool:
    """Whether the exploration is to find one failure, by reduction, in this process."""
    return rounds.stop_on_first and type(rounds.search) is Dpor and rounds.plain and not rounds.settings.reached
