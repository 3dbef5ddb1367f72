"""The store that contenders compress: plain threaded code over SQLite, without any tool; what `store_workload` and `peers` run.

Every operation of the store takes its `threading.Lock` and runs one transaction, so the orderings are the orders of the
store's operations.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PARENT = "s"
LEASE_SECONDS = 300.0
ORDERINGS = {2: 10, 3: 102, 4: 1200}
"""Known number of orderings with check="inside", by number of contenders."""
TABLES = (
    "CREATE TABLE sessions (id TEXT PRIMARY KEY, parent TEXT, end_reason TEXT)",
    "CREATE TABLE leases (session TEXT PRIMARY KEY, holder TEXT, expires_at REAL)",
)


class Store:
    """Sessions and leases in one database behind one lock; a file is in WAL mode."""

    def __init__(self, path: str = ":memory:") -> None:
        self.mutex = threading.Lock()
        self.connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        if path != ":memory:":
            self.connection.execute("PRAGMA journal_mode=WAL")
        for table in TABLES:
            self.connection.execute(table)

    def note(self) -> None:
        """Called when an operation begins; may be overridden."""

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One write transaction under the lock."""
        with self.mutex:
            self.note()
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
            except BaseException:
                self.connection.rollback()
                raise
            self.connection.commit()

    def create(self, session: str, parent: str | None = None) -> None:
        """Insert a session."""
        with self.transaction() as connection:
            connection.execute("INSERT INTO sessions VALUES (?, ?, NULL)", (session, parent))

    def end(self, session: str, reason: str) -> None:
        """End a session that has not ended yet."""
        with self.transaction() as connection:
            connection.execute("UPDATE sessions SET end_reason = ? WHERE id = ? AND end_reason IS NULL", (reason, session))

    def acquire(self, session: str, holder: str, now: float = 0.0) -> bool:
        """Take the lease of a session if it is free or has expired."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM leases WHERE session = ? AND expires_at < ?", (session, now))
            connection.execute("INSERT OR IGNORE INTO leases VALUES (?, ?, ?)", (session, holder, now + LEASE_SECONDS))
            (owner,) = connection.execute("SELECT holder FROM leases WHERE session = ?", (session,)).fetchone()
            return bool(owner == holder)

    def release(self, session: str, holder: str) -> None:
        """Give the lease back."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM leases WHERE session = ? AND holder = ?", (session, holder))

    def is_rotated(self, session: str) -> bool:
        """Whether the session was ended by a compression."""
        with self.mutex:
            self.note()
            row = self.connection.execute("SELECT end_reason FROM sessions WHERE id = ?", (session,)).fetchone()
        return row is not None and row[0] == "compression"

    def children(self, session: str) -> int:
        """Count the session's children."""
        (count,) = self.connection.execute("SELECT count(*) FROM sessions WHERE parent = ?", (session,)).fetchone()
        return int(count)


def compress(store: Store, name: str, check: str | None) -> None:
    """Compress the session, as a contender does."""
    if check == "early" and store.is_rotated(PARENT):
        return
    if not store.acquire(PARENT, name):
        return
    try:
        if check == "inside" and store.is_rotated(PARENT):
            return
        store.end(PARENT, "compression")
        store.create(f"{PARENT}/{name}", PARENT)
    finally:
        store.release(PARENT, name)
