"""Bounds on preemptions and delays: what is verified within one is what every schedule within it does."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator

import pytest
from hypothesis import assume, given

import simharness
from simharness import Settings, Verdict
from simharness.strategies.bounded import Bounded
from simharness.strategies.bounds import Bound, Within
from simharness.strategies.exhaustive import Exhaustive
from tests.random_programs import (
    CLOCKED,
    LOCKS,
    SIGNALS,
    UNCOUNTED,
    Program,
    TooMany,
    explored,
    programs,
    runtimes_in_place,
)
from tests.test_random_programs import few

EVERYTHING = (*LOCKS, *SIGNALS, *sorted(CLOCKED), "choose", "assume", "step", "wait_until")
TIMED = (*LOCKS, *sorted(CLOCKED), *sorted(CLOCKED))
COUNTED = (*LOCKS, "choose", "assume", "step", "wait_until")
BOUNDS = [Bound("preemptions", most) for most in (0, 1, 2)] + [Bound("delays", most) for most in (0, 1, 3)]
MOST = 1_500


@pytest.fixture(scope="module", autouse=True)
def threads_are_simulated() -> Iterator[None]:
    with runtimes_in_place():
        yield


def check(program: Program, bound: Bound) -> None:
    """Compare the search with every interleaving within the bound, and with none outside."""
    try:
        every = explored(program, lambda kernel: Within(Exhaustive(kernel), kernel, bound), MOST)
    except TooMany:
        assume(False)
        raise
    searched = explored(program, lambda kernel: Bounded(kernel, bound), 4 * MOST)
    assert searched.outcomes == every.outcomes
    assert not program.always or searched.states == every.states
    if not program.uses(UNCOUNTED) and program.timescale is None:
        assert searched.orderings.keys() == every.orderings.keys()


@pytest.mark.parametrize("bound", BOUNDS, ids=str)
@few(25)
@given(programs(COUNTED))
def test_a_bounded_search_has_the_orderings_of_every_schedule_within_the_bound(bound: Bound, program: Program) -> None:
    check(program, bound)


@pytest.mark.parametrize("bound", BOUNDS, ids=str)
@few(15)
@given(programs(EVERYTHING, threads=True))
def test_a_bounded_search_has_the_outcomes_of_every_schedule_within_the_bound(bound: Bound, program: Program) -> None:
    check(program, bound)


@pytest.mark.parametrize("bound", BOUNDS, ids=str)
@few(15)
@given(programs(TIMED))
def test_a_bounded_search_has_the_outcomes_of_clocks_within_the_bound(bound: Bound, program: Program) -> None:
    check(program, bound)


@pytest.mark.parametrize("bound", [Bound("preemptions", 1), Bound("delays", 2)], ids=str)
@few(15)
@given(programs(COUNTED, threads=True, daemons=True))
def test_a_bounded_search_has_the_orderings_of_daemons_within_the_bound(bound: Bound, program: Program) -> None:
    check(program, bound)


@pytest.mark.long
@pytest.mark.parametrize("bound", BOUNDS, ids=str)
@few(200)
@given(programs(COUNTED))
def test_a_bounded_search_has_the_orderings_of_hundreds_of_programs(bound: Bound, program: Program) -> None:
    check(program, bound)


@pytest.mark.long
@pytest.mark.parametrize("bound", BOUNDS, ids=str)
@few(100)
@given(programs(EVERYTHING, threads=True))
def test_a_bounded_search_has_the_outcomes_of_hundreds_of_programs_with_clocks_and_threads(bound: Bound, program: Program) -> None:
    check(program, bound)


@pytest.mark.long
@pytest.mark.parametrize("bound", BOUNDS, ids=str)
@few(50)
@given(programs(COUNTED, threads=True, daemons=True))
def test_a_bounded_search_has_the_orderings_of_hundreds_of_programs_with_daemons(bound: Bound, program: Program) -> None:
    check(program, bound)


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
    assert "2 interrupt an actor that could go on" in within.counterexample.shortness
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
        ("dpor", {"preemptions": 1, "delays": 1}, "leave the other out"),
        ("dpor", {"preemptions": -1}, "preemptions=-1: a bound is 0 or more"),
        ("exhaustive", {"delays": -2}, "delays=-2: a bound is 0 or more"),
        ("pct", {"preemptions": 1}, "a sampler is not bounded"),
        ("pct", {"depth": 0}, "depth=0"),
    ],
)
def test_bounds_that_make_no_sense_are_misuse(strategy, options, words):
    with pytest.raises(simharness.Misuse, match=words):
        simharness.explore(bumps("a", "b"), strategy, settings=Settings(**options))
