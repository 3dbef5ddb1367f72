"""A crash of a process: everywhere, with nothing of the process running again, and SQLite cleaning up after it."""

import contextlib
import pickle
import sqlite3
import threading
import time

import pytest

import simharness
from simharness import Verdict
from tests.replays import assert_identical


def explore(scenario, faults="crash=1", **options):
    return simharness.explore(scenario, faults=faults, stop_on_first=False, **options)


def alone(world):
    cell = world.shared(0, "cell")
    world.actor("worker", lambda: [cell.add(1) for _ in range(3)], process="P")
    world.at_end(lambda: world.outcome(cell.get()))


def test_a_process_of_three_steps_crashes_before_each_of_them_or_not_at_all():
    result = explore(alone)
    assert result.executions == 4
    assert result.outcomes == {0, 1, 2, 3}
    assert "at most 1 crash of a process, between any two steps" in result.bounds


def test_without_faults_the_verdict_says_so():
    result = simharness.explore(alone)
    assert (result.executions, result.outcomes) == (1, {3})
    assert "no faults" in result.bounds


def test_two_crashes_need_a_budget_of_two():
    def pair(world):
        cells = world.shared(0, "one"), world.shared(0, "two")
        for name, cell in zip("PQ", cells, strict=True):
            world.actor(name, lambda cell=cell: cell.add(1), process=name)
        world.at_end(lambda: world.outcome(tuple(cell.get() for cell in cells)))

    assert explore(pair, "crash=1").outcomes == {(1, 1), (0, 1), (1, 0)}
    assert explore(pair, "crash=2").outcomes == {(1, 1), (0, 1), (1, 0), (0, 0)}
    assert explore(pair, "crash=1@Q").outcomes == {(1, 1), (1, 0)}


def test_nothing_of_a_dead_process_runs_not_even_what_a_check_could_see():
    def holder(world):
        cell = world.shared(0, "cell")
        traces = []

        class Finalised:
            def __del__(self):
                traces.append("finaliser")

        class Managed:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                traces.append("__exit__")

        def work():
            kept = Finalised()
            try:
                with Managed():
                    cell.set(1)
                    cell.set(2)
            except BaseException:
                traces.append("except")
                raise
            finally:
                traces.append("finally")
                cell.set(3)
            del kept

        world.actor("worker", work, process="P")
        world.at_end(lambda: world.outcome((cell.get(), tuple(traces))))

    assert explore(holder).outcomes == {
        (0, ()),
        (1, ()),
        (2, ("__exit__", "finally")),
        (3, ("__exit__", "finally", "finaliser")),
    }


def test_a_process_crashes_while_it_sleeps_and_while_it_waits():
    def waits(world):
        started = world.shared(0, "started")
        event = threading.Event()

        def work():
            started.set(time.time() - world.clock.time() + 1)
            event.wait(100)
            started.set(2)

        def helper():
            time.sleep(50)
            started.set(started.get() + 0.5)

        world.actor("worker", work, process="P")
        world.actor("helper", helper, process="P")
        world.actor("other", lambda: world.outcome(("other", time.sleep(200))), process="Q")
        world.at_end(lambda: world.outcome(started.get()))

    assert {0, 1, 1.5, 2} <= explore(waits).outcomes


def test_a_lock_in_memory_dies_with_its_process_and_a_restart_begins_anew():
    def restarts(world):
        log = []

        def work(who):
            lock = threading.Lock()
            with lock:
                log.append(who)
                world.step(who)
                world.step(who)

        world.actor("first", work, "first", process="P")
        world.on_restart("P", work, "again")
        world.at_end(lambda: world.outcome(tuple(log)))

    assert explore(restarts, "crash=1").outcomes == {("first",), ("again",), ("first", "again")}
    assert ("first", "again", "again") in explore(restarts, "crash=2").outcomes


def test_a_restarted_process_finds_the_locks_free_that_the_dead_one_held():
    def restarts(world):
        lock = threading.Lock()
        log = []

        def work(who):
            with lock:
                log.append(who)
                world.step(who)

        world.actor("first", work, "first", process="P")
        world.on_restart("P", work, "again")
        world.at_end(lambda: world.outcome(tuple(log)))

    for strategy in ("dpor", "exhaustive"):
        result = explore(restarts, "crash=1", strategy=strategy)
        assert (result.verdict, result.outcomes) == (Verdict.VERIFIED, {("first",), ("again",), ("first", "again")})


def test_threads_of_an_actor_die_with_its_process():
    def parent(world):
        cell = world.shared(0, "cell")

        def work():
            thread = threading.Thread(target=lambda: cell.add(1))
            thread.start()
            thread.join()
            cell.add(1)

        world.actor("parent", work, process="P")
        world.at_end(lambda: world.outcome(cell.get()))

    result = explore(parent)
    assert result.verdict is Verdict.VERIFIED
    assert result.outcomes == {0, 1, 2}


def database(world, *statements):
    path = world.path("state.db")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE lease (holder TEXT)")
    connection.close()

    def work(holder):
        connection = sqlite3.connect(path, timeout=30, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            unfinished = connection.execute("SELECT holder FROM lease")
            unfinished.fetchone()
            connection.execute("INSERT INTO lease VALUES (?)", (holder,))
            connection.execute("COMMIT")
            world.step(f"{holder} works")
        finally:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM lease WHERE holder = ?", (holder,))
            connection.execute("COMMIT")
            connection.close()

    return path, work


def test_a_crash_inside_a_transaction_rolls_it_back_and_lets_others_in_and_the_committed_lease_stays():
    def contend(world):
        path, work = database(world)
        done = []
        world.actor("first", work, "first", process="P")
        world.actor("second", lambda: done.append(work("second")), process="Q")

        @world.at_end
        def rows():
            connection = sqlite3.connect(path)
            left = tuple(holder for (holder,) in connection.execute("SELECT holder FROM lease"))
            connection.close()
            world.outcome((left, bool(done)))

    result = explore(contend, "crash=1@P")
    assert result.verdict is Verdict.VERIFIED
    assert result.deadlocks == 0
    assert result.outcomes == {((), True), (("first",), True)}


def test_a_process_that_is_alone_with_its_database_crashes_between_its_transactions():
    def migrates(world):
        path = world.path("state.db")

        def work():
            connection = sqlite3.connect(path, isolation_level=None)
            connection.execute("CREATE TABLE t (x)")
            connection.execute("INSERT INTO t VALUES (1)")
            connection.execute("INSERT INTO t VALUES (2)")

        world.actor("worker", work, process="P")

        @world.at_end
        def rows():
            connection = sqlite3.connect(path)
            found = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            world.outcome(connection.execute("SELECT count(*) FROM t").fetchone()[0] if found else None)
            connection.close()

    assert explore(migrates).outcomes == {None, 0, 1, 2}


def test_a_crash_is_in_the_token_and_in_the_timeline_and_replays():
    def half_done(world):
        one, two = world.shared(0, "one"), world.shared(0, "two")
        world.actor("worker", lambda: (one.set(1), two.set(1)), process="P")
        world.actor("other", lambda: world.step("other"), process="Q")

        @world.at_end
        def both_or_none():
            assert one.get() == two.get()

    result = simharness.explore(half_done, faults="crash=1")
    assert result.verdict is Verdict.VIOLATED
    found = result.counterexample
    assert "!crash.0.1" in found.token
    assert "crash%3D1" in found.token
    assert "P crashes" in found.timeline
    again = simharness.replay(half_done, found.token)
    assert "P crashes" in again.timeline
    assert_identical(half_done, found)
    assert again.failure == found.failure


def test_actors_that_are_stuck_end_by_a_crash_or_stay_stuck():
    def stuck(world):
        never = world.shared(0, "never")
        done = world.shared(0, "done")
        world.actor("worker", lambda: never.wait_until(bool), process="P")
        world.on_restart("P", lambda: done.set(1))
        world.at_end(lambda: world.outcome(done.get()))

    result = explore(stuck)
    assert result.deadlocks == 1
    assert result.outcomes == {1}


def test_an_actor_in_a_false_assumption_leaves_the_execution_out_though_its_process_crashes():
    def assumes(world):
        cell = world.shared(0, "cell")
        world.actor("worker", lambda: world.assume(cell.get()), process="P")
        world.actor("other", lambda: cell.set(1), process="Q")
        world.at_end(lambda: world.outcome(cell.get()))

    assert explore(assumes, "crash=1@P").outcomes == {1}


def test_a_connection_that_two_processes_use_is_misuse_with_both_places():
    def shares(world):
        connection = sqlite3.connect(world.path("x.db"), check_same_thread=False)
        world.actor("one", lambda: connection.execute("SELECT 1"), process="P")
        world.actor("two", lambda: connection.execute("SELECT 2"), process="Q")

    here = r"test_faults_crash.py:\d+"
    with pytest.raises(simharness.Misuse, match=rf"{here}: process Q uses connection .* process P uses at .*{here}"):
        simharness.explore(shares)


def test_a_check_that_uses_the_connection_of_a_dead_process_is_told_to_open_its_own():
    def looks(world):
        connection = sqlite3.connect(world.path("x.db"), check_same_thread=False, isolation_level=None)
        connection.execute("CREATE TABLE t (x)")

        def work():
            connection.execute("INSERT INTO t VALUES (1)")
            connection.execute("INSERT INTO t VALUES (2)")

        world.actor("writer", work, process="P")
        world.at_end(lambda: world.outcome(len(connection.execute("SELECT x FROM t").fetchall())))

    assert simharness.explore(looks).outcomes == {2}
    with pytest.raises(simharness.Misuse, match="takes its connections with it: open one in the check"):
        explore(looks)


def test_a_lock_that_two_processes_use_is_misuse_with_both_places():
    def shares(world):
        lock = threading.Lock()

        def one():
            with lock:
                pass

        world.actor("one", one, process="P")
        world.actor("two", lambda: lock.acquire(blocking=False), process="Q")

    here = r"test_faults_crash.py:\d+"
    with pytest.raises(simharness.Misuse, match=rf"{here}: process . uses lock .* process . uses at .*{here}; processes share no memory"):
        simharness.explore(shares)


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ("crush=1", "there is no fault 'crush'; there are: crash, stall"),
        ("crash", "give each kind once, with a count, such as crash=1"),
        ("crash=1,crash=2", "give each kind once"),
        ("crash=many", "a budget must be a number, at least 0"),
        ("crash=-1", "a budget must be a number, at least 0"),
        ("db_error=1@LOUD", "there is no 'LOUD'; there are: BUSY, IOERR, FULL"),
        ("error=1", "name the callable and what it raises"),
        ("clock_jump=1@-5", "a positive number of seconds"),
        (5, "give simharness.Faults"),
    ],
)
def test_what_is_no_fault_model_is_refused_in_one_line(faults, said):
    with pytest.raises(simharness.Misuse, match=said) as refused:
        simharness.explore(alone, faults=faults)
    assert "\n" not in str(refused.value)


def test_fault_models_are_a_column_of_the_matrix_on_which_the_expected_verdict_depends():
    @simharness.scenario(size=[1, 2], faults=[None, "crash=1"], expect={"size=2,faults=crash=1": "violated"})
    def half(world, size):
        cell = world.shared(0, "cell")
        world.actor("worker", lambda: [cell.add(1) for _ in range(size)], process="P")

        @world.at_end
        def all_or_nothing():
            assert cell.get() in (0, size)

    results = simharness.explore_all(half)
    assert [(result.parameters["size"], result.parameters["faults"], str(result.verdict)) for result in results] == [
        (1, None, "verified"),
        (1, "crash=1", "verified"),
        (2, None, "verified"),
        (2, "crash=1", "violated"),
    ]
    assert all(result.as_expected for result in results)
    token = results[-1].counterexample.token
    assert simharness.replay(half, token).failure == results[-1].counterexample.failure


@pytest.mark.parametrize(("journal", "orderings"), [("WAL", 6), ("DELETE", None)])
def test_a_crash_meets_others_on_the_database_only_where_it_frees_a_lock(journal, orderings):
    """P begins (b) and commits (c); Q reads (r) and writes (w), which b and c meet, and r meets c. Without a crash: rwbc, rbcw, bcrw.

    With WAL P's crash meets Q's w only while P has the write lock: before b, one ordering; after b, w follows the crash, or was before b.
    """

    def reader_and_writer(world):
        path = world.path("state.db")
        connection = sqlite3.connect(path, isolation_level=None)
        connection.executescript(f"PRAGMA journal_mode={journal}; CREATE TABLE t (x);")
        connection.close()

        def write():
            connection = sqlite3.connect(path, timeout=30, isolation_level=None)
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO t VALUES (1)")
            connection.execute("COMMIT")

        def read():
            connection = sqlite3.connect(path, timeout=30, isolation_level=None)
            world.outcome(("read", connection.execute("SELECT count(*) FROM t").fetchone()[0]))
            connection.execute("INSERT INTO t VALUES (2)")

        world.actor("writer", write, process="P")
        world.actor("reader", read, process="Q")

        @world.at_end
        def rows():
            connection = sqlite3.connect(path)
            world.outcome(tuple(row[0] for row in connection.execute("SELECT x FROM t ORDER BY rowid")))
            connection.close()

    reduced = explore(reader_and_writer, "crash=1@P")
    everything = explore(reader_and_writer, "crash=1@P", strategy="exhaustive")
    assert reduced.outcomes == everything.outcomes
    assert (reduced.verdict, reduced.redundant) == (everything.verdict, 0)
    assert orderings in (None, reduced.executions)


@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
def test_who_does_not_wait_is_refused_before_a_crash_frees_the_write_lock_and_served_after_it(journal):
    def holder_and_impatient(world):
        path = world.path("state.db")
        connections = [sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False) for _ in range(2)]
        connections[0].executescript(f"PRAGMA journal_mode={journal}; CREATE TABLE t (x);")
        reached, seen = [], []

        def holds():
            with contextlib.suppress(sqlite3.OperationalError):
                connections[0].execute("BEGIN IMMEDIATE")
                reached.append("began")
                world.step("works")
                connections[0].execute("COMMIT")
                reached.append("done")

        def tries():
            try:
                connections[1].execute("BEGIN IMMEDIATE")
                connections[1].execute("COMMIT")
                seen.append("served")
            except sqlite3.OperationalError:
                seen.append("refused")

        world.actor("holder", holds, process="P")
        world.actor("impatient", tries, process="Q")
        world.at_end(lambda: world.outcome((*reached, *seen)))

    reduced = explore(holder_and_impatient, "crash=1@P")
    everything = explore(holder_and_impatient, "crash=1@P", strategy="exhaustive")
    assert {("began", "refused"), ("began", "served")} < reduced.outcomes == everything.outcomes
    assert (reduced.verdict, reduced.redundant) == (everything.verdict, 0)


def test_a_counterexample_that_begins_with_a_fault_can_be_handed_from_process_to_process():
    def never_done(world):
        cell = world.shared(0, "cell")
        world.actor("worker", lambda: cell.add(1), process="P")
        world.at_end(lambda: fail_unless(cell.get() == 1))

    found = explore(never_done).counterexample
    assert pickle.loads(pickle.dumps(found)).timeline == found.timeline


def fail_unless(holds):
    """Fail unless it holds."""
    assert holds
