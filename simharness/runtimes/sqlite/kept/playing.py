"""The classes of connections and cursors while a tape (`image`) records or plays them, and of connections closed and kept."""

from __future__ import annotations

import copy
import sqlite3
from types import MemberDescriptorType
from typing import Any

from simharness.runtimes.sqlite.kept.image import KeptDatabase, OpenedConnection, in_transaction
from simharness.runtimes.sqlite.kept.tape import LONGEST, TapeEntry, do, only_writes, only_writes_all, sets, wording

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
_OWN = ("_do", "_note", "_for_real", "__class__", "__dict__")
_new_cursor: Any = sqlite3.Connection.cursor
_REFUSED = frozenset(
    name for name, value in vars(sqlite3.Connection).items() if name[0] != "_" and not isinstance(value, MemberDescriptorType)
) - {"close"}
"""The attributes that SQLite's connections refuse once they are closed."""


class Noting:
    """Mixed into the class of a connection while its tape is open; the first call that does more than write settles it.

    `normal` is the connection's class afterwards, `played` that of cursors whose statement was played from the tape.
    """

    normal: Any
    played: Any
    _link: Any  # an OpenedConnection; the class that this is mixed into declares it
    _WORKS = frozenset(("_link", "execute", "executemany", "executescript", "commit", "normal", "played", *_OWN))

    def __getattribute__(self, name: str) -> Any:
        if name not in Noting._WORKS:
            settle(self)
        return object.__getattribute__(self, name)

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        """Record a statement, or play it."""
        if not isinstance(self, Noting):  # bound while the tape was open
            return self.execute(sql, parameters)
        if type(sql) is str and (only_writes(sql) or (sets(sql) and not in_transaction(self))):  # there, some do nothing
            return self._do("execute", sql, parameters, wording(parameters))
        settle(self)
        return self.execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> Any:
        """Record a statement, or play it."""
        if not isinstance(self, Noting):
            return self.executemany(sql, parameters)
        if type(sql) is str and type(parameters) in (list, tuple) and only_writes(sql):
            words = [wording(values) for values in parameters]
            return self._do("executemany", sql, parameters, None if None in words else repr(words))
        settle(self)
        return self.executemany(sql, parameters)

    def executescript(self, script: str, /) -> Any:
        """Record a script, or play it."""
        if not isinstance(self, Noting):
            return self.executescript(script)
        if type(script) is str and only_writes_all(script):
            return self._do("executescript", script, (), "")
        settle(self)
        return self.executescript(script)

    def commit(self) -> None:
        """Record a commit, or play it."""
        if not isinstance(self, Noting):
            self.commit()
        else:
            self._do("commit", "", (), "")

    def _do(self, method: str, text: str, parameters: Any, words: str | None) -> Any:
        link: OpenedConnection = self._link
        tape = link.tape
        if tape is None or words is None or (tape.image is None and len(tape.entries) > LONGEST):
            settle(self)
            return do(self, method, text, parameters)
        if tape.image is None:
            return self._note(tape, method, text, parameters, words)
        entry = tape.play(link.number, method, text, words)
        if entry is None:
            settle(self)
            return do(self, method, text, parameters)
        if method == "execute" and sets(text):
            return self._for_real(method, text, parameters)
        if method == "commit":
            return None
        cursor = _new_cursor(self, self.played)
        cursor._link = link
        cursor.entry = entry
        return cursor

    def _note(self, tape: KeptDatabase, method: str, text: str, parameters: Any, words: str) -> Any:
        link = self._link
        assert type(link.number) is int
        try:
            cursor = self._for_real(method, text, parameters)
        except BaseException:
            tape.refuse()
            tape.settle()
            raise
        last = (-1, None) if cursor is None else (sqlite3.Cursor.rowcount.__get__(cursor), _lastrowid(cursor))
        tape.note(TapeEntry(link.number, method, text, words, copy.deepcopy(parameters), *last))
        return cursor

    def _for_real(self, method: str, text: str, parameters: Any) -> Any:
        noting: Any = type(self)
        self.__class__ = self.normal
        try:
            return do(self, method, text, parameters)
        finally:
            self.__class__ = noting

    def __enter__(self) -> Any:
        settle(self)
        return self.__enter__()

    def __exit__(self, *error: Any) -> Any:
        settle(self)
        return self.__exit__(*error)

    def __call__(self, sql: str, /) -> Any:
        """Settle the tape, then prepare a statement, as calling a connection does."""
        settle(self)
        return self(sql)


_lastrowid = vars(sqlite3.Cursor)["lastrowid"].__get__


def settle(connection: Any) -> None:
    """End the tape of this connection."""
    if not issubclass(type(connection), Noting):
        return  # a `with` binds both of its methods before it calls the first, which settles
    link: OpenedConnection = object.__getattribute__(connection, "_link")
    tape = link.tape
    if tape is not None:
        tape.settle()


class Played:
    """Mixed into the class of a cursor whose statement was played: it shows what the recorded statement's cursor showed."""

    _link: Any  # an OpenedConnection; the class that this is mixed into declares it
    entry: TapeEntry

    @property
    def rowcount(self) -> int:
        """The number of rows that the statement changed."""
        return self.entry.rowcount

    @property
    def lastrowid(self) -> int | None:
        """The row that the statement inserted last."""
        return self.entry.lastrowid

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        """Run another statement."""
        return self._again().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> Any:
        """Run another statement."""
        return self._again().executemany(sql, parameters)

    def executescript(self, script: str, /) -> Any:
        """Run a script; the cursor still shows the statement before."""
        self._link.connection.cursor().executescript(script)
        return self

    def _again(self) -> Any:
        tape = self._link.tape
        if tape is not None:
            tape.settle()
        self.__class__ = self._link.cursors
        return self


class Closed:
    """Mixed into the class of a kept connection that the program has closed."""

    def __getattribute__(self, name: str) -> Any:
        if name not in _REFUSED:
            return object.__getattribute__(self, name)
        if callable(vars(sqlite3.Connection)[name]):
            return _refuses
        raise closed()

    def close(self) -> None:
        """Do nothing: the connection is closed."""

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
    """Return the library's exception for a closed connection."""
    return sqlite3.ProgrammingError("Cannot operate on a closed database.")
