"""Conditions: waits, notifications, lost wake-ups, timeouts; counts are worked out by hand."""

from __future__ import annotations

import threading

import simharness
from tests.runtimes.exploring import actors, explore


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
