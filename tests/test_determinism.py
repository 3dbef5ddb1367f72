"""Planted leaks: what could make equal choices give different runs is flagged, with the first difference, or controlled. Never "verified".

*Flagged*: exploring ends in `Nondeterminism`. *Controlled*: the leak has no effect, and the test says which result is always the same.
Every leak stands alone in a scenario that would be verified without it.
"""

from __future__ import annotations

import _thread
import concurrent.futures
import contextlib
import ctypes
import gc
import itertools
import logging
import os
import random
import re
import sqlite3
import sys
import tempfile
import threading
import time
from time import sleep

import pytest

import simharness
from simharness import Nondeterminism, Verdict
from simharness.authoring.loading import load
from simharness.runtimes.control import installed

CLOCKS = (time.time_ns, time.monotonic_ns)
"""References that no runtime replaces, since they are kept in a tuple."""
REAL_RANDOM = (random.random, os.urandom)


@pytest.fixture(scope="module", autouse=True)
def _runtimes_in_place():
    with installed():
        yield


def writes(value):
    """A scenario in which an actor writes what `value(world)` returns to a cell; nothing else depends on it."""

    def scenario(world):
        cell = world.shared(None, "cell")
        world.actor("a", lambda: cell.set(value(world)))
        world.actor("b", world.step, "other")

    return scenario


def flagged(scenario, words=r"step \d+ \(.*: values\) was «cell = .*» and, repeated with the same choices, «cell = .*»"):
    with pytest.raises(Nondeterminism, match=words) as found:
        simharness.explore(scenario)
    return found.value


@pytest.fixture
def unraisable(monkeypatch):
    """What finalisers raise when the connection that they want is gone is of no interest here."""
    monkeypatch.setattr(sys, "unraisablehook", lambda what: None)
    yield
    kept.clear()
    gc.collect()


# Clocks


def test_a_real_clock_reached_around_the_patches_is_flagged_where_its_value_is_written():
    error = flagged(writes(lambda world: CLOCKS[0]()))
    assert re.search(r"test_determinism\.py:\d+", str(error)), "names the line"


def test_a_real_clock_of_the_c_library_is_flagged():
    class Moment(ctypes.Structure):
        _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]

    def now(world):
        moment = Moment()
        ctypes.CDLL(None).clock_gettime(1, ctypes.byref(moment))
        return moment.seconds * 10**9 + moment.nanoseconds

    flagged(writes(now))


@pytest.mark.alone
def test_a_sleep_bound_before_the_simulation_is_controlled():
    """It sleeps in virtual time: the clock shows it."""

    def naps(world):
        before = time.monotonic()
        sleep(2.0)
        return time.monotonic() - before

    result = simharness.explore(writes(naps))
    assert result.verdict is Verdict.VERIFIED


# Randomness


@pytest.mark.parametrize("draw", [lambda *_: REAL_RANDOM[0](), lambda: REAL_RANDOM[1](4), lambda: next(seeded_before)])
def test_real_randomness_is_flagged(draw):
    flagged(writes(lambda world: draw()))


seeded_before = (random.Random(5).random() + number for number in itertools.count())


def test_randomness_that_only_decides_whether_to_log_is_flagged_by_the_log():
    def scenario(world):
        world.actor("a", lambda: (world.step("x"), logging.getLogger("leak").info("drew %s", REAL_RANDOM[0]())))

    flagged(scenario, r"step 1 \(a step x: log\) was «INFO leak: drew .*» and, repeated")


def test_a_handler_of_the_code_under_test_is_not_shown_what_only_a_trace_wants(monkeypatch):
    """Keeping a trace lowers the root logger's level; a handler that makes steps makes the same ones without it."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    monkeypatch.setattr(root, "level", logging.WARNING)

    def scenario(world):
        lines = world.shared(0, "lines")

        class Counts(logging.Handler):
            def emit(self, record):
                lines.add(1)

        for left in [handler for handler in root.handlers if type(handler).__name__ == "Counts"]:
            root.removeHandler(left)  # of an execution that was given up
        handler = Counts()
        root.addHandler(handler)

        def work():
            world.step("begins")
            logging.getLogger("program").info("not wanted")
            logging.getLogger("program").warning("wanted")

        world.actor("a", work)
        world.actor("b", work)

        @world.at_end
        def two_lines():
            root.removeHandler(handler)
            world.outcome(lines.get())
            assert lines.get() != 2

    found = simharness.explore(scenario).counterexample
    assert [line for step in found.steps for line in step.log].count("INFO program: not wanted") >= 1
    assert simharness.replay(scenario, found.token).trace_hash == found.trace_hash


# Addresses and hashes


class Thing:
    def __init__(self):
        self.content = None


def test_an_id_is_the_same_in_each_execution():
    assert simharness.explore(writes(lambda world: {id(Thing()): "thing"})).verdict is Verdict.VERIFIED

    def scenario(world):
        thing = Thing()
        for name in "ab":
            world.actor(name, lambda: world.step("x", writes=[f"thing {id(thing)}"]))
        world.at_end(lambda: None)

    assert simharness.explore(scenario).verdict is Verdict.VERIFIED


def test_an_address_in_a_repr_is_controlled():
    """It is left out of every comparison."""
    assert simharness.explore(writes(lambda world: Thing())).verdict is Verdict.VERIFIED
    assert simharness.explore(writes(lambda world: repr(Thing()))).verdict is Verdict.VERIFIED


def test_the_order_of_a_set_of_objects_is_flagged():
    def order(world):
        things = [Thing() for _ in range(20)]
        for number, thing in enumerate(things):
            thing.content = number
        return [thing.content for thing in set(things)]

    flagged(writes(order))


def test_a_set_as_a_value_is_controlled():
    """Its elements are compared, not the order in which it happens to show them."""
    assert simharness.explore(writes(lambda world: {"alpha", "beta", "gamma", ("delta",)})).verdict is Verdict.VERIFIED


# State that outlives an execution

kept: list[object] = []


@pytest.fixture(autouse=True)
def _nothing_kept():
    kept.clear()


def test_module_state_that_survives_an_execution_is_flagged():
    def remembers(world):
        kept.append("execution")
        return len(kept)

    flagged(writes(remembers))


def test_module_state_that_shows_only_in_a_row_of_a_database_is_flagged():
    def scenario(world):
        connection = sqlite3.connect(world.path("x.db"), check_same_thread=False, isolation_level=None)
        connection.execute("CREATE TABLE t(x)")

        def inserts():
            kept.append("execution")
            connection.execute("INSERT INTO t VALUES (?)", (len(kept),))

        world.actor("a", inserts)

    flagged(scenario, r"the same steps ended with rows of x\.db t «\(1,\)» and, repeated with the same choices, «\(2,\)»")


def test_state_that_changes_late_is_flagged_when_exploring_is_over():
    """A cache that is full after seven executions: neither the first execution nor its repetition meets it."""

    def scenario(world):
        cell = world.shared(None, "cell")

        def caches():
            kept.append("execution")
            cell.set("hit" if len(kept) > 7 else "miss")

        world.actor("a", caches)
        for name in "bcd":
            world.actor(name, world.step, name, (), ["x"])

    flagged(scenario, r"values\) was «cell = 'miss'» and, repeated with the same choices, «cell = 'hit'»")


def test_an_instance_counter_is_flagged():
    class Store:
        instances = 0

        def __init__(self):
            Store.instances += 1
            self.name = f"store {Store.instances}"

    def scenario(world):
        store = Store()
        world.actor("a", lambda: world.step(store.name))

    flagged(scenario, "step 1 was «a step store 1» and, repeated with the same choices, «a step store 2»")


LAZY = "simharness_lazily_imported"


def lazily(tmp_path, monkeypatch, body):
    (tmp_path / f"{LAZY}.py").write_text(body, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, LAZY, raising=False)

    def imports(world):
        known = LAZY in sys.modules
        return known, __import__(LAZY).VALUE

    return imports


@pytest.mark.alone
def test_a_lazily_imported_module_that_would_make_steps_is_controlled_because_imports_are_no_part_of_an_execution(tmp_path, monkeypatch):
    imports = lazily(tmp_path, monkeypatch, "import time\nVALUE = time.time() > 0\n")
    result = simharness.explore(writes(lambda world: imports(world)[1]))
    assert (result.verdict, result.executions) == (Verdict.VERIFIED, 1)


@pytest.mark.alone
def test_a_lazily_imported_module_whose_absence_shows_is_flagged(tmp_path, monkeypatch):
    imports = lazily(tmp_path, monkeypatch, "VALUE = 5\n")
    flagged(writes(lambda world: imports(world)[0]), "«cell = False» and, repeated with the same choices, «cell = True»")


@pytest.mark.alone
def test_a_lazily_imported_module_that_only_has_values_is_controlled(tmp_path, monkeypatch):
    """Importing is no step, so the executions before and after it are the same."""
    imports = lazily(tmp_path, monkeypatch, "VALUE = 5\n")
    assert simharness.explore(writes(lambda world: imports(world)[1])).verdict is Verdict.VERIFIED


def test_a_generator_left_over_from_the_last_execution_is_flagged(unraisable):
    def scenario(world):
        cell = world.shared(0, "cell")

        def held():
            try:
                yield
            finally:
                cell.add(1)

        def work():
            generator = held()
            next(generator)
            kept[:] = [generator]
            world.step("x")

        world.actor("a", work)

    flagged(scenario, "step|steps")


def test_a_generator_left_over_that_touches_nothing_is_controlled():
    def scenario(world):
        cell = world.shared(0, "cell")

        def held():
            with contextlib.suppress(GeneratorExit):
                yield

        def work():
            generator = held()
            next(generator)
            kept[:] = [generator]
            cell.add(1)

        world.actor("a", work)
        world.actor("b", work)

    assert simharness.explore(scenario).verdict is Verdict.VERIFIED


# Threads, files, finalisers


@pytest.mark.alone
def test_a_thread_that_is_started_below_the_threading_module_is_controlled():
    """It is an actor like others: every ordering of it is explored."""

    def scenario(world):
        cell = world.shared(0, "cell")

        def starts():
            for _ in range(2):
                _thread.start_new_thread(lambda: cell.set(cell.get() + 1), ())

        world.actor("a", starts)
        world.at_end(lambda: world.outcome(cell.get()))

    assert simharness.explore(scenario).outcomes == {1, 2}


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.alone
def test_an_executor_that_was_there_before_is_refused(used):
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        if used:
            executor.submit(int).result()

        def scenario(world):
            world.actor("a", lambda: executor.submit(int))

        with pytest.raises(simharness.Refused, match=r"test_determinism\.py:\d+: a called ThreadPoolExecutor\.submit"):
            simharness.explore(scenario)


@pytest.mark.alone
def test_what_a_real_thread_that_was_there_before_changes_is_flagged():
    stop, rounds = threading.Event(), itertools.count()
    seen = [0]

    def counts():
        while not stop.is_set():
            seen[0] = next(rounds)

    thread = threading.Thread(target=counts)
    thread.start()
    try:

        def reads(world):
            before = seen[0]
            while seen[0] == before:
                pass
            return seen[0]

        flagged(writes(reads))
    finally:
        stop.set()
        thread.join()


def test_a_real_thread_that_uses_a_cell_is_refused():
    """It is no actor, so its steps cannot be scheduled."""
    started, ended = [], []
    cells: list[simharness.Cell] = []
    told: list[str] = []

    def uses():
        while not started:
            pass
        try:
            cells[0].set("by a real thread")
        except simharness.Misuse as error:
            told.append(str(error))
        ended.append(True)

    thread = threading.Thread(target=uses, daemon=True)
    thread.start()

    def scenario(world):
        cells[:] = [world.shared(None, "cell")]

        def work():
            started.append(True)
            while not ended:
                pass
            world.step("after")

        world.actor("a", work)

    with pytest.raises(simharness.Misuse, match=r"test_determinism\.py:\d+: <set cell cell> by a real thread from outside the simulation"):
        simharness.explore(scenario)
    thread.join()
    assert told


@pytest.mark.parametrize(
    "path",
    [
        lambda world: world.path("state.db"),
        lambda world: tempfile.mkdtemp(),
        lambda world: tempfile.gettempdir(),
        lambda world: os.path.join(tempfile.gettempdir(), f"{os.getpid()}-{threading.get_ident()}"),
    ],
)
def test_a_temporary_path_in_a_value_is_controlled(path):
    """It is the same in every execution of a process, and left out where traces of several are compared."""

    def failing(world):
        writes(path)(world)
        world.at_end(fail)

    found = {simharness.explore(failing).counterexample.trace_hash for _ in range(2)}
    assert len(found) == 1


def fail():
    raise AssertionError("as it must")


class Closes:
    """A part of a cycle, whose finaliser writes to a database."""

    def __init__(self, path):
        self.myself = self
        self.path = path

    def __del__(self):
        connection = sqlite3.connect(self.path, isolation_level=None)
        connection.execute("INSERT INTO t VALUES ('finaliser')")
        connection.close()


def with_finaliser(collects):
    def scenario(world):
        path = world.path("x.db")
        connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        connection.execute("CREATE TABLE IF NOT EXISTS t(x)")

        def work(name):
            connection.execute("INSERT INTO t VALUES (?)", (name,))
            Closes(path)
            if collects:
                gc.collect()

        world.actor("a", work, "a")
        world.actor("b", work, "b")
        world.at_end(lambda: world.outcome(connection.execute("SELECT count(*) FROM t").fetchone()[0]))

    return scenario


def test_garbage_collection_that_runs_a_finaliser_with_a_database_is_controlled(unraisable):
    """Nothing is collected while an execution runs, whatever it allocates."""
    result = simharness.explore(with_finaliser(collects=False))
    assert (result.verdict, result.outcomes) == (Verdict.VERIFIED, {2})
    gc.collect()


def test_a_finaliser_that_makes_steps_in_a_collection_of_the_code_under_test_is_explored_in_every_order(unraisable):
    """While the finaliser of one actor waits its turn, the collection of the other one finds that one is under way and does nothing."""
    for strategy in ("dpor", "exhaustive"):
        result = simharness.explore(with_finaliser(collects=True), strategy, stop_on_first=False)
        assert (result.verdict, result.outcomes, result.executions) == (Verdict.VERIFIED, {3, 4}, 4)


def test_a_finaliser_of_the_last_execution_that_runs_in_the_next_is_flagged(unraisable):
    def scenario(world):
        path = world.path("x.db")
        connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        connection.execute("CREATE TABLE t(x)")

        def work():
            kept.clear()
            connection.execute("INSERT INTO t VALUES (1)")
            kept.append(Closes(path))
            del kept[0].myself

        world.actor("a", work)

    flagged(scenario, "step|steps")


LEAVES_FINALISERS = """
import simharness


class Count:
    def __init__(self):
        self.value = 0


class Pool:
    def __init__(self):
        self.me = self
        self.counts = [Count() for _ in range(2)]

    def __del__(self):
        self.counts.append(Count())
        for count in self.counts:
            count.value += 1


@simharness.scenario
def pools(world):
    pool = Pool()

    def work(mine):
        for _ in range(3):
            mine.value += 1
            assert pool.me is pool

    for number, count in enumerate(pool.counts):
        world.actor(f"a{number}", work, count)
    world.actor("both", lambda: [work(count) for count in pool.counts])
    world.at_end(lambda: None)
"""


def test_finalisers_of_what_an_execution_has_left_in_cycles_run_between_executions_and_not_in_the_next_one(tmp_path):
    path = tmp_path / "pools.py"
    path.write_text(LEAVES_FINALISERS)
    [pools] = load(str(path))
    result = simharness.explore(pools, settings=simharness.Settings(max_executions=350, confirm=False))
    assert (result.error, result.executions) == (None, 350)


class Loads:
    """Stands in for another object, as lazy clients of packages do: whoever asks for its class has that object made."""

    @property
    def __class__(self):
        ASKED.append("loads")
        os.environ.get("SIMHARNESS_LOADED")
        return object


ASKED: list[str] = []
LOADS = Loads()
GUARD = threading.Lock()


def test_looking_for_the_name_of_a_lock_runs_no_code_of_the_objects_that_are_looked_at():
    """Names are looked up once, so what that ran would be a step of the first execution and of no other."""

    def scenario(world):
        def work():
            with GUARD:
                world.step("held")

        world.actor("a", work)
        world.actor("b", work)

    ASKED.clear()
    result = simharness.explore(scenario)
    assert (result.verdict, ASKED) == (Verdict.VERIFIED, [])
