"""A database in one execution, and what is remembered of it from one execution to the next.

Resources of a database: `every` (read by all steps on it, written by schema changes), one for each table, the write lock
(its state is the name of the connection that holds it), `commits` (written by each commit that changed something, read by a
transaction that takes a snapshot), and, without WAL, `file locks` (written by all that take or drop a lock for longer than
a step; its state counts the drops).
"""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, Any

from simharness.engine.kernel import Kernel
from simharness.engine.phases import SETUP
from simharness.runtimes.sqlite.remembered import memory_of

if TYPE_CHECKING:
    from simharness.runtimes.sqlite.effects import Link

Real = sqlite3.Connection
_open = open
EVERY_STATEMENT = "sqlite: every statement"
"""In `kernel.learned.shared`, makes every statement a point (for faults that strike between statements)."""


class Database:
    """One database in one execution."""

    def __init__(self, kernel: Kernel, label: str, path: str, private: bool) -> None:
        shared = kernel.learned.shared
        self.kernel = kernel
        self.label = label
        self.path = path
        self.private = private
        self.every = kernel.names.bit(label)
        self.lock = kernel.resource(f"write lock of {label}", None)
        self.file = kernel.resource(f"file locks of {label}", 0)
        self.commits = kernel.names.bit(f"commits of {label}") if f"snapshots of {label}" in shared else 0
        faults = None if private else kernel.faults
        self.fine = EVERY_STATEMENT in shared or (faults is not None and faults.limit("db_error") > 0)
        several = (faults is not None and (kernel.movers.may_crash or faults.limit("lost_ack"))) or shared & {
            f"several on {label}",
            f"checks of {label}",
        }
        self.alone = not self.fine and (private or not several)
        self.links: list[Link] = []
        self.user: object = None
        self.schema = 0
        self.volatile = False
        self.wal = self.unread = False
        self.inspector: sqlite3.Connection | None = None
        self.read_header()

    def read_header(self) -> None:
        """Find out whether the file is in WAL mode."""
        if not self.private:
            try:
                with _open(self.path, "rb") as file:
                    self.wal = file.read(20)[18:19] == b"\x02"
            except OSError:
                self.wal = False

    def asked_for(self, mode: str) -> None:
        """Somebody has set the journal mode; the file says so once the answer was fetched, or the statement is gone."""
        wanted = mode.lower() == "wal"
        if self.wal != wanted:
            self.read_header()
            self.unread = self.wal != wanted

    def look_again(self) -> None:
        """Find out whether the journal mode that was asked for is there by now."""
        before = self.wal
        self.read_header()
        self.unread = self.wal == before

    def table(self, name: str) -> int:
        """Return the mask of one table."""
        return self.kernel.names.bit(f"{self.label} table {name.lower()}")

    def read_schema(self, connection: sqlite3.Connection) -> None:
        """Identify the schema of a file that was there before the execution."""
        if self.private or not os.path.exists(self.path) or not os.path.getsize(self.path):
            return
        try:
            rows = sqlite3.Cursor(connection).execute("SELECT coalesce(sql, name) FROM sqlite_master").fetchall()
            self.schema = memory_of(self.kernel).schema("found", *[row[0] for row in rows])
        except sqlite3.Error:
            self.volatile = True

    def changed_schema(self, *how: Any) -> None:
        """The schema is another one: what was learned under the last one does not hold."""
        if self.kernel.phase == SETUP:
            self.schema = memory_of(self.kernel).schema(self.schema, *how)
        else:
            self.volatile = True
        for link in self.links:
            link.book = None

    def really_locked(self) -> bool:
        """Whether somebody holds the write lock of the file; asked on a connection of its own."""
        probe = Real(self.path, timeout=0, isolation_level=None)
        try:
            probe.execute("BEGIN IMMEDIATE")
            probe.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return True
        finally:
            probe.close()
        return False


def closed() -> sqlite3.ProgrammingError:
    """Return what the library raises for a connection that was closed."""
    return sqlite3.ProgrammingError("Cannot operate on a closed database.")
