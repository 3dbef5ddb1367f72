"""What proves nothing is never "verified": each way of having explored nothing, and two ways of having explored too little."""

import contextlib
import threading

import pytest

import simharness
from simharness import Settings, Verdict
from tests.runtimes.exploring import actors


def racing(world):
    """Two actors, two steps each, and a check that holds."""
    cell = world.shared(0, "cell")

    def work():
        cell.add(1)
        cell.add(1)

    world.actor("a", work)
    world.actor("b", work)

    @world.at_end
    def counted():
        assert cell.get() == 4


@pytest.mark.parametrize("strategy", ["dpor", "exhaustive"])
@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"max_executions": 0}, "stopped at max_executions=0"),
        ({"max_executions": 1}, "stopped at max_executions=1"),
        ({"max_executions": 5}, "stopped at max_executions=5"),
        ({"max_seconds": 0}, "stopped at max_seconds=0"),
        ({"max_steps": 3}, "cut at max_steps=3"),
        ({"max_steps": 0}, "cut at max_steps=0"),
    ],
)
def test_an_exploration_that_was_cut_short_is_inconclusive_and_says_at_what(strategy, limits, words):
    result = simharness.explore(racing, strategy, settings=Settings(**limits))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.exit_status == 3
    assert words in result.bounds
    assert "all " not in result.bounds


def test_a_limit_that_is_just_enough_does_not_spoil_the_verdict():
    found = simharness.explore(racing).executions
    assert simharness.explore(racing, settings=Settings(max_executions=found, max_steps=4)).verdict is Verdict.VERIFIED
    assert simharness.explore(racing, settings=Settings(max_executions=found - 1)).verdict is Verdict.INCONCLUSIVE


def test_when_assume_leaves_every_execution_out_nothing_is_proven():
    def impossible(world):
        cell = world.shared(0, "cell")

        def work():
            cell.add(1)
            world.assume(cell.get() > 5)

        actors(world, work)

    result = simharness.explore(impossible)
    assert (result.verdict, result.executions) == (Verdict.INCONCLUSIVE, 0)
    assert result.blocked == 1
    assert "every execution was left out" in result.bounds


def test_an_at_end_check_that_no_execution_reached_proves_nothing_although_deadlocks_are_allowed():
    @simharness.scenario(allow_deadlock=True)
    def always_stuck(world):
        event = threading.Event()

        def waits():
            event.wait()

        def moves():
            world.step("moves")

        actors(world, waits, moves)

        @world.at_end
        def looked_at():
            raise AssertionError("never evaluated")

    result = simharness.explore(always_stuck)
    assert (result.verdict, result.deadlocks) == (Verdict.INCONCLUSIVE, result.executions)
    assert "no at_end check was ever evaluated" in result.bounds


def test_a_check_that_only_some_executions_reach_is_evaluated_in_those():
    @simharness.scenario(allow_deadlock=True)
    def stuck_in_one_of_two(world):
        flag = world.shared(False, "flag")
        never = threading.Event()

        def waits():
            if flag.get():
                never.wait()

        def sets():
            flag.set(True)

        actors(world, waits, sets)

        @world.at_end
        def fails():
            raise AssertionError

    result = simharness.explore(stuck_in_one_of_two, stop_on_first=False)
    assert (result.verdict, result.executions, result.deadlocks) == (Verdict.VIOLATED, 2, 1)


@pytest.mark.parametrize("works", [[], [lambda: None], [lambda: None, lambda: None]])
def test_when_no_actor_makes_a_step_nothing_is_proven(works):
    def still(world):
        for number, work in enumerate(works):
            world.actor(f"a{number}", work)

        @world.at_end
        def holds():
            pass

    result = simharness.explore(still)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "no actor ever made a step" in result.bounds


@pytest.mark.parametrize("strategy", ["astrology", "", "DPOR", "dpor "])
def test_a_strategy_that_is_not_there_is_misuse_and_not_some_other_strategy(strategy):
    with pytest.raises(simharness.Misuse, match="no strategy"):
        simharness.explore(racing, strategy)


@pytest.mark.parametrize("sampler", ["random", "pct", "pos", "hypothesis"])
def test_a_sampler_that_finds_nothing_proves_nothing(sampler):
    """Where a sampler is not there, asking for it is misuse."""
    with contextlib.suppress(simharness.Misuse):
        assert simharness.explore(racing, sampler, settings=Settings(max_executions=50)).verdict is Verdict.INCONCLUSIVE


def test_an_endless_loop_of_steps_is_cut_and_not_verified():
    def spins(world):
        def work():
            while True:
                world.step("spin")

        actors(world, work)

    result = simharness.explore(spins, settings=Settings(max_steps=50, max_executions=20))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "repeating: step" in result.bounds


@pytest.mark.parametrize("strategy", ["dpor", "exhaustive"])
def test_whoever_takes_the_lock_first_is_seen_in_both_orders(strategy):
    """Nothing but the lock is shared through the harness; that its two orders differ shows in the outcome alone."""

    def scenario(world):
        lock = threading.Lock()
        found = {"first": None}

        def contend(me):
            with lock:
                found["first"] = found["first"] or me

        world.actor("a", contend, "a")
        world.actor("b", contend, "b")

        @world.at_end
        def told():
            world.outcome(found["first"])

    result = simharness.explore(scenario, strategy)
    assert result.verdict is Verdict.VERIFIED
    assert result.outcomes == {"a", "b"}
    if strategy == "dpor":
        assert result.executions == 2


@pytest.mark.parametrize("strategy", ["dpor", "exhaustive"])
def test_an_update_lost_through_an_element_of_a_container_is_found_when_the_elements_are_cells(strategy):
    def scenario(world):
        totals = {"apples": world.shared(0, "totals[apples]"), "pears": world.shared(0, "totals[pears]")}

        def add(kind):
            totals[kind].set(totals[kind].get() + 1)

        for name in ("a", "b"):
            world.actor(name, add, "apples")
        world.actor("c", add, "pears")

        @world.at_end
        def counted():
            world.outcome((totals["apples"].get(), totals["pears"].get()))
            assert totals["apples"].get() == 2, f"{totals['apples'].get()} apples"

    result = simharness.explore(scenario, strategy, stop_on_first=False)
    assert result.verdict is Verdict.VIOLATED
    assert result.outcomes == {(1, 1), (2, 1)}
    assert "1 apples" in result.counterexample.failure
    if strategy == "dpor":
        assert result.executions == 4, "two orders of the whole updates, two overlapping ones; pears commute with apples"


def test_unsynchronised_memory_is_said_not_to_be_explored():
    """A plain list element is no scheduling point: the update that is lost through it cannot be found, and the bounds say so."""

    def scenario(world):
        totals = [0]

        def add():
            seen = totals[0]
            totals[0] = seen + 1
            world.step("counted")

        world.actor("a", add)
        world.actor("b", add)

        @world.at_end
        def counted():
            assert totals[0] == 2

    assert "unsynchronised memory is not explored" in simharness.explore(scenario).bounds


def test_an_actor_that_is_stuck_from_the_start_in_some_orderings_only_has_moved():
    @simharness.scenario(allow_deadlock=True)
    def one_place(world):
        free = world.shared(1, "free")

        def take():
            free.wait_until(lambda value: value == 1)
            free.set(0)

        world.actor("first", take)
        world.actor("second", take)

    result = simharness.explore(one_place)
    assert result.verdict == "verified", result.bounds
    assert result.deadlocks > 0
