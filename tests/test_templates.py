"""A template gives each execution what making it anew would give: the same orderings and outcomes, at the price of one set-up."""

from __future__ import annotations

import collections
import contextlib
import os
import queue
import random
import socket
import sqlite3
import threading
import time
import uuid

import pytest

import simharness
from simharness import Settings, Verdict
from simharness.errors import Misuse

pytest_plugins = ("pytester",)


class Thing:
    """Holds what set-up makes; `log` is a bound method of a list, `bump` a closure."""

    def __init__(self, draw, path):
        self.values = {name: draw.randrange(3) for name in "abc"}
        self.queue = collections.deque(draw.choices(range(5), k=3))
        self.seen = set()
        self.lock = threading.RLock()
        self.log = [].append
        count = 0

        def bump():
            nonlocal count
            count += 1
            return count

        self.bump = bump
        self.other = None
        self.kind = draw.choice([sqlite3.Row, None])
        self.databases = [
            sqlite3.connect(where, isolation_level=draw.choice([None, ""]), check_same_thread=False) for where in (path, path, ":memory:")
        ]
        for database in self.databases[1:]:
            database.execute("PRAGMA foreign_keys=ON")
            database.row_factory = self.kind
            if database is self.databases[1] and draw.random() < 0.5:
                database.execute("PRAGMA journal_mode=WAL")
            database.execute("CREATE TABLE t(x)")
            database.execute("INSERT INTO t VALUES (1)")
            database.commit()

    def do(self, move, name):
        first, second, third = self.databases
        if move == "value":
            self.values[name] = self.values.get("a", 0) + 1
        elif move == "queue":
            self.queue.append(self.queue.popleft())
        elif move == "bump":
            self.log((name, self.bump()))
        elif move == "attribute":
            self.other, self.new = name, {name: self.other}
        elif move == "set":
            self.seen.add(len(self.seen))
        elif move == "insert":
            with self.lock:
                [count] = tuple(first.execute("SELECT count(*) FROM t").fetchone())
                second.execute("INSERT INTO t VALUES (?)", (count,))
                second.commit()
        else:
            with self.lock:
                third.execute("INSERT INTO t SELECT count(*) FROM t")
                third.commit()

    def state(self):
        rows = [[tuple(row) for row in database.execute("SELECT x FROM t ORDER BY rowid")] for database in self.databases]
        settings = [tuple(database.execute("PRAGMA foreign_keys").fetchone()) for database in self.databases]
        attributes = sorted(vars(self))
        return repr((self.values, self.queue, self.seen, self.log.__self__, self.bump(), self.other, rows, settings, attributes))


def random_program(seed, kept):
    draw = random.Random(seed)
    moves = ["value", "queue", "bump", "attribute", "set", "insert", "memory"]
    plan = {name: draw.choices(moves, k=draw.randrange(1, 4)) for name in "ab"}
    seed_of_set_up = draw.randrange(100)
    made = []

    def scenario(world):
        path = world.path("t.db")

        def build():
            made.append(1)
            time.sleep(3)
            return Thing(random.Random(seed_of_set_up), path)

        thing = world.template(build) if kept else build()

        def work(name):
            for move in plan[name]:
                thing.do(move, name)

        for name in plan:
            world.actor(name, work, name)

        @world.at_end
        def note():
            world.outcome((thing.state(), world.clock.elapsed_ns()))

    return scenario, made


def check(seed):
    (fresh, _), (kept, made) = (random_program(seed, kept) for kept in (False, True))
    settings = Settings(max_executions=400)
    expected, result = (simharness.explore(each, stop_on_first=False, settings=settings) for each in (fresh, kept))
    assert result.verdict is expected.verdict
    assert result.outcomes == expected.outcomes
    assert result.executions == expected.executions
    assert made == [1]


@pytest.mark.parametrize("seed", range(8))
def test_a_template_gives_what_set_up_makes(seed):
    check(seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(8, 158))
def test_a_template_gives_what_set_up_makes_at_length(seed):
    check(seed)


def both(world, work):
    for name in "ab":
        world.actor(name, work)


def test_ids_random_numbers_and_clocks_of_a_template_are_the_same_in_each_execution_and_differ_from_those_that_follow():
    def scenario(world):
        def build():
            thing = []
            return {"id": id(thing), "thing": thing, "uuid": str(uuid.uuid4()), "time": time.time()}

        made = world.template(build)
        assert made["id"] == id(made["thing"])
        later = str(uuid.uuid4())
        assert later != made["uuid"]
        world.outcome((made["id"], made["uuid"], made["time"], later))
        both(world, lambda: world.step("x", writes=["x"]))
        world.at_end(lambda: None)

    first, again = simharness.explore(scenario), simharness.explore(scenario)
    assert first.verdict is Verdict.VERIFIED
    assert len(first.outcomes) == 1
    assert first.outcomes == again.outcomes


def test_several_templates_and_one_within_a_function_are_told_apart():
    def scenario(world):
        lists = [world.template(lambda number=number: [number]) for number in range(3)]
        assert lists == [[0], [1], [2]]

        def work():
            for each in lists:
                each.append(0)
            world.step("x", writes=["x"])

        both(world, work)

    assert simharness.explore(scenario).verdict is Verdict.VERIFIED


def poll():
    while True:
        time.sleep(1)


REFUSED = {
    "an open file": lambda world: open(world.path("log"), "w", encoding="utf-8"),  # noqa: SIM115
    "an open cursor": lambda world: sqlite3.connect(":memory:").execute("SELECT 1"),
    "an open socket": lambda world: socket.socket(),
    "a running generator": lambda world: (each for each in range(3)),
    "starts a thread that does not end": lambda world: threading.Thread(target=queue.Queue().get, name="service", daemon=True).start(),
    "poll waits for sleep 1 s.*after 200,000 steps": lambda world: threading.Thread(target=poll, name="poll").start(),
    "a thread of the template, raised ZeroDivisionError": lambda world: threading.Thread(target=lambda: 1 // 0).start(),
    "leaves lock": lambda world: threading.Lock().acquire(),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_put_back_is_refused_by_the_name_of_the_attribute(what):
    opened = []

    def build(world):
        opened.append(REFUSED[what](world))
        return {"inner": opened[-1]}

    def scenario(world):
        world.template(lambda: build(world))
        both(world, lambda: world.step("x"))

    with pytest.raises(Misuse, match=what) as caught:
        simharness.explore(scenario, settings=Settings(outside="down"))
    assert "test_templates.py:" in str(caught.value)
    for each in opened:
        with contextlib.suppress(sqlite3.Error):
            getattr(each, "close", lambda: None)()
    assert ("open" not in what and "running" not in what) or "the template['inner']" in str(caught.value)


class Prewarmed:
    """What a real package's constructor does: a thread looks at the network and the environment, and leaves what it has found."""

    def __init__(self, moves):
        self.ready, self.free = threading.Event(), threading.Semaphore(0)
        self.queue, self.cache = queue.Queue(), {"network": None}
        self.threads = [threading.Thread(target=self.warm, args=(moves[k::2],), name=f"prewarm-{k}", daemon=k > 0) for k in range(2)]
        for thread in self.threads:
            thread.start()

    def warm(self, moves):
        try:
            socket.getaddrinfo("example.org", 443)
        except OSError as error:
            self.cache["network"] = type(error).__name__
        for move in moves:
            if move == "sleep":
                time.sleep(2)
            elif move == "put":
                self.queue.put(move)
            elif move == "release":
                self.free.release()
            elif move == "environment":
                os.environ["PREWARMED"] = str(len([name for name in os.environ if os.environ.get(name)]))
            else:
                self.cache[move] = len(self.cache)
        if not any(other.is_alive() for other in self.threads if other is not threading.current_thread()):
            self.ready.set()

    def state(self):
        free = 0
        while self.free.acquire(blocking=False):
            free += 1
        return repr((self.ready.is_set(), self.queue.qsize(), free, sorted(self.cache), [thread.is_alive() for thread in self.threads]))


def prewarmed(seed, kept):
    draw = random.Random(seed)
    moves = draw.choices(["sleep", "put", "release", "environment", "x", "y"], k=6)
    plan = {name: draw.choices(["put", "get", "release", "acquire", "join"], k=2) for name in "ab"}

    def scenario(world):
        def build():
            made = Prewarmed(moves)
            if not kept:
                for thread in made.threads:
                    thread.join()
            return made

        made = world.template(build) if kept else build()

        def work(name):
            assert made.ready.wait()
            for move in plan[name]:
                if move == "put":
                    made.queue.put(name)
                elif move == "get":
                    with contextlib.suppress(queue.Empty):
                        made.cache[name] = made.queue.get(timeout=1)
                elif move == "release":
                    made.free.release()
                elif move == "acquire":
                    made.free.acquire(timeout=1)
                else:
                    made.threads[0].join()

        for name in plan:
            if kept:
                world.actor(name, work, name)
            else:
                threading.Thread(target=work, args=(name,)).start()
        world.at_end(lambda: world.outcome(made.state()))

    return scenario


@pytest.mark.parametrize("seed", [0, 1, 2, 4])
def test_actors_meet_what_threads_of_a_template_leave_as_if_they_had_joined_them(seed):
    settings = Settings(outside="down", max_executions=1_500)
    fresh, kept = (simharness.explore(prewarmed(seed, kept), stop_on_first=False, settings=settings) for kept in (False, True))
    assert kept.verdict is Verdict.VERIFIED
    assert "threads of templates have ended before actors begin: prewarm-0, prewarm-1" in kept.bounds
    assert kept.outcomes >= fresh.outcomes
    if fresh.verdict is Verdict.VERIFIED:
        assert kept.outcomes == fresh.outcomes


def test_what_a_template_raises_after_it_has_started_a_thread_is_raised_in_set_up():
    def scenario(world):
        def build():
            threading.Thread(target=time.sleep, args=(1,)).start()
            raise LookupError("no configuration")

        world.template(build)

    with pytest.raises(Misuse, match="raised LookupError during set-up: no configuration"):
        simharness.explore(scenario)


def test_a_transaction_that_a_template_leaves_open_is_refused():
    def scenario(world):
        def build():
            database = sqlite3.connect(world.path("x.db"))
            database.execute("CREATE TABLE t(x)")
            database.execute("INSERT INTO t VALUES (1)")
            return database

        world.template(build)
        both(world, lambda: world.step("x"))

    with pytest.raises(Misuse, match="leaves a transaction open"):
        simharness.explore(scenario)


def test_an_actor_makes_no_template():
    def scenario(world):
        both(world, lambda: world.template(list))

    with pytest.raises(Misuse, match="in set-up"):
        simharness.explore(scenario)


@pytest.mark.confirms
def test_a_counterexample_is_replayed_from_its_token():
    def scenario(world):
        store = world.template(lambda: {"left": 1, "cell": None})
        cell = world.shared(0, "cell")

        def take():
            if store["left"] > cell.get():
                cell.set(cell.get() + 1)
                store["left"] -= 1

        both(world, take)

        @world.at_end
        def one():
            assert store["left"] == 0

    result = simharness.explore(scenario)
    assert result.verdict is Verdict.VIOLATED
    assert simharness.replay(scenario, result.counterexample.token).failure == result.counterexample.failure


def test_a_fixture_declares_a_template(pytester):
    pytester.makepyfile(
        """
        import sqlite3, threading
        import pytest

        BUILT = []

        @pytest.fixture
        def store(interleave_template, tmp_path):
            def build():
                BUILT.append(1)
                database = sqlite3.connect(tmp_path / "x.db", isolation_level=None, check_same_thread=False)
                database.execute("CREATE TABLE t(x)")
                (tmp_path / "config").write_text("one")
                return {"database": database, "items": []}

            return interleave_template(build)

        def both(work):
            threads = [threading.Thread(target=work) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        @pytest.mark.interleave
        def test_explored(store, tmp_path):
            assert store["items"] == [] and (tmp_path / "config").read_text() == "one"
            (tmp_path / "config").write_text("two")

            def work():
                store["items"].append(1)
                store["database"].execute("INSERT INTO t VALUES (1)")

            both(work)
            assert store["database"].execute("SELECT count(*) FROM t").fetchone() == (2,)
            assert len(store["items"]) == 2

        @pytest.mark.interleave
        def test_fails(store):
            def work():
                [count] = store["database"].execute("SELECT count(*) FROM t").fetchone()
                store["database"].execute("INSERT INTO t VALUES (?)", (count,))

            both(work)
            assert store["database"].execute("SELECT x FROM t ORDER BY x").fetchall() == [(0,), (1,)]

        def test_plain(store):
            assert store["items"] == []
            store["database"].close()
        """
    )
    result = pytester.runpytest("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*the failing ordering*"])
