"""Transactions under every ordering; what is claimed of locking is compared with the genuine library."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pytest
from sqlite_programs import Body, both, program, refusal

import simharness
from simharness.authoring.world import World
from simharness.runtimes.sqlite import statements


def increment(begin: str) -> Body:
    """Read x and write it back one higher, in a transaction; returns how that went."""

    def body(connection: sqlite3.Connection) -> Hashable:
        try:
            connection.execute(begin)
            x = connection.execute("SELECT x FROM t").fetchone()[0]
            connection.execute("UPDATE t SET x = ?", (x + 1,))
            connection.commit()
        except sqlite3.OperationalError as error:
            connection.rollback()
            return refusal(error)
        return "done"

    return body


def in_two(connection: sqlite3.Connection) -> Hashable:
    x = connection.execute("SELECT x FROM t").fetchone()[0]
    connection.execute("UPDATE t SET x = ?", (x + 1,))
    return "done"


def test_an_update_is_lost_between_a_read_and_a_write_without_a_transaction() -> None:
    explored = both(program(in_two, in_two))
    assert explored.outcomes == {("done", "done", 2, 0), ("done", "done", 1, 0)}
    assert (explored.orderings, explored.interleavings) == (4, 6)


def test_immediate_transactions_lose_no_update_and_have_two_orderings() -> None:
    explored = both(program(increment("BEGIN IMMEDIATE"), increment("BEGIN IMMEDIATE")), exact=False)
    assert explored.outcomes == {("done", "done", 2, 0)}
    assert explored.orderings == 2


def test_deferred_transactions_lose_no_update_but_one_may_be_refused_because_its_snapshot_is_stale_or_the_lock_is_held() -> None:
    explored = both(program(increment("BEGIN"), increment("BEGIN")), exact=False)
    refused = {"SQLITE_BUSY", "SQLITE_BUSY_SNAPSHOT"}
    assert explored.outcomes == {("done", "done", 2, 0)} | {
        outcome for name in refused for outcome in (("done", name, 1, 0), (name, "done", 1, 0))
    }


def test_a_write_that_meets_a_lock_is_refused_once_the_virtual_timeout_has_passed_and_not_before() -> None:
    def scenario(world: World) -> None:
        path = world.path("x.db")
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("PRAGMA journal_mode=WAL")
        holder.execute("CREATE TABLE t(x)")
        holder.execute("BEGIN IMMEDIATE")

        def write() -> None:
            before = world.clock.elapsed_ns()
            connection = sqlite3.connect(path, timeout=3.0)
            with pytest.raises(sqlite3.OperationalError, match=r"^database is locked$") as caught:
                connection.execute("INSERT INTO t VALUES (1)")
            assert caught.value.sqlite_errorname == "SQLITE_BUSY"
            assert connection.in_transaction
            world.outcome((world.clock.elapsed_ns() - before) / 1e9)

        world.actor("writer", write)

    assert both(scenario, exact=False).outcomes == {3.0}


def test_pragma_busy_timeout_sets_the_virtual_timeout_and_tells_it() -> None:
    def scenario(world: World) -> None:
        path = world.path("x.db")
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("PRAGMA journal_mode=WAL")
        holder.execute("BEGIN IMMEDIATE")

        def write() -> None:
            connection = sqlite3.connect(path, timeout=3.0, isolation_level=None)
            told = connection.execute("PRAGMA busy_timeout").fetchone()[0]
            connection.execute("PRAGMA busy_timeout = 1500")
            with pytest.raises(sqlite3.OperationalError):
                connection.execute("BEGIN IMMEDIATE")
            world.outcome((told, world.clock.elapsed_ns() / 1e9))

        world.actor("writer", write)

    assert both(scenario, exact=False).outcomes == {(3000, 1.5)}


def test_write_skew_is_found_between_autocommit_statements_and_not_between_immediate_transactions() -> None:
    def skewed(begin: str | None, read: str, write: str) -> Body:
        def body(connection: sqlite3.Connection) -> Hashable:
            if begin:
                connection.execute(begin)
            if connection.execute(f"SELECT x FROM {read}").fetchone()[0] == 0:
                connection.execute(f"UPDATE {write} SET x = 1")
            if begin:
                connection.commit()
            return None

        return body

    loose = both(program(skewed(None, "t", "u"), skewed(None, "u", "t")))
    assert loose.outcomes == {(None, None, 0, 1), (None, None, 1, 0), (None, None, 1, 1)}
    assert loose.orderings == 3
    strict = both(program(skewed("BEGIN IMMEDIATE", "t", "u"), skewed("BEGIN IMMEDIATE", "u", "t")), exact=False)
    assert strict.outcomes == {(None, None, 0, 1), (None, None, 1, 0)}


def test_a_reader_without_a_transaction_sees_what_a_commit_has_done_or_not() -> None:
    def writes(connection: sqlite3.Connection) -> Hashable:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE t SET x = 1")
        connection.execute("COMMIT")
        return "done"

    def reads(connection: sqlite3.Connection) -> Hashable:
        found: Hashable = connection.execute("SELECT x FROM t").fetchone()[0]
        return found

    explored = both(program(writes, reads))
    assert explored.outcomes == {("done", 0, 1, 0), ("done", 1, 1, 0)}
    assert explored.orderings == 2


def test_reads_of_one_transaction_see_one_snapshot() -> None:
    def twice(connection: sqlite3.Connection) -> Hashable:
        connection.execute("BEGIN")
        seen = [connection.execute(f"SELECT x FROM {table}").fetchone()[0] for table in "tu"]
        connection.rollback()
        return tuple(seen)

    def move(connection: sqlite3.Connection) -> Hashable:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE t SET x = 1")
        connection.execute("UPDATE u SET x = 1")
        connection.commit()
        return None

    explored = both(program(twice, move, timeout=0))
    assert explored.outcomes == {((0, 0), None, 1, 1), ((1, 1), None, 1, 1)}
    assert explored.orderings == 2


def test_a_statement_of_another_actor_joins_the_open_transaction_of_a_shared_connection_and_is_rolled_back_with_it() -> None:
    def undone(connection: sqlite3.Connection) -> Hashable:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE t SET x = 1")
        connection.rollback()
        return None

    def writes(connection: sqlite3.Connection) -> Hashable:
        connection.execute("UPDATE u SET x = 1")
        return None

    explored = both(program(undone, writes, shared=True))
    assert explored.outcomes == {(None, None, 0, 0), (None, None, 0, 1)}
    assert (explored.orderings, explored.interleavings) == (4, 4)


def test_a_shared_connection_that_a_lock_protects_needs_no_points_of_its_own() -> None:
    def scenario(world: World) -> None:
        lock = threading.Lock()
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        connection.execute("CREATE TABLE t(x)")

        def add(number: int) -> None:
            with lock:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("INSERT INTO t VALUES (?)", (number,))
                connection.commit()

        world.actor("a", add, 1)
        world.actor("b", add, 2)

        @world.at_end
        def told() -> None:
            world.outcome(tuple(row[0] for row in connection.execute("SELECT x FROM t")))

    explored = both(scenario)
    assert explored.outcomes == {(1, 2), (2, 1)}
    assert (explored.orderings, explored.interleavings) == (2, 2)


def test_one_use_without_the_lock_makes_every_statement_a_point_again() -> None:
    def scenario(world: World) -> None:
        lock = threading.Lock()
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        connection.execute("CREATE TABLE t(x)")

        def add() -> None:
            with lock:
                connection.execute("INSERT INTO t VALUES (1)")
                connection.execute("INSERT INTO t VALUES (2)")

        def look() -> None:
            world.outcome(connection.execute("SELECT count(*) FROM t").fetchone()[0])

        world.actor("a", add)
        world.actor("b", look)

    explored = both(scenario)
    assert explored.outcomes == {0, 1, 2}
    assert explored.orderings == 6  # two statements of a among the execute and the fetch of b


def test_without_wal_a_commit_waits_for_a_reader_and_is_refused_when_the_reader_never_ends() -> None:
    def reader(connection: sqlite3.Connection) -> Hashable:
        connection.execute("BEGIN")
        x = connection.execute("SELECT x FROM t").fetchone()[0]
        connection.rollback()
        return int(x)

    def writer(connection: sqlite3.Connection) -> Hashable:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE t SET x = 1")
        try:
            connection.commit()
        except sqlite3.OperationalError as error:
            connection.rollback()
            return refusal(error)
        return "done"

    waits = both(program(reader, writer, wal=False), exact=False)
    assert waits.outcomes == {(0, "done", 1, 0), (1, "done", 1, 0)}
    at_once = both(program(reader, writer, wal=False, timeout=0))
    assert at_once.outcomes == waits.outcomes | {(0, "SQLITE_BUSY", 0, 0)}


def test_check_same_thread_keeps_its_meaning_for_actors() -> None:
    def scenario(world: World) -> None:
        connection = sqlite3.connect(":memory:")

        def use() -> None:
            with pytest.raises(sqlite3.ProgrammingError, match="can only be used in that same thread"):
                connection.execute("SELECT 1")
            world.outcome("refused")

        world.actor("a", use)

    assert both(scenario).outcomes == {"refused"}


@pytest.mark.parametrize("level", [None, "", "DEFERRED", "IMMEDIATE", "EXCLUSIVE"])
def test_factories_rows_functions_scripts_dumps_blobs_and_backups_work_as_ever(level: Any) -> None:
    class Own(sqlite3.Connection):
        def count(self) -> int:
            return int(self.execute("SELECT count(*) FROM t").fetchone()[0])

    class OwnCursor(sqlite3.Cursor):
        def execute(self, *arguments: Any) -> Any:
            return super().execute(*arguments)

    def scenario(world: World) -> None:
        def work() -> None:
            db = sqlite3.connect(world.path("x.db"), factory=Own, isolation_level=level)
            assert isinstance(db, Own)
            assert db.isolation_level == level
            db.executescript("CREATE TABLE t(x); CREATE TRIGGER tr AFTER DELETE ON t BEGIN SELECT 1; SELECT 2; END; -- end")
            db.create_function("twice", 1, lambda x: 2 * x)
            db.row_factory = sqlite3.Row
            with db:
                db.executemany("INSERT INTO t VALUES (twice(?))", ((n,) for n in range(3)))
            assert db.count() == 3
            cursor = db.cursor(OwnCursor)
            assert isinstance(cursor, OwnCursor)
            assert [row["x"] for row in cursor.execute("SELECT x FROM t WHERE x >= :low", {"low": 2})] == [2, 4]
            with pytest.raises(ZeroDivisionError), db:  # noqa: PT012  # the statement is what is to be rolled back
                db.execute("INSERT INTO t VALUES (x'0102')")
                raise ZeroDivisionError
            assert db.count() == (4 if level is None else 3)
            db.execute("INSERT INTO t VALUES (x'0102')")
            db.commit()
            with db.blobopen("t", "x", db.execute("SELECT max(rowid) FROM t").fetchone()[0], readonly=True) as blob:
                assert blob.read() == b"\x01\x02"
            target = sqlite3.connect(":memory:")
            db.backup(target)
            assert list(target.iterdump()) == list(db.iterdump())
            denied: list[Any] = []

            def deny(*event: Any) -> int:
                denied.append(event)
                return sqlite3.SQLITE_DENY

            db.set_authorizer(deny)
            with pytest.raises(sqlite3.DatabaseError):
                db.execute("DELETE FROM t")
            db.set_authorizer(None)
            assert denied
            db.close()
            with pytest.raises(sqlite3.ProgrammingError):
                db.execute("SELECT 1")
            world.outcome("fine")

        world.actor("a", work)

    assert both(scenario).outcomes == {"fine"}


@pytest.mark.skipif(not hasattr(sqlite3.Connection, "autocommit"), reason="since Python 3.12")
def test_the_autocommit_attribute_keeps_a_transaction_open() -> None:
    def scenario(world: World) -> None:
        path = world.path("x.db")
        setup = sqlite3.connect(path, isolation_level=None)
        setup.execute("PRAGMA journal_mode=WAL")
        setup.execute("CREATE TABLE t(x)")

        def add() -> None:
            db = sqlite3.connect(path, timeout=30.0, autocommit=False)  # type: ignore[call-overload]  # since Python 3.12
            db.execute("INSERT INTO t VALUES (1)")
            assert db.in_transaction
            db.commit()
            assert db.in_transaction

        world.actor("a", add)
        world.actor("b", add)

        @world.at_end
        def told() -> None:
            world.outcome(setup.execute("SELECT count(*) FROM t").fetchone()[0])

    assert both(scenario, exact=False).outcomes == {2}


def test_what_a_dying_actor_left_open_holds_no_lock_in_the_next_execution() -> None:
    def holds(connection: sqlite3.Connection) -> Hashable:
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute("UPDATE t SET x = x + 1")
            connection.execute("SELECT x FROM t").fetchone()
            cursor = connection.execute("SELECT x FROM t UNION ALL SELECT x FROM u")
            cursor.fetchone()
            threading.Event().wait()
        finally:
            connection.commit()
        return None

    def scenario(world: World) -> None:
        program(holds, holds)(world)

    result = simharness.explore(scenario, stop_on_first=False)
    assert result.verdict is simharness.Verdict.VIOLATED
    assert result.deadlocks == result.executions


def test_an_always_check_over_a_table_sees_every_committed_state() -> None:
    def scenario(world: World) -> None:
        path = world.path("x.db")
        setup = sqlite3.connect(path, isolation_level=None)
        setup.execute("PRAGMA journal_mode=WAL")
        setup.executescript("CREATE TABLE t(x); CREATE TABLE u(x); INSERT INTO t VALUES (0); INSERT INTO u VALUES (0)")

        def write(table: str) -> None:
            db = sqlite3.connect(path, isolation_level=None, timeout=0)
            db.execute(f"UPDATE {table} SET x = 1")

        world.actor("a", write, "t")
        world.actor("b", write, "u")

        @world.always
        def seen() -> None:
            db = sqlite3.connect(path)
            world.outcome(db.execute("SELECT t.x, u.x FROM t, u").fetchone())
            db.close()

    assert both(scenario).outcomes == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_attached_files_and_shared_caches_are_refused_by_name() -> None:
    def attaches(world: World) -> None:
        world.actor("a", lambda: sqlite3.connect(":memory:").execute("ATTACH 'x.db' AS other"))

    def shares(world: World) -> None:
        world.actor("a", lambda: sqlite3.connect("file:x?mode=memory&cache=shared", uri=True))

    for scenario in (attaches, shares):
        with pytest.raises(simharness.Misuse, match=r"test_sqlite\.py:\d+.*not simulated"):
            simharness.explore(scenario)


@pytest.mark.alone
def test_outside_a_simulation_connect_is_the_genuine_one_also_afterwards(tmp_path: Path) -> None:
    genuine = sqlite3.connect
    both(program(in_two))
    assert sqlite3.connect is genuine
    db = sqlite3.connect(tmp_path / "x.db")
    assert type(db) is sqlite3.Connection
    db.close()


@pytest.mark.parametrize("how", ["its own connection", "a connection of the check"])
def test_an_always_check_sees_what_an_actor_that_uses_the_database_alone_commits_for_a_moment(how: str) -> None:
    def scenario(world: World) -> None:
        path = world.path("state.db") if how == "a connection of the check" else ":memory:"
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("CREATE TABLE t (x)")
        connection.execute("INSERT INTO t VALUES (0)")

        def work() -> None:
            mine = connection if path == ":memory:" else sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            mine.execute("UPDATE t SET x = 1")
            mine.execute("UPDATE t SET x = 0")

        world.actor("a", work)

        @world.always
        def nothing_shows() -> None:
            looking = connection if path == ":memory:" else sqlite3.connect(path)
            assert looking.execute("SELECT x FROM t").fetchone() == (0,)

    assert simharness.explore(scenario).verdict is simharness.Verdict.VIOLATED


def test_a_trigger_that_an_actor_makes_is_seen_by_the_statements_that_others_have_used_before() -> None:
    def scenario(world: World) -> None:
        path = world.path("state.db")
        with sqlite3.connect(path) as made:
            made.executescript("CREATE TABLE t(x); CREATE TABLE log(x); CREATE VIRTUAL TABLE words USING fts5(word)")
        made.close()
        seen = []

        def insert() -> None:
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            connection.execute("INSERT INTO words VALUES ('one')")
            connection.execute("INSERT INTO t VALUES (1)")
            connection.execute("INSERT INTO t VALUES (2)")
            connection.close()

        def make() -> None:
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            connection.execute("CREATE TRIGGER follows AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.x); END")
            seen.append(connection.execute("SELECT count(*) FROM log").fetchone()[0])
            connection.close()

        world.actor("inserts", insert)
        world.actor("makes", make)

        @world.at_end
        def outcome() -> None:
            world.outcome(seen[0])

    outcomes = [simharness.explore(scenario, strategy).outcomes for strategy in ("dpor", "exhaustive")]
    assert outcomes[0] == outcomes[1] == {0, 1, 2}


def test_what_is_known_of_statements_is_kept_where_a_virtual_table_changes_rows_only(monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[str] = []
    learn = statements.learn

    def noted(connection: sqlite3.Connection, sql: str, *others: Any) -> tuple[Any, bool]:
        learned.append(sql)
        return learn(connection, sql, *others)

    monkeypatch.setattr(statements, "learn", noted)

    def scenario(world: World) -> None:
        path = world.path("state.db")
        with sqlite3.connect(path) as made:
            made.executescript("CREATE VIRTUAL TABLE words USING fts5(word); CREATE TABLE t(x)")
        made.close()

        def work(word: str) -> None:
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            connection.execute(f"INSERT INTO words VALUES ('{word}')")
            connection.execute(f"INSERT INTO t VALUES ('{word}')")
            connection.close()

        world.actor("a", work, "a")
        world.actor("b", work, "b")

    result = simharness.explore(scenario, "dpor")
    assert result.verdict is simharness.Verdict.VERIFIED
    assert result.executions > 2
    assert learned.count("INSERT INTO t VALUES ('b')") <= 2, "not once for each execution"
