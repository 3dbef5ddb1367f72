"""The incident's database, queried in a copy that has no way out: a stranger's file must run nothing, delete nothing, and end.

- The original is never opened: another process may have it open, and opening it could play its write-ahead log into it, or create one.
- A rollback journal is never copied: SQLite would play it back, and delete the file that it names as its super-journal. One that has
  something to undo (a *hot* one) means that the file is not what the program would have read, so the database settles nothing.
- The copy is opened read-only in a folder of its own; without a `-wal` as immutable, so that SQLite looks for no other file.
- Of what the file defines, only plain tables are read: its views, triggers and virtual tables are refused, extensions are off, and its
  schema calls only those of SQLite's functions that are harmless (`trusted_schema=OFF`). Work, rows and sizes are bounded.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simharness.engine.folders import Folder
from simharness.errors import Misuse
from simharness.regular import chunks
from simharness.visible import shortened

HEADER = b"SQLite format 3\0"
MOST_BYTES = 4 << 30
"""Bytes of a database, and of its write-ahead log."""
MOST_ROWS, MOST_TEXT = 500, 64 << 20
"""Rows of one query, and bytes of their values."""
LONGEST_VALUE = 16 << 20
MOST_SECONDS = 30.0
OFTEN = 10_000
"""Instructions of SQLite's machine between two looks at the time."""
_OTHERS = (
    "SELECT lower(name), CASE WHEN sql LIKE 'CREATE VIRTUAL%' THEN 'virtual table' ELSE type END FROM main.sqlite_master "
    "WHERE sql IS NOT NULL AND NOT (sql LIKE 'CREATE TABLE%' OR sql LIKE 'CREATE INDEX%' OR sql LIKE 'CREATE UNIQUE INDEX%')"
)
"""What a file defines that is no plain table, by its definition: SQLite runs that, whatever the type beside it says."""
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: LONGEST_VALUE,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1_000,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
_PRAGMAS = ("trusted_schema=OFF", "query_only=ON", "cell_size_check=ON", "mmap_size=0", "temp_store=MEMORY")
_LACKING = re.compile(r"no such (?:table|column): ")
_monotonic = time.monotonic


def hot_journal(path: str) -> str:
    """Return the path of the rollback journal beside a database if it has something to undo, or cannot be read; else ""."""
    journal = f"{os.path.realpath(path)}-journal"
    try:
        if not os.path.lexists(journal):
            return ""
        first = next(chunks(journal, MOST_BYTES), b"\0")
    except (OSError, ValueError):
        return journal
    return journal if first[:1] != b"\0" else ""  # a zeroed header is how SQLite ends a persistent journal


def answers(path: str, queries: Sequence[str], parameters: Mapping[str, Any], seconds: float | None) -> list[list[dict[str, Any]] | str]:
    """Return the rows of each query, from a copy of the database, or which table or column it lacks: that of another release may.

    Args:
        queries: the scenario's own.
        seconds: give up after so long, and after `MOST_SECONDS` in any case.

    Raises:
        Misuse: it is no database, or does not answer them within the bounds.
    """
    limit = MOST_SECONDS if seconds is None else min(seconds, MOST_SECONDS)
    folder = Folder(beside=tempfile.gettempdir())  # databases can be larger than what fits in memory
    try:
        reader = _Reader(path, _copy(path, folder.path), limit)
        try:
            found = [reader.rows_or_lack(query, parameters) for query in queries]
            if all(isinstance(rows, str) for rows in found):
                raise Misuse(f"--db {path} does not answer: {found[0]}; is it the database of this program?")
            return found
        except (sqlite3.Error, sqlite3.Warning, UnicodeError, OverflowError) as error:
            said = reader.said or shortened(str(error))
            raise Misuse(f"--db {path} does not answer: {said}; is it the database of this program?") from None
        finally:
            reader.close()
    finally:
        folder.remove()


def require_database(path: str) -> None:
    """Raise Misuse if the file cannot be read, or does not begin like a database."""
    try:
        if not next(chunks(path, MOST_BYTES), b"").startswith(HEADER):
            raise Misuse(f"--db {path} is not an SQLite database")
    except OSError as error:
        raise Misuse(f"--db {path} cannot be read: {error.strerror or error}") from None


def _copy(path: str, folder: str) -> str:
    """Copy a database and its write-ahead log into the folder; return how to open the copy."""
    target = os.path.join(folder, "copy.db")
    try:
        _copied(path, target)
        logged = f"{os.path.realpath(path)}-wal"
        written = _copied(logged, f"{target}-wal") if os.path.lexists(logged) else 0
    except OSError as error:
        raise Misuse(f"--db {path} cannot be read: {error.strerror or error}") from None
    if not written:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{target}-wal")
    return f"{Path(target).as_uri()}?mode=ro{'' if written else '&immutable=1'}"


def _copied(path: str, target: str) -> int:
    """Copy a file; return its size."""
    with open(target, "xb") as file:
        return sum(file.write(piece) for piece in chunks(path, MOST_BYTES))


class _Reader:
    """The copy, opened; `said` is why it refused a query, if that is known better than SQLite says it."""

    def __init__(self, path: str, uri: str, seconds: float) -> None:
        self.said = ""
        self._path = path
        self._end = _monotonic() + seconds
        self._seconds = seconds
        self._left = MOST_TEXT
        self._others: dict[str, str] | None = None
        self._connection = sqlite3.connect(uri, uri=True, isolation_level=None)
        self._connection.text_factory = lambda data: data.decode(errors="surrogateescape")
        self._connection.row_factory = sqlite3.Row
        for limit, value in _LIMITS.items():
            self._connection.setlimit(limit, value)
        self._connection.set_progress_handler(self._late, OFTEN)

    def close(self) -> None:
        """Close the copy."""
        self._connection.close()

    def rows_or_lack(self, query: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]] | str:
        """Return the rows of a query, or what SQLite says of the table or column that the database lacks."""
        try:
            return self.rows(query, parameters)
        except sqlite3.OperationalError as error:
            if not _LACKING.match(str(error)):
                raise
            return shortened(str(error))

    def rows(self, query: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the rows of a query."""
        if self._others is None:
            for pragma in _PRAGMAS:
                self._connection.execute(f"PRAGMA {pragma}")
            self._others = {str(name): str(kind) for name, kind in self._connection.execute(_OTHERS)}
            self._connection.set_authorizer(self._allowed)
        for word in re.findall(r"\w+", query.lower()):
            if self._others.get(word) == "virtual table":  # a virtual one: SQLite would ask its module before it asks us
                raise Misuse(f"--db {self._path}: {word} is a virtual table in it, which is not read")
        found: list[dict[str, Any]] = []
        for row in self._connection.execute(query, dict(parameters)):
            found.append(dict(row))
            self._left -= sum(len(value) for value in row if isinstance(value, str | bytes))
            if len(found) > MOST_ROWS or self._left < 0:
                most = f"{MOST_ROWS:,} rows" if self._left >= 0 else f"{MOST_TEXT:,} bytes"
                raise Misuse(f"--db {self._path}: a query of the scenario has more than {most} for an answer: ask about fewer")
        return found

    def _late(self) -> bool:
        late = _monotonic() > self._end
        if late:
            self.said = f"it took longer than {self._seconds:g} s"
        return late

    def _allowed(self, action: int, first: str | None, second: str | None, database: str | None, source: str | None) -> int:
        """Whether SQLite may do this for a query. `source` is the view or the query's own WITH table in whose name it is done."""
        assert self._others is not None
        for name in filter(None, (source, first if action == sqlite3.SQLITE_READ else None)):
            if name.lower() in self._others:
                self.said = f"{shortened(name)} is a {shortened(self._others[name.lower()])} in it, and only plain tables are read"
                return sqlite3.SQLITE_DENY
        if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION):
            return sqlite3.SQLITE_OK
        self.said = "a query of the scenario does more than read tables"
        return sqlite3.SQLITE_DENY
