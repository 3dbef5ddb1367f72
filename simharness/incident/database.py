"""The incident's database: what it answers, and how an execution's answers differ from that. `copies.py` reads it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simharness.engine.kernel import Kernel
from simharness.errors import Misuse
from simharness.incident.copies import answers, hot_journal, require_database
from simharness.incident.templates import Log, Rows
from simharness.runtimes import control
from simharness.visible import shortened

MOST_COMPARISONS = 200_000
"""Pairs of rows that are compared for one query of one execution."""
SHOWN = 10
"""Rows in a sentence."""
Identity = tuple[str, str, str]
Row = Mapping[str, Any]
Answers = Sequence[Sequence[Row]]


@dataclass(frozen=True)
class Wanted:
    """What the incident's database answers to each query of the scenario, about the session `session`; None: it cannot answer it."""

    session: str
    answers: Sequence[Sequence[Row] | None]


def wanted(path: str, log: Log, session: str, notes: list[str], seconds: float | None = None) -> Wanted | None:
    """Query the incident's database; return None if it settles nothing, and say why in `notes`.

    Args:
        seconds: give up after so long.

    Raises:
        Misuse: it cannot be read, or is not a database of this program.
    """
    if not log.rows:
        raise Misuse(f"--db {path}: the scenario's log=… gives no `rows` to compare")
    require_database(path)
    journal = hot_journal(path)
    if journal:
        why = "which is not done to a stranger's file: let the program open a copy of both files, and give that copy"
        notes.append(f"--db {path} settles nothing: {journal} has a transaction to undo, {why}")
        return None
    found = answers(path, [question.sql for question in log.rows], {"session": session}, seconds)
    for question, rows in zip(log.rows, found, strict=True):
        if isinstance(rows, str):
            notes.append(f"--db {path} is not asked about {question.about}: {rows}")
    return Wanted(session, [None if isinstance(rows, str) else rows for rows in found])


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
        if theirs is None:
            continue
        if theirs and ours and theirs[0].keys() != ours[0].keys():
            return f"{question.about}: the incident's rows have the columns {', '.join(theirs[0])}, the execution's {', '.join(ours[0])}"
        unified = _Unifier(question).unified(list(theirs), list(ours), known)
        if unified is None:
            return f"{question.about}: the incident has {_as_text(theirs)}, the execution {_as_text(ours)}"
        known = unified
    return ""


class _Unifier:
    """Finds ids that make the two answers to a question equal, as sets of rows (or the one a part of the other).

    It does so within a number of comparisons.
    """

    def __init__(self, question: Rows) -> None:
        self._question = question
        self._left = MOST_COMPARISONS

    def unified(self, theirs: list[Row], ours: list[Row], known: Mapping[tuple[str, str], str]) -> dict[tuple[str, str], str] | None:
        """Return `known` with the ids that make the rows equal; None if no ids do.

        Raises:
            Misuse: so many rows are alike that this is not found out.
        """
        if len(theirs) > len(ours) or (len(theirs) < len(ours) and not self._question.subset):
            return None
        if not theirs:
            return dict(known)
        first, rest = theirs[0], theirs[1:]
        for position, row in enumerate(ours):
            self._left -= 1
            if self._left < 0:
                raise Misuse(f"--db: {self._question.about}: too many rows are alike to find out which correspond: ask about fewer")
            taken = _same_row(first, row, self._question.ids, known)
            if taken is not None:
                ids = self.unified(rest, ours[:position] + ours[position + 1 :], taken)
                if ids is not None:
                    return ids
        return None


def _same_row(theirs: Row, ours: Row, kinds: Mapping[str, str], known: Mapping[tuple[str, str], str]) -> dict[tuple[str, str], str] | None:
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


def _as_text(rows: Sequence[Row]) -> str:
    if not rows:
        return "none"
    more = f"; and {len(rows) - SHOWN:,} more" if len(rows) > SHOWN else ""
    return "; ".join(", ".join(f"{name}={shortened(str(value))}" for name, value in row.items()) for row in rows[:SHOWN]) + more
