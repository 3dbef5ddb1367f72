"""Scenarios whose failing execution is the same on every Python, and some of which it cannot be promised. Needs nothing but simharness.

As a program it prints, for each portable scenario, its token and trace hash: `python tests/portable.py > tests/portable.json` when they
are meant to change. Given a file of those, it replays each token instead and prints the trace hashes.
"""

from __future__ import annotations

import json
import queue
import random
import sqlite3
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import simharness


def fails(world: Any, holds: Any, message: str = "as it must in some ordering") -> None:
    def check() -> None:
        assert holds(), message

    world.at_end(check)


def cells(world):
    cell, flag = world.shared(0, "cell"), world.shared({"b", "a"}, "flag")

    def bump(name):
        cell.set(cell.get() + world.choose([1, 2], "how much"))
        flag.swap({name, "x", "y"})
        world.clock.sleep(1.5)

    for name in ("first", "second"):
        world.actor(name, bump, name)
    fails(world, lambda: cell.get() > 2)


def locks(world):
    lock, condition = threading.RLock(), threading.Condition()
    event, semaphore, barrier = threading.Event(), threading.Semaphore(2), threading.Barrier(2)
    done = world.shared(0, "done")

    def work(first):
        with semaphore, lock:
            seen = done.get()
        barrier.wait()
        if first:
            event.set()
            with condition:
                condition.notify_all()
        else:
            event.wait(2.0)
            with condition:
                condition.wait(1.0)
        done.set(seen + 1)

    threads = [threading.Thread(target=work, args=(first,)) for first in (True, False)]

    def starts():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    world.actor("starts", starts)
    fails(world, lambda: done.get() == 2)


def deadlocked(world):
    first, second = threading.Lock(), threading.Lock()

    def both(one, two):
        with one, two:
            pass

    world.actor("a", both, first, second)
    world.actor("b", both, second, first)


def queues(world):
    jobs: Any = queue.Queue(maxsize=1)
    taken = world.shared((), "taken")

    def puts(name):
        jobs.put(name)

    def takes():
        for _ in range(2):
            taken.set((*taken.get(), jobs.get()))

    world.actor("a", puts, "a")
    world.actor("b", puts, "b")
    world.actor("takes", takes)
    fails(world, lambda: taken.get() == ("b", "a"))


def database(world):
    path = world.path("state.db")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.executescript("CREATE TABLE sessions(id INTEGER PRIMARY KEY, parent TEXT, path TEXT); CREATE INDEX i ON sessions(parent);")
    connection.close()

    def work(name):
        own = sqlite3.connect(path, isolation_level=None, timeout=1.0)
        children = own.execute("SELECT count(*) FROM sessions WHERE parent = 'p'").fetchone()[0]
        if not children:
            own.execute("BEGIN IMMEDIATE")
            own.execute("INSERT INTO sessions(parent, path) VALUES ('p', ?)", (f"{name} in {path}",))
            own.execute("COMMIT")
        own.close()

    def rows():
        return sqlite3.connect(path).execute("SELECT count(*) FROM sessions").fetchone()[0]

    world.actor("main_turn", work, "main_turn")
    world.actor("review_fork", work, "review_fork")
    fails(world, lambda: rows() == 1)


def shared_connection(world):
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.execute("CREATE TABLE t(x)")

    def work(number):
        with connection:
            connection.execute("INSERT INTO t VALUES (?)", (number,))
        if number == 2:
            raise RuntimeError(f"number {number} cannot be had")

    world.actor("a", work, 1)
    world.actor("b", work, 2)


def draws(world):
    world.actor("a", lambda: world.step(f"drew {random.randrange(1000)}"))
    fails(world, lambda: False)


def shuffles(world):
    world.actor("a", lambda: world.step(f"{random.Random(5).sample(range(9), 3)}"))
    fails(world, lambda: False)


def pools(world):
    def work():
        with ThreadPoolExecutor(1) as executor:
            executor.submit(int).result()

    world.actor("a", work)
    fails(world, lambda: False)


def stumbles(world):
    world.actor("a", lambda: world.step("x") + 1)


PORTABLE = (cells, locks, deadlocked, queues, database, shared_connection)
VERSIONED = (draws, shuffles, pools, stumbles)


def found(scenarios=PORTABLE):
    """Return token and trace hash of the counterexample of each scenario."""
    result = {}
    for scenario in scenarios:
        counterexample = simharness.explore(scenario).counterexample
        result[scenario.__name__] = {"token": counterexample.token, "hash": counterexample.trace_hash}
    return result


def replayed(known):
    """Replay these tokens; return their trace hashes, or the refusal."""
    result = {}
    for name, told in known.items():
        try:
            result[name] = simharness.replay(globals()[name], told["token"]).trace_hash
        except simharness.TokenError as error:
            result[name] = str(error)
    return result


if __name__ == "__main__":
    if len(sys.argv) > 1:
        with open(sys.argv[1], encoding="utf-8") as file:
            print(json.dumps(replayed(json.load(file)), indent=2))
    else:
        print(json.dumps(found(), indent=2))
