"""The contenders under simharness, as threads."""

from __future__ import annotations

import sys
from typing import Any

from common import Contest, answering

import simharness
from simharness.runtimes import control


def main(count: int, _: float) -> None:
    orders: set[Any] = set()

    def contenders(world: simharness.World) -> None:
        contest = Contest()
        for number in range(count):
            world.actor(f"contender_{number}", contest.contend, number)

        @world.at_end
        def one_child() -> None:
            orders.add(contest.order)
            assert contest.one_child()

    with control.installed(), answering(count) as answer:
        result = simharness.explore(contenders)
        answer.update(executions=result.executions, orders=orders, verdict=str(result.verdict))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
