"""SQLite: the real `sqlite3`, with its statements and transaction borders as scheduling points.

Inside a simulation `sqlite3.connect` returns an instance of a subclass of the wanted factory and of `SimConnection`. It is a
genuine connection to the genuine file; only waiting is virtual: the real busy timeout is 0, and what would wait is an operation
that the kernel lets happen when the lock is free, or when the virtual timeout has passed, in which case the library's own "database is
locked" comes out. Footprints and locking are in `sqlite_footprint` and `sqlite_locks`.

Promises: outside a simulation `connect` is the genuine one; a dying execution does nothing to a database; at the end of an execution
(`end_execution`) no lock, cursor or connection is left.

Limits: power loss is out of scope (`synchronous` is off); shared caches and attached files are refused; what a step cannot express
exactly (`backup`, blobs, schema changes) conflicts with everything on the database.
"""

from __future__ import annotations

import _sqlite3
import contextlib
import os
import re
import sqlite3
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from simharness.clock import nanoseconds
from simharness.errors import Refused
from simharness.kernel import INSPECTING, RUNNING, Kernel, current
from simharness.operations import Operation
from simharness.places import caller
from simharness.runtimes import sqlite_footprint as footprint
from simharness.runtimes.patching import Patches
from simharness.runtimes.sqlite_footprint import COMMIT, COMMITS, READ, ROLLBACK, ROLLS_BACK, SCHEMA, TIMEOUT, UNKNOWN, WRITE, Shape
from simharness.runtimes.sqlite_locks import Database, Link

_genuine = sqlite3.connect
_Connection = sqlite3.Connection
_Cursor = sqlite3.Cursor
_cursor_execute = sqlite3.Cursor.execute
_cursor_executemany = sqlite3.Cursor.executemany
_LEGACY = -1
_EVERYTHING = Shape("", SCHEMA, "")
_ATTACHED = re.compile(r"\s*(?:DATABASE\s+)?(['\"])(:memory:)?\1", re.IGNORECASE)


class Registry:
    """The databases and connections of one execution; in `kernel.context`."""

    def __init__(self) -> None:
        self.databases: dict[str, Database] = {}
        self.links: list[Link] = []
        self.labels: dict[str, str] = {}


def registry_of(kernel: Kernel) -> Registry:
    """Return the registry of the kernel's execution."""
    found: Registry | None = kernel.context.get("sqlite")
    if found is None:
        found = kernel.context["sqlite"] = Registry()
    return found


def install(patches: Patches) -> None:
    """Plan the replacement of `sqlite3.connect`, wherever it is bound."""
    patches.everywhere(_genuine, connect)
    for module in (sqlite3, sqlite3.dbapi2, _sqlite3):
        patches.attribute(module, "connect", connect)


def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
    """Open a database: a controlled connection inside a simulation, a genuine one outside."""
    kernel = current()
    if kernel is None:
        return _genuine(*arguments, **options)
    factory = arguments[5] if len(arguments) > 5 else options.get("factory", _Connection)
    return _controlled(factory, SimConnection)(*arguments, **options)  # type: ignore[no-any-return]  # a subclass of the factory


_subclasses: dict[tuple[Any, type], Any] = {}


def _controlled(factory: Any, base: type) -> Any:
    """Return a subclass of the user's connection or cursor class that is controlled."""
    found = _subclasses.get((factory, base))
    if found is None:
        genuine = base.__mro__[-2]
        if factory is genuine:
            found = base
        elif isinstance(factory, type) and issubclass(factory, genuine):
            body = {"__module__": factory.__module__, "__qualname__": factory.__qualname__, "__doc__": factory.__doc__}
            found = factory if issubclass(factory, base) else type(factory.__name__, (factory, base), body)
        else:
            raise Refused(f"{caller() or '?'}: the factory {factory!r} is not a subclass of sqlite3.{genuine.__name__}")
        _subclasses[factory, base] = found
    return found


class SimConnection(_Connection):
    """A connection whose statements are scheduling points."""

    def __init__(
        self,
        database: Any,
        timeout: float = 5.0,
        detect_types: int = 0,
        isolation_level: Any = "",
        check_same_thread: bool = True,
        factory: Any = None,
        cached_statements: int = 128,
        uri: bool = False,
        **options: Any,
    ) -> None:
        kernel = current()
        if kernel is None:
            raise Refused(f"{caller() or '?'}: a controlled connection is opened outside the simulation")
        if kernel.dying:
            kernel.step(Operation("sqlite.connect"))
        name = "check's connection" if kernel.mode == INSPECTING else kernel.new_name("connection")
        label, path, private = _identify(kernel, database, uri, name)
        registry = registry_of(kernel)
        super().__init__(
            database, timeout=0, detect_types=detect_types, isolation_level=isolation_level, check_same_thread=False,
            cached_statements=cached_statements, uri=uri, **options,
        )  # fmt: skip
        found = registry.databases.get(label)
        if found is None:
            found = registry.databases[label] = Database(kernel, label, path, private)
            found.read_schema(self)
        if not private:
            _cursor_execute(_Cursor(self), "PRAGMA synchronous=OFF") if not options else None
        link = self._link = Link(kernel, found, name, self)
        link.level = isolation_level if options.get("autocommit", _LEGACY) == _LEGACY else None
        link.autocommit = options.get("autocommit", _LEGACY)
        link.timeout = max(0, nanoseconds(timeout))
        link.maker = kernel.actor if check_same_thread and kernel.mode != INSPECTING else None
        link.registry = registry
        link.cursors = TalkingCursor if link.exposed or kernel.tracing else SimCursor
        registry.links.append(link)

    # Cursors

    def cursor(self, factory: Any = None) -> Any:
        link = self._link
        link.enter()
        base = link.cursors
        if factory is not None and factory is not _Cursor:
            if isinstance(factory, type):
                factory = _controlled(factory, base)
        else:
            factory = base
        cursor = super().cursor(factory)
        if isinstance(cursor, SimCursor):
            cursor._link = link
        return cursor

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        return self.cursor().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Any:
        return self.cursor().executemany(sql, parameters)

    def executescript(self, script: str, /) -> Any:
        return self.cursor().executescript(script)

    # Borders

    def commit(self) -> None:
        self._border(COMMITS, super().commit)

    def rollback(self) -> None:
        self._border(ROLLS_BACK, super().rollback)

    def _border(self, shape: Shape, call: Callable[[], None]) -> None:
        link = self._link
        link.enter()
        if link.autocommit is True or (not link.exposed and not self.in_transaction):
            call()
            return
        link.before(shape)
        _attempt(link, shape, call)

    def close(self) -> None:
        link: Link | None = getattr(self, "_link", None)
        if link is not None and not link.closed:
            link.enter()
            if self.in_transaction and (link.holds or link.snapshot):
                link.before(ROLLS_BACK)
                _attempt(link, ROLLS_BACK, super().rollback)
                if self.in_transaction and link.autocommit is not False:
                    return
            link.closed = True
        super().close()

    def __enter__(self) -> Any:
        self._link.enter()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> Any:
        link = self._link
        link.enter()
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
        return super().isolation_level

    @isolation_level.setter
    def isolation_level(self, level: Any) -> None:
        link: Link | None = getattr(self, "_link", None)
        if link is not None:
            link.enter()
            if level is None and self.in_transaction and link.autocommit == _LEGACY:
                self._border(COMMITS, super().commit)
        _level.__set__(self, level)
        if link is not None and link.autocommit == _LEGACY:
            link.level = level

    # What is done as one step that conflicts with everything on the database

    def backup(self, target: sqlite3.Connection, **options: Any) -> None:
        self._whole("backup")
        if isinstance(target, SimConnection):
            target._whole("backup")
            target._link.database.changed_schema("backup", target._link.name)
            target._link.database.volatile = True
        super().backup(target, **options)

    def blobopen(self, *arguments: Any, **options: Any) -> Any:
        link = self._link
        readonly = options.get("readonly", False)
        if link.kernel.mode == RUNNING and not (readonly or link.holds or link.database.private or link.database.alone):
            raise Refused(f"{caller() or '?'}: open a blob for writing inside a transaction that has written (BEGIN IMMEDIATE)")
        self._whole("blobopen")
        return super().blobopen(*arguments, **options)

    def serialize(self, **options: Any) -> bytes:
        self._whole("serialize")
        return super().serialize(**options)

    def deserialize(self, data: Any, /, **options: Any) -> None:
        self._whole("deserialize")
        self._link.database.changed_schema("deserialize", self._link.name)
        self._link.database.volatile = True
        super().deserialize(data, **options)

    def _whole(self, what: str) -> None:
        link = self._link
        link.enter()
        link.before_whole(what)

    def set_authorizer(self, authorizer_callback: Any) -> None:
        link = self._link
        link.enter()
        super().set_authorizer(authorizer_callback)
        link.authorizer = authorizer_callback


_level: Any = vars(_Connection)["isolation_level"]


if "autocommit" in vars(_Connection):
    _autocommit: Any = vars(_Connection)["autocommit"]

    def _set_autocommit(self: SimConnection, value: Any) -> None:
        link: Link | None = getattr(self, "_link", None)
        if link is not None:
            link.enter()
            if value is True and self.in_transaction:
                self._border(COMMITS, lambda: _Connection.commit(self))
        _autocommit.__set__(self, value)
        if link is not None:
            link.autocommit = value
            link.level = self.isolation_level if value == _LEGACY else None

    SimConnection.autocommit = property(_autocommit.__get__, _set_autocommit)  # type: ignore[attr-defined]  # since Python 3.12


class SimCursor(_Cursor):
    """A cursor whose statements are scheduling points; fetching its rows is none."""

    _link: Link

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        return _statement(self, sql, parameters, _cursor_execute)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Any:
        return _statement(self, sql, list(parameters), _cursor_executemany)

    def executescript(self, script: str, /) -> Any:
        link = self._link
        link.enter()
        connection = link.connection
        if link.autocommit == _LEGACY and connection.in_transaction:
            connection.commit()
        scripts = link.memory.scripts
        statements = scripts.get(script)
        if statements is None:
            statements = scripts[script] = footprint.statements(script)
        if link.kernel.mode not in (RUNNING, INSPECTING) and not any("BEGIN" in text.upper() for text in statements):
            _Cursor.executescript(self, script)
            link.after_script(script)
            return self
        level, link.level = link.level, None
        if level is not None:
            _level.__set__(connection, None)
        try:
            for text in statements:
                SimCursor.execute(self, text)
                _Cursor.fetchall(self)
        finally:
            link.level = level
            if level is not None:
                _level.__set__(connection, level)
        return self

    def close(self) -> None:
        if self._link.kernel.dying:
            self._link.enter()
        super().close()


class TalkingCursor(SimCursor):
    """A cursor that tells of its rows: used on shared connections, where fetching is a point, and for timelines."""

    def fetchone(self) -> Any:
        row = super().fetchone() if self._fetches() else None
        self._tell(row)
        return row

    def fetchmany(self, size: int | None = None) -> Any:
        self._fetches()
        rows = super().fetchmany(self.arraysize if size is None else size)
        self._tell(*rows)
        return rows

    def fetchall(self) -> Any:
        self._fetches()
        rows = super().fetchall()
        self._tell(*rows)
        return rows

    def __next__(self) -> Any:
        self._fetches()
        row = super().__next__()
        self._tell(row)
        return row

    def _fetches(self) -> bool:
        link = self._link
        link.enter()
        if link.exposed and link.is_open(self):
            link.fetching()
        return True

    def _tell(self, *rows: Any) -> None:
        kernel = self._link.kernel
        if kernel.tracing:
            shown = [_shown(row) for row in rows[:3]]
            if len(rows) > 3:
                shown.append(f"… {len(rows)} rows")
            kernel.note(", ".join(shown) or "no rows")


def _shown(row: Any) -> str:
    return "no row" if row is None else repr(tuple(row)) if isinstance(row, (tuple, sqlite3.Row)) else repr(row)


def _statement(cursor: SimCursor, sql: str, parameters: Any, call: Callable[..., Any]) -> Any:
    """Do one statement: a point if it has to be one, then the real call."""
    try:
        link = cursor._link
    except AttributeError:
        raise Refused(f"{caller() or '?'}: make cursors with connection.cursor(), not with the class") from None
    link.enter()
    if type(sql) is not str:
        return call(cursor, sql, parameters)
    shape = link.learn(sql)
    while True:
        link.before(shape, cursor)
        if shape.kind != UNKNOWN:
            break
        shape = link.learn(sql)
        if shape.kind == UNKNOWN:
            break
    text = sql
    if shape.kind == TIMEOUT:
        text = _busy_timeout(link, shape)
    elif shape.verb == "ATTACH" and not _ATTACHED.match(shape.argument):
        raise Refused(f"{caller() or '?'}: {sql}: attached files are not simulated; open a connection of its own")
    elif shape.verb == "PRAGMA" and shape.argument.lower().startswith("locking_mode e"):
        raise Refused(f"{caller() or '?'}: {sql}: exclusive locking mode is not simulated")
    _attempt(link, shape, lambda: call(cursor, text, parameters))
    if shape.rows:
        link.opened(cursor)
    if link.kernel.tracing:
        _tell(link, shape, cursor)
    return cursor


def _attempt(link: Link, shape: Shape, call: Callable[[], Any]) -> None:
    """Make the real call, again after each virtual wait that follows a refusal; record what became of the transaction."""
    while True:
        try:
            call()
        except BaseException as error:
            link.after(shape, error)
            if isinstance(error, sqlite3.Error) and link.try_again(shape, error):
                continue
            link.kernel.note(f"{type(error).__name__}: {error}")
            raise
        break
    committed = link.names
    link.after(shape)
    if shape.kind in (COMMIT, ROLLBACK) and link.kernel.tracing:
        done = "committed" if shape.kind == COMMIT else "rolled back"
        tables = {name: committed.count(name) for name in committed}
        link.kernel.note(f"{done}: {', '.join(f'{name} ({count})' for name, count in tables.items()) or 'nothing'}")
        link.names = []


def _busy_timeout(link: Link, shape: Shape) -> str:
    """`PRAGMA busy_timeout`: the virtual one; return a statement that answers as the pragma does."""
    _, _, value = shape.argument.partition(" ")
    if value:
        with contextlib.suppress(ValueError):
            link.timeout = max(0, int(value)) * 1_000_000
    return f"SELECT {link.timeout // 1_000_000} AS timeout"


def _tell(link: Link, shape: Shape, cursor: sqlite3.Cursor) -> None:
    if shape.kind == WRITE:
        rows = cursor.rowcount
        if rows > 0:
            link.names.extend(list(shape.tables[:1]) * rows)
        if rows >= 0:
            link.kernel.note(f"{rows} row{'' if rows == 1 else 's'}")


def _identify(kernel: Kernel, database: Any, uri: bool, name: str) -> tuple[str, str, bool]:
    """Return (label, path, whether nobody else can open it) of what is to be opened."""
    text = os.fsdecode(database)
    query: dict[str, list[str]] = {}
    if uri and text.startswith("file:"):
        parts = urlsplit(text)
        text, query = unquote(parts.path), parse_qs(parts.query)
        if query.get("cache", [""])[-1] == "shared" or query.get("vfs") or query.get("nolock"):
            raise Refused(f"{caller() or '?'}: {database}: shared caches and other file systems are not simulated")
    if text in ("", ":memory:") or query.get("mode", [""])[-1] == "memory":
        return f"memory of {name}", "", True
    path = os.path.abspath(text)
    labels = registry_of(kernel).labels
    label = labels.get(path)
    if label is None:
        real = os.path.realpath(path)
        label = real
        folder = kernel._folder
        if folder is not None and real.startswith(os.path.realpath(folder.name) + os.sep):
            label = real[len(os.path.realpath(folder.name)) + 1 :]
        labels[path] = label
    return label, path, False


def end_execution(kernel: Kernel) -> None:
    """Close what the execution left open: cursors first, then transactions, then connections. Called when checks are over."""
    registry: Registry | None = kernel.context.pop("sqlite", None)
    if registry is None:
        return
    for database in registry.databases.values():
        if database.inspector is not None:
            database.inspector.close()
    for link in registry.links:
        connection = link.reference()
        link.over = True
        if connection is None or link.closed:
            continue
        link.closed = True
        for reference in link.open:
            cursor = reference()
            if cursor is not None:
                with contextlib.suppress(sqlite3.Error):
                    _Cursor.close(cursor)
        with contextlib.suppress(sqlite3.Error):
            if connection.in_transaction:
                _Connection.rollback(connection)
        _Connection.close(connection)


def snapshot(kernel: Kernel) -> dict[str, dict[str, list[tuple[Any, ...]]]]:
    """Return the committed rows of each database: label, table, rows in their order in the file. Not a scheduling point."""
    registry: Registry | None = kernel.context.get("sqlite")
    return {} if registry is None else {database.label: _rows(database) for database in registry.databases.values()}


def _rows(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    connection: sqlite3.Connection | None
    if database.private:
        connection = next((link.reference() for link in database.links if not link.closed), None)
        if connection is None:
            return {}
    elif database.inspector is None:
        if not os.path.exists(database.path):
            return {}
        connection = database.inspector = _Connection(database.path, timeout=0, isolation_level=None)
    else:
        connection = database.inspector
    cursor = _Cursor(connection)
    cursor.row_factory = None
    found: dict[str, list[tuple[Any, ...]]] = {}
    with contextlib.suppress(sqlite3.OperationalError):
        tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY rowid"
        for (name,) in cursor.execute(tables).fetchall():
            quoted = name.replace('"', '""')
            found[name] = cursor.execute(f'SELECT * FROM "{quoted}"').fetchall()
    cursor.close()
    return found


def holders(kernel: Kernel) -> dict[str, str]:
    """Return who holds the write lock of each database that is locked: label, name of the connection."""
    registry: Registry | None = kernel.context.get("sqlite")
    if registry is None:
        return {}
    return {name: str(found.lock.state) for name, found in registry.databases.items() if found.lock.state is not None}
