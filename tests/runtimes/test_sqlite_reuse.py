"""Connections that are kept between executions: nobody can tell, whatever was done to them in the execution before."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

import simharness
from simharness.runtimes import sqlite_reuse

Work = Callable[[sqlite3.Connection], Any]


def outcomes(dirty: Work, probe: Work, *, kept: bool, define: Work | None = None) -> frozenset[Any]:
    """Explore: set-up probes its new connection, one of two actors does something to it that may last; return what the probes saw."""

    def scenario(world: simharness.World) -> None:
        options: dict[str, Any] = {} if kept else {"factory": sqlite3.Connection}
        connection = sqlite3.connect(":memory:", check_same_thread=False, **options)
        (define or plain_tables)(connection)
        world.outcome(("begin", probe(connection)))
        cell = world.shared(0, "turns")

        def dirtier() -> None:
            cell.add(1)
            world.outcome(("used", str(dirty(connection))))

        world.actor("dirtier", dirtier)
        world.actor("other", cell.add, 1)
        world.at_end(lambda: None)

    result = simharness.explore(scenario)
    assert result.verdict is simharness.Verdict.VERIFIED, result
    assert result.executions == 2
    return frozenset(result.outcomes)


def plain_tables(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT UNIQUE)")
    connection.execute("CREATE INDEX texts ON rows (text)")


def one(sql: str) -> Work:
    return lambda connection: connection.execute(sql).fetchone()


def insert(connection: sqlite3.Connection) -> Any:
    return connection.execute("INSERT INTO rows (text) VALUES ('a')").rowcount


def refused_insert_tells_the_last_row(connection: sqlite3.Connection) -> Any:
    return connection.execute("INSERT OR IGNORE INTO rows (id) VALUES (7)").lastrowid, insert(connection)


def function(connection: sqlite3.Connection) -> None:
    connection.create_function("twice", 1, lambda value: 2 * value)


def calls_function(connection: sqlite3.Connection) -> Any:
    try:
        return connection.execute("SELECT twice(2)").fetchone()
    except sqlite3.OperationalError as error:
        return str(error)


def leaves_a_transaction_open(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    insert(connection)


def sets_attributes(connection: sqlite3.Connection) -> None:
    connection.row_factory = sqlite3.Row
    connection.text_factory = bytes
    connection.isolation_level = None


def attributes(connection: sqlite3.Connection) -> Any:
    return connection.row_factory, connection.text_factory, connection.isolation_level


def closes(connection: sqlite3.Connection) -> str:
    cursor = connection.cursor()
    cursor.execute("SELECT 1").fetchone()
    connection.close()
    connection.close()
    said = []
    calls: list[Callable[[], Any]] = [
        connection.cursor, connection.commit, connection.__enter__, lambda: connection.execute("SELECT 1"), cursor.close,
        lambda: cursor.execute("SELECT 1"), cursor.fetchone, lambda: connection.in_transaction, lambda: connection("SELECT 1"),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(sqlite3.ProgrammingError) as refused:
            call()
        said.append(str(refused.value))
    return " ".join(sorted(set(said)))


DIRTY: dict[str, tuple[Work, Work]] = {
    "rows": (insert, one("SELECT count(*) FROM rows")),
    "a function": (function, calls_function),
    "a pragma": (one("PRAGMA foreign_keys = ON"), one("PRAGMA foreign_keys")),
    "a temporary table": (one("CREATE TEMP TABLE t (x)"), one("SELECT count(*) FROM sqlite_temp_master")),
    "another table": (one("CREATE TABLE t (x)"), one("SELECT count(*) FROM sqlite_master")),
    "the last row": (refused_insert_tells_the_last_row, lambda c: c.cursor().lastrowid),
    "the last row, in SQL": (insert, one("SELECT last_insert_rowid()")),
    "changes": (insert, lambda c: c.total_changes),
    "changes, in SQL": (insert, one("SELECT total_changes(), changes()")),
    "an open transaction": (leaves_a_transaction_open, lambda c: (c.in_transaction, one("SELECT count(*) FROM rows")(c))),
    "attributes": (sets_attributes, attributes),
    "an unfinished select": (lambda c: c.execute("SELECT 1 UNION SELECT 2").fetchone(), one("SELECT count(*) FROM rows")),
    "closing": (closes, one("SELECT count(*) FROM rows")),
}  # fmt: skip


@pytest.mark.parametrize("what", DIRTY)
def test_an_execution_does_not_see_what_the_one_before_did_to_its_connection(what: str) -> None:
    dirty, probe = DIRTY[what]
    assert outcomes(dirty, probe, kept=True) == outcomes(dirty, probe, kept=False)


def test_definitions_in_a_script_are_known_again() -> None:
    def script(connection: sqlite3.Connection) -> None:
        connection.executescript("CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT UNIQUE); CREATE TABLE more (x);")

    probe = one("SELECT group_concat(name) FROM sqlite_master")
    assert outcomes(insert, probe, kept=True, define=script) == outcomes(insert, probe, kept=False, define=script)


def test_a_setup_that_defines_something_else_than_before_gets_what_it_defines() -> None:
    runs = iter(range(1000))

    def changing(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT)")
        number = next(runs)
        connection.execute(f"CREATE TABLE number_{number} (x)")
        connection.execute(f"INSERT INTO number_{number} VALUES (1)")
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (2,)

    with pytest.raises(simharness.Nondeterminism, match="came to rows of memory of connection 1 number_0"):
        outcomes(insert, one("SELECT count(*) FROM rows"), kept=True, define=changing)


def test_a_connection_that_the_program_still_has_is_not_handed_out_again() -> None:
    had: list[sqlite3.Connection] = []

    def hoard(connection: sqlite3.Connection) -> int:
        had.append(connection)
        return len(set(map(id, had))) - len(had)

    assert outcomes(lambda connection: None, hoard, kept=True) == {("begin", 0), ("used", "None")}


def test_kept_connections_are_really_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[object] = []
    take = sqlite_reuse.Keeper.take

    def watched(self: sqlite_reuse.Keeper, key: object) -> object:
        found = take(self, key)
        taken.append(found is not None)
        return found

    monkeypatch.setattr(sqlite_reuse.Keeper, "take", watched)
    outcomes(lambda connection: connection.close(), one("SELECT count(*) FROM rows"), kept=True)
    assert taken.count(True) >= 2


def test_an_actor_may_be_the_first_to_use_a_kept_connection_and_do_so_in_a_with_statement() -> None:
    def scenario(world: simharness.World) -> None:
        connection = sqlite3.connect(":memory:", check_same_thread=False)
        connection.execute("CREATE TABLE t(x)")

        def inserts(number: int) -> None:
            with connection:
                connection.execute("INSERT INTO t VALUES (?)", (number,))

        world.actor("a", inserts, 1)
        world.actor("b", inserts, 2)
        world.at_end(lambda: world.outcome(connection.execute("SELECT count(*) FROM t").fetchone()[0]))

    result = simharness.explore(scenario)
    assert (result.verdict, result.outcomes) == (simharness.Verdict.VERIFIED, {2})
