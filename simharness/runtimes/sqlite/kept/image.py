"""Databases that are kept from one execution to the next, because making one and preparing its statements costs more than an ordering.

Only where the program cannot notice: for a database in memory or in the world's folder that set-up makes through plain
connections. The first execution records what set-up writes there before it reads anything (a *tape*), and an image of what is
committed by then. In later executions a set-up that does the same gets the image instead, and the connections of the execution
before, if nothing refers to them any more and no change to them outlasts the image; for a set-up that does something else
everything is done for real. Between executions the file is not at its path.

Reading connection-local state (`lastrowid`, `total_changes`, `changes()`), or touching the file itself, disables the cache;
exploring then starts over if a kept database had been used.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import weakref
from typing import Any, Protocol

from simharness.engine.kernel import Kernel
from simharness.engine.operations import Resource
from simharness.runtimes.sqlite.kept.policy import Policy
from simharness.runtimes.sqlite.kept.tape import TapeEntry, do

SHARED_MEMORY = "/dev/shm/"
"""Files in memory need no `synchronous=OFF`; the world's own folder is here, on systems that have it."""
FILES = ("", "-wal", "-shm", "-journal")
"""The suffixes of a database's files."""
MOST = 8
"""How many connections with the same options wait, besides those on the tape."""
_Connection = sqlite3.Connection
_rename, _stat, _lstat = os.rename, os.stat, os.lstat  # the genuine ones: the files of code under test are another matter
in_transaction = vars(_Connection)["in_transaction"].__get__
_level: Any = vars(_Connection)["isolation_level"]


class OpenedDatabase(Protocol):
    """The state of a database in one execution that keeping reads and puts back."""

    lock: Resource
    file: Resource
    schema: int
    volatile: bool
    unread: bool
    wal: bool

    def forget_shapes(self) -> None:
        """Forget the shapes of statements."""


class OpenedConnection(Protocol):
    """The state of a connection in one execution that keeping reads and writes: `kept`, `tape` and `number` are its own."""

    reference: weakref.ref[sqlite3.Connection]
    open: list[weakref.ref[sqlite3.Cursor]]
    flags: tuple[str, ...]
    kept: KeptDatabase | None
    tape: KeptDatabase | None
    number: int | str
    references: int
    spoilt: bool
    options: dict[str, Any]
    cursors: Any

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection itself."""

    @property
    def database(self) -> OpenedDatabase:
        """Its database."""


class KeptDatabase:
    """A database, `path` or in memory (""): how set-up makes it, its image, and the connections that wait for the next execution.

    The tape is *open* from the first connection of an execution on, until it is settled.
    """

    def __init__(self, policy: Policy, path: str, name: str) -> None:
        self.path = path
        self.entries: list[TapeEntry] = []
        self.image: Any = None
        self.refused = self.open = self.used = self.second_hand = False
        self.links: list[OpenedConnection] = []
        self.played = self._whole = self._schema = self._cookie = 0
        self._policy = policy
        self._name = name
        self._locks: list[list[Any]] = []
        self._waiting: dict[int | str, list[Any]] = {}
        self._restorer: sqlite3.Connection | None = None
        self._parked: str | None = None
        self._file: tuple[int, int] | None = None
        self._wal = False

    # Connections

    def begin(self, kernel: Kernel) -> bool:
        """Begin the tape of an execution, before its first connection is opened; return whether set-up starts with no file, as before."""
        if self.path and status_of(self.path) is not None:
            return False
        if self._parked is not None:
            self._move(self._parked, self.path)
            self._parked = None
        self.open = self.used = True
        kernel.when_set_up.append(self.settle)
        return True

    @property
    def settled(self) -> bool:
        """Whether the database is a file in use whose tape has ended."""
        return self.used and not self.open and self.image is not None and bool(self.path)

    def may_open(self, options: str) -> bool:
        """Whether another connection comes next on the tape."""
        return self.image is None or self.entries[self.played : self.played + 1] == [TapeEntry(len(self.links), "open", options, "")]

    def take(self, which: int | str) -> Any:
        """Return a waiting connection that the program does not refer to any more; None if there is none.

        `which`: its number, if it is on the tape; else the text of its options.
        """
        waiting = self._waiting.get(which)
        if not waiting:
            return None
        connection = waiting.pop()
        if len(connection.__dict__) > 1 or weakref.getweakrefcount(connection) > 1:
            _Connection.close(connection)
            return None
        if sys.getrefcount(connection) > connection._link.references:
            _Connection.close(connection)
            self._policy.found_held(True)
            return None
        self._policy.found_held(False)
        self.second_hand = True
        return connection

    def opened(self, link: OpenedConnection, options: str) -> None:
        """Note a connection that was opened, on the tape or later."""
        link.kept, link.number = self, options
        if not self.open:
            return
        link.tape, link.number = self, len(self.links)
        self.links.append(link)
        if self.image is None:
            self.note(TapeEntry(link.number, "open", options, ""))
        else:
            self.played += 1
        if self.path and link.number == 0:
            self._file = _identity(self.path)

    def where(self) -> str:
        """Return where the file is between executions."""
        return self._parked or self.path

    def keep(self, link: OpenedConnection, connection: Any) -> bool:
        """Keep a connection for the next execution if possible: end its statements and roll its transaction back."""
        if not self._policy.wanted or self.image is None or self.open or link.spoilt:
            return False
        if weakref.getweakrefcount(connection) > 1:  # the program may ask whether it still exists
            return False
        waiting = self._waiting.setdefault(link.number, [])
        if len(waiting) >= (1 if type(link.number) is int else MOST):
            return False
        for reference in link.open:
            cursor = reference()
            if cursor is not None:
                sqlite3.Cursor.close(cursor)
        if in_transaction(connection):
            _Connection.rollback(connection)
        waiting.append(connection)
        return True

    def end(self, kernel: Kernel) -> None:
        """End the execution's use: move the file away, or drop everything that cannot be kept."""
        if not self.used:
            return
        databases = [link.database for link in self.links]
        changed = any(database.volatile or database.unread or database.wal != self._wal for database in databases)
        self.links.clear()
        self.played = 0
        self.used = self.open = self.second_hand = False
        if self.image is None:  # set-up was not finished
            self.entries.clear()
            self._whole = 0
        if self.image is None or not self._policy.wanted or (self.path and (changed or not self._park(kernel))):
            self.drop()

    def drop(self) -> None:
        """Close the kept connections and remove the file; the tape and the image stay."""
        for waiting in self._waiting.values():
            while waiting:
                _Connection.close(waiting.pop())
        if self._restorer is not None:
            self._restorer.close()
            self._restorer = None
        if self._parked is not None:
            _remove(self._parked)
            self._parked = None

    def refuse(self) -> None:
        """Stop keeping this database for good."""
        if self.path and self.image is not None:
            self.image.close()
        self.refused, self.image = True, None
        self.entries.clear()
        self.drop()

    # The tape

    def note(self, entry: TapeEntry) -> None:
        """Record an entry that set-up did for real; outside a transaction, the tape up to here can be imaged."""
        self.entries.append(entry)
        database = self.links[0].database
        connections = [link.reference() for link in self.links]
        if not any(connection is not None and in_transaction(connection) for connection in connections):
            self._whole, self._schema = len(self.entries), database.schema
            self._locks = [list(lock.history) for lock in (database.lock, database.file)]

    def play(self, number: int | str, method: str, text: str, wording: str) -> TapeEntry | None:
        """Return the next entry if set-up does the same now."""
        if self.played < len(self.entries):
            entry = self.entries[self.played]
            if entry[:4] == (number, method, text, wording):
                self.played += 1
                return entry
        return None

    def settle(self) -> None:
        """End the tape: make the image, or put the image in place."""
        if not self.open:
            return
        self.open = False
        for link in self.links:
            link.tape = None
            connection: Any = link.reference()
            if connection is not None:
                connection.__class__ = connection.normal
        if self.refused:
            return
        if self.image is None:
            self._make_image()
        elif self.played < len(self.entries) or not self._put_in_place():
            self._do_again()

    def _make_image(self) -> None:
        """Take an image of the committed state; entries of an unfinished transaction leave the tape."""
        noted = self.entries[: self._whole]
        for entry in self.entries[self._whole :]:
            self.links[entry.number].spoilt = True
        if all(entry.method == "open" for entry in noted):
            self.refuse()
            return
        del self.entries[self._whole :]
        first = self.links[0]
        if not self.path:
            if first.reference() is None or in_transaction(first.connection):
                self.refuse()
            else:
                self.image = _Connection.serialize(first.connection)
            return
        reader, image = _Connection(self.path, timeout=0), _Connection(":memory:", check_same_thread=False)
        try:
            reader.backup(image)
            [self._cookie] = reader.execute("PRAGMA schema_version").fetchone()
            self._wal = reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            self.image = image
        except sqlite3.Error:
            image.close()
            self.refuse()
        finally:
            reader.close()

    def _put_in_place(self) -> bool:
        """Put the image in place; return whether that succeeded."""
        first = self.links[0]
        if not self.path:
            if first.reference() is None:
                return True
            _Connection.deserialize(first.connection, self.image)
        else:
            try:
                self._restore()
            except sqlite3.Error:
                return False
            self.second_hand = True
        database = first.database
        database.schema, database.wal, database.unread = self._schema, self._wal, False
        database.forget_shapes()
        for lock, history in zip((database.lock, database.file), self._locks, strict=True):
            for step, state in history:
                lock.put(step, state)
        return True

    def _restore(self) -> None:
        """Write the image into the file, on a connection of our own, and reset the schema's version to that of the image."""
        restorer = self._restorer
        if restorer is None:
            restorer = self._restorer = _Connection(self.path, timeout=0, isolation_level=None, check_same_thread=False)
            if not self.path.startswith(SHARED_MEMORY):
                restorer.execute("PRAGMA synchronous=OFF")
            if self._wal:
                restorer.execute("PRAGMA journal_mode=WAL")
        self.image.backup(restorer)
        restorer.execute(f"PRAGMA schema_version={self._cookie}")

    def _do_again(self) -> None:
        """Run the played part of the tape for real, on an empty database, and stop keeping."""
        done, connections = self.entries[: self.played], dict(enumerate(link.reference() for link in self.links))
        attributes: dict[int, Any] = {}
        for number, connection in connections.items():
            if connection is not None:
                attributes[number] = connection.row_factory, connection.text_factory, _level.__get__(connection)
                _Connection.close(connection)
        self.refuse()
        if self.path:
            _remove(self.path)
        for entry in done:
            if entry.method == "open":
                connections[entry.number] = self._opened_again(entry.number, connections[entry.number], attributes)
                continue
            do(connections[entry.number], entry.method, entry.text, entry.parameters)
        for number, connection in connections.items():
            if connection is not None and number not in attributes:
                connection.close()

    def _opened_again(self, number: int, connection: Any, attributes: dict[int, Any]) -> Any:
        """Return a connection of the tape, opened again; a genuine one if the program has dropped its own."""
        link = self.links[number]
        place = self.path or ":memory:"
        if connection is None:
            return _Connection(place, **link.options)
        _Connection.__init__(connection, place, **link.options)
        connection.row_factory, connection.text_factory, level = attributes[number]
        connection._link = link
        _level.__set__(connection, level)
        link.flags = ()
        return connection

    # The file

    def _park(self, kernel: Kernel) -> bool:
        """Move the file away from its path; return whether it is still the one that was opened."""
        folder = kernel.workspace.path
        if folder is None or self._file is None or _identity(self.path) != self._file:
            return False
        self._parked = self._policy.place(self._name, os.path.dirname(folder))
        self._move(self.path, self._parked)
        return True

    def _move(self, path: str, to: str) -> None:
        for suffix in ("", "-wal", "-shm") if self._wal else ("", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                _rename(path + suffix, to + suffix)


def status_of(path: str, follow: bool = False) -> os.stat_result | None:
    """Return the status of a file, or of a symbolic link unless that is followed; None if there is none."""
    try:
        return _stat(path) if follow else _lstat(path)
    except (OSError, ValueError):
        return None


def _identity(path: str) -> tuple[int, int] | None:
    status = status_of(path, follow=True)
    return None if status is None else (status.st_dev, status.st_ino)


def _remove(path: str) -> None:
    for suffix in FILES:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + suffix)
