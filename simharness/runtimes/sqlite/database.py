"""A database in one execution, and the connections to it: their state, on which the other modules work.

Resources of a database: `every` (read by all steps on it, written by schema changes), one for each table, the write lock
(its state is the name of the connection that holds it), `commits` (written by each commit that changed something, read by a
transaction that takes a snapshot), and, without WAL, `file locks` (written by every step that takes or drops a lock held for
longer than a step; its state counts the drops).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import weakref
from dataclasses import InitVar, dataclass, field
from typing import Any

from greenlet import getcurrent

from simharness.engine.actors import Actor
from simharness.engine.kernel import Kernel
from simharness.engine.operations import Operation
from simharness.engine.phases import RUNNING, SETUP
from simharness.places import Place
from simharness.runtimes.sqlite import kinds
from simharness.runtimes.sqlite.facts import (
    Checkpoints,
    ChecksOf,
    CountsCommits,
    Impatient,
    Inspected,
    MovedCursors,
    OpenCursors,
    SeveralOn,
    SnapshotsOf,
    Unprotected,
)
from simharness.runtimes.sqlite.kept.image import KeptDatabase
from simharness.runtimes.sqlite.remembered import Remembered, remembered_of
from simharness.runtimes.sqlite.statements import RELEASE, Shape

Real = sqlite3.Connection
_open = open


class Database:
    """One database in one execution."""

    def __init__(self, kernel: Kernel, label: str, path: str, private: bool) -> None:
        learned = kernel.learned
        self.kernel = kernel
        self.remembered = remembered_of(kernel)
        self.label = label
        self.path = path
        self.private = private
        self.several, self.checks, self.snapshots = SeveralOn(label), ChecksOf(label), SnapshotsOf(label)  # made once: learned often
        self.every = kernel.names.bit(label)
        self.lock = kernel.resource(f"write lock of {label}", None)
        self.file = kernel.resource(f"file locks of {label}", 0)
        self.commits = kernel.names.bit(f"commits of {label}") if self.snapshots in learned else 0
        faults = None if private else kernel.faults
        self.fine = faults is not None and faults.limit("db_error") > 0
        strikes = faults is not None and (kernel.movers.may_crash or faults.limit("lost_ack"))
        several = strikes or self.several in learned or self.checks in learned
        self.alone = not self.fine and (private or not several)
        self.checkpoints = Checkpoints(label)
        self.checkpointed = self.checkpoints in learned
        self.impatience = Impatient(label)
        self.impatient = self.checkpointed or kernel.movers.may_stall or self.impatience in learned
        self.links: list[Link] = []
        self.user: object = None
        self.schema = 0
        self.volatile = False
        self.wal = self.unread = False
        self.inspector: sqlite3.Connection | None = None
        self.read_header()

    def read_header(self) -> None:
        """Read from the file's header whether it is in WAL mode."""
        if not self.private:
            try:
                with _open(self.path, "rb") as file:
                    self.wal = file.read(20)[18:19] == b"\x02"
            except OSError:
                self.wal = False

    def asked_for(self, mode: str) -> None:
        """A statement sets the journal mode; the file changes once its answer is fetched or its cursor is gone."""
        wanted = mode.lower() == "wal"
        if self.wal != wanted:
            self.read_header()
            self.unread = self.wal != wanted

    def look_again(self) -> None:
        """Check whether the file has the requested journal mode by now."""
        before = self.wal
        self.read_header()
        self.unread = self.wal == before

    @property
    def ends_matter(self) -> bool:
        """Whether other actors can notice the end of a read transaction."""
        return not (self.private or self.alone) and (self.checkpointed or not self.wal)

    def table(self, name: str) -> int:
        """Return the mask of one table."""
        return self.kernel.names.bit(f"{self.label} table {name.lower()}")

    def read_schema(self, connection: sqlite3.Connection) -> None:
        """Identify the schema of a file that was there before the execution."""
        if self.private or not os.path.exists(self.path) or not os.path.getsize(self.path):
            return
        try:
            rows = sqlite3.Cursor(connection).execute("SELECT coalesce(sql, name) FROM sqlite_master").fetchall()
            self.schema = self.remembered.schema("found", *[row[0] for row in rows])
        except sqlite3.Error:
            self.volatile = True

    def changed_schema(self, *how: Any) -> None:
        """The schema has changed: shapes learned under the last one no longer hold."""
        if self.kernel.phase == SETUP:
            self.schema = self.remembered.schema(self.schema, *how)
        else:
            self.volatile = True
        self.forget_shapes()

    def forget_shapes(self) -> None:
        """Forget the shapes of statements, so that every connection learns them again."""
        for link in self.links:
            link.book = None

    def put_lock(self, holder: str | None) -> None:
        """Record which connection holds the write lock; None also wakes the statements that wait for the file's locks."""
        kernel = self.kernel
        if self.private or (kernel.phase == RUNNING and self.alone):
            return
        if self.lock.state != holder:
            kernel.put(self.lock, holder)
        if holder is None and not self.wal:
            kernel.put(self.file, self.file.state + 1)

    def really_locked(self) -> bool:
        """Whether any connection holds the file's write lock, tested on a separate connection."""
        probe = Real(self.path, timeout=0, isolation_level=None)
        try:
            probe.execute("BEGIN IMMEDIATE")
            probe.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return True
        finally:
            probe.close()
        return False


@dataclass(slots=True, eq=False)
class Link:
    """One connection in one execution: its state, which the functions of this package read and change.

    `sharing` notes which actors use it, `learning` learns its statements, `locking` declares them, and `effects` records the state
    of its transaction.
    """

    kernel: Kernel
    database: Database
    name: str
    genuine: InitVar[sqlite3.Connection]
    reference: weakref.ref[sqlite3.Connection] = field(init=False)
    remembered: Remembered = field(init=False)
    bit: int = field(init=False)

    # Learned facts: several actors use it unprotected, keep its cursors open, or move one cursor
    exposed: bool = field(init=False)
    keeps_cursors: bool = field(init=False)
    moves_cursors: bool = field(init=False)
    counts: bool = field(init=False)  # how often it noticed commits

    # Users: the last actor, the only actor allowed, its process and the place of its first use; `passed`: see `sharing.quick`
    user: Actor | None = None
    maker: Actor | None = None
    process: str | None = None
    place: Place | None = None
    passed: int = -1

    # How it was opened and set
    timeout: int = 0
    level: str | None = ""
    autocommit: Any = -1
    authorizer: Any = None
    cursors: Any = None
    flags: tuple[str, ...] = ()  # statements and pragmas that change the meaning of others on this connection
    book: dict[str, Shape] | None = None  # shapes of statements under these flags and the current schema

    # Unfinished statements; `probed`: whether the function that detects them is registered (`sharing._active`)
    open: list[weakref.ref[sqlite3.Cursor]] = field(default_factory=list)
    executing: weakref.ref[sqlite3.Cursor] | None = None
    probed: bool = False

    # The transaction: whether it is open, holds the write lock, a snapshot or a shared lock, and what it has changed
    inside: bool = False
    holds: bool = False
    snapshot: bool = False
    sharing: bool = False
    touched: int = 0  # the mask of tables
    base: int = 0  # the rows that the connection had changed before
    altered: bool = False  # the schema
    numbered: bool = False  # sqlite_sequence, perhaps, which `total_changes` does not count
    savepoints: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)  # a table for each row, for timelines

    # The declared statement: whether and until when it waits, and the fault that strikes it
    declaring: Shape | None = None
    waits: bool = False
    deadline: int | None = None
    fault: str | None = None
    drops: bool = False  # it uses a cursor again, which ends a read transaction of an earlier step

    # Its end: the program closed it, or its execution is over
    closed: bool = False
    over: bool = False

    # Notes of the package `kept`; `spoilt`: a change to the connection outlasts the image of the database; `configured`: one by a method
    kept: KeptDatabase | None = None
    tape: KeptDatabase | None = None
    number: int | str = 0
    references: int = 0
    spoilt: bool = False
    configured: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self, genuine: sqlite3.Connection) -> None:
        kernel, name = self.kernel, self.name
        learned = kernel.learned
        self.reference = weakref.ref(genuine, self._dropped)
        self.remembered = self.database.remembered
        self.bit = kernel.names.bit(name)
        self.exposed = name in learned.of(Unprotected) or name in learned.of(Inspected)
        self.keeps_cursors = name in learned.of(OpenCursors)
        self.moves_cursors = name in learned.of(MovedCursors)
        self.counts = name in learned.of(CountsCommits)
        self.database.links.append(self)

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection itself."""
        connection = self.reference()
        assert connection is not None
        return connection

    def _dropped(self, _: object) -> None:
        """The connection is about to be collected, which rolls its transaction back: a step where other actors can notice."""
        kernel, database = self.kernel, self.database
        if self.closed or kernel.phase != RUNNING or kernel.dying or database.private or database.alone:
            return
        actor = kernel.actor
        if actor is None or actor.finished or actor.greenlet is not getcurrent():
            return
        if self.holds or database.checkpointed or self.sharing:
            with contextlib.suppress(BaseException):  # the execution is dying: the actor's next operation raises again
                writes = database.every if database.checkpointed else database.lock.bit
                kernel.step(Operation(kinds.CLOSE, reads=database.every, writes=writes | database.file.bit))
                database.put_lock(None if self.holds else database.lock.state)
                if not self.holds and not database.wal:
                    kernel.put(database.file, database.file.state + 1)

    def opened(self, cursor: sqlite3.Cursor) -> None:
        """Note a statement that returns rows, and has begun."""
        if len(self.open) > 32:
            self.open = [reference for reference in self.open if reference() is not None]
        self.open.append(weakref.ref(cursor))

    def is_open(self, cursor: sqlite3.Cursor) -> bool:
        """Whether rows of this cursor may be left."""
        return any(reference() is cursor for reference in reversed(self.open))  # nearly always the last

    def was_inside(self) -> bool:
        """Whether a transaction was open after the last statement."""
        return self.inside or self.holds or self.snapshot

    def implicit(self, shape: Shape) -> bool:
        """Whether Python begins a transaction for this statement on its own."""
        return shape.dml and not self.inside and self.level is not None

    def ends(self, shape: Shape) -> bool:
        """Whether this border, if it succeeds, ends the transaction: a RELEASE ends it when its savepoint began it."""
        return shape.kind != RELEASE or (
            bool(self.savepoints)
            and self.savepoints[0] == ""
            and shape.argument in self.savepoints
            and self.savepoints.index(shape.argument) == 1
        )

    def report_held(self) -> None:
        """Declare the locks that a crash of the process frees: with WAL the write lock, if it holds it; without WAL all, at any time."""
        kernel, database = self.kernel, self.database
        if self.process is not None and not database.private and kernel.movers.may_crash:
            lock = database.lock if database.wal else None
            kernel.movers.may_hold(self.process, lock, self.name, database.lock.bit | database.file.bit)
