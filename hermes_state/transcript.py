"""Message rows: writing them, and finding those that a compressor has not seen.

Functions on an open transaction; they neither begin nor end one.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

Message = dict[str, Any]
"""A message as agents hold it: `role` and `content`, and, when it was read from the store, its row `id`."""

_COLUMNS = ("role", "content", "tool_name", "tool_calls", "tool_call_id")
_INSERT_COLUMNS = f"session_id, timestamp, {', '.join(_COLUMNS)}"


def text_of(value: object) -> str | None:
    """A message's field as it is stored: strings and None unchanged, everything else as JSON."""
    return value if value is None or isinstance(value, str) else json.dumps(value, sort_keys=True)


def insert_messages(conn: sqlite3.Connection, session_id: str, messages: Iterable[Message], now: float) -> None:
    """Add `messages` to the session, in order; no statement at all when there are none."""
    rows = [(session_id, now, *(text_of(message.get(column)) for column in _COLUMNS)) for message in messages]
    if rows:
        conn.executemany(f"INSERT INTO messages ({_INSERT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def insert_message(conn: sqlite3.Connection, session_id: str, message: Message, now: float, *, open_only: bool) -> int | None:
    """Add one message and return its row id; with `open_only`, None unless the session is there and has not ended."""
    values = (session_id, now, *(text_of(message.get(column)) for column in _COLUMNS))
    cursor = conn.execute(
        f"INSERT INTO messages ({_INSERT_COLUMNS}) SELECT ?, ?, ?, ?, ?, ?, ?"
        " WHERE NOT ? OR EXISTS (SELECT 1 FROM sessions WHERE id = ? AND ended_at IS NULL)",
        (*values, open_only, session_id),
    )
    return cursor.lastrowid if cursor.rowcount == 1 else None


def carry_unseen(conn: sqlite3.Connection, parent: str, child: str, seen: Sequence[Message]) -> list[Message]:
    """Copy the parent's rows that are not among `seen` to the end of the child, and return them as messages.

    The parent keeps its rows: it stays the record of what was said before the rotation.
    """
    rows = conn.execute(f"SELECT id, timestamp, {', '.join(_COLUMNS)} FROM messages WHERE session_id = ? ORDER BY id", (parent,)).fetchall()
    unseen = rows_unseen(rows, seen)
    if unseen:
        conn.executemany(
            f"INSERT INTO messages ({_INSERT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(child, *tuple(row)[1:]) for row in unseen],
        )
    return [{"role": row["role"], "content": row["content"]} for row in unseen]


def rows_unseen(rows: Sequence[sqlite3.Row], seen: Sequence[Message]) -> list[sqlite3.Row]:
    """The rows that `seen`, the compressor's input, does not cover.

    A message that was read from the store covers the row it was read from. Any other message covers one row of the same
    role and content, the oldest that is left. A highest row id would not do as the snapshot: another writer's row may
    have a lower id than one that the compressing agent wrote itself, and still be unknown to it.
    """
    row_ids = {row["id"] for row in rows}
    covered = {message["id"] for message in seen if message.get("id") in row_ids}
    by_text = Counter((message.get("role"), text_of(message.get("content"))) for message in seen if message.get("id") not in covered)
    unseen = []
    for row in rows:
        if row["id"] in covered:
            continue
        key = (row["role"], row["content"])
        if by_text[key] > 0:
            by_text[key] -= 1
        else:
            unseen.append(row)
    return unseen
