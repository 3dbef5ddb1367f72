"""Connections of a template: each execution opens them again, under their old identity, with the pragmas that were set on them."""

from __future__ import annotations

import re
import sqlite3
from typing import Any

from simharness.errors import Misuse
from simharness.runtimes.heap.records import Record
from simharness.runtimes.sqlite.cursor import set_level
from simharness.runtimes.sqlite.kept.image import in_transaction

MADE = "connections of a template"
"""In a kernel's context while a template is made: the list of its connections."""
_Connection = sqlite3.Connection
_SETS = re.compile(r"\s*pragma\s+(?:\w+\.)?(\w+)\s*(?:=|\()", re.IGNORECASE)
_IN_FILE = {"application_id", "auto_vacuum", "encoding", "journal_mode", "page_size", "schema_version", "table_info", "user_version"}
_IN_FILE |= {"incremental_vacuum", "index_info", "index_list", "integrity_check", "optimize", "quick_check", "wal_checkpoint"}
"""Pragmas whose effect is in the file, or that only ask."""
_TEMPORARY = re.compile(r"\s*create\s+temp", re.IGNORECASE)


class Made(Record):
    """One connection, how it was opened, and what was set on it."""

    path = "a connection"

    def __init__(self, connection: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        self.thing = connection
        self._arguments, self._options = arguments, options
        self._statements: list[str] = []
        self._image: bytes | None = None
        _Connection.set_trace_callback(connection, self._statements.append)

    @property
    def closed(self) -> bool:
        """Whether the program has closed it."""
        return bool(self.thing._link.closed)

    def keep(self, place: str) -> None:
        """Note what is set on it now.

        Raises:
            Misuse: it cannot be opened again as it is.
        """
        connection, link = self.thing, self.thing._link
        _Connection.set_trace_callback(connection, None)
        if in_transaction(connection):
            raise Misuse(f"{place}: the template leaves a transaction open on {link.name}: end it")
        if link.configured or any(map(_TEMPORARY.match, self._statements)):
            raise Misuse(f"{place}: {link.name} of the template has functions, limits or temporary tables: set them outside the template")
        self._pragmas = [text for text in self._statements if (found := _SETS.match(text)) and found[1].lower() not in _IN_FILE]
        self._factories = connection.row_factory, connection.text_factory
        self._level = set_level.__get__(connection)
        if link.database.private and sqlite3.Cursor(connection).execute("PRAGMA page_count").fetchone() != (0,):
            self._image = _Connection.serialize(connection)

    def put_back(self) -> None:
        """Open it in this execution."""
        connection = self.thing
        type(connection).__init__(connection, *self._arguments, **self._options)
        for pragma in self._pragmas:
            sqlite3.Cursor(connection).execute(pragma).close()
        if self._image is not None:
            _Connection.deserialize(connection, self._image)
            connection._link.database.volatile = True
        set_level.__set__(connection, self._level)
        connection.row_factory, connection.text_factory = self._factories
