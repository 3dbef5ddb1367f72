"""Orderings that are explored in place of those of a queue, as they are more, but reduced: what they prove holds for the queue, too.

A failure proves nothing, since the queue may exclude it; nor does what is to happen sometimes. Then the queue's own orderings are explored.
"""

from __future__ import annotations

from simharness.engine.kernel import Kernel
from simharness.runtimes.aio import order as asyncio
from simharness.simulation.execution import Execution

MOST = 2_000
"""After how many executions the queue's own orderings are explored instead."""


def judge(kernel: Kernel, execution: Execution, runs: int) -> None:
    """Go over to the queue's own orderings if an execution has not come to a good end, or after many."""
    if asyncio.grows(kernel.learned) and (execution.failure is not None or execution.status != "complete" or runs > MOST):
        kernel.learned.learn(asyncio.StepsCannotGrow())
