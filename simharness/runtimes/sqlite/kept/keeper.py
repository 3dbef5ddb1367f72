"""Which databases are kept in an exploration (`image`), and when that ends."""

from __future__ import annotations

import os
import sqlite3
from typing import Any

from simharness.engine.kernel import Kernel
from simharness.engine.phases import SETUP
from simharness.runtimes.sqlite.kept.image import FILES, KeptDatabase
from simharness.runtimes.sqlite.kept.policy import Policy
from simharness.runtimes.sqlite.kept.tape import wording_of_options


class Keeper:
    """The kept databases of one exploration."""

    may_keep = hasattr(sqlite3.Connection, "deserialize")

    def __init__(self) -> None:
        self.policy = Policy(self.may_keep)
        self._databases: dict[str, KeptDatabase] = {}

    def find(self, kernel: Kernel, arguments: tuple[Any, ...], options: dict[str, Any]) -> KeptDatabase | None:
        """Return the kept database that a connection is about to open, if there is one.

        Any other database that set-up opens ends the open tapes: it may be the file of one by another name.
        """
        if kernel.tracing:
            return None
        kept = self._kept(kernel, arguments, options)
        if kept is not None and kept.settled:
            return kept
        if kernel.phase != SETUP:
            return None
        if kept is not None:
            begins = not kept.used and not kept.refused
            if kept.may_open(wording_of_options(options)) and (kept.open or (begins and kept.begin(kernel))):
                return kept
        self.settle()
        return None

    def _kept(self, kernel: Kernel, arguments: tuple[Any, ...], options: dict[str, Any]) -> KeptDatabase | None:
        """Return the database of a connection that is opened with plain options, in memory or in the world's folder."""
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
        """End all tapes: set-up does something that none of them records."""
        for kept in self._databases.values():
            kept.settle()

    def end(self, kernel: Kernel) -> None:
        """End an execution, whose connections are closed or kept by now."""
        for kept in self._databases.values():
            kept.end(kernel)

    def looked_at(self, kernel: Kernel, touched: Any) -> None:
        """Stop keeping if the program opens, moves, removes or lists a kept database's file or folder."""
        in_use = [kept.path for kept in self._databases.values() if kept.used and not kept.refused and kept.path]
        name = _path(touched) if in_use else ""
        if name and any(_is_about(name, path) for path in in_use):
            self.stop(kernel)

    def stop(self, kernel: Kernel) -> None:
        """Keep nothing from now on; exploring starts over if a kept database has been used."""
        if self.policy.wanted:
            self.policy.wanted = False
            self.settle()
            if any(kept.second_hand for kept in self._databases.values()):
                kernel.learned.start_over()
            for kept in self._databases.values():
                kept.drop()

    def where(self, path: str) -> str:
        """Return where the file is between executions that have it at this path."""
        kept = self._databases.get(_path(path))
        return path if kept is None else kept.where()

    def close(self) -> None:
        """Close and remove everything."""
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
