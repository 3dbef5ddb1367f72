"""A driver for small SQL programs: every ordering by both strategies, with the outcomes and the number of executions."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import simharness
from simharness.authoring.world import World

Body = Callable[[sqlite3.Connection], Hashable]


@dataclass
class Explored:
    """What exploring came to."""

    orderings: int
    interleavings: int
    redundant: int
    outcomes: frozenset[Hashable]


def both(scenario: Callable[[World], Any], exact: bool = True) -> Explored:
    """Explore by reduction and by brute force; the outcomes must be the same."""
    settings = simharness.Settings(max_executions=20_000)
    reduced = simharness.explore(scenario, strategy="dpor", stop_on_first=False, settings=settings)
    brute = simharness.explore(scenario, strategy="exhaustive", stop_on_first=False, settings=settings)
    assert reduced.counterexample is None, reduced.counterexample.timeline
    assert reduced.outcomes == brute.outcomes
    if exact:
        assert reduced.redundant == 0
    return Explored(reduced.executions, brute.executions, reduced.redundant, frozenset(reduced.outcomes))


def program(*bodies: Body, wal: bool = True, shared: bool = False, timeout: float = 30.0) -> Callable[[World], None]:
    """Return a scenario in which each body runs on a connection of its own, or all on one, over tables t and u with x = 0.

    Its outcome: what the bodies returned, then x of both tables.
    """

    def scenario(world: World) -> None:
        path = world.path("x.db")

        def opened() -> sqlite3.Connection:
            return sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)

        first = opened()
        if wal:
            first.execute("PRAGMA journal_mode=WAL")
        first.executescript("CREATE TABLE t(x); CREATE TABLE u(x); INSERT INTO t VALUES (0); INSERT INTO u VALUES (0);")
        connections = [first if shared else opened() for _ in bodies]
        results: dict[int, Hashable] = {}

        def run(number: int) -> None:
            results[number] = bodies[number](connections[number])

        for number in range(len(bodies)):
            world.actor("abc"[number], run, number)

        @world.at_end
        def told() -> None:
            x = [first.execute(f"SELECT x FROM {table}").fetchone()[0] for table in "tu"]
            world.outcome((*[results[number] for number in range(len(bodies))], *x))

    return scenario


def refusal(error: sqlite3.Error) -> str:
    """The name of the library's error, as SQLITE_BUSY_SNAPSHOT."""
    return str(error.sqlite_errorname)
