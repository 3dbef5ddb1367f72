"""Random programs over futures, timers, conditions and queues: reduction comes to what brute force comes to."""

from __future__ import annotations

import concurrent.futures
import queue
import random
import threading
from concurrent.futures import CancelledError, Future, InvalidStateError, ThreadPoolExecutor

import pytest

import simharness
from simharness.runtimes import control
from tests.runtimes.test_queues import SetQueue
from tests.test_random_faults import both

DOINGS = {
    "futures": ("finish", "fail", "cancel", "result", "timed result", "done", "running", "callback", "wait", "as completed"),
    "pools": ("submit", "result of submitted", "cancel submitted", "shut down", "map"),
    "timers": ("start timer", "cancel timer", "join timer", "set", "await"),
    "conditions": ("wait for", "timed wait for", "notify all", "raise flag"),
    "queues": ("put", "take", "timed take", "task done", "join", "urgent", "take urgent", "simple", "take simple", "once", "take once"),
}
REFUSED = (queue.Empty, queue.Full, ValueError, RuntimeError, CancelledError, InvalidStateError, concurrent.futures.TimeoutError)


class Things:
    """What the threads of one execution share, and what each of them saw."""

    def __init__(self, world):
        self.cell = world.shared(0, "cell")
        self.futures = (Future(), Future())
        self.pools = {}
        self.number = world.shared(0, "submitted")  # written and read in the steps that use the list, which nobody sees
        self.submitted = []
        self.event = threading.Event()
        self.timer = threading.Timer(1.0, self.event.set)
        self.condition = threading.Condition()
        self.flag = False
        self.queues = (queue.Queue(1), queue.PriorityQueue(), queue.SimpleQueue(), SetQueue())
        self.seen = {}

    def run_with_pool(self, name, todo, workers):
        """Do what was drawn, with a pool of one's own."""
        with ThreadPoolExecutor(workers) as pool:
            self.pools[name] = pool
            self.run(name, todo)

    def run(self, name, todo):
        """Do what was drawn."""
        seen = self.seen.setdefault(name, [])
        for number, (what, which) in enumerate(todo):
            try:
                seen.append(self.one(what, which, f"{name}{number}", self.pools.get(name)))
            except REFUSED as refused:
                seen.append(type(refused).__name__)

    def one(self, what, which, label, pool):
        future = self.futures[which]
        bounded, urgent, simple, once = self.queues
        calls = {
            "finish": lambda: future.set_result(label),
            "fail": lambda: future.set_exception(ValueError(label)),
            "cancel": future.cancel,
            "result": future.result,
            "timed result": lambda: future.result(timeout=1.0),
            "done": future.done,
            "running": future.running,
            "callback": lambda: future.add_done_callback(lambda done: self.cell.add(1)),
            "wait": lambda: len(concurrent.futures.wait(self.futures, 1.0, concurrent.futures.FIRST_COMPLETED).done),
            "as completed": lambda: sum(1 for _ in concurrent.futures.as_completed(self.futures, 1.0)),
            "submit": lambda: self.submit(pool.submit(self.cell.add, 1 + which)) if pool else self.cell.get(),
            "result of submitted": lambda: self.submitted[-1].result() if self.number.get() else None,
            "cancel submitted": lambda: self.submitted[-1].cancel() if self.number.get() else None,
            "shut down": lambda: pool.shutdown(wait=bool(which)) if pool else None,
            "map": lambda: list(pool.map(abs, [-which])) if pool else None,
            "start timer": self.timer.start,
            "cancel timer": self.timer.cancel,
            "join timer": self.timer.join,
            "set": self.event.set,
            "await": lambda: self.event.wait(1.0 + which),
            "wait for": lambda: self.wait_for(None),
            "timed wait for": lambda: self.wait_for(1.0),
            "notify all": self.notify_all,
            "raise flag": lambda: setattr(self, "flag", True) or self.notify_all(),
            "put": lambda: bounded.put(label, timeout=1.0 if which else None),
            "take": bounded.get_nowait,
            "timed take": lambda: bounded.get(timeout=1.0),
            "task done": bounded.task_done,
            "join": bounded.join,
            "urgent": lambda: urgent.put((which, label)),
            "take urgent": lambda: urgent.get(timeout=1.0),
            "simple": lambda: simple.put(label),
            "take simple": lambda: simple.get(timeout=1.0),
            "once": lambda: once.put(which),
            "take once": lambda: once.get(timeout=1.0),
        }
        return calls[what]()

    def submit(self, future):
        self.number.add(1)
        self.submitted.append(future)

    def wait_for(self, timeout):
        with self.condition:
            return self.condition.wait_for(lambda: self.flag, timeout)

    def notify_all(self):
        with self.condition:
            self.condition.notify_all()


def scenario(seed):
    """Return the program of this seed."""
    rng = random.Random(seed)
    kind = rng.choice(sorted(DOINGS))
    programs = [[(rng.choice(DOINGS[kind]), rng.randrange(2)) for _ in range(rng.randint(1, 2))] for _ in range(rng.choice([2, 2, 3]))]
    workers = rng.choice([1, 2])

    @simharness.scenario(max_delay=rng.choice([0, 2.0]), allow_deadlock=True)
    def program(world):
        things = Things(world)
        for number, todo in enumerate(programs[:2] if kind == "pools" else programs):
            if kind == "pools" and number == 0:
                world.actor("a0", things.run_with_pool, "a0", todo, workers)
            else:
                world.actor(f"a{number}", things.run, f"a{number}", todo)

        @world.at_end
        def what_was_seen():
            world.outcome(repr((sorted(things.seen.items()), things.cell.get())))

    return program


def compare(seed, most):
    """Explore both ways and compare; False when brute force would take too long."""
    about = f"seed {seed}"
    results = both(scenario(seed), None, simharness.Settings(max_executions=most, shrink=0, max_steps=400), about)
    if results is None:
        return False
    reduced, everything = results
    assert reduced.executions <= everything.executions, about
    assert reduced.redundant == 0, about
    return True


def test_random_programs_over_futures_and_timers_come_to_the_same_with_and_without_reduction():
    with control.installed():
        assert sum(compare(seed, 150) for seed in range(20)) > 8


@pytest.mark.long
@pytest.mark.parametrize("first", range(20_000, 21_000, 200))
def test_many_random_programs_over_futures_and_timers_come_to_the_same_with_and_without_reduction(first):
    with control.installed():
        assert sum(compare(seed, 1_200) for seed in range(first, first + 200)) > 60
