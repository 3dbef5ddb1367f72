"""Locks that were made before the simulation: whatever holds them, they are under control where they are used in one."""

from __future__ import annotations

import _thread
import collections
import contextlib
import datetime
import functools
import itertools
import re
import subprocess
import sys
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import locks_held
import pytest

import simharness
from simharness import Verdict
from simharness.runtimes.threads import locks

ROOT = Path(__file__).parents[2]
HELD = threading.Lock()
HELD_R = threading.RLock()
FREE = {"lock": threading.Lock(), "rlock": threading.RLock()}
READY = threading.Event()
MADE_ON_DEMAND = collections.defaultdict(threading.Lock)
NAMED = [threading.Semaphore(), {"c": threading.Condition()}]


@pytest.fixture
def held():
    """Hold two locks, the RLock in another thread."""
    began, over = threading.Event(), threading.Event()

    def hold():
        with HELD_R:
            began.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    began.wait()
    with HELD:
        yield
    over.set()
    thread.join()


def opposite(first, second):
    """Two actors that take two locks, in opposite orders."""

    def scenario(world):
        def there():
            with first(), second():
                pass

        def back():
            with second(), first():
                pass

        world.actor("there", there)
        world.actor("back", back)

    return scenario


def guarded(lock):
    """Two actors that count under one lock."""

    def scenario(world):
        count = world.shared(0, "count")

        def bump():
            with lock():
                count.set(count.get() + 1)

        world.actor("a", bump)
        world.actor("b", bump)

        @world.at_end
        def both():
            assert count.get() == 2

    return scenario


def explore(target, **options):
    return simharness.explore(target, settings=simharness.Settings(confirm=False), **options)


@pytest.mark.parametrize(("how", "what"), list(locks_held.OF), ids=str)
def test_locks_taken_in_opposite_orders_deadlock_and_one_lock_excludes_whatever_holds_them(how, what):
    first, second = locks_held.OF[how, what]
    result = explore(opposite(first, second))
    assert (result.verdict, result.counterexample.failure[:8]) == (Verdict.VIOLATED, "deadlock")
    assert explore(guarded(first)).verdict is Verdict.VERIFIED


def test_a_deadlock_names_the_locks_by_where_they_are_bound():
    result = explore(opposite(functools.partial(FREE.get, "lock"), functools.partial(FREE.get, "rlock")))
    assert "rlock test_locks_made_before.FREE['rlock'], held by back" in result.counterexample.failure
    assert "lock test_locks_made_before.FREE['lock'], held by there" in result.counterexample.failure


def test_locks_that_a_factory_makes_in_the_simulation_are_under_control():
    def scenario(world):
        MADE_ON_DEMAND.clear()
        opposite(lambda: MADE_ON_DEMAND["a"], lambda: MADE_ON_DEMAND["b"])(world)

    result = explore(scenario)
    assert (result.verdict, result.counterexample.failure[:8]) == (Verdict.VIOLATED, "deadlock")
    assert MADE_ON_DEMAND.default_factory is threading.Lock


def test_a_lock_that_only_the_scenario_knows_is_called_by_the_variable():
    mine = threading.Lock()

    def scenario(world):
        guarded(lambda: mine)(world)
        world.actor("c", lambda: mine.acquire() and None)

    result = explore(scenario)
    assert "lock scenario.mine, held by" in result.counterexample.failure


def test_locks_to_which_nothing_leads_are_called_by_the_line_that_used_them_first_in_every_execution():
    """Two actors use two of them at one line each, in every order."""
    both = frozenset((threading.RLock(), threading.RLock()))

    def scenario(world):
        def use():
            for lock in both:
                with lock:
                    pass

        world.actor("a", use)
        world.actor("b", use)

    result, every = explore(scenario), explore(scenario, strategy="exhaustive")
    assert (result.verdict, every.verdict) == (Verdict.VERIFIED, Verdict.VERIFIED)
    assert result.executions == 4
    stuck = explore(opposite(*(functools.partial(next, itertools.cycle((lock,))) for lock in both))).counterexample.failure
    assert re.search(r"there waits for rlock.acquire rlock used at \S+test_locks_made_before.py:\d+( #2)?, held by back", stuck)


@pytest.mark.parametrize("take", [HELD.acquire, HELD.__enter__, HELD_R.acquire], ids=["acquire", "enter", "rlock"])
@pytest.mark.usefixtures("held")
def test_a_lock_that_was_held_when_the_simulation_began_is_held(take):
    def scenario(world):
        world.actor("waiter", take)

    result = explore(scenario)
    assert result.verdict is Verdict.VIOLATED
    assert "lock test_locks_made_before.HELD" in result.counterexample.failure
    assert "held by code that ran before the simulation" in result.counterexample.failure


@pytest.mark.usefixtures("held")
def test_a_lock_that_was_held_is_free_once_an_actor_has_released_it():
    def scenario(world):
        world.actor("waiter", HELD.acquire)
        world.actor("other", HELD.release)

    assert explore(scenario).verdict is Verdict.VERIFIED
    assert HELD.locked()


def test_an_rlock_that_this_thread_entered_before_is_the_main_actors():
    def plain():
        def enter():
            with HELD_R:
                pass

        HELD_R.acquire()
        HELD_R.release()
        other = threading.Thread(target=enter)
        other.start()
        HELD_R.release()
        other.join()

    with HELD_R:
        assert explore(plain).verdict is Verdict.VERIFIED
        assert HELD_R._is_owned()


class Thing:
    made = 0

    @functools.cached_property
    def value(self):
        Thing.made += 1
        time.sleep(0)
        return Thing.made


@pytest.mark.parametrize("instrument", [(), (__name__,)], ids=["plain", "instrumented"])
def test_a_cached_property_is_computed_once_where_python_has_a_lock_for_it(instrument):
    def scenario(world):
        Thing.made = 0
        thing = Thing()

        def use():
            assert thing.value == Thing.made == 1

        world.actor("a", use)
        world.actor("b", use)

    result = simharness.explore(scenario, settings=simharness.Settings(confirm=False, instrument=instrument))
    assert result.verdict is (Verdict.VERIFIED if sys.version_info < (3, 12) else Verdict.VIOLATED)


def test_a_lock_entered_by_an_exit_stack_is_under_control():
    @contextlib.contextmanager
    def entered():
        with contextlib.ExitStack() as stack:
            stack.enter_context(FREE["rlock"])
            yield

    result = explore(guarded(entered))
    assert (result.verdict, result.executions) == (Verdict.VERIFIED, 2)


@pytest.mark.parametrize("how", ["thread", "pool", "timer", "map", "actor"])
def test_a_method_of_a_lock_that_other_code_calls_is_under_control(how):
    """Two take a lock that nobody gives back: one waits forever."""

    def scenario(world):
        take = FREE["rlock"].acquire
        if how == "thread":
            works = [threading.Thread(target=take).start, threading.Thread(target=take).start]
        elif how == "timer":
            works = [threading.Timer(0, take).start, threading.Timer(0, take).start]
        elif how == "map":
            works = [lambda: list(map(take, (True,)))] * 2
        elif how == "pool":
            works = [lambda: ThreadPoolExecutor(1).submit(take).result()] * 2
        else:
            works = [take, take]
        for number, work in enumerate(works):
            world.actor(f"actor {number}", work)

    result = explore(scenario)
    assert (result.verdict, result.counterexample.failure[:8]) == (Verdict.VIOLATED, "deadlock")


def test_the_standard_librarys_own_locks_make_no_steps():
    def scenario(world):
        def parse():
            datetime.datetime.strptime("2020", "%Y")

        world.actor("a", parse)
        world.actor("b", parse)

    assert explore(scenario).executions == 1


@pytest.mark.parametrize("slots", [(), ("_lock",)], ids=["attribute", "slot"])
def test_trios_own_locks_and_those_of_tools_make_no_steps(slots):
    module = types.ModuleType("trio._own")
    exec(f"class Queue:\n __slots__ = {slots}\n def put(self):\n  with self._lock: pass\n", vars(module))
    module.Queue.__slots__ or setattr(module, "Queue", type("Queue", (module.Queue,), {}))
    queue = module.Queue()
    queue._lock = threading.RLock()

    def scenario(world):
        world.actor("a", queue.put)
        world.actor("b", queue.put)

    assert explore(scenario).executions == 1


def test_an_os_thread_from_outside_that_uses_a_lock_is_refused_by_name():
    over = []
    lock = threading.Lock()

    def outside():
        while not over:
            with lock:
                pass

    thread = threading.Thread(target=outside, name="poller")
    thread.start()

    def scenario(world):
        def work():
            with lock:
                while len(over) < 1 and time.sleep(0) is None:
                    pass

        world.actor("a", work)

    try:
        with pytest.raises(simharness.Misuse, match=r"the lock scenario\.lock is used by (the OS thread poller|an OS thread) too"):
            explore(scenario)
    finally:
        over.append(True)
        thread.join()


def test_a_lock_that_an_os_thread_from_outside_gives_back_soon_is_no_deadlock(monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 60.0)
    asked, began, lock = [], threading.Event(), threading.RLock()
    later = time.sleep

    def outside():
        with lock:
            began.set()
            while not asked:
                pass
            later(0.02)

    thread = threading.Thread(target=outside)
    thread.start()
    began.wait()

    def scenario(world):
        def work():
            asked.append(True)
            lock.acquire()

        world.actor("a", work)

    with pytest.raises(simharness.Misuse, match=r"the rlock scenario\.lock is used by (the OS thread|an OS thread)"):
        explore(scenario)
    thread.join()


def test_a_lock_of_the_standard_library_that_an_actor_is_switched_away_with_is_refused_by_name():
    module = types.ModuleType("sched")
    exec(
        "import threading\nclass Library:\n def __init__(self, lock): self._lock = lock\n"
        " def call(self, function):\n  with self._lock: return function()\n",
        vars(module),
    )
    library = module.Library(FREE["rlock"])

    def scenario(world):
        world.actor("a", lambda: library.call(lambda: world.step("inside")))
        world.actor("b", lambda: library.call(lambda: world.step("inside")))

    with pytest.raises(simharness.Misuse, match=r"enters an RLock of the standard library, in sched\.Library\.call, that another actor"):
        explore(scenario)


def test_what_was_made_before_has_the_same_name_in_the_second_exploration_of_a_process_and_in_a_fresh_one():
    def scenario(world, case):
        count = world.shared(0, "count")

        def bump():
            with NAMED[0], NAMED[1]["c"], FREE["lock"]:
                n = count.get()
            READY.set()
            count.set(n + case)

        world.actor("a", bump)
        world.actor("b", bump)

        @world.at_end
        def both():
            assert count.get() == 2 * case

    made = simharness.scenario(case=[1, 2])(scenario)
    names = [explored.counterexample.trace for explored in simharness.explore_all(made, settings=simharness.Settings(confirm=False))]
    first, second = ([step.detail for step in trace.steps] for trace in names)
    assert first == second
    assert {"event test_locks_made_before.READY", "semaphore test_locks_made_before.NAMED[0]"} <= set(first)


@pytest.mark.parametrize("name", ["onelock", "twolocks", "min_module_lock", "pool"])
def test_cases_in_one_process_do_not_disturb_each_other(name, tmp_path):
    file = tmp_path / f"{name}.py"
    file.write_text(CASES[name], encoding="utf-8")
    command = [sys.executable, "-m", "simharness", "explore", str(file), "--no-timelines"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.alone
def test_genuine_locks_and_what_holds_their_methods_are_as_before_outside_a_simulation():
    before = [threading.Lock.__class__, vars(_thread.LockType)["acquire"], vars(_thread.RLock)["__enter__"]]
    lock = threading.Lock()
    held = [lock.acquire, (lock.release,), {lock.locked}, functools.partial(lock.acquire, False), functools.partial(print, lock.locked)]
    parts = [held[0], held[1][0], next(iter(held[2])), held[3].func, held[4].args[0]]
    condition = threading.Condition(lock)
    taken = condition.acquire
    explore(guarded(lambda: lock))
    assert [threading.Lock.__class__, vars(_thread.LockType)["acquire"], vars(_thread.RLock)["__enter__"]] == before
    after = [held[0], held[1][0], next(iter(held[2])), held[3].func, held[4].args[0]]
    assert all(one is two for one, two in zip(parts, after, strict=True))
    assert condition.acquire is taken
    assert type(lock) is _thread.LockType
    assert [lock.acquire(False), lock.acquire(False)] == [True, False]


@pytest.mark.alone
def test_a_method_of_a_lock_in_what_cannot_be_changed_is_refused_at_once():
    lock = threading.Lock()
    held = itertools.repeat(lock.acquire)
    with pytest.raises(simharness.Misuse, match=r"a method of the lock that was made before, is held by itertools\.repeat"):
        explore(guarded(lambda: lock))
    del held


CASES = {
    "onelock": """
import threading, simharness
LOCK = threading.Lock()
@simharness.scenario(k=[1, 2])
def counted(world, k):
    box = world.shared(0, "box")
    def bump():
        with LOCK:
            box.set(box.get() + k)
    world.actor("a", bump); world.actor("b", bump)
    @world.at_end
    def both(): assert box.get() == 2 * k
""",
    "twolocks": """
import threading, simharness
A, B = threading.Lock(), threading.Lock()
def two(world, *locks):
    box = world.shared(0, "box")
    def bump(lock):
        with lock:
            box.set(box.get() + 1)
    for number, lock in enumerate(locks):
        world.actor(f"actor {number}", bump, lock)
    @world.at_end
    def both(): assert box.get() == 2
@simharness.scenario
def first(world): two(world, A, A)
@simharness.scenario
def second(world): two(world, B, B)
@simharness.scenario(expect="violated")
def third(world): two(world, A, B)
""",
    "pool": """
import threading, simharness
class Connection:
    def __init__(self): self.lock = threading.RLock()
ALL = Connection(), Connection()
POOL = []
@simharness.scenario(cell=["one", "two", "three"])
def pooled(world, cell):
    POOL[:] = ALL
    count = world.shared(0, "count")
    def use():
        connection = POOL.pop()
        with connection.lock:
            count.set(1)
        POOL.append(connection)
    world.actor("a", use); world.actor("b", use)
""",
    "min_module_lock": """
import threading, simharness
LOCK = threading.Lock()
@simharness.scenario(cell=["one", "two"], expect="violated")
def scenario(world, cell):
    count = world.shared(0, "count")
    def bump():
        with LOCK:
            n = count.get()
        count.set(n + 1)
    world.actor("a", bump)
    world.actor("b", bump)
    @world.at_end
    def both():
        assert count.get() == 2
""",
}
