"""Events, semaphores and barriers; counts are worked out by hand."""

from __future__ import annotations

import threading
from threading import Event as BoundEvent

import pytest

from tests.runtimes.exploring import actors, explore

module_event = threading.Event()


class Latch(threading.Event):
    """A subclass made before any simulation."""

    def trip(self):
        self.set()


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
    assert "waits for event.wait event test_signals.py" in result.counterexample.failure


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
