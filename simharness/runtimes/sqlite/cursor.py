"""Cursors: each statement is declared, waits for its turn, and is then done by the genuine cursor."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

from simharness.engine.phases import INSPECTING, RUNNING
from simharness.errors import Refused
from simharness.places import caller
from simharness.runtimes.sqlite.database import Link
from simharness.runtimes.sqlite.effects import database_error, fail, record, record_script
from simharness.runtimes.sqlite.kept.scripts import statements as split
from simharness.runtimes.sqlite.learning import end_keeping, end_keeping_if_seen, end_tape, learn
from simharness.runtimes.sqlite.locking import LOST_ACK, declare, declare_fetch, try_again
from simharness.runtimes.sqlite.sharing import enter, note_mover, note_use, passing, quick
from simharness.runtimes.sqlite.statements import COMMIT, ROLLBACK, TIMEOUT, UNKNOWN, WRITE, Shape

Cursor = sqlite3.Cursor
LEGACY = -1
"""What `autocommit` is for a connection that is governed by its `isolation_level`."""
set_level: Any = vars(sqlite3.Connection)["isolation_level"]
execute = sqlite3.Cursor.execute
_lastrowid = vars(sqlite3.Cursor)["lastrowid"].__get__
_cursor_executemany = sqlite3.Cursor.executemany
_ATTACHED = re.compile(r"\s*(?:DATABASE\s+)?(['\"])(:memory:)?\1", re.IGNORECASE)


class SimCursor(Cursor):
    """A cursor whose statements are scheduling points; fetching its rows is none, but a use of the connection."""

    _link: Link
    mover: Any = None
    shape: Shape | None = None

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        """Do one statement."""
        return statement(self, sql, parameters, execute)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Any:
        """Do one statement for each set of parameters, as one step."""
        return statement(self, sql, list(parameters), _cursor_executemany)

    def executescript(self, script: str, /) -> Any:
        """Do the statements of a script one after the other, each a step of its own."""
        link = self._link
        enter(link)
        connection = link.connection
        end_tape(link)
        link.spoilt = link.spoilt or link.tape is None
        end_keeping_if_seen(link, script)
        if link.autocommit == LEGACY and connection.in_transaction:
            connection.commit()
        scripts = link.remembered.scripts
        statements = scripts.get(script)
        if statements is None:
            statements = scripts[script] = split(script)
        if link.kernel.phase not in (RUNNING, INSPECTING) and not any("BEGIN" in text.upper() for text in statements):
            Cursor.executescript(self, script)
            record_script(link, script)
            return self
        level, link.level = link.level, None
        if level is not None:
            set_level.__set__(connection, None)
        try:
            for text in statements:
                SimCursor.execute(self, text)
                Cursor.fetchall(self)
        finally:
            link.level = level
            if level is not None:
                set_level.__set__(connection, level)
        return self

    def fetchone(self) -> Any:
        """Fetch one row."""
        self._uses()
        return super().fetchone()

    def fetchmany(self, size: int | None = None) -> Any:
        """Fetch some rows."""
        self._uses()
        return super().fetchmany(self.arraysize if size is None else size)

    def fetchall(self) -> Any:
        """Fetch all rows."""
        self._uses()
        return super().fetchall()

    def __next__(self) -> Any:
        self._uses()
        return super().__next__()

    def _uses(self) -> None:
        link = self._link
        kernel = link.kernel
        if self.mover is kernel.actor and passing(link):
            return
        if link.closed:
            enter(link)
        if kernel.phase == RUNNING and not kernel.dying and link.is_open(self):
            assert kernel.actor is not None
            note_mover(link, self)
            note_use(link, kernel.actor)

    def close(self) -> None:
        """Close; an open transaction is rolled back first."""
        link = self._link
        if link.kernel.dying or link.closed:
            enter(link)
        super().close()

    @property
    def lastrowid(self) -> int | None:
        """The row that was inserted last on this connection."""
        link: Link | None = getattr(self, "_link", None)
        own = self.shape is not None and self.shape.inserts and self.rowcount > 0
        if link is not None and not own:
            end_keeping(link)
        found: int | None = _lastrowid(self)
        return found


class TalkingCursor(SimCursor):
    """A cursor that tells of its rows: used on shared connections, where fetching is a point, and for timelines."""

    def fetchone(self) -> Any:
        """Fetch one row."""
        row = super().fetchone() if self._fetches() else None
        self._tell(row)
        return row

    def fetchmany(self, size: int | None = None) -> Any:
        """Fetch some rows."""
        self._fetches()
        rows = super().fetchmany(self.arraysize if size is None else size)
        self._tell(*rows)
        return rows

    def fetchall(self) -> Any:
        """Fetch all rows."""
        self._fetches()
        rows = super().fetchall()
        self._tell(*rows)
        return rows

    def __next__(self) -> Any:
        self._fetches()
        row = super().__next__()
        self._tell(row)
        return row

    def _fetches(self) -> bool:
        link = self._link
        enter(link)
        if link.exposed and link.is_open(self):
            declare_fetch(link)
        return True

    def _tell(self, *rows: Any) -> None:
        kernel = self._link.kernel
        if kernel.tracing:
            shown = [_shown(row) for row in rows[:3]]
            if len(rows) > 3:
                shown.append(f"… {len(rows)} rows")
            kernel.note(", ".join(shown) or "no rows")


def _shown(row: Any) -> str:
    return "no row" if row is None else repr(tuple(row)) if isinstance(row, (tuple, sqlite3.Row)) else repr(row)


def statement(cursor: SimCursor, sql: str, parameters: Any, call: Callable[..., Any]) -> Any:
    """Do one statement: a point if it has to be one, then the real call."""
    try:
        link = cursor._link
    except AttributeError:
        raise Refused(f"{caller() or '?'}: make cursors with connection.cursor(), not with the class") from None
    known = passing(link)
    if not known:  # a tape ends before actors move
        enter(link)
        if link.tape is not None:
            end_tape(link)
    if type(sql) is not str:
        return call(cursor, sql, parameters)
    shape = learn(link, sql)
    cursor.shape = shape if call is execute else None
    note_mover(link, cursor)
    if shape.plain and (known or quick(link)):
        call(cursor, sql, parameters)
        if shape.rows:
            link.opened(cursor)
        return cursor
    return _in_turn(link, cursor, shape, parameters, call)


def _in_turn(link: Link, cursor: SimCursor, shape: Shape, parameters: Any, call: Callable[..., Any]) -> Any:
    """Declare a statement, wait for its turn, do it, and record what became of the transaction."""
    sql = shape.sql
    while True:
        declare(link, shape, cursor)
        if shape.kind != UNKNOWN or link.fault is not None:
            break
        shape = learn(link, sql)
        if shape.kind == UNKNOWN:
            break
    text = sql
    if not shape.plain and link.tape is None:
        link.spoilt = True
        end_keeping_if_seen(link, sql)
    if shape.kind == TIMEOUT:
        text = _busy_timeout(link, shape)
    elif shape.verb == "ATTACH" and not _ATTACHED.match(shape.argument):
        raise Refused(f"{caller() or '?'}: {sql}: attached files are not simulated; open a connection of its own")
    elif shape.verb == "PRAGMA" and shape.argument.lower().startswith("locking_mode e"):
        raise Refused(f"{caller() or '?'}: {sql}: exclusive locking mode is not simulated")
    attempt(link, shape, lambda: call(cursor, text, parameters))
    if shape.rows:
        link.opened(cursor)
    if link.kernel.tracing:
        _tell(link, shape, cursor)
    return cursor


def attempt(link: Link, shape: Shape, call: Callable[[], Any]) -> None:
    """Make the real call, again after each virtual wait that follows a refusal; record what became of the transaction."""
    kernel = link.kernel
    if kernel.tracing and kernel.record.operations and kernel.record.operations[-1].detail != shape.sql:
        kernel.note(shape.sql)
    fault, link.fault = link.fault, None
    while True:
        try:
            if fault is not None and fault != LOST_ACK:
                fail(link, fault)
            call()
        except BaseException as error:
            record(link, shape, error)
            if isinstance(error, sqlite3.Error) and try_again(link, shape, error):
                continue
            link.kernel.note(f"{type(error).__name__}: {error}")
            raise
        break
    committed = link.written
    record(link, shape)
    if shape.kind in (COMMIT, ROLLBACK) and link.kernel.tracing:
        done = "committed" if shape.kind == COMMIT else "rolled back"
        tables = {name: committed.count(name) for name in committed}
        link.kernel.note(f"{done}: {', '.join(f'{name} ({count})' for name, count in tables.items()) or 'nothing'}")
        link.written = []
    if fault == LOST_ACK:
        kernel.note("the caller is told that it failed")
        raise database_error("IOERR")


def _busy_timeout(link: Link, shape: Shape) -> str:
    """`PRAGMA busy_timeout`: the virtual one; return a statement that answers as the pragma does."""
    _, _, value = shape.argument.partition(" ")
    if value:
        with contextlib.suppress(ValueError):
            link.timeout = max(0, int(value)) * 1_000_000
    return f"SELECT {link.timeout // 1_000_000} AS timeout"


def _tell(link: Link, shape: Shape, cursor: sqlite3.Cursor) -> None:
    if shape.kind == WRITE:
        rows = cursor.rowcount
        if rows > 0:
            link.written.extend(list(shape.tables[:1]) * rows)
        if rows >= 0:
            link.kernel.note(f"{rows} row{'' if rows == 1 else 's'}")
