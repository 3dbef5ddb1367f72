"""A connection: the real one of `sqlite3`, with its statements and transaction borders as scheduling points.

Inside a simulation `sqlite3.connect` returns an instance of a subclass of the wanted factory and of `SimConnection`. It is
a genuine connection to the genuine file; only waiting is virtual: the real busy timeout is 0, and a statement that would
wait is an operation that the kernel runs when the lock is free, or when the virtual timeout has passed; the library then
raises its own "database is locked". Footprints are in `statements`, locking is in `locking` and `effects`.

Promises: outside a simulation `connect` is the genuine one; a dying execution does not touch a database; the end of an
execution (`end_execution`) leaves no lock, cursor or connection.

Limits: power loss is out of scope (`synchronous` is off); shared caches and attached files are refused; calls that a
step cannot express exactly (`backup`, blobs, schema changes) conflict with everything on the database.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable
from functools import wraps
from types import TracebackType
from typing import Any

from simharness.engine.clock import nanoseconds
from simharness.engine.kernel import Kernel, current
from simharness.engine.operations import Operation
from simharness.engine.phases import INSPECTING, RUNNING
from simharness.errors import Refused
from simharness.places import caller
from simharness.runtimes.sqlite import ends, kinds
from simharness.runtimes.sqlite.cursor import LEGACY, ReportingCursor, SimCursor, attempt, execute, set_level, statement
from simharness.runtimes.sqlite.database import Database, Link
from simharness.runtimes.sqlite.kept.image import SHARED_MEMORY, in_transaction
from simharness.runtimes.sqlite.kept.playing import ALTERS, Closed, Noting, Played
from simharness.runtimes.sqlite.learning import end_keeping, end_tape
from simharness.runtimes.sqlite.locking import declare, declare_whole
from simharness.runtimes.sqlite.registry import identify, registry_of, retire
from simharness.runtimes.sqlite.sharing import enter, note_access, passing, quick
from simharness.runtimes.sqlite.statements import COMMITS, ROLLS_BACK, Shape

_new_cursor: Any = sqlite3.Connection.cursor
_Connection = sqlite3.Connection
_Cursor = sqlite3.Cursor
_subclasses: dict[tuple[Any, type], Any] = {}


def controlled(factory: Any, base: type) -> Any:
    """Return a subclass of the user's connection or cursor class that is controlled."""
    subclass = _subclasses.get((factory, base))
    if subclass is None:
        genuine = base.__mro__[-2]
        if factory is genuine:
            subclass = base
        elif isinstance(factory, type) and issubclass(factory, genuine):
            body = {"__module__": factory.__module__, "__qualname__": factory.__qualname__, "__doc__": factory.__doc__}
            subclass = factory if issubclass(factory, base) else type(factory.__name__, (factory, base), body)
        else:
            raise Refused(f"{caller() or '?'}: the factory {factory!r} is not a subclass of sqlite3.{genuine.__name__}")
        _subclasses[factory, base] = subclass
    return subclass


def name_of_next(kernel: Kernel) -> str:
    """Return the name of a connection that is about to be opened."""
    return "check's connection" if kernel.phase == INSPECTING else kernel.new_name("connection")


class SimConnection(_Connection):
    """A connection whose statements are scheduling points; `closed` is the class of one that is closed and kept."""

    closed: Any

    def __init__(  # the signature of sqlite3.Connection
        self,
        database: Any,
        timeout: float = 5.0,
        detect_types: int = 0,
        isolation_level: Any = "",
        check_same_thread: bool = True,
        factory: Any = None,
        cached_statements: int = 128,
        uri: bool = False,
        known: bool = False,
        **options: Any,
    ) -> None:
        kernel = current()
        if kernel is None:
            raise Refused(f"{caller() or '?'}: a controlled connection is opened outside the simulation")
        if kernel.dying:
            kernel.step(Operation(kinds.CONNECT))
        name = name_of_next(kernel)
        place = identify(kernel, database, uri, name)
        super().__init__(
            database, timeout=0, detect_types=detect_types, isolation_level=isolation_level, check_same_thread=False,
            cached_statements=cached_statements, uri=uri, **options,
        )  # fmt: skip
        self._join(kernel, name, place, timeout, isolation_level, check_same_thread, known=known, **options)

    def _join(
        self,
        kernel: Kernel,
        name: str,
        place: tuple[str, str, bool],
        timeout: float = 5.0,
        isolation_level: Any = "",
        check_same_thread: bool = True,
        autocommit: Any = LEGACY,
        known: bool = False,
        **_: Any,
    ) -> None:
        """Join the current execution, connected to the identified place; the options are those of `sqlite3.connect`.

        `known`: the database is a kept one (`kept`), so its schema need not be read.
        """
        label, path, private = place
        registry = registry_of(kernel)
        opened = registry.databases.get(label)
        if opened is None:
            opened = registry.databases[label] = Database(kernel, label, path, private)
            if not known:
                opened.read_schema(self)
        if not private and not path.startswith(SHARED_MEMORY):
            with contextlib.suppress(sqlite3.Error):  # not a database, or locked for now
                _Cursor(self).execute("PRAGMA synchronous=OFF")
        link = self._link = Link(kernel, opened, name, self)
        link.level = isolation_level if autocommit == LEGACY else None
        link.autocommit = autocommit
        link.timeout = max(0, nanoseconds(timeout))
        link.maker = kernel.actor if check_same_thread and kernel.phase != INSPECTING else None
        link.cursors = ReportingCursor if link.exposed or kernel.tracing else SimCursor
        registry.links.append(link)

    # Cursors

    def cursor(self, factory: Any = None) -> Any:
        """Return a controlled cursor."""
        link = self._link
        enter(link)
        base = link.cursors
        if factory is not None and factory is not _Cursor:
            if isinstance(factory, type):
                factory = controlled(factory, base)
        else:
            factory = base
        cursor = super().cursor(factory)
        if isinstance(cursor, SimCursor):
            cursor._link = link
        return cursor

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        """Run one statement."""
        if type(self) is not SimConnection:
            return self.cursor().execute(sql, parameters)
        link = self._link
        if link.closed:
            enter(link)
        cursor = _new_cursor(self, link.cursors)
        cursor._link = link
        return statement(cursor, sql, parameters, execute)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Any:
        """Run one statement for each set of parameters, as one step."""
        return self.cursor().executemany(sql, parameters)

    def executescript(self, script: str, /) -> Any:
        """Run the statements of a script in order, each as its own step."""
        return self.cursor().executescript(script)

    # Borders

    def commit(self) -> None:
        """Commit; a scheduling point where another actor could notice."""
        self._border(COMMITS, super().commit)

    def rollback(self) -> None:
        """Roll back; a scheduling point where another actor could notice."""
        self._border(ROLLS_BACK, super().rollback)

    def _border(self, shape: Shape, call: Callable[[], None]) -> None:
        link = self._link
        if passing(link):
            call()
            return
        if link.over and shape is ROLLS_BACK:
            return  # a pool's finaliser: the end of the execution rolled the transaction back
        enter(link)
        if link.autocommit is True or (not link.exposed and not in_transaction(self)):
            call()
            return
        if quick(link):
            call()
            return
        declare(link, shape)
        attempt(link, shape, call)

    def close(self) -> None:
        """Close; an open transaction is rolled back first."""
        link: Link | None = getattr(self, "_link", None)
        if link is not None and link.over:
            return  # a finaliser: the connection is closed or kept, and no longer its execution's
        if link is not None and not link.closed:
            enter(link)
            if not link.exposed and in_transaction(self) and (link.holds or link.snapshot):
                declare(link, ROLLS_BACK)
                attempt(link, ROLLS_BACK, super().rollback)
                if in_transaction(self) and link.autocommit is not False:
                    return
            ends.declare_close(link)
            if link.closed:
                return
            if link.exposed and in_transaction(self):
                attempt(link, ROLLS_BACK, super().rollback)
            if retire(link, self):
                return
            link.closed = True
        super().close()

    def __enter__(self) -> Any:
        enter(self._link)
        return super().__enter__()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /) -> Any:
        link = self._link
        enter(link)
        if link.autocommit is not True:
            if kind is not None:
                self._border(ROLLS_BACK, super().rollback)
            else:
                try:
                    self._border(COMMITS, super().commit)
                except Exception:
                    with contextlib.suppress(sqlite3.Error):
                        self._border(ROLLS_BACK, super().rollback)
                    raise
        return False

    @property
    def isolation_level(self) -> Any:
        """How Python begins transactions on its own."""
        return super().isolation_level

    @isolation_level.setter
    def isolation_level(self, level: Any) -> None:
        link: Link | None = getattr(self, "_link", None)
        if link is not None:
            enter(link)
            end_tape(link)
            if level is None and in_transaction(self) and link.autocommit == LEGACY:
                self._border(COMMITS, super().commit)
        set_level.__set__(self, level)
        if link is not None and link.autocommit == LEGACY:
            link.level = level

    # Calls that are one step, which conflicts with everything on the database

    def backup(self, target: sqlite3.Connection, **options: Any) -> None:
        """Copy into another database."""
        self._whole("backup")
        end_keeping(self._link, file=True)
        if isinstance(target, SimConnection):
            target._whole("backup")
            target._link.database.changed_schema("backup", target._link.name)
            target._link.database.volatile = True
        super().backup(target, **options)

    def blobopen(self, *arguments: Any, **options: Any) -> Any:
        """Open a blob."""
        link = self._link
        readonly = options.get("readonly", False)
        if link.kernel.phase == RUNNING and not (readonly or link.holds or link.database.private or link.database.alone):
            raise Refused(f"{caller() or '?'}: open a blob for writing inside a transaction that has written (BEGIN IMMEDIATE)")
        self._whole("blobopen")
        link.spoilt = True
        return super().blobopen(*arguments, **options)

    def serialize(self, **options: Any) -> bytes:
        """Return the database as bytes."""
        self._whole("serialize")
        end_keeping(self._link, file=True)
        return super().serialize(**options)

    def deserialize(self, data: Any, /, **options: Any) -> None:
        """Replace the database with a serialized one."""
        self._whole("deserialize")
        self._link.spoilt = True
        self._link.database.changed_schema("deserialize", self._link.name)
        self._link.database.volatile = True
        super().deserialize(data, **options)

    def _whole(self, verb: str) -> None:
        link = self._link
        enter(link)
        declare_whole(link, verb)

    def set_authorizer(self, authorizer_callback: Any) -> None:
        """Set the authorizer; learning footprints does not disturb it."""
        link = self._link
        enter(link)
        super().set_authorizer(authorizer_callback)
        link.authorizer = authorizer_callback
        link.spoilt = link.configured = True

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        link: Link | None = getattr(self, "_link", None)
        if link is not None and not link.closed:
            note_access(link)
        inside: bool = in_transaction(self)
        return inside

    @property
    def total_changes(self) -> int:
        """The number of rows that this connection has changed."""
        note_access(self._link)
        end_keeping(self._link)
        return super().total_changes


def _spoiling(name: str) -> Any:
    """Wrap a genuine method whose effect outlasts an execution: the connection is not kept."""
    genuine = getattr(_Connection, name)

    @wraps(genuine)
    def spoiling(self: SimConnection, *arguments: Any, **options: Any) -> Any:
        self._link.spoilt = self._link.configured = True
        return genuine(self, *arguments, **options)

    return spoiling


for _name in ALTERS:
    if hasattr(_Connection, _name):
        setattr(SimConnection, _name, _spoiling(_name))


class PlayedCursor(Played, SimCursor):
    """A cursor whose statement is known from an earlier execution."""


class NotingConnection(Noting, SimConnection):
    """A connection while set-up fills its database."""

    normal = SimConnection
    played = PlayedCursor


class ClosedConnection(Closed, SimConnection):
    """A connection that the program has closed and that is kept."""


SimConnection.closed = ClosedConnection


if "autocommit" in vars(_Connection):
    _autocommit: Any = vars(_Connection)["autocommit"]

    def _set_autocommit(self: SimConnection, value: Any) -> None:
        link: Link | None = getattr(self, "_link", None)
        if link is not None:
            enter(link)
            end_tape(link)
            link.spoilt = True
            if value is True and in_transaction(self):
                self._border(COMMITS, lambda: _Connection.commit(self))
        _autocommit.__set__(self, value)
        if link is not None:
            link.autocommit = value
            link.level = self.isolation_level if value == LEGACY else None

    SimConnection.autocommit = property(_autocommit.__get__, _set_autocommit)  # type: ignore[attr-defined]  # since Python 3.12
