"""Random threaded programs over every primitive, with timeouts: reduction comes to what brute force comes to.

Threads are started in the middle, hold locks over sleeps, wait with and without timeouts, and time may pass anywhere. A program is drawn
from a seed, so that a seed names it.
"""

import queue
import random
import threading
import time

import pytest

import simharness
from simharness.runtimes import control

LIMITS = simharness.Settings(max_executions=1_500, shrink=0, max_steps=400)
SPANS = (0.5, 1.0, 2.0)
PLAIN = ("lock", "unlock", "try", "timed", "sleep", "await", "set", "clear", "take", "put", "timed take", "read", "add", "clock")
RARER = ("wait", "notify", "acquire", "release", "timed acquire", "choose", "meet", "join", "timed join", "start", "start")


def draw(rng, depth=0):
    """Draw what one thread does."""
    todo = []
    for _ in range(rng.randint(1, 4 if depth == 0 else 3)):
        what = rng.choice(PLAIN + RARER)
        if what == "start":
            if depth < 2:
                todo.append(("start", draw(rng, depth + 1), 0))
        else:
            todo.append((what, rng.randrange(2), rng.choice(SPANS)))
    return todo


class Things:
    """What the threads of one execution share, and what each of them saw."""

    def __init__(self, world):
        self.world = world
        self.locks = (threading.Lock(), threading.RLock())
        self.events = (threading.Event(), threading.Event())
        self.queues = (queue.Queue(), queue.Queue(1))
        self.condition = threading.Condition(self.locks[0])
        self.semaphore = threading.Semaphore(1)
        self.barrier = threading.Barrier(2)
        self.cells = (world.shared(0, "c0"), world.shared(0, "c1"))
        self.seen = {}

    def run(self, name, todo):
        """Do what was drawn; in the end give back the locks that are held."""
        seen = self.seen.setdefault(name, [])
        held, children = [], []
        for number, (what, which, span) in enumerate(todo):
            if what == "start":
                child = threading.Thread(target=self.run, args=(f"{name}.{number}", which))
                children.append(child)
                child.start()
                continue
            try:
                self.one(what, which, span, held, children, seen)
            except (queue.Empty, queue.Full, threading.BrokenBarrierError) as refused:
                seen.append(type(refused).__name__)
        while held:
            self.locks[held.pop()].release()

    def one(self, what, which, span, held, children, seen):
        if what in ("lock", "try", "timed"):
            self.take_lock(what, which, span, held, seen)
        elif what == "unlock" and held:
            self.locks[held.pop()].release()
        elif what in ("wait", "notify") and 0 not in held:
            with self.condition:
                seen.append(self.condition.wait(span) if what == "wait" else self.condition.notify())
        elif what == "join" and children:
            children[0].join()
        elif what == "timed join" and children:
            children[0].join(timeout=span)
            seen.append(children[0].is_alive())
        else:
            self.simple(what, which, span, seen)

    def take_lock(self, what, which, span, held, seen):
        if which == 0 and 0 in held:
            return
        options = {"lock": {}, "try": {"blocking": False}, "timed": {"timeout": span}}[what]
        got = self.locks[which].acquire(**options)
        seen.append(got)
        if got:
            held.append(which)

    def simple(self, what, which, span, seen):
        calls = {
            "sleep": lambda: time.sleep(span),
            "await": lambda: self.events[which].wait(span),
            "set": self.events[which].set,
            "clear": self.events[which].clear,
            "take": self.queues[which].get_nowait,
            "put": lambda: self.queues[which].put_nowait(which),
            "timed take": lambda: self.queues[which].get(timeout=span),
            "read": self.cells[which].get,
            "add": lambda: self.cells[which].add(1),
            "clock": lambda: round(time.monotonic(), 3),
            "acquire": self.semaphore.acquire,
            "release": self.semaphore.release,
            "timed acquire": lambda: self.semaphore.acquire(timeout=span),
            "choose": lambda: self.world.choose([0, 1]),
            "meet": lambda: self.barrier.wait(timeout=span),
        }
        if what in calls:
            seen.append(calls[what]())


def scenario(seed):
    """Return the program of this seed."""
    rng = random.Random(seed)
    programs = [draw(rng) for _ in range(rng.choice([1, 2, 2, 3]))]
    checked = rng.random() < 0.2

    @simharness.scenario(max_delay=rng.choice([0, 1.0, 3.0, 5.0]), allow_deadlock=True)
    def program(world):
        things = Things(world)
        if checked:

            @world.always
            def never_two_and_none():
                assert (things.cells[0].get(), things.cells[1].get()) != (2, 0)

        for number, todo in enumerate(programs):
            world.actor(f"a{number}", things.run, f"a{number}", todo)

        @world.at_end
        def what_was_seen():
            world.outcome(repr((sorted(things.seen.items()), [cell.get() for cell in things.cells])))

    return program


def compare(seed):
    """Explore both ways and compare; False when brute force would take too long."""
    program = scenario(seed)
    everything = simharness.explore(program, strategy="exhaustive", stop_on_first=False, settings=LIMITS)
    if "stopped at" in everything.bounds:
        return False
    reduced = simharness.explore(program, "dpor", stop_on_first=False, settings=LIMITS)
    assert reduced.outcomes == everything.outcomes, f"seed {seed}"
    assert (reduced.deadlocks > 0) == (everything.deadlocks > 0), f"seed {seed}"
    assert reduced.verdict == everything.verdict, f"seed {seed}"
    assert reduced.executions <= everything.executions, f"seed {seed}"
    assert reduced.redundant == 0, f"seed {seed}"
    return True


def test_random_threaded_programs_come_to_the_same_with_and_without_reduction():
    with control.installed():
        assert sum(compare(seed) for seed in range(12)) > 5


@pytest.mark.long
@pytest.mark.parametrize("first", range(10_000, 11_000, 250))
def test_many_random_threaded_programs_come_to_the_same_with_and_without_reduction(first):
    with control.installed():
        assert sum(compare(seed) for seed in range(first, first + 250)) > 150
