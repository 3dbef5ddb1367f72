"""Planted bugs are found, and their repaired twins verified: in the reference store property by property, and in small threaded code.

In the store several guards back each other up. A planted bug takes away as many as it needs to show; the twin is the unchanged `fenced`.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator

import pytest

import simharness
from hermes_state import lock, rotation, store
from scenarios import compression_fork
from scenarios.compression_fork import Incident
from simharness import Settings, Verdict
from simharness.runtimes.control import installed
from tests.replays import assert_identical
from tests.runtimes.exploring import actors


@pytest.fixture(scope="module", autouse=True)
def _runtimes_in_place() -> Iterator[None]:
    with installed():
        yield


# The reference store


def without_the_conditional_write(patch, incident):
    """The parent's `ended_at` is not looked at: neither when acquiring nor when publishing, and the unique index is gone."""
    genuine = lock.acquire
    patch.setattr(lock, "acquire", lambda *given, open_only: genuine(*given, open_only=False))
    publish = rotation.Rotation._publish_fenced

    class Careless:
        """A connection on which the guard of the UPDATE is lost."""

        def __init__(self, connection):
            self._connection = connection

        def execute(self, sql, *parameters):
            if sql.startswith("UPDATE sessions SET ended_at"):
                sql = sql.replace(" AND ended_at IS NULL", "")
            return self._connection.execute(sql, *parameters)

        def executemany(self, *given):
            return self._connection.executemany(*given)

    def careless(self, conn, *given):
        return publish(self, Careless(conn), *given)

    patch.setattr(rotation.Rotation, "_publish_fenced", careless)
    incident.db._conn.execute("DROP INDEX one_compression_child")


def without_release(patch, incident):
    patch.setattr(rotation.Rotation, "release", lambda self: None)


def with_the_losers_id_changed(patch, incident):
    """A loser moves on to the winner's child at once, though it did not rotate."""
    for agent in (incident.main, incident.review):
        genuine = agent._log_step_back

        def follow(step_back, agent=agent, genuine=genuine):
            genuine(step_back)
            agent.session_id = agent.session_db.live_session(agent.session_id)

        agent._log_step_back = follow


def without_carrying(patch, incident):
    patch.setattr(rotation, "carry_unseen", lambda conn, parent, child, seen: [])


def with_appends_to_closed_sessions(patch, incident):
    genuine = store.insert_message
    patch.setattr(store, "insert_message", lambda *given, open_only: genuine(*given, open_only=False))


def with_routing_that_stays(patch, incident):
    """The entry does not follow, and a turn that comes later takes the entry for what it says."""
    incident.gateway.follow = lambda key, old, new: None
    with_appends_to_closed_sessions(patch, incident)


PLANTED = {
    "one_compression_child": without_the_conditional_write,
    "lock_released": without_release,
    "loser_unchanged": with_the_losers_id_changed,
    "no_message_lost": without_carrying,
    "no_write_to_a_closed_session": with_appends_to_closed_sessions,
    "routing_follows_the_live_session": with_routing_that_stays,
}
PAIRS = {
    "one_compression_child": ("main_turn", "review_fork"),
    "lock_released": ("main_turn", "review_fork"),
    "loser_unchanged": ("main_turn", "review_fork"),
    "no_message_lost": ("main_turn", "process_event_notifies"),
    "no_write_to_a_closed_session": ("main_turn", "process_event_notifies"),
    "routing_follows_the_live_session": ("main_turn_is_routed", "review_fork"),
}


def pair(name, plant=None):
    """Two of the incident's actors under `fenced`, with this property; `plant` spoils the store."""

    @simharness.scenario
    def planted(world):
        incident = Incident(world, "fenced", watch_writes=name == "no_write_to_a_closed_session")
        if plant is not None:
            plant(incident)
        for work in PAIRS[name]:
            world.actor(work, getattr(incident, work))
        compression_fork.check(world, incident, name)

    return planted


@pytest.mark.parametrize("name", list(PLANTED))
def test_a_bug_planted_in_the_store_is_found_and_the_store_without_it_verified(name, monkeypatch):
    repaired = simharness.explore(pair(name))
    assert repaired.verdict is Verdict.VERIFIED, repaired.counterexample.failure
    assert repaired.executions > 1

    with monkeypatch.context() as patch:
        found = simharness.explore(pair(name, lambda incident: PLANTED[name](patch, incident)))
        assert found.verdict is Verdict.VIOLATED
        assert found.counterexample.failure.startswith(f"{name} does not hold: ")
        assert found.executions <= 20
        assert_identical(pair(name, lambda incident: PLANTED[name](patch, incident)), found.counterexample)

    assert simharness.explore(pair(name)).verdict is Verdict.VERIFIED


def test_one_guard_alone_can_be_taken_away_without_a_second_child():
    """The index is a backstop: without it the conditional write still keeps the session to one child."""
    result = simharness.explore(
        pair("one_compression_child", lambda incident: incident.db._conn.execute("DROP INDEX one_compression_child"))
    )
    assert result.verdict is Verdict.VERIFIED


# Threads


def lost_update(world, safe):
    counter = world.shared(0, "counter")
    guard = threading.Lock()

    def add():
        if safe:
            with guard:
                counter.set(counter.get() + 1)
        else:
            counter.set(counter.get() + 1)

    world.actor("a", add)
    world.actor("b", add)
    world.at_end(lambda: counted(counter, 2))


def counted(cell, expected):
    assert cell.get() == expected


def lost_wake_up(world, safe):
    condition = threading.Condition()
    ready = world.shared(False, "ready")

    def waits():
        if safe:
            with condition:
                condition.wait_for(ready.get)
        elif not ready.get():
            with condition:
                condition.wait()

    def wakes():
        with condition:
            ready.set(True)
            condition.notify()

    actors(world, waits, wakes)


def abba(world, safe):
    first, second = threading.Lock(), threading.Lock()

    def both(*locks):
        with locks[0], locks[1]:
            world.step("inside")

    world.actor("a", both, first, second)
    world.actor("b", both, *((first, second) if safe else (second, first)))


def check_then_act(world, safe):
    started, guard = threading.Event(), threading.Lock()
    starts = world.shared(0, "starts")

    def look_and_start():
        if not started.is_set():
            started.set()
            starts.add(1)

    def start():
        if safe:
            with guard:
                look_and_start()
        else:
            look_and_start()

    world.actor("a", start)
    world.actor("b", start)
    world.at_end(lambda: counted(starts, 1))


def looking_before_taking(world, safe):
    """`if not jobs.empty(): jobs.get()` waits for ever when somebody else was faster."""
    jobs = queue.Queue()
    jobs.put("job")

    def take():
        if safe:
            with contextlib.suppress(queue.Empty):
                jobs.get(block=False)
        elif not jobs.empty():
            jobs.get()

    world.actor("a", take)
    world.actor("b", take)


def full_queue(world, safe):
    """A stage that puts into its own bounded queue while nobody takes from it."""
    jobs = queue.Queue(maxsize=0 if safe else 1)

    def works():
        jobs.get()
        jobs.put("follow-up")
        jobs.put("another")
        jobs.get()
        jobs.get()

    def submits():
        jobs.put("job")

    actors(world, works, submits)


def double_checked(world, safe):
    """The flag says ready before the value is there."""
    value, made = world.shared(None, "value"), world.shared(False, "made")
    guard = threading.Lock()

    def get():
        if not made.get():
            with guard:
                if not made.get():
                    for cell, content in ((value, "it"), (made, True)) if safe else ((made, True), (value, "it")):
                        cell.set(content)
        assert value.get() == "it"

    world.actor("a", get)
    world.actor("b", get)


def semaphore_of_two(world, safe):
    """A resource for one, guarded by a semaphore that a second release has made one of two."""
    semaphore = threading.Semaphore(1)
    inside = world.shared(0, "inside")

    def uses(twice):
        with semaphore:
            assert inside.add(1) == 0, "two are inside"
            inside.add(-1)
            if twice and not safe:
                semaphore.release()

    world.actor("a", uses, True)
    world.actor("b", uses, False)
    world.actor("c", uses, False)


def expired_lease(world, safe):
    """A lease is looked at, and used after it may have expired; the repaired one is checked again in the step that uses it."""
    world.timescale(3.0)
    lease = world.shared(("owner", time.time() + 3.0), "lease")

    def owner():
        holder, expires = lease.get()
        if holder == "owner" and time.time() < expires:
            if safe:
                lease.compare_and_set((holder, expires), ("used", expires))
            else:
                lease.set(("used", expires))

    def successor():
        held = lease.get()
        if time.time() > held[1]:
            taken = lease.compare_and_set(held, ("successor", held[1] + 3.0))
            if taken:
                assert lease.get()[0] == "successor", "the lease was used after it had been taken over"

    actors(world, owner, successor)


def timeout_race(world, safe):
    """Whoever gives up waiting takes the result to be missing, though it may have come meanwhile."""
    done = threading.Event()
    result = world.shared(None, "result")
    used = world.shared(None, "used")

    def works():
        time.sleep(1.0)
        result.set("value")
        done.set()

    def waits():
        in_time = done.wait(1.0)
        if safe:
            used.set(result.get() or "default")
            return
        used.set("value" if in_time else "default")
        assert in_time or result.get() is None, "the result was there and was not used"

    actors(world, works, waits)


CLASSICS = [
    lost_update,
    lost_wake_up,
    abba,
    check_then_act,
    looking_before_taking,
    full_queue,
    double_checked,
    semaphore_of_two,
    expired_lease,
    timeout_race,
]


@pytest.mark.parametrize("program", CLASSICS)
@pytest.mark.parametrize("strategy", ["dpor", "exhaustive"])
def test_a_classic_mistake_is_found_and_its_repaired_twin_verified(program, strategy):
    wrong = simharness.explore(lambda world: program(world, safe=False), strategy)
    assert wrong.verdict is Verdict.VIOLATED
    assert wrong.counterexample.steps
    assert_identical(lambda world: program(world, safe=False), wrong.counterexample)
    right = simharness.explore(lambda world: program(world, safe=True), strategy)
    assert right.verdict is Verdict.VERIFIED, right.counterexample and right.counterexample.timeline


# Regressions: what was once reported wrongly


def test_a_daemon_that_works_a_queue_off_is_not_taken_for_one_that_turns_in_circles():
    def scenario(world):
        jobs: queue.Queue[int] = queue.Queue()
        done: list[int] = []

        def worker():
            while True:
                done.append(jobs.get())
                jobs.task_done()

        def submits():
            for number in range(6):
                jobs.put(number)
            threading.Thread(target=worker, daemon=True).start()
            jobs.join()
            world.outcome(tuple(done))

        actors(world, submits)

    result = simharness.explore(scenario)
    assert (result.verdict, result.outcomes) == (Verdict.VERIFIED, {(0, 1, 2, 3, 4, 5)})


def test_a_daemon_that_counts_to_ten_in_a_local_variable_reaches_its_end():
    def scenario(world):
        done = threading.Event()

        def ticks():
            for _ in range(10):
                time.sleep(1.0)
            done.set()

        def waits():
            threading.Thread(target=ticks, daemon=True).start()
            done.wait()

        actors(world, waits)

    assert simharness.explore(scenario).verdict is Verdict.VERIFIED


def test_a_daemon_that_reads_many_things_alike_reaches_its_end():
    names = [f"READ_{number}" for number in range(25)]

    def scenario(world):
        def reads():
            for name in names:
                os.environ.get(name)

        def waits():
            thread = threading.Thread(target=reads, daemon=True)
            thread.start()
            thread.join()

        def writes():
            for name in names:
                os.environ[name] = "x"

        actors(world, waits, writes)

    result = simharness.explore(scenario, settings=Settings(max_executions=3, shrink=0))
    assert result.counterexample is None


def test_a_daemon_that_turns_in_circles_does_not_hide_a_deadlock():
    def scenario(world):
        def refreshes():
            while True:
                time.sleep(1.0)

        def waits():
            threading.Thread(target=refreshes, daemon=True).start()
            threading.Event().wait()

        actors(world, waits)

    result = simharness.explore(scenario)
    assert result.verdict is Verdict.VIOLATED
    assert result.counterexample.failure.startswith("deadlock: waits waits for event.wait")


@pytest.mark.parametrize("sql", ["SELECT x FROM t WHERE x >= ? ORDER BY x", "SELECT ?"])
def test_a_cursor_that_two_actors_share_gives_one_the_rows_of_the_other(sql):
    """Executing on a shared cursor throws the rows away that the other has not fetched: two reads that do not commute."""

    def scenario(world):
        connection = sqlite3.connect(":memory:", check_same_thread=False)
        connection.executescript("CREATE TABLE t(x); INSERT INTO t VALUES (1), (2), (3);")
        cursor = connection.cursor()

        def asks(number):
            cursor.execute(sql, (number,))
            row = cursor.fetchone()
            world.outcome((number, row and row[0]))

        world.actor("a", asks, 1)
        world.actor("b", asks, 2)

    reduced = simharness.explore(scenario)
    brute = simharness.explore(scenario, "exhaustive")
    assert reduced.outcomes == brute.outcomes
    assert (1, 2) in reduced.outcomes
    assert (2, 1) in reduced.outcomes or "FROM" not in sql


def test_fetching_from_a_cursor_that_set_up_opened_is_a_use_of_its_connection():
    def scenario(world):
        connection = sqlite3.connect(":memory:", check_same_thread=False)
        connection.executescript("CREATE TABLE t(x); INSERT INTO t VALUES (1), (2);")
        cursor = connection.execute("SELECT x FROM t ORDER BY x")

        def takes(name):
            world.step("before")
            world.outcome((name, cursor.fetchone()[0]))

        world.actor("a", takes, "a")
        world.actor("b", takes, "b")

    result = simharness.explore(scenario)
    assert result.outcomes == {("a", 1), ("a", 2), ("b", 1), ("b", 2)}


def test_a_failure_that_shows_an_address_is_a_violation_and_not_nondeterminism():
    kept = []

    def scenario(world):
        def fails():
            world.step("before")
            kept.append(object())
            assert kept[-1] is None, f"{kept[-1]!r}"

        actors(world, fails)

    result = simharness.explore(scenario)
    assert result.verdict is Verdict.VIOLATED
    assert "<object object at 0x…>" in result.counterexample.failure
    assert simharness.replay(scenario, result.counterexample.token).failure == result.counterexample.failure


def test_a_generator_that_holds_a_lock_when_its_actor_is_stuck_is_let_go_of_silently(recwarn):
    def scenario(world):
        guard = threading.Lock()

        def holds():
            with guard:
                yield

        def stuck():
            generator = holds()
            next(generator)
            threading.Event().wait()

        actors(world, stuck)

    assert simharness.explore(scenario).verdict is Verdict.VIOLATED
    assert not recwarn.list
