"""The ends of read transactions that no statement ends: a cursor is exhausted, closed, collected or used again, a connection closed.

Without WAL an unfinished SELECT keeps a lock that a writer meets; with WAL it decides what a checkpoint answers, as does which
connections are open. So where other actors can notice (`Database.ends_matter`), an end in a later step than the SELECT is a step.
"""

from __future__ import annotations

import contextlib
import sqlite3
import weakref
from functools import partial

from greenlet import getcurrent

from simharness.engine.operations import Operation
from simharness.engine.phases import RUNNING
from simharness.runtimes.sqlite import kinds
from simharness.runtimes.sqlite.database import Link
from simharness.runtimes.sqlite.kept.image import in_transaction
from simharness.runtimes.sqlite.sharing import active, note_use
from simharness.runtimes.sqlite.statements import READ, Shape


class Unfinished(weakref.ref[sqlite3.Cursor]):
    """A cursor that may have rows left; `since` is the step in which it was last used, `writes` what its end writes."""

    __slots__ = ("since", "writes")
    since: int
    writes: int


def watch(link: Link, cursor: sqlite3.Cursor, shape: Shape) -> None:
    """Note a statement that returns rows, and has begun."""
    link.open = [reference for reference in link.open if reference() not in (None, cursor)]
    reference = Unfinished(cursor, partial(_collected, link))
    reference.since = link.kernel.record.n
    # A change of the journal mode holds all locks until its answer was fetched, and INSERT … RETURNING commits then.
    database = link.database
    reference.writes = 0 if shape.kind == READ else shape.writes | database.every | database.commits | database.lock.bit
    link.open.append(reference)


def continued(link: Link, cursor: sqlite3.Cursor) -> bool:
    """Whether the cursor keeps, since an earlier step, a read transaction that others can notice."""
    reference = _reference(link, cursor)
    return reference is not None and _matters(link, reference) and _keeps(link)


def declare_use(link: Link, cursor: sqlite3.Cursor) -> bool:
    """Declare a step that may end the cursor's read transaction; return whether one was needed: `record_end` follows the use."""
    reference = _reference(link, cursor)
    if reference is None or not continued(link, cursor):
        return False
    _step(link, reference)
    note_step(link, cursor)
    return True


def note_step(link: Link, cursor: sqlite3.Cursor) -> None:
    """Note that the cursor is used in the step that was made last."""
    reference = _reference(link, cursor)
    if reference is not None:
        reference.since = link.kernel.record.n


def record_end(link: Link) -> None:
    """Wake the statements that wait for the file's locks if no SELECT of the connection is unfinished any more."""
    if not active(link):
        _drop(link)


def declare_close(link: Link) -> None:
    """Declare that the connection is about to be closed, where others can notice."""
    database, actor = link.database, link.kernel.actor
    if link.kernel.phase != RUNNING or actor is None:
        return
    note_use(link, actor)
    if database.checkpointed and database.ends_matter:
        link.kernel.step(Operation(kinds.CLOSE, writes=database.every | database.commits | database.file.bit | link.bit))
    elif link.exposed:
        locks = 0 if database.private or database.alone else database.every | database.commits | database.lock.bit | database.file.bit
        link.kernel.step(Operation(kinds.CLOSE, reads=database.every, writes=locks | link.bit))
    elif _keeps(link):
        _step(link, *(reference for reference in link.open if isinstance(reference, Unfinished)))
    if database.ends_matter:
        _drop(link)


def _collected(link: Link, reference: Unfinished) -> None:
    """A cursor is about to be collected, and with it the statement."""
    if _matters(link, reference) and _keeps(link) and acting(link):
        with contextlib.suppress(BaseException):  # the execution is dying: the actor's next operation raises again
            _step(link, reference)
            _drop(link)


def _matters(link: Link, reference: Unfinished) -> bool:
    """Whether another actor could have moved since the cursor was used last, and have noticed that it is unfinished.

    Within a step nobody moves: there a cursor matters to those whose statements would not wait until an actor that is late moves on.
    """
    return link.database.impatient or reference.since != link.kernel.record.n


def acting(link: Link) -> bool:
    """Whether the running code is that of the actor whose turn it is: a finaliser may run elsewhere."""
    actor = link.kernel.actor
    return actor is not None and not actor.finished and actor.greenlet is getcurrent()


def _reference(link: Link, cursor: sqlite3.Cursor) -> Unfinished | None:
    for reference in reversed(link.open):
        if reference() is cursor:
            return reference if isinstance(reference, Unfinished) else None
    return None


def _keeps(link: Link) -> bool:
    """Whether an unfinished SELECT, and no transaction, keeps a read transaction open that others can notice."""
    kernel = link.kernel
    if kernel.phase != RUNNING or kernel.dying or link.closed or not link.database.ends_matter:
        return False
    return not in_transaction(link.connection) and active(link)


def _step(link: Link, *ended: Unfinished) -> None:
    reads, writes = link.database.every | (link.bit if link.exposed else 0), link.database.file.bit
    for reference in ended:
        writes |= reference.writes
    link.kernel.step(Operation(kinds.FETCH, reads=reads, writes=writes))


def _drop(link: Link) -> None:
    file = link.database.file
    if link.kernel.phase == RUNNING:
        link.kernel.put(file, file.state + 1)
