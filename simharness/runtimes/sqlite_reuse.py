"""Connections that are kept from one execution to the next, because opening one and preparing its statements costs more than an ordering.

It is done only where nobody can tell: a connection to `:memory:` that set-up opens in the plain way and whose schema set-up defines
before it does anything else. Those definitions are noted in the first execution (a *tape*), with an image of the database they
made. Later executions that define the same get the image instead, and the connection of the execution before, if nothing
refers to it any more and nothing was done to it that would outlast the image. Whoever asks for what a connection remembers
across the image (`lastrowid`, `total_changes`, `changes()`) ends the keeping, and exploring starts over where it mattered.
"""

from __future__ import annotations

import re
import sqlite3
import sys
import weakref
from typing import TYPE_CHECKING, Any

from simharness.kernel import Kernel
from simharness.record import SETUP
from simharness.runtimes.sqlite_footprint import statements

if TYPE_CHECKING:
    from simharness.runtimes.sqlite_locks import Link

LASTS = re.compile(r"last_insert_rowid|changes\s*\(", re.IGNORECASE)
"""SQL that asks for what outlasts an image."""
ALTERS = (
    "create_aggregate",
    "create_collation",
    "create_function",
    "create_window_function",
    "enable_load_extension",
    "load_extension",
    "setconfig",
    "setlimit",
    "set_progress_handler",
    "set_trace_callback",
)
"""Methods of a connection whose effects outlast an image."""
_DEFINES = re.compile(r"\s*CREATE\s+(UNIQUE\s+)?(TABLE|INDEX)\b", re.IGNORECASE)
_SELECTS = re.compile(r"\bSELECT\b", re.IGNORECASE)
_Connection = sqlite3.Connection
_new_cursor: Any = sqlite3.Connection.cursor
_CAN = hasattr(_Connection, "deserialize")


class Tape:
    """The definitions with which set-up begins on one connection, and the database they make; `image` is None while noting."""

    def __init__(self) -> None:
        self.statements: list[tuple[str, str]] = []
        self.image: bytes | None = None
        self.schema = 0


class Keeper:
    """What is kept in one exploration: tapes and connections, by the arguments and the number of the connection."""

    def __init__(self) -> None:
        self.wanted = _CAN
        self.tapes: dict[Any, Tape | None] = {}
        self.connections: dict[Any, Any] = {}

    def key(self, kernel: Kernel, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Return what tells the connection that is about to be opened from others, or None if it cannot be kept."""
        if not self.wanted or kernel.mode != SETUP or kernel.tracing or arguments != (":memory:",) or "factory" in options:
            return None
        key = kernel.created.get("connection", 0), tuple(sorted((name, repr(value)) for name, value in options.items()))
        return None if key in self.tapes and self.tapes[key] is None else key

    def take(self, key: Any) -> Any:
        """Return the connection that was kept under this key, if nobody else has it; None if there is none."""
        connection = self.connections.pop(key, None)
        if connection is None:
            return None
        unknown = len(connection.__dict__) > 1 or weakref.getweakrefcount(connection) > 1
        if unknown or connection._link.spoilt or sys.getrefcount(connection) > connection._link.references:
            _Connection.close(connection)
            return None
        return connection

    def close(self) -> None:
        """Let go of all connections."""
        while self.connections:
            _Connection.close(self.connections.popitem()[1])


def keep(link: Link, connection: Any) -> bool:
    """Keep the connection for the next execution if that can be done; its statements are ended and its transaction rolled back."""
    keeper = link.memory.keeper
    if link.key is None or not keeper.wanted or keeper.tapes.get(link.key) is None or link.key in keeper.connections:
        return False
    for reference in link.open:
        cursor = reference()
        if cursor is not None:
            sqlite3.Cursor.close(cursor)
    if connection.in_transaction:
        _Connection.rollback(connection)
    keeper.connections[link.key] = connection
    return True


class Noting:
    """Mixed into the class of a connection while set-up defines its schema; the first thing that is no definition ends that.

    `normal` is the class that the connection has afterwards.
    """

    normal: Any
    _link: Link

    def __getattribute__(self, name: str) -> Any:
        if name not in ("_link", "execute", "executescript", "normal", "_define", "__class__", "__dict__"):
            settle(self)
        return object.__getattribute__(self, name)

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        """Note a definition, or find it known."""
        if type(sql) is str and parameters == () and _defines(sql):
            return self._define("execute", sql)
        settle(self)
        return self.execute(sql, parameters)

    def executescript(self, script: str, /) -> Any:
        """Note a script of definitions, or find it known."""
        if type(script) is str and all(map(_defines, statements(script))):
            return self._define("executescript", script)
        settle(self)
        return self.executescript(script)

    def _define(self, method: str, text: str) -> Any:
        link = self._link
        tape = link.tape
        if link.kernel.mode == SETUP and tape is not None and tape.image is None:
            noting: Any = type(self)
            self.__class__ = self.normal
            cursor = getattr(self, method)(text)
            tape.statements.append((method, text))
            self.__class__ = noting
            return cursor
        if link.kernel.mode == SETUP and tape is not None and tape.statements[link.played : link.played + 1] == [(method, text)]:
            link.played += 1
            cursor = _new_cursor(self, link.cursors)
            cursor._link = link
            return cursor
        settle(self)
        return getattr(self, method)(text)

    def __enter__(self) -> Any:
        settle(self)
        return self.__enter__()

    def __exit__(self, *error: Any) -> Any:
        settle(self)
        return self.__exit__(*error)

    def __call__(self, sql: str, /) -> Any:
        """What SQLite's connections can be called for: a statement."""
        settle(self)
        return self(sql)


def settle(connection: Any) -> None:
    """Definitions have ended: make an image of them, or have the database be the known one."""
    if not issubclass(type(connection), Noting):
        return  # a `with` binds both of its methods before it calls the first, which settles
    link: Link = object.__getattribute__(connection, "_link")
    connection.__class__ = connection.normal
    tape, link.tape = link.tape, None
    if tape is None:
        return
    if tape.image is None:
        if tape.statements and not connection.in_transaction:
            tape.image, tape.schema = _Connection.serialize(connection), link.database.schema
            link.memory.keeper.tapes[link.key] = tape
        else:
            link.memory.keeper.tapes[link.key] = None
        return
    if link.played == len(tape.statements):
        _Connection.deserialize(connection, tape.image)
        link.database.schema = tape.schema
        return
    link.memory.keeper.tapes[link.key] = None
    link.again(connection)
    for method, text in tape.statements[: link.played]:
        getattr(connection, method)(text)


def _defines(sql: str) -> bool:
    return _DEFINES.match(sql) is not None and _SELECTS.search(sql) is None


class Closed:
    """Mixed into the class of a connection that the program has closed and that is kept."""

    _WORKS = ("_link", "close", "row_factory", "text_factory", "__class__", "__dict__")

    def __getattribute__(self, name: str) -> Any:
        if name in Closed._WORKS:
            return object.__getattribute__(self, name)
        if callable(getattr(type(self), name)):
            return _refuses
        raise closed()

    def close(self) -> None:
        """Do nothing: it is closed."""

    def __enter__(self) -> Any:
        raise closed()

    def __exit__(self, *error: object) -> Any:
        raise closed()

    def __call__(self, sql: str, /) -> Any:
        """Refuse."""
        raise closed()


def _refuses(*arguments: object, **options: object) -> None:
    raise closed()


def closed() -> sqlite3.ProgrammingError:
    """Return what the library raises for a connection that was closed."""
    return sqlite3.ProgrammingError("Cannot operate on a closed database.")
