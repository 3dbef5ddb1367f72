"""Waiting in place of looking again and again loses no outcome and adds none: random programs against every interleaving of their turns."""

import pytest

import simharness
from simharness.engine import polling
from simharness.exploring import rounds
from tests.random_polls import PLAIN, Program, draw

ENOUGH = 1 << 60


class Seen:
    """The states in which the executions of one exploration ended, or were cut, and how those that ended did."""

    def __init__(self, monkeypatch, actors):
        self.actors = actors
        self.complete, self.stuck, self.cut = set(), set(), set()
        self.awaits = 0
        self.monkeypatch = monkeypatch

    def scenario(self):
        def polls(world):
            self.program = Program(world, self.actors)

        return polls

    def explore(self, strategy, steps, most, delay=5.0):
        genuine, latest = rounds.Tally.add, []

        def add(tally, execution, kernel):
            genuine(tally, execution, kernel)
            if latest != [tally]:  # exploring has started over
                latest[:] = [tally]
                for states in (self.complete, self.stuck, self.cut):
                    states.clear()
            into = {"complete": self.complete, "deadlock": self.stuck, "cut": self.cut}.get(execution.status)
            if into is not None:
                into.add(self.program.state())
            self.awaits += any(str(operation.kind) == "await" for operation in kernel.record.operations)

        self.monkeypatch.setattr(rounds.Tally, "add", add)
        scenario = simharness.scenario(max_delay=delay, allow_deadlock=True)(self.scenario())
        settings = simharness.Settings(max_executions=most, max_steps=steps, shrink=0, confirm=False)
        try:
            return simharness.explore(scenario, strategy, stop_on_first=False, settings=settings)
        finally:
            self.monkeypatch.setattr(rounds.Tally, "add", genuine)


def check(seed, timed, monkeypatch, waits=False):
    """Compare; return whether the program was small enough to see what is added, too, and whether its actors waited."""
    actors = draw(seed, timed, waits)
    delay = (5.0, 0.0, 1.5)[seed % 3] if timed else 5.0
    every = Seen(monkeypatch, actors)
    brute = every.explore("exhaustive", 11 if timed else 12, 700, delay)
    waiting = Seen(monkeypatch, actors)
    result = waiting.explore("dpor", 100, 200, delay)
    lost = every.complete - waiting.complete
    assert not lost or not result.bounds.startswith("all"), f"seed {seed}: lost {sorted(lost, key=repr)[:3]} of {actors}"
    assert not result.redundant, f"seed {seed}"
    if "stopped at" in brute.bounds:
        return False, waiting.awaits > 0
    added, livelocks = waiting.complete - every.complete, waiting.stuck - every.stuck - every.cut
    with monkeypatch.context() as patched:
        patched.setattr(polling, "LONG", ENOUGH)
        # Time passes while an actor looks without a pause: only lateness lets it pass there without awaiting.
        delay = 1e6 if any(kind in PLAIN and not pause for todo in actors for kind, _, _, pause in todo) else delay
        for strategy, steps in (("dpor", 80), ("random", 60), ("pos", 60)):
            if added or livelocks:
                longer = Seen(monkeypatch, actors)
                longer.explore(strategy, steps, 2_000, delay)
                added -= longer.complete
                livelocks -= longer.stuck | longer.cut
    assert not added | livelocks, f"seed {seed}: added {added}, {livelocks} to {actors}"
    return True, waiting.awaits > 0


def compare(first, number, timed, monkeypatch, waits=False):
    done = [check(seed, timed, monkeypatch, waits) for seed in range(first, first + number)]
    assert sum(waited for _, waited in done) >= number // (12 if waits else 8)
    return done


@pytest.mark.parametrize("part", range(2))
def test_looks_without_time_between_them(part, monkeypatch):
    compare(part * 12, 12, False, monkeypatch)


@pytest.mark.parametrize("part", range(2))
def test_looks_with_time_between_them(part, monkeypatch):
    compare(part * 12, 12, True, monkeypatch)


def test_looks_beside_waits_that_end_in_time(monkeypatch):
    compare(30_000, 4, True, monkeypatch, waits=True)


@pytest.mark.long
@pytest.mark.parametrize("part", range(1, 6))
def test_many_looks_beside_waits_that_end_in_time(part, monkeypatch):
    compare(part * 1000, 24, True, monkeypatch, waits=True)


@pytest.mark.long
@pytest.mark.parametrize("part", range(1, 11))
def test_many_looks_without_time_between_them(part, monkeypatch):
    compare(part * 1000, 120, False, monkeypatch)


@pytest.mark.long
@pytest.mark.parametrize("part", range(1, 11))
def test_many_looks_with_time_between_them(part, monkeypatch):
    compare(part * 1000, 120, True, monkeypatch)
