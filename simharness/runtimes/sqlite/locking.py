"""When a statement is a scheduling point, what it waits for and what it conflicts with: SQLite's locking, as operations.

With WAL, a write transaction takes the write lock when it begins or first writes and releases it when it ends; a connection
with a read snapshot does not wait: the library refuses it at once. Without WAL every step that takes or drops a lock held for
longer than a step writes one resource; a refused statement waits until a lock is dropped and tries again. On a connection
that several actors share, each statement conflicts with the others there.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Callable

from simharness.engine.clock_steps import sees_time
from simharness.engine.faults import DATABASE_ERRORS
from simharness.engine.operations import Operation, State
from simharness.engine.phases import INSPECTING, RUNNING
from simharness.runtimes.sqlite import kinds
from simharness.runtimes.sqlite.database import Database, Link
from simharness.runtimes.sqlite.facts import CountsCommits, Inspected
from simharness.runtimes.sqlite.kept.image import in_transaction
from simharness.runtimes.sqlite.sharing import note_use, reading
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


def declare(link: Link, shape: Shape, cursor: sqlite3.Cursor | None = None) -> None:
    """Declare the statement and wait for its turn. Nothing has happened when this raises."""
    link.executing = None if cursor is None else weakref.ref(cursor)
    _declare_point(link, shape)
    connection = link.connection
    link.inside = in_transaction(connection)
    if not link.holds and shape.kind in WRITERS:
        link.base = _total_changes(connection)


def _declare_point(link: Link, shape: Shape) -> None:
    kernel, database = link.kernel, link.database
    link.inside = in_transaction(link.connection)
    link.waits, link.deadline, link.fault, link.declaring = False, None, None, shape
    if database.unread:
        database.look_again()
        link.report_held()
    if kernel.phase != RUNNING:
        _aside(link, shape)
        return
    actor = kernel.actor
    assert actor is not None
    note_use(link, actor)
    if database.alone and not link.exposed and database.lock.state in (None, link.name):
        return
    if shape.counts:
        kernel.learned.learn(CountsCommits(link.name))
    returns = shape.kind == WRITE and shape.rows and not link.inside and not link.implicit(shape)
    if returns or (shape.checkpoints and not _has_mode(database, shape)):
        kernel.learned.learn(database.checkpoints)
    if not database.wal and not database.private and link.timeout < kernel.clock.max_delay and shape.kind in (*WRITERS, COMMIT, RELEASE):
        kernel.learned.learn(database.impatience)
    declared = kernel.record.n
    if link.exposed:
        _on_shared(link, shape)
    elif shape.kind == UNKNOWN:
        _step(link, Operation(kinds.STATEMENT, reads=database.every | database.file.bit, detail=shape.sql))
    elif database.wal:
        _wal(link, shape)
    elif not database.private:
        _journal(link, shape)
    if kernel.record.n == declared and (database.fine or link.drops):
        _step(link, Operation(kinds.of_verb(shape.verb), reads=database.every, detail=shape.sql))


def _has_mode(database: Database, shape: Shape) -> bool:
    """Whether a statement asks for the journal mode that the file has, as programs do whenever they open it: that needs no lock."""
    name, _, mode = shape.argument.partition(" ")
    return name == "journal_mode" and (mode.lower().strip("'\"") == "wal") == database.wal


def _aside(link: Link, shape: Shape) -> None:
    """Set-up and checks: they make no points, but a check declares what it reads."""
    kernel, database = link.kernel, link.database
    if kernel.phase != INSPECTING:
        return
    reads = database.every | shape.reads | shape.writes
    if shape.whole:
        reads |= _sees_snapshot(link) | database.file.bit
    if link.exposed:
        reads |= link.bit
    if kernel.checking:
        kernel.learned.learn(database.checks)
        if link.user is not None or database.private:
            kernel.learned.learn(Inspected(link.name))
    kernel.step(Operation(kinds.CHECK, reads=reads, detail=shape.sql))


def _step(link: Link, operation: Operation, deadline: int | None = None) -> None:
    link.deadline = deadline
    if link.drops and not link.database.wal:
        operation.writes |= link.database.file.bit
    if link.kernel.faults is not None and not link.database.private:
        names = _can_fail(link)
        operation.faults = [name if name == LOST_ACK else DB_ERROR for name in names] if names else ()
        taken = link.kernel.step(operation, deadline)
        link.fault = names[taken - 1] if taken else None
        return
    link.kernel.step(operation, deadline)


def _can_fail(link: Link) -> list[str]:
    """Return the faults that can strike at the statement being declared: names of errors, and a lost acknowledgement."""
    faults, shape = link.kernel.faults, link.declaring
    assert faults is not None
    assert shape is not None
    names: list[str] = []
    if faults.limit(DB_ERROR) and shape.kind not in (ROLLBACK, ROLLBACK_TO, LOCAL, TIMEOUT):
        names += faults.limited_to(DB_ERROR) or DATABASE_ERRORS
    if faults.limit(LOST_ACK):
        at_once = shape.kind in (WRITE, SCHEMA) and not link.inside and not link.implicit(shape)
        if at_once or (shape.kind in (COMMIT, RELEASE) and link.inside and link.ends(shape)):
            names.append(LOST_ACK)
    return names


def _until(link: Link) -> int:
    sees_time(link.kernel)
    return link.kernel.clock.now + link.timeout


def declare_whole(link: Link, verb: str) -> None:
    """Declare one step that conflicts with everything on the database."""
    kernel, database = link.kernel, link.database
    if kernel.phase == RUNNING:
        assert kernel.actor is not None
        note_use(link, kernel.actor)
        if database.alone and not link.exposed:
            return
        kernel.step(Operation(kinds.of_verb(verb), writes=database.every | database.commits | link.bit))
    elif kernel.phase == INSPECTING:
        _aside(link, Shape("", READ, ""))


# WAL


def _wal(link: Link, shape: Shape) -> None:
    database, kind = link.database, shape.kind
    if kind == READ:
        if not link.inside:
            kept = link.counts or link.keeps_cursors or database.checkpointed or reading(link)
            commits = _sees_snapshot(link) if shape.whole or kept else 0
            _step(link, Operation(kinds.READ, reads=shape.reads | database.every | commits, detail=shape.sql))
            if database.checkpointed:  # who changes the journal mode holds all locks for a moment
                link.waits, link.deadline = link.timeout > 0, _until(link)
        elif not link.holds and not link.snapshot:
            commits = _sees_snapshot(link)
            _step(link, Operation(kinds.SNAPSHOT, reads=database.every | commits, detail=shape.sql))
            link.snapshot = True
    elif kind in (WRITE, SCHEMA):
        if link.holds:
            return
        if link.inside or link.implicit(shape):
            _acquire(link, shape)
        else:
            _write_at_once(link, shape)
    elif kind == BEGIN_WRITE:
        if not link.holds:
            _acquire(link, shape)  # inside a transaction too: SQLite takes the lock before it refuses the BEGIN
    elif kind in (COMMIT, ROLLBACK, RELEASE) and (link.holds or (link.snapshot and database.checkpointed)) and link.ends(shape):
        writes = database.lock.bit if link.holds else 0
        if kind != ROLLBACK and link.holds:
            writes |= _changes(link)
        _step(link, Operation(kinds.of_verb(shape.verb), reads=database.every, writes=writes, detail=shape.sql))


def _sees_snapshot(link: Link) -> int:
    """Return the mask of `commits`, which commits write from now on."""
    link.kernel.learned.learn(link.database.snapshots)
    return link.database.commits


def _changes(link: Link) -> int:
    """Return the mask that the commit of the open transaction writes."""
    database = link.database
    if link.altered:
        return database.every | database.commits | link.touched
    if _total_changes(link.connection) != link.base or link.numbered:
        return database.commits | link.touched
    return 0


def _acquire(link: Link, shape: Shape) -> None:
    """Take the write lock for a transaction. A connection with a read snapshot does not wait: SQLite refuses it at once."""
    database = link.database
    snapshot = link.snapshot or reading(link)
    link.waits = link.timeout > 0 and not snapshot
    reads = database.every | (_sees_snapshot(link) if snapshot else 0)
    enabled = _free if link.waits else None
    operation = Operation(kinds.of_verb(shape.verb), database.lock, reads, enabled=enabled, writes_when=_free, detail=shape.sql)
    _step(link, operation, _until(link) if link.waits else None)


def _write_at_once(link: Link, shape: Shape) -> None:
    """Declare an autocommit write: one step, which needs the write lock free and leaves it free."""
    database = link.database
    snapshot = reading(link)
    link.waits = link.timeout > 0 and not snapshot
    reads = database.every | shape.reads | database.lock.bit | (_sees_snapshot(link) if snapshot or shape.whole else 0)
    writes = shape.writes | database.commits | (database.every if shape.kind == SCHEMA else 0)
    operation = Operation(kinds.of_verb(shape.verb), database.lock, reads, writes, _free if link.waits else None, detail=shape.sql)
    _step(link, operation, _until(link) if link.waits else None)


# Rollback journal


def _journal(link: Link, shape: Shape) -> None:
    """Without WAL: a step that takes or drops a lock held for longer than itself writes the file's locks; after BUSY it tries again."""
    database, kind = link.database, shape.kind
    border = kind in (COMMIT, ROLLBACK, RELEASE) and link.inside and link.ends(shape)
    if kind == READ:
        if link.sharing or link.holds:
            return
        reads, writes = database.every | shape.reads | database.file.bit, 0
        if link.inside or link.keeps_cursors or reading(link):
            writes = database.file.bit
        link.waits = link.timeout > 0
    elif kind in (WRITE, SCHEMA):
        if link.holds:
            return
        reads, writes = database.every | shape.reads, database.file.bit
        if not link.inside and not link.implicit(shape):
            writes |= shape.writes | (database.every if kind == SCHEMA else 0)
        link.waits = link.timeout > 0 and not link.sharing and not reading(link)
    elif kind == BEGIN_WRITE and not link.holds:
        reads, writes = database.every, database.file.bit
        link.waits = link.timeout > 0 and not link.sharing and not reading(link)
    elif border and (link.holds or link.sharing):
        reads, writes = database.every, database.file.bit
        if kind != ROLLBACK and link.holds:
            writes |= _changes(link)
            link.waits = link.timeout > 0
    else:
        return
    _step(link, Operation(kinds.of_verb(shape.verb), reads=reads, writes=writes, detail=shape.sql))
    link.deadline = _until(link) if link.waits else None  # from now on: what passed before the statement does not count


def try_again(link: Link, shape: Shape, error: sqlite3.Error) -> bool:
    """After a refusal without WAL, wait until a lock is dropped; return False if the library would not wait (any longer)."""
    kernel, database = link.kernel, link.database
    if kernel.phase != RUNNING or (database.wal and not database.checkpointed) or database.private:
        return False
    if not link.waits or link.deadline is None:
        return False
    sees_time(kernel)
    if not busy(error) or kernel.clock.now >= link.deadline:
        return False
    seen, until = database.file.state, link.deadline
    bit = database.file.bit | (_changes(link) if shape.kind == COMMIT else shape.writes) | (link.bit if link.exposed else 0)
    if shape.kind == SCHEMA:
        bit |= database.every
    kernel.note("busy: waits")
    kind = kinds.waiting(shape.verb)
    reads = database.every | shape.reads
    kernel.step(Operation(kind, database.file, reads, bit, enabled=lambda state: bool(state > seen), detail=shape.sql), until)
    if kernel.record.stalled and kernel.actor is not None and kernel.actor.deadline is not None:
        link.deadline = max(until, kernel.actor.deadline)
    return True


# A connection that several actors share


def _on_shared(link: Link, shape: Shape) -> None:
    """Declare a statement on a shared connection: it conflicts with the others there and joins the transaction that is open by then."""
    database, kind = link.database, shape.kind
    several = not database.private and not database.alone
    commits = _sees_snapshot(link) if several else 0
    if kind == READ:
        reads = link.bit | database.every | shape.reads | commits
        journal = database.file.bit if several and not database.wal else 0
        writes = journal | (link.bit if link.moves_cursors else 0)
        link.waits = bool(journal) and link.timeout > 0
        _step(link, Operation(kinds.of_verb(shape.verb), reads=reads, writes=writes, detail=shape.sql))
        link.deadline = _until(link) if link.waits else None
        return
    writes = link.bit
    if kind in (LOCAL, BEGIN, TIMEOUT, UNKNOWN, SAVEPOINT, ROLLBACK_TO) or not several:
        _step(link, Operation(kinds.of_verb(shape.verb), reads=database.every, writes=writes | shape.writes, detail=shape.sql))
        return
    writes |= database.every | commits | database.lock.bit | database.file.bit
    link.waits = link.timeout > 0 and kind not in (ROLLBACK, RELEASE) and not link.snapshot
    if not database.wal or not link.waits or kind == COMMIT:
        _step(link, Operation(kinds.of_verb(shape.verb), writes=writes, detail=shape.sql))
        link.deadline = _until(link) if link.waits else None
        return
    enabled = _free_or(link.name)
    _step(link, Operation(kinds.of_verb(shape.verb), database.lock, 0, writes, enabled, detail=shape.sql), _until(link))


def declare_fetch(link: Link) -> None:
    """Declare a fetch from an unfinished SELECT of a shared connection."""
    kernel, database = link.kernel, link.database
    if kernel.phase != RUNNING:
        return
    assert kernel.actor is not None
    note_use(link, kernel.actor)
    writes = 0 if database.wal or database.private or database.alone else database.file.bit
    moves = link.bit if link.moves_cursors else 0
    kernel.step(Operation(kinds.FETCH, reads=link.bit | database.every, writes=writes | moves))
    if writes:
        kernel.put(database.file, database.file.state + 1)


def _free(holder: State) -> bool:
    return holder is None


def _free_or(name: str) -> Callable[[State], bool]:
    return lambda holder: holder is None or holder == name


def busy(error: BaseException) -> bool:
    """Whether SQLite reports that another connection holds a lock (SQLITE_BUSY and its extended codes)."""
    return isinstance(error, sqlite3.OperationalError) and (getattr(error, "sqlite_errorcode", 0) & 0xFF) == _BUSY
