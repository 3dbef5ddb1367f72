"""Where an execution is ended in a loop that nobody ends, the verdict says what keeps that loop from being seen as waiting, and where."""

import inspect
import itertools
import logging
import threading
import time

import pytest

import simharness
from simharness import Settings, Verdict
from tests.real_time import RealTime

log = logging.getLogger("tests.loops")


class Seen:
    value = None


def counts(cell, other):
    tries = 0
    while not cell.get():
        tries += 1
        time.sleep(0.01)


def waits_longer_each_time(cell, other):
    delay = 0.01
    while not cell.get():
        time.sleep(delay)
        delay = min(delay * 2, 1e6)


def stores(cell, other):
    while not cell.get():
        Seen.value = 1


def logs(cell, other):
    while not cell.get():
        log.info("waiting")


def reads_the_clock(cell, other):
    while not cell.get() and time.monotonic() > 0:
        pass


def advances(cell, other):
    for _ in itertools.repeat(None):
        if cell.get():
            break


def looks_in_a_generator(cell, other):
    def looks():
        while not cell.get():
            yield

    for _ in looks():
        pass


def appends(cell, other):
    found = []
    while not cell.get():
        found.append(1)


def writes(cell, other):
    while not cell.get():
        other.add(1)


def ends(cell, other):
    for _ in range(4):
        cell.get()


LOOPS = {
    counts: "it counts, or changes a value in place",
    waits_longer_each_time: "it ",
    stores: "it stores ",
    logs: "it logs",
    reads_the_clock: "it reads a clock",
    advances: "it advances an iterator",
    looks_in_a_generator: "it runs in a generator",
    appends: "it calls list.append, which may change something",
    writes: "it writes (add of other)",
}


def looping(loop):
    def play(world):
        cell, other = world.shared(0, "cell"), world.shared(0, "other")
        world.actor("loops", loop, cell, other)
        world.actor("ends", ends, cell, other)
        world.actor("is blocked", threading.Event().wait)

    return play


def said(result):
    """What the verdict says of loops."""
    return [part for part in result.bounds.split("; ") if "is not seen as waiting" in part]


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
def test_a_loop_that_is_not_seen_as_waiting_says_why_and_where(loop):
    result = simharness.explore(looping(loop), "dpor", settings=Settings(max_executions=2, max_steps=100, confirm=False))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "cut at max_steps=100" in result.bounds
    (text,) = said(result)
    assert text.startswith(f"loops's loop is not seen as waiting: {LOOPS[loop]}")
    lines, first = inspect.getsourcelines(loop)
    assert any(text.endswith(f"/test_obstacles.py:{line}") for line in range(first, first + len(lines)))


def test_nothing_is_said_of_an_actor_whose_loop_is_over():
    def play(world):
        cell, other, event = world.shared(0, "cell"), world.shared(0, "other"), threading.Event()

        def looped():
            for _ in range(8):
                cell.get()
            event.wait()

        world.actor("looped", looped)
        world.actor("loops", writes, cell, other)

    result = simharness.explore(play, "dpor", settings=Settings(max_executions=1, max_steps=400, confirm=False))
    (text,) = said(result)
    assert text.startswith("loops's loop")


def test_the_reason_stands_beside_the_time_that_ended_the_exploration(monkeypatch):
    real_time = RealTime(monkeypatch)

    def slow(cell, other):
        while not cell.get():
            other.add(1)
            real_time.step(1.0)

    result = simharness.explore(looping(slow), "dpor", settings=Settings(max_seconds=100))
    assert "stopped at max_seconds=100" in result.bounds
    (text,) = said(result)
    assert text.startswith("loops's loop is not seen as waiting: it writes (add of other)")


def test_nothing_is_said_of_loops_where_all_executions_end_or_none_was_searched():
    assert not said(simharness.explore(looping(ends), settings=Settings(max_executions=2, confirm=False)))
    assert not said(simharness.explore(looping(writes), "exhaustive", settings=Settings(max_executions=2, max_steps=100, confirm=False)))
