"""Random programs of several processes under random fault models: reduction comes to what brute force comes to.

Processes share cells and a database; each has threads and a lock of its own. A program and its fault model are drawn from a seed.
"""

import contextlib
import random
import sqlite3
import threading
import time

import pytest

import simharness
from simharness.runtimes import control

PLAIN = ("read", "read", "set", "add", "cas", "try", "lock", "choose")
TIMED = ("sleep", "sleep", "clock", "timed", "await")
SQL = ("count", "insert", "transaction")


def failing(cell):
    """Count a call: what `error` faults replace."""
    return cell.add(10)


def draw(rng, names):
    """Draw what one actor does."""
    return [(rng.choice(names), rng.randrange(2), rng.choice((0.5, 1.0, 2.0, 8.0))) for _ in range(rng.randint(1, 3))]


class Process:
    """What the actors of one process share, and how they work."""

    def __init__(self, world, seen, path):
        self.world = world
        self.seen = seen
        self.path = path
        self.lock = threading.Lock()
        self.event = threading.Event()
        self.cells = world.shared(0, "c0"), world.shared(0, "c1")

    def run(self, name, todo):
        """Do what was drawn, noting what is seen; a failed statement ends the actor."""
        seen = self.seen.setdefault(name, [])
        with contextlib.ExitStack() as stack:
            connection = None
            if any(what in SQL for what, _, _ in todo):
                connection = sqlite3.connect(self.path, timeout=30, isolation_level=None)
                stack.callback(connection.close)
            for number, (what, which, span) in enumerate(todo):
                if what == "daemon":
                    self.help(which, self.seen.setdefault(f"{name}, helper {number}", []))
                    continue
                try:
                    self.one(what, which, span, seen, connection)
                except (sqlite3.OperationalError, OSError) as error:
                    seen.append(getattr(error, "sqlite_errorname", "") or type(error).__name__)
            seen.append("end")

    def help(self, which, seen):
        """Start a daemon that notes what it sees in a list of its own."""
        threading.Thread(target=lambda: (self.cells[which].add(1), seen.append(self.cells[1 - which].get())), daemon=True).start()

    def one(self, what, which, span, seen, connection):
        """Do one thing."""
        cell = self.cells[which]
        if what == "lock":
            with self.lock:
                seen.append(cell.add(1))
        elif what == "try":
            got = self.lock.acquire(blocking=False)
            seen.append(got)
            if got:
                cell.set(3)
                self.lock.release()
        elif what == "timed":
            seen.append(self.lock.acquire(timeout=span))
        elif what == "transaction":
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("INSERT INTO t VALUES (?)", (which,))
                seen.append(cell.get())
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        else:
            seen.append(self.simple(what, which, span, cell, connection))

    def simple(self, what, which, span, cell, connection):
        """Return what a simple thing comes to."""
        calls = {
            "read": cell.get,
            "set": lambda: cell.set(2),
            "add": lambda: cell.add(1),
            "cas": lambda: cell.compare_and_set(0, 1),
            "call": lambda: failing(cell),
            "choose": lambda: self.world.choose([0, 1]),
            "sleep": lambda: time.sleep(span),
            "clock": lambda: round(time.time() - 1_767_225_600, 2),
            "monotonic": lambda: round(time.monotonic(), 2),
            "await": lambda: self.event.wait(span),
            "signal": self.event.set,
            "wait": lambda: cell.wait_until(bool),
            "count": lambda: connection.execute("SELECT count(*) FROM t").fetchone()[0],
            "insert": lambda: connection.execute("INSERT INTO t VALUES (?)", (which,)).rowcount,
        }
        return calls[what]()


def scenario(seed, names, checked=False, bad=None):
    """Return the program of this seed; it fails when it comes to the outcome `bad`."""
    rng = random.Random(seed)
    layout = rng.choice((["P", "Q"], ["P", "Q"], ["P", "P"], ["P", "P", "Q"]))
    programs = [draw(rng, names) for _ in layout]
    again = draw(rng, [name for name in names if name not in ("sleep", "timed")] or names) if rng.random() < 0.4 else None
    sql = any(what in SQL for todo in (*programs, again or ()) for what, *_ in todo if todo)
    max_delay, timescale = rng.choice([0, 1.0, 5.0]), rng.choice([None, 1.0, 6.0]) if "clock" in names else None

    @simharness.scenario(max_delay=max_delay, allow_deadlock=True)
    def program(world):
        if timescale is not None:
            world.timescale(timescale)
        path = world.path("some.db")
        if sql:
            connection = sqlite3.connect(path, isolation_level=None)
            connection.executescript("PRAGMA journal_mode=WAL; CREATE TABLE t (x);")
            connection.close()
        seen = {}
        processes = {name: Process(world, seen, path) for name in dict.fromkeys(layout)}
        for number, (name, todo) in enumerate(zip(layout, programs, strict=True)):
            world.actor(f"a{number}", processes[name].run, f"a{number}", todo, process=name)
        if again is not None:
            world.on_restart("P", lambda: Process(world, seen, path).run("again", again))
        if checked:

            @world.always
            def never_two_and_none():
                assert (world.shared(0, "c0").get(), world.shared(0, "c1").get()) != (2, 0)

        @world.at_end
        def what_was_seen():
            rows = ()
            if sql:
                connection = sqlite3.connect(path)
                rows = tuple(connection.execute("SELECT x FROM t ORDER BY rowid"))
                connection.close()
            outcome = repr((sorted(seen.items()), [world.shared(0, name).get() for name in ("c0", "c1")], rows))
            world.outcome(outcome)
            assert outcome != bad

    return program


def both(program, faults, limits, told):
    """Explore by reduction and by brute force, which must agree; return both results, or None where brute force reached its limit."""
    everything = simharness.explore(program, strategy="exhaustive", faults=faults, stop_on_first=False, settings=limits)
    if everything.executions >= limits.max_executions:
        return None
    reduced = simharness.explore(program, "dpor", faults=faults, stop_on_first=False, settings=limits)
    assert reduced.outcomes == everything.outcomes, told
    assert (reduced.deadlocks > 0) == (everything.deadlocks > 0), told
    assert reduced.verdict == everything.verdict, told
    return reduced, everything


def compare(seed, names, faults, checked=False, most=1_200):
    """Explore both ways and compare; False when brute force would take more executions than `most`."""
    limits = simharness.Settings(max_executions=most, shrink=0, max_steps=400)
    found = both(scenario(seed, names, checked), faults, limits, f"seed {seed}, {faults}")
    if found is None:
        return False
    reduced, everything = found
    assert reduced.executions <= everything.executions, f"seed {seed}, {faults}"
    assert reduced.redundant == 0 or "daemon" in names, f"seed {seed}, {faults}"
    return True


MODELS = {
    "crash=1": (*PLAIN, "wait"),
    "crash=2": (*PLAIN, "wait"),
    "crash=1@P": (*SQL, "read", "add"),
    "stall=1": (*PLAIN, *TIMED, *TIMED, "signal"),
    "stall=2": ("read", "set", "sleep", "sleep", "clock"),
    "suspend=1": (*PLAIN, *TIMED, "monotonic", "signal"),
    "clock_jump=2@3": ("read", "set", "sleep", "clock", "clock", "monotonic"),
    "db_error=1": (*SQL, "read", "add"),
    "error=1@failing:OSError": (*PLAIN, "call", "call", "call"),
    "crash=1,stall=1": ("read", "set", "add", "sleep", "clock", "await", "lock"),
    "crash=1,lost_ack=1": (*SQL, "read", "add"),
    "crash=1,error=1@failing:OSError": (*PLAIN, "call", "call"),
    "crash=1,stall=2": ("read", "set", "add", "sleep", "daemon", "daemon"),
    "suspend=1,clock_jump=1": ("read", "sleep", "clock", "monotonic", "timed"),
}
"""Fault models, and the instructions of the programs that they are tried on."""


@pytest.mark.parametrize("faults", MODELS)
def test_random_programs_under_faults_come_to_the_same_with_and_without_reduction(faults):
    with control.installed():
        assert sum(compare(seed, MODELS[faults], faults, checked=seed % 7 == 0, most=150) for seed in range(1, 8)) >= 2


@pytest.mark.long
@pytest.mark.parametrize("faults", MODELS)
def test_many_random_programs_under_faults_come_to_the_same_with_and_without_reduction(faults):
    with control.installed():
        assert sum(compare(seed, MODELS[faults], faults, checked=seed % 7 == 0) for seed in range(1_000, 1_040)) > 15
