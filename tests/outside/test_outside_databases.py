"""Databases of strangers: queried in a copy that runs nothing, deletes nothing, and ends; a hot rollback journal settles nothing."""

import contextlib
import json
import os
import shutil
import sqlite3
import struct

import pytest
from typer.testing import CliRunner

from simharness.cli import main as cli
from simharness.errors import Misuse
from simharness.incident.copies import answers, hot_journal
from tests.outside.hostile import NASTY, SEAT, SHOP, a_database, at_most, damaged, is_visible

QUERY = "SELECT who, n FROM seats WHERE who = :session OR 1"
ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"


@pytest.fixture(autouse=True)
def without_fresh_processes(monkeypatch):
    monkeypatch.setattr("simharness.incident.answer.confirmed", lambda results, *_: list(results))


def asked(path, *queries, seconds=5.0):
    with at_most(20):
        return answers(str(path), queries or (QUERY,), {"session": "alice"}, seconds)


def shop(folder, *options):
    """Ask what a log and a database say; return the exit status, the output and stderr."""
    (folder / "shop.py").write_text(SHOP)
    (folder / "shop.log").write_text(SEAT.format(number=1, who="zoe") + SEAT.format(number=2, who="yan"))
    sessions = [option for who in ("zoe", "yan") for option in ("--session", who)]
    arguments = ["incident", str(folder / "shop.log"), "--scenario", f"{folder / 'shop.py'}::tickets", *sessions, *options]
    done = CliRunner().invoke(cli.app, arguments)
    assert is_visible(done.output)
    return done.exit_code, done.output, done.stderr


def hot(folder, names=b""):
    """Make a database with a hot rollback journal, which names a super-journal if `names` is given."""
    path = a_database(folder / "busy.db")
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA cache_size=1")
    writer.execute("CREATE TABLE large(x)")
    writer.execute("BEGIN")
    writer.execute("INSERT INTO seats SELECT 'x', 1")
    writer.executemany("INSERT INTO large VALUES (?)", [("x" * 4_000,) for _ in range(100)])
    target = folder / "state.db"
    shutil.copyfile(path, target)
    shutil.copyfile(f"{path}-journal", f"{target}-journal")
    writer.execute("ROLLBACK")
    writer.close()
    if names:
        with open(f"{target}-journal", "ab") as journal:
            journal.write(struct.pack(">I", 0x40000000 // 4096 + 1) + names)
            journal.write(struct.pack(">II", len(names), sum(names)) + bytes.fromhex("d9d505f920a163d7"))
    return target


def test_plain_tables_are_read_with_functions_aggregates_and_tables_of_the_query_itself(tmp_path):
    path = a_database(tmp_path / "a.db")
    [plain, own, names] = asked(
        path,
        QUERY,
        ENDLESS.replace("FROM c", "FROM c WHERE x < 5") + " SELECT count(*) AS k, max(upper(who)) AS m FROM c, seats",
        "SELECT name FROM sqlite_master",
    )
    assert plain == [{"who": "alice", "n": 1}, {"who": "bob", "n": 0}]
    assert own == [{"k": 10, "m": "BOB"}]
    assert names == [{"name": "seats"}]


def test_a_database_in_write_ahead_mode_is_read_with_its_log_and_without_one(tmp_path):
    path = a_database(tmp_path / "a.db")
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("PRAGMA wal_autocheckpoint=0")
    writer.execute("INSERT INTO seats VALUES ('carol', 2)")
    assert len(asked(path)[0]) == 3
    writer.close()
    assert not os.path.exists(f"{path}-wal")
    assert len(asked(path)[0]) == 3


def test_a_hot_journal_deletes_nothing_and_the_database_settles_nothing(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = hot(tmp_path, names=os.fsencode(victim))
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    status, output, _ = shop(tmp_path, "--db", str(path), "--json", str(tmp_path / "answer.json"))
    assert status == 0  # as without the database, whose rows would contradict the log
    assert f"settles nothing: {os.path.realpath(path)}-journal has a transaction to undo" in output
    assert {file: file.read_bytes() for file in before} == before
    assert "settles nothing" in json.loads((tmp_path / "answer.json").read_text())["incident"]["notes"][0]


@pytest.mark.parametrize("make", [lambda path: open(path, "w").close(), lambda path: path.write_bytes(bytes(512)), lambda path: None])
def test_a_journal_that_has_nothing_to_undo_is_not_hot(tmp_path, make):
    path = a_database(tmp_path / "a.db")
    make(tmp_path / "a.db-journal")
    assert not hot_journal(str(path))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path), lambda path: os.symlink("none", path)])
def test_a_journal_that_cannot_be_looked_at_counts_as_hot(tmp_path, make):
    path = a_database(tmp_path / "a.db")
    make(tmp_path / "a.db-journal")
    with at_most(10):
        assert hot_journal(str(path)) == f"{os.path.realpath(path)}-journal"


def test_the_journal_is_looked_for_where_a_symbolic_link_leads(tmp_path):
    path = hot(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.db"
    link.symlink_to(path)
    assert hot_journal(str(link)) == os.path.realpath(f"{path}-journal")


REFUSED = {
    "a view": ("CREATE VIEW seats AS SELECT 'x' AS who, 1 AS n", "seats is a view in it, and only plain tables are read"),
    "an endless view": (f"CREATE VIEW seats AS {ENDLESS} SELECT x AS who, x AS n FROM c", "seats is a view"),
    "a view of a table": ("CREATE TABLE t(who, n); CREATE VIEW seats AS SELECT * FROM t", "seats is a view"),
    "a virtual table": ("CREATE VIRTUAL TABLE seats USING fts5(who, n)", "seats is a virtual table in it, which is not read"),
    "a large value that is computed": (
        "CREATE TABLE seats(who, n AS (hex(zeroblob(100000000)))); INSERT INTO seats VALUES ('a')",
        "too big",
    ),
    "a large value": ("CREATE TABLE seats(who, n); INSERT INTO seats VALUES ('a', zeroblob(30000000))", "too big"),
    "many rows": (
        f"CREATE TABLE seats(who, n); INSERT INTO seats {ENDLESS} SELECT x, x FROM c LIMIT 1000",
        "a query of the scenario has more than 500 rows for an answer",
    ),
    "many bytes": (
        f"CREATE TABLE seats(who, n); INSERT INTO seats {ENDLESS} SELECT x, zeroblob(10000000) FROM c LIMIT 8",
        "a query of the scenario has more than 67,108,864 bytes",
    ),
    "another program's tables": ("CREATE TABLE t(x)", "no such table: seats"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_plain_table_of_a_moderate_size_is_refused(tmp_path, kind):
    script, said = REFUSED[kind]
    path = a_database(tmp_path / "a.db", script)
    with pytest.raises(Misuse, match=said):
        asked(path)


def test_a_damaged_view_is_refused_by_its_definition_not_by_the_type_beside_it(tmp_path):
    path = a_database(tmp_path / "a.db", "CREATE VIEW seats AS SELECT 'x' AS who, 1 AS n")
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA writable_schema=ON")
    connection.execute("UPDATE sqlite_master SET type = 'table', rootpage = 2")
    connection.commit()
    connection.close()
    with pytest.raises(Misuse, match="does not answer"):
        asked(path)


@pytest.mark.parametrize(
    "query", ["SELECT count(*) AS k FROM seats", "SELECT EXISTS (SELECT 1 FROM seats)", "SELECT 1 WHERE (1, 2) IN seats"]
)
def test_a_view_is_refused_wherever_a_query_names_it(tmp_path, query):
    path = a_database(tmp_path / "a.db", "CREATE VIEW seats AS WITH own(a) AS (SELECT 1) SELECT a AS who, a AS n FROM own")
    with pytest.raises(Misuse, match="seats is a view"):
        asked(path, query)


@pytest.mark.parametrize(
    "query",
    [
        "ATTACH '/tmp/x.db' AS y",
        "PRAGMA journal_mode=DELETE",
        "INSERT INTO seats VALUES (1, 2)",
        "CREATE TEMP TABLE x(a)",
        "SELECT load_extension('x')",
    ],
)
def test_a_query_can_only_read(tmp_path, query):
    path = a_database(tmp_path / "a.db")
    before = path.read_bytes()
    with pytest.raises(Misuse, match="does not answer"):
        asked(path, query)
    assert path.read_bytes() == before


def test_a_query_without_end_is_given_up(tmp_path):
    with pytest.raises(Misuse, match=r"it took longer than 0\.2 s"):
        asked(a_database(tmp_path / "a.db"), f"{ENDLESS} SELECT count(*) FROM c", seconds=0.2)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path), lambda path: os.symlink(path, path)])
@pytest.mark.parametrize("ending", ["", "-wal"])
def test_a_database_and_its_log_are_regular_files(tmp_path, make, ending):
    path = tmp_path / "a.db"
    if ending:
        a_database(path)
    make(f"{path}{ending}")
    status, _, error = shop(tmp_path, "--db", str(path))
    assert status == 2
    assert "cannot be read" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("kind", NASTY)
def test_nasty_texts_in_rows_are_shown_visibly(tmp_path, kind):
    path = a_database(tmp_path / "a.db", "CREATE TABLE seats(who, n)")
    connection = sqlite3.connect(path)
    nasty = NASTY[kind].encode(errors="surrogatepass")
    connection.execute("INSERT INTO seats VALUES (CAST(? AS TEXT), 7)", (nasty,))
    connection.commit()
    connection.close()
    status, output, _ = shop(tmp_path, "--db", str(path))
    assert status == 1
    assert "none of them leaves the database as it was: seats: the incident has who=" in output


def test_rows_of_other_columns_are_said_to_be_that(tmp_path):
    made = '"CREATE TABLE seats(who TEXT, n INTEGER)"'
    script = SHOP.replace("SELECT who, n", "SELECT *").replace(made, f'{made}); database.execute("INSERT INTO seats VALUES (1, 1)"')
    path = a_database(tmp_path / "a.db", "CREATE TABLE seats(who, m); INSERT INTO seats VALUES ('a', 1)")
    (tmp_path / "shop.log").write_text(SEAT.format(number=1, who="zoe"))
    (tmp_path / "other.py").write_text(script)
    done = CliRunner().invoke(
        cli.app, ["incident", str(tmp_path / "shop.log"), "--scenario", f"{tmp_path / 'other.py'}::tickets", "--db", str(path)]
    )
    assert "the incident's rows have the columns who, m, the execution's who, n" in done.output


def _fuzzed(tmp_path, seeds):
    plain = a_database(tmp_path / "plain.db")
    many = a_database(
        tmp_path / "many.db",
        "CREATE TABLE seats(who TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID;"
        "CREATE TABLE t(x); CREATE INDEX i ON t(x); CREATE VIEW v AS SELECT 1;"
        f"INSERT INTO seats {ENDLESS} SELECT 'user' || x, x FROM c LIMIT 300;"
        f"INSERT INTO t {ENDLESS} SELECT zeroblob(3000) FROM c LIMIT 10",
    )
    for seed in seeds:
        path = tmp_path / "fuzz.db"
        path.write_bytes(damaged((plain, many)[seed % 2].read_bytes(), seed))
        with contextlib.suppress(Misuse):
            asked(path, QUERY, "SELECT count(*) AS k FROM seats WHERE who LIKE '%a%' ORDER BY n")


def test_fifty_damaged_databases_answer_or_are_refused(tmp_path):
    _fuzzed(tmp_path, range(50))


@pytest.mark.long
def test_five_hundred_damaged_databases_answer_or_are_refused(tmp_path):
    _fuzzed(tmp_path, range(50, 550))


@pytest.mark.long
def test_fifty_damaged_write_ahead_logs_answer_or_are_refused(tmp_path):
    path = a_database(tmp_path / "a.db")
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("PRAGMA wal_autocheckpoint=0")
    writer.execute("INSERT INTO seats VALUES ('carol', 2)")
    data, log = path.read_bytes(), (tmp_path / "a.db-wal").read_bytes()
    writer.close()
    for seed in range(50):
        (tmp_path / "fuzz.db").write_bytes(data)
        (tmp_path / "fuzz.db-wal").write_bytes(damaged(log, seed))
        with contextlib.suppress(Misuse):
            asked(tmp_path / "fuzz.db")
