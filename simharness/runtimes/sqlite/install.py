"""The SQLite runtime's entry points: they replace `sqlite3.connect`, and close, inspect and keep databases after executions.

Outside a simulation `connect` is the genuine one.
"""

from __future__ import annotations

import _sqlite3
import sqlite3
import sys
from typing import Any

from simharness.engine.kernel import Kernel, current
from simharness.runtimes.patching import Patches
from simharness.runtimes.sqlite.connection import NotingConnection, SimConnection, controlled, name_of_next
from simharness.runtimes.sqlite.cursor import set_level
from simharness.runtimes.sqlite.kept.image import KeptDatabase
from simharness.runtimes.sqlite.kept.tape import wording_of_options
from simharness.runtimes.sqlite.made import MADE, Made
from simharness.runtimes.sqlite.registry import end_execution, identify, interrupt, snapshot
from simharness.runtimes.sqlite.remembered import forget, forked, remembered_of

__all__ = ["collects", "connect", "end_execution", "forget", "forked", "install", "interrupt", "snapshot", "where"]

_genuine = sqlite3.connect
_Connection = sqlite3.Connection


def install(patches: Patches) -> None:
    """Plan the replacement of `sqlite3.connect`, wherever it is bound."""
    patches.everywhere(_genuine, connect)
    for module in (sqlite3, sqlite3.dbapi2, _sqlite3):
        patches.attribute(module, "connect", connect)


def collects(kernel: Kernel) -> bool:
    """Whether to collect garbage before each execution, because it holds connections that are kept."""
    return remembered_of(kernel).keeper.policy.collects


def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
    """Open a database: a controlled connection inside a simulation, a genuine one outside."""
    kernel = current()
    if kernel is None:
        genuine: sqlite3.Connection = _genuine(*arguments, **options)
        return genuine
    made: list[Made] | None = kernel.context.get(MADE)
    kept = None if made is not None else remembered_of(kernel).keeper.find(kernel, arguments, options)
    if kept is not None:
        return _for_keeping(kernel, kept, arguments[0], options)
    factory = arguments[5] if len(arguments) > 5 else options.get("factory", _Connection)
    connection: sqlite3.Connection = controlled(factory, SimConnection)(*arguments, **options)
    if made is not None:
        made.append(Made(connection, arguments, options))
    return connection


def _for_keeping(kernel: Kernel, kept: KeptDatabase, database: Any, options: dict[str, Any]) -> SimConnection:
    """Return the connection kept for this execution, or a new one that the next execution may reuse."""
    wording = wording_of_options(options)
    connection = kept.take(len(kept.links) if kept.open else wording)
    if connection is not None:
        connection.__class__ = SimConnection
        connection.row_factory, connection.text_factory = None, str
        set_level.__set__(connection, options.get("isolation_level", ""))
        name = name_of_next(kernel)
        connection._join(kernel, name, identify(kernel, database, False, name), known=True, **options)
    else:
        connection = SimConnection(database, known=kept.image is not None, **options)
    link = connection._link
    link.references = sys.getrefcount(connection)
    link.options = {**options, "timeout": 0, "check_same_thread": False}
    kept.opened(link, wording)
    if kept.open:
        connection.__class__ = NotingConnection
    opened: SimConnection = connection
    return opened


def where(kernel: Kernel, path: str) -> str:
    """Return where the file is that an execution, now over, had at this path."""
    return remembered_of(kernel).keeper.where(path)
