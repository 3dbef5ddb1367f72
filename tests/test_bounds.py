"""Bounds on preemptions and delays: what is verified within one is what every schedule within it does."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import simharness
from simharness import Settings, Verdict
from simharness.search.bounded import Bounded
from simharness.search.bounds import Bound, Within
from simharness.search.exhaustive import Exhaustive
from tests.orderings import counted
from tests.random_drawing import LOCKS, each
from tests.random_programs import CLOCKED, Program, TooMany, explored, runtimes_in_place

OTHERS = ("choose", "assume", "step", "wait_until")
COUNTED: dict[str, Any] = {"extra": (*LOCKS, *OTHERS)}
THREADS: dict[str, Any] = {"extra": OTHERS, "primitives": True, "threads": True}
CLOCKS_AND_THREADS: dict[str, Any] = {**THREADS, "clocks": True}
CLOCKS: dict[str, Any] = {"extra": LOCKS, "clocks": True}
DAEMONS: dict[str, Any] = {"extra": (*LOCKS, *OTHERS), "threads": True, "daemons": True}
BOUNDS = [Bound("preemptions", most) for most in (0, 1, 2)] + [Bound("delays", most) for most in (0, 1, 3)]


@pytest.fixture(scope="module", autouse=True)
def threads_are_simulated() -> Iterator[None]:
    with runtimes_in_place():
        yield


def check(bound: Bound, first: int, count: int, most: int, *kinds: dict[str, Any]) -> None:
    """Compare the search with every interleaving within the bound, and with none outside, on programs with at most so many."""

    def agrees(program: Program) -> bool:
        try:
            every = explored(program, lambda kernel: Within(Exhaustive(kernel), kernel, bound), most)
        except TooMany:
            return False
        searched = explored(program, lambda kernel: Bounded(kernel, bound), 4 * most)
        assert searched.outcomes == every.outcomes, program
        assert searched.states == every.states, program
        if not program.uses(CLOCKED) and program.timescale is None:
            assert counted(program, searched).keys() == counted(program, every).keys(), program
        return True

    each(agrees, first, count, *kinds)


@pytest.mark.parametrize("bound", BOUNDS, ids=str)
def test_a_bounded_search_has_the_orderings_of_every_schedule_within_the_bound(bound: Bound) -> None:
    check(bound, 0, 30, 300, COUNTED)


@pytest.mark.parametrize("bound", BOUNDS, ids=str)
def test_a_bounded_search_has_the_outcomes_of_every_schedule_within_the_bound(bound: Bound) -> None:
    check(bound, 0, 15, 300, THREADS, CLOCKS_AND_THREADS)


@pytest.mark.parametrize("bound", BOUNDS, ids=str)
def test_a_bounded_search_has_the_outcomes_of_clocks_within_the_bound(bound: Bound) -> None:
    check(bound, 0, 15, 300, CLOCKS)


@pytest.mark.parametrize("bound", [Bound("preemptions", 1), Bound("delays", 2)], ids=str)
def test_a_bounded_search_has_the_orderings_of_daemons_within_the_bound(bound: Bound) -> None:
    check(bound, 0, 15, 300, DAEMONS)


@pytest.mark.long
@pytest.mark.parametrize("bound", BOUNDS, ids=str)
def test_a_bounded_search_has_the_orderings_of_hundreds_of_programs(bound: Bound) -> None:
    check(bound, 10_000, 100, 1_500, COUNTED)


@pytest.mark.long
@pytest.mark.parametrize("bound", BOUNDS, ids=str)
def test_a_bounded_search_has_the_outcomes_of_hundreds_of_programs_with_clocks_and_threads(bound: Bound) -> None:
    check(bound, 10_000, 50, 1_500, THREADS, CLOCKS_AND_THREADS)


@pytest.mark.long
@pytest.mark.parametrize("bound", BOUNDS, ids=str)
def test_a_bounded_search_has_the_orderings_of_hundreds_of_programs_with_daemons(bound: Bound) -> None:
    check(bound, 10_000, 25, 1_500, DAEMONS)


# Through the public door


def bumps(*names, times=1):
    """A scenario: so many actors bump a counter, not atomically."""

    def counts(world):
        counter = world.shared(0, "counter")

        def bump():
            for _ in range(times):
                counter.set(counter.get() + 1)

        for name in names:
            world.actor(name, bump)

        @world.at_end
        def something_was_counted():
            world.outcome(counter.get())
            assert counter.get() > 0

    return counts


def in_turn(count):
    """A scenario that fails when each of so many additions is seen by its own read: for which either is preempted count - 1 times."""

    def hides(world):
        turn = world.shared(0, "turn")

        def one():
            for _ in range(count):
                turn.add(1)

        def other():
            seen = [turn.get() for _ in range(count)]
            assert seen != list(range(1, count + 1)), "seen one by one"

        world.actor("one", one)
        world.actor("other", other)

    return hides


@pytest.mark.parametrize("kind", ["preemptions", "delays"])
def test_a_bug_is_found_from_its_number_of_preemptions_or_delays_on_and_missed_below(kind):
    for most in range(6):
        for strategy in ("dpor", "exhaustive"):
            result = simharness.explore(in_turn(3), strategy, settings=Settings(**{kind: most}))
            assert result.verdict is (Verdict.VIOLATED if most >= 4 else Verdict.VERIFIED), (most, strategy)


def test_the_first_violation_of_a_bounded_search_has_the_fewest_preemptions():
    within = simharness.explore(in_turn(2), settings=Settings(preemptions=7))
    assert within.verdict is Verdict.VIOLATED
    assert "2 interrupt an actor that could continue" in within.counterexample.shortness
    assert within.executions < simharness.explore(in_turn(2), stop_on_first=False).executions


def test_within_no_preemption_each_order_of_whole_actors_is_run():
    result = simharness.explore(bumps("a", "b", "c", times=3), settings=Settings(preemptions=0))
    assert (result.verdict, result.executions) == (Verdict.VERIFIED, math.factorial(3))
    assert result.outcomes == {9}
    assert "all 6 orderings; only schedules with at most 0 preemptions: what needs more was not run" in result.bounds


def test_within_no_delay_there_is_one_schedule():
    result = simharness.explore(bumps("a", "b", "c", times=3), settings=Settings(delays=0))
    assert (result.verdict, result.executions) == (Verdict.VERIFIED, 1)


@pytest.mark.parametrize("kind", ["preemptions", "delays"])
def test_a_bound_that_leaves_nothing_out_says_so_and_covers_every_ordering(kind):
    scenario = bumps("a", "b", times=2)
    plain = simharness.explore(scenario)
    bounded = simharness.explore(scenario, settings=Settings(**{kind: 9}))
    assert (bounded.verdict, bounded.outcomes) == (Verdict.VERIFIED, plain.outcomes)
    assert f"all {plain.executions} orderings; at most 9 {kind} reach everything" in bounded.bounds
    assert "what needs more was not run" in simharness.explore(scenario, settings=Settings(**{kind: 1})).bounds


def test_a_bound_makes_an_exploration_that_is_out_of_reach_small():
    scenario = bumps(*"abcd", times=4)
    settings = Settings(preemptions=1)
    result = simharness.explore(scenario, settings=settings)
    assert result.verdict is Verdict.VERIFIED
    assert result.executions + result.redundant < 3_000
    assert min(result.outcomes) < 16


def test_a_bounded_search_that_a_limit_ends_is_inconclusive():
    result = simharness.explore(bumps("a", "b", times=4), settings=Settings(preemptions=2, max_executions=5))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "stopped at max_executions=5" in result.bounds
    assert "only schedules with at most 2 preemptions" in result.bounds


def test_deadlocks_and_always_checks_are_found_within_a_bound():
    def two_locks(world):
        one, other = threading.Lock(), threading.Lock()

        def take(first, second):
            with first, second:
                pass

        world.actor("a", take, one, other)
        world.actor("b", take, other, one)

    def states(world):
        x, y = world.shared(0, "x"), world.shared(0, "y")
        world.actor("a", lambda: (x.set(1), x.set(0)))
        world.actor("b", lambda: (y.set(1), y.set(0)))

        @world.always
        def never_both():
            assert not (x.get() and y.get())

    for scenario in (two_locks, states):
        verdicts = [simharness.explore(scenario, settings=Settings(preemptions=most)).verdict for most in (0, 1)]
        assert verdicts == [Verdict.VERIFIED, Verdict.VIOLATED]


@pytest.mark.parametrize("strategy", ["dpor", "exhaustive"])
def test_when_the_clock_moves_the_running_actor_is_still_the_one_that_a_switch_interrupts(strategy):
    def wakes_up(world):
        cell = world.shared(0, "cell")

        def sleeper():
            world.clock.sleep(0.5)
            cell.set(1)

        world.actor("reader", lambda: world.outcome((cell.get(), cell.get())))
        world.actor("sleeper", sleeper)

    found = [simharness.explore(wakes_up, strategy, settings=Settings(preemptions=most)).outcomes for most in (0, 1)]
    assert found == [{(0, 0), (1, 1)}, {(0, 0), (0, 1), (1, 1)}]


@pytest.mark.parametrize(
    ("strategy", "options", "words"),
    [
        ("dpor", {"preemptions": 1, "delays": 1}, "preemptions and delays cannot be combined"),
        ("dpor", {"preemptions": -1}, "preemptions=-1: must be at least 0"),
        ("exhaustive", {"delays": -2}, "delays=-2: must be at least 0"),
        ("pct", {"preemptions": 1}, "a sampler takes no bound"),
        ("pct", {"depth": 0}, "depth=0"),
    ],
)
def test_bounds_that_make_no_sense_are_misuse(strategy, options, words):
    with pytest.raises(simharness.Misuse, match=words):
        simharness.explore(bumps("a", "b"), strategy, settings=Settings(**options))
