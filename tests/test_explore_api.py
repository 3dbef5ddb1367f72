"""The contract of the Python API, through the public names only."""

import gc
import itertools
import math
import pickle
import re
import threading

import pytest

import simharness
from simharness import Settings, Verdict
from simharness.engine.kernel import Kernel


def lost_update(world):
    counter = world.shared(0, "counter")

    def bump():
        counter.set(counter.get() + 1)

    world.actor("a", bump)
    world.actor("b", bump)

    @world.at_end
    def both_counted():
        world.outcome(counter.get())
        assert counter.get() == 2, f"counter is {counter.get()}"


def steps_of(*counts):
    def independent(world):
        def work(name, count):
            for number in range(count):
                world.step(f"{name} {number}", writes=["order"])

        for name, count in zip("abcdef", counts, strict=False):
            world.actor(name, work, name, count)

    return independent


def two_writes(check):
    def writes(world):
        x, y = world.shared(0, "x"), world.shared(0, "y")
        world.actor("a", x.set, 1)
        world.actor("b", y.set, 1)
        if check:

            @world.always
            def never_x_alone():
                assert not (x.get() == 1 and y.get() == 0)

    return writes


def test_a_violation_has_every_field_of_the_contract():
    result = simharness.explore(lost_update)
    assert result.verdict is Verdict.VIOLATED
    assert (result.scenario, result.parameters, result.strategy, result.expected) == ("lost_update", {}, "auto", "verified")
    assert result.executions >= 1
    assert (result.deadlocks, result.blocked, result.redundant, result.error) == (0, 0, 0, None)
    assert result.seconds > 0
    assert not result.as_expected
    assert result.exit_status == 1
    assert "first violation" in result.bounds
    found = result.counterexample
    assert found.failure.startswith("both_counted does not hold: counter is 1 at ")
    assert [step.actor for step in found.steps] in (["a", "b", "b", "a"], ["b", "a", "a", "b"], ["a", "b", "a", "b"])
    assert "set counter: 0 → 1" in found.timeline
    assert found.token.startswith("lost_update::")
    assert found.shortness.startswith("2 context switches (1 interrupts an actor that could continue): no failing schedule has fewer")


def test_a_verified_result_says_what_it_covers():
    result = simharness.explore(steps_of(2, 2))
    assert result.verdict is Verdict.VERIFIED
    assert result.counterexample is None
    assert result.exit_status == 0
    assert result.executions == 6
    for words in ("all 6 orderings", "late by less than 5 s", "scheduling points", "memory is not explored", "no faults"):
        assert words in result.bounds


def test_going_on_after_the_first_violation_counts_all_executions_and_outcomes():
    result = simharness.explore(lost_update, stop_on_first=False)
    assert result.verdict is Verdict.VIOLATED
    assert result.executions == 4
    assert result.outcomes == {1, 2}
    assert simharness.explore(lost_update, strategy="exhaustive", stop_on_first=False).executions == math.comb(4, 2)


def test_stopping_at_the_first_violation_counts_what_it_took():
    assert simharness.explore(lost_update).executions <= simharness.explore(lost_update, stop_on_first=False).executions


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_two_actors_of_n_steps_have_binomially_many_interleavings(count):
    assert simharness.explore(steps_of(count, count), strategy="exhaustive").executions == math.comb(2 * count, count)
    assert simharness.explore(steps_of(count, count)).executions == math.comb(2 * count, count)


def test_an_always_check_sees_the_states_that_reduction_would_leave_out():
    assert simharness.explore(two_writes(check=False)).executions == 1
    result = simharness.explore(two_writes(check=True))
    assert result.verdict is Verdict.VIOLATED
    assert result.counterexample.failure.startswith("never_x_alone does not hold")
    assert simharness.explore(two_writes(check=True), stop_on_first=False).executions == 2


def test_an_always_check_is_evaluated_in_the_initial_state():
    def wrong_from_the_start(world):
        x = world.shared(0, "x")
        world.actor("a", x.set, 1)

        @world.always
        def x_is_positive():
            assert x.get() > 0

    found = simharness.explore(wrong_from_the_start).counterexample
    assert found.trace.failed_at == 0
    assert "initial state" in found.timeline


def test_replaying_a_token_gives_the_execution_back():
    found = simharness.explore(lost_update).counterexample
    again = simharness.replay(lost_update, found.token)
    assert again.failure == found.failure
    assert again.trace == found.trace
    assert found.timeline.replace("▸", " ").startswith(again.timeline)
    assert again.steps == found.steps
    assert not hasattr(again, "verdict")


@pytest.mark.parametrize(
    ("expect", "told"),
    [
        (lambda other: "verified", "scenario one: its expect raised TypeError: "),
        (lambda size: "fine", "scenario one: its expect returned 'fine'; it must return one of verified, violated, inconclusive"),
    ],
)
def test_an_expect_that_cannot_be_asked_is_misuse(expect, told):
    @simharness.scenario(size=[1], expect=expect)
    def one(world, size):
        world.actor("a", lambda: world.step("x"))

    with pytest.raises(simharness.Misuse, match=re.escape(told)):
        simharness.explore(one)


def test_a_matrix_is_explored_cell_by_cell():
    @simharness.scenario(safe=[True, False], actors=[2, 3], expect=lambda safe, actors: "verified" if safe else "violated")
    def counters(world, safe, actors):
        counter = world.shared(0, "counter")
        bump = (lambda: counter.add(1)) if safe else (lambda: counter.set(counter.get() + 1))
        for number in range(actors):
            world.actor(f"actor {number}", bump)

        @world.at_end
        def all_counted():
            assert counter.get() == actors

    results = simharness.explore_all(counters)
    assert [tuple(result.parameters.values()) for result in results] == list(itertools.product([True, False], [2, 3]))
    assert [result.verdict for result in results] == ["verified", "verified", "violated", "violated"]
    assert all(result.as_expected for result in results)
    one = simharness.explore(counters, parameters={"safe": False})
    assert (one.verdict, one.parameters) == (Verdict.VIOLATED, {"safe": False, "actors": 2})


def test_a_cell_that_cannot_be_explored_does_not_stop_the_others():
    @simharness.scenario(broken=[True, False])
    def sometimes(world, broken):
        if broken:
            raise RuntimeError("no world today")
        world.actor("a", world.step, "x")

    first, second = simharness.explore_all(sometimes)
    assert "no world today" in first.error
    assert (first.exit_status, second.exit_status) == (2, 0)
    assert second.error is None


def test_closures_and_lambdas_and_methods_are_scenarios():
    class Model:
        def world(self, world):
            world.actor("a", world.step, "x")

    assert simharness.explore(Model().world).verdict is Verdict.VERIFIED
    assert simharness.explore(lambda world: world.actor("a", world.step, "x")).verdict is Verdict.VERIFIED


def test_plain_threaded_code_is_a_scenario():
    def threaded():
        found = []
        lock = threading.Lock()

        def add(value):
            with lock:
                found.append(value)

        threads = [threading.Thread(target=add, args=(number,)) for number in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [1, 2]

    result = simharness.explore(threaded)
    assert result.verdict is Verdict.VIOLATED
    assert "an assertion fails" in result.counterexample.failure
    assert simharness.replay(threaded, result.counterexample.token).failure == result.counterexample.failure


def test_cells_of_one_name_are_one_cell():
    def named_twice(world):
        world.shared(1, "x")

        def read():
            assert world.shared(2, "x").get() == 1

        world.actor("a", read)

    assert simharness.explore(named_twice).verdict is Verdict.VERIFIED


def test_the_operations_of_a_cell_return_what_the_contract_says():
    def operations(world):
        cell = world.shared(1, "cell")

        def work():
            assert cell.add(2) == 1
            assert cell.swap(7) == 3
            assert cell.compare_and_set(7, 8) is True
            assert cell.compare_and_set(7, 9) is False
            assert cell.wait_until(lambda value: value == 8) == 8
            cell.set(0)
            assert cell.get() == 0

        world.actor("a", work)

    assert simharness.explore(operations).verdict is Verdict.VERIFIED


def test_choices_are_explored_and_replayed():
    def chooses(world):
        def work():
            taken = world.choose(["x", "y", "z"], "letter")
            world.outcome(taken)
            assert taken != "z"

        world.actor("a", work)

    result = simharness.explore(chooses, stop_on_first=False)
    assert result.executions == 3
    assert result.outcomes == {"x", "y", "z"}
    assert "choose letter: 'z'" in simharness.replay(chooses, result.counterexample.token).timeline


def test_when_nothing_ran_concurrently_the_bounds_say_so():
    result = simharness.explore(steps_of(3))
    assert (result.verdict, result.executions) == (Verdict.VERIFIED, 1)
    assert "nothing ran concurrently" in result.bounds
    assert "nothing ran concurrently" not in simharness.explore(steps_of(1, 1)).bounds


def test_an_execution_cut_at_max_steps_is_inconclusive_and_names_the_repeating_steps():
    def spins(world):
        flag = world.shared(0, "flag")

        def wait():
            tries = 0
            while flag.get() == 0:
                tries += 1

        world.actor("waiter", wait)

    result = simharness.explore(spins, settings=Settings(max_steps=50))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "max_steps=50" in result.bounds
    assert "get" in result.bounds
    assert result.exit_status == 3


def test_a_budget_that_ran_out_is_inconclusive():
    result = simharness.explore(steps_of(4, 4), settings=Settings(max_executions=10))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "max_executions=10" in result.bounds
    result = simharness.explore(steps_of(6, 6), strategy="exhaustive", settings=Settings(max_seconds=0.0))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "max_seconds=0" in result.bounds


def test_when_every_execution_is_left_out_the_verdict_is_inconclusive():
    def impossible(world):
        world.actor("a", lambda: world.assume(False))
        world.actor("b", world.step, "x")

    result = simharness.explore(impossible)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.executions == 0
    assert result.blocked >= 1
    assert "left out" in result.bounds


def test_executions_that_assume_leaves_out_are_counted_apart():
    def half(world):
        cell = world.shared(0, "cell")
        world.actor("writer", cell.set, 1)
        world.actor("reader", lambda: world.assume(cell.get() == 1))

    result = simharness.explore(half)
    assert (result.verdict, result.executions, result.blocked) == (Verdict.VERIFIED, 1, 1)
    assert "left out by assume" in result.bounds


@pytest.mark.parametrize("actors", [0, 1])
def test_a_scenario_in_which_nothing_moves_is_not_verified(actors):
    def still(world):
        for number in range(actors):
            world.actor(f"actor {number}", lambda: None)

    result = simharness.explore(still)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "no actor ever made a step" in result.bounds


def waits_for_ever(world):
    cell = world.shared(0, "cell")
    world.actor("a", lambda: cell.wait_until(lambda value: value == 2))
    world.actor("b", cell.set, 1)


def moves_and_then_waits_for_ever(world):
    cell = world.shared(0, "cell")

    def work():
        cell.get()
        cell.wait_until(lambda value: value == 1)

    world.actor("a", work)


def test_an_actor_that_never_makes_a_step_is_not_verified_even_where_deadlocks_are_allowed():
    result = simharness.explore(simharness.scenario(allow_deadlock=True)(waits_for_ever))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "a never made a step" in result.bounds


def test_nothing_of_an_exploration_is_left_when_it_is_over():
    def leftovers():
        gc.collect()
        return sum(isinstance(found, Kernel) for found in gc.get_objects())

    before = leftovers()
    simharness.explore(moves_and_then_waits_for_ever)
    assert leftovers() == before


def test_a_stuck_actor_is_a_violation_unless_allowed():
    result = simharness.explore(waits_for_ever)
    assert result.verdict is Verdict.VIOLATED
    assert result.deadlocks >= 1
    assert "deadlock: a waits for wait_until cell" in result.counterexample.failure
    assert "test_explore_api.py" in result.counterexample.failure
    allowed = simharness.explore(simharness.scenario(allow_deadlock=True)(moves_and_then_waits_for_ever))
    assert allowed.verdict is Verdict.VERIFIED
    assert allowed.deadlocks == allowed.executions >= 1


def test_an_exception_in_an_actor_is_a_violation_that_names_it():
    def raises(world):
        cell = world.shared(0, "cell")

        def work():
            if cell.get():
                raise KeyError("gone")

        world.actor("reader", work)
        world.actor("writer", cell.set, 1)

    failure = simharness.explore(raises).counterexample.failure
    assert failure.startswith("reader raised KeyError: 'gone' at ")


@pytest.mark.parametrize("kind", ["always", "at_end"])
def test_a_check_that_raises_something_else_is_misuse_that_names_check_and_line(kind):
    def broken_check(world):
        world.actor("a", world.step, "x")

        @getattr(world, kind)
        def looks_up():
            return {}["missing"]

    with pytest.raises(simharness.Misuse, match=r"test_explore_api\.py:\d+: check looks_up raised KeyError: 'missing'"):
        simharness.explore(broken_check)


def test_state_kept_between_executions_is_nondeterminism_with_its_first_difference():
    runs = itertools.count()

    def remembers(world):
        number = next(runs)
        world.actor("a", world.step, f"run {number}", (), ["x"])
        world.actor("b", world.step, "other", (), ["x"])

    with pytest.raises(simharness.Nondeterminism, match=r"step 1 was «a step run \d+» and.*«a step run \d+»"):
        simharness.explore(remembers)


def test_a_number_of_steps_that_changes_is_nondeterminism():
    runs = itertools.count()

    def grows(world):
        number = next(runs)

        def work():
            for _ in range(number + 1):
                world.step("x", writes=["x"])

        world.actor("a", work)

    with pytest.raises(simharness.Nondeterminism):
        simharness.explore(grows)


def test_an_outcome_that_changes_is_nondeterminism():
    runs = itertools.count()

    def drifts(world):
        world.actor("a", world.step, "x")
        world.outcome(next(runs))

    with pytest.raises(simharness.Nondeterminism, match="ended with"):
        simharness.explore(drifts)


def test_randomness_that_no_runtime_controls_is_nondeterminism():
    def reads_the_machine(world):
        def work():
            with open("/proc/sys/kernel/random/uuid", encoding="ascii") as source:
                world.step(source.read().strip())

        world.actor("a", work)

    with pytest.raises(simharness.Nondeterminism, match="step 1 was"):
        simharness.explore(reads_the_machine)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strategy": "astrology"}, "no strategy 'astrology'; there are: auto, dpor"),
        ({"parameters": {"protocol": "lease"}}, "no parameter 'protocol'"),
        ({"faults": ["crash"]}, "faults"),
    ],
)
def test_wrong_arguments_are_misuse_that_says_what_there_is(options, words):
    with pytest.raises(simharness.Misuse, match=words):
        simharness.explore(lost_update, **options)


async def an_asynchronous_generator(world):
    yield


def test_asynchronous_generators_are_refused_as_scenarios():
    with pytest.raises(simharness.Misuse, match="asynchronous generator"):
        simharness.explore(an_asynchronous_generator)


def test_something_that_is_no_function_is_misuse():
    with pytest.raises(simharness.Misuse, match="is not a scenario"):
        simharness.explore(42)


def test_exploring_inside_an_actor_is_misuse():
    def nested(world):
        world.actor("a", lambda: simharness.explore(lost_update))

    with pytest.raises(simharness.Misuse, match="inside"):
        simharness.explore(nested)


def test_results_can_be_pickled():
    result = simharness.explore(lost_update)
    again = pickle.loads(pickle.dumps(result))
    assert again == result
    assert again.counterexample.timeline == result.counterexample.timeline


def test_progress_is_told_of_begin_and_end():
    told = []

    class Told(simharness.Progress):
        def started(self, scenario, parameters):
            told.append(scenario.name)

        def advanced(self, executions, seconds, estimate):
            told.append(executions)

        def finished(self, result):
            told.append(result.verdict)

    simharness.explore(steps_of(3, 3), progress=Told())
    assert told[0] == "independent"
    assert told[-1] is Verdict.VERIFIED


@pytest.mark.parametrize("value", [[1], (1, [2]), {"a": 1}])
def test_an_outcome_that_cannot_be_a_member_of_a_set_is_misuse_with_its_line(value):
    with pytest.raises(simharness.Misuse, match=r"test_explore_api\.py:\d+: world.outcome needs a value"):
        simharness.explore(lambda world: world.actor("a", lambda: world.outcome(value)))
