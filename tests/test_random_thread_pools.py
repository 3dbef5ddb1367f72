"""Random programs over `multiprocessing.pool.ThreadPool`: the modelled pool has the outcomes of the genuine loops of its threads."""

from __future__ import annotations

import multiprocessing.pool
import queue
import random
import threading
from multiprocessing.pool import Pool, ThreadPool

import pytest

import simharness
from simharness.runtimes import control

DOINGS = ("apply", "apply", "called", "called", "map", "imap", "unordered", "ready", "get", "wait", "timed get", "add", "read")
TASKS = ("add", "read", "fail", "nothing", "add")


class Feed:
    """What the genuine code takes for the queue before the workers' one: hands tasks to the workers at once, as one actor submits."""

    def __init__(self, items):
        self.items = items

    def put(self, job):
        tasks, set_length = job
        number = 0
        for task in tasks:
            self.items.put(task)
            number += 1
        if set_length is not None:
            set_length(number)


class ReferencePool(ThreadPool):
    """The genuine loops of workers and of the thread that handles results, on simulated threads that are no daemons."""

    def __init__(self, size):
        self._state, self._cache, self._pool, self._change_notifier = "RUN", {}, [None] * size, None
        self._items, self._results = queue.SimpleQueue(), queue.SimpleQueue()
        self._taskqueue = Feed(self._items)
        work = multiprocessing.pool.worker
        self._workers = [threading.Thread(target=work, args=(self._items, self._results)) for _ in range(size)]
        self._handler = threading.Thread(target=Pool._handle_results, args=(self._results, self._results.get, self._cache))
        self._handler._state = "RUN"
        for thread in (*self._workers, self._handler):
            thread.start()

    def _check_running(self):
        pass

    def close(self):
        self._state = "CLOSE"
        for _ in self._workers:
            self._items.put(None)

    def join(self):
        for thread in self._workers:
            thread.join()
        self._results.put(None)
        self._handler.join()


class Things:
    """What is shared, and what was seen."""

    def __init__(self, world, pool):
        self.cell = world.shared(0, "cell")
        self.pool = pool
        self.results = []
        self.called = []
        self.seen = []

    def task(self, kind):
        if kind == "add":
            return self.cell.add(1)
        if kind == "read":
            return self.cell.get()
        if kind == "fail":
            raise ValueError(kind)
        return kind

    def run(self, todo):
        for what, which in todo:
            try:
                self.seen.append(self.one(what, which))
            except (ValueError, multiprocessing.TimeoutError) as raised:
                self.seen.append(type(raised).__name__)

    def one(self, what, which):
        pool, kinds = self.pool, [TASKS[which % 5], TASKS[which % 3]]
        if what == "apply":
            return self.results.append(pool.apply_async(self.task, (kinds[0],)))
        if what == "called":
            tell = {"callback": self.call_back, "error_callback": self.called.append}
            return self.results.append(pool.apply_async(self.task, (kinds[0],), **tell))
        if what == "map":
            return pool.map(self.task, kinds)
        if what == "imap":
            return list(pool.imap(self.task, kinds))
        if what == "unordered":
            return list(pool.imap_unordered(self.task, kinds))
        if what in {"add", "read"}:
            return self.cell.add(100) if what == "add" else self.cell.get()
        if not self.results:
            return None
        result = self.results[which % len(self.results)]
        return {"ready": result.ready, "get": result.get, "wait": result.wait, "timed get": lambda: result.get(1.0)}[what]()

    def call_back(self, value):
        self.called.append(value)
        self.cell.add(1000)


def scenario(seed, make):
    """Return the program of this seed, with pools that this function makes."""
    rng = random.Random(seed)
    size = rng.choice([1, 1, 2])
    first = rng.choice(["apply", "called", "map"])
    todo = [(first, rng.randrange(30)), *((rng.choice(DOINGS), rng.randrange(30)) for _ in range(rng.choice([1, 1, 2])))]

    @simharness.scenario(max_delay=0, allow_deadlock=True)
    def program(world):
        kept = []

        def run():
            things = Things(world, make(size))
            kept.append(things)
            things.run(todo)
            things.pool.close()
            things.pool.join()

        world.actor("a", run)

        @world.at_end
        def what_was_seen():
            things = kept.pop()
            world.outcome(repr((things.seen, [str(value) for value in things.called], things.cell.get())))

    return program


def explored(program, strategy, most):
    """Return the result; None where there are more than `most` executions."""
    limits = simharness.Settings(max_executions=most, shrink=0, max_steps=600)
    result = simharness.explore(program, strategy, stop_on_first=False, settings=limits)
    return None if result.executions >= most else result


def compare(seed, most):
    """Compare the modelled pool with the genuine loops; False where that would take too long."""
    about = f"seed {seed}"
    modelled = explored(scenario(seed, ThreadPool), "dpor", most)
    if modelled is None:
        return False
    assert modelled.redundant == 0, about
    everything = explored(scenario(seed, ThreadPool), "exhaustive", most)
    genuine = explored(scenario(seed, ReferencePool), "dpor", most)
    for other in (everything, genuine):
        if other is not None:
            assert modelled.outcomes == other.outcomes, about
            assert (modelled.deadlocks > 0) == (other.deadlocks > 0), about
    return genuine is not None


def test_random_programs_have_the_outcomes_of_the_genuine_loops():
    with control.installed():
        assert sum(compare(seed, 100) for seed in range(50)) > 15


@pytest.mark.long
@pytest.mark.parametrize("first", range(10_000, 10_600, 100))
def test_many_random_programs_have_the_outcomes_of_the_genuine_loops(first):
    with control.installed():
        assert sum(compare(seed, 600) for seed in range(first, first + 100)) > 30
