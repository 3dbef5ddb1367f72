"""Contenders that compress one session of a small SQLite store: the workload on which tools are compared.

Every operation of the store takes its `threading.Lock` and runs one transaction, so the orderings are the orders of the store's
operations. `check` says when a contender looks whether the session has already been rotated: "inside" the lease (right),
"early", before it takes the lease (wrong in some orderings), or never (None).

    python benchmarks/store_workload.py
"""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import simharness
from simharness import runtimes

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

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One write transaction under the lock."""
        with self.mutex:
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
            row = self.connection.execute("SELECT end_reason FROM sessions WHERE id = ?", (session,)).fetchone()
        return row is not None and row[0] == "compression"

    def children(self, session: str) -> int:
        """Count the session's children."""
        (count,) = self.connection.execute("SELECT count(*) FROM sessions WHERE parent = ?", (session,)).fetchone()
        return int(count)


def compress(store: Store, name: str, check: str | None) -> None:
    """What a contender does."""
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


def contenders(count: int, check: str | None) -> Callable[[simharness.World], Any]:
    """Return the scenario of so many contenders."""

    def one_child(world: simharness.World) -> None:
        store = Store()
        store.create(PARENT)
        for number in range(count):
            world.actor(f"contender_{number}", compress, store, f"contender_{number}", check)

        @world.at_end
        def session_has_one_child() -> None:
            children = store.children(PARENT)
            world.outcome(children)
            assert children == 1

    return one_child


def main() -> int:
    off = 0
    for count, known in ORDERINGS.items():
        began = time.perf_counter()
        result = simharness.explore(contenders(count, "inside"))
        seconds = time.perf_counter() - began
        right = result.verdict is simharness.Verdict.VERIFIED and result.executions == known and result.redundant == 0
        off += not right
        per = seconds / max(1, result.executions) * 1e6
        print(
            f"{count} contenders: {result.verdict}, {result.executions} of {known} orderings, "
            f"{result.redundant} redundant, {seconds * 1000:.1f} ms, {per:.0f} µs an execution"
        )
    for check in (None, "early"):
        result = simharness.explore(contenders(2, check))
        off += result.verdict is not simharness.Verdict.VIOLATED
        print(f"check={check!r}: {result.verdict} after {result.executions} executions")
    return 1 if off else 0


if __name__ == "__main__":
    with runtimes.installed():
        sys.exit(main())
