"""Locks as scheduling points, and what all primitives have in common; counts are worked out by hand."""

from __future__ import annotations

import _thread
import copy
import logging
import pickle
import random
import threading
import time
from threading import Condition as BoundCondition
from threading import Lock as BoundLock
from threading import RLock as BoundRLock

import pytest

import simharness
from tests.runtimes.exploring import actors, explore

module_lock = threading.Lock()
module_rlock = threading.RLock()
module_condition = threading.Condition()
module_event = threading.Event()
module_semaphore = threading.Semaphore(1)


class Holder:
    shared = threading.Lock()

    def __init__(self):
        self.lock = threading.RLock()


module_holder = Holder()


def contenders(number, make_lock):
    """The scenario in which each of several actors enters a critical section of two steps."""

    def scenario(world):
        lock = make_lock()
        cell = world.shared(0, "counter")

        def bump():
            with lock:
                cell.set(cell.get() + 1)

        for index in range(number):
            world.actor(f"actor{index}", bump)

        @world.at_end
        def all_counted():
            assert cell.get() == number
            world.outcome(cell.get())

    return scenario


@pytest.mark.parametrize(
    "make_lock",
    [
        threading.Lock, threading.RLock, threading.Condition, threading.Semaphore, threading.BoundedSemaphore,
        _thread.allocate_lock, BoundLock, BoundRLock, BoundCondition, lambda: module_lock, lambda: module_rlock,
        lambda: module_condition, lambda: module_semaphore, lambda: Holder.shared, lambda: module_holder.lock,
    ],
)  # fmt: skip
def test_a_critical_section_admits_one_actor_at_a_time_whatever_lock_guards_it_and_wherever_its_name_was_bound(make_lock):
    assert explore(contenders(2, make_lock)).executions == 2


def test_three_contenders_for_a_lock_have_six_orderings():
    result = explore(contenders(3, threading.Lock))
    assert result.executions == 6
    assert result.verdict == "verified"


def test_without_the_lock_the_update_is_lost():
    class Nothing:
        def __enter__(self): ...

        def __exit__(self, *_): ...

    assert simharness.explore(contenders(2, Nothing)).verdict == "violated"


def test_of_three_actors_that_try_a_lock_one_gets_it_and_the_order_of_the_failures_does_not_matter():
    def scenario(world):
        lock = threading.Lock()
        got = []

        def attempt(index):
            if lock.acquire(blocking=False):
                got.append(index)

        for index in range(3):
            world.actor(f"actor{index}", attempt, index)

        @world.at_end
        def one():
            world.outcome(tuple(got))

    result = explore(scenario)
    assert result.executions == 3
    assert result.outcomes == {(0,), (1,), (2,)}


def test_a_timed_acquire_gives_up_in_virtual_time_or_gets_the_lock():
    def scenario(world):
        lock = threading.Lock()
        started = world.clock.elapsed_ns()

        def holder():
            with lock:
                world.clock.sleep(2)

        def waiter():
            got = lock.acquire(timeout=1)
            world.outcome((got, world.clock.elapsed_ns() - started >= 1_000_000_000))

        actors(world, holder, waiter)

    began = time.monotonic()
    assert (False, True) in explore(scenario, max_delay=0).outcomes
    assert time.monotonic() - began < 10


def test_three_philosophers_dine_in_seven_orderings_and_starve_in_one():
    def scenario(world):
        forks = [threading.Lock() for _ in range(3)]

        def dine(index):
            with forks[index], forks[(index + 1) % 3]:
                pass

        for index in range(3):
            world.actor(f"philosopher{index}", dine, index)

    result = explore(scenario)
    assert (result.executions, result.deadlocks) == (7, 1)
    assert "held by philosopher1" in result.counterexample.failure
    assert "test_threads.py" in result.counterexample.failure


def test_an_actor_that_waits_for_a_lock_it_holds_is_a_deadlock():
    def scenario(world):
        lock = threading.Lock()

        def twice():
            with lock, lock:
                pass

        actors(world, twice)

    assert explore(scenario).deadlocks == 1


def test_an_rlock_is_entered_again_by_its_owner_only_and_without_a_step():
    def scenario(world):
        lock = threading.RLock()

        def first():
            with lock, lock:
                pass

        def second():
            with lock:
                pass

        actors(world, first, second)

    assert explore(scenario).executions == 2


def test_a_lock_may_be_released_by_another_actor_but_an_rlock_may_not():
    def scenario(world):
        lock, rlock = threading.Lock(), threading.RLock()
        lock.acquire()
        rlock.acquire()

        def other():
            lock.release()
            with pytest.raises(RuntimeError, match="cannot release un-acquired lock"):
                rlock.release()
            world.outcome((lock.locked(), rlock.acquire(blocking=False)))

        actors(world, other)

    assert explore(scenario).outcomes == {(False, False)}


def test_misused_locks_raise_what_genuine_ones_raise():
    def errors():
        found = []
        lock = threading.Lock()
        for misuse in (
            lock.release,
            lambda: lock.acquire(False, 1),
            lambda: lock.acquire(True, -3),
            lambda: threading.RLock().release(),
            lambda: threading.Condition().wait(),
            lambda: threading.Condition(threading.Lock()).wait(),
            lambda: threading.Condition().notify(),
            lambda: threading.Semaphore(-1),
            lambda: threading.Semaphore().acquire(False, 1),
            lambda: threading.Semaphore().release(0),
            lambda: threading.BoundedSemaphore(1).release(),
            lambda: copy.copy(lock),
            lambda: pickle.dumps(lock),
        ):
            try:
                misuse()
            except Exception as error:
                found.append((type(error), str(error)))
            else:
                found.append(None)
        return tuple(found)

    genuine = errors()
    result = explore(lambda world: world.actor("misuser", lambda: world.outcome(errors())))
    assert result.outcomes == {genuine}


@pytest.mark.alone
def test_what_was_made_before_begins_every_execution_as_it_was_and_is_so_afterwards():
    module_event.clear()

    def scenario(world):
        assert not module_event.is_set()
        assert not module_lock.locked()

        def change():
            module_event.set()
            module_lock.acquire()
            module_semaphore.acquire()

        def look():
            world.outcome(module_event.is_set())

        actors(world, change, look)

    assert explore(scenario).outcomes == {False, True}
    assert not module_event.is_set()
    assert not module_lock.locked()
    assert module_semaphore._value == 1


@pytest.mark.alone
def test_everything_is_genuine_again_outside_a_simulation():
    kept = []

    def scenario(world):
        kept[:] = [threading.Lock(), threading.RLock(), threading.Condition(), threading.Event(), threading.Semaphore()]
        world.actor("nobody", lambda: world.step("nothing"))

    explore(scenario)
    assert isinstance(threading.Lock(), _thread.LockType)
    assert isinstance(threading.RLock(), _thread.RLock)
    assert type(module_lock) is _thread.LockType
    assert "simharness" not in threading.Event.wait.__module__
    lock, rlock, condition, event, semaphore = kept
    with lock, rlock, condition, semaphore:
        assert lock.locked()
        assert not lock.acquire(timeout=0.01)
    thread = threading.Thread(target=event.set)
    thread.start()
    assert event.wait(10)
    thread.join()


def test_logging_makes_no_scheduling_point():
    def scenario(world):
        logger = logging.getLogger("tests.locks")

        def say(name):
            handler = logging.Handler()
            handler.emit = lambda record: None
            logger.addHandler(handler)
            logger.warning("hello from %s", name)
            logger.removeHandler(handler)

        world.actor("a", say, "a")
        world.actor("b", say, "b")

    result = simharness.explore(scenario)
    assert result.executions <= 1


def test_an_invariant_may_look_at_primitives_without_making_steps():
    def scenario(world):
        lock, event = threading.Lock(), threading.Event()

        def work():
            with lock:
                event.set()

        world.actor("a", work)
        world.actor("b", work)

        @world.at_end
        def settled():
            assert event.is_set()
            with lock:
                assert lock.locked()

    assert explore(scenario).verdict == "verified"


def test_locks_made_on_demand_inside_actors_have_names_of_their_own():
    def scenario(world):
        def work():
            first, second = threading.Lock(), threading.Lock()
            with first, second:
                pass

        world.actor("a", work)
        world.actor("b", work)

    assert explore(scenario).executions == 1


def test_a_name_that_cannot_be_encoded_is_a_name_like_any_other():
    def program(world):
        names = []

        def work():
            names.append(random.random() < 2 and threading.current_thread().name)

        thread = threading.Thread(target=work, name="\udcff")
        thread.start()
        thread.join()
        assert names == ["\udcff"]

    assert simharness.explore(program).verdict == "verified"
