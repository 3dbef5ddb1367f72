"""Handlers that strike anywhere: what they find, on random programs against every place at which the handler's code can stand."""

from __future__ import annotations

import queue
import random
import threading

import pytest
import trio

import simharness
from simharness import Misuse


def explored(scenario, **options):
    return simharness.explore(scenario, stop_on_first=False, settings=simharness.Settings(confirm=False, shrink=0), **options)


@pytest.mark.parametrize(
    ("make", "verdict"),
    [
        (threading.Lock, "violated"),
        (threading.RLock, "verified"),
        (threading.Condition, "verified"),
        (lambda: threading.Semaphore(1), "violated"),
    ],
)
def test_a_handler_that_takes_the_lock_of_the_code_it_interrupts_waits_for_ever_unless_that_is_reentrant(make, verdict):
    def scenario(world):
        lock = make()

        def work():
            with lock:
                world.step("inside")

        def handler():
            with lock:
                world.step("handled")

        world.actor("a", work)
        world.handler(handler, on="a")

    result = explored(scenario)
    assert result.verdict == verdict
    assert bool(result.deadlocks) is (verdict == "violated")


@pytest.mark.parametrize(
    ("make", "use", "verdict"),
    [
        (queue.Queue, lambda q: q.put(1), "violated"),
        (queue.SimpleQueue, lambda q: q.put(1), "verified"),
        (threading.Event, lambda e: e.set(), "violated"),
        (threading.Event, lambda e: e.is_set(), "verified"),
        (threading.Event, lambda e: e.wait(0), "violated"),
        (lambda: threading.Semaphore(5), lambda s: s.release(), "violated"),
        (lambda: threading.Barrier(1), lambda b: b.wait(), "violated"),
        (threading.Condition, lambda c: c.acquire() and c.notify() is c.release(), "verified"),
    ],
)
def test_a_handler_that_uses_what_it_interrupts_waits_for_ever_where_the_standard_library_has_a_mutex(make, use, verdict):
    def scenario(world):
        thing = make()
        world.actor("a", use, thing)
        world.handler(use, thing, on="a")

    assert explored(scenario).verdict == verdict


def test_an_attempt_to_take_the_lock_is_safe():
    def scenario(world):
        lock = threading.Lock()

        def work():
            with lock:
                world.step("inside")

        def handler():
            taken = lock.acquire(blocking=False)
            world.outcome(taken)
            if taken:
                lock.release()

        world.actor("a", work)
        world.handler(handler, on="a")

    result = explored(scenario)
    assert result.verdict == "verified"
    assert {True, False} <= result.outcomes


def test_a_handler_runs_before_each_operation_and_after_the_last_or_not_at_all():
    def scenario(world):
        cell, seen = world.shared(0, "cell"), []

        def work():
            for n in (1, 2):
                cell.set(n)

        world.actor("a", work)
        world.handler(lambda: seen.append(cell.get()), on="a")
        world.at_end(lambda: world.outcome(tuple(seen)))

    result = explored(scenario)
    assert (result.executions, result.outcomes) == (4, {(), (0,), (1,), (2,)})
    assert "handler <lambda> at most 1 time at any point of a" in result.bounds


def test_a_handler_may_run_as_often_as_it_is_declared_and_inside_itself():
    def scenario(world):
        world.actor("a", world.step, "x")
        depth, deepest = [0], [0]

        def handler():
            depth[0] += 1
            deepest[0] = max(deepest[0], depth[0])
            world.step("handled")
            depth[0] -= 1

        world.handler(handler, on="a", times=2)
        world.at_end(lambda: world.outcome(deepest[0]))

    assert explored(scenario).outcomes == {0, 1, 2}


def test_what_a_handler_raises_comes_out_of_the_operation_that_it_interrupts():
    def scenario(world):
        lock = threading.Lock()

        def work():
            try:
                with lock:
                    world.step("inside")
            except TimeoutError:
                assert not lock.locked()
                world.outcome("caught")

        def late():
            raise TimeoutError

        world.actor("a", work)
        world.handler(late, on="a")

    result = explored(scenario)
    assert result.outcomes >= {"caught"}
    assert "TimeoutError" in result.counterexample.failure  # after its last operation, where nobody catches it


def test_a_handler_for_faults_strikes_only_where_the_fault_model_allows_it():
    def scenario(world):
        seen = []
        world.actor("a", world.step, "x")
        world.handler(lambda: seen.append("f"), on="a", times=0)
        world.at_end(lambda: world.outcome(len(seen)))

    assert explored(scenario).outcomes == {0}
    result = explored(scenario, faults="handler=2")
    assert result.outcomes == {0, 1, 2}
    assert "at most 2 strike of a handler, at any point of its actor" in result.bounds
    assert explored(scenario, faults="handler=1@other").outcomes == {0}


def test_a_budget_for_handlers_is_one_for_all_of_them():
    def scenario(world):
        seen = []
        for name in "ab":
            world.actor(name, world.step, "x")
            world.handler(seen.append, name, on=name, times=0)
        world.at_end(lambda: world.outcome("".join(sorted(seen))))

    assert explored(scenario, faults="handler=1").outcomes == {"", "a", "b"}


def test_a_handler_strikes_a_function_that_starts_threads():
    def scenario(world):
        lock = threading.Lock()
        world.handler(lock.acquire, on="MainThread")
        thread = threading.Thread(target=world.step, args=("x",))
        thread.start()
        with lock:
            thread.join()

    assert explored(scenario).verdict == "violated"


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (lambda world: world.handler(print, on="b"), "there is no actor 'b'; declare it first; actors: a, MainThread"),
        (lambda world: world.handler(3, on="a"), "world.handler needs a plain function to call, not 3"),
        (lambda world: world.handler(print, on="a", times=-1), "times=-1 must be a number, at least 0"),
    ],
)
def test_a_wrong_declaration_is_refused_with_its_line(declare, said):
    def scenario(world):
        world.actor("a", world.step, "x")
        declare(world)

    with pytest.raises(Misuse, match=r"test_handlers\.py") as caught:
        explored(scenario)
    assert said in str(caught.value)


def test_a_block_of_with_gives_its_lock_back_when_a_handler_raises_at_its_end():
    def scenario(world):
        locks = threading.Lock(), threading.RLock()

        def work():
            try:
                with locks[0], locks[1]:
                    world.step("inside")
            except TimeoutError:
                world.outcome(locks[0].acquire(blocking=False))

        def late():
            raise TimeoutError

        world.actor("a", work)
        world.handler(late, on="a")

    assert explored(scenario).outcomes == {True}


def test_an_actor_that_a_handler_strikes_cannot_run_trio():
    async def nothing():
        await trio.lowlevel.checkpoint()

    def scenario(world):
        world.actor("a", lambda: trio.run(nothing))
        world.handler(print, on="a")

    with pytest.raises(Misuse, match=r"world\.handler cannot strike inside Trio"):
        explored(scenario)


def test_a_counterexample_with_a_handler_is_replayed_and_explained():
    def scenario(world):
        lock = threading.Lock()

        def work():
            with lock:
                world.step("inside")

        def on_signal():
            with lock:
                world.step("handled")

        world.actor("a", work)
        world.handler(on_signal, on="a")

    found = simharness.explore(scenario).counterexample
    assert "handler on_signal runs" in found.timeline
    assert simharness.replay(scenario, found.token).failure == found.failure


def drawn(rng):
    """Operations of an actor with the lock given back at the end."""
    done, held = [], False
    for _ in range(rng.choice([1, 2, 3])):
        kind = rng.choice(("get", "set", "add", "lock", "try", "event set", "event look", "simple put"))
        if kind == "lock":
            done += ["unlock"] if held else ["lock"]
            held = not held
        else:
            done.append(kind)
    return done + ["unlock"] * held


class Things:
    """What a random program works on, and what it has seen."""

    def __init__(self, world):
        self.cell, self.lock, self.event = world.shared(0, "cell"), threading.Lock(), threading.Event()
        self.queue, self.seen = queue.SimpleQueue(), []

    def do(self, who, kind):
        if kind == "get":
            self.seen.append((who, self.cell.get()))
        elif kind == "set":
            self.cell.set(len(who))
        elif kind == "add":
            self.cell.set(self.cell.get() + 1)
        elif kind == "lock":
            self.lock.acquire()
        elif kind == "unlock":
            self.lock.release()
        elif kind == "try":
            taken = self.lock.acquire(blocking=False)
            self.seen.append((who, taken))
            if taken:
                self.lock.release()
        elif kind == "event look":
            self.seen.append((who, self.event.is_set()))
        elif kind == "simple put":
            self.queue.put(who)
        else:
            self.event.set()


def outcomes(programs, handler, at=None, declared=False):
    """Explore; `at`: the actor and the moment at which the handler's code stands in its program, or None."""

    def scenario(world):
        things = Things(world)

        def run(name, operations):
            for number, kind in enumerate(operations):
                if at == (name, number):
                    run("handler", handler)
                things.do(name, kind)
            if at == (name, len(operations)):
                run("handler", handler)

        for name, operations in programs.items():
            world.actor(name, run, name, operations)
        if declared:
            world.handler(run, "handler", handler, on="a")

        def end():
            kept = sorted(things.seen, key=lambda pair: pair[0])
            world.outcome((tuple(kept), things.cell.get(), things.queue.qsize(), things.event.is_set()))

        world.at_end(end)

    result = explored(scenario)
    assert "stopped" not in result.bounds, result.bounds
    return result.outcomes | ({"deadlock"} if result.deadlocks else set())


def compare(seed):
    """The outcomes with a handler are those of all programs into which its code has been written, and of the one without."""
    rng = random.Random(seed)
    programs = {"a": drawn(rng), "bb": drawn(rng)}
    handler = drawn(rng)
    # Operations of several steps can be interrupted inside: they are not drawn for the actor that is struck.
    programs["a"] = [kind for kind in programs["a"] if kind not in ("add", "try", "event set")] or ["get"]
    if programs["a"].count("lock") != programs["a"].count("unlock"):
        programs["a"] = ["lock", "get", "unlock"]
    wanted = outcomes(programs, handler)
    for position in range(len(programs["a"]) + 1):
        wanted |= outcomes(programs, handler, ("a", position))
    assert outcomes(programs, handler, declared=True) == wanted, f"seed {seed}: {programs} {handler}"


@pytest.mark.parametrize("first", range(0, 100, 25))
def test_random_programs_have_the_outcomes_of_every_place_at_which_the_handler_can_stand(first):
    for seed in range(first, first + 25):
        compare(seed)


@pytest.mark.long
@pytest.mark.parametrize("first", range(1000, 2000, 100))
def test_many_random_programs_have_the_outcomes_of_every_place_at_which_the_handler_can_stand(first):
    for seed in range(first, first + 100):
        compare(seed)
