"""The state of a transaction after a statement: who holds the write lock, whether it has a snapshot, whether the schema changed.

`locking.declare` declares a statement and waits for its turn, the real library runs it with a real timeout of 0, and
`record` records the result. The library decides: a statement that it refuses fails with its own error.
"""

from __future__ import annotations

import sqlite3

from simharness.engine.operations import Operation
from simharness.engine.phases import RUNNING, SETUP
from simharness.runtimes.sqlite import kinds
from simharness.runtimes.sqlite.database import Link
from simharness.runtimes.sqlite.kept.image import in_transaction
from simharness.runtimes.sqlite.locking import WRITERS, busy
from simharness.runtimes.sqlite.statements import COMMIT, LOCAL, READ, RELEASE, ROLLBACK, ROLLBACK_TO, SAVEPOINT, SCHEMA, UNKNOWN, Shape

_ERRORS = {"BUSY": (5, "database is locked"), "IOERR": (10, "disk I/O error"), "FULL": (13, "database or disk is full")}


def database_error(name: str) -> sqlite3.OperationalError:
    """Return the library's exception for this result code of SQLite: BUSY, IOERR or FULL."""
    code, message = _ERRORS[name]
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode, error.sqlite_errorname = code, f"SQLITE_{name}"
    return error


def record(link: Link, shape: Shape, error: BaseException | None = None) -> None:
    """Record the state of the transaction after a statement that ran or was refused."""
    kind, database = shape.kind, link.database
    inside = in_transaction(link.connection)
    altered = error is None and kind == SCHEMA and (link.kernel.phase == SETUP or not _left_as_it_was(link, shape))
    ended = error is None and kind in (COMMIT, ROLLBACK, RELEASE) and link.ends(shape)
    if ended or (link.was_inside() and not inside):
        _record_end(link, kind if ended else UNKNOWN)
    elif inside and (kind in WRITERS):
        _record_write(link, shape, error, altered)
    elif inside and kind == READ and not link.holds and error is None:
        link.snapshot = link.sharing = True
    elif error is None and kind in (SAVEPOINT, RELEASE, ROLLBACK_TO):
        _record_savepoint(link, shape)
    if error is None:
        link.inside = inside
        if kind == SCHEMA or (kind == LOCAL and shape.prepares_anew):
            _record_schema(link, shape, altered)
        if kind == SCHEMA and not inside and shape.verb == "PRAGMA" and shape.argument.startswith("journal_mode"):
            database.asked_for(shape.argument.partition(" ")[2])
            link.report_held()


def record_script(link: Link, script: str) -> None:
    """Record that set-up ran a script."""
    link.database.changed_schema(script)
    link.database.read_header()


def fail(link: Link, name: str) -> None:
    """Raise this error; as in SQLite, BUSY leaves an open transaction open, and the other errors roll it back."""
    connection, error = link.connection, database_error(name)
    if name != "BUSY" and in_transaction(connection):
        link.kernel.note(f"a fault, {type(error).__name__}: {error}")
        sqlite3.Cursor(connection).execute("ROLLBACK")
    else:
        link.kernel.note("a fault")
    raise error


def record_loss(link: Link) -> None:
    """Record that the connection's process has died: SQLite has rolled its transaction back."""
    if link.was_inside() or link.sharing:
        _record_end(link, ROLLBACK)
    elif link.open and link.database.ends_matter:
        link.kernel.put(link.database.file, link.database.file.state + 1)


def _record_write(link: Link, shape: Shape, error: BaseException | None, altered: bool) -> None:
    """Record a write, or an attempt at one, in a transaction that is still open; `altered`: it may have changed the schema."""
    database = link.database
    if error is None:
        link.touched |= shape.writes
        link.altered |= altered
        link.numbered |= shape.numbers
    if link.holds:
        return
    if error is not None:
        refused = not isinstance(error, sqlite3.Error) or not getattr(error, "sqlite_errorcode", 0) or busy(error)
        if refused or database.private or not database.really_locked():
            return
        if database.lock.state not in (None, link.name):
            return
    link.holds = True
    database.put_lock(link.name)


def _record_end(link: Link, kind: int) -> None:
    held, sharing, altered = link.holds, link.sharing, link.altered
    link.holds = link.snapshot = link.sharing = link.altered = link.numbered = False
    link.touched = 0
    link.savepoints.clear()
    kernel, database = link.kernel, link.database
    if held and kind == UNKNOWN and kernel.phase == RUNNING and not database.alone:
        shared = link.bit if link.exposed else 0
        kernel.step(Operation(kinds.ROLLBACK, reads=database.every, writes=database.lock.bit | database.file.bit | shared))
    if held or (sharing and not database.wal):
        database.put_lock(None if held or database.lock.state == link.name else database.lock.state)
        if not held and not database.private and not (kernel.phase == RUNNING and database.alone):
            kernel.put(database.file, database.file.state + 1)
    if altered:
        database.changed_schema("ended", kind)


def _record_savepoint(link: Link, shape: Shape) -> None:
    names = link.savepoints
    if shape.kind == SAVEPOINT:
        if not link.inside:
            names.append("")
        names.append(shape.argument)
    elif shape.argument in names:
        last = len(names) - 1 - names[::-1].index(shape.argument)
        del names[last + (shape.kind == ROLLBACK_TO) :]


def _record_schema(link: Link, shape: Shape, altered: bool) -> None:
    if shape.kind == SCHEMA:
        if not altered or (shape.keeps_schema and link.kernel.phase != SETUP):
            return
        if not link.inside:
            link.database.changed_schema(shape.sql)
        else:
            link.altered = True
            link.database.changed_schema(shape.sql, "not committed")
        return
    if shape.verb == "PRAGMA":
        name = shape.argument.partition(" ")[0]
        others = [flag for flag in link.flags if flag.partition(" ")[0] != name]
        link.flags = (*others, shape.argument)
    else:
        link.flags = (*link.flags, shape.sql)
    link.book = None


def _left_as_it_was(link: Link, shape: Shape) -> bool:
    """Whether a statement that may have changed the schema has not: a virtual table may do anything, and mostly inserts rows."""
    if shape.cookie is None:
        return False
    cursor = sqlite3.Cursor(link.connection)
    cursor.row_factory = None
    try:
        row: tuple[int] | None = cursor.execute("PRAGMA main.schema_version").fetchone()
    except sqlite3.Error:
        return False
    finally:
        cursor.close()
    return row == (shape.cookie,)
