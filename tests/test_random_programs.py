"""On random small programs the reduction gives what every interleaving gives, and runs each ordering once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, assume, given, settings

from simharness.strategies.dpor import Dpor
from simharness.strategies.exhaustive import Exhaustive
from tests.random_programs import (
    CLOCKED,
    LOCKS,
    SIGNALS,
    UNCOUNTED,
    Explored,
    Program,
    TooMany,
    explored,
    programs,
    runtimes_in_place,
)

PLAIN = (*LOCKS, "choose", "assume", "step")
WAITING = (*PLAIN, "wait_until")
TIMED = (*WAITING, *sorted(CLOCKED), *sorted(CLOCKED))
MOST = 1_500


@pytest.fixture(scope="module", autouse=True)
def threads_are_simulated() -> Iterator[None]:
    with runtimes_in_place():
        yield


def both(program: Program) -> tuple[Explored, Explored]:
    """Explore a program without and with reduction; reject it if it is too large."""
    try:
        every = explored(program, Exhaustive, MOST)
    except TooMany:
        assume(False)
        raise
    return every, explored(program, Dpor, 4 * MOST)


def check(program: Program) -> None:
    """Compare the reduction with every interleaving."""
    every, reduced = both(program)
    assert reduced.outcomes == every.outcomes
    assert not program.always or reduced.states == every.states
    if program.uses(UNCOUNTED) or program.timescale is not None:
        return
    assert reduced.orderings.keys() == every.orderings.keys()
    assert reduced.executions == len(every.orderings)
    assert program.daemons or reduced.redundant == 0


def few(count: int) -> settings:
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@few(40)
@given(programs(PLAIN))
def test_each_ordering_of_a_random_program_is_run_exactly_once(program: Program) -> None:
    check(program)


@few(20)
@given(programs(WAITING))
def test_each_ordering_of_a_random_program_that_waits_for_cells_is_run_exactly_once(program: Program) -> None:
    check(program)


@few(15)
@given(programs(WAITING, threads=True))
def test_each_ordering_of_a_random_program_that_starts_and_joins_threads_is_run_exactly_once(program: Program) -> None:
    check(program)


@few(10)
@given(programs(PLAIN, threads=True, daemons=True))
def test_a_random_program_with_a_daemon_has_the_same_orderings_with_and_without_reduction(program: Program) -> None:
    check(program)


@few(15)
@given(programs(TIMED))
def test_a_random_program_with_a_clock_has_the_same_outcomes_with_and_without_reduction(program: Program) -> None:
    check(program)


@few(15)
@given(programs((*PLAIN, *SIGNALS, *SIGNALS)))
def test_a_random_program_with_events_and_conditions_has_the_same_outcomes_with_and_without_reduction(program: Program) -> None:
    check(program)


@pytest.mark.long
@few(1_000)
@given(programs(WAITING))
def test_each_ordering_of_a_thousand_random_programs_is_run_exactly_once(program: Program) -> None:
    check(program)


@pytest.mark.long
@few(400)
@given(programs((*WAITING, *SIGNALS), threads=True))
def test_hundreds_of_random_programs_with_threads_have_the_same_outcomes_with_and_without_reduction(program: Program) -> None:
    check(program)


@pytest.mark.long
@few(200)
@given(programs(PLAIN, threads=True, daemons=True))
def test_hundreds_of_random_programs_with_daemons_have_the_same_orderings_with_and_without_reduction(program: Program) -> None:
    check(program)


@pytest.mark.long
@few(400)
@given(programs(TIMED))
def test_hundreds_of_random_programs_with_clocks_have_the_same_outcomes_with_and_without_reduction(program: Program) -> None:
    check(program)
