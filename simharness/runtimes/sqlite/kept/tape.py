"""What set-up did to a database, as it is told from other things that it could have done: the entries of a tape (`image`)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

from simharness.runtimes.sqlite.kept.scripts import statements

LASTS = re.compile(r"last_insert_rowid|changes\s*\(|data_version|wal_checkpoint", re.IGNORECASE)
"""SQL that asks for what outlasts an image."""
LONGEST = 10_000
"""Statements on a tape at most."""
LEAVES_WAL = re.compile(r"journal_mode\s*[=(]\s*(?!['\"]?wal)", re.IGNORECASE)
"""SQL that SQLite refuses where others have the database open."""
BECOMES_OTHER = re.compile(r"journal_mode|database_list", re.IGNORECASE)
"""SQL that tells a database in memory from one that was there as an image."""
_WRITES = re.compile(r"\s*(CREATE|INSERT|REPLACE|UPDATE|DELETE|BEGIN|COMMIT|END)\b", re.IGNORECASE)
_ELSEWHERE = re.compile(
    rf"\b(RETURNING|TEMP|TEMPORARY|VIRTUAL|now)\b|{LASTS.pattern}|random|current_|(date|time)\s*\(|julianday|unixepoch", re.IGNORECASE
)
"""SQL whose effect is more than what the database is afterwards, or another one each time."""
_SETS = re.compile(
    r"\s*PRAGMA\s+(journal_mode(?!\s*=\s*off)|foreign_keys|synchronous|cache_size|temp_store)\s*=\s*-?\w+\s*;?\s*$", re.IGNORECASE
)
_PLAIN = (int, str, bytes, float, bool, type(None))


class TapeEntry(NamedTuple):
    """What set-up did on a connection, given by its number: `wording` is `parameters` in words; a cursor showed the last two."""

    number: int
    method: str
    text: str
    wording: str
    parameters: Any = ()
    rowcount: int = -1
    lastrowid: int | None = None


@lru_cache
def sets(sql: str) -> bool:
    """Whether this sets something of a connection that is done again each time: it costs little, and has an answer."""
    return _SETS.match(sql) is not None


@lru_cache
def only_writes(sql: str) -> bool:
    """Whether all that this statement does is what the database is afterwards."""
    return _WRITES.match(sql) is not None and _ELSEWHERE.search(sql) is None


@lru_cache
def only_writes_all(script: str) -> bool:
    """Whether all that the statements of a script do is what the database is afterwards."""
    return all(map(only_writes, statements(script)))


def wording(parameters: Any) -> str | None:
    """Return parameters in words that no others have, or None if they are not plain values."""
    kind = type(parameters)
    if kind is dict:
        return repr(parameters) if all(type(value) in _PLAIN for value in parameters.values()) else None
    return repr(parameters) if kind in (tuple, list) and all(type(value) in _PLAIN for value in parameters) else None


def do(connection: Any, method: str, text: str, parameters: Any) -> Any:
    """Do on a connection what an entry tells."""
    if method == "commit":
        return connection.commit()
    return getattr(connection, method)(text) if method == "executescript" else getattr(connection, method)(text, parameters)


def words(options: dict[str, Any]) -> str:
    """Return the options of `sqlite3.connect` in words that no others have."""
    return repr(sorted((name, repr(value)) for name, value in options.items()))
