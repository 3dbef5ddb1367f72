"""What proves nothing is never "verified": each way of having explored nothing, and two ways of having explored too little."""

import contextlib
import functools
import os
import subprocess
import sys
import threading

import pytest

import simharness
from simharness import Settings, Verdict
from simharness.search.races import Races
from tests.real_time import RealTime
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


@pytest.fixture
def real_time(monkeypatch):
    return RealTime(monkeypatch)


@pytest.mark.parametrize("strategy", ["dpor", "auto", "exhaustive", "random", "surw", "pos"])
def test_an_execution_without_an_end_is_ended_soon_after_the_time_of_the_exploration(strategy, real_time):
    def endless(world):
        cell = world.shared(0, "cell")

        def work():
            while True:
                cell.add(1)
                real_time.step(1.0, first=300)

        world.actor("a", work)
        world.actor("b", work)

    result = simharness.explore(endless, strategy, settings=Settings(max_seconds=30, max_steps=3000))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "stopped at max_seconds=30" in result.bounds
    assert "were cut" not in result.bounds
    assert real_time.steps < 1000


def test_what_the_search_makes_of_a_long_execution_ends_soon_after_the_time_of_the_exploration(real_time, monkeypatch):
    looked_at = []
    past = Races.past

    def slow(self, j, *footprint):
        real_time.now += 1.0
        looked_at.append(j)
        return past(self, j, *footprint)

    def long(world):
        cell = world.shared(0, "cell")

        def work():
            for _ in range(700):
                cell.add(1)

        world.actor("a", work)
        world.actor("b", work)

    monkeypatch.setattr(Races, "past", slow)
    result = simharness.explore(long, "dpor", settings=Settings(max_seconds=30))
    assert (result.verdict, result.executions) == (Verdict.INCONCLUSIVE, 0)
    assert "stopped at max_seconds=30" in result.bounds
    assert len(looked_at) < 300


def test_an_exploration_that_ended_an_execution_does_not_continue_with_the_rest_of_its_time(real_time):
    def slow_at_first(world):
        real_time.begin()

        def work(name):
            cell = world.shared(0, name)
            for _ in range(80):
                cell.add(1)
                real_time.step(0.3, executions=1)

        world.actor("a", work, "cell of a")
        world.actor("b", work, "cell of b")

    result = simharness.explore(slow_at_first, settings=Settings(max_seconds=30, confirm=False))
    assert real_time.executions > 1
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "stopped at max_seconds=30" in result.bounds


def test_the_time_of_an_exploration_does_not_end_a_replay(real_time):
    @simharness.scenario(max_delay=0.0)
    def long(world):
        cell = world.shared(0, "cell")

        def work():
            for _ in range(400):
                cell.add(1)
                real_time.step(0.01)
            assert cell.get() == 0

        world.actor("a", work)

    result = simharness.explore(long, settings=Settings(max_seconds=30))
    assert result.verdict is Verdict.VIOLATED
    real_time.now += 1000.0
    simharness.replay(long, result.counterexample.token)


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


# What a check says, and whether anything is said at all

NOT_NONE = {
    "False": lambda: False,
    "True": lambda: True,
    "a number": lambda: 0,
    "an object": object,
    "the answer of a partial": functools.partial(int, "0"),
}


@pytest.mark.parametrize("declare", ["always", "at_end", "eventually"])
@pytest.mark.parametrize("answer", NOT_NONE)
def test_a_check_that_returns_something_is_a_mistake_that_is_named(declare, answer):
    def scenario(world):
        two_setters(world)
        more = {"within": 10} if declare == "eventually" else {}
        getattr(world, declare)(NOT_NONE[answer], **more)

    with pytest.raises(simharness.Misuse, match=r"returned .*; a check returns None when the invariant holds and raises AssertionError"):
        simharness.explore(scenario)


def test_a_check_that_is_a_coroutine_or_a_generator_never_ran_and_is_a_mistake():
    async def later():
        raise AssertionError("never awaited")

    def pieces():
        yield

    for check, what in ((later, "a coroutine"), (pieces, "a generator")):

        def scenario(world, check=check):
            two_setters(world)
            world.at_end(check)

        with pytest.raises(simharness.Misuse, match=rf"check {check.__name__} returned {what}"):
            simharness.explore(scenario)


def test_a_check_whose_answer_is_an_object_of_the_users_is_named_without_asking_it():
    class Touchy:
        def __repr__(self):
            raise ZeroDivisionError

        @property
        def __class__(self):
            raise ZeroDivisionError

    def scenario(world):
        actors(world, lambda: world.step("one"))
        world.at_end(Touchy)

    with pytest.raises(simharness.Misuse, match="returned a Touchy"):
        simharness.explore(scenario)


def test_a_check_that_is_not_callable_is_a_mistake_where_it_is_declared():
    with pytest.raises(simharness.Misuse, match=r"world\.at_end needs a function to call, not False"):
        simharness.explore(lambda world: world.at_end(False))


def two_setters(world):
    cell = world.shared(0, "cell")
    world.actor("a", cell.set, 1)
    world.actor("b", cell.set, 2)
    return cell


def states_nothing(world):
    two_setters(world)


def asserts_in_an_actor(world):
    cell = two_setters(world)

    def look():
        assert cell.get() in (0, 1, 2)

    world.actor("c", look)


def calls_a_helper_that_asserts(world):
    cell = two_setters(world)
    world.actor("c", lambda: _in_range(cell.get()))


def _in_range(value):
    assert 0 <= value <= 2


class Keeper:
    def __init__(self, cell):
        self.cell = cell

    def look(self):
        assert self.cell.get() >= 0


def has_a_method_that_asserts(world):
    world.actor("c", Keeper(two_setters(world)).look)


def raises_by_itself(world):
    cell = two_setters(world)

    def look():
        if cell.get() > 2:
            raise RuntimeError("too large")

    world.actor("c", look)


def collects_outcomes(world):
    cell = two_setters(world)
    world.at_end(lambda: world.outcome(cell.get()))


def asserts_by_unittest(world):
    import unittest

    cell = two_setters(world)
    world.actor("c", lambda: unittest.TestCase().assertGreaterEqual(cell.get(), 0))  # noqa: PT009  # this is what is tested


NOTHING = "nothing is checked: no assert, no check, no expect"


@pytest.mark.parametrize("strategy", ["dpor", "exhaustive"])
def test_that_nothing_is_checked_is_said(strategy):
    result = simharness.explore(states_nothing, strategy)
    assert result.verdict is Verdict.VERIFIED
    assert result.remarks == (NOTHING,)
    assert NOTHING in result.bounds


@pytest.mark.parametrize(
    "scenario",
    [
        asserts_in_an_actor,
        calls_a_helper_that_asserts,
        has_a_method_that_asserts,
        raises_by_itself,
        collects_outcomes,
        asserts_by_unittest,
        racing,
        simharness.scenario(expect="verified")(states_nothing),
    ],
)
def test_a_scenario_that_checks_something_is_not_said_to_check_nothing(scenario):
    result = simharness.explore(scenario)
    assert result.verdict is Verdict.VERIFIED
    assert NOTHING not in result.bounds


def apart(world):
    for name in "ab":
        cell = world.shared(0, f"cell of {name}")
        world.actor(name, cell.add, 1)

    @world.at_end
    def holds():
        assert cell.get() == 1


def handed_over(world):
    cell = world.shared(0, "cell")
    world.actor("giver", cell.set, 1)
    world.actor("taker", cell.wait_until, bool)
    world.at_end(lambda: None)


def one_actor(world):
    world.actor("a", world.shared(0, "cell").set, 1)
    world.at_end(lambda: None)


def threads_apart():
    boxes = [[0], [0]]
    threads = [threading.Thread(target=box.append, args=(1,), name=f"t{n}") for n, box in enumerate(boxes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert boxes == [[0, 1], [0, 1]]


@pytest.mark.parametrize(("scenario", "names"), [(apart, "a and b"), (threads_apart, "t0 and t1")])
def test_that_actors_ran_and_never_met_is_said(scenario, names):
    result = simharness.explore(scenario)
    assert (result.verdict, result.executions) == (Verdict.VERIFIED, 1)
    assert result.remarks == (f"{names} never met: one ordering",)


@pytest.mark.parametrize("scenario", [racing, handed_over, one_actor])
def test_actors_that_met_or_were_alone_are_not_said_to_have_never_met(scenario):
    result = simharness.explore(scenario)
    assert result.verdict is Verdict.VERIFIED
    assert "never met" not in result.bounds


def test_within_a_bound_one_ordering_does_not_say_that_actors_never_met():
    assert "never met" not in simharness.explore(racing, settings=Settings(preemptions=0, delays=None)).bounds


def lost(world):
    cell = world.shared(0, "cell")

    def bump():
        cell.set(cell.get() + 1)

    world.actor("a", bump)
    world.actor("b", bump)

    @world.at_end
    def counted():
        assert cell.get() == 2


@pytest.mark.parametrize(("name", "as_expected"), [("counted", True), ("AssertionError", True), ("other", False), ("deadlock", False)])
def test_an_expectation_can_name_what_is_violated(name, as_expected):
    scenario = simharness.scenario(expect=f"violated: {name}")(lost)
    result = simharness.explore(scenario)
    assert result.verdict is Verdict.VIOLATED
    assert (result.as_expected, result.exit_status) == (as_expected, 0 if as_expected else 1)
    assert result.expected == f"violated: {name}"
    assert result.unlike == ("" if as_expected else f"not violated: {name}")


def test_a_deadlock_can_be_named_and_so_can_each_case():
    @simharness.scenario(locks=[1, 2], expect={2: "violated: deadlock"})
    def in_order(world, locks):
        first, second = threading.Lock(), threading.Lock()

        def one():
            with first, second:
                pass

        def other():
            with second if locks == 2 else first, first if locks == 2 else second:
                pass

        actors(world, one, other)

    assert [(str(result.verdict), result.as_expected) for result in simharness.explore_all(in_order)] == [
        ("verified", True),
        ("violated", True),
    ]


@pytest.mark.parametrize("expect", ["violated:", "violated: ", "verified: counted", "wrong: counted", "violatedcounted"])
def test_an_expectation_that_names_nothing_or_the_wrong_verdict_is_refused(expect):
    with pytest.raises(simharness.Misuse, match="expect says"):
        simharness.scenario(expect=expect)(lost)


@simharness.scenario(expect="violated")
def slips(world):
    """The author's slip is raised in every ordering; the race that is expected is not what the exploration finds."""
    cell = world.shared(0, "cell")

    def bump():
        cell.set(cell.get() + 1)
        {}["typo"]

    world.actor("a", bump)
    world.actor("b", bump)

    @world.at_end
    def counted():
        assert cell.get() == 2


@simharness.scenario(expect="violated")
def each_slips_at_a_line_of_its_own(world):
    cell = world.shared(0, "cell")

    def one():
        cell.add(1)
        {}["typo"]

    def other():
        cell.add(1)
        {}["another typo"]

    world.actor("a", one)
    world.actor("b", other)


@simharness.scenario(expect="violated")
def raises_in_a_race(world):
    """The twin: a KeyError that takes a race."""
    cell = world.shared(0, "cell")

    def looks_twice():
        seen = cell.get()
        {seen: "unchanged"}[cell.get()]

    world.actor("a", looks_twice)
    world.actor("b", cell.set, 1)


@pytest.mark.parametrize("scenario", [slips, each_slips_at_a_line_of_its_own])
def test_an_exception_that_the_sequential_orderings_raise_too_meets_no_expectation_of_a_violation(scenario):
    result = simharness.explore(scenario)
    assert (result.verdict, result.as_expected, result.exit_status) == (Verdict.VIOLATED, False, 1)
    assert result.unlike == "no race"
    assert "the sequential orderings raise this exception, too: it takes no race" in result.counterexample.shortness


def test_an_exception_that_takes_a_race_meets_the_expectation_and_so_does_one_that_is_named():
    result = simharness.explore(raises_in_a_race)
    assert (result.verdict, result.as_expected) == (Verdict.VIOLATED, True)
    assert simharness.explore(simharness.scenario(expect="violated: KeyError")(slips.function)).as_expected


# python -O

LOST = """
import simharness
@simharness.scenario
def lost_update(world):
    counter = world.shared(0, "counter")
    def bump():
        counter.set(counter.get() + 1)
    world.actor("a", bump)
    world.actor("b", bump)
    @world.at_end
    def both_counted():
        {check}
"""


def optimized(file, *arguments, **environment):
    command = [sys.executable, *arguments, "-m", "simharness", "explore", str(file), "--no-timelines"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, **environment})


@pytest.mark.parametrize(("arguments", "environment"), [(("-O",), {}), (("-OO",), {}), ((), {"PYTHONOPTIMIZE": "1"})])
def test_a_scenario_whose_asserts_python_has_removed_is_refused_in_one_line(tmp_path, arguments, environment):
    file = tmp_path / "lost.py"
    file.write_text(LOST.replace("{check}", "assert counter.get() == 2"), encoding="utf-8")
    done = optimized(file, *arguments, **environment)
    assert done.returncode == 2
    assert "python -O removes assert statements, also those of lost, and everything would hold" in done.stderr


def test_a_scenario_that_has_no_asserts_is_explored_under_python_o_too(tmp_path):
    file = tmp_path / "raising.py"
    file.write_text(LOST.replace("{check}", "if counter.get() != 2: raise AssertionError('lost')"), encoding="utf-8")
    done = optimized(file, "-O")
    assert done.returncode == 1, done.stderr
    assert "VIOLATED" in done.stdout


def test_a_scenario_whose_checks_another_module_of_the_users_asserts_is_refused_under_python_o(tmp_path):
    (tmp_path / "checks_of_mine.py").write_text("def holds(value):\n    assert value == 2\n", encoding="utf-8")
    file = tmp_path / "elsewhere.py"
    file.write_text("from checks_of_mine import holds\n" + LOST.replace("{check}", "holds(counter.get())"), encoding="utf-8")
    done = optimized(file, "-O", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2, done.stdout
    assert "those of checks_of_mine" in done.stderr


# sys.exit


def exits(status):
    def scenario(world):
        cell = world.shared(0, "cell")

        def bump():
            cell.set(cell.get() + 1)

        def looks():
            cell.wait_until(lambda value: value >= 1)
            bump()
            if cell.get() < 2:
                sys.exit(status)

        world.actor("a", bump)
        world.actor("looks", looks)

    return scenario


@pytest.mark.parametrize("status", ["lost update", 1, 2, -1, 256, "", 0.5, [0]])
def test_an_exit_with_a_status_is_a_failure_of_the_actor_that_exits(status):
    result = simharness.explore(simharness.scenario(exits(status)))
    assert result.verdict is Verdict.VERIFIED, "no ordering exits: the twin"

    def in_the_end(world):
        actors(world, lambda: sys.exit(status))

    result = simharness.explore(in_the_end)
    assert result.verdict is Verdict.VIOLATED
    assert "raised SystemExit: " in result.counterexample.failure


@pytest.mark.parametrize("status", [None, 0, False])
def test_an_exit_without_a_status_ends_an_actor_quietly(status):
    def scenario(world):
        cell = world.shared(0, "cell")

        def exits_early():
            cell.add(1)
            sys.exit(status)

        world.actor("a", exits_early)
        world.actor("b", exits_early)

        @world.at_end
        def counted():
            assert cell.get() == 2

    assert simharness.explore(scenario).verdict is Verdict.VERIFIED


@pytest.mark.parametrize(("status", "verdict"), [("lost update", "violated"), (3, "violated"), (0, "verified"), (None, "verified")])
def test_the_root_exits_as_a_script_does(status, verdict):
    def root():
        taken, lock = [], threading.Lock()

        def take():
            with lock:
                taken.append(threading.current_thread().name)

        threads = [threading.Thread(target=take, name=name) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if taken == ["b", "a"]:
            sys.exit(status)

    result = simharness.explore(root)
    assert result.verdict == verdict
    assert result.verdict == "verified" or f"MainThread raised SystemExit: {status}" in result.counterexample.failure


def test_every_exit_of_a_thread_is_quiet_as_in_cpython():
    def root():
        ended = []

        def work():
            ended.append(1)
            sys.exit("of no interest")

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ended) == 2

    assert simharness.explore(root).verdict is Verdict.VERIFIED


@pytest.mark.parametrize("status", ["config missing", 2, 0, None])
def test_an_exit_during_set_up_is_a_mistake_that_is_named(status):
    def scenario(world):
        actors(world, lambda: world.step("one"))
        sys.exit(status)

    with pytest.raises(simharness.Misuse, match="raised SystemExit during set-up"):
        simharness.explore(scenario)
