"""When a statement is a scheduling point, what it waits for and what it conflicts with: SQLite's locking, as resources.

A `Database` is one file (or one private memory database) in one execution, a `Link` is one connection to it. Before each statement
`Link.before` declares the operation and waits for its turn; then the real library does the work, with a real timeout of 0; afterwards
`Link.after` records what became of the transaction. The library stays the judge: what it refuses is refused with its own error.

Resources of a database: `every` (read by all steps on it, written by schema changes), one for each table, the write lock (its state
is the name of the connection that holds it), `commits` (written by each commit that changed something, read by a transaction that takes a
snapshot), and, without WAL, `file locks` (written by all that take or drop a lock for longer than a step; its state counts the drops).

What only one connection uses needs no points, nor does a connection that a lock of the program protects (Eraser's lockset). Both are
taken for granted until an execution shows otherwise; then `kernel.learned` makes exploring start over.
"""

from __future__ import annotations

import os
import sqlite3
import weakref
from collections.abc import Callable
from typing import Any

from simharness.errors import Misuse
from simharness.kernel import INSPECTING, RUNNING, SETUP, Actor, Kernel
from simharness.operations import Operation, State
from simharness.places import caller
from simharness.runtimes import sqlite_footprint as footprint
from simharness.runtimes.sqlite_footprint import (
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

Real = sqlite3.Connection
EVERY_STATEMENT = "sqlite: every statement"
"""In `kernel.learned.shared`, makes every statement a point (for faults that strike between statements)."""
_BUSY = 5
_WRITERS = (WRITE, SCHEMA, BEGIN_WRITE)

_memories: weakref.WeakKeyDictionary[Kernel, Memory] = weakref.WeakKeyDictionary()


class Memory:
    """What outlives executions: shapes of statements, locksets, the identity of schemas."""

    def __init__(self) -> None:
        self.books: dict[Any, dict[str, Shape]] = {}
        self.locksets: dict[str, frozenset[str]] = {}
        self.shared: set[str] = set()
        self.schemas: dict[Any, int] = {}
        self.scripts: dict[str, list[str]] = {}

    def schema(self, *history: Any) -> int:
        """Return a small number for a schema that is told by the statements that made it."""
        return self.schemas.setdefault(history, len(self.schemas) + 1)


def memory_of(kernel: Kernel) -> Memory:
    """Return what is remembered for this kernel's exploration."""
    found = _memories.get(kernel)
    if found is None:
        found = _memories[kernel] = Memory()
    return found


def _free(holder: State) -> bool:
    return holder is None


class Database:
    """One database in one execution."""

    def __init__(self, kernel: Kernel, label: str, path: str, private: bool) -> None:
        shared = kernel.learned.shared
        self.kernel = kernel
        self.label = label
        self.path = path
        self.private = private
        self.every = kernel.names.bit(label)
        self.lock = kernel.resource(f"write lock of {label}", None)
        self.file = kernel.resource(f"file locks of {label}", 0)
        self.commits = kernel.names.bit(f"commits of {label}") if f"snapshots of {label}" in shared else 0
        self.alone = EVERY_STATEMENT not in shared and (private or not shared & {f"several on {label}", f"checks of {label}"})
        self.links: list[Link] = []
        self.user: Link | None = None
        self.schema = 0
        self.volatile = False
        self.wal = False
        self.inspector: sqlite3.Connection | None = None
        self.read_header()

    def read_header(self) -> None:
        """Find out whether the file is in WAL mode."""
        if not self.private:
            try:
                with open(self.path, "rb") as file:
                    self.wal = file.read(20)[18:19] == b"\x02"
            except OSError:
                self.wal = False

    def table(self, name: str) -> int:
        """Return the mask of one table."""
        return self.kernel.names.bit(f"{self.label} table {name.lower()}")

    def read_schema(self, connection: sqlite3.Connection) -> None:
        """Identify the schema of a file that was there before the execution."""
        if self.private or not os.path.exists(self.path) or not os.path.getsize(self.path):
            return
        try:
            rows = sqlite3.Cursor(connection).execute("SELECT coalesce(sql, name) FROM sqlite_master").fetchall()
            self.schema = memory_of(self.kernel).schema("found", *[row[0] for row in rows])
        except sqlite3.Error:
            self.volatile = True

    def changed_schema(self, *how: Any) -> None:
        """The schema is another one: what was learned under the last one does not hold."""
        if self.kernel.mode == SETUP:
            self.schema = memory_of(self.kernel).schema(self.schema, *how)
        else:
            self.volatile = True
        for link in self.links:
            link.book = None

    def really_locked(self) -> bool:
        """Whether somebody holds the write lock of the file; asked on a connection of its own."""
        probe = Real(self.path, timeout=0, isolation_level=None)
        try:
            probe.execute("BEGIN IMMEDIATE")
            probe.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return True
        finally:
            probe.close()
        return False


class Link:
    """One connection in one execution: whose it is, and how far its transaction has come."""

    def __init__(self, kernel: Kernel, database: Database, name: str, connection: sqlite3.Connection) -> None:
        shared = kernel.learned.shared
        self.kernel = kernel
        self.database = database
        self.name = name
        self.memory = memory_of(kernel)
        self.reference = weakref.ref(connection, self._dropped)
        self.bit = kernel.names.bit(name)
        self.exposed = f"unprotected {name}" in shared or f"inspected {name}" in shared
        self.keeps_cursors = f"open cursors of {name}" in shared
        self.user: Actor | None = None
        self.timeout = 0
        self.level: str | None = ""
        self.authorizer: Any = None
        self.book: dict[str, Shape] | None = None
        self.flags: tuple[str, ...] = ()
        self.open: list[weakref.ref[sqlite3.Cursor]] = []
        self.holds = False
        self.snapshot = False
        self.sharing = False
        self.touched = 0
        self.base = 0
        self.altered = False
        self.savepoints: list[str] = []
        self.deadline: int | None = None
        self.waits = False
        self.inside = False
        self.probed = False
        self.executing: weakref.ref[sqlite3.Cursor] | None = None
        self.names: list[str] = []
        self.autocommit: Any = -1
        self.maker: Actor | None = None
        self.registry: Any = None
        self.cursors: Any = None
        self.closed = False
        self.over = False
        database.links.append(self)

    @property
    def connection(self) -> sqlite3.Connection:
        found = self.reference()
        assert found is not None
        return found

    def enter(self) -> None:
        """Refuse what a call on this connection must not do: anything in a dying execution or a later one, or from another thread."""
        kernel = self.kernel
        if kernel.dying:
            kernel.step(Operation("sqlite.statement"))
        if self.over and not self.closed:
            raise elsewhere(self)
        if self.maker is not None and kernel.mode == RUNNING and kernel.actor is not self.maker:
            self._check_thread()

    def _check_thread(self) -> None:
        """Raise what `check_same_thread` makes the library raise; tasks of one thread have the same `locals["thread"]`."""
        maker, actor = self.maker, self.kernel.actor
        assert maker is not None and actor is not None
        made, used = maker.locals.get("thread", maker.index), actor.locals.get("thread", actor.index)
        if made != used:
            raise sqlite3.ProgrammingError(
                "SQLite objects created in a thread can only be used in that same thread. The object was created in thread id"
                f" {made} and this is thread id {used}."
            )

    def _dropped(self, _: object) -> None:
        """The connection was garbage: SQLite has rolled its transaction back."""
        if self.holds and not self.closed and self.kernel.mode == RUNNING and not self.kernel.dying:
            self._put_lock(None)

    # Cursors

    def opened(self, cursor: sqlite3.Cursor) -> None:
        """A statement has been started that returns rows."""
        if len(self.open) > 32:
            self.open = [found for found in self.open if found() is not None]
        self.open.append(weakref.ref(cursor))

    def is_open(self, cursor: sqlite3.Cursor) -> bool:
        """Whether rows of this cursor may be left."""
        return any(found() is cursor for found in self.open)

    # Which points

    def used(self, actor: Actor) -> None:
        """Note a use by an actor: who shares this connection, under which locks, and who else uses the database."""
        kernel, memory, database = self.kernel, self.memory, self.database
        if self.user is not actor:
            if self.user is not None and not self._ordered(actor):
                memory.shared.add(self.name)
                self._unprotected()
            self.user = actor
        if database.user is not self:
            if database.user is not None and not database.private:
                kernel.learned.share(f"several on {database.label}")
            database.user = self
        lockset = memory.locksets.get(self.name)
        if lockset is not None and not lockset:
            return
        held = kernel.context.get("held", {}).get(actor.index, ())
        if lockset is None:
            memory.locksets[self.name] = frozenset(held)
        elif all(lock in held for lock in lockset) or self._ordered(actor):
            return
        else:
            memory.locksets[self.name] = lockset.intersection(held)
        self._unprotected()

    def _unprotected(self) -> None:
        if self.name in self.memory.shared and not self.memory.locksets.get(self.name, frozenset()):
            self.kernel.learned.share(f"unprotected {self.name}")

    def _ordered(self, actor: Actor) -> bool:
        """Whether all other actors have ended and the current one has joined each of them: nothing of theirs can come later."""
        kernel = self.kernel
        if len(kernel.live) > 1:
            return False
        for other in kernel.actors.values():
            if other is not actor:
                end = other.done.history[-1][0] if other.done.history else kernel.n
                steps = range(end + 1, kernel.n)
                if not any(kernel.reads[n] & other.bit and kernel.keys[n] == actor.key for n in steps):
                    return False
        return True

    def learn(self, sql: str) -> Shape:
        """Return the shape of a statement, learning it if need be."""
        database, memory = self.database, self.memory
        book = self.book
        if book is None:
            key = (database.label, database.schema, self.flags)
            book = self.book = {} if database.volatile else memory.books.setdefault(key, {})
        shape = book.get(sql)
        if shape is None:
            shape, lasting = footprint.learn(self.connection, sql, database.table, self.authorizer)
            if lasting and not database.volatile:
                book[sql] = shape
        return shape

    def before(self, shape: Shape, cursor: sqlite3.Cursor | None = None) -> None:
        """Declare the statement and wait for its turn. Nothing has happened when this raises."""
        self.executing = None if cursor is None else weakref.ref(cursor)
        self._declare(shape)
        connection = self.connection
        self.inside = connection.in_transaction
        if not self.holds and shape.kind in _WRITERS:
            self.base = connection.total_changes

    def _declare(self, shape: Shape) -> None:
        kernel, database = self.kernel, self.database
        self.inside = self.connection.in_transaction
        self.waits, self.deadline = False, None
        if kernel.mode != RUNNING:
            self._aside(shape)
            return
        actor = kernel.actor
        assert actor is not None
        self.used(actor)
        if database.alone and not self.exposed and database.lock.state in (None, self.name):
            return
        if self.exposed:
            self._exposed(shape)
        elif database.private:
            if not database.alone:
                self._step(Operation(_kind(shape), reads=database.every, detail=shape.sql))
        elif shape.kind == UNKNOWN:
            self._step(Operation("sqlite.statement", reads=database.every, detail=shape.sql))
        elif database.wal:
            self._wal(shape)
        else:
            self._journal(shape)

    def _aside(self, shape: Shape) -> None:
        """Set-up and checks: no points; a check tells what it reads."""
        kernel, database = self.kernel, self.database
        if kernel.mode != INSPECTING:
            return
        reads = database.every | shape.reads | shape.writes | database.commits
        if self.exposed:
            reads |= self.bit
        if kernel.actor is not None:
            kernel.learned.share(f"checks of {database.label}")
            if self.user is not None or database.private:
                kernel.learned.share(f"inspected {self.name}")
        kernel.step(Operation("sqlite.check", reads=reads, detail=shape.sql))

    def _step(self, operation: Operation, deadline: int | None = None) -> None:
        self.deadline = deadline
        self.kernel.step(operation, deadline)

    def _until(self) -> int:
        return self.kernel.clock.now + self.timeout

    def reading(self) -> bool:
        """Whether an unfinished SELECT keeps a read transaction open."""
        if not self.open:
            return False
        self.open = [found for found in self.open if found() is not None]
        if all(found == self.executing for found in self.open):
            return False
        if not self._active():
            self.open.clear()
            return False
        if not self.keeps_cursors:
            self.kernel.learned.share(f"open cursors of {self.name}")
        return True

    def _active(self) -> bool:
        """Ask SQLite whether a statement is under way: it refuses to replace a function then."""
        connection = self.connection
        if not self.probed:
            self.probed = True
            connection.create_function("simharness_probe", 0, _nothing)
        try:
            connection.create_function("simharness_probe", 0, _nothing)
        except sqlite3.OperationalError:
            return True
        return False

    def before_whole(self, what: str) -> None:
        """One step that conflicts with everything on the database."""
        kernel, database = self.kernel, self.database
        if kernel.mode == RUNNING:
            assert kernel.actor is not None
            self.used(kernel.actor)
            if database.alone and not self.exposed:
                return
            kernel.step(Operation(f"sqlite.{what}", writes=database.every | database.commits | self.bit))
        elif kernel.mode == INSPECTING:
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
        if self.connection.total_changes != self.base:
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
        if kernel.mode != RUNNING or database.wal or database.private or not self.waits or self.deadline is None:
            return False
        if not busy(error) or kernel.clock.now >= self.deadline:
            return False
        seen, until = database.file.state, self.deadline
        bit = database.file.bit | (self._changes() if shape.kind == COMMIT else shape.writes) | (self.bit if self.exposed else 0)
        kernel.note("busy: waits")
        kernel.step(
            Operation("sqlite.wait", database.file, writes=bit, enabled=lambda state: bool(state > seen), detail=shape.sql), until
        )
        return True

    # A connection that several actors share

    def _exposed(self, shape: Shape) -> None:
        """A statement on a shared connection conflicts with the others there; it may join whatever transaction is open by then."""
        database, kind = self.database, shape.kind
        several = not database.private and not database.alone
        commits = self._sees_snapshot() if several else 0
        if kind == READ:
            reads = self.bit | database.every | shape.reads | commits
            journal = database.file.bit if several and not database.wal else 0
            self.waits = bool(journal) and self.timeout > 0
            until = self._until() if self.waits else None
            self._step(Operation(_kind(shape), reads=reads, writes=journal, detail=shape.sql))
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
        if kernel.mode != RUNNING:
            return
        assert kernel.actor is not None
        self.used(kernel.actor)
        writes = 0 if database.wal or database.private or database.alone else database.file.bit
        kernel.step(Operation("sqlite.fetch", reads=self.bit | database.every, writes=writes))
        if writes:
            kernel.put(database.file, database.file.state + 1)

    # Afterwards

    def implicit(self, shape: Shape) -> bool:
        """Whether Python opens a transaction for this statement of its own accord."""
        return shape.dml and not self.inside and self.level is not None

    def ends(self, shape: Shape) -> bool:
        """Whether this border, if it succeeds, ends the transaction: a RELEASE ends it when its savepoint began it."""
        return shape.kind != RELEASE or (bool(self.savepoints) and self.savepoints[0] == "" and shape.argument in self.savepoints
                                         and self.savepoints.index(shape.argument) == 1)

    def after(self, shape: Shape, error: BaseException | None = None) -> None:
        """The statement has been done, or was refused: record what became of the transaction."""
        kind, database = shape.kind, self.database
        inside = self.connection.in_transaction
        ended = error is None and kind in (COMMIT, ROLLBACK, RELEASE) and self.ends(shape)
        if ended or (self.was_inside() and not inside):
            self._ended(kind if ended else UNKNOWN)
        elif inside and (kind in _WRITERS):
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
                database.read_header()

    def after_script(self, script: str) -> None:
        """A script has been run in set-up."""
        self.database.changed_schema(script)
        self.database.read_header()

    def was_inside(self) -> bool:
        """Whether a transaction was open on this connection when last looked at."""
        return self.inside or self.holds or self.snapshot

    def _put_lock(self, holder: str | None) -> None:
        database, kernel = self.database, self.kernel
        if database.private:
            return
        if kernel.mode == RUNNING and database.alone:
            return
        if database.lock.state != holder:
            kernel.put(database.lock, holder)
        if holder is None and not database.wal:
            kernel.put(database.file, database.file.state + 1)

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
        self._put_lock(self.name)

    def _ended(self, kind: int) -> None:
        held, sharing, altered = self.holds, self.sharing, self.altered
        self.holds = self.snapshot = self.sharing = self.altered = False
        self.touched = 0
        self.savepoints.clear()
        kernel, database = self.kernel, self.database
        if held and kind == UNKNOWN and kernel.mode == RUNNING and not database.alone:
            kernel.step(Operation("sqlite.rollback", writes=database.lock.bit | database.file.bit | (self.bit if self.exposed else 0)))
        if held or (sharing and not database.wal):
            self._put_lock(None if held or database.lock.state == self.name else database.lock.state)
            if not held and not database.private and not (kernel.mode == RUNNING and database.alone):
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


def _kind(shape: Shape) -> str:
    return f"sqlite.{shape.verb.lower()}" if shape.verb else "sqlite.statement"


def _nothing() -> None:
    return None


def _free_or(name: str) -> Callable[[State], bool]:
    return lambda holder: holder is None or holder == name


def busy(error: BaseException) -> bool:
    """Whether this is SQLite saying that somebody else holds a lock (SQLITE_BUSY and its extended codes)."""
    return isinstance(error, sqlite3.OperationalError) and (getattr(error, "sqlite_errorcode", 0) & 0xFF) == _BUSY


def elsewhere(link: Link) -> Misuse:
    """Return the error for a connection that is used in another execution than the one that made it."""
    return Misuse(
        f"{caller() or '?'}: {link.name} to {link.database.label} was made in an execution that is over; open it in the scenario function"
        " or in an actor, not in a module"
    )
