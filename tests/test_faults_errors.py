"""Errors as faults: of the database, of a commit whose acknowledgement is lost, and of a named callable."""

import sqlite3

import pytest

import simharness
from simharness import Verdict

ERRORS = {"SQLITE_BUSY": (5, "database is locked"), "SQLITE_IOERR": (10, "disk I/O error"), "SQLITE_FULL": (13, "database or disk is full")}


def explore(scenario, faults, **options):
    return simharness.explore(scenario, faults=faults, stop_on_first=False, **options)


def writes(world, *statements):
    """Have one process do these statements; the outcome is what was committed, what failed where, and whether a transaction is open."""
    path = world.path("state.db")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    failed = []

    def work():
        connection = sqlite3.connect(path, isolation_level=None)
        for number, statement in enumerate(statements):
            try:
                connection.execute(statement)
            except sqlite3.OperationalError as error:
                genuine = ERRORS[error.sqlite_errorname] == (error.sqlite_errorcode, str(error))
                failed.append((number, error.sqlite_errorname[7:] if genuine else str(error), connection.in_transaction))
                break
        connection.close()

    world.actor("writer", work)

    @world.at_end
    def committed():
        connection = sqlite3.connect(path)
        world.outcome((connection.execute("SELECT count(*) FROM t").fetchone()[0], *failed))
        connection.close()


def transaction(world):
    writes(world, "BEGIN IMMEDIATE", "INSERT INTO t VALUES (1)", "SELECT x FROM t", "COMMIT")


def at_once(world):
    writes(world, "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)")


def test_every_statement_fails_with_each_error_and_all_but_busy_roll_back():
    result = explore(transaction, "db_error=1")
    errors = {(0, (number, name, number > 0 and name == "BUSY")) for number in range(4) for name in ("BUSY", "IOERR", "FULL")}
    assert result.outcomes == {(1,)} | errors
    assert result.executions == 13


def test_database_errors_can_be_limited_to_some():
    result = explore(transaction, "db_error=1@IOERR")
    assert result.executions == 5
    assert "at most 1 database error (IOERR), at every statement and commit" in result.bounds


def test_a_lost_acknowledgement_is_a_durable_commit_and_an_error():
    assert explore(transaction, "lost_ack=1").outcomes == {(1,), (1, (3, "IOERR", False))}
    assert explore(at_once, "lost_ack=1").outcomes == {(2,), (1, (0, "IOERR", False)), (2, (1, "IOERR", False))}


def test_a_failed_commit_of_the_python_kind_rolls_back_or_leaves_the_transaction_open():
    def commits(world):
        path = world.path("state.db")
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE t (x)")
        connection.close()
        said = []

        def work():
            connection = sqlite3.connect(path)
            try:
                with connection:
                    connection.execute("INSERT INTO t VALUES (1)")
            except sqlite3.OperationalError as error:
                said.append(error.sqlite_errorname)
            said.append(connection.in_transaction)
            connection.close()

        world.actor("writer", work)

        @world.at_end
        def committed():
            connection = sqlite3.connect(path)
            world.outcome((connection.execute("SELECT count(*) FROM t").fetchone()[0], *said))
            connection.close()

    expected = {(1, False), (0, "SQLITE_BUSY", False), (0, "SQLITE_IOERR", False), (0, "SQLITE_FULL", False)}
    assert explore(commits, "db_error=1").outcomes == expected
    assert explore(commits, "lost_ack=1").outcomes == {(1, False), (1, "SQLITE_IOERR", False)}


def test_a_database_whose_write_failed_is_free_for_others():
    def contend(world):
        path = world.path("state.db")
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (x)")
        connection.close()

        def work(number):
            connection = sqlite3.connect(path, timeout=60, isolation_level=None)
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("INSERT INTO t VALUES (?)", (number,))
                connection.execute("COMMIT")
            except sqlite3.OperationalError as error:
                world.outcome((number, error.sqlite_errorname, connection.in_transaction))
            connection.close()

        for number in (1, 2):
            world.actor(f"writer {number}", work, number, process=f"P{number}")

    reduced = explore(contend, "db_error=1@IOERR+FULL")
    every = explore(contend, "db_error=1@IOERR+FULL", strategy="exhaustive")
    assert reduced.outcomes == every.outcomes
    assert {outcome[2] for outcome in reduced.outcomes} == {False}
    assert reduced.verdict is Verdict.VERIFIED
    assert reduced.deadlocks == 0


def save(text):
    return len(text)


class Store:
    def save(self, text):
        return len(text)

    @staticmethod
    def load():
        return "text"


def saves(world):
    cell = world.shared(0, "saved")

    def work():
        for text in ("a", "bb"):
            try:
                cell.add(save(text))
                cell.add(Store().save(text))
                cell.add(len(Store.load()))
            except (OSError, sqlite3.OperationalError) as error:
                cell.set(type(error).__name__)
                return

    world.actor("saver", work)
    world.at_end(lambda: world.outcome(cell.get()))


@pytest.mark.parametrize(
    ("named", "executions", "outcomes"),
    [
        ("save:OSError", 3, {14, "OSError"}),
        ("Store.save:sqlite3.OperationalError", 3, {14, "OperationalError"}),
        ("Store.load:OSError", 3, {14, "OSError"}),
        (f"{__name__}.save:OSError", 3, {14, "OSError"}),
        ("save:OSError+Store.save:OSError", 5, {14, "OSError"}),
    ],
)
def test_a_named_callable_raises_instead_of_being_called(named, executions, outcomes):
    genuine = save, Store.save, Store.load
    result = explore(saves, simharness.Faults(error=(1, named)))
    assert (result.executions, result.outcomes) == (executions, outcomes)
    assert genuine == (save, Store.save, Store.load)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("nothing.of.the.kind:OSError", "nothing.of.the.kind is no function or method"),
        ("Store:OSError", "Store is no function or method"),
        ("save:Store", "Store is no exception"),
        ("save:Nothing", "Nothing is no exception"),
    ],
)
def test_what_cannot_fail_so_is_refused(named, said):
    with pytest.raises(simharness.Misuse, match=said):
        explore(saves, simharness.Faults(error=(1, named)))


def test_an_error_that_struck_is_in_the_token_and_in_the_timeline():
    def fragile(world):
        world.actor("saver", lambda: save("a"))

    result = simharness.explore(fragile, faults="error=1@save:OSError")
    assert result.verdict is Verdict.VIOLATED
    assert ":a=1:" in result.counterexample.token
    assert "raises OSError" in result.counterexample.timeline
    assert simharness.replay(fragile, result.counterexample.token).failure == result.counterexample.failure


def test_a_commit_that_failed_is_a_row_of_the_timeline_and_what_it_came_to_is_not_cut_off():
    def saves_twice(world):
        path = world.path("notes.db")
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("CREATE TABLE notes (text)")
        connection.close()

        def work():
            connection = sqlite3.connect(path, isolation_level=None)
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO notes VALUES ('one')")
            connection.execute("COMMIT")

        world.actor("saver", work)

    found = simharness.explore(saves_twice, faults="db_error=1@FULL").counterexample
    lines = [line for line in found.timeline.splitlines() if "a fault" in line]
    assert len(lines) == 1, found.timeline
    assert "OperationalError: database or disk is full" in lines[0]
