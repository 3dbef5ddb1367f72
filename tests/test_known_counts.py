"""Every known program is explored with exactly the known number of executions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import simharness
from simharness import Result, Scenario, Verdict
from simharness.runtimes import control
from tests.programs import ROWS, Row

COUNTABLE = 5_000


@pytest.fixture(scope="module", autouse=True)
def threads_are_simulated() -> Iterator[None]:
    with control.installed():
        yield


def explored(row: Row, strategy: str) -> Result:
    def program(world: simharness.World) -> None:
        row.scenario(world)

    return simharness.explore(Scenario(program, allow_deadlock=True), strategy=strategy, stop_on_first=False)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_reduction_runs_each_ordering_of_a_known_program_exactly_once(row: Row) -> None:
    result = explored(row, "dpor")
    assert result.redundant == 0
    assert result.error is None
    if row.blocked:
        assert result.executions - result.deadlocks == row.complete
        assert result.deadlocks + result.blocked == row.blocked
    else:
        assert (result.executions, result.deadlocks, result.blocked) == (row.complete + row.deadlocked, row.deadlocked, 0)
        assert result.verdict is Verdict.VERIFIED or not row.complete


@pytest.mark.parametrize("row", [row for row in ROWS if row.interleavings and row.interleavings <= COUNTABLE], ids=str)
def test_every_interleaving_of_a_known_program_is_run_and_reaches_the_final_states_of_the_reduced_ones(row: Row) -> None:
    every = explored(row, "exhaustive")
    reduced = explored(row, "dpor")
    assert every.outcomes == reduced.outcomes
    if not row.blocked:
        assert every.executions == row.interleavings


def test_the_table_has_all_rows_and_all_programs() -> None:
    assert len(ROWS) == 82
    assert len({row.name for row in ROWS}) == 38
    assert len({str(row) for row in ROWS}) == 82
