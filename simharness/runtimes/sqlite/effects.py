"""What became of a transaction: who holds the write lock after a statement, whether there is a snapshot, what the schema
is now.

`Link.before` declares a statement and waits for its turn, the real library does the work with a real timeout of 0, and
`Link.after` records the result. The library stays the judge: what it refuses is refused with its own error.
"""

from __future__ import annotations

import sqlite3

from simharness.engine.kernel import Kernel
from simharness.engine.operations import Operation
from simharness.engine.phases import RUNNING
from simharness.runtimes.sqlite.database import Database
from simharness.runtimes.sqlite.locking import WRITERS, Points, busy
from simharness.runtimes.sqlite.statements import COMMIT, LOCAL, READ, RELEASE, ROLLBACK, ROLLBACK_TO, SAVEPOINT, SCHEMA, UNKNOWN, Shape

_ERRORS = {"BUSY": (5, "database is locked"), "IOERR": (10, "disk I/O error"), "FULL": (13, "database or disk is full")}


def database_error(name: str) -> sqlite3.OperationalError:
    """Return what the library raises for this result of SQLite: BUSY, IOERR or FULL."""
    code, message = _ERRORS[name]
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode, error.sqlite_errorname = code, f"SQLITE_{name}"
    return error


class Link(Points):
    """A connection in one execution."""

    def __init__(self, kernel: Kernel, database: Database, name: str, connection: sqlite3.Connection) -> None:
        super().__init__(kernel, database, name, connection)
        database.links.append(self)

    def after(self, shape: Shape, error: BaseException | None = None) -> None:
        """The statement has been done, or was refused: record what became of the transaction."""
        kind, database = shape.kind, self.database
        inside = self.connection.in_transaction
        ended = error is None and kind in (COMMIT, ROLLBACK, RELEASE) and self.ends(shape)
        if ended or (self.was_inside() and not inside):
            self._ended(kind if ended else UNKNOWN)
        elif inside and (kind in WRITERS):
            self._wrote(shape, error)
        elif inside and kind == READ and not self.holds and error is None:
            self.snapshot = self.sharing = True
        elif error is None and kind in (SAVEPOINT, RELEASE, ROLLBACK_TO):
            self._savepoint(shape)
        if error is None:
            self.inside = inside
            if kind == SCHEMA or (kind == LOCAL and shape.prepares_anew):
                self._altered(shape)
            if kind == SCHEMA and not inside and shape.verb == "PRAGMA" and shape.argument.startswith("journal_mode"):
                database.asked_for(shape.argument.partition(" ")[2])
                self.tell_what_is_held()

    def after_script(self, script: str) -> None:
        """A script has been run in set-up."""
        self.database.changed_schema(script)
        self.database.read_header()

    def fail(self, name: str) -> None:
        """A statement fails with this error; as in SQLite, BUSY leaves an open transaction open, and the others roll it back."""
        connection, error = self.connection, database_error(name)
        if name != "BUSY" and connection.in_transaction:
            self.kernel.note(f"a fault, {type(error).__name__}: {error}")
            sqlite3.Cursor(connection).execute("ROLLBACK")
        else:
            self.kernel.note("a fault")
        raise error

    def lost(self) -> None:
        """The process that used the connection has died, and SQLite has rolled its transaction back."""
        if self.was_inside() or self.sharing:
            self._ended(ROLLBACK)

    def was_inside(self) -> bool:
        """Whether a transaction was open on this connection when last looked at."""
        return self.inside or self.holds or self.snapshot

    def _wrote(self, shape: Shape, error: BaseException | None) -> None:
        """After a write, or an attempt at one, in a transaction that is still open."""
        database = self.database
        if error is None:
            self.touched |= shape.writes
            self.altered |= shape.kind == SCHEMA
        if self.holds:
            return
        if error is not None:
            refused = not isinstance(error, sqlite3.Error) or not getattr(error, "sqlite_errorcode", 0) or busy(error)
            if refused or database.private or not database.really_locked():
                return
            if database.lock.state not in (None, self.name):
                return
        self.holds = True
        self.put_lock(self.name)

    def _ended(self, kind: int) -> None:
        held, sharing, altered = self.holds, self.sharing, self.altered
        self.holds = self.snapshot = self.sharing = self.altered = False
        self.touched = 0
        self.savepoints.clear()
        kernel, database = self.kernel, self.database
        if held and kind == UNKNOWN and kernel.phase == RUNNING and not database.alone:
            shared = self.bit if self.exposed else 0
            kernel.step(Operation("sqlite.rollback", reads=database.every, writes=database.lock.bit | database.file.bit | shared))
        if held or (sharing and not database.wal):
            self.put_lock(None if held or database.lock.state == self.name else database.lock.state)
            if not held and not database.private and not (kernel.phase == RUNNING and database.alone):
                kernel.put(database.file, database.file.state + 1)
        if altered:
            database.changed_schema("ended", kind)

    def _savepoint(self, shape: Shape) -> None:
        names = self.savepoints
        if shape.kind == SAVEPOINT:
            if not self.inside:
                names.append("")
            names.append(shape.argument)
        elif shape.argument in names:
            last = len(names) - 1 - names[::-1].index(shape.argument)
            del names[last + (shape.kind == ROLLBACK_TO) :]

    def _altered(self, shape: Shape) -> None:
        if shape.kind == SCHEMA:
            if not self.inside:
                self.database.changed_schema(shape.sql)
            else:
                self.altered = True
                self.database.changed_schema(shape.sql, "not committed")
            return
        if shape.verb == "PRAGMA":
            name = shape.argument.partition(" ")[0]
            others = [flag for flag in self.flags if flag.partition(" ")[0] != name]
            self.flags = (*others, shape.argument)
        else:
            self.flags = (*self.flags, shape.sql)
        self.book = None
