"""Locks, conditions, events, semaphores and barriers as scheduling points; counts are worked out by hand."""

from __future__ import annotations

import _thread
import copy
import logging
import pickle
import threading
import time
from threading import Condition as BoundCondition
from threading import Event as BoundEvent
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


class Latch(threading.Event):
    """A subclass made before any simulation."""

    def trip(self):
        self.set()


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


def producer_and_consumer(look_again, notify_all=False, consumers=1):
    def scenario(world):
        condition = threading.Condition()
        items = []

        def consumer():
            with condition:
                if look_again:
                    while not items:
                        condition.wait()
                else:
                    condition.wait()
                items.pop()

        def producer():
            with condition:
                items.extend(range(consumers))
                if notify_all:
                    condition.notify_all()
                else:
                    condition.notify()

        for index in range(consumers):
            world.actor(f"consumer{index}", consumer)
        world.actor("producer", producer)

    return scenario


def test_a_consumer_that_looks_before_it_waits_has_two_orderings_and_no_deadlock():
    result = explore(producer_and_consumer(look_again=True))
    assert (result.executions, result.deadlocks) == (2, 0)


def test_a_consumer_that_does_not_look_misses_the_wake_up_in_one_of_two_orderings():
    result = explore(producer_and_consumer(look_again=False))
    assert (result.executions, result.deadlocks) == (2, 1)
    assert "consumer0 waits for condition.wake" in result.counterexample.failure


def test_notify_wakes_one_of_two_waiters_and_notify_all_wakes_both():
    assert explore(producer_and_consumer(look_again=True, consumers=2)).deadlocks > 0
    # The producer comes first, second or last; two that wait leave in either order, whoever came first.
    # Order of the three entries (6); with both waiting, the order of going on (2); with one waiting, it meets the late one (2).
    result = explore(producer_and_consumer(look_again=True, notify_all=True, consumers=2))
    assert (result.executions, result.deadlocks) == (2 + 2 * 2 + 2 * 2, 0)


def test_notify_wakes_those_who_wait_first_come_first_served():
    def scenario(world):
        condition = threading.Condition()
        order, woken = [], []

        def waiter(name):
            with condition:
                order.append(name)
                condition.wait()
                woken.append(name)

        def notifier():
            with condition:
                condition.notify()

        world.actor("a", waiter, "a")
        world.actor("b", waiter, "b")
        world.actor("notifier", notifier)
        world.always(lambda: world.outcome((tuple(order), tuple(woken))))

    outcomes = simharness.explore(simharness.scenario(allow_deadlock=True)(scenario)).outcomes
    assert (("a", "b"), ("a",)) in outcomes
    assert (("a", "b"), ("b",)) not in outcomes


def test_a_timed_wait_is_notified_or_its_time_is_over_and_it_holds_its_lock_again_either_way():
    def scenario(world):
        condition = threading.Condition()

        def waiter():
            with condition, condition:
                told = condition.wait(5)
                assert condition._is_owned()
                world.outcome((told, world.clock.elapsed_ns() // 10**9))

        def notifier():
            with condition:
                condition.notify()

        actors(world, waiter, notifier)

    outcomes = explore(scenario).outcomes
    assert {(True, 0), (False, 5)} <= outcomes
    assert {told for told, _ in outcomes} == {True, False}


def test_a_notification_that_reaches_a_waiter_whose_time_is_over_is_lost_to_the_others():
    def scenario(world):
        condition = threading.Condition(threading.Lock())
        heard = []

        def hasty():
            with condition:
                heard.append(("hasty", condition.wait(1)))

        def patient():
            with condition:
                heard.append(("patient", condition.wait(100)))

        def notifier():
            with condition:
                world.clock.sleep(2)
                condition.notify()

        actors(world, hasty, patient, notifier)

        @world.at_end
        def tell():
            world.outcome(tuple(heard))

    outcomes = simharness.explore(scenario).outcomes
    assert (("hasty", False), ("patient", False)) in outcomes


def test_wait_for_keeps_to_its_timeout_over_several_wake_ups():
    def scenario(world):
        condition = threading.Condition()

        def waiter():
            with condition:
                result = condition.wait_for(lambda: False, timeout=3)
            world.outcome((result, world.clock.elapsed_ns()))

        def teaser():
            world.clock.sleep(1)
            with condition:
                condition.notify_all()

        actors(world, waiter, teaser)

    assert explore(scenario, max_delay=0).outcomes == {(False, 3 * 10**9)}


def test_a_condition_works_over_a_lock_of_the_users_own():
    class Own:
        def __init__(self):
            self.inner = threading.Lock()

        def acquire(self, *args):
            return self.inner.acquire(*args)

        def release(self):
            self.inner.release()

        __enter__ = acquire

        def __exit__(self, *_):
            self.release()

    def scenario(world):
        condition = threading.Condition(Own())
        items = []

        def consumer():
            with condition:
                assert condition.wait_for(lambda: items)

        def producer():
            with condition:
                items.append(1)
                condition.notify()

        actors(world, consumer, producer)

    assert explore(scenario).verdict == "verified"


@pytest.mark.parametrize("make", [threading.Event, BoundEvent, Latch, lambda: module_event])
def test_an_event_that_is_waited_for_and_set_has_one_ordering(make):
    def scenario(world):
        event = make()

        def waiter():
            world.outcome(event.wait())

        def setter():
            event.set()

        actors(world, waiter, setter)

    result = explore(scenario)
    assert (result.executions, result.outcomes) == (1, {True})


def test_looking_at_an_event_and_setting_it_have_two_orderings():
    def scenario(world):
        event = threading.Event()
        world.actor("looker", lambda: world.outcome(event.is_set()))
        world.actor("setter", event.set)

    result = explore(scenario)
    assert (result.executions, result.outcomes) == (2, {False, True})


def test_an_event_wait_with_a_timeout_returns_false_when_nobody_sets_it():
    def scenario(world):
        event = threading.Event()

        def waiter():
            world.outcome((event.wait(3600), world.clock.elapsed_ns() // 10**9))

        actors(world, waiter)

    assert explore(scenario).outcomes == {(False, 3600)}


def test_an_event_nobody_sets_is_a_deadlock_that_says_where():
    result = explore(lambda world: world.actor("waiter", threading.Event().wait))
    assert result.deadlocks == 1
    assert "waits for event.wait event test_threads.py" in result.counterexample.failure


def test_an_event_set_and_cleared_may_be_missed():
    def scenario(world):
        event = threading.Event()

        def pulse():
            event.set()
            event.clear()

        world.actor("waiter", event.wait)
        world.actor("pulse", pulse)

    result = explore(scenario)
    assert (result.executions, result.deadlocks) == (2, 1)


def test_a_semaphore_of_two_admits_two_of_three():
    def scenario(world):
        semaphore = threading.Semaphore(2)
        inside = world.shared(0, "inside")

        def enter():
            with semaphore:
                world.outcome(inside.add(1) + 1)
                inside.add(-1)

        for name in "abc":
            world.actor(name, enter)

    assert explore(scenario).outcomes == {1, 2}


def test_a_semaphore_can_be_tried_and_waited_for_in_virtual_time():
    def scenario(world):
        semaphore = threading.Semaphore(0)
        world.actor("a", lambda: world.outcome((semaphore.acquire(blocking=False), semaphore.acquire(timeout=2))))
        world.actor("b", semaphore.release)

    assert explore(scenario).outcomes == {(False, True), (True, False), (False, False)}


def test_a_barrier_lets_its_parties_through_together_and_counts_their_arrivals():
    def scenario(world):
        barrier = threading.Barrier(2)
        before = []

        def party(name):
            before.append(name)
            index = barrier.wait()
            assert len(before) == 2
            world.outcome((name, index))

        world.actor("a", party, "a")
        world.actor("b", party, "b")

    result = explore(scenario)
    assert result.executions == 2
    assert result.outcomes == {("a", 0), ("b", 1), ("a", 1), ("b", 0)}


def test_a_barrier_one_party_short_is_a_deadlock_or_breaks_when_its_time_is_over():
    assert explore(lambda world: world.actor("alone", threading.Barrier(2).wait)).deadlocks == 1

    def scenario(world):
        barrier = threading.Barrier(2, timeout=1)

        def alone():
            with pytest.raises(threading.BrokenBarrierError):
                barrier.wait()
            assert barrier.broken
            barrier.reset()
            assert not barrier.broken
            world.outcome("broken")

        actors(world, alone)

    assert explore(scenario).outcomes == {"broken"}


def test_a_barriers_action_runs_once_before_anybody_goes_on_and_breaks_it_when_it_fails():
    def scenario(world):
        done = []
        fails = world.choose([False, True])

        def action():
            world.step("action")
            done.append(1)
            if fails:
                raise KeyError

        barrier = threading.Barrier(2, action)

        def party():
            try:
                barrier.wait()
            except (KeyError, threading.BrokenBarrierError) as error:
                world.outcome(type(error).__name__)
            else:
                world.outcome(len(done))

        world.actor("a", party)
        world.actor("b", party)

    assert explore(scenario).outcomes <= {1, "KeyError", "BrokenBarrierError"}


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
