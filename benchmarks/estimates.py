"""How good the estimate of the remaining work is, on programs whose number of orderings is known.

    python -m benchmarks.estimates [NAME …]

For each program, with reduction and without: the estimate divided by the true number at 10, 25, 50 and 75 %, with its range; then the
typical error (the mean factor, up or down), the worst on either side, and how often the true number was in the range, over 50 evenly
spaced moments of each exploration.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import simharness
from benchmarks.store_workload import contenders
from simharness.engine.facts import Mark, until_settled
from simharness.runtimes import control
from simharness.search.estimate import Tree
from simharness.search.named import made
from simharness.settings import Settings
from simharness.simulation.simulation import Simulation
from tests import programs
from tests.programs import ROWS, Row, Stage

LARGER = [
    Row("readers", programs.readers, (11,), 2048),
    Row("lastzero", programs.lastzero, (8,), 704),
    Row("ainc", programs.ainc, (6,), 720),
    Row("casrot", programs.casrot, (7,), 523),
    Row("casw", programs.casw, (4,), 1200),
    Row("wcas", programs.wcas, (7,), 449),
    Row("lockinc", programs.lockinc, (6,), 720),
    Row("fib_bench", programs.fibonacci, (3,), 1698),
    Row("inc", programs.inc, (4,), 576),
    Row("binc", programs.binc, (4,), 576),
    Row("cinc", programs.cinc, (3,), 216),
    Row("indexer", programs.indexer, (14,), 512),
]
FEWEST, MOST = 100, 10_000
PARTS = (0.1, 0.25, 0.5, 0.75)
MOMENTS = 50
Totals = tuple[float, float, float]


def estimates(program: Any, strategy: str) -> list[Totals | None]:
    """Explore a program to the end; return the estimate after each execution."""
    with Simulation(simharness.Scenario(program, allow_deadlock=True), {}, Settings()) as simulation:

        def whole_round(_: Mark) -> list[Totals | None]:
            totals: list[Totals | None] = []
            keys: Sequence[int] = ()
            tree, search = Tree(), made(strategy, simulation.kernel, simulation.settings)
            while (plan := search.begin()) is not None:
                if totals:
                    tree.branch(len(plan) - 1, keys)
                    totals[-1] = tree.totals(search.pending() or (), search.grows)
                keys = simulation.execute(plan, search.choose, search.expected()).keys
                search.end()
                totals.append(None)
            return totals

        return until_settled(simulation.kernel.learned, whole_round)


def factor(errors: Sequence[float]) -> str:
    """Return the mean factor by which estimates are off, and the worst low and high."""
    if not errors:
        return "-"
    return f"x{math.exp(sum(map(abs, errors)) / len(errors)):.2f} ({math.exp(min(errors)):.2f} to {math.exp(max(errors)):.2f})"


class Space(NamedTuple):
    """A program, its strategy, and the known number of executions."""

    name: str
    program: Callable[[simharness.World], Any]
    strategy: str
    known: int


def space(row: Row, strategy: str, known: int) -> Space:
    return Space(str(row), lambda world: row.program(Stage(world), *row.arguments), strategy, known)


def measure(spaces: Sequence[Space]) -> None:
    """Print a table of these programs, and a summary."""
    print(f"{'program':22} {'strategy':10} {'known':>6}  " + "".join(f"{f'at {part:.0%}':>21}" for part in PARTS))
    errors: dict[float, list[float]] = {part: [] for part in PARTS}
    inside: list[bool] = []
    for name, program, strategy, known in spaces:
        after = estimates(program, strategy)
        assert len(after) == known, f"{name}: {len(after)} executions, not {known}"
        cells = []
        for part in PARTS:
            totals = after[round(part * known) - 1]
            if totals is None:
                cells.append("-")
                continue
            low, best, high = (total / known for total in totals)
            errors[part].append(math.log(best))
            cells.append(f"{best:.2f} ({low:.2f}–{high:.2f})")
        for moment in range(1, MOMENTS):
            totals = after[moment * known // MOMENTS - 1]
            if totals is not None:
                inside.append(totals[0] <= known <= totals[2])
        print(f"{name:22} {strategy:10} {known:6,}  " + "".join(f"{cell:>21}" for cell in cells))
    print("off by, mean (worst): " + "; ".join(f"at {part:.0%} {factor(errors[part])}" for part in PARTS))
    print(f"the true number was in the range at {sum(inside) / len(inside):.0%} of {len(inside):,} moments")


def main(names: list[str]) -> None:
    known = [(row, row.complete + row.deadlocked + row.blocked) for row in [*ROWS, *LARGER]]
    reduced = [space(row, "dpor", number) for row, number in known if FEWEST <= number <= MOST]
    store = [Space(f"store, {count} contenders", contenders(count, "inside"), "dpor", number) for count, number in ((3, 102), (4, 1200))]
    whole = [
        space(row, "exhaustive", row.interleavings)
        for row in ROWS
        if row.interleavings and not row.blocked and FEWEST <= row.interleavings <= MOST
    ]
    for group in (reduced, store, whole):
        picked = [entry for entry in group if not names or entry.name.partition("(")[0] in names]
        if picked:
            measure(picked)


if __name__ == "__main__":
    with control.installed():
        main(sys.argv[1:])
