"""Random SQL scripts, run on the real `sqlite3` in every interleaving of their statements: an oracle that shares nothing with simharness.

With a timeout of 0 every statement is atomic, so one OS thread is enough. A script is a list of steps for each actor; a step is one
statement whose rows are fetched at once, or something done to a cursor that keeps its statement unfinished.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from typing import Any

SETUP = """
CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT, x INTEGER UNIQUE);
CREATE TABLE b(id INTEGER PRIMARY KEY, x INTEGER);
CREATE TABLE c(id INTEGER PRIMARY KEY, x INTEGER);
CREATE TABLE d(id INTEGER PRIMARY KEY, x INTEGER);
CREATE INDEX bx ON b(x);
CREATE TABLE p(id INTEGER PRIMARY KEY, v INTEGER);
CREATE TABLE child(id INTEGER PRIMARY KEY, p REFERENCES p(id) ON DELETE CASCADE);
CREATE TABLE other(id INTEGER PRIMARY KEY, p REFERENCES p(id) ON DELETE SET NULL ON UPDATE CASCADE);
CREATE TABLE log(id INTEGER PRIMARY KEY AUTOINCREMENT, what);
CREATE VIEW w AS SELECT id, x FROM b WHERE x > 0;
CREATE TRIGGER on_c AFTER INSERT ON c BEGIN INSERT INTO log(what) VALUES (new.x); END;
CREATE TRIGGER on_w INSTEAD OF INSERT ON w BEGIN INSERT INTO b(x) VALUES (new.x); END;
CREATE TRIGGER on_child AFTER DELETE ON child BEGIN UPDATE p SET v = v + 10; END;
INSERT INTO a(x) VALUES (1); INSERT INTO b(x) VALUES (1), (2); INSERT INTO p VALUES (1, 0), (2, 0);
INSERT INTO child VALUES (1, 1), (2, 2); INSERT INTO other VALUES (1, 1);
"""
READS = [
    "SELECT * FROM a",
    "SELECT x FROM b ORDER BY x",
    "SELECT count(*) FROM c",
    "SELECT * FROM w",
    "SELECT seq FROM sqlite_sequence ORDER BY name",
    "SELECT * FROM p",
    "SELECT * FROM child",
    "SELECT p FROM other",
    "SELECT what FROM log",
    "WITH b AS (SELECT x FROM main.b) SELECT * FROM b",
    "SELECT sum(pgsize) FROM dbstat",
    "SELECT count(*) FROM sqlite_master",
    "SELECT * FROM pragma_page_count",
    "SELECT count(*) FROM child JOIN p ON child.p = p.id",
    "PRAGMA page_count",
    "PRAGMA freelist_count",
    "PRAGMA integrity_check",
    "PRAGMA quick_check",
    "PRAGMA foreign_key_check",
    "PRAGMA user_version",
]
WRITES = [
    "INSERT INTO a(x) VALUES (2)",
    "INSERT OR IGNORE INTO a(x) VALUES (1)",
    "INSERT INTO a(id, x) VALUES (7, 7) ON CONFLICT(x) DO UPDATE SET x = x + 100",
    "INSERT OR REPLACE INTO a(id, x) VALUES (9, 1)",
    "INSERT INTO c SELECT * FROM b",
    "INSERT INTO d SELECT * FROM b",
    "INSERT INTO c(x) SELECT count(*) FROM b",
    "INSERT INTO b(x) VALUES (5)",
    "UPDATE b SET x = x + 1",
    "UPDATE b SET x = x",
    "DELETE FROM b",
    "DELETE FROM b WHERE x > 100",
    "INSERT INTO w VALUES (0, 8)",
    "INSERT INTO c(x) VALUES (3)",
    "DELETE FROM p WHERE id = 1",
    "UPDATE p SET id = 5 WHERE id = 1",
    "INSERT INTO child VALUES (9, 5)",
    "DELETE FROM child",
    "UPDATE p SET v = v * 2 + 1",
    "INSERT INTO b(x) VALUES (zeroblob(9000))",
    "UPDATE log SET what = 'seen'",
    "DELETE FROM log",
]
SCHEMA = [
    "CREATE TABLE z(x)",
    "DROP TABLE c",
    "ALTER TABLE b ADD COLUMN y DEFAULT 4",
    "CREATE INDEX px ON p(v)",
    "DROP TRIGGER on_c",
    "PRAGMA user_version = 3",
    "VACUUM",
    "REINDEX",
]
WAL_ONLY = [f"PRAGMA wal_checkpoint({mode})" for mode in ("PASSIVE", "FULL", "RESTART", "TRUNCATE")]
MODES = ["PRAGMA journal_mode = DELETE", "PRAGMA journal_mode = WAL"]
BEGINS = ["BEGIN", "BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE", "SAVEPOINT s"]
Step = tuple[str, str]


@dataclass
class Script:
    """What each actor does, in which journal mode, and whether all use one connection."""

    wal: bool
    shared: bool
    steps: list[list[Step]]
    foreign_keys: bool = True

    def __str__(self) -> str:
        lines = [f"wal={self.wal} shared={self.shared} foreign_keys={self.foreign_keys}"]
        return "\n".join([*lines, *(f"  {'abc'[n]}: {steps}" for n, steps in enumerate(self.steps))])


def random_script(rng: random.Random, most: int = 4) -> Script:
    """Return a script of two or three actors."""
    wal, shared = rng.random() < 0.5, rng.random() < 0.15
    lengths = rng.choice([[most, most], [most, most - 1], [2, 2, 2], [3, 2, 1]] if most > 2 else [[2, 2], [3, 2], [1, 1, 1], [2, 1, 1]])
    kind = rng.choice(["plain", "cursors", "pragmas", "schema", "modes"])
    return Script(wal, shared, [_steps(rng, length, wal, kind) for length in lengths], rng.random() < 0.7)


def _steps(rng: random.Random, length: int, wal: bool, kind: str) -> list[Step]:
    steps: list[Step] = []
    if rng.random() < 0.5 and length > 2:
        begin = rng.choice(BEGINS)
        end = "RELEASE s" if begin.startswith("SAVE") else rng.choice(["COMMIT", "COMMIT", "ROLLBACK"])
        return [("run", begin), *_body(rng, length - 2, wal, kind), ("run", end)]
    steps += _body(rng, length, wal, kind)
    return steps


def _body(rng: random.Random, length: int, wal: bool, kind: str) -> list[Step]:
    if kind == "cursors" and length >= 2 and rng.random() < 0.7:
        middle = [_step(rng, wal, kind) for _ in range(length - 2)]
        return [("open", rng.choice(READS[:8])), *middle, (rng.choice(["fetch", "rest", "drop", "stop", "again", "close"]), "")]
    return [_step(rng, wal, kind) for _ in range(length)]


def _step(rng: random.Random, wal: bool, kind: str) -> Step:
    chance = rng.random()
    if kind == "schema" and chance < 0.4:
        return "run", rng.choice(SCHEMA)
    if kind == "pragmas" and chance < 0.15:
        return "version", ""
    if kind == "pragmas" and chance < 0.35:
        return "run", rng.choice(READS[10:])
    if kind == "modes" and chance < 0.35:
        return "run", rng.choice(WAL_ONLY if wal and chance < 0.25 else MODES)
    if chance > 0.92:
        return "inside", ""
    return "run", rng.choice(READS if rng.random() < 0.5 else WRITES)


class Runner:
    """Does the steps of one actor on a connection, and notes the results."""

    def __init__(self, connection: Any, versions: dict[int, Any]) -> None:
        self.connection = connection
        self.results: list[Hashable] = []
        self._cursor: Any = None
        self._started: Any = None
        self._versions = versions

    def do(self, step: Step) -> None:
        """Do one step."""
        verb, sql = step
        try:
            if verb == "execute":
                self._started = self.connection.execute(sql)
            elif verb not in ("fetched", "first", "versioned"):
                self.results.append(self._do(verb, sql))
            elif self._started is not None:
                started, self._started = self._started, None
                if verb == "versioned":
                    self.results.append(self._changed(started.fetchone()))
                    return
                self._cursor = started if verb == "first" else self._cursor
                self.results.append(_rows(started) if verb == "fetched" else tuple(started.fetchone() or ()))
        except sqlite3.Error as error:
            self.results.append(getattr(error, "sqlite_errorname", None) or f"{type(error).__name__}: {error}")

    def _do(self, verb: str, sql: str) -> Hashable:
        match verb:
            case "run":
                return _rows(self.connection.execute(sql))
            case "open":
                self._cursor = self.connection.execute(sql)
                return tuple(self._cursor.fetchone() or ())
            case "version":
                return self._changed(self.connection.execute("PRAGMA data_version").fetchone())
            case "inside":
                return bool(self.connection.in_transaction)
            case "close":
                return self.connection.close()
        if self._cursor is None:
            return None
        match verb:
            case "fetch":
                return tuple(self._cursor.fetchone() or ())
            case "rest":
                return tuple(self._cursor.fetchall())
            case "stop":
                self._cursor.close()
            case "again":
                return tuple(self._cursor.execute("SELECT 1").fetchall())
        self._cursor = None
        return None

    def _changed(self, version: Any) -> bool:
        last, self._versions[id(self.connection)] = self._versions.get(id(self.connection)), version
        return last is not None and last != version


def _rows(cursor: Any) -> Hashable:
    return () if cursor.description is None else tuple(cursor.fetchall())


def set_up(connect: Callable[[], Any], script: Script) -> None:
    """Make the database."""
    first = connect()
    if script.wal:
        first.execute("PRAGMA journal_mode = WAL").fetchall()
    first.executescript(SETUP)
    first.close()


def runners(connect: Callable[[], Any], script: Script) -> list[Runner]:
    """Open the connections."""
    versions: dict[int, Any] = {}
    made: list[Runner] = []
    for number in range(len(script.steps)):
        connection = made[0].connection if script.shared and number else connect()
        if not number or not script.shared:
            connection.execute(f"PRAGMA foreign_keys = {int(script.foreign_keys)}").fetchall()
        made.append(Runner(connection, versions))
    return made


def final(path: str, made: list[Runner]) -> Hashable:
    """Return the outcome: what each actor saw, and what is committed in the end."""
    for runner in made:
        runner._cursor = runner._started = None
        runner.connection.close()
    last = sqlite3.connect(path, isolation_level=None)
    tables = [name for [name] in last.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    rows = tuple((table, tuple(last.execute(f"SELECT * FROM {table} ORDER BY 1"))) for table in tables)
    last.close()
    return tuple(tuple(runner.results) for runner in made), rows


def really(script: Script, folder: str) -> dict[Hashable, list[int]]:
    """Run every interleaving for real; return the outcomes, each with an interleaving that leads to it."""
    pristine, path = os.path.join(folder, "pristine.db"), os.path.join(folder, "x.db")

    def connect(to: str = path) -> sqlite3.Connection:
        return sqlite3.connect(to, timeout=0, isolation_level=None)

    if not os.path.exists(pristine):
        set_up(lambda: connect(pristine), script)
    outcomes: dict[Hashable, list[int]] = {}
    for order in interleavings([len(steps) for steps in script.steps]):
        for suffix in ("", "-wal", "-shm", "-journal"):
            if os.path.exists(path + suffix):
                os.remove(path + suffix)
        shutil.copyfile(pristine, path)
        made, places = runners(connect, script), [0] * len(script.steps)
        for number in order:
            made[number].do(script.steps[number][places[number]])
            places[number] += 1
        outcomes.setdefault(final(path, made), order)
    return outcomes


def interleavings(left: list[int]) -> Iterator[list[int]]:
    """Yield every order of this many steps of each actor."""
    if not any(left):
        yield []
    for number, count in enumerate(left):
        if count:
            for rest in interleavings([*left[:number], count - 1, *left[number + 1 :]]):
                yield [number, *rest]


def finer(script: Script) -> Script:
    """Return the script with the fetching of rows as a step of its own, as it is for real threads."""
    ends = {"run": "fetched", "open": "first", "version": "versioned"}
    return replace(script, steps=[[part for step in steps for part in _parts(step, ends.get(step[0]))] for steps in script.steps])


def _parts(step: Step, end: str | None) -> list[Step]:
    return [step] if end is None else [("execute", step[1] or "PRAGMA data_version"), (end, "")]
