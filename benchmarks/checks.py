"""What checks of classes take: planted bugs, until the first failing program is known, and the pairs of the reference session store.

    python benchmarks/checks.py [pairs]

Seconds are processor time.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from simharness.check.checking import Checker
from simharness.check.declared import how_of, target_of
from simharness.check.results import Stage
from simharness.settings import Settings
from tests.checked_classes import PLANTED


class Found(Exception):
    """A failing program is known."""


def seconds() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def first_failure(cls: type) -> tuple[str, float, int]:
    target = target_of(cls)

    def look(stage: Stage) -> None:
        if checker.failures:
            raise Found

    checker = Checker(target, how_of(target, Settings(confirm=False)), look)
    began = seconds()
    try:
        checker.run()
    except Found:
        failure = checker.failures[0]
        return f"{failure.program}: {failure.violates}", seconds() - began, sum(one.executions for one in checker.examined)
    return "nothing", seconds() - began, 0


def planted() -> int:
    missed = 0
    for cls, _ in PLANTED:
        said, took, orderings = first_failure(cls)
        missed += said == "nothing"
        print(f"{cls.__name__:14} {took:6.2f} s {orderings:6} orderings  {said}", flush=True)
    return missed


def pairs() -> int:
    target = target_of("hermes_state.store:SessionDB(path())", (), {"threads": 2, "calls": 1, "workers": 2, "max_seconds": 600})
    began = seconds()
    checked = Checker(target, how_of(target)).run()
    done = [f"{stage}: {stage.done} of {stage.total} programs" for stage in checked.stages]
    print(f"{len(target.operations)} methods; {'; '.join(done)}; {checked.executions} orderings, {seconds() - began:.1f} s")
    for failure in checked.failures:
        print(f"    {failure.program}: {failure.violates}")
    return 0


if __name__ == "__main__":
    sys.exit(pairs() if "pairs" in sys.argv else planted())
