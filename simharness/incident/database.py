"""The incident's database: read from a copy, and compared with the one that an execution leaves.

The original is never opened, as another process may have it open: opening it could replay its write-ahead log into the file, or create one.
Instead, its bytes and those of its `-wal` and `-journal` are copied to a temporary folder, and the copy is queried.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from simharness.engine.kernel import Kernel
from simharness.errors import Misuse
from simharness.incident.templates import Log, Rows
from simharness.runtimes import control

HEADER = b"SQLite format 3\0"
Identity = tuple[str, str, str]
Answers = Sequence[Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Wanted:
    """What the incident's database answers to each query of the scenario, about the session `session`."""

    session: str
    answers: Answers


def wanted(path: str, log: Log, session: str) -> Wanted:
    """Query the incident's database.

    Raises:
        Misuse: it cannot be read, or is not a database of this program.
    """
    if not log.rows:
        raise Misuse(f"--db {path}: the scenario's log=… gives no `rows` to compare")
    with _copy(path) as copied:
        try:
            return Wanted(session, _ask(copied, log.rows, session))
        except sqlite3.Error as error:
            raise Misuse(f"--db {path} does not answer: {error}; is it the database of this program?") from None


@contextmanager
def _copy(path: str) -> Iterator[str]:
    try:
        with open(path, "rb") as file:
            begins = file.read(len(HEADER))
    except OSError as error:
        raise Misuse(f"--db {path} cannot be read: {error.strerror or error}") from None
    if begins != HEADER:
        raise Misuse(f"--db {path} is not an SQLite database")
    with tempfile.TemporaryDirectory(prefix="simharness-") as folder:
        target = os.path.join(folder, "copy.db")
        for ending in ("", "-wal", "-journal"):
            if os.path.exists(path + ending):
                shutil.copyfile(path + ending, target + ending)
        yield target


def _ask(path: str, rows: Sequence[Rows], session: str) -> Answers:
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    try:
        return [[dict(row) for row in connection.execute(question.sql, {"session": session})] for question in rows]
    finally:
        connection.close()


def differ(wanted: Wanted, kernel: Kernel, log: Log, ids: Sequence[Identity]) -> str:
    """Return how the database of the kernel's finished execution differs from the incident's; "" if it does not.

    Args:
        ids: which of the incident's ids correspond to which of the execution's; ids that are not among them are unified here.
    """
    folder = kernel.workspace.path
    path = control.where(kernel, os.path.join(folder, log.database)) if folder else ""
    if not os.path.exists(path):
        raise Misuse(f"the scenario makes no database: log=Log(database={log.database!r}) must be the name that it gives to world.path")
    session = next((ours for kind, theirs, ours in ids if (kind, theirs) == (log.session, wanted.session)), wanted.session)
    known = {(kind, theirs): ours for kind, theirs, ours in ids}
    for question, theirs, ours in zip(log.rows, wanted.answers, _ask(path, log.rows, session), strict=True):
        unified = _unified(list(theirs), list(ours), question.ids, known)
        if unified is None:
            return f"{question.about}: the incident has {_as_text(theirs)}, the execution {_as_text(ours)}"
        known = unified
    return ""


def _unified(
    theirs: list[Mapping[str, Any]], ours: list[Mapping[str, Any]], kinds: Mapping[str, str], known: Mapping[tuple[str, str], str]
) -> dict[tuple[str, str], str] | None:
    """Return `known` with the ids that make the two sets of rows equal; None if no ids do."""
    if len(theirs) != len(ours):
        return None
    if not theirs:
        return dict(known)
    first, rest = theirs[0], theirs[1:]
    for position, row in enumerate(ours):
        taken = _same_row(first, row, kinds, known)
        if taken is not None:
            ids = _unified(rest, ours[:position] + ours[position + 1 :], kinds, taken)
            if ids is not None:
                return ids
    return None


def _same_row(
    theirs: Mapping[str, Any], ours: Mapping[str, Any], kinds: Mapping[str, str], known: Mapping[tuple[str, str], str]
) -> dict[tuple[str, str], str] | None:
    taken = dict(known)
    for column, value in theirs.items():
        kind = kinds.get(column)
        if kind is None or value is None or ours[column] is None:
            if value != ours[column]:
                return None
            continue
        key = kind, str(value)
        own = str(ours[column])
        if taken.get(key, own) != own or any(
            ours_too == own for (known_kind, theirs_too), ours_too in taken.items() if known_kind == kind and theirs_too != key[1]
        ):
            return None
        taken[key] = own
    return taken


def _as_text(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "none"
    return "; ".join(", ".join(f"{name}={value}" for name, value in row.items()) for row in rows)
