"""Which databases are kept in an exploration (`image`), and when that ends."""

from __future__ import annotations

import os
import sqlite3
from typing import Any

from simharness.engine.kernel import Kernel
from simharness.engine.phases import SETUP
from simharness.runtimes.sqlite.kept.image import FILES, KeptDatabase
from simharness.runtimes.sqlite.kept.policy import Policy
from simharness.runtimes.sqlite.kept.tape import words


class Keeper:
    """What is kept in one exploration."""

    may_keep = hasattr(sqlite3.Connection, "deserialize")

    def __init__(self) -> None:
        self.policy = Policy(self.may_keep)
        self._databases: dict[str, KeptDatabase] = {}

    def find(self, kernel: Kernel, arguments: tuple[Any, ...], options: dict[str, Any]) -> KeptDatabase | None:
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

    def _kept(self, kernel: Kernel, arguments: tuple[Any, ...], options: dict[str, Any]) -> KeptDatabase | None:
        """Return the database of a connection that is opened in the plain way, in memory or in the world's folder."""
        if not self.policy.wanted or len(arguments) != 1 or "factory" in options or "uri" in options:
            return None
        if arguments[0] == ":memory:":
            return self._database(str(kernel.labels.counted("connection")), "")
        path, folder = _path(arguments[0]), kernel.workspace.path
        if not path or folder is None or not path.startswith(folder + os.sep):
            return None
        return self._database(path, path)

    def _database(self, key: str, path: str) -> KeptDatabase:
        kept = self._databases.get(key)
        if kept is None:
            kept = self._databases[key] = KeptDatabase(self.policy, path, str(len(self._databases)))
        return kept

    def settle(self) -> None:
        """Set-up does what no tape tells: have all databases be what it has made of them so far."""
        for kept in self._databases.values():
            kept.settle()

    def end(self, kernel: Kernel) -> None:
        """An execution is over, and so are its connections."""
        for kept in self._databases.values():
            kept.end(kernel)

    def looked_at(self, kernel: Kernel, path: Any) -> None:
        """A file or folder is opened, moved or removed: if a database that is kept is there, keep nothing any more."""
        in_use = [kept.path for kept in self._databases.values() if kept.used and not kept.refused and kept.path]
        name = _path(path) if in_use else ""
        if name and any(_is_about(name, found) for found in in_use):
            self.stop(kernel)

    def stop(self, kernel: Kernel) -> None:
        """Keep nothing from now on; exploring starts over if what was kept has been seen."""
        if self.policy.wanted:
            self.policy.wanted = False
            self.settle()
            if any(kept.second_hand for kept in self._databases.values()):
                kernel.learned.start_over()
            for kept in self._databases.values():
                kept.drop()

    def where(self, path: str) -> str:
        """Return where a file is that executions had at this path, now that one is over."""
        kept = self._databases.get(_path(path))
        return path if kept is None else kept.where()

    def close(self) -> None:
        """Let go of everything."""
        for kept in self._databases.values():
            kept.refuse()
        self._databases.clear()
        self.policy.remove()


def _is_about(name: str, path: str) -> bool:
    """Whether this is a file of the database at this path, or a folder that it is in."""
    return path.startswith(name + os.sep) or any(name == path + suffix for suffix in FILES)


def _path(database: Any) -> str:
    if isinstance(database, str | os.PathLike) and database not in ("", ":memory:"):
        return os.path.abspath(os.fsdecode(database))
    return ""
