"""The contenders under detangle, ported to coroutines, depth first."""

from __future__ import annotations

import asyncio
import sys

import detangle
from common import Contest, answering


def main(count: int, seconds: float) -> None:
    orders = set()

    async def contest() -> None:
        world = Contest()
        await asyncio.gather(*(world.contend_async(number, lambda: asyncio.sleep(0)) for number in range(count)))
        orders.add(world.order)
        assert world.one_child()

    with answering(count) as answer:
        verdict, stats = "holds", None
        try:
            stats = detangle.explore(contest, runs=1_000_000, strategy=detangle.DFS(max_delays=1_000), max_duration=seconds, database=False)
        except detangle.BugFound:
            verdict = "fails"
        exhausted = stats is not None and stats.exhausted
        answer.update(
            executions=stats.runs if stats else None, orders=orders, verdict=verdict if exhausted or verdict == "fails" else "not ended"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
