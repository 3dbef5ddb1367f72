"""The incident's database: read from a copy, and compared with the one that an execution leaves.

The database may be open in another process. It is never opened where it is: opening it could replay its write-ahead log into the file, or
make one. Its bytes and those of its `-wal` are copied to a temporary folder, and the copy is asked.
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
    """What the incident's database answers to each question of the scenario; `session` is the one they were asked about."""

    session: str
    answers: Answers


def wanted(path: str, log: Log, session: str) -> Wanted:
    """Ask the incident's database.

    Raises:
        Misuse: it cannot be read, or is no database of this program.
    """
    if not log.rows:
        raise Misuse(f"--db {path}: the scenario's log=… says no `rows` to compare")
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
        raise Misuse(f"--db {path} is no SQLite database")
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
    """Say how the database of the kernel's execution, which is over, differs from the incident's; "" if it does not.

    Args:
        ids: which of the incident's ids is which of the execution's; what they leave open is unified here.
    """
    folder = kernel.workspace.path
    path = control.where(kernel, os.path.join(folder, log.database)) if folder else ""
    if not os.path.exists(path):
        raise Misuse(f"the scenario makes no database: log=Log(database={log.database!r}) is the name that it gives to world.path")
    session = next((other for kind, one, other in ids if (kind, one) == (log.session, wanted.session)), wanted.session)
    known = {(kind, one): other for kind, one, other in ids}
    for question, theirs, ours in zip(log.rows, wanted.answers, _ask(path, log.rows, session), strict=True):
        unified = _unified(list(theirs), list(ours), question.ids, known)
        if unified is None:
            return f"{question.about}: the incident has {_words(theirs)}, the execution {_words(ours)}"
        known = unified
    return ""


def _unified(
    theirs: list[Mapping[str, Any]], ours: list[Mapping[str, Any]], kinds: Mapping[str, str], known: Mapping[tuple[str, str], str]
) -> dict[tuple[str, str], str] | None:
    """Return the ids with which the two sets of rows are the same; None if there are none."""
    if len(theirs) != len(ours):
        return None
    if not theirs:
        return dict(known)
    first, rest = theirs[0], theirs[1:]
    for position, row in enumerate(ours):
        taken = _same_row(first, row, kinds, known)
        if taken is not None:
            found = _unified(rest, ours[:position] + ours[position + 1 :], kinds, taken)
            if found is not None:
                return found
    return None


def _same_row(
    one: Mapping[str, Any], other: Mapping[str, Any], kinds: Mapping[str, str], known: Mapping[tuple[str, str], str]
) -> dict[tuple[str, str], str] | None:
    taken = dict(known)
    for column, value in one.items():
        kind = kinds.get(column)
        if kind is None or value is None or other[column] is None:
            if value != other[column]:
                return None
            continue
        key = kind, str(value)
        its = str(other[column])
        if taken.get(key, its) != its or any(
            found == its for (known_kind, mine), found in taken.items() if known_kind == kind and mine != key[1]
        ):
            return None
        taken[key] = its
    return taken


def _words(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "none"
    return "; ".join(", ".join(f"{name}={value}" for name, value in row.items()) for row in rows)
