"""When a statement is a scheduling point, what it waits for and what it conflicts with: SQLite's locking, as operations.

With WAL, a write transaction takes the write lock when it begins or first writes and gives it back when it ends; who has a
read snapshot is refused at once, as by the library, and does not wait. Without WAL all that takes or drops a lock for
longer than a step writes one resource, and what is refused waits for a drop and tries again. On a connection that several
actors share each statement conflicts with the others there.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Callable

from simharness.engine.faults import DATABASE_ERRORS
from simharness.engine.operations import Operation, State
from simharness.engine.phases import INSPECTING, RUNNING
from simharness.runtimes.sqlite.sharing import Use
from simharness.runtimes.sqlite.statements import (
    BEGIN,
    BEGIN_WRITE,
    COMMIT,
    LOCAL,
    READ,
    RELEASE,
    ROLLBACK,
    ROLLBACK_TO,
    SAVEPOINT,
    SCHEMA,
    TIMEOUT,
    UNKNOWN,
    WRITE,
    Shape,
)

WRITERS = (WRITE, SCHEMA, BEGIN_WRITE)
DB_ERROR, LOST_ACK = "db_error", "lost_ack"
_BUSY = 5
_total_changes = vars(sqlite3.Connection)["total_changes"].__get__


class Points(Use):
    """Declares the statements of a connection."""

    def before(self, shape: Shape, cursor: sqlite3.Cursor | None = None) -> None:
        """Declare the statement and wait for its turn. Nothing has happened when this raises."""
        self.executing = None if cursor is None else weakref.ref(cursor)
        self._declare(shape)
        connection = self.connection
        self.inside = connection.in_transaction
        if not self.holds and shape.kind in WRITERS:
            self.base = _total_changes(connection)

    def _declare(self, shape: Shape) -> None:
        kernel, database = self.kernel, self.database
        self.inside = self.connection.in_transaction
        self.waits, self.deadline, self.fault, self.declaring = False, None, None, shape
        if database.unread:
            database.look_again()
            self.tell_what_is_held()
        if kernel.phase != RUNNING:
            self._aside(shape)
            return
        actor = kernel.actor
        assert actor is not None
        self.used(actor)
        if database.alone and not self.exposed and database.lock.state in (None, self.name):
            return
        declared = kernel.record.n
        if self.exposed:
            self._exposed(shape)
        elif shape.kind == UNKNOWN:
            self._step(Operation("sqlite.statement", reads=database.every, detail=shape.sql))
        elif database.wal:
            self._wal(shape)
        elif not database.private:
            self._journal(shape)
        if kernel.record.n == declared and database.fine:
            self._step(Operation(_kind(shape), reads=database.every, detail=shape.sql))

    def _aside(self, shape: Shape) -> None:
        """Set-up and checks: no points; a check tells what it reads."""
        kernel, database = self.kernel, self.database
        if kernel.phase != INSPECTING:
            return
        reads = database.every | shape.reads | shape.writes
        if self.exposed:
            reads |= self.bit
        if kernel.checking:
            kernel.learned.share(f"checks of {database.label}")
            if self.user is not None or database.private:
                kernel.learned.share(f"inspected {self.name}")
        kernel.step(Operation("sqlite.check", reads=reads, detail=shape.sql))

    def _step(self, operation: Operation, deadline: int | None = None) -> None:
        self.deadline = deadline
        if self.kernel.faults is not None and not self.database.private:
            names = self._can_fail()
            operation.faults = [name if name == LOST_ACK else DB_ERROR for name in names]
            taken = self.kernel.step(operation, deadline)
            self.fault = names[taken - 1] if taken else None
            return
        self.kernel.step(operation, deadline)

    def _can_fail(self) -> list[str]:
        """Return the faults that can strike at the statement being declared: names of errors, and a lost acknowledgement."""
        faults, shape = self.kernel.faults, self.declaring
        assert faults is not None
        assert shape is not None
        found: list[str] = []
        if faults.limit(DB_ERROR) and shape.kind not in (ROLLBACK, ROLLBACK_TO, LOCAL, TIMEOUT):
            found += faults.limited_to(DB_ERROR) or DATABASE_ERRORS
        if faults.limit(LOST_ACK):
            at_once = shape.kind in (WRITE, SCHEMA) and not self.inside and not self.implicit(shape)
            if at_once or (shape.kind in (COMMIT, RELEASE) and self.inside and self.ends(shape)):
                found.append(LOST_ACK)
        return found

    def _until(self) -> int:
        return self.kernel.clock.now + self.timeout

    def before_whole(self, what: str) -> None:
        """One step that conflicts with everything on the database."""
        kernel, database = self.kernel, self.database
        if kernel.phase == RUNNING:
            assert kernel.actor is not None
            self.used(kernel.actor)
            if database.alone and not self.exposed:
                return
            kernel.step(Operation(f"sqlite.{what}", writes=database.every | database.commits | self.bit))
        elif kernel.phase == INSPECTING:
            self._aside(Shape("", READ, ""))

    # WAL

    def _wal(self, shape: Shape) -> None:
        database, kind = self.database, shape.kind
        if kind == READ:
            if not self.inside:
                commits = self._sees_snapshot() if self.keeps_cursors or self.reading() else 0
                self._step(Operation("sqlite.read", reads=shape.reads | database.every | commits, detail=shape.sql))
            elif not self.holds and not self.snapshot:
                commits = self._sees_snapshot()
                self._step(Operation("sqlite.snapshot", reads=database.every | commits, detail=shape.sql))
                self.snapshot = True
        elif kind in (WRITE, SCHEMA):
            if self.holds:
                return
            if self.inside or self.implicit(shape):
                self._acquire(shape)
            else:
                self._write_at_once(shape)
        elif kind == BEGIN_WRITE:
            if not self.holds:
                self._acquire(shape)  # inside a transaction too: SQLite takes the lock before it says that there is one already
        elif kind in (COMMIT, ROLLBACK, RELEASE) and self.holds and self.ends(shape):
            writes = database.lock.bit
            if kind != ROLLBACK:
                writes |= self._changes()
            self._step(Operation(_kind(shape), reads=database.every, writes=writes, detail=shape.sql))

    def _sees_snapshot(self) -> int:
        """Return the mask of `commits`, which from now on is written by commits."""
        self.kernel.learned.share(f"snapshots of {self.database.label}")
        return self.database.commits

    def _changes(self) -> int:
        """Return the mask of what the commit of the open transaction writes."""
        database = self.database
        if self.altered:
            return database.every | database.commits | self.touched
        if _total_changes(self.connection) != self.base:
            return database.commits | self.touched
        return 0

    def _acquire(self, shape: Shape) -> None:
        """Take the write lock for a transaction. Who has a read snapshot does not wait: SQLite would refuse at once."""
        database = self.database
        snapshot = self.snapshot or self.reading()
        self.waits = self.timeout > 0 and not snapshot
        reads = database.every | (self._sees_snapshot() if snapshot else 0)
        enabled = _free if self.waits else None
        operation = Operation(_kind(shape), database.lock, reads, enabled=enabled, writes_when=_free, detail=shape.sql)
        self._step(operation, self._until() if self.waits else None)

    def _write_at_once(self, shape: Shape) -> None:
        """An autocommit write: one step, which needs the write lock free and leaves it so."""
        database = self.database
        snapshot = self.reading()
        self.waits = self.timeout > 0 and not snapshot
        reads = database.every | shape.reads | database.lock.bit | (self._sees_snapshot() if snapshot else 0)
        writes = shape.writes | database.commits | (database.every if shape.kind == SCHEMA else 0)
        operation = Operation(_kind(shape), database.lock, reads, writes, _free if self.waits else None, detail=shape.sql)
        self._step(operation, self._until() if self.waits else None)

    # Rollback journal

    def _journal(self, shape: Shape) -> None:
        """Without WAL: all that takes or drops a lock for longer than a step writes the file's locks; BUSY is tried again."""
        database, kind = self.database, shape.kind
        border = kind in (COMMIT, ROLLBACK, RELEASE) and self.inside and self.ends(shape)
        if kind == READ:
            if self.sharing or self.holds:
                return
            reads, writes = database.every | shape.reads | database.file.bit, 0
            if self.inside or self.keeps_cursors or self.reading():
                writes = database.file.bit
            self.waits = self.timeout > 0
        elif kind in (WRITE, SCHEMA):
            if self.holds:
                return
            reads, writes = database.every | shape.reads, database.file.bit
            if not self.inside and not self.implicit(shape):
                writes |= shape.writes | (database.every if kind == SCHEMA else 0)
            self.waits = self.timeout > 0 and not self.sharing and not self.reading()
        elif kind == BEGIN_WRITE and not self.holds:
            reads, writes = database.every, database.file.bit
            self.waits = self.timeout > 0 and not self.sharing and not self.reading()
        elif border and (self.holds or self.sharing):
            reads, writes = database.every, database.file.bit
            if kind != ROLLBACK and self.holds:
                writes |= self._changes()
                self.waits = self.timeout > 0
        else:
            return
        until = self._until() if self.waits else None
        self._step(Operation(_kind(shape), reads=reads, writes=writes, detail=shape.sql))
        self.deadline = until

    def try_again(self, shape: Shape, error: sqlite3.Error) -> bool:
        """After a refusal without WAL: wait until a lock is dropped; False when the library would not wait (any longer)."""
        kernel, database = self.kernel, self.database
        if kernel.phase != RUNNING or database.wal or database.private or not self.waits or self.deadline is None:
            return False
        if not busy(error) or kernel.clock.now >= self.deadline:
            return False
        seen, until = database.file.state, self.deadline
        bit = database.file.bit | (self._changes() if shape.kind == COMMIT else shape.writes) | (self.bit if self.exposed else 0)
        kernel.note("busy: waits")
        kernel.step(Operation("sqlite.wait", database.file, 0, bit, enabled=lambda state: bool(state > seen), detail=shape.sql), until)
        return True

    # A connection that several actors share

    def _exposed(self, shape: Shape) -> None:
        """A statement on a shared connection conflicts with the others there; it joins the transaction that is open by then."""
        database, kind = self.database, shape.kind
        several = not database.private and not database.alone
        commits = self._sees_snapshot() if several else 0
        if kind == READ:
            reads = self.bit | database.every | shape.reads | commits
            journal = database.file.bit if several and not database.wal else 0
            writes = journal | (self.bit if self.moves_cursors else 0)
            self.waits = bool(journal) and self.timeout > 0
            until = self._until() if self.waits else None
            self._step(Operation(_kind(shape), reads=reads, writes=writes, detail=shape.sql))
            self.deadline = until
            return
        writes = self.bit
        if kind in (LOCAL, BEGIN, TIMEOUT, UNKNOWN, SAVEPOINT, ROLLBACK_TO) or not several:
            self._step(Operation(_kind(shape), reads=database.every, writes=writes | shape.writes, detail=shape.sql))
            return
        writes |= database.every | commits | database.lock.bit | database.file.bit
        self.waits = self.timeout > 0 and kind not in (ROLLBACK, RELEASE) and not self.snapshot
        if not database.wal or not self.waits or kind == COMMIT:
            until = self._until() if self.waits else None
            self._step(Operation(_kind(shape), writes=writes, detail=shape.sql))
            self.deadline = until
            return
        enabled = _free_or(self.name)
        self._step(Operation(_kind(shape), database.lock, 0, writes, enabled, detail=shape.sql), self._until())

    def fetching(self) -> None:
        """A fetch from an unfinished SELECT of a shared connection."""
        kernel, database = self.kernel, self.database
        if kernel.phase != RUNNING:
            return
        assert kernel.actor is not None
        self.used(kernel.actor)
        writes = 0 if database.wal or database.private or database.alone else database.file.bit
        moves = self.bit if self.moves_cursors else 0
        kernel.step(Operation("sqlite.fetch", reads=self.bit | database.every, writes=writes | moves))
        if writes:
            kernel.put(database.file, database.file.state + 1)

    def implicit(self, shape: Shape) -> bool:
        """Whether Python opens a transaction for this statement of its own accord."""
        return shape.dml and not self.inside and self.level is not None

    def ends(self, shape: Shape) -> bool:
        """Whether this border, if it succeeds, ends the transaction: a RELEASE ends it when its savepoint began it."""
        return shape.kind != RELEASE or (
            bool(self.savepoints)
            and self.savepoints[0] == ""
            and shape.argument in self.savepoints
            and self.savepoints.index(shape.argument) == 1
        )


def _free(holder: State) -> bool:
    return holder is None


def _kind(shape: Shape) -> str:
    return f"sqlite.{shape.verb.lower()}" if shape.verb else "sqlite.statement"


def _free_or(name: str) -> Callable[[State], bool]:
    return lambda holder: holder is None or holder == name


def busy(error: BaseException) -> bool:
    """Whether this is SQLite saying that somebody else holds a lock (SQLITE_BUSY and its extended codes)."""
    return isinstance(error, sqlite3.OperationalError) and (getattr(error, "sqlite_errorcode", 0) & 0xFF) == _BUSY
