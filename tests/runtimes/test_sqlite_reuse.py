"""Connections that are kept between executions: nobody can tell, whatever was done to them in the execution before."""

from __future__ import annotations

import os
import shutil
import sqlite3
import weakref
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import simharness
from simharness.runtimes.sqlite.kept import image as sqlite_kept
from simharness.runtimes.sqlite.kept.keeper import Keeper

Work = Callable[[sqlite3.Connection], Any]


KINDS = ("memory", "wal", "rollback journal")


def database(world: simharness.World, kind: str) -> str:
    """Return what to open: a file that is not there when set-up begins, or memory."""
    if kind == "memory":
        return ":memory:"
    path = world.path("x.db")
    assert not os.path.exists(path)
    return str(path)


def outcomes(dirty: Work, probe: Work, *, kept: bool, define: Work | None = None, kind: str = "memory") -> frozenset[Any]:
    """Explore: set-up probes its new connection, one of two actors does something to it that may last; return what the probes saw."""

    def scenario(world: simharness.World) -> None:
        options: dict[str, Any] = {} if kept else {"factory": sqlite3.Connection}
        connection = sqlite3.connect(database(world, kind), check_same_thread=False, **options)
        if kind == "wal":
            connection.execute("PRAGMA journal_mode=WAL")
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


def defines_in_a_transaction(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN")
    connection.execute("CREATE VIEW texts_only AS SELECT text FROM rows")
    connection.commit()


def insert_text(connection: sqlite3.Connection, text: str) -> Any:
    return connection.execute("INSERT INTO rows (text) VALUES (?)", (text,)).lastrowid


def upserts(connection: sqlite3.Connection) -> Any:
    first = connection.execute("INSERT INTO rows (id, text) VALUES (3, 'c') ON CONFLICT (id) DO UPDATE SET text = text || 'c'")
    return first.rowcount, first.lastrowid, one("SELECT max(length(text)) FROM rows")(connection)


def tries(sql: str) -> Work:
    def work(connection: sqlite3.Connection) -> Any:
        try:
            return one(sql)(connection)
        except sqlite3.OperationalError as error:
            return str(error)

    return work


def opens_a_blob(connection: sqlite3.Connection) -> str:
    row = insert_text(connection, "a")
    connection.commit()
    blob = connection.blobopen("rows", "text", row, readonly=True)
    connection.close()
    with pytest.raises(sqlite3.ProgrammingError) as refused:
        blob.read()
    return str(refused.value)


def copied(connection: sqlite3.Connection) -> bytes:
    with closing(sqlite3.connect(":memory:")) as copy:
        connection.backup(copy)
        return copy.serialize()


HELD: list[weakref.ref[sqlite3.Connection]] = []


def is_weakly_held(connection: sqlite3.Connection) -> None:
    HELD.append(weakref.ref(connection))


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
    "the version of the data": (insert, one("PRAGMA data_version")),
    "the version of the schema": (one("CREATE INDEX other ON rows (id, text)"), one("PRAGMA schema_version")),
    "a view, in a transaction": (defines_in_a_transaction, one("SELECT group_concat(name) FROM sqlite_master")),
    "an upsert's row": (upserts, upserts),
    "a temporary table, of rows": (one("CREATE TEMP TABLE t AS SELECT * FROM rows"), one("SELECT count(*) FROM sqlite_temp_master")),
    "an open blob": (opens_a_blob, one("SELECT count(*) FROM rows")),
    "the name of the database": (insert, lambda c: len(one("PRAGMA database_list")(c)[2])),
    "the journal mode": (tries("PRAGMA journal_mode = DELETE"), one("PRAGMA journal_mode")),
    "no journal": (tries("PRAGMA journal_mode = OFF"), one("PRAGMA journal_mode")),
    "bytes": (insert, lambda c: c.serialize()),
    "a copy's bytes": (insert, copied),
    "a weak reference": (is_weakly_held, lambda c: [held() for held in HELD if held() is not c].count(None) == len(HELD)),
    "a larger database": (lambda c: [insert_text(c, "b" * 9_000 + str(n)) for n in range(9)][:0], one("PRAGMA page_count")),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", DIRTY)
def test_an_execution_does_not_see_what_the_one_before_did_to_its_connection(what: str, kind: str) -> None:
    dirty, probe = DIRTY[what]
    assert outcomes(dirty, probe, kept=True, kind=kind) == outcomes(dirty, probe, kept=False, kind=kind)


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("what", DIRTY)
def test_connections_that_actors_and_checks_open_themselves_are_kept_too_and_nobody_can_tell(
    what: str, kind: str, taken: list[bool]
) -> None:
    dirty, probe = DIRTY[what]
    seen = []
    for options in ({}, {"factory": sqlite3.Connection}):

        def scenario(world: simharness.World, options: dict[str, Any] = options) -> None:
            path = database(world, kind)
            first = sqlite3.connect(path, check_same_thread=False)
            if kind == "wal":
                first.execute("PRAGMA journal_mode=WAL")
            plain_tables(first)
            turns = world.shared(0, "turns")

            def opened() -> sqlite3.Connection:
                return sqlite3.connect(path, isolation_level=None, check_same_thread=False, **options)

            def dirtier() -> None:
                turns.add(1)
                connection = opened()
                world.outcome(("before", probe(connection)))
                world.outcome(("used", str(dirty(connection))))

            def check() -> None:
                with closing(opened()) as connection:
                    world.outcome(("at the end", probe(connection)))

            world.actor("dirtier", dirtier)
            world.actor("other", turns.add, 1)
            world.at_end(check)

        result = simharness.explore(scenario)
        assert result.verdict is simharness.Verdict.VERIFIED, result
        seen.append((result.executions, result.outcomes))
    assert seen[0] == seen[1]


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

    with pytest.raises(simharness.Nondeterminism, match="ended with rows of memory of connection 1 number_0"):
        outcomes(insert, one("SELECT count(*) FROM rows"), kept=True, define=changing)


def test_a_connection_that_the_program_still_has_is_not_handed_out_again() -> None:
    had: list[sqlite3.Connection] = []

    def hoard(connection: sqlite3.Connection) -> int:
        had.append(connection)
        return len(set(map(id, had))) - len(had)

    assert outcomes(lambda connection: None, hoard, kept=True) == {("begin", 0), ("used", "None")}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each connection that could have been an earlier execution's whether it was."""
    found: list[bool] = []
    take = sqlite_kept.KeptDatabase.take

    def watched(self: sqlite_kept.KeptDatabase, which: int | str) -> object:
        connection = take(self, which)
        found.append(connection is not None)
        return connection

    monkeypatch.setattr(sqlite_kept.KeptDatabase, "take", watched)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_kept_connections_are_really_kept(kind: str, taken: list[bool]) -> None:
    outcomes(lambda connection: connection.close(), one("SELECT count(*) FROM rows"), kept=True, kind=kind)
    assert taken.count(True) >= 2


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_connection_that_a_check_closes_and_opens_again_is_kept_for_the_next_execution(kind: str, taken: list[bool]) -> None:
    def scenario(world: simharness.World) -> None:
        path = database(world, kind)
        connection = sqlite3.connect(path, check_same_thread=False)
        plain_tables(connection)
        cell = world.shared(0, "turns")
        world.actor("a", cell.add, 1)
        world.actor("b", cell.add, 1)

        def rows() -> Any:
            with closing(sqlite3.connect(path)) as another:
                return one("SELECT count(*) FROM rows")(another)

        world.at_end(lambda: world.outcome((rows(), rows(), rows())))

    assert simharness.explore(scenario).executions == 2
    assert taken[-3:] == [True, True, True]


@pytest.mark.parametrize("kind", KINDS)
def test_what_set_up_writes_before_it_reads_is_there_in_each_execution_with_the_counts_that_it_was_told(
    kind: str, taken: list[bool]
) -> None:
    def fill(connection: sqlite3.Connection) -> None:
        plain_tables(connection)
        told: list[Any] = []
        with_ids = connection.execute("INSERT INTO rows (text) VALUES (?)", ("a",))
        told += [with_ids.rowcount, with_ids.lastrowid, with_ids.fetchall()]
        told.append(connection.executemany("INSERT INTO rows (text) VALUES (?)", [("b",), ("c",)]).rowcount)
        connection.commit()
        told.append(connection.execute("UPDATE rows SET text = text || ?", ("!",)).rowcount)
        connection.commit()
        cursor = connection.execute("DELETE FROM rows WHERE id = :id", {"id": 2})
        told.append(cursor.rowcount)
        connection.commit()
        told.append(cursor.execute("SELECT count(*) FROM rows").fetchone())
        assert told == [1, 1, [], 2, 3, 1, (2,)]

    probe = one("SELECT group_concat(text), count(*) FROM rows")
    seen = outcomes(insert, probe, kept=True, define=fill, kind=kind)
    assert seen == outcomes(insert, probe, kept=False, define=fill, kind=kind) == {("begin", ("a!,c!", 2)), ("used", "1")}
    assert taken.count(True) >= 2


@pytest.mark.parametrize("kind", KINDS[1:])
def test_several_connections_to_one_file_are_kept_and_see_each_other_s_commits_only(kind: str, taken: list[bool]) -> None:
    def scenario(world: simharness.World) -> None:
        path = database(world, kind)

        def store() -> sqlite3.Connection:
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            if kind == "wal":
                connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript("BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS counts (name PRIMARY KEY, n); COMMIT;")
            return connection

        stores = [store(), store()]
        stores[0].execute("INSERT INTO counts VALUES ('x', 0)")

        def bump(connection: sqlite3.Connection) -> None:
            [value] = connection.execute("SELECT n FROM counts").fetchone()
            connection.execute("UPDATE counts SET n = ?", (value + 1,))

        world.actor("a", bump, stores[0])
        world.actor("b", bump, stores[1])
        world.at_end(lambda: world.outcome(stores[0].execute("SELECT n FROM counts").fetchone()))

    for strategy in ("dpor", "exhaustive"):
        assert simharness.explore(scenario, strategy=strategy, stop_on_first=False).outcomes == {(1,), (2,)}
    assert taken.count(True) > 2 * taken.count(False)


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("look", ["open", "copy", "os.open", "unlink", "replace"])
def test_whoever_looks_at_the_file_as_a_file_finds_what_it_would_find_without_keeping(kind: str, look: str) -> None:
    def looks(connection: sqlite3.Connection) -> Any:
        [(_, _, path)] = connection.execute("PRAGMA database_list").fetchall()
        if look == "unlink":
            os.unlink(path)
            return os.path.exists(path)
        if look == "replace":
            os.replace(path, path + ".old")
            with sqlite3.connect(path) as other:
                other.execute("CREATE TABLE another (x)")
            return os.path.exists(path)
        if look == "copy":
            shutil.copy(path, path + ".copy")
            with sqlite3.connect(path + ".copy") as other:
                return [row[0] for row in other.execute("SELECT name FROM sqlite_master ORDER BY 1")]
        if look == "open":
            return len(Path(path).read_bytes())
        descriptor = os.open(path, os.O_RDONLY)
        size = os.lseek(descriptor, 0, os.SEEK_END)
        os.close(descriptor)
        return size

    probe = one("SELECT count(*) FROM rows")
    assert outcomes(looks, probe, kept=True, kind=kind) == outcomes(looks, probe, kept=False, kind=kind)


def test_the_process_that_crashes_leaves_nothing_on_the_connection_that_the_next_execution_has() -> None:
    def scenario(world: simharness.World) -> None:
        path = database(world, "wal")
        stores = []
        for _ in range(2):
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            connection.executescript("PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS t (x);")
            stores.append(connection)

        def insert_twice(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO t VALUES (1)")
            connection.execute("INSERT INTO t VALUES (2)")
            connection.commit()

        world.actor("a", insert_twice, stores[0], process="a")
        world.actor("b", insert_twice, stores[1], process="b")

        def count() -> None:
            with closing(sqlite3.connect(path)) as connection:
                world.outcome(connection.execute("SELECT count(*) FROM t").fetchone()[0])

        world.at_end(count)

    for strategy in ("dpor", "exhaustive"):
        result = simharness.explore(scenario, strategy=strategy, stop_on_first=False, faults="crash=1")
        assert (result.verdict, result.outcomes) == (simharness.Verdict.VERIFIED, {2, 4}), result


def test_a_journal_mode_that_was_set_without_fetching_its_answer_is_known_before_the_first_table() -> None:
    def scenario(world: simharness.World) -> None:
        path = database(world, "wal")
        connections = [sqlite3.connect(path, isolation_level=None, timeout=0, check_same_thread=False) for _ in range(2)]
        answer = connections[0].execute("PRAGMA journal_mode=WAL")
        del answer
        connections[0].execute("CREATE TABLE t (x)")

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO t VALUES (1)")
            connection.commit()

        def read(connection: sqlite3.Connection) -> None:
            world.outcome(connection.execute("SELECT count(*) FROM t").fetchone()[0])

        world.actor("writer", write, connections[0])
        world.actor("reader", read, connections[1])
        world.at_end(lambda: None)

    result = simharness.explore(scenario, stop_on_first=False)
    assert (result.verdict, result.executions, result.outcomes) == (simharness.Verdict.VERIFIED, 2, {0, 1}), result


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


@pytest.mark.parametrize("kind", KINDS)
def test_a_pragma_that_does_nothing_in_a_transaction_of_set_up_does_nothing_in_later_executions_either(kind: str) -> None:
    def define(connection: sqlite3.Connection) -> None:
        plain_tables(connection)
        connection.execute("INSERT INTO rows (text) VALUES ('a')")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.commit()

    probe = one("PRAGMA foreign_keys")
    assert outcomes(insert_text_b, probe, kept=True, define=define, kind=kind) == {("begin", (0,)), ("used", "2")}


def insert_text_b(connection: sqlite3.Connection) -> Any:
    return insert_text(connection, "b")


@pytest.mark.parametrize("kind", KINDS)
def test_cursors_of_set_up_may_be_used_again(kind: str) -> None:
    def define(connection: sqlite3.Connection) -> None:
        plain_tables(connection)
        cursor = connection.execute("INSERT INTO rows (text) VALUES ('a')")
        connection.commit()
        cursor.executescript("CREATE TABLE more (x)")
        assert (cursor.rowcount, cursor.lastrowid, cursor.description) == (1, 1, None)
        again = connection.execute("INSERT INTO more VALUES (0)")
        again.execute("INSERT INTO more VALUES (1)")
        again.executemany("INSERT INTO more VALUES (?)", [(2,), (3,)])
        connection.commit()

    probe = one("SELECT count(*), max(x) FROM more")
    assert outcomes(insert_text_b, probe, kept=True, define=define, kind=kind) == {("begin", (4, 3)), ("used", "2")}


def test_a_view_that_a_script_makes_may_tell_of_what_its_connection_did() -> None:
    def define(connection: sqlite3.Connection) -> None:
        plain_tables(connection)
        one("SELECT 1")(connection)
        connection.executescript("CREATE VIEW told AS SELECT total_changes(), last_insert_rowid()")

    def scenario(world: simharness.World) -> None:
        path = database(world, "rollback journal")
        with closing(sqlite3.connect(path)) as first:
            define(first)
        connection = sqlite3.connect(path, check_same_thread=False)
        world.outcome(one("SELECT * FROM told")(connection))
        world.actor("a", insert, connection)

    assert simharness.explore(scenario, stop_on_first=False).outcomes == {(0, 0)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_connection_still_has_what_its_program_gave_it_and_its_errors(kind: str) -> None:
    def labelled(connection: sqlite3.Connection) -> Any:
        connection.label = "mine"  # type: ignore[attr-defined]
        connection.close()
        return connection.label, connection.Error, connection.row_factory  # type: ignore[attr-defined]

    probe = one("SELECT count(*) FROM rows")
    assert outcomes(labelled, probe, kept=True, kind=kind) == outcomes(labelled, probe, kept=False, kind=kind)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_set_up_that_changes_its_mind_had_done_is_done_with_the_values_of_then(kind: str) -> None:
    runs = iter(range(1000))

    def define(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT)")
        values = [""]
        for text in "abc":
            values[0] = text
            connection.execute("INSERT INTO rows (text) VALUES (?)", values)
        connection.execute("CREATE TABLE odd (x)" if next(runs) % 2 else "CREATE TABLE odd (y)")
        connection.commit()

    probe = one("SELECT group_concat(text, '') FROM rows")
    assert outcomes(lambda connection: None, probe, kept=True, define=define, kind=kind) == {("begin", ("abc",)), ("used", "None")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_of_the_execution_before_is_closed(kind: str) -> None:
    had: list[sqlite3.Connection] = []

    def scenario(world: simharness.World) -> None:
        for connection in had:
            with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
                connection.execute("SELECT 1")
        had[:] = [sqlite3.connect(database(world, kind), check_same_thread=False)]
        plain_tables(had[0])
        world.actor("a", insert, had[0])
        world.at_end(lambda: None)

    assert simharness.explore(scenario, stop_on_first=False).counterexample is None


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("move", ["rename", "unlink", "list"])
def test_a_database_whose_connections_are_closed_may_be_moved_or_removed(kind: str, move: str) -> None:
    def scenario(world: simharness.World) -> None:
        path = database(world, kind)
        connection = sqlite3.connect(path, check_same_thread=False)
        if kind == "wal":
            connection.execute("PRAGMA journal_mode=WAL")
        plain_tables(connection)

        def moves() -> None:
            insert(connection)
            connection.commit()
            connection.close()
            if move == "list":
                world.outcome(str(sorted(os.listdir(os.path.dirname(path)))))
                return
            new = path + "2" if move == "rename" else path
            os.rename(path, new) if move == "rename" else os.unlink(path)
            with closing(sqlite3.connect(new)) as other:
                world.outcome(one("SELECT group_concat(name) FROM sqlite_master")(other))
                other.execute("CREATE TABLE another (x)")

        world.actor("a", moves)
        world.at_end(lambda: None)

    expected = {"rename": ("rows,sqlite_autoindex_rows_1,texts",), "unlink": (None,), "list": "['x.db']"}
    result = simharness.explore(scenario, stop_on_first=False)
    assert (result.counterexample, result.outcomes) == (None, {expected[move]})


def test_set_up_may_choose_wal_after_it_has_read() -> None:
    def scenario(world: simharness.World) -> None:
        path = database(world, "wal")
        first, second = (sqlite3.connect(path, isolation_level=None, check_same_thread=False) for _ in range(2))
        plain_tables(first)
        world.outcome(one("PRAGMA journal_mode")(first))
        one("PRAGMA journal_mode = WAL")(first)
        world.actor("a", insert, second)
        world.at_end(lambda: world.outcome(one("SELECT count(*) FROM rows")(first)))

    result = simharness.explore(scenario, stop_on_first=False)
    assert (result.counterexample, result.outcomes) == (None, {("delete",), (1,)})


def test_a_file_s_connection_that_was_given_another_database_is_not_handed_out_again() -> None:
    def scenario(world: simharness.World) -> None:
        path = database(world, "rollback journal")
        plain_tables(sqlite3.connect(path))

        def other() -> None:
            for _ in range(2):
                with closing(sqlite3.connect(path)) as connection:
                    world.outcome(one("SELECT count(*) FROM sqlite_master")(connection))
                    empty = sqlite3.connect(":memory:")
                    connection.deserialize(empty.serialize())
                del connection

        world.actor("a", other)

    assert simharness.explore(scenario, stop_on_first=False).outcomes == {(3,)}


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_set_up_that_goes_on_otherwise_has_what_it_wrote_on_a_connection_that_it_has_let_go_of(kind: str, taken: list[bool]) -> None:
    runs = iter(range(1000))

    def scenario(world: simharness.World) -> None:
        path = database(world, kind)
        writer = sqlite3.connect(path, isolation_level=None)
        if kind == "wal":
            writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("CREATE TABLE rows (x)")
        writer.execute("INSERT INTO rows VALUES (1)")
        del writer
        other = sqlite3.connect(path, isolation_level=None)
        other.execute(*(("INSERT INTO rows VALUES (2)",) if next(runs) % 2 else ("INSERT INTO rows VALUES (?)", (2,))))
        assert other.execute("SELECT group_concat(x) FROM rows").fetchone() == ("1,2",)
        world.actor("one", world.step, "one")
        world.at_end(lambda: None)

    assert simharness.explore(scenario).verdict is simharness.Verdict.VERIFIED


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("faults", ["crash=1", "db_error=1@FULL", "lost_ack=1", "stall=1"])
@pytest.mark.parametrize("own", [False, True], ids=["connections of set-up", "connections of the actors"])
def test_faults_strike_alike_whether_databases_are_kept_or_not(
    kind: str, faults: str, own: bool, taken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def scenario(world: simharness.World) -> None:
        path = database(world, kind)

        def opened() -> sqlite3.Connection:
            return sqlite3.connect(path, isolation_level=None, timeout=2.0, check_same_thread=False)

        first = opened()
        if kind == "wal":
            first.execute("PRAGMA journal_mode=WAL")
        first.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY AUTOINCREMENT, x)")
        first.execute("INSERT INTO rows (x) VALUES (0)")
        connections = {"a": first, "b": opened()}
        results: dict[str, Any] = {}

        def work(name: str) -> None:
            connection = opened() if own else connections[name]
            try:
                connection.execute("BEGIN IMMEDIATE")
                row = connection.execute("INSERT INTO rows (x) VALUES (?)", (name,)).lastrowid
                [count] = connection.execute("SELECT count(*) FROM rows").fetchone()
                connection.execute("UPDATE rows SET x = ? WHERE id = 1", (count,))
                connection.commit()
                results[name] = row, count
            except sqlite3.Error as error:
                results[name] = error.sqlite_errorname
                if connection.in_transaction:
                    connection.rollback()

        for name in "ab":
            world.actor(name, work, name, process=name)

        def rows() -> None:
            with closing(sqlite3.connect(path)) as connection:
                world.outcome((tuple(sorted(results.items())), tuple(connection.execute("SELECT id, x FROM rows"))))

        world.at_end(rows)

    seen = []
    for may_keep in (True, False):
        monkeypatch.setattr(Keeper, "may_keep", may_keep)
        result = simharness.explore(scenario, stop_on_first=False, faults=faults)
        seen.append((result.verdict, result.executions, result.outcomes, result.redundant))
    assert seen[0] == seen[1]
    assert taken.count(True) > 10
