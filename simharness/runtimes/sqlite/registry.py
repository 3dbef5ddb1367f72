"""The databases and connections of one execution: opened, inspected for reports, closed when it is over."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import weakref
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from simharness.engine.kernel import Kernel
from simharness.errors import Refused
from simharness.places import caller
from simharness.runtimes.sqlite.database import Database, Link
from simharness.runtimes.sqlite.effects import record_loss
from simharness.runtimes.sqlite.kept.image import in_transaction, status_of
from simharness.runtimes.sqlite.remembered import remembered_of
from simharness.trace.tables import Table, Tables

_Connection = sqlite3.Connection
_Cursor = sqlite3.Cursor
_NOTHING: weakref.ref[Any] = weakref.ref(frozenset({"nothing refers to this"}))
"""A reference to a connection that is no longer there."""


class Registry:
    """The databases and connections of one execution; in `kernel.context`."""

    def __init__(self) -> None:
        self.databases: dict[str, Database] = {}
        self.links: list[Link] = []
        self.labels: dict[str, str] = {}


def registry_of(kernel: Kernel) -> Registry:
    """Return the registry of the kernel's execution."""
    registry: Registry | None = kernel.context.get("sqlite")
    if registry is None:
        registry = kernel.context["sqlite"] = Registry()
        kernel.movers.when_crashed.append(lambda process: crash(kernel, process))
    return registry


def identify(kernel: Kernel, database: Any, uri: bool, name: str) -> tuple[str, str, bool]:
    """Return (label, path, whether only this connection can open it) of a database about to be opened."""
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
    folder = kernel.workspace.path
    if label is None and os.path.dirname(path) == folder and not _is_link(path):
        label = labels[path] = os.path.basename(path)
    if label is None:
        real = os.path.realpath(path)
        label = real
        if folder is not None and real.startswith(os.path.realpath(folder) + os.sep):
            label = real[len(os.path.realpath(folder)) + 1 :]
        labels[path] = label
    return label, path, False


def _is_link(path: str) -> bool:
    status = status_of(path)
    return status is not None and stat.S_ISLNK(status.st_mode)


def end_execution(kernel: Kernel) -> None:
    """Close everything that the execution left open: cursors, then transactions, then connections. Called after the checks."""
    registry: Registry | None = kernel.context.pop("sqlite", None)
    if registry is None:
        return
    for database in registry.databases.values():
        if database.inspector is not None:
            database.inspector.close()
        database.links.clear()
        database.user = None
    for link in registry.links:
        connection = link.reference()
        link.over = True
        link.user = link.maker = None
        if connection is None:
            continue
        link.reference = weakref.ref(connection, _own)
        if not link.closed and (link.kept is None or not link.kept.keep(link, connection)):
            _close(link, connection)
        link.closed = True
    remembered_of(kernel).keeper.end(kernel)


def _own(_: object) -> None:
    """Keep a weak reference distinct: Python shares those without a callback, so the program's could not be counted."""


def interrupt(kernel: Kernel) -> None:
    """Have the statements end that its connections run; any OS thread may call this."""
    registry: Registry | None = kernel.context.get("sqlite")
    for link in () if registry is None else list(registry.links):
        connection = link.reference()
        if connection is not None and not link.closed:
            with contextlib.suppress(sqlite3.Error):
                _Connection.interrupt(connection)


def retire(link: Link, connection: Any) -> bool:
    """Close a connection as the program sees it, but keep it for the next execution; return whether that was possible."""
    if link.kept is None or not link.kept.keep(link, connection):
        return False
    link.closed = True
    link.reference = _NOTHING  # the connection may be opened again in this execution, and be kept once more
    connection.__class__ = connection.closed
    return True


def _close(link: Link, connection: sqlite3.Connection) -> None:
    """Close a connection for real: cursors first, then the transaction, or the write lock stays held."""
    link.closed = True
    for reference in link.open:
        cursor = reference()
        if cursor is not None:
            with contextlib.suppress(sqlite3.Error):
                _Cursor.close(cursor)
    with contextlib.suppress(sqlite3.Error):
        if in_transaction(connection):
            _Connection.rollback(connection)
    _Connection.close(connection)


def crash(kernel: Kernel, process: str) -> None:
    """Handle the death of a process: SQLite rolls its transactions back and frees its locks."""
    for link in registry_of(kernel).links:
        if not link.closed and link.process == process:
            connection = link.reference()
            if connection is not None and not retire(link, connection):
                _close(link, connection)
            record_loss(link)


def snapshot(kernel: Kernel) -> Tables:
    """Return the committed rows of each database: label, table, columns and rows. Not a scheduling point."""
    registry: Registry | None = kernel.context.get("sqlite")
    return {} if registry is None else {database.label: _rows(database) for database in registry.databases.values()}


def _rows(database: Database) -> dict[str, Table]:
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
    tables: dict[str, Table] = {}
    with contextlib.suppress(sqlite3.OperationalError), _plain_text(connection):
        names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY rowid"
        shadows = _shadows(cursor)
        for (name,) in cursor.execute(names).fetchall():
            quoted = name.replace('"', '""')
            rows = cursor.execute(f'SELECT * FROM "{quoted}"').fetchall()
            columns = tuple(column[0] for column in cursor.description)
            keys = sorted((part, number) for number, *_, part in cursor.execute(f'PRAGMA table_info("{quoted}")') if part)
            tables[name] = Table(columns, rows, tuple(number for _, number in keys), name in shadows)
    cursor.close()
    return tables


def _shadows(cursor: sqlite3.Cursor) -> frozenset[str]:
    """Return the names of the tables in which virtual tables keep their data; none in a library that does not say."""
    if sqlite3.sqlite_version_info < (3, 37):
        return frozenset()
    return frozenset(name for _, name, kind, *_ in cursor.execute("PRAGMA table_list") if kind == "shadow")


@contextlib.contextmanager
def _plain_text(connection: sqlite3.Connection) -> Iterator[None]:
    """Read text as str, whatever the program has set on its connection."""
    before, connection.text_factory = connection.text_factory, str
    try:
        yield
    finally:
        connection.text_factory = before


def holders(kernel: Kernel) -> dict[str, str]:
    """Return the holder of each locked database's write lock: label, name of the connection."""
    registry: Registry | None = kernel.context.get("sqlite")
    if registry is None:
        return {}
    return {label: str(database.lock.state) for label, database in registry.databases.items() if database.lock.state is not None}
