"""Explores every known program; prints the number of executions beside the known number of orderings.

    python -m benchmarks.counts [NAME …]

The exit status is 1 if a number is off. With names, only those programs are explored.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import simharness
from simharness.runtimes import control
from tests.programs import ROWS, Row


def explored(row: Row) -> simharness.Result:
    """Explore a program by optimal reduction, to the end."""

    def program(world: simharness.World) -> None:
        row.scenario(world)

    return simharness.explore(simharness.Scenario(program, allow_deadlock=True), "dpor", stop_on_first=False)


def is_right(row: Row, result: simharness.Result) -> bool:
    """Whether each ordering was run once. A wait that never ends is blocked in the known numbers, and a deadlock in results."""
    complete = result.executions - result.deadlocks
    stuck = result.deadlocks + result.blocked
    exact = row.blocked > 0 or result.deadlocks == row.deadlocked
    return complete == row.complete and stuck == row.deadlocked + row.blocked and exact and result.redundant == 0


def main(names: list[str]) -> int:
    print(f"{'program':28} {'orderings':>9} {'executions':>10} {'redundant':>9} {'per second':>10}")
    off = total = 0
    began = time.perf_counter()
    for row in ROWS:
        if names and row.name not in names:
            continue
        start = time.perf_counter()
        result = explored(row)
        seconds = time.perf_counter() - start
        known = row.complete + row.deadlocked + row.blocked
        runs = result.executions + result.blocked
        total += runs
        right = is_right(row, result)
        off += not right
        mark = "" if right else "  <- off"
        print(f"{row!s:28} {known:9,} {runs:10,} {result.redundant:9,} {runs / seconds:10,.0f}{mark}")
    seconds = time.perf_counter() - began
    print(f"{total:,} executions in {seconds:.1f} s; {'every number is right' if not off else f'{off} numbers are off'}")
    return 1 if off else 0


if __name__ == "__main__":
    with control.installed():
        sys.exit(main(sys.argv[1:]))
