"""On random programs with deadlines the reduction, in which late advances of the clock conflict with little, loses no outcome."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from simharness.search.dpor import Dpor
from simharness.search.exhaustive import Exhaustive
from tests.random_drawing import each
from tests.random_drawing import program as drawn
from tests.random_programs import CLOCKED, Program, TooMany, explored, runtimes_in_place

WAITING = ("choose", "wait_until")
KINDS: tuple[dict[str, Any], ...] = (
    {"extra": WAITING, "primitives": True, "clocks": True},
    {"extra": WAITING, "primitives": True, "clocks": True, "threads": True},
    {"extra": (*WAITING, "lock", "unlock"), "primitives": True, "clocks": True, "threads": True, "daemons": True},
)


@pytest.fixture(scope="module", autouse=True)
def threads_are_simulated() -> Iterator[None]:
    with runtimes_in_place():
        yield


def same(program: Program, most: int) -> bool:
    """Compare the outcomes with those of every interleaving; return False if there are more, or if no deadline is a matter of lateness."""
    if not program.uses(CLOCKED) or program.timescale is not None:
        return False
    try:
        every = explored(program, Exhaustive, most)
    except TooMany:
        return False
    reduced = explored(program, Dpor, 4 * most)
    assert reduced.outcomes == every.outcomes, program
    assert reduced.states == every.states, program
    return True


def test_random_programs_with_deadlines_have_the_outcomes_of_every_interleaving() -> None:
    each(lambda program: same(program, 150), 40_000, 75, *KINDS)


@pytest.mark.long
def test_many_random_programs_with_deadlines_have_the_outcomes_of_every_interleaving() -> None:
    each(lambda program: same(program, 400), 50_000, 750, *KINDS)


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(18, id="a step races with one after a free advance"),
        pytest.param(82, id="two steps race with one after a free advance"),
        pytest.param(1023, id="free advances are late in a reversal, and too late together"),
    ],
)
def test_no_outcome_is_lost_where_an_advance_is_free_in_one_order_and_late_in_the_other(seed: int) -> None:
    assert same(drawn(seed, **KINDS[0]), 600)
