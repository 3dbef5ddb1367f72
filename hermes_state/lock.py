"""Compression leases: the statements on the lease row, and the thread that keeps a lease alive.

A lease keeps two paths from doing the same work; it does not keep the one-child invariant: its holder may be stalled
past the TTL, and then another holder may have it. The conditional write of the `fenced` rotation keeps the invariant.
The functions here run inside the caller's transaction.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable

DEFAULT_TTL = 300.0
LONGEST_REFRESH_INTERVAL = 60.0

logger = logging.getLogger("hermes_state")


def acquire(conn: sqlite3.Connection, session_id: str, holder: str, ttl: float, *, open_only: bool) -> bool:
    """Take the lease if it is free, expired, or already the holder's; an expired row goes in the same transaction.

    With `open_only` a session that has ended is refused as well, so a contender that comes after the winner need not read
    the parent again.
    """
    now = time.time()
    conn.execute("DELETE FROM compression_locks WHERE session_id = ? AND expires_at < ?", (session_id, now))
    inserted = conn.execute(
        "INSERT OR IGNORE INTO compression_locks (session_id, holder, acquired_at, expires_at) SELECT ?, ?, ?, ?"
        " WHERE NOT (? AND EXISTS (SELECT 1 FROM sessions WHERE id = ? AND ended_at IS NOT NULL))",
        (session_id, holder, now, now + ttl, open_only, session_id),
    )
    if inserted.rowcount == 1:
        return True
    row = conn.execute("SELECT holder FROM compression_locks WHERE session_id = ?", (session_id,)).fetchone()
    return row is not None and row["holder"] == holder


def next_generation(conn: sqlite3.Connection, session_id: str) -> int:
    """A fencing token larger than all that were issued for this session before, even if their leases are gone."""
    row = conn.execute(
        "INSERT INTO compression_generations (session_id, generation) VALUES (?, 1)"
        " ON CONFLICT (session_id) DO UPDATE SET generation = generation + 1 RETURNING generation",
        (session_id,),
    ).fetchone()
    return int(row["generation"])


def is_current(conn: sqlite3.Connection, session_id: str, holder: str, generation: int) -> bool:
    """Whether the lease row is the holder's and no token was issued since. An expired row that no other holder took counts."""
    row = conn.execute(
        "SELECT l.holder, g.generation FROM compression_generations g"
        " JOIN compression_locks l ON l.session_id = g.session_id WHERE g.session_id = ?",
        (session_id,),
    ).fetchone()
    return row is not None and row["holder"] == holder and row["generation"] == generation


def refresh(conn: sqlite3.Connection, session_id: str, holder: str, ttl: float, *, revive: bool) -> bool:
    """Move the expiry of the holder's row to `ttl` from now. Only with `revive` also that of a row that has expired."""
    now = time.time()
    updated = conn.execute(
        "UPDATE compression_locks SET expires_at = ? WHERE session_id = ? AND holder = ? AND (? OR expires_at >= ?)",
        (now + ttl, session_id, holder, revive, now),
    )
    return updated.rowcount == 1


def release(conn: sqlite3.Connection, session_id: str, holder: str) -> None:
    """Delete the holder's row; nothing happens when the lease is no longer its own."""
    conn.execute("DELETE FROM compression_locks WHERE session_id = ? AND holder = ?", (session_id, holder))


def current_holder(conn: sqlite3.Connection, session_id: str) -> str | None:
    """The holder of the lease; an expired row counts as none."""
    row = conn.execute(
        "SELECT holder FROM compression_locks WHERE session_id = ? AND expires_at >= ?", (session_id, time.time())
    ).fetchone()
    return None if row is None else str(row["holder"])


class LeaseRefresher:
    """Keeps one lease alive, from a daemon thread, between entering and leaving a `with` block.

    `refresh` is called a few times within each TTL. A call that fails or raises does not end the refresher, unless
    `give_up_after` calls in a row do; with None it keeps trying until the block is left. Leaving waits for the
    thread.
    """

    def __init__(self, refresh: Callable[[], bool], ttl: float, give_up_after: int | None = None) -> None:
        self._refresh = refresh
        self._interval = min(LONGEST_REFRESH_INTERVAL, ttl / 3.0)
        self._give_up_after = give_up_after
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="compression-lease-refresher", daemon=True)

    def __enter__(self) -> LeaseRefresher:
        self._thread.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        failures = 0
        while not self._stop.wait(self._interval):
            failures = 0 if self._refreshed() else failures + 1
            if self._give_up_after is not None and failures >= self._give_up_after:
                logger.debug("lease refresher gave up after %d failures in a row", failures)
                return

    def _refreshed(self) -> bool:
        try:
            return self._refresh()
        except Exception as error:  # the next try may succeed; dying here would lose the lease
            logger.debug("refreshing the compression lease failed: %s", error)
            return False
