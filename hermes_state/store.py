"""The session store: conversations as sessions and messages in one SQLite file.

Promises:

- Every operation takes the store's lock once and runs one transaction (`BEGIN IMMEDIATE` for those that write). It
  either happened as a whole or raised and changed nothing, unless the commit itself was reported wrongly.
- Between operations it keeps only the connection and the fencing tokens of the leases that this object issued.
- Under the `fenced` protocol a session that has ended takes no messages: `append_message` raises
  `SessionClosedError`.
- Errors of SQLite are not hidden: the caller decides how to handle them.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hermes_state import lock
from hermes_state.protocols import rung_named
from hermes_state.schema import BACKSTOP, COMPRESSION, SCHEMA
from hermes_state.transcript import Message, insert_message, insert_messages, text_of

T = TypeVar("T")

BUSY_TIMEOUT = 30.0
SECONDS_PER_DAY = 86_400.0

logger = logging.getLogger("hermes_state")


class SessionClosedError(Exception):
    """A message was refused: its session has ended. `live_session_id` continues the conversation, if any session does."""

    def __init__(self, session_id: str, live_session_id: str | None) -> None:
        where = f"it goes on in {live_session_id}" if live_session_id else "no live session continues it"
        super().__init__(f"session {session_id} has ended: {where}")
        self.session_id = session_id
        self.live_session_id = live_session_id


class SessionDB:
    """One `state.db`, opened by one process; its threads share the connection under the store's lock.

    `protocol` names the rung of the ladder (see `hermes_state.protocols`); by default the environment decides.
    """

    def __init__(self, db_path: str | Path, protocol: str | None = None) -> None:
        self.rung = rung_named(protocol)
        self.db_path = Path(db_path)
        self._lock = threading.RLock()
        self._generations: dict[tuple[str, str], int] = {}
        self._conn = sqlite3.connect(str(db_path), timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except BaseException:
            self._conn.close()
            raise

    @property
    def protocol(self) -> str:
        """The name of the protocol that this store follows."""
        return self.rung.name

    def _prepare(self) -> None:
        self._conn.row_factory = sqlite3.Row
        self._conn.execute("PRAGMA journal_mode=WAL")
        self._conn.execute("PRAGMA foreign_keys=ON")
        self._conn.executescript(SCHEMA)
        if self.rung.fenced:
            try:
                self._conn.execute(BACKSTOP)
            except sqlite3.IntegrityError:
                # An older protocol has forked a session of this file. The conditional write still keeps new rotations
                # to one child, and a store that refuses to open would help nobody.
                logger.warning("%s holds a forked session: opened without the one-child index", self.db_path)

    def close(self) -> None:
        """Close the file. Closing twice is no error; using a closed store is one."""
        with self._lock:
            self._conn.close()

    def write(self, body: Callable[[sqlite3.Connection], T]) -> T:
        """Run `body` in one write transaction: committed if it returns, rolled back if it raises."""
        with self._lock:
            self._conn.execute("BEGIN IMMEDIATE")
            try:
                result = body(self._conn)
                self._conn.commit()
            except BaseException:
                if self._conn.in_transaction:
                    self._conn.rollback()
                raise
            return result

    def read(self, body: Callable[[sqlite3.Connection], T]) -> T:
        """Run `body`, a single query, on the store's connection."""
        with self._lock:
            return body(self._conn)

    # Sessions

    def create_session(
        self,
        session_id: str,
        source: str,
        model: str | None = None,
        model_config: dict[str, Any] | None = None,
        system_prompt: str | None = None,
        user_id: str | None = None,
        parent_session_id: str | None = None,
        *,
        kind: str | None = None,
        messages: Sequence[Message] = (),
    ) -> str:
        """Insert a session, with its first messages, and return its id; one that exists already is left unchanged."""

        def body(conn: sqlite3.Connection) -> str:
            now = time.time()
            inserted = conn.execute(
                "INSERT INTO sessions (id, source, user_id, model, model_config, system_prompt, parent_session_id,"
                " kind, started_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
                (
                    session_id,
                    source,
                    user_id,
                    model,
                    text_of(model_config),
                    system_prompt,
                    parent_session_id,
                    kind,
                    now,
                ),
            )
            if inserted.rowcount == 1:
                insert_messages(conn, session_id, messages, now)
            return session_id

        return self.write(body)

    def end_session(self, session_id: str, end_reason: str) -> None:
        """End a session; the first reason stays."""
        self.write(
            lambda conn: conn.execute(
                "UPDATE sessions SET ended_at = ?, end_reason = ? WHERE id = ? AND ended_at IS NULL",
                (time.time(), end_reason, session_id),
            )
        )

    def reopen_session(self, session_id: str) -> None:
        """Make an ended session live again. Under `fenced` one that has a compression child stays closed."""
        self.write(lambda conn: _reopen(conn, session_id, spare_rotated=self.rung.fenced))

    def get_session(self, session_id: str) -> dict[str, Any] | None:
        """The session's row, or None."""
        row = self.read(lambda conn: conn.execute("SELECT * FROM sessions WHERE id = ?", (session_id,)).fetchone())
        return None if row is None else dict(row)

    def get_compression_children(self, session_id: str) -> list[str]:
        """The ids of the session's compression children, oldest first: at most one, if the invariant holds."""
        rows = self.read(
            lambda conn: conn.execute(
                "SELECT id FROM sessions WHERE parent_session_id = ? AND kind = ? ORDER BY started_at, id",
                (session_id, COMPRESSION),
            ).fetchall()
        )
        return [str(row["id"]) for row in rows]

    def live_session(self, session_id: str) -> str | None:
        """The session that continues this conversation: itself or the last of its compression children.

        None when the conversation has ended, or the session is unknown.
        """
        tip = self.read(lambda conn: _tip(conn, session_id))
        return str(tip["id"]) if tip is not None and tip["ended_at"] is None else None

    def recover_rotation(self, session_id: str) -> str | None:
        """The live session of the conversation, after undoing a rotation that was cut in two.

        A rotation in two transactions that dies between them leaves a parent ended by compression without a child, to
        which no agent can write (#80337). Nothing followed its end, so the end is undone. The `fenced` protocol leaves no
        such session; it repairs those that an older protocol left in the file.
        """

        def body(conn: sqlite3.Connection) -> str | None:
            tip = _tip(conn, session_id)
            if tip is None:
                return None
            if tip["end_reason"] == COMPRESSION:
                _reopen(conn, tip["id"], spare_rotated=True)
            elif tip["ended_at"] is not None:
                return None
            return str(tip["id"])

        return self.write(body)

    def prune_sessions(self, older_than_days: float = 90.0) -> int:
        """Delete ended sessions that started so long ago, with their messages; return their number.

        Children of a deleted session lose their parent. Under `fenced` a session that has a compression child is
        spared: an agent that still has its id finds the live session through it.
        """
        old = "ended_at IS NOT NULL AND started_at <= :cutoff"
        if self.rung.fenced:
            old += (
                " AND NOT EXISTS (SELECT 1 FROM sessions child WHERE child.parent_session_id = sessions.id AND child.kind = 'compression')"
            )

        def body(conn: sqlite3.Connection) -> int:
            cutoff = time.time() - older_than_days * SECONDS_PER_DAY
            doomed = [(row["id"],) for row in conn.execute(f"SELECT id FROM sessions WHERE {old}", {"cutoff": cutoff})]
            if self.rung.fenced:  # the parent of a pruned child was rotated completely: nothing to recover
                conn.executemany(
                    "UPDATE sessions SET end_reason = 'pruned' WHERE id ="
                    " (SELECT parent_session_id FROM sessions WHERE id = ? AND kind = 'compression')",
                    doomed,
                )
            conn.executemany("UPDATE sessions SET parent_session_id = NULL WHERE parent_session_id = ?", doomed)
            conn.executemany("DELETE FROM messages WHERE session_id = ?", doomed)
            conn.executemany("DELETE FROM sessions WHERE id = ?", doomed)
            return len(doomed)

        return self.write(body)

    # Messages

    def append_message(
        self,
        session_id: str,
        role: str,
        content: str | None = None,
        tool_name: str | None = None,
        tool_calls: Any = None,
        tool_call_id: str | None = None,
    ) -> int:
        """Add a message to a session and return its row id.

        A session that has ended refuses it with `SessionClosedError`, checked in the same statement that writes, where the
        rung says so (`fenced` does); the older rungs write to the closed session (#71001). An unknown session is an
        `sqlite3.IntegrityError` everywhere.
        """
        message: Message = {
            "role": role,
            "content": content,
            "tool_name": tool_name,
            "tool_calls": tool_calls,
            "tool_call_id": tool_call_id,
        }

        def body(conn: sqlite3.Connection) -> int:
            row_id = insert_message(conn, session_id, message, time.time(), open_only=self.rung.refuses_closed)
            if row_id is not None:
                return row_id
            tip = _tip(conn, session_id)
            if tip is None:
                raise sqlite3.IntegrityError(f"no session {session_id!r} to append to")
            raise SessionClosedError(session_id, tip["id"] if tip["ended_at"] is None else None)

        return self.write(body)

    def get_messages(self, session_id: str) -> list[Message]:
        """The session's messages in the order in which they were added, each with its row `id`."""
        rows = self.read(lambda conn: conn.execute("SELECT * FROM messages WHERE session_id = ? ORDER BY id", (session_id,)).fetchall())
        return [dict(row) for row in rows]

    # Compression leases and rotation

    def try_acquire_compression_lock(self, session_id: str, holder: str, ttl_seconds: float = lock.DEFAULT_TTL) -> bool:
        """Take the session's compression lease; False if another holder has it.

        Under `fenced` also False for a session that has ended, and each acquisition draws a fencing token.
        """
        fenced = self.rung.fenced

        def body(conn: sqlite3.Connection) -> tuple[bool, int | None]:
            if not lock.acquire(conn, session_id, holder, ttl_seconds, open_only=fenced):
                return False, None
            return True, lock.next_generation(conn, session_id) if fenced else None

        with self._lock:  # until the token is noted: that of an earlier acquisition must not replace it, nor a release come before it
            acquired, generation = self.write(body)
            if generation is not None:
                self._generations[session_id, holder] = generation
        return acquired

    def refresh_compression_lock(self, session_id: str, holder: str, ttl_seconds: float = lock.DEFAULT_TTL) -> bool:
        """Extend the holder's lease; False if it is lost.

        A row that has expired but that no other holder took is revived under `fenced`; on the older rungs it is lost (#71790).
        """
        revive = self.rung.fenced
        return self.write(lambda conn: lock.refresh(conn, session_id, holder, ttl_seconds, revive=revive))

    def release_compression_lock(self, session_id: str, holder: str) -> None:
        """Give up the lease; no error if it is no longer the holder's. Its fencing token stays used."""
        with self._lock:
            self._generations.pop((session_id, holder), None)
            self.write(lambda conn: lock.release(conn, session_id, holder))

    def get_compression_lock_holder(self, session_id: str) -> str | None:
        """The holder of the session's lease; an expired lease counts as none."""
        return self.read(lambda conn: lock.current_holder(conn, session_id))

    def fencing_token(self, session_id: str, holder: str) -> int | None:
        """The token that came with the holder's lease, if this store issued it and it was not released."""
        return self._generations.get((session_id, holder))


def _tip(conn: sqlite3.Connection, session_id: str) -> sqlite3.Row | None:
    """The end of the session's chain of compression children, which may be itself; a live one where the chain forks."""
    row: sqlite3.Row | None = conn.execute(
        "WITH RECURSIVE chain (id, ended_at, end_reason, depth) AS ("
        "  SELECT id, ended_at, end_reason, 0 FROM sessions WHERE id = ?"
        "  UNION ALL"
        "  SELECT child.id, child.ended_at, child.end_reason, depth + 1"
        "  FROM sessions child JOIN chain ON child.parent_session_id = chain.id WHERE child.kind = 'compression'"
        ") SELECT id, ended_at, end_reason FROM chain ORDER BY ended_at IS NOT NULL, depth DESC, id LIMIT 1",
        (session_id,),
    ).fetchone()
    return row


def _reopen(conn: sqlite3.Connection, session_id: str, *, spare_rotated: bool) -> None:
    conn.execute(
        "UPDATE sessions SET ended_at = NULL, end_reason = NULL WHERE id = ? AND NOT (? AND EXISTS ("
        "SELECT 1 FROM sessions child WHERE child.parent_session_id = sessions.id AND child.kind = 'compression'))",
        (session_id, spare_rotated),
    )
