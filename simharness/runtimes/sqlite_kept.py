"""Databases that are kept from one execution to the next, because making one and preparing its statements costs more than an ordering.

It is done only where nobody can tell: for a database in memory or in the world's folder that set-up makes through plain connections.
What set-up does there before it asks for anything is noted in the first execution (a *tape*), with an image of what is then
committed. In later executions a set-up that does the same gets the image instead, and the connections of the execution before, if
nothing refers to them any more and nothing was done to them that outlasts the image; a set-up that does something else has all of
it done for real. Between executions the file is not at its path.

Whoever asks for what a connection remembers across the image (`lastrowid`, `total_changes`, `changes()`), or opens the
database's file as a file, ends the keeping, and exploring starts over where it mattered.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import sys
import tempfile
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from simharness.kernel import Kernel
from simharness.record import SETUP
from simharness.runtimes.sqlite_tape import Entry, words

if TYPE_CHECKING:
    from simharness.runtimes.sqlite_locks import Link

MEMORY = "/dev/shm/"
"""What is in memory needs no `synchronous=OFF`; the world's own folder is there, where there is such a place."""
_FILES = ("", "-wal", "-shm", "-journal")
STUBBORN = 20
"""How often more connections were still held than free, after garbage was collected, before keeping them ends."""
_Connection = sqlite3.Connection
_in_transaction = vars(_Connection)["in_transaction"].__get__
_level: Any = vars(_Connection)["isolation_level"]


class Kept:
    """A database, `path` or in memory (""): how set-up makes it, its image, and the connections that wait for the next execution.

    The tape is *open* from the first connection of an execution on, until it is settled.
    """

    def __init__(self, keeper: Keeper, path: str) -> None:
        self.keeper = keeper
        self.path = path
        self.entries: list[Entry] = []
        self.image: Any = None
        self.refused = self.open = self.used = self.second_hand = False
        self.links: list[Link] = []
        self.played = self._whole = self._schema = self._cookie = 0
        self._locks: list[list[Any]] = []
        self._waiting: dict[int, Any] = {}
        self._restorer: sqlite3.Connection | None = None
        self._parked: str | None = None
        self._file: tuple[int, int] | None = None
        self._wal = False

    # Connections

    def begin(self) -> bool:
        """Set-up is about to open the first connection of an execution; return whether it starts from nothing, as it did before."""
        if self.path and os.path.lexists(self.path):
            return False
        if self._parked is not None:
            self._move(self._parked, self.path)
            self._parked = None
        self.open = self.used = True
        return True

    def may_open(self, options: str) -> bool:
        """Whether the tape goes on with another connection; if not, it is settled."""
        if self.image is None or self.entries[self.played : self.played + 1] == [Entry(len(self.links), "open", options, "")]:
            return True
        self.settle()
        return False

    def take(self) -> Any:
        """Return the connection that waits for being opened next, if nobody else has it; None if there is none."""
        connection = self._waiting.pop(len(self.links), None)
        if connection is None:
            return None
        if len(connection.__dict__) > 1 or weakref.getweakrefcount(connection) > 1:
            _Connection.close(connection)
            return None
        if sys.getrefcount(connection) > connection._link.references:
            _Connection.close(connection)
            self.keeper.found_held(True)
            return None
        self.keeper.found_held(False)
        self.second_hand = True
        return connection

    def opened(self, link: Link, options: str) -> None:
        """Set-up has opened a connection."""
        link.kept = link.tape = self
        link.number = len(self.links)
        self.links.append(link)
        if self.image is None:
            self.entries.append(Entry(link.number, "open", options, ""))
        else:
            self.played += 1
        if self.path and link.number == 0:
            self._file = _identity(self.path)

    def where(self) -> str:
        """Return where the file is, now that an execution is over."""
        return self._parked or self.path

    def keep(self, link: Link, connection: Any) -> bool:
        """Keep a connection for the next execution if that can be done; its statements are ended and its transaction rolled back."""
        if not self.keeper.wanted or self.image is None or self.open or link.spoilt or link.number in self._waiting:
            return False
        for reference in link.open:
            cursor = reference()
            if cursor is not None:
                sqlite3.Cursor.close(cursor)
        if connection.in_transaction:
            _Connection.rollback(connection)
        self._waiting[link.number] = connection
        return True

    def end(self, kernel: Kernel) -> None:
        """The execution is over, and so are its connections: put what is kept by."""
        if not self.used:
            return
        changed = any(link.database.volatile for link in self.links)
        self.links.clear()
        self.played = 0
        self.used = self.open = self.second_hand = False
        if self.image is None or not self.keeper.wanted or (self.path and (changed or not self._park(kernel))):
            self.drop()

    def drop(self) -> None:
        """Close what is kept; the tape and the image stay."""
        while self._waiting:
            _Connection.close(self._waiting.popitem()[1])
        if self._restorer is not None:
            self._restorer.close()
            self._restorer = None
        if self._parked is not None:
            _remove(self._parked)
            self._parked = None

    def refuse(self) -> None:
        """Keep nothing of this database any more."""
        self.refused, self.image = True, None
        self.entries.clear()
        self.drop()

    # The tape

    def note(self, entry: Entry) -> None:
        """Set-up has done something, for real."""
        self.entries.append(entry)
        database = self.links[0].database
        connections = [link.reference() for link in self.links]
        if not any(connection is not None and _in_transaction(connection) for connection in connections):
            self._whole, self._schema = len(self.entries), database.schema
            self._locks = [list(lock.history) for lock in (database.lock, database.file)]

    def play(self, number: int, method: str, text: str, told: str) -> Entry | None:
        """Return what set-up did at this place before, if it does the same now."""
        if self.played < len(self.entries):
            entry = self.entries[self.played]
            if entry[:4] == (number, method, text, told):
                self.played += 1
                return entry
        return None

    def settle(self) -> None:
        """The tape has ended: make the image, or have the database be the known one."""
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
        """Take an image of what is committed; what set-up did in an unfinished transaction is not on the tape."""
        noted = self.entries[: self._whole]
        for entry in self.entries[self._whole :]:
            self.links[entry.number].spoilt = True
        if all(entry.method == "open" for entry in noted):
            self.refuse()
            return
        del self.entries[self._whole :]
        first = self.links[0]
        if not self.path:
            if first.reference() is None or first.connection.in_transaction:
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
            self.refuse()
        finally:
            reader.close()

    def _put_in_place(self) -> bool:
        """Have the database be the known one; return whether that could be done."""
        first = self.links[0]
        if not self.path:
            _Connection.deserialize(first.connection, self.image)
        else:
            try:
                self._restore()
            except sqlite3.Error:
                return False
        database = first.database
        database.schema = self._schema
        database.read_header()
        for link in database.links:
            link.book = None
        for lock, history in zip((database.lock, database.file), self._locks, strict=True):
            for step, state in history:
                lock.put(step, state)
        return True

    def _restore(self) -> None:
        """Write the image into the file, on a connection of our own; the schema is said to be no newer than it was."""
        restorer = self._restorer
        if restorer is None:
            restorer = self._restorer = _Connection(self.path, timeout=0, isolation_level=None, check_same_thread=False)
            if not self.path.startswith(MEMORY):
                restorer.execute("PRAGMA synchronous=OFF")
            if self._wal:
                restorer.execute("PRAGMA journal_mode=WAL")
        self.image.backup(restorer)
        restorer.execute(f"PRAGMA schema_version={self._cookie}")

    def _do_again(self) -> None:
        """Do what was taken as done for real, on an empty database; nothing is kept any more."""
        done, connections = self.entries[: self.played], [link.reference() for link in self.links]
        attributes: dict[int, Any] = {}
        for number, connection in enumerate(connections):
            if connection is not None:
                attributes[number] = connection.row_factory, connection.text_factory, _level.__get__(connection)
                _Connection.close(connection)
        self.refuse()
        if self.path:
            _remove(self.path)
        for entry in done:
            found: Any = connections[entry.number]
            link = self.links[entry.number]
            if found is None:
                continue
            if entry.method == "open":
                _Connection.__init__(found, self.path or ":memory:", **link.options)
                found.row_factory, found.text_factory, level = attributes[entry.number]
                found._link = link
                _level.__set__(found, level)
                link.flags = ()
            elif entry.method == "commit":
                found.commit()
            elif entry.method == "executescript":
                found.executescript(entry.text)
            else:
                getattr(found, entry.method)(entry.text, entry.parameters)

    # The file

    def _park(self, kernel: Kernel) -> bool:
        """Move the file away from its path; return whether it is still the one that was opened."""
        folder = kernel.fresh_folder
        if folder is None or self._file is None or _identity(self.path) != self._file:
            return False
        self._parked = self.keeper.place(self.path, os.path.dirname(folder))
        self._move(self.path, self._parked)
        return True

    @staticmethod
    def _move(path: str, to: str) -> None:
        for suffix in _FILES:
            with contextlib.suppress(FileNotFoundError):
                os.rename(path + suffix, to + suffix)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _remove(path: str) -> None:
    for suffix in _FILES:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + suffix)


class Keeper:
    """What is kept in one exploration.

    Attributes:
        collects: whether connections are free for the next execution only when the garbage of the last was collected.
    """

    def __init__(self) -> None:
        self.wanted = hasattr(_Connection, "deserialize")
        self.collects = False
        self._held = 0
        self._stores: dict[Any, Kept] = {}
        self._folder: str | None = None
        self._remove: Callable[[], object] = bool

    def find(self, kernel: Kernel, arguments: tuple[Any, ...], options: dict[str, Any]) -> Kept | None:
        """Return the database that a connection is about to be opened to, where it is kept and what is done there goes on its tape."""
        if not self.wanted or kernel.mode != SETUP or kernel.tracing or not arguments:
            return None
        database = arguments[0]
        path, key = "", kernel.created.get("connection", 0)
        if database != ":memory:":
            path = key = _path(database)  # type: ignore[assignment]  # a path, or the number of a connection
            if not path or kernel._folder is None or not path.startswith(kernel._folder.name + os.sep):
                return None
        kept = self._stores.get(key)
        plain = len(arguments) == 1 and not {"factory", "uri"} & set(options)
        if kept is None:
            if not plain:
                return None
            kept = self._stores[key] = Kept(self, path)
        if kept.open:
            if plain and kept.may_open(words(options)):
                return kept
            kept.settle()
            return None
        return kept if plain and not kept.used and not kept.refused and kept.begin() else None

    def settle(self) -> None:
        """Set-up is over."""
        for kept in self._stores.values():
            kept.settle()

    def end(self, kernel: Kernel) -> None:
        """An execution is over, and so are its connections."""
        for kept in self._stores.values():
            kept.end(kernel)

    def found_held(self, held: bool) -> None:
        """Learn whether something still refers to a connection of the execution before: perhaps only garbage does."""
        if held and not self.collects:
            self.collects = True
        elif self.collects:
            self._held = self._held + 1 if held else max(0, self._held - 1)
            self.wanted = self.collects = self._held < STUBBORN

    def looked_at(self, kernel: Kernel, path: Any) -> None:
        """A file is opened: if it is one of a database that is kept, keep nothing any more."""
        name = _path(path)
        for suffix in _FILES:
            kept = self._stores.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
            if kept is not None and kept.used and not kept.refused:
                self.stop(kernel)
                return

    def stop(self, kernel: Kernel) -> None:
        """Keep nothing from now on; exploring starts over if what was kept has been seen."""
        if self.wanted:
            self.wanted = False
            self.settle()
            if any(kept.second_hand for kept in self._stores.values()):
                kernel.learned.version += 1
            for kept in self._stores.values():
                kept.drop()

    def place(self, path: str, folder: str) -> str:
        """Return where to put a file that is kept: on the same file system as this folder."""
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="simharness-kept-", dir=folder)
            self._remove = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return os.path.join(self._folder, str(list(self._stores).index(path)))

    def where(self, path: str) -> str:
        """Return where a file is that executions had at this path, now that one is over."""
        kept = self._stores.get(_path(path))
        return path if kept is None else kept.where()

    def close(self) -> None:
        """Let go of everything."""
        for kept in self._stores.values():
            kept.drop()
        self._stores.clear()
        self._remove()
        self._folder = None


def _path(database: Any) -> str:
    if isinstance(database, str | os.PathLike) and database not in ("", ":memory:"):
        return os.path.abspath(os.fsdecode(database))
    return ""
