"""What executions show about connections and databases; without these facts neither needs scheduling points."""

from __future__ import annotations

from dataclasses import dataclass

from simharness.engine.facts import Fact


@dataclass(frozen=True)
class Unprotected(Fact, word="unprotected"):
    """Several actors use the connection, and no lock of the program protects it."""

    connection: str


@dataclass(frozen=True)
class Inspected(Fact, word="inspected"):
    """An `always` check uses the connection of an actor."""

    connection: str


@dataclass(frozen=True)
class OpenCursors(Fact, word="open-cursors"):
    """Unfinished SELECTs keep read transactions of the connection open."""

    connection: str


@dataclass(frozen=True)
class MovedCursors(Fact, word="moved-cursors"):
    """Several actors use one cursor of the connection."""

    connection: str


@dataclass(frozen=True)
class CountsCommits(Fact, word="counts-commits"):
    """`PRAGMA data_version` is read on the connection: it counts how often the connection noticed other connections' commits."""

    connection: str


@dataclass(frozen=True)
class Checkpoints(Fact, word="checkpoints"):
    """A statement's result depends on which connections read the database, or have it open; or a write ends when its rows are fetched."""

    database: str


@dataclass(frozen=True)
class Impatient(Fact, word="impatient"):
    """Without WAL, a statement on the database may be refused because a SELECT that is not late is not finished."""

    database: str


@dataclass(frozen=True)
class SeveralOn(Fact, word="several-on"):
    """Several connections use the database."""

    database: str


@dataclass(frozen=True)
class ChecksOf(Fact, word="checks-of"):
    """An `always` check reads the database."""

    database: str


@dataclass(frozen=True)
class SnapshotsOf(Fact, word="snapshots-of"):
    """Transactions take snapshots of the database, which commits therefore change."""

    database: str
