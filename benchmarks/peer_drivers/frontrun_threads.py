"""The contenders under frontrun, as threads, without a preemption bound; a third argument switches its I/O detection off."""

from __future__ import annotations

import sys
import time

import frontrun
from common import Contest, answering


def main(count: int, seconds: float, detect_io: bool) -> None:
    orders = set()

    def holds(contest: Contest) -> bool:
        orders.add(contest.order)
        return contest.one_child()

    def worker(number: int):
        return lambda contest: contest.contend(number)

    with answering(count) as answer:
        result = frontrun.explore(
            setup=lambda: Contest(tick=time.perf_counter_ns),
            workers=[worker(number) for number in range(count)],
            invariant=holds,
            preemption_bound=None,
            detect_io=detect_io,
            total_timeout=seconds,
            stop_on_first=True,
        )
        verdict = {True: "holds", False: "fails", None: "inconclusive"}[result.property_holds]
        answer.update(executions=result.num_explored, orders=orders, verdict=verdict)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), len(sys.argv) < 4)
