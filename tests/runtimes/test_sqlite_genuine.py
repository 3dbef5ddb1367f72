"""The claims about SQLite's locking on which the model rests, checked on two genuine connections."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

Pair = tuple[sqlite3.Connection, sqlite3.Connection]

_opened: list[sqlite3.Connection] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


def opened(path: Path, timeout: float = 0.0) -> sqlite3.Connection:
    _opened.append(sqlite3.connect(path / "x.db", timeout=timeout, isolation_level=None))
    return _opened[-1]


def pair(path: Path, wal: bool, timeout: float = 0.0) -> Pair:
    a, b = (opened(path, timeout) for _ in "ab")
    if wal:
        a.execute("PRAGMA journal_mode=WAL")
    a.execute("CREATE TABLE t(x)")
    a.execute("INSERT INTO t VALUES (1)")
    return a, b


def refused(connection: sqlite3.Connection, sql: str) -> tuple[str, float]:
    before = time.monotonic()
    with pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute(sql)
    return caught.value.sqlite_errorname, time.monotonic() - before


def test_a_deferred_transaction_with_a_stale_snapshot_is_refused_at_once(tmp_path: Path) -> None:
    a, b = pair(tmp_path, wal=True, timeout=5)
    a.execute("BEGIN")
    a.execute("SELECT * FROM t").fetchall()
    b.execute("INSERT INTO t VALUES (2)")
    name, waited = refused(a, "INSERT INTO t VALUES (3)")
    assert name == "SQLITE_BUSY_SNAPSHOT"
    assert waited < 1
    assert a.in_transaction


def test_a_deferred_transaction_with_a_snapshot_does_not_wait_for_the_write_lock(tmp_path: Path) -> None:
    a, b = pair(tmp_path, wal=True, timeout=5)
    a.execute("BEGIN")
    a.execute("SELECT * FROM t").fetchall()
    b.execute("BEGIN IMMEDIATE")
    name, waited = refused(a, "INSERT INTO t VALUES (3)")
    assert name == "SQLITE_BUSY"
    assert waited < 1


def test_a_deferred_transaction_without_a_snapshot_waits_for_the_write_lock_and_has_none_afterwards(tmp_path: Path) -> None:
    a, b = pair(tmp_path, wal=True, timeout=0.1)
    b.execute("BEGIN IMMEDIATE")
    a.execute("BEGIN")
    name, waited = refused(a, "INSERT INTO t VALUES (3)")
    assert name == "SQLITE_BUSY"
    assert waited >= 0.1
    b.execute("UPDATE t SET x = 7")
    b.execute("COMMIT")
    assert a.execute("SELECT x FROM t").fetchall() == [(7,)]


def test_a_begin_immediate_inside_a_transaction_takes_the_lock_though_it_is_an_error(tmp_path: Path) -> None:
    a, b = pair(tmp_path, wal=True)
    a.execute("BEGIN")
    with pytest.raises(sqlite3.OperationalError, match="within a transaction"):
        a.execute("BEGIN IMMEDIATE")
    assert refused(b, "BEGIN IMMEDIATE")[0] == "SQLITE_BUSY"


def test_a_write_that_changes_no_row_needs_the_write_lock_all_the_same(tmp_path: Path) -> None:
    a, b = pair(tmp_path, wal=True)
    b.execute("BEGIN IMMEDIATE")
    assert refused(a, "UPDATE t SET x = 1 WHERE x = 99")[0] == "SQLITE_BUSY"
    assert a.execute("SELECT x FROM t").fetchall() == [(1,)]


def test_a_write_that_breaks_a_constraint_keeps_the_lock_of_its_transaction(tmp_path: Path) -> None:
    a, b = pair(tmp_path, wal=True)
    a.execute("CREATE UNIQUE INDEX only ON t(x)")
    a.execute("BEGIN")
    with pytest.raises(sqlite3.IntegrityError):
        a.execute("INSERT INTO t VALUES (1)")
    assert refused(b, "BEGIN IMMEDIATE")[0] == "SQLITE_BUSY"


def test_without_wal_a_commit_waits_for_readers_keeps_its_transaction_and_shuts_new_readers_out(tmp_path: Path) -> None:
    a, b = pair(tmp_path, wal=False, timeout=0.1)
    b.execute("BEGIN")
    b.execute("SELECT * FROM t").fetchall()
    a.execute("BEGIN IMMEDIATE")
    a.execute("UPDATE t SET x = 2")
    name, waited = refused(a, "COMMIT")
    assert name == "SQLITE_BUSY"
    assert waited >= 0.1
    assert a.in_transaction
    c = opened(tmp_path)
    assert refused(c, "SELECT * FROM t")[0] == "SQLITE_BUSY"
    b.execute("ROLLBACK")
    a.execute("COMMIT")
    assert c.execute("SELECT x FROM t").fetchall() == [(2,)]


def test_without_wal_a_reader_that_wants_to_write_does_not_wait(tmp_path: Path) -> None:
    a, b = pair(tmp_path, wal=False, timeout=5)
    a.execute("BEGIN IMMEDIATE")
    b.execute("BEGIN")
    b.execute("SELECT * FROM t").fetchall()
    name, waited = refused(b, "INSERT INTO t VALUES (2)")
    assert name == "SQLITE_BUSY"
    assert waited < 1
