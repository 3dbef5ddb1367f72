"""What the safeguards of an exploration cost: interrupts that wait, turns of threads, the watch over C code, the collection at the end.

Each part is timed by itself, as the least of many repetitions, and compared with a whole exploration of two contenders of
`store_workload`, which has 10 orderings. Longer explorations pay the same once. What each execution pays is the last row.

    python benchmarks/safeguards.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.overhead import Explored
from simharness.engine.clock import processor_seconds
from simharness.engine.interrupts import INTERRUPTS
from simharness.runtimes import control
from simharness.simulation.held import HELD
from simharness.simulation.simulation import Simulation
from simharness.simulation.turns import TURNS


def least(call: Callable[[], object], repetitions: int) -> float:
    """Return the least processor time of a call, in microseconds."""
    best = float("inf")
    for _ in range(repetitions):
        began = processor_seconds()
        call()
        best = min(best, processor_seconds() - began)
    return best * 1e6


def block(made: Callable[[], AbstractContextManager[object]]) -> Callable[[], None]:
    def run() -> None:
        with made():
            pass

    return run


def watch() -> None:
    HELD.watch(10.0)
    HELD.end()


def explored() -> None:
    Explored(2, False, processor_seconds).explore(1)


def collection(pairs: int) -> float:
    """Return what the collection at the end of an exploration costs: the median of the differences of pairs, in microseconds."""
    genuine, differences = Simulation._collect_last, []
    for _ in range(pairs):
        with_it = least(explored, 3)
        Simulation._collect_last = lambda self: None
        try:
            differences.append(with_it - least(explored, 3))
        finally:
            Simulation._collect_last = genuine
    return sorted(differences)[pairs // 2]


def main() -> None:
    """Print a row for each part."""
    parts = {
        "handlers of signals, taken and given back": least(block(INTERRUPTS.held), 300),
        "turns of threads": least(block(lambda: TURNS.taken("x", 10)), 300),
        "watch over C code": least(watch, 300),
    }
    with INTERRUPTS.held():
        parts["blocks in which interrupts wait, three"] = 3 * least(block(lambda: INTERRUPTS.held(closed=True)), 300)
    with control.installed():
        whole = least(explored, 60)
        parts["collection at the end"] = collection(20)
    for name, cost in parts.items():
        print(f"{name:42} {cost:8.1f} µs  {cost / whole:6.2%}")
    print(f"{'together, of an exploration':42} {sum(parts.values()):8.1f} µs  {sum(parts.values()) / whole:6.2%} of {whole:,.0f} µs")
    print(
        f"{'checks for interrupts, in each execution':42} {3 * least(lambda: [INTERRUPTS.check() for _ in range(100)], 300) / 100:8.2f} µs"
    )


if __name__ == "__main__":
    main()
