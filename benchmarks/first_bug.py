"""Executions to the first bug, for each strategy: python benchmarks/first_bug.py [--seeds N] [--most N] [PROGRAM …]

The programs are the shapes on which schedule fuzzers are compared (`sctbench.py`), and the bugs that the project's tests plant. A number is
the mean over the seeds that find the bug within `--most` executions, samples included; how many do follows where some seeds do not. Beside
them are the published means of other tools, for the programs in C.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import simharness
from benchmarks import sctbench
from simharness import Settings, Verdict, World
from simharness.runtimes import control
from tests.test_planted_bugs import CLASSICS

STRATEGIES = ("auto", "dpor", "surw", "pos", "pct", "random")
SEEDLESS = ("dpor",)
PUBLISHED = {
    "reorder_10": "POS: none of 20; PCT, depth 3: 2,356; PERIOD: 27; RFF: 5.8",
    "twostage_20": "the best: 22",
}


def programs() -> dict[str, Callable[[World], None]]:
    """Return the programs by name."""
    planted = {f"planted: {program.__name__}": partial(program, safe=False) for program in CLASSICS}
    return {**sctbench.PROGRAMS, **planted}


def executions(program: Callable[[World], None], strategy: str, seed: int, most: int) -> int | None:
    """Return how many executions a seed needs, or None."""

    def scenario(world: World) -> None:
        program(world)

    settings = Settings(max_executions=most, seed=seed, shrink=0, confirm=False)
    result = simharness.explore(scenario, strategy, settings=settings)
    runs = result.executions + result.redundant + result.blocked + result.sampled
    return runs if result.verdict is Verdict.VIOLATED and runs <= most else None


def cell(program: Callable[[World], None], strategy: str, seeds: int, most: int) -> str:
    """Return the mean in words."""
    tried = [executions(program, strategy, seed, most) for seed in range(1 if strategy in SEEDLESS else seeds)]
    found = [count for count in tried if count is not None]
    if not found:
        return "none"
    mean = f"{statistics.mean(found):.0f}" if statistics.mean(found) >= 10 else f"{statistics.mean(found):.1f}".removesuffix(".0")
    return mean if len(found) == len(tried) else f"{mean} ({len(found)} of {len(tried)})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="part of a program's name; default: all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--most", type=int, default=500)
    options = parser.parse_args(arguments)
    print(f"| program | {' | '.join(STRATEGIES)} | published |\n|---|{'---|' * len(STRATEGIES)}---|")
    with control.installed():
        for name, program in programs().items():
            if not options.names or any(part in name for part in options.names):
                cells = [cell(program, strategy, options.seeds, options.most) for strategy in STRATEGIES]
                print(f"| {name} | {' | '.join(cells)} | {PUBLISHED.get(name, '')} |", flush=True)


if __name__ == "__main__":
    main()
