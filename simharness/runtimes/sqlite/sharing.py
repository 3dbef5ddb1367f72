"""One connection in one execution: who uses it, under which locks, and whether a SELECT on it is unfinished.

What only one connection uses needs no points, nor does a connection that a lock of the program protects (the lockset of
Savage et al.: Eraser, 1997). Both are taken for granted until an execution shows otherwise; then `kernel.learned` makes
exploring start over.
"""

from __future__ import annotations

import sqlite3
import weakref
from typing import Any

from simharness.engine.actors import Actor
from simharness.engine.kernel import Kernel
from simharness.engine.operations import Operation
from simharness.engine.phases import RUNNING, SETUP
from simharness.errors import Misuse
from simharness.places import Place, caller
from simharness.runtimes.sqlite import statements as footprint
from simharness.runtimes.sqlite.database import Database, closed
from simharness.runtimes.sqlite.kept.image import Kept
from simharness.runtimes.sqlite.kept.playing import settle
from simharness.runtimes.sqlite.kept.tape import BECOMES_OTHER, LASTS, LEAVES_WAL
from simharness.runtimes.sqlite.remembered import memory_of
from simharness.runtimes.sqlite.statements import Shape

_create_function = sqlite3.Connection.create_function


class Use:
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
        self.moves_cursors = f"moved cursors of {name}" in shared
        self.user: Actor | None = None
        self.passed = -1
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
        self.fault: str | None = None
        self.declaring: Shape | None = None
        self.process: str | None = None
        self.place: Place | None = None
        self.registry: Any = None
        self.cursors: Any = None
        self.closed = False
        self.over = False
        self.kept: Kept | None = None
        self.tape: Kept | None = None
        self.number: int | str = 0
        self.references = 0
        self.spoilt = False
        self.options: dict[str, Any] = {}

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection itself."""
        found = self.reference()
        assert found is not None
        return found

    def enter(self) -> None:
        """Refuse what must not be done: anything in a dying execution or in a later one, and use from another thread."""
        kernel = self.kernel
        if kernel.dying:
            kernel.step(Operation("sqlite.statement"))
        if self.closed:
            raise closed()
        if self.over:
            raise elsewhere(self)
        if self.maker is not None and kernel.phase == RUNNING and kernel.actor is not self.maker:
            self._check_thread()

    def _check_thread(self) -> None:
        """Raise what `check_same_thread` makes the library raise; tasks of one thread have the same `locals["thread"]`."""
        maker, actor = self.maker, self.kernel.actor
        assert maker is not None
        assert actor is not None
        made, used = maker.locals.get("thread", maker.index), actor.locals.get("thread", actor.index)
        if made != used:
            raise sqlite3.ProgrammingError(
                "SQLite objects created in a thread can only be used in that same thread. The object was created in thread id"
                f" {made} and this is thread id {used}."
            )

    def _dropped(self, _: object) -> None:
        """The connection was garbage: SQLite has rolled its transaction back."""
        if self.holds and not self.closed and self.kernel.phase == RUNNING and not self.kernel.dying:
            self.put_lock(None)

    # Cursors

    def opened(self, cursor: sqlite3.Cursor) -> None:
        """A statement has been started that returns rows."""
        if len(self.open) > 32:
            self.open = [found for found in self.open if found() is not None]
        self.open.append(weakref.ref(cursor))

    def is_open(self, cursor: sqlite3.Cursor) -> bool:
        """Whether rows of this cursor may be left."""
        return any(found() is cursor for found in reversed(self.open))  # the last one is nearly always it

    def moved(self, cursor: Any) -> None:
        """An actor starts a statement on a cursor, or fetches from it: note whether several do so with one cursor."""
        actor = self.kernel.actor
        if cursor.mover is not actor and self.kernel.phase == RUNNING:
            if cursor.mover is not None and not self.moves_cursors:
                self.kernel.learned.share(f"moved cursors of {self.name}")
            cursor.mover = actor

    # Which points

    def used(self, actor: Actor) -> None:
        """Note a use by an actor: who shares this connection, under which locks, and who else uses the database."""
        kernel, memory, database = self.kernel, self.memory, self.database
        if self.user is not actor:
            self._of_one_process(actor)
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
        resources, me = kernel.resources, actor.host.name
        if lockset is None:
            found = memory.locksets[self.name] = frozenset(_held(kernel, me))
        else:
            for lock in lockset:
                if lock not in resources or resources[lock].state != me:
                    break
            else:
                return
            if self._ordered(actor):
                return
            found = frozenset(lock for lock in lockset if lock in resources and resources[lock].state == me)
            memory.locksets[self.name] = found
        if not found:
            self._unprotected()

    def _of_one_process(self, actor: Actor) -> None:
        """Refuse a connection that two processes use: it cannot leave the memory of the one that opened it."""
        if self.process is None:
            self.process, self.place = actor.process, caller()
            self.tell_what_is_held()
        elif self.process != actor.process:
            raise Misuse(
                f"{caller() or '?'}: process {actor.process} uses {self.name} to {self.database.label}, which process {self.process} uses"
                f" at {self.place or '?'}; have each process open its own"
            )

    def quick(self) -> bool:
        """Whether a statement of an actor needs no point: nobody else can meet this connection's locks.

        Then `passed` is the number of the step, and the actor's further statements in it need not ask again: no lock is
        taken or given back within a step.
        """
        kernel, database = self.kernel, self.database
        if not database.alone or self.exposed or kernel.tracing:
            return False
        actor = kernel.actor
        if kernel.phase != RUNNING:
            return database.private and (kernel.phase == SETUP or not kernel.checking)
        assert actor is not None
        self.used(actor)
        if database.lock.state is None or database.lock.state == self.name:
            self.passed = kernel.record.n
            return True
        return False

    def passing(self) -> bool:
        """Whether the actor that moves has been told by `quick` in this very step that it needs no point."""
        kernel = self.kernel
        return self.passed == kernel.record.n and self.user is kernel.actor and kernel.phase == RUNNING and not self.closed

    def _unprotected(self) -> None:
        if self.name in self.memory.shared and not self.memory.locksets.get(self.name, frozenset()):
            self.kernel.learned.share(f"unprotected {self.name}")

    def _ordered(self, actor: Actor) -> bool:
        """Whether all other actors have ended and the current one has joined each of them: nothing of theirs can come later."""
        kernel = self.kernel
        if len(kernel.cast.live) > 1:
            return False
        for other in kernel.cast.actors.values():
            if other is not actor:
                end = other.done.history[-1][0] if other.done.history else kernel.record.n
                steps = range(end + 1, kernel.record.n)
                if not any(kernel.record.reads[n] & other.bit and kernel.record.keys[n] == actor.key for n in steps):
                    return False
        return True

    def remembers(self, *, file: bool = False) -> None:
        """Somebody asks for what a connection, or its database's file, would remember of the execution before: keep none from now on."""
        if self.kept is not None or (file and any(link.kept is not None for link in self.database.links)):
            self.memory.keeper.stop(self.kernel)

    def settles(self) -> None:
        """Something is done on a cursor, not as the tape tells: it has ended."""
        connection = self.reference()
        if connection is not None:
            settle(connection)

    def asks(self, sql: str) -> None:
        """SQL is about to be done, not as the tape tells: keep nothing if it can tell that something was kept."""
        if LASTS.search(sql) or (BECOMES_OTHER.search(sql) if self.database.private else LEAVES_WAL.search(sql)):
            self.remembers(file=True)

    def learn(self, sql: str) -> Shape:
        """Return the shape of a statement, learning it if need be."""
        database, memory = self.database, self.memory
        book = self.book
        if book is None:
            key = (database.label, database.schema, self.flags)
            book = self.book = {} if database.volatile else memory.books.setdefault(key, {})
        shape = book.get(sql)
        if shape is None:
            if self.tape is None or LASTS.search(sql):
                self.asks(sql)
            shape, lasting = footprint.learn(self.connection, sql, database.table, self.authorizer)
            if lasting and not database.volatile:
                book[sql] = shape
        return shape

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
            self.probed = self.spoilt = True
            _create_function(connection, "simharness_probe", 0, _nothing)
        try:
            _create_function(connection, "simharness_probe", 0, _nothing)
        except sqlite3.OperationalError:
            return True
        return False

    def tell_what_is_held(self) -> None:
        """Say which locks a crash of the process frees: with WAL the write lock, if it is held; without, those of the file change often."""
        kernel, database = self.kernel, self.database
        if self.process is not None and not database.private and kernel.movers.may_crash:
            lock = database.lock if database.wal else None
            kernel.movers.may_hold(self.process, lock, self.name, database.lock.bit | database.file.bit)

    def put_lock(self, holder: str | None) -> None:
        """Record who holds the database's write lock; None also tells those who wait that locks of the file were dropped."""
        database, kernel = self.database, self.kernel
        if database.private or (kernel.phase == RUNNING and database.alone):
            return
        if database.lock.state != holder:
            kernel.put(database.lock, holder)
        if holder is None and not database.wal:
            kernel.put(database.file, database.file.state + 1)


def _held(kernel: Kernel, holder: str) -> list[str]:
    """Return the names of the program's locks whose state says that they are held by this actor."""
    held = kernel.held_by(holder)
    return [name for name, resource in kernel.resources.items() if resource in held] if held else []


def _nothing() -> None:
    return None


def elsewhere(use: Use) -> Misuse:
    """Return the error for a connection that is used in another execution than the one that made it."""
    return Misuse(
        f"{caller() or '?'}: {use.name} to {use.database.label} was made in an execution that is over; open it in the scenario"
        " function or in an actor, not in a module"
    )
