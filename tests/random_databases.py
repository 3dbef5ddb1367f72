"""The SQL of random programs: one database with the tables t and u, each of one row, on one or several connections.

A session follows, from results alone, how far the transaction of each connection has come: what a statement conflicts with
depends on it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simharness import World

Tables = tuple[str, ...]
TABLES = ("t", "u")
STATEMENTS = ("select", "select", "update", "bump", "replace", "copy")
SQL = (*STATEMENTS, "begin", "commit", "rollback")
in_transaction = vars(sqlite3.Connection)["in_transaction"].__get__
"""The genuine one, which is no step: a session's own notes are no part of the program."""


@dataclass(frozen=True)
class Database:
    """The database of a program.

    `connections` gives the connection of each actor, `guarded` those of them that are used only under the program's last lock,
    `checked` the tables that an `always` check reads on a connection of its own.
    """

    connections: tuple[int, ...]
    wal: bool = True
    memory: bool = False
    level: str | None = None
    timeout: float = 0.0
    guarded: frozenset[int] = frozenset()
    checked: tuple[str, ...] = ()


@dataclass
class Transaction:
    """How far the transaction of a connection has come: a snapshot taken, the write lock held, tables written, anything changed."""

    snapshot: bool = False
    holds: bool = False
    touched: frozenset[str] = frozenset()
    changed: bool = False


class Session:
    """The connections of one execution."""

    def __init__(self, database: Database, world: World) -> None:
        self.database = database
        self.path = ":memory:" if database.memory else world.path("x.db")
        self.first = self.opened()
        if database.wal and not database.memory:
            self.first.execute("PRAGMA journal_mode=WAL")
        self.first.executescript("CREATE TABLE t(x); CREATE TABLE u(x); INSERT INTO t VALUES (0); INSERT INTO u VALUES (0);")
        several = range(max(database.connections) + 1)
        self.connections = [self.first if database.memory else self.opened() for _ in several]
        self.transactions = [Transaction() for _ in several]

    def opened(self) -> sqlite3.Connection:
        level, timeout = self.database.level, self.database.timeout
        return sqlite3.connect(self.path, timeout=timeout, isolation_level=level, check_same_thread=False)

    def checked(self) -> tuple[Any, ...]:
        """Read the tables that are checked."""
        return tuple(self.first.execute(f"SELECT x FROM {table}").fetchone()[0] for table in self.database.checked)


class Statements:
    """The instructions that are SQL; an actor has them all."""

    machine: Any
    me: int
    held: Any
    does: Any

    def begin(self, how: str) -> None:
        session, number = self.machine.session, self._number
        if session.database.connections.count(number) > 1 or not in_transaction(session.connections[number]):
            self._statement("begin", (how,), f"BEGIN {how}")

    def select(self, table: str) -> None:
        self._statement("select", (table,), f"SELECT x FROM {table}", reads=(table,))

    def update(self, table: str, value: int) -> None:
        self._statement("update", (table, value), f"UPDATE {table} SET x = {value}", writes=(table,))

    def bump(self, table: str) -> None:
        self._statement("bump", (table,), f"UPDATE {table} SET x = x + 1", reads=(table,), writes=(table,))

    def replace(self, table: str, old: int, new: int) -> None:
        sql = f"UPDATE {table} SET x = {new} WHERE x = {old}"
        self._statement("replace", (table, old, new), sql, reads=(table,), writes=(table,))

    def copy(self, table: str, source: str) -> None:
        self._statement("copy", (table, source), f"UPDATE {table} SET x = (SELECT x FROM {source})", reads=(source,), writes=(table,))

    def commit(self) -> None:
        self._statement("commit", (), "COMMIT")

    def rollback(self) -> None:
        self._statement("rollback", (), "ROLLBACK")

    @property
    def _number(self) -> int:
        number: int = self.machine.session.database.connections[self.me]
        return number

    def _statement(
        self, name: str, arguments: tuple[Any, ...], sql: str, reads: tuple[str, ...] = (), writes: tuple[str, ...] = ()
    ) -> None:
        session, number = self.machine.session, self._number
        lock = self.machine.program.locks - 1
        guarded = number in session.database.guarded and not self.held[lock]
        if guarded:
            self.lock(lock)  # type: ignore[attr-defined]  # the actor's
        connection, transaction = session.connections[number], session.transactions[number]
        inside = in_transaction(connection) or (bool(writes) and session.database.level is not None)
        facts = {
            "connection": number,
            "inside": inside,
            "was": (transaction.snapshot, transaction.holds, transaction.touched, transaction.changed),
            "reads": reads,
            "writes": writes,
            "locks": frozenset(lock for lock, depth in self.held.items() if depth),
        }
        call = _call(connection, name, sql)
        result = self.does(name, (number, *arguments), call, **facts)
        _follow(transaction, name, arguments, result, writes, inside)
        if not in_transaction(connection):
            session.transactions[number] = Transaction()
        if guarded:
            self.unlock(lock)  # type: ignore[attr-defined]  # the actor's


def _call(connection: sqlite3.Connection, name: str, sql: str) -> Callable[[], Any]:
    def call() -> Any:
        try:
            if name in ("commit", "rollback"):
                getattr(connection, name)()
                return 0
            cursor = connection.execute(sql)
            if name == "select":
                rows = cursor.fetchall()
                return rows[0][0] if rows else -1
            return cursor.rowcount
        except sqlite3.Error as error:
            return getattr(error, "sqlite_errorname", None) or type(error).__name__

    return call


def _follow(transaction: Transaction, name: str, arguments: tuple[Any, ...], result: Any, writes: tuple[str, ...], inside: bool) -> None:
    if name == "begin":
        transaction.holds |= arguments[0] == "IMMEDIATE" and result != "SQLITE_BUSY"  # the lock is taken before a second BEGIN is refused
    elif isinstance(result, str):
        return
    elif inside and writes:
        transaction.holds = True
        transaction.touched |= set(writes)
        transaction.changed |= result > 0
    elif inside and name == "select" and not transaction.holds:
        transaction.snapshot = True
