"""Which timed waits a stall of the process uses up: those with a deadline on the monotonic clock, not SQLite's busy handler."""

from __future__ import annotations

import sqlite3
import threading
import time

import pytest

import simharness
from simharness.authoring.world import World


@pytest.mark.parametrize("wal", [True, False])
def test_a_stall_does_not_use_up_the_busy_timeout(wal: bool) -> None:
    def scenario(world: World) -> None:
        path = world.path("x.db")
        setup = sqlite3.connect(path, isolation_level=None)
        if wal:
            setup.execute("PRAGMA journal_mode=WAL").fetchall()
        setup.execute("CREATE TABLE t (n INTEGER)")
        setup.execute("INSERT INTO t VALUES (0)")
        setup.close()

        def holder() -> None:
            connection = sqlite3.connect(path, isolation_level=None)
            time.sleep(31)
            for sql in ("BEGIN IMMEDIATE", "UPDATE t SET n = n + 1", "COMMIT"):
                connection.execute(sql)

        def writer() -> None:
            connection = sqlite3.connect(path, isolation_level=None)
            time.sleep(15)
            connection.execute("UPDATE t SET n = n + 1")

        world.actor("holder", holder, process="p1")
        world.actor("writer", writer, process="p2")

    result = simharness.explore(scenario, faults="stall=1@p2")
    assert result.verdict is simharness.Verdict.VERIFIED, result.counterexample
    assert result.executions > 1


@pytest.mark.parametrize("sleeps", [False, True])
def test_a_stall_uses_up_the_timeout_of_a_lock(sleeps: bool) -> None:
    """Lateness cannot make a lock that is held for 8 s miss a wait from 4 s until 24 s; a stall until 30 s can."""

    def scenario(world: World) -> None:
        lock = threading.Lock()
        taken: list[bool] = []

        def holder() -> None:
            with lock:
                time.sleep(8)

        def waiter() -> None:
            time.sleep(4)
            taken.append(lock.acquire(timeout=20))

        def sleeper() -> None:
            time.sleep(30)

        world.actor("holder", holder, process="p")
        world.actor("waiter", waiter, process="p")
        world.actor("other", sleeper, process="q")

        @world.at_end
        def outcome() -> None:
            world.outcome(*taken)

    result = simharness.explore(scenario, faults="stall=1@p" if sleeps else None, stop_on_first=False)
    assert result.outcomes == ({True, False} if sleeps else {True})
