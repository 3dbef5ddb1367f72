"""A hundred of a hundred replays are identical, for every counterexample of the scenarios and of the planted bugs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import simharness
from simharness import Verdict
from simharness.authoring.loading import load
from simharness.runtimes.control import installed
from tests import portable, test_planted_bugs
from tests.replays import MANY, assert_identical

SCENARIOS = [
    pytest.param(scenario, case, id="-".join([scenario.name, *map(str, case.values())]))
    for file in sorted((Path(__file__).parent.parent / "scenarios").glob("*.py"))
    for scenario in (load(str(file)) if "@simharness.scenario" in file.read_text(encoding="utf-8") else ())
    for case in scenario.cases()
    if scenario.expected(case) == "violated"
]


@pytest.fixture(scope="module", autouse=True)
def _runtimes_in_place() -> Iterator[None]:
    with installed():
        yield


def violated(scenario, case=None):
    result = simharness.explore(scenario, parameters=case, settings=simharness.Settings(confirm=False))
    assert result.verdict is Verdict.VIOLATED
    return result.counterexample


@pytest.mark.parametrize("program", [*portable.PORTABLE, *portable.VERSIONED])
def test_a_counterexample_replays_identically(program):
    assert_identical(program, violated(program))


@pytest.mark.long
@pytest.mark.parametrize(("scenario", "case"), SCENARIOS[::3])
def test_the_counterexample_of_a_cell_replays_identically_a_hundred_times(scenario, case):
    assert_identical(scenario, violated(scenario, case), MANY)


@pytest.mark.long
@pytest.mark.parametrize("program", test_planted_bugs.CLASSICS)
def test_the_counterexample_of_a_classic_mistake_replays_identically_a_hundred_times(program):
    def scenario(world):
        program(world, safe=False)

    assert_identical(scenario, violated(scenario), MANY)


@pytest.mark.long
@pytest.mark.parametrize("name", list(test_planted_bugs.PLANTED))
def test_the_counterexample_of_a_bug_planted_in_the_store_replays_identically_a_hundred_times(name, monkeypatch):
    with monkeypatch.context() as patch:
        scenario = test_planted_bugs.pair(name, lambda incident: test_planted_bugs.PLANTED[name](patch, incident))
        assert_identical(scenario, violated(scenario), MANY)
