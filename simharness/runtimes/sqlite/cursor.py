"""Cursors: each statement is declared, waits for its turn, and then runs on the genuine cursor."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

from simharness.engine.phases import INSPECTING, RUNNING
from simharness.errors import Refused
from simharness.places import caller
from simharness.runtimes.sqlite import ends
from simharness.runtimes.sqlite.database import Link
from simharness.runtimes.sqlite.effects import database_error, fail, record, record_script
from simharness.runtimes.sqlite.kept.image import in_transaction
from simharness.runtimes.sqlite.kept.scripts import statements as split
from simharness.runtimes.sqlite.learning import end_keeping, end_keeping_if_seen, end_tape, learn
from simharness.runtimes.sqlite.locking import LOST_ACK, declare, declare_fetch, try_again
from simharness.runtimes.sqlite.sharing import enter, note_mover, note_use, passing, quick
from simharness.runtimes.sqlite.statements import COMMIT, ROLLBACK, TIMEOUT, UNKNOWN, WRITE, Shape

Cursor = sqlite3.Cursor
LEGACY = -1
"""What `autocommit` is for a connection that `isolation_level` governs."""
set_level: Any = vars(sqlite3.Connection)["isolation_level"]
execute = sqlite3.Cursor.execute
_lastrowid = vars(sqlite3.Cursor)["lastrowid"].__get__
_cursor_executemany = sqlite3.Cursor.executemany
_ATTACHED = re.compile(r"\s*(?:DATABASE\s+)?(['\"])(:memory:)?\1", re.IGNORECASE)


class SimCursor(Cursor):
    """A cursor whose statements are scheduling points; fetching rows is not one, only a use of the connection."""

    _link: Link
    mover: Any = None
    shape: Shape | None = None

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        """Run one statement."""
        return statement(self, sql, parameters, execute)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Any:
        """Run one statement for each set of parameters, as one step."""
        return statement(self, sql, list(parameters), _cursor_executemany)

    def executescript(self, script: str, /) -> Any:
        """Run the statements of a script in order, each as its own step."""
        link = self._link
        enter(link)
        connection = link.connection
        end_tape(link)
        link.spoilt = link.spoilt or link.tape is None
        end_keeping_if_seen(link, script)
        if link.autocommit == LEGACY and in_transaction(connection):
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
        return self._fetch(super().fetchone) if self._uses() else super().fetchone()

    def fetchmany(self, size: int | None = None) -> Any:
        """Fetch some rows."""
        size = self.arraysize if size is None else size
        return self._fetch(lambda: Cursor.fetchmany(self, size)) if self._uses() else super().fetchmany(size)

    def fetchall(self) -> Any:
        """Fetch all rows."""
        return self._fetch(super().fetchall) if self._uses() else super().fetchall()

    def __next__(self) -> Any:
        return self._fetch(super().__next__) if self._uses() else super().__next__()

    def _uses(self) -> bool:
        """Note a use; return whether it was declared as a step that may end a read transaction."""
        link = self._link
        kernel = link.kernel
        if self.mover is kernel.actor and passing(link):
            return False
        if link.closed:
            enter(link)
        if kernel.phase == RUNNING and not kernel.dying and link.is_open(self):
            assert kernel.actor is not None
            note_mover(link, self)
            note_use(link, kernel.actor)
            return link.database.ends_matter and ends.declare_use(link, self)
        return False

    def _fetch(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        finally:
            ends.record_end(self._link)

    def close(self) -> None:
        """Close the cursor."""
        link = self._link
        if link.kernel.dying or link.closed:
            enter(link)
        if link.database.ends_matter and ends.declare_use(link, self):
            self._fetch(super().close)
        else:
            super().close()

    @property
    def lastrowid(self) -> int | None:
        """The row inserted last on this connection."""
        link: Link | None = getattr(self, "_link", None)
        own = self.shape is not None and self.shape.inserts and self.rowcount > 0
        if link is not None and not own:
            end_keeping(link)
        row: int | None = _lastrowid(self)
        return row


class ReportingCursor(SimCursor):
    """A cursor that reports its rows: used on shared connections, where fetching is a point, and for timelines."""

    def fetchone(self) -> Any:
        """Fetch one row."""
        row = super().fetchone() if self._fetches() else None
        self._report(row)
        return row

    def fetchmany(self, size: int | None = None) -> Any:
        """Fetch some rows."""
        self._fetches()
        rows = super().fetchmany(self.arraysize if size is None else size)
        self._report(*rows)
        return rows

    def fetchall(self) -> Any:
        """Fetch all rows."""
        self._fetches()
        rows = super().fetchall()
        self._report(*rows)
        return rows

    def __next__(self) -> Any:
        self._fetches()
        row = super().__next__()
        self._report(row)
        return row

    def _fetches(self) -> bool:
        link = self._link
        enter(link)
        if link.exposed and link.is_open(self):
            declare_fetch(link)
            ends.note_step(link, self)
        return True

    def _report(self, *rows: Any) -> None:
        kernel = self._link.kernel
        if kernel.tracing:
            shown = [_shown(row) for row in rows[:3]]
            if len(rows) > 3:
                shown.append(f"… {len(rows)} rows")
            kernel.note(", ".join(shown) or "no rows")


def _shown(row: Any) -> str:
    return "no row" if row is None else repr(tuple(row)) if isinstance(row, (tuple, sqlite3.Row)) else repr(row)


def statement(cursor: SimCursor, sql: str, parameters: Any, call: Callable[..., Any]) -> Any:
    """Run one statement: a point where it has to be one, then the real call."""
    try:
        link = cursor._link
    except AttributeError:
        raise Refused(f"{caller() or '?'}: make cursors with connection.cursor(), not with the class") from None
    known = passing(link)
    if not known:  # a tape ends before actors run
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
    """Declare a statement, wait for its turn, run it, and record the state of the transaction."""
    sql = shape.sql
    link.drops = link.database.ends_matter and ends.continued(link, cursor)
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
    if shape.rows and link.database.ends_matter:
        ends.watch(link, cursor, shape)
    elif shape.rows:
        link.opened(cursor)
    if link.kernel.tracing:
        _report_changes(link, shape, cursor)
    return cursor


def attempt(link: Link, shape: Shape, call: Callable[[], Any]) -> None:
    """Make the real call, again after each virtual wait that follows a refusal; record the state of the transaction."""
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
            _record_drop(link)
            if isinstance(error, sqlite3.Error) and try_again(link, shape, error):
                continue
            link.kernel.note(f"{type(error).__name__}: {error}")
            raise
        break
    committed = link.written
    record(link, shape)
    _record_drop(link)
    if shape.kind in (COMMIT, ROLLBACK) and link.kernel.tracing:
        done = "committed" if shape.kind == COMMIT else "rolled back"
        tables = {name: committed.count(name) for name in committed}
        link.kernel.note(f"{done}: {', '.join(f'{name} ({count})' for name, count in tables.items()) or 'nothing'}")
        link.written = []
    if fault == LOST_ACK:
        kernel.note("the caller sees a failure")
        raise database_error("IOERR")


def _record_drop(link: Link) -> None:
    if link.drops:
        link.drops = False
        ends.record_end(link)


def _busy_timeout(link: Link, shape: Shape) -> str:
    """Set the virtual timeout for `PRAGMA busy_timeout`; return a statement with the pragma's answer."""
    _, _, value = shape.argument.partition(" ")
    if value:
        with contextlib.suppress(ValueError):
            link.timeout = max(0, int(value)) * 1_000_000
    return f"SELECT {link.timeout // 1_000_000} AS timeout"


def _report_changes(link: Link, shape: Shape, cursor: sqlite3.Cursor) -> None:
    if shape.kind == WRITE:
        rows = cursor.rowcount
        if rows > 0:
            link.written.extend(list(shape.tables[:1]) * rows)
        if rows >= 0:
            link.kernel.note(f"{rows} row{'' if rows == 1 else 's'}")
