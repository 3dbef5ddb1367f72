"""The committed rows of databases, and what a step changed in them, in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from simharness.engine.clock import EPOCH, SECOND

LONGEST_VALUE = 30
AGES = 1e6
"""Seconds from the virtual start within which a number in a row is shown as a time."""


class Table(NamedTuple):
    """A table's columns and its committed rows, in their order in the file.

    Attributes:
        key: the positions of the columns of its primary key.
        shadow: whether it is where a virtual table, such as a full-text index, keeps its data, which nobody reads.
    """

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    key: tuple[int, ...] = ()
    shadow: bool = False

    def key_of(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the values that a row is called by: those of its primary key, or its first value."""
        return tuple(row[position] for position in self.key) or row[:1]


Tables = dict[str, dict[str, Table]]
"""Database label, table name, table."""


def changed_rows(before: Tables, after: Tables) -> list[str]:
    """Say which rows were added (+), removed (-) and changed (~) between two looks at the databases."""
    lines: list[str] = []
    for database, tables in after.items():
        old_tables = before.get(database)
        if old_tables is None:
            continue
        for name, table in tables.items():
            old = old_tables.get(name, Table(table.columns, []))
            if table.rows == old.rows or table.shadow:
                continue
            gone = [row for row in old.rows if row not in table.rows]
            new = [row for row in table.rows if row not in old.rows]
            for row in gone:
                twin = next((other for other in new if other and row and table.key_of(other) == table.key_of(row)), None)
                if twin is None:
                    lines.append(f"- {name} {_words(table, row)}")
                else:
                    new.remove(twin)
                    lines.append(f"~ {name} {_difference(table, row, twin)}")
            lines.extend(f"+ {name} {_words(table, row)}" for row in new)
    return lines


def changed_tables(before: Tables, after: Tables) -> Tables:
    """Return the tables of `after` that differ from `before`; a table that is gone keeps only its columns."""
    result: Tables = {}
    for database, tables in after.items():
        old = before.get(database, {})
        changed = {name: table for name, table in tables.items() if old.get(name) != table}
        changed |= {name: Table(table.columns, []) for name, table in old.items() if name not in tables}
        if changed:
            result[database] = changed
    return result


def written(tables: Tables, clean: Callable[[str], str]) -> Tables:
    """Return the tables with their texts put in a common form by `clean`."""
    return {
        clean(database): {
            name: table._replace(rows=[tuple(clean(value) if isinstance(value, str) else value for value in row) for row in table.rows])
            for name, table in named.items()
        }
        for database, named in tables.items()
    }


def _words(table: Table, row: tuple[Any, ...]) -> str:
    """Show a row by its key, and those of its other values that are not NULL."""
    key = table.key or (0,)
    rest = [
        f"{column}={_value(value)}"
        for position, (column, value) in enumerate(zip(table.columns, row, strict=False))
        if value is not None and position not in key
    ]
    return ", ".join([_key(table, row), *rest])


def _key(table: Table, row: tuple[Any, ...]) -> str:
    return "/".join(map(_value, table.key_of(row)))


def _difference(table: Table, old: tuple[Any, ...], new: tuple[Any, ...]) -> str:
    parts = [
        f"{column}: {_value(before)} → {_value(after)}"
        for column, before, after in zip(table.columns, old, new, strict=False)
        if before != after
    ]
    return f"{_key(table, new)}, " + ", ".join(parts)


def _value(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, float) and 0 <= (since := value - EPOCH / SECOND) < AGES:
        return f"t+{round(since, 6):g}s"
    text = " ".join(str(value).split())
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"
