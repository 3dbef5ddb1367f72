"""Random programs over executors: the modelled pool has the outcomes of the genuine one, and its footprints those of brute force."""

from __future__ import annotations

import concurrent.futures
import random
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

import simharness
from simharness.runtimes import control

LIMITS = {"shrink": 0, "max_steps": 600}
REFUSED = (CancelledError, TimeoutError, RuntimeError, ValueError)
TASKS = ("add", "get", "append", "fail", "nest", "nest and wait", "sleep", "look", "cancel")
DOINGS = (
    *("submit", "submit", "submit", "result", "result", "timed result", "no time", "exception", "cancel", "cancel", "done", "running"),
    *("cancelled", "callback", "callback", "wait", "first", "first failure", "timed wait", "as completed", "timed as completed"),
    *("shut down", "shut down at once", "shut down and cancel", "map", "timed map", "add", "get"),
)
"""What the actors do; each draws some of it, the one with the pool begins with a submission."""


class GenuineExecutor(ThreadPoolExecutor):
    """One that overrides a method, which brings the genuine workers back."""

    def submit(self, fn, /, *args, **kwargs):
        return super().submit(fn, *args, **kwargs)


class Things:
    """What the actors of one execution share, and what each of them saw."""

    def __init__(self, world, pool):
        self.cell = world.shared(0, "cell")
        self.lock = threading.Lock()
        self.log = []
        self.pool = pool
        self.seen = {}

    def run(self, name, todo, futures):
        """Do what was drawn, with futures of one's own."""
        seen = self.seen.setdefault(name, [])
        for number, (what, which) in enumerate(todo):
            try:
                seen.append(self.one(what, which, f"{name}{number}", futures))
            except REFUSED as refused:
                seen.append(f"{type(refused).__name__} {refused}")

    def task(self, kind, label, futures=()):
        """The work of a task; `futures`: those submitted before."""
        if kind == "add":
            return self.cell.add(1)
        if kind == "get":
            return self.cell.get()
        if kind == "append":
            with self.lock:
                self.log.append(label)
        elif kind == "fail":
            raise ValueError(label)
        elif kind == "nest":
            self.pool.submit(self.task, "add", f"{label}'")
        elif kind == "nest and wait":
            return self.pool.submit(self.task, "get", f"{label}'").result()
        elif kind == "sleep":
            self.cell.add(10)
            threading.Event().wait(1.0)
        elif kind == "look":
            return [future.done() for future in futures[:2]]
        elif kind == "cancel" and futures:
            return futures[-1].cancel()
        return kind

    def one(self, what, which, label, futures):
        pool = self.pool
        if what == "submit":
            futures.append(pool.submit(self.task, TASKS[which % len(TASKS)], label, tuple(futures)))
            return None
        if what in {"shut down", "shut down at once", "shut down and cancel"}:
            return pool.shutdown(wait="at once" not in what, cancel_futures="cancel" in what)
        if what in {"map", "timed map"}:
            return list(pool.map(self.task, [TASKS[which % 3]] * 2, (label, label), timeout=1.0 if "timed" in what else None))
        if what in {"add", "get"}:
            return self.cell.add(100) if what == "add" else self.cell.get()
        if not futures:
            return "none"
        future = futures[which % len(futures)]
        calls = {
            "result": future.result,
            "timed result": lambda: future.result(timeout=1.0),
            "no time": lambda: future.result(timeout=0),
            "exception": lambda: repr(future.exception()),
            "cancel": future.cancel,
            "done": future.done,
            "running": future.running,
            "cancelled": future.cancelled,
            "callback": lambda: future.add_done_callback(lambda done: self.cell.add(1000) and done.running()),
            "as completed": lambda: [futures.index(done) for done in concurrent.futures.as_completed(futures)],
            "timed as completed": lambda: [futures.index(done) for done in concurrent.futures.as_completed(futures, 1.5)],
        }
        if what in calls:
            return calls[what]()
        how = {"first": concurrent.futures.FIRST_COMPLETED, "first failure": concurrent.futures.FIRST_EXCEPTION}
        timeout = 1.0 if what == "timed wait" else None
        done, _ = concurrent.futures.wait(list(futures), timeout, how.get(what, concurrent.futures.ALL_COMPLETED))
        return sorted(futures.index(one) for one in done)


def drawn(seed):
    """Return the number of workers, what the two actors do, whether the pool stays open, and how late actors may be."""
    rng = random.Random(seed)
    size = rng.choice([1, 1, 2, 2, 3])
    boss = [("submit", rng.randrange(99)) for _ in range(rng.choice([1, 1, 2]))]
    boss += [(rng.choice(DOINGS), rng.randrange(99)) for _ in range(rng.randint(1, 2))]
    other = [(rng.choice(DOINGS), rng.randrange(99)) for _ in range(rng.choice([0, 0, 1, 2]))]
    return size, boss, other, rng.random() < 0.2, rng.choice([0, 2.0])


def scenario(seed, executor):
    """Return the program of this seed, with this class of executors."""
    size, boss, other, stays_open, lateness = drawn(seed)

    @simharness.scenario(max_delay=lateness, allow_deadlock=True)
    def program(world):
        def run():
            things = Things(world, executor(size))
            kept.append(things)
            futures = []
            things.run("a", boss[:1], futures)
            thread = threading.Thread(target=things.run, args=("b", other, list(futures)), name="b")
            if other:
                thread.start()
            things.run("a", boss[1:], futures)
            if not stays_open:
                things.pool.shutdown()

        kept = []
        world.actor("a", run)

        @world.at_end
        def what_was_seen():
            things = kept.pop()
            world.outcome(repr((sorted(things.seen.items()), things.cell.get(), things.log)))

    return program


def explored(program, strategy, most):
    """Return the result; None where there are more than `most` executions, or one that is cut: the genuine `as_completed` polls."""
    limits = simharness.Settings(max_executions=most, **LIMITS)
    result = simharness.explore(program, strategy, stop_on_first=False, settings=limits)
    return None if result.executions >= most or "cut at" in result.bounds else result


def agree(one, other, about):
    """Two explorations have the same outcomes, and both find a deadlock or neither does."""
    assert one.outcomes == other.outcomes, about
    assert (one.deadlocks > 0) == (other.deadlocks > 0), about


def compare(seed, most):
    """Compare the modelled pool with the genuine one; False where that would take too long."""
    about = f"seed {seed}"
    modelled = explored(scenario(seed, ThreadPoolExecutor), "dpor", most)
    if modelled is None:
        return False
    assert modelled.redundant == 0, about
    everything = explored(scenario(seed, ThreadPoolExecutor), "exhaustive", most)
    if everything is not None:
        agree(modelled, everything, about)
    # The genuine executor has many times the orderings, and its brute force thousands of interleavings for a single task.
    genuine = explored(scenario(seed, GenuineExecutor), "dpor", most) if modelled.executions * 8 < most else None
    if genuine is None:
        return False
    agree(modelled, genuine, about)
    assert modelled.executions <= genuine.executions, about
    return True


def test_random_programs_have_the_outcomes_of_the_genuine_executor():
    with control.installed():
        assert sum(compare(seed, 80) for seed in range(120)) > 35


@pytest.mark.long
@pytest.mark.parametrize("first", range(10_000, 11_200, 100))
def test_many_random_programs_have_the_outcomes_of_the_genuine_executor(first):
    with control.installed():
        assert sum(compare(seed, 150) for seed in range(first, first + 100)) > 30


SMALLEST = ("cancel", "done", "running", "callback", "no time", "result", "shut down and cancel", "shut down at once")


@pytest.mark.long
@pytest.mark.parametrize("what", SMALLEST)
def test_the_smallest_programs_have_the_outcomes_of_brute_force_on_the_genuine_executor(what):
    def program(executor):
        def scenario(world):
            things = []

            def run():
                things[:] = [Things(world, executor(1))]
                futures = [things[0].pool.submit(things[0].cell.add, 1)]
                things[0].run("a", [(what, 0)], futures)

            world.actor("a", run)
            world.at_end(lambda: world.outcome(repr((things[0].seen, things[0].cell.get()))))

        return scenario

    with control.installed():
        everything = explored(program(GenuineExecutor), "exhaustive", 20_000)
        assert everything is not None
        agree(explored(program(ThreadPoolExecutor), "dpor", 1_000), everything, what)
