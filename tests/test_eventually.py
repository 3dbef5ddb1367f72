"""What must come about in time: kept promises, late ones, livelocks and starvation."""

import random
import sqlite3
import threading
import time

import pytest

import simharness
from simharness import Verdict


def polls(world, seconds_held, within):
    """One actor holds a flag for a while, another polls for it every ten seconds."""
    flag, got = world.shared(True, "held"), world.shared(False, "got")

    def holder():
        time.sleep(seconds_held)
        flag.set(False)

    def poller():
        while flag.get():
            time.sleep(10)
        got.set(True)

    world.actor("holder", holder, process="P")
    world.actor("poller", poller, process="Q")

    def completes():
        assert got.get()

    world.eventually(completes, within=within)


def test_what_comes_about_in_time_is_verified():
    assert simharness.explore(lambda world: polls(world, 25, 40)).verdict is Verdict.VERIFIED


def test_what_comes_about_too_late_is_violated_and_the_failure_names_the_time():
    result = simharness.explore(lambda world: polls(world, 95, 40))
    assert result.verdict is Verdict.VIOLATED
    assert "completes does not hold: it did not hold within 40 s of virtual time" in result.counterexample.failure


def test_a_poller_that_waits_for_a_dead_process_is_reported_with_its_cycle():
    result = simharness.explore(lambda world: polls(world, 25, 60), faults="crash=1@P")
    assert result.verdict is Verdict.VIOLATED
    failure = result.counterexample.failure
    assert "within 60 s of virtual time after the last fault" in failure
    assert "over and over: " in failure
    assert "poller: get" in failure
    assert "poller: sleep" in failure


def test_recovery_keeps_the_promise_that_a_crash_breaks():
    def recovers(world):
        polls(world, 25, 60)
        world.on_restart("P", lambda: world.shared(True, "held").set(False))

    assert simharness.explore(recovers, faults="crash=1@P").verdict is Verdict.VERIFIED


def test_two_that_give_way_to_each_other_for_ever_are_a_livelock():
    def polite(world):
        wants = world.shared(False, "one wants"), world.shared(False, "two wants")
        done = world.shared(0, "done")

        def work(me):
            while True:
                wants[me].set(True)
                if not wants[1 - me].get():
                    done.add(1)
                    return
                wants[me].set(False)

        world.actor("one", work, 0)
        world.actor("two", work, 1)

        def both_done():
            assert done.get() == 2

        world.eventually(both_done, within=10)

    result = simharness.explore(polite, settings=simharness.Settings(max_steps=60, max_executions=200))
    assert result.verdict is Verdict.VIOLATED
    assert "livelock; over and over: " in result.counterexample.failure


def test_a_spinner_does_not_starve_the_actor_it_waits_for_without_an_end():
    def spins(world):
        flag = world.shared(False, "flag")

        def spinner():
            while not flag.get():
                pass

        world.actor("spinner", spinner)
        world.actor("setter", lambda: flag.set(True))

        def is_set():
            assert flag.get()

        world.eventually(is_set, within=1)

    result = simharness.explore(spins, settings=simharness.Settings(max_executions=50))
    assert result.counterexample is None
    assert (result.verdict, result.executions) == (Verdict.VERIFIED, 3)


def test_a_promise_that_nothing_keeps_is_broken_at_the_end():
    def idle(world):
        cell = world.shared(0, "cell")
        world.actor("idle", lambda: world.step("nothing"))

        def is_one():
            assert cell.get() == 1

        world.eventually(is_one, within=1)

    result = simharness.explore(idle)
    assert "is_one does not hold: it never held, and no actor moves any more" in result.counterexample.failure


def test_a_promise_about_a_database_is_kept_at_a_moment_in_between():
    def blinks(world):
        path = world.path("x.db")
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (x)")
        connection.close()

        def work():
            connection = sqlite3.connect(path, isolation_level=None)
            connection.execute("INSERT INTO t VALUES (1)")
            connection.execute("DELETE FROM t")
            connection.close()

        thread = threading.current_thread()
        world.actor("worker", work)

        def has_a_row():
            connection = sqlite3.connect(path)
            rows = connection.execute("SELECT * FROM t").fetchall()
            connection.close()
            assert rows, thread

        world.eventually(has_a_row, within=1)

    assert simharness.explore(blinks).verdict is Verdict.VERIFIED


@pytest.mark.parametrize("within", [0, -1, float("nan")])
def test_a_time_that_is_not_positive_is_misuse(within):
    with pytest.raises(simharness.Misuse, match=r"world.eventually needs a positive number of seconds"):
        simharness.explore(lambda world: world.eventually(lambda: None, within=within))


def test_an_invariant_on_a_database_sees_what_is_there_between_the_transactions_of_an_actor_alone():
    def blinks(world):
        path = world.path("x.db")
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("CREATE TABLE t (x)")
        connection.close()

        def work():
            connection = sqlite3.connect(path, isolation_level=None)
            connection.execute("INSERT INTO t VALUES (1)")
            connection.execute("DELETE FROM t")
            connection.close()

        world.actor("worker", work)

        @world.always
        def is_empty():
            connection = sqlite3.connect(path)
            rows = connection.execute("SELECT * FROM t").fetchall()
            connection.close()
            assert not rows

    assert simharness.explore(blinks).verdict is Verdict.VIOLATED


def wakes(world, at_first, seconds):
    """A helper sets the flag some seconds after it was woken; somebody else clears it at 50 s, and the lid is opened at 100 s."""
    flag = world.shared(at_first, "flag")

    def helper():
        world.step("begin")
        time.sleep(seconds)
        flag.set(True)

    def other():
        time.sleep(50)
        flag.set(False)

    world.actor("helper", helper, process="P")
    world.actor("other", other, process="Q")
    world.actor("lid", time.sleep, 100, process="Q")

    def is_set():
        assert flag.get()

    world.eventually(is_set, within=20)


@pytest.mark.parametrize(("at_first", "seconds", "stalled"), [(False, 10, Verdict.VERIFIED), (True, 30, Verdict.VIOLATED)])
def test_the_time_after_a_stall_runs_from_its_end_and_what_held_while_it_lasted_does_not_count(at_first, seconds, stalled):
    scenario = simharness.Scenario(wakes, {"at_first": [at_first], "seconds": [seconds]})
    assert simharness.explore(scenario).verdict is Verdict.VERIFIED
    result = simharness.explore(scenario, faults="stall=1@P")
    assert result.verdict is stalled
    if result.counterexample is not None:
        assert "it did not hold within 20 s of virtual time after the last fault" in result.counterexample.failure
        assert "P for 100 s: stalled" in result.counterexample.timeline


def test_a_promise_is_looked_at_when_all_has_ended_though_the_process_that_was_stalled_has_died():
    def dies_asleep(world, value):
        flag = world.shared(value, "flag")
        world.actor("sleeper", lambda: world.step("work"), process="P")
        world.actor("lid", time.sleep, 100, process="Q")

        def is_set():
            assert flag.get() == 1

        world.eventually(is_set, within=500)

    for value, verdict in ((1, Verdict.VERIFIED), (0, Verdict.VIOLATED)):
        scenario = simharness.Scenario(dies_asleep, {"value": [value]})
        assert simharness.explore(scenario, faults="stall=1@P,crash=2").verdict is verdict


def starves(world, pause):
    """One actor takes and gives back the flag again and again, `pause` making time go by; another never finds it free."""
    held, got = world.shared(False, "held"), world.shared(False, "got")

    def greedy():
        while not got.get():
            held.set(True)
            pause()
            held.set(False)

    def hungry():
        while not held.compare_and_set(False, True):
            pause()
        got.set(True)

    world.actor("greedy", greedy)
    world.actor("hungry", hungry)

    def hungry_is_fed():
        assert got.get()

    world.eventually(hungry_is_fed, within=30)


def test_starvation_for_which_time_goes_by_is_reported_with_its_cycle():
    settings = simharness.Settings(shrink=0)
    failure = simharness.explore(lambda world: starves(world, lambda: time.sleep(1)), settings=settings).counterexample.failure
    assert "hungry_is_fed does not hold: it did not hold within 30 s of virtual time; over and over: " in failure
    for step in ("greedy: set", "hungry: compare and set", "the clock moves"):
        assert step in failure


@pytest.mark.parametrize(("strategy", "steps"), [("dpor", 15), ("dpor", 40), ("dpor", 60), ("exhaustive", 15), ("exhaustive", 40)])
def test_starvation_that_takes_no_time_is_reported_with_its_cycle_wherever_executions_are_cut(strategy, steps):
    settings = simharness.Settings(max_steps=steps)
    failure = simharness.explore(lambda world: starves(world, lambda: None), strategy, settings=settings).counterexample.failure
    assert "hungry_is_fed does not hold: livelock; over and over: " in failure
    assert "hungry: compare and set" in failure


def turning(seed):
    """Two actors that go through a few steps on two cells, most of them for ever; one of them is to come to its end."""
    rng = random.Random(seed)
    programs = [
        [(rng.choice(["set", "cas", "get", "until"]), rng.randrange(2), rng.randrange(2)) for _ in range(rng.randint(1, 3))] for _ in "ab"
    ]
    loops = [rng.random() < 0.7 for _ in "ab"]

    def scenario(world):
        cells, ended = (world.shared(0, "c0"), world.shared(0, "c1")), world.shared(0, "ended")

        def once(me):
            """Go through the steps; say whether the actor is to end."""
            for what, which, value in programs[me]:
                if what == "set":
                    cells[which].set(value)
                elif what == "cas":
                    if cells[which].compare_and_set(value, 1 - value) and not loops[me]:
                        return True
                elif cells[which].get() == value:
                    if what == "get" and loops[me] and value:
                        return True
                elif what == "until":
                    break
            return not loops[me] and None

        def work(me):
            while (over := once(me)) is False:
                pass
            if over:
                ended.add(1)

        world.actor("a", work, 0)
        world.actor("b", work, 1)

        def somebody_ends():
            assert ended.get()

        world.eventually(somebody_ends, within=5)

    return scenario


@pytest.mark.long
def test_promises_that_brute_force_finds_broken_are_found_broken_by_reduction():
    limits = [simharness.Settings(max_steps=70, max_executions=most, shrink=0, confirm=False) for most in (300, 1_000)]
    broken = [seed for seed in range(1, 51) if simharness.explore(turning(seed), "exhaustive", settings=limits[0]).counterexample]
    assert len(broken) > 20
    assert [seed for seed in broken if simharness.explore(turning(seed), settings=limits[1]).counterexample is None] == []
