"""Queues and executors: each operation of a queue is one step; futures run on the standard library's own code."""

from __future__ import annotations

import concurrent.futures
import queue
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from queue import Queue as BoundQueue
from queue import SimpleQueue as BoundSimpleQueue

import pytest

import simharness
from simharness.instrument.loader import compiled
from tests.runtimes.exploring import actors, explore

module_queue = queue.Queue()
module_queue.put("early")


class SetQueue(queue.Queue):
    """A subclass that keeps its items elsewhere."""

    def _init(self, maxsize):
        self.items = set()

    def _qsize(self):
        return len(self.items)

    def _put(self, item):
        self.items.add(item)

    def _get(self):
        item = min(self.items)
        self.items.remove(item)
        return item


@pytest.mark.parametrize("make", [queue.Queue, queue.LifoQueue, queue.SimpleQueue, BoundQueue, BoundSimpleQueue, SetQueue])
def test_two_producers_and_a_consumer(make):
    def scenario(world):
        items = make()

        def consumer():
            world.outcome(items.get() + items.get())

        world.actor("consumer", consumer)
        world.actor("a", items.put, "a")
        world.actor("b", items.put, "b")

    result = explore(scenario)
    # The order of the puts, and whether the first get comes before the second of them.
    assert result.executions == 4
    assert result.outcomes <= {"ab", "ba"}


def test_a_priority_queue_gives_the_least_of_what_it_has():
    def scenario(world):
        items = queue.PriorityQueue()
        items.put(2)

        def consumer():
            world.outcome((items.get(), items.get()))

        world.actor("consumer", consumer)
        world.actor("producer", items.put, 1)

    assert explore(scenario).outcomes == {(2, 1), (1, 2)}


def test_a_full_queue_holds_its_producer_up():
    def scenario(world):
        items = queue.Queue(maxsize=1)

        def producer():
            for number in range(3):
                items.put(number)
                world.outcome(items.qsize() <= 1)

        def consumer():
            for number in range(3):
                assert items.get() == number

        actors(world, producer, consumer)

    result = explore(scenario)
    assert result.verdict == "verified"
    assert result.outcomes == {True}


def test_an_unlimited_handover_of_three_items_has_five_orderings():
    def scenario(world):
        items = queue.Queue()
        world.actor("producer", lambda: [items.put(number) for number in range(3)])
        world.actor("consumer", lambda: [items.get() for _ in range(3)])

    # Ballot sequences of length 6: Catalan number 5.
    assert explore(scenario).executions == 5


def test_a_consumer_without_a_producer_is_a_deadlock():
    result = explore(lambda world: world.actor("consumer", queue.Queue().get))
    assert result.deadlocks == 1
    assert "waits for queue.get queue test_queues.py" in result.counterexample.failure


@pytest.mark.parametrize("make", [queue.Queue, queue.SimpleQueue])
def test_getting_without_waiting_finds_the_item_or_raises_empty(make):
    def scenario(world):
        items = make()

        def consumer():
            try:
                world.outcome(items.get_nowait())
            except queue.Empty:
                world.outcome("empty")

        world.actor("consumer", consumer)
        world.actor("producer", items.put, "item")

    result = explore(scenario)
    assert (result.executions, result.outcomes) == (2, {"item", "empty"})


def test_waits_for_queues_end_in_virtual_time():
    def scenario(world):
        full = queue.Queue(1)
        full.put(0)

        def impatient():
            with pytest.raises(queue.Full):
                full.put(1, timeout=5)
            with pytest.raises(queue.Full):
                full.put_nowait(1)
            with pytest.raises(queue.Empty):
                queue.Queue().get(timeout=5)
            with pytest.raises(queue.Empty):
                queue.SimpleQueue().get(timeout=5)
            with pytest.raises(ValueError, match="non-negative"):
                full.get(timeout=-1)
            world.outcome(world.clock.elapsed_ns() // 10**9)

        actors(world, impatient)

    assert explore(scenario).outcomes == {15}


def test_joining_a_queue_waits_for_every_task_to_be_done():
    def scenario(world):
        tasks = queue.Queue()
        done = []
        for number in range(2):
            tasks.put(number)

        def worker():
            done.append(tasks.get())
            tasks.task_done()

        def boss():
            tasks.join()
            world.outcome(len(done))
            with pytest.raises(ValueError, match="too many times"):
                tasks.task_done()

        world.actor("first", worker)
        world.actor("second", worker)
        world.actor("boss", boss)

    assert explore(scenario).outcomes == {2}


def test_taking_an_item_does_not_conflict_with_finishing_another():
    def scenario(world):
        tasks = queue.Queue()
        tasks.put(1)
        world.actor("taker", tasks.get)
        world.actor("finisher", tasks.task_done)

    assert explore(scenario).executions == 1


@pytest.mark.skipif(sys.version_info < (3, 13), reason="queues can be shut down from Python 3.13 on")
@pytest.mark.parametrize("immediate", [False, True])
def test_shutting_a_queue_down_wakes_those_who_wait(immediate):
    def scenario(world):
        items = queue.Queue()

        def consumer():
            try:
                while True:
                    world.outcome(items.get())
            except queue.ShutDown:
                world.outcome("shut down")

        def boss():
            items.put("item")
            items.shutdown(immediate)
            with pytest.raises(queue.ShutDown):
                items.put("late")

        actors(world, consumer, boss)

    result = explore(scenario)
    assert result.verdict == "verified"
    assert result.outcomes == {"item", "shut down"}


@pytest.mark.alone
def test_a_queue_made_before_begins_every_execution_with_what_it_held():
    def scenario(world):
        def consumer():
            world.outcome((module_queue.get(), module_queue.get()))

        world.actor("consumer", consumer)
        world.actor("producer", module_queue.put, "late")

    result = explore(scenario)
    assert (result.executions, result.outcomes) == (2, {("early", "late")})
    assert list(module_queue.queue) == ["early"]
    assert module_queue.unfinished_tasks == 1


def test_a_pool_of_one_worker_runs_what_is_submitted():
    def scenario():
        with ThreadPoolExecutor(max_workers=1) as pool:
            futures = [pool.submit(pow, 2, exponent) for exponent in range(2)]
            assert [future.result() for future in futures] == [1, 2]

    result = simharness.explore(scenario)
    assert result.verdict == "verified"
    assert result.redundant == 0


def test_workers_of_a_pool_race():
    def scenario(world):
        cell = world.shared(0, "cell")

        def bump():
            cell.set(cell.get() + 1)

        def boss():
            with ThreadPoolExecutor(max_workers=2) as pool:
                pool.submit(bump)
                pool.submit(bump)
            world.outcome(cell.get())

        actors(world, boss)

    result = simharness.explore(scenario, stop_on_first=False, settings=simharness.Settings(max_executions=3000))
    assert result.outcomes == {1, 2}
    assert result.redundant == 0


def test_a_failing_task_a_wait_and_as_completed_give_the_same_run_twice():
    def scenario():
        pool = ThreadPoolExecutor(max_workers=1)
        good, bad = pool.submit(int, "7"), pool.submit(int, "seven")
        done, pending = concurrent.futures.wait({good, bad})
        assert done == {good, bad}
        assert not pending
        assert list(concurrent.futures.as_completed([good])) == [good]
        assert good.result(timeout=0) == 7
        with pytest.raises(ValueError, match="seven"):
            bad.result()
        pool.shutdown()

    result = simharness.explore(scenario, settings=simharness.Settings(max_executions=200))
    assert result.counterexample is None
    assert result.executions > 0


def test_a_pool_that_outlives_its_execution_wakes_nobody_in_the_next():
    def scenario(world):
        pools = []

        def user():
            with ThreadPoolExecutor(1) as pool:
                pools.append(pool)
                pool.submit(abs, 1)

        actors(world, user)
        world.at_end(lambda: world.outcome(len(pools)))

    assert explore(scenario).outcomes == {1}


def test_a_future_that_nobody_completes_times_out():
    def scenario(world):
        future = concurrent.futures.Future()

        def reader():
            with pytest.raises(concurrent.futures.TimeoutError):
                future.result(timeout=60)
            world.outcome(world.clock.elapsed_ns() // 10**9)

        actors(world, reader)

    assert explore(scenario).outcomes == {60}


@pytest.mark.alone
def test_queues_and_pools_are_genuine_again_outside_a_simulation():
    kept = []

    def scenario(world):
        kept[:] = [queue.Queue(), queue.SimpleQueue()]
        world.actor("producer", kept[0].put, 1)

    explore(scenario)
    for items in kept:
        thread = threading.Thread(target=items.put, args=("later",))
        thread.start()
        thread.join()
    assert kept[1].get(timeout=10) == "later"
    assert type(queue.SimpleQueue()) is BoundSimpleQueue
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(str, [1, 2])) == ["1", "2"]


HOOKED = """
import queue

class SkipRepeats(queue.Queue):
    def _init(self, maxsize):
        super()._init(maxsize)
        self.last = None

    def _put(self, item):
        if item != self.last:
            super()._put(item)
            self.last = item
        else:
            self.unfinished_tasks -= 1

    def _get(self):
        item = super()._get()
        if item is self.last:
            self.last = None
        return item

class Unique(queue.Queue):
    def _init(self, maxsize):
        self.queue = set()

    def _put(self, item):
        self.queue.add(item)

    def _get(self):
        return self.queue.pop()

class Urgent:
    def __init__(self, rank):
        self.rank = rank

    def __lt__(self, other):
        return self.rank < other.rank

"""


def hooked(body):
    """Explore a program whose queues have hooks that are instrumented; brute force must come to the same."""
    space = {"__name__": "hooked_queues"}
    lines = "".join(f"    {line}\n" for line in body)
    exec(compiled(f"{HOOKED}\ndef program(world):\n{lines}", "hooked_queues.py"), space)
    return explore(space["program"])


def test_hooks_of_a_subclass_run_under_the_queues_mutex():
    result = hooked(
        (
            "items, got = SkipRepeats(), []",
            "def put():",
            "    items.put(1); items.put(1); items.put(2)",
            "world.actor('putter', put)",
            "world.actor('getter', lambda: (got.append(items.get()), got.append(items.get())))",
            "world.at_end(lambda: world.outcome((got, items.unfinished_tasks)[0].__repr__()))",
            "world.actor('looker', lambda: items.last)",
        )
    )
    assert result.outcomes == {"[1, 2]", "[1, 1]"}


def test_what_a_hook_keeps_is_raced_for_by_code_that_looks_without_the_mutex():
    result = hooked(
        (
            "items = SkipRepeats()",
            "def put():",
            "    if items.last is None:",
            "        items.put(object())",
            "world.actor('a', put)",
            "world.actor('b', put)",
            "world.at_end(lambda: world.outcome(items.qsize()))",
        )
    )
    assert result.outcomes == {1, 2}


@pytest.mark.parametrize("get", ["get()", "get_nowait()", "get(timeout=1)"])
def test_a_queue_that_keeps_each_item_once_is_never_half_changed(get):
    result = hooked(
        (
            "items = Unique(2)",
            "def take():",
            f"    try: world.outcome(items.{get})",
            "    except queue.Empty: world.outcome('empty')",
            "world.actor('a', items.put, 'k')",
            "world.actor('b', items.put, 'k', True, 5)",
            "world.actor('taker', take)",
            "world.actor('counter', items.qsize)",
        )
    )
    assert result.outcomes <= {"k", "empty"}
    assert result.deadlocks == 0


def test_a_priority_queue_whose_items_compare_themselves_stays_in_order():
    result = hooked(
        (
            "items, first = queue.PriorityQueue(), Urgent(2)",
            "items.put(Urgent(3))",
            "def change(): first.rank = 1",
            "world.actor('a', items.put, first)",
            "world.actor('b', items.put, Urgent(0))",
            "world.actor('changer', change)",
            "world.at_end(lambda: world.outcome([items.get().rank for _ in range(3)].__repr__()))",
        )
    )
    assert result.outcomes == {"[0, 1, 3]"}


def test_a_hook_that_fails_leaves_the_queue_free():
    result = hooked(
        (
            "class Fussy(Unique):",
            "    def _put(self, item):",
            "        if len(self.queue): raise ValueError(item)",
            "        super()._put(item)",
            "items = Fussy()",
            "def put():",
            "    try: items.put('k')",
            "    except ValueError: pass",
            "world.actor('a', put)",
            "world.actor('b', put)",
            "world.actor('looker', items.qsize)",
            "world.at_end(lambda: world.outcome((items.qsize(), items.unfinished_tasks).__repr__()))",
        )
    )
    assert result.outcomes == {"(1, 1)"}
    assert result.deadlocks == 0


def test_two_actors_never_take_one_item_out_of_a_subclasss_container():
    result = hooked(
        (
            "items = Unique()",
            "items.put('k')",
            "def take():",
            "    try: world.outcome(items.get_nowait())",
            "    except queue.Empty: pass",
            "world.actor('a', take)",
            "world.actor('b', take)",
            "world.actor('c', items.put, 'k')",
        )
    )
    assert (result.verdict, result.outcomes) == ("verified", {"k"})
