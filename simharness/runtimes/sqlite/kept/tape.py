"""A recording of what set-up did to a database, for recognising the same set-up again (`image`)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

from simharness.runtimes.sqlite.kept.scripts import statements

LASTS = re.compile(r"last_insert_rowid|changes\s*\(|data_version|wal_checkpoint", re.IGNORECASE)
"""SQL that reads state which outlasts an image."""
LONGEST = 10_000
"""The most statements on a tape."""
LEAVES_WAL = re.compile(r"journal_mode\s*[=(]\s*(?!['\"]?wal)", re.IGNORECASE)
"""SQL that SQLite refuses while another connection has the database open."""
BECOMES_OTHER = re.compile(r"journal_mode|database_list", re.IGNORECASE)
"""SQL that can distinguish a new database in memory from one made from an image."""
_WRITES = re.compile(r"\s*(CREATE|INSERT|REPLACE|UPDATE|DELETE|BEGIN|COMMIT|END)\b", re.IGNORECASE)
_ELSEWHERE = re.compile(
    rf"\b(RETURNING|TEMP|TEMPORARY|VIRTUAL|now)\b|{LASTS.pattern}|random|current_|(date|time)\s*\(|julianday|unixepoch", re.IGNORECASE
)
"""SQL that does more than change the database, or changes it differently each time."""
_SETS = re.compile(
    r"\s*PRAGMA\s+(journal_mode(?!\s*=\s*off)|foreign_keys|synchronous|cache_size|temp_store)\s*=\s*-?\w+\s*;?\s*$", re.IGNORECASE
)
_PLAIN = frozenset({int, str, bytes, float, bool, type(None)})


class TapeEntry(NamedTuple):
    """One call of set-up on a connection, given by its number: `wording` is the text of `parameters`; the cursor showed the last two."""

    number: int
    method: str
    text: str
    wording: str
    parameters: Any = ()
    rowcount: int = -1
    lastrowid: int | None = None


@lru_cache
def sets(sql: str) -> bool:
    """Whether this sets an option of the connection, which is done again each time: it is cheap and returns an answer."""
    return _SETS.match(sql) is not None


@lru_cache
def only_writes(sql: str) -> bool:
    """Whether this statement only changes the database, the same way each time."""
    return _WRITES.match(sql) is not None and _ELSEWHERE.search(sql) is None


@lru_cache
def only_writes_all(script: str) -> bool:
    """Whether all statements of a script only change the database, the same way each time."""
    return all(map(only_writes, statements(script)))


def wording(parameters: Any) -> str | None:
    """Return a text that identifies these parameters, or None if they are not plain values."""
    kind = type(parameters)
    if kind is dict:
        return repr(parameters) if _PLAIN.issuperset(map(type, parameters.values())) else None
    return repr(parameters) if kind in (tuple, list) and _PLAIN.issuperset(map(type, parameters)) else None


def do(connection: Any, method: str, text: str, parameters: Any) -> Any:
    """Repeat a recorded call on a connection."""
    if method == "commit":
        return connection.commit()
    return getattr(connection, method)(text) if method == "executescript" else getattr(connection, method)(text, parameters)


def wording_of_options(options: dict[str, Any]) -> str:
    """Return a text that identifies these options of `sqlite3.connect`."""
    return repr(sorted((name, repr(value)) for name, value in options.items()))
