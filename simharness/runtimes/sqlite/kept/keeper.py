"""Which databases are kept in an exploration (`sqlite_kept`), and when that ends."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Callable
from typing import Any

from simharness.engine.kernel import Kernel
from simharness.engine.phases import SETUP
from simharness.runtimes.sqlite.kept.image import FILES, Kept
from simharness.runtimes.sqlite.kept.tape import words

STUBBORN = 20
"""How often more connections were still held than free, after garbage was collected, before keeping them ends."""


class Keeper:
    """What is kept in one exploration.

    Attributes:
        collects: whether connections are free for the next execution only when the garbage of the last was collected.
    """

    may_keep = hasattr(sqlite3.Connection, "deserialize")

    def __init__(self) -> None:
        self.wanted = self.may_keep
        self.collects = False
        self._held = 0
        self._stores: dict[str, Kept] = {}
        self._folder: str | None = None
        self._remove: Callable[[], object] = bool

    def find(self, kernel: Kernel, arguments: tuple[Any, ...], options: dict[str, Any]) -> Kept | None:
        """Return the database that a connection is about to be opened to, where it is one that is kept.

        What is opened otherwise in set-up may be the file of an open tape by another name.
        """
        if kernel.tracing:
            return None
        kept = self._kept(kernel, arguments, options)
        if kept is not None and kept.goes_on:
            return kept
        if kernel.phase != SETUP:
            return None
        if kept is not None:
            begins = not kept.used and not kept.refused
            if kept.may_open(words(options)) and (kept.open or (begins and kept.begin(kernel))):
                return kept
        self.settle()
        return None

    def _kept(self, kernel: Kernel, arguments: tuple[Any, ...], options: dict[str, Any]) -> Kept | None:
        """Return the database of a connection that is opened in the plain way, in memory or in the world's folder."""
        if not self.wanted or len(arguments) != 1 or "factory" in options or "uri" in options:
            return None
        if arguments[0] == ":memory:":
            return self._store(str(kernel.labels.counted("connection")), "")
        path, folder = _path(arguments[0]), kernel.workspace.path
        if not path or folder is None or not path.startswith(folder + os.sep):
            return None
        return self._store(path, path)

    def _store(self, key: str, path: str) -> Kept:
        found = self._stores.get(key)
        if found is None:
            found = self._stores[key] = Kept(self, path)
        return found

    def settle(self) -> None:
        """Set-up does what no tape tells: have all databases be what it has made of them so far."""
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
        """A file or folder is opened, moved or removed: if a database that is kept is there, keep nothing any more."""
        in_use = [kept.path for kept in self._stores.values() if kept.used and not kept.refused and kept.path]
        name = _path(path) if in_use else ""
        if name and any(_is_about(name, found) for found in in_use):
            self.stop(kernel)

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
            kept.refuse()
        self._stores.clear()
        self._remove()
        self._folder = None


def _is_about(name: str, path: str) -> bool:
    """Whether this is a file of the database at this path, or a folder that it is in."""
    return path.startswith(name + os.sep) or any(name == path + suffix for suffix in FILES)


def _path(database: Any) -> str:
    if isinstance(database, str | os.PathLike) and database not in ("", ":memory:"):
        return os.path.abspath(os.fsdecode(database))
    return ""
