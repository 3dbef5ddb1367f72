"""What a statement is, and which tables it reads and writes, as SQLite itself reports once for each SQL text and schema.

The authorizer fires only when a statement is prepared, so a statement is learned by preparing `EXPLAIN` of it, with an
authorizer that takes notes; the byte code shows whether it opens a read or a write transaction and whether it returns rows.
A pragma may take effect when it is merely prepared, so pragmas are classified by name. The result is a `Shape`, kept in a book
for each database and schema.
"""

from __future__ import annotations

import re
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from simharness.runtimes.sqlite.kept.scripts import VERB

LOCAL, READ, WRITE, SCHEMA, BEGIN, BEGIN_WRITE, COMMIT, ROLLBACK, SAVEPOINT, RELEASE, ROLLBACK_TO, TIMEOUT, UNKNOWN = range(13)
"""Kinds of statement. LOCAL touches nothing but its connection, SCHEMA conflicts with everything on the database, UNKNOWN could
not be prepared."""

_set_authorizer = sqlite3.Connection.set_authorizer
_PRAGMA = re.compile(r"\s*(?:\w+\s*\.\s*)?(\w+)\s*(?:(?:=|\()\s*([^;)]*?)\s*\)?\s*;?\s*)?(?:--.*|;)?$", re.DOTALL)
_NAME = re.compile(r"\s*(?:TO\s+)?(?:SAVEPOINT\s+)?[\"'`\[]?([^\"'`\];\s]+)", re.IGNORECASE)
_USES = re.compile(r"uses (\d+)")


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_OWN_PRAGMAS = _names(
    """
    analysis_limit automatic_index cache_size cache_spill case_sensitive_like cell_size_check checkpoint_fullfsync collation_list
    compile_options database_list defer_foreign_keys foreign_keys fullfsync function_list hard_heap_limit ignore_check_constraints
    legacy_alter_table mmap_size module_list pragma_list query_only read_uncommitted recursive_triggers reverse_unordered_selects
    secure_delete shrink_memory soft_heap_limit synchronous temp_store threads trusted_schema wal_autocheckpoint
    """
)
_READ_PRAGMAS = _names(
    """
    application_id auto_vacuum data_version encoding foreign_key_check foreign_key_list freelist_count index_info index_list
    index_xinfo integrity_check journal_mode journal_size_limit max_page_count page_count page_size quick_check schema_version
    table_info table_list table_xinfo user_version
    """
)
_TAKES_ARGUMENT_AND_READS = _names(
    """
    foreign_key_check foreign_key_list index_info index_list index_xinfo integrity_check quick_check table_info table_list
    table_xinfo
    """
)
_CHANGES_PREPARATION = _names("defer_foreign_keys foreign_keys recursive_triggers legacy_alter_table trusted_schema")
_WRITE_ACTIONS = frozenset([sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE])
_MASTERS = ("sqlite_master", "sqlite_schema")
_SCHEMA_VERBS = _names("CREATE DROP ALTER VACUUM REINDEX ANALYZE DETACH")
_CHECKPOINTS = re.compile(r"(wal_checkpoint|journal_mode)\b")
_KEEPS_SCHEMA = _names("application_id journal_mode user_version wal_checkpoint")
_VERSION = re.compile(r"data_version", re.IGNORECASE)
_PAGES = _names("data_version foreign_key_check freelist_count integrity_check page_count quick_check")
"""Pragmas whose answer depends on more than the schema."""
_OWN_TABLES = _names("json_each json_tree generate_series")
"""Virtual tables that read no database."""
_BY_REGISTER = 0x10
"""The flag of `OpenRead` and `OpenWrite` that the root page is in a register (`OPFLAG_P2ISREG`)."""
_UPSERT = re.compile(r"\bDO\s+UPDATE\b", re.IGNORECASE)
_LASTROWID = 0x20
"""The flag of SQLite's `Insert` operation (`OPFLAG_LASTROWID`)."""


class Shape:
    """What one SQL text does under one schema. `reads` and `writes` are masks of tables of the main database.

    `inserts`: if it changes a row at all, it sets `lastrowid`. `numbers`: it may change `sqlite_sequence`, even without changing a row.
    `whole`: it may read anything in the file, not only its tables.
    `counts`: it reads how often the connection has noticed other connections' commits. `checkpoints`: its result depends on
    which other connections read, or are open. `cookie`: the number that SQLite gives the schema, which each change of it makes another one.
    """

    __slots__ = (
        "argument", "checkpoints", "cookie", "counts", "dml", "inserts", "kind", "numbers", "plain", "reads", "rows", "sql", "tables",
        "text", "verb", "whole", "writes",
    )  # fmt: skip

    def __init__(self, sql: str, kind: int, verb: str, argument: str = "") -> None:
        self.sql = sql
        self.text = sql
        self.kind = kind
        self.plain = kind not in (SCHEMA, TIMEOUT, UNKNOWN) and verb not in ("PRAGMA", "ATTACH", "DETACH")
        self.verb = verb
        self.argument = argument
        self.dml = verb in ("INSERT", "UPDATE", "DELETE", "REPLACE")
        self.rows = True
        self.inserts = self.numbers = False
        self.whole = verb == "PRAGMA" and kind == READ and argument.partition(" ")[0] in _PAGES
        self.counts = kind == READ and _VERSION.search(sql) is not None
        self.checkpoints = verb == "PRAGMA" and kind == SCHEMA and _CHECKPOINTS.match(argument) is not None
        self.reads = 0
        self.writes = 0
        self.tables: tuple[str, ...] = ()
        self.cookie: int | None = None

    @property
    def prepares_anew(self) -> bool:
        """Whether this statement changes the meaning of others on its connection, which must then be learned again."""
        if self.verb == "PRAGMA":
            name, _, value = self.argument.partition(" ")
            return bool(value) and name in _CHANGES_PREPARATION
        return self.verb in ("ATTACH", "DETACH") or (self.verb in _SCHEMA_VERBS and self.kind == LOCAL)

    @property
    def keeps_schema(self) -> bool:
        """Whether this statement, though it counts as one that may change everything, leaves tables and indices as they are."""
        return self.verb == "PRAGMA" and self.argument.partition(" ")[0] in _KEEPS_SCHEMA

    def __repr__(self) -> str:
        return f"<shape of {self.sql!r}>"


COMMITS = Shape("COMMIT", COMMIT, "COMMIT")
ROLLS_BACK = Shape("ROLLBACK", ROLLBACK, "ROLLBACK")
COMMITS.rows = ROLLS_BACK.rows = False


def learn(connection: sqlite3.Connection, sql: str, bit: Callable[[str], int], authorizer: Any) -> tuple[Shape, bool]:
    """Return the shape of a statement and whether it may be kept; one that cannot be prepared is of kind UNKNOWN.

    Args:
        connection: to prepare it on.
        bit: gives the mask of a table's name.
        authorizer: the user's own, put back afterwards.
    """
    match = VERB.match(sql)
    verb = match[1].upper() if match else ""
    rest = match[2] if match else ""
    border = _border(sql, verb, rest)
    if border is not None:
        border.rows = False
        return border, True
    if verb == "PRAGMA":
        return _pragma(sql, rest), True
    if verb == "EXPLAIN":
        return Shape(sql, READ, verb), True
    if verb in ("ATTACH", "DETACH", "VACUUM"):
        return Shape(sql, SCHEMA if verb == "VACUUM" else LOCAL, verb, rest), True
    return _explained(connection, sql, verb, bit, authorizer)


def _border(sql: str, verb: str, rest: str) -> Shape | None:
    """Recognise a transaction's border."""
    words = rest.upper().replace(";", " ").split()
    if verb == "BEGIN":
        return Shape(sql, BEGIN_WRITE if words[:1] in (["IMMEDIATE"], ["EXCLUSIVE"]) else BEGIN, verb)
    if verb in ("COMMIT", "END"):
        return Shape(sql, COMMIT, verb)
    if verb == "ROLLBACK" and "TO" in words[:2]:
        name = _NAME.match(rest[rest.upper().index("TO") :])
        return Shape(sql, ROLLBACK_TO, verb, name[1].lower() if name else "")
    if verb == "ROLLBACK":
        return Shape(sql, ROLLBACK, verb)
    if verb in ("SAVEPOINT", "RELEASE"):
        name = _NAME.match(rest)
        return Shape(sql, SAVEPOINT if verb == "SAVEPOINT" else RELEASE, verb, name[1].lower() if name else "")
    return None


def _pragma(sql: str, rest: str) -> Shape:
    match = _PRAGMA.match(rest)
    name = match[1].lower() if match else ""
    value = match[2] if match else None
    argument = name if value is None else f"{name} {value}"
    if name == "busy_timeout":
        return Shape(sql, TIMEOUT, "PRAGMA", argument)
    if name in _OWN_PRAGMAS:
        return Shape(sql, LOCAL, "PRAGMA", argument)
    if name in _READ_PRAGMAS and (value is None or name in _TAKES_ARGUMENT_AND_READS):
        return Shape(sql, READ, "PRAGMA", argument)
    return Shape(sql, SCHEMA, "PRAGMA", argument)


def _explained(connection: sqlite3.Connection, sql: str, verb: str, bit: Callable[[str], int], authorizer: Any) -> tuple[Shape, bool]:
    """Learn from SQLite's authorizer and byte code."""
    seen: list[tuple[Any, ...]] = []

    def note(*event: Any) -> int:
        seen.append(event)
        return sqlite3.SQLITE_OK

    _set_authorizer(connection, note)
    try:
        code = _explain(connection, sql)
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError):
        return Shape(sql, UNKNOWN, verb), False
    finally:
        _set_authorizer(connection, authorizer)
    shape = Shape(sql, LOCAL, verb)
    shape.rows = any(row[1] == "ResultRow" for row in code)
    transactions = [row[3] for row in code if row[1] == "Transaction" and row[2] == 0]
    if not transactions:
        shape.plain = not shape.prepares_anew
        return shape, True
    shape.kind = WRITE if any(transactions) else READ
    shape.cookie = next(row[4] for row in code if row[1] == "Transaction" and row[2] == 0)
    reads = {event[1] for event in seen if event[0] == sqlite3.SQLITE_READ and event[3] != "temp"}
    writes = {event[1] for event in seen if event[0] in _WRITE_ACTIONS and event[3] != "temp"}
    _complete(connection, code, reads, writes, shape, bit)
    if shape.kind == WRITE and (verb in _SCHEMA_VERBS or not writes or not writes.isdisjoint(_MASTERS)):
        shape.kind = SCHEMA
    for table in reads:
        shape.reads |= bit(table)
    for table in writes if shape.kind == WRITE else ():
        shape.writes |= bit(table)
    shape.tables = tuple(sorted(writes))
    shape.plain = shape.kind != SCHEMA and verb not in _SCHEMA_VERBS
    shape.inserts = shape.kind == WRITE and _UPSERT.search(sql) is None and any(_sets_last_row(row) for row in _main_program(code))
    return shape, True


def _complete(
    connection: sqlite3.Connection, code: list[tuple[Any, ...]], reads: set[str], writes: set[str], shape: Shape, bit: Callable[[str], int]
) -> None:
    """Add what the byte code does without the authorizer's knowledge: it opens a table that was not named, or a virtual one.

    The authorizer is not asked about `sqlite_sequence`, nor about the source of an `INSERT … SELECT` that copies a whole table.
    What a virtual table reads and writes only its module knows.
    """
    virtual = {row[5] for row in code if row[1] == "VOpen"}
    shape.whole = len(virtual) > len(reads & _OWN_TABLES)
    if any(row[1] == "VUpdate" for row in code):
        shape.kind, shape.whole = SCHEMA, True
    opened = {row[3]: row[1] for row in code if row[1] == "OpenRead" and _in_main(row)}
    opened |= {row[3]: row[1] for row in code if row[1] == "OpenWrite" and _in_main(row)}
    opened.pop(1, None)
    if shape.kind == WRITE and len(opened) > 0:
        for name in reads | writes:
            for page in _pages(connection, name):
                opened.pop(page, None)
        if any(page in opened for page in _pages(connection, "sqlite_sequence")):
            shape.numbers = True
            shape.writes |= bit("sqlite_sequence")
            for page in _pages(connection, "sqlite_sequence"):
                opened.pop(page, None)
        shape.whole |= bool(opened)
        if "OpenWrite" in opened.values():
            shape.kind = SCHEMA


def _in_main(row: tuple[Any, ...]) -> bool:
    return row[4] == 0 and not row[6] & _BY_REGISTER


def _pages(connection: sqlite3.Connection, table: str) -> list[int]:
    """Return the root pages of a table and its indices in the main database, which is not read for that."""
    quoted = table.replace('"', '""')
    try:
        code = _explain(connection, f'PRAGMA main.integrity_check("{quoted}")')
    except sqlite3.Error:
        return []  # there is no such table
    return [row[3] for row in code if row[1] == "OpenRead" and _in_main(row)]


def _main_program(code: list[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Yield the byte code of a statement without that of its triggers, whose addresses start again from 0."""
    for number, row in enumerate(code):
        if row[0] != number:
            return
        yield row


def _sets_last_row(row: tuple[Any, ...]) -> bool:
    return row[1] == "Insert" and bool(row[6] & _LASTROWID)


def _explain(connection: sqlite3.Connection, sql: str) -> list[tuple[Any, ...]]:
    cursor = sqlite3.Cursor(connection)
    cursor.row_factory = None
    text = "EXPLAIN " + sql
    factory, connection.text_factory = connection.text_factory, str
    try:
        try:
            cursor.execute(text, (None,) * sql.count("?"))
        except sqlite3.ProgrammingError as error:
            needed = _USES.search(str(error))
            if needed is None:
                raise
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # named placeholders, and a sequence for them
                cursor.execute(text, (None,) * int(needed[1]))
        return cursor.fetchall()
    finally:
        cursor.close()
        connection.text_factory = factory
