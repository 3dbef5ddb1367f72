"""The tables of `state.db`.

A compression child is a session whose `kind` is 'compression'; other children (a delegate, a branch) leave it empty
and are not counted by the one-child invariant. `compression_generations` holds the fencing tokens apart from the
lease rows, because a token must outlive the release of the lease that it was issued with.
"""

from __future__ import annotations

COMPRESSION = "compression"
"""Both the `kind` of a compression child and the `end_reason` of its parent."""

SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    user_id TEXT,
    model TEXT,
    model_config TEXT,
    system_prompt TEXT,
    parent_session_id TEXT REFERENCES sessions(id),
    kind TEXT,
    started_at REAL NOT NULL,
    ended_at REAL,
    end_reason TEXT
);
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id TEXT NOT NULL REFERENCES sessions(id),
    role TEXT NOT NULL,
    content TEXT,
    tool_name TEXT,
    tool_calls TEXT,
    tool_call_id TEXT,
    timestamp REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS compression_locks (
    session_id TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    acquired_at REAL NOT NULL,
    expires_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS compression_generations (
    session_id TEXT PRIMARY KEY,
    generation INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_sessions_parent ON sessions(parent_session_id);
CREATE INDEX IF NOT EXISTS idx_messages_session ON messages(session_id);
COMMIT;
"""

BACKSTOP = """
CREATE UNIQUE INDEX IF NOT EXISTS one_compression_child
ON sessions(parent_session_id) WHERE kind = 'compression'
"""
"""The last line of defence, under `fenced` only: on the other rungs it would hide the forks they are known for."""
