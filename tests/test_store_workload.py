"""The store workload: every ordering of its contenders is explored, and the two wrong variants are caught."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import simharness
from benchmarks.store_workload import ORDERINGS, contenders
from simharness import Verdict
from simharness.runtimes import control


@pytest.fixture(scope="module", autouse=True)
def runtimes_are_installed() -> Iterator[None]:
    with control.installed():
        yield


@pytest.mark.parametrize(("count", "orderings"), ORDERINGS.items())
def test_contenders_that_check_inside_the_lease_have_one_child_in_every_ordering(count: int, orderings: int) -> None:
    result = simharness.explore(contenders(count, "inside"))
    assert result.verdict is Verdict.VERIFIED
    assert (result.executions, result.redundant, result.deadlocks) == (orderings, 0, 0)
    assert result.outcomes == {1}


@pytest.mark.parametrize("check", [None, "early"])
def test_contenders_that_check_too_early_or_never_fork_the_session(check: str | None) -> None:
    result = simharness.explore(contenders(2, check))
    assert result.verdict is Verdict.VIOLATED
    assert result.counterexample is not None


def test_two_contenders_that_never_check_fork_in_two_of_eight_orderings() -> None:
    result = simharness.explore(contenders(2, None), stop_on_first=False)
    assert result.executions == 8
    assert result.outcomes == {1, 2}


def test_contenders_that_check_early_are_right_when_they_run_one_after_the_other() -> None:
    store_outcomes = simharness.explore(contenders(1, "early")).outcomes
    assert store_outcomes == {1}
