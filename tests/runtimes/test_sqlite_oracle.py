"""What SQL scripts can do under simharness is what they can do on the real `sqlite3`, in every interleaving of their statements."""

from __future__ import annotations

import gc
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Hashable, Iterator
from pathlib import Path

import pytest

import simharness
from simharness.authoring.world import World
from tests.runtimes.sql_oracle import READS, Script, final, finer, random_script, really, runners, set_up
from tests.runtimes.sqlite_programs import both


def explored(script: Script, executions: int = 3000) -> simharness.Result:
    def scenario(world: World) -> None:
        path = world.path("x.db")

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)

        set_up(connect, script)
        made = runners(connect, script)

        def act(number: int) -> None:
            for step in script.steps[number]:
                made[number].do(step)

        for number in range(len(script.steps)):
            world.actor("abc"[number], act, number)

        @world.at_end
        def outcome() -> None:
            world.outcome(final(path, made))

    settings = simharness.Settings(max_executions=executions)
    return simharness.explore(scenario, stop_on_first=False, settings=settings)


def same(script: Script, folder: Path, executions: int = 3000) -> bool:
    """Compare with the real outcomes; return whether exploring was complete."""
    folder.mkdir(exist_ok=True)
    result = explored(script, executions)
    if result.verdict is not simharness.Verdict.VERIFIED:
        assert result.counterexample is None, f"{script}\n{result.counterexample.timeline}"
        return False
    real = set(really(finer(script), str(folder)))
    assert set(result.outcomes) == real, f"{script}\nmissing: {real - result.outcomes}\ninvented: {result.outcomes - real}"
    return True


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is such a place: there are thousands of databases."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else tmp_path))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("batch", range(6))
def test_random_scripts_do_what_they_can_really_do(tmp_path: Path, batch: int) -> None:
    complete = [same(random_script(random.Random(seed), 2), tmp_path / str(seed)) for seed in range(10 * batch, 10 * batch + 10)]
    assert sum(complete) >= 8


@pytest.mark.long
@pytest.mark.parametrize("batch", range(40))
def test_many_random_scripts_do_what_they_can_really_do(tmp_path: Path, batch: int) -> None:
    seeds = range(1000 + 25 * batch, 1025 + 25 * batch)
    complete = [same(random_script(random.Random(seed), 2), tmp_path / str(seed)) for seed in seeds]
    assert sum(complete) >= 20


@pytest.mark.long
@pytest.mark.parametrize("batch", range(10))
def test_longer_random_scripts_miss_nothing_that_whole_statements_can_really_do(tmp_path: Path, batch: int) -> None:
    for seed in range(20 * batch, 20 * batch + 20):
        script, folder = random_script(random.Random(seed)), tmp_path / str(seed)
        folder.mkdir()
        result = explored(script)
        assert result.counterexample is None
        if result.verdict is simharness.Verdict.VERIFIED:
            assert set(really(script, str(folder))) <= result.outcomes, script


def run(*statements: str) -> list[tuple[str, str]]:
    return [("run", statement) for statement in statements]


def two(first: list[tuple[str, str]], second: list[tuple[str, str]], wal: bool = True, shared: bool = False) -> Script:
    return Script(wal, shared, [first, second])


WRITE = run("UPDATE b SET x = x + 1")
OPEN = [("open", "SELECT x FROM b ORDER BY x")]
NOTED, LOOK = run("INSERT INTO log(what) VALUES (1)"), run("SELECT count(*) FROM log")
CHECKPOINT = run("INSERT INTO b(x) VALUES (3)", "PRAGMA wal_checkpoint(TRUNCATE)")
CASES = {
    "an INSERT with AUTOINCREMENT writes sqlite_sequence": two(run("SELECT seq FROM sqlite_sequence"), run("INSERT INTO a(x) VALUES (2)")),
    "a trigger's AUTOINCREMENT writes sqlite_sequence": two(run("SELECT seq FROM sqlite_sequence"), run("INSERT INTO c(x) VALUES (2)")),
    "an ignored INSERT in a transaction may use a number up": two(
        run("SELECT seq FROM sqlite_sequence"), run("BEGIN", "INSERT OR IGNORE INTO a(x) VALUES (1)", "COMMIT")
    ),
    "an INSERT that copies a whole table reads it": two(run("INSERT INTO d SELECT * FROM b"), WRITE),
    "a table behind a common table expression of the same name is read": two(run(READS[9]), WRITE),
    "data_version notices commits": two([("version", ""), ("version", "")], WRITE),
    "data_version counts what other statements have noticed": two(
        run("PRAGMA data_version", "SELECT * FROM a", "PRAGMA data_version"),
        run("INSERT INTO b(x) VALUES (3)", "INSERT INTO b(x) VALUES (4)"),
    ),
    "page_count and freelist_count depend on every table": two(
        run("PRAGMA page_count", "PRAGMA freelist_count"), run("INSERT INTO b(x) VALUES (zeroblob(9000))", "DELETE FROM b WHERE x > 9")
    ),
    "foreign_key_check reads the tables": Script(
        True, False, [run("PRAGMA foreign_key_check"), run("INSERT INTO child VALUES (9, 77)")], False
    ),
    "dbstat reads every page": two(run("SELECT sum(pgsize) FROM dbstat"), run("INSERT INTO b(x) VALUES (zeroblob(9000))")),
    "a pragma's table function reads what the pragma reads": two(
        run("SELECT * FROM pragma_page_count"), run("INSERT INTO b(x) VALUES (zeroblob(9000))")
    ),
    "without WAL a SELECT that has rows left refuses a writer until it is fetched": two([*OPEN, ("rest", "")], WRITE, wal=False),
    "without WAL a SELECT that has rows left refuses a writer until its cursor is closed": two([*OPEN, ("stop", "")], WRITE, wal=False),
    "without WAL a SELECT that has rows left refuses a writer until its cursor is gone": two([*OPEN, ("drop", "")], WRITE, wal=False),
    "without WAL a SELECT that has rows left refuses a writer until its cursor is used again": two(
        [*OPEN, ("again", "")], WRITE, wal=False
    ),
    "without WAL a SELECT that has rows left refuses a writer until the connection is closed": two(
        [*OPEN, ("close", "")], WRITE, wal=False
    ),
    "without WAL a SELECT whose rows are fetched at once refuses a writer meanwhile": two(run("SELECT x FROM b"), WRITE, wal=False),
    "without WAL a deferred reader refuses a writer until it ends": two(run("BEGIN", "SELECT x FROM b", "COMMIT"), WRITE, wal=False),
    "a checkpoint answers what readers leave it": two(run("BEGIN", "SELECT x FROM b", "COMMIT"), CHECKPOINT),
    "a checkpoint answers what unfinished SELECTs leave it": two([*OPEN, ("drop", "")], CHECKPOINT),
    "the journal mode changes when no other connection is open": two(
        [*run("SELECT x FROM b"), ("close", "")], run("PRAGMA journal_mode = DELETE")
    ),
    "INSERT … RETURNING commits when its rows are fetched": two(run("INSERT INTO b(x) VALUES (6) RETURNING id"), WRITE),
    "without WAL INSERT … RETURNING commits when its rows are fetched": two(
        run("INSERT INTO b(x) VALUES (6) RETURNING id"), WRITE, wal=False
    ),
    "a cursor is collected after a commit that others see": two([*OPEN, *NOTED, ("drop", "")], [*LOOK, *WRITE], wal=False),
    "a cursor is used again after a commit that others see": two([*OPEN, *NOTED, ("again", "")], [*LOOK, *WRITE], wal=False),
    "a connection is closed after a commit that others see": two([*NOTED, ("close", "")], [*LOOK, *run("PRAGMA journal_mode = DELETE")]),
    "in_transaction shows other actors' transactions": two([("inside", "")], run("BEGIN", "COMMIT"), shared=True),
    "a shared connection is closed under a statement": two([("close", "")], run("SELECT x FROM b"), shared=True),
}


@pytest.mark.parametrize("name", CASES)
def test_a_script_does_what_it_can_really_do(tmp_path: Path, name: str) -> None:
    assert same(CASES[name], tmp_path)


def test_a_copy_is_ordered_with_every_try_of_a_writer_that_waits_without_wal() -> None:
    def scenario(world: World) -> None:
        path = world.path("x.db")
        sqlite3.connect(path, isolation_level=None).execute("CREATE TABLE t (x)")
        tries: list[str] = []
        counted: list[Hashable] = []

        def holder() -> None:
            connection = sqlite3.connect(path, isolation_level=None)
            for sql in ("BEGIN IMMEDIATE", "INSERT INTO t VALUES (1)", "COMMIT"):
                connection.execute(sql)

        def writer() -> None:
            connection = sqlite3.connect(path, isolation_level=None, timeout=10.0)
            connection.set_trace_callback(tries.append)
            connection.execute("INSERT INTO t VALUES (2)")

        def copier() -> None:
            copy = sqlite3.connect(":memory:")
            try:
                sqlite3.connect(path, isolation_level=None).backup(copy)
                counted.append(copy.execute("SELECT count(*) FROM t").fetchone())
            except sqlite3.OperationalError as error:
                counted.append(str(error))

        for name, work in (("holder", holder), ("writer", writer), ("copier", copier)):
            world.actor(name, work)

        @world.at_end
        def outcome() -> None:
            world.outcome((len(tries), tuple(counted)))

    assert len(both(scenario).outcomes) == 6


def test_the_footprint_of_a_statement_does_not_depend_on_the_programs_text_factory() -> None:
    def scenario(world: World) -> None:
        path = world.path("x.db")
        with sqlite3.connect(path) as setup:
            setup.execute("PRAGMA journal_mode=WAL")
            setup.execute("CREATE TABLE t (x)")
            setup.execute("INSERT INTO t VALUES (1)")
        reader, writer = (sqlite3.connect(path, isolation_level=None, check_same_thread=False) for _ in range(2))
        reader.text_factory = writer.text_factory = bytes
        seen: list[Hashable] = []
        world.actor("reader", lambda: seen.append(reader.execute("SELECT x FROM t").fetchone()))
        world.actor("writer", lambda: writer.execute("UPDATE t SET x = 2"))
        world.at_end(lambda: world.outcome(*seen))

    assert both(scenario).outcomes == {(1,), (2,)}


def test_a_connection_that_is_collected_with_an_open_transaction_frees_the_lock_in_a_step() -> None:
    def scenario(world: World) -> None:
        path = world.path("x.db")
        sqlite3.connect(path, isolation_level=None).executescript("PRAGMA journal_mode=WAL; CREATE TABLE t (x)")
        cell, results = world.shared(0, "cell"), []

        def forgetful() -> None:
            connection = sqlite3.connect(path, isolation_level=None)
            connection.execute("BEGIN IMMEDIATE")
            cell.get()
            del connection

        def writer() -> None:
            try:
                sqlite3.connect(path, isolation_level=None, timeout=0).execute("INSERT INTO t VALUES (1)")
                results.append("written")
            except sqlite3.OperationalError as error:
                results.append(str(error))

        world.actor("forgetful", forgetful)
        world.actor("writer", writer)
        world.at_end(lambda: world.outcome(*results))

    assert gc.isenabled()
    assert both(scenario).outcomes == {"written", "database is locked"}
