"""What instrumentation costs: an access to an attribute, an item or a variable, in plain and in rewritten code.

Per access, the best of five: plain code; rewritten code outside a simulation; in a simulation, touched by one actor alone;
in a simulation, shared and only read; and a scheduling point, shared and written (the whole exploration, its executions divided
by their points).

    python benchmarks/memory_points.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import simharness
from simharness.engine.clock import processor_seconds
from simharness.instrument.loader import compiled
from simharness.runtimes import control

TIMES = 20_000
SOURCE = """
class Box:
    def __init__(self):
        self.n = 0

def attribute(box, table, times):
    for _ in range(times):
        box.n

def item(box, table, times):
    for _ in range(times):
        table["k"]

def write(box, table, times):
    for _ in range(times):
        box.n = 1

def points(world):
    box = Box()

    def work():
        for _ in range(4):
            box.n += 1

    world.actor("a", work)
    world.actor("b", work)
"""


def timed(work: Any, *arguments: Any) -> float:
    """Return nanoseconds per access, the best of five."""
    best = float("inf")
    for _ in range(5):
        began = processor_seconds()
        work(*arguments, TIMES)
        best = min(best, processor_seconds() - began)
    return best / TIMES * 1e9


def in_simulation(space: dict[str, Any], work: Any, readers: int) -> float:
    """Return nanoseconds per access of an actor in a simulation, after `readers` others have read the same."""
    figures: list[float] = []

    def scenario(world: simharness.World) -> None:
        box, table = space["Box"](), {"k": 0}

        def measure() -> None:
            figures.append(timed(work, box, table))

        for number in range(readers):
            world.actor(f"reader {number}", work, box, table, 1)
        world.actor("measured", measure)
        world.actor("last", lambda: world.step("end"))

    simharness.explore(scenario, "dpor", settings=simharness.Settings(shrink=0))
    return min(figures)


def main() -> None:
    """Print the table."""
    plain: dict[str, Any] = {"__name__": "plain"}
    exec(compile(SOURCE, "points.py", "exec"), plain)
    rewritten: dict[str, Any] = {"__name__": "rewritten"}
    exec(compiled(SOURCE, "points.py"), rewritten)
    table: dict[str, int] = {"k": 0}
    with control.installed():
        print(f"{'ns per access':24}{'plain':>8}{'outside':>9}{'one actor':>11}{'only read':>11}")
        for name in ("attribute", "item", "write"):
            figures = [timed(space[name], space["Box"](), table) for space in (plain, rewritten)]
            figures.append(in_simulation(rewritten, rewritten[name], 0))
            columns = "".join(f"{figure:>{width}.0f}" for figure, width in zip(figures, (8, 9, 11), strict=True))
            read = f"{in_simulation(rewritten, rewritten[name], 2):>11.0f}" if name != "write" else f"{'':>11}"
            print(f"{name:24}{columns}{read}")
        began = processor_seconds()
        result = simharness.explore(rewritten["points"], "dpor", settings=simharness.Settings(max_executions=2_000))
        seconds = processor_seconds() - began
        print(f"a point, shared and written: {seconds / (result.executions * 16) * 1e6:.1f} µs, with its share of an execution")


if __name__ == "__main__":
    main()
