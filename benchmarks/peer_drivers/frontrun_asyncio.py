"""The contenders under frontrun, ported to coroutines."""

from __future__ import annotations

import asyncio
import sys

import frontrun
from common import Contest, answering


async def main(count: int, seconds: float) -> None:
    orders = set()

    def holds(contest: Contest) -> bool:
        orders.add(contest.order)
        return contest.one_child()

    def worker(number: int):
        async def run(contest: Contest) -> None:
            await contest.contend_async(number, lambda: asyncio.sleep(0))

        return run

    with answering(count) as answer:
        result = await frontrun.explore(
            setup=Contest,
            workers=[worker(number) for number in range(count)],
            invariant=holds,
            preemption_bound=None,
            total_timeout=seconds,
            clock="virtual",
        )
        verdict = {True: "holds", False: "fails", None: "inconclusive"}[result.property_holds]
        answer.update(executions=result.num_explored, orders=orders, verdict=verdict)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
