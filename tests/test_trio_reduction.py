"""Reduction among the tasks of one run: each ordering once, no outcome lost, and known numbers of orderings."""

from __future__ import annotations

import functools
import pathlib
import types

import pytest
import trio_programs

import simharness
from simharness import Settings
from simharness.authoring.loading import load
from simharness.authoring.scenario import Scenario
from simharness.engine.facts import until_settled
from simharness.engine.operations import CLOCK
from simharness.instrument.loader import compiled
from simharness.runtimes import control
from simharness.runtimes.trio.order import StepsCannotGrow, StepsGrow
from simharness.search import named
from simharness.simulation.simulation import Simulation
from simharness.verdicts.confirm import FRESH

SOURCE = pathlib.Path(trio_programs.__file__)
KINDS = trio_programs.PLAIN + trio_programs.SHARED


def instrumented():
    """Return the module of random programs, rewritten so that what its tasks share is known."""
    module = types.ModuleType("trio_programs_instrumented")
    exec(compiled(SOURCE.read_bytes(), str(SOURCE)), vars(module))
    return module


@pytest.fixture(scope="module")
def programs():
    return instrumented()


def note(seen, line):
    name = line.partition(".")[0] if isinstance(line, str) else "main"
    seen.setdefault(name, []).append(str(line))


class Explored:
    """All executions of a program with a strategy: what each task saw in each, and the classes that they belong to."""

    def __init__(self, module, program, strategy, limit, grows=True):
        self.seen = {}
        self.joint = {}
        self.executions = self.redundant = 0
        self.exhausted = False
        scenario = Scenario(lambda world: self.prepare(world, module, program), allow_deadlock=True)
        with Simulation(scenario, {}, Settings(max_steps=400)) as simulation:
            self.learned = simulation.kernel.learned
            if not grows:
                self.learned.learn(StepsCannotGrow())
            until_settled(self.learned, lambda mark: self.round(simulation, strategy, limit, mark))

    def prepare(self, world, module, program):
        self.seen = seen = {}

        things = module.Things(functools.partial(note, seen), apart=True)  # no function, which would count as code that is not instrumented
        things.cell = world.shared(0, "cell")
        world.actor("a", things.main, program)

    def round(self, simulation, strategy, limit, mark):
        """Explore until something new is learned, the limit or the end."""
        kernel = simulation.kernel
        search = named.made(strategy, kernel, simulation.settings)
        self.joint = {}
        self.executions = self.redundant = 0
        while (plan := search.begin()) is not None:
            if self.executions + self.redundant >= limit:
                return mark.renew()
            execution = simulation.execute(plan, search.choose, search.expected())
            search.end()
            if not mark.holds:
                return None
            if execution.status == "abandoned":
                self.redundant += 1
                continue
            self.executions += 1
            outcome = execution.status, tuple(sorted((name, *lines) for name, lines in self.seen.items()))
            known = self.joint.setdefault(ordering(kernel), outcome)
            assert known == outcome, "two executions of one ordering come to different ends"
        self.exhausted = True
        return None

    @property
    def outcomes(self):
        return set(self.joint.values())


def ordering(kernel):
    """Return the ordering of the kernel's last execution: for each step, by actor and number, the steps before that it conflicts with."""
    number = {}
    events = []
    for key in kernel.record.keys:
        name = kernel.mover(key)  # indices depend on what was run before
        number[name] = number.get(name, 0) + 1
        events.append((name, number[name]))
    found = set()
    for j, event in enumerate(events):
        reads, writes = kernel.record.reads[j] & ~CLOCK, kernel.record.writes[j]
        before = [
            events[i] for i in range(j) if writes & (kernel.record.reads[i] | kernel.record.writes[i]) or reads & kernel.record.writes[i]
        ]
        found.add((event, frozenset(before)))
    return frozenset(found)


def compare(module, seed, limit):
    """Compare reduction with brute force; return how much there was to reduce, 0 when it was too much."""
    program = trio_programs.program(seed, KINDS)
    everything = Explored(module, program, "exhaustive", limit)
    if not everything.exhausted:
        return 0
    reduced = Explored(module, program, "dpor", limit)
    assert reduced.exhausted, seed
    assert reduced.outcomes == everything.outcomes, seed
    assert reduced.executions == len(reduced.joint), f"{seed}: an ordering was run twice"
    assert reduced.joint.keys() == everything.joint.keys(), f"{seed}: the orderings are others"
    conservative = Explored(module, program, "exhaustive", 4 * limit, grows=False)
    if conservative.exhausted:
        assert conservative.outcomes == everything.outcomes, seed
    if StepsGrow() in everything.learned and StepsCannotGrow() not in everything.learned:
        return everything.executions / reduced.executions
    return 0


def test_random_programs_come_to_the_same_and_each_ordering_is_run_once(programs):
    with control.installed():
        assert sum(compare(programs, seed, 60) > 1 for seed in range(16)) > 4


@pytest.mark.long
@pytest.mark.parametrize("first", range(1_000, 1_200, 50))
def test_many_random_programs_come_to_the_same_and_each_ordering_is_run_once(programs, first):
    with control.installed():
        assert sum(compare(programs, seed, 2_000) > 1 for seed in range(first, first + 50)) > 10


# Known numbers


def explored(scenario, strategy="dpor", **settings):
    return simharness.explore(scenario, strategy=strategy, stop_on_first=False, settings=Settings(shrink=0, confirm=False, **settings))


SMALL = {scenario.name: scenario for scenario in load(str(pathlib.Path(__file__).with_name("trio_small.py")))}
COUNTS = {
    "independent": (1, 6),
    "one_list": (6, 6),
    "own_cells": (1, 6),
    "lost_update": (4, 6),
    "waiters": (4, 30),
    "one_lock": (4, 168),
    "two_locks": (1, 20),
    "a_channel": (13, 29),
    "cancelled": (3, 3),
    "opposite_locks": (5, 8),
    "at_once": (4, 6),
    "set_or_cancelled": (7, 10),
    "it_depends": (6, 24),
}


@pytest.mark.parametrize("name", list(SMALL))
def test_small_programs_have_their_known_numbers_of_orderings_and_interleavings(name):
    scenario = SMALL[name]
    reduced, everything = explored(scenario), explored(scenario, "exhaustive")
    assert (reduced.executions, everything.executions) == COUNTS[name]
    assert reduced.outcomes == everything.outcomes
    assert (reduced.deadlocks > 0) == (everything.deadlocks > 0) == (name == "opposite_locks")
    assert reduced.redundant == (2 if name == "it_depends" else 0)
    assert "steps reduced by what they touch" in reduced.bounds


def test_the_batches_of_trio_are_not_reduced():
    assert explored(SMALL["one_list"], trio_order="batches").executions == 4
    assert len(explored(SMALL["one_list"], trio_order="batches").outcomes) == 4


@pytest.mark.confirms
def test_a_counterexample_of_tasks_whose_steps_are_reduced_is_confirmed_in_a_fresh_process_and_replayed():
    found = simharness.explore(SMALL["opposite_locks"]).counterexample
    assert found.confirmed == FRESH
    assert "trio-steps-grow" in found.token
    again = simharness.replay(SMALL["opposite_locks"], found.token)
    assert again.failure == found.failure
    assert again.token == found.token


MISFITS = """
import threading, time
import trio, simharness
from plain import Stock

def tasks(*works):
    async def main():
        async with trio.open_nursery() as nursery:
            for work in works:
                nursery.start_soon(work)
    return main

async def rest():
    await trio.lowlevel.checkpoint()

@simharness.scenario
def a_deadline(world):
    async def sleep():
        await trio.sleep(1)
    world.actor("a", tasks(rest, sleep))

@simharness.scenario
def a_worker(world):
    async def work():
        await trio.to_thread.run_sync(time.sleep, 0)
    world.actor("a", tasks(rest, work))

@simharness.scenario
def another_actor(world):
    world.actor("a", tasks(rest, rest))
    world.actor("b", lambda: time.sleep(0))

@simharness.scenario
def another_run(world):
    world.actor("a", tasks(rest, rest))
    world.actor("b", tasks(rest, rest))

@simharness.scenario
def a_choice(world):
    async def choose():
        await trio.lowlevel.checkpoint()
        world.outcome(world.choose([1, 2]))
    world.actor("a", tasks(rest, choose))

@simharness.scenario
def a_blocking_wait(world):
    lock = threading.Lock()
    async def take():
        with lock:
            world.outcome(lock.acquire(timeout=1))
            await trio.lowlevel.checkpoint()
    world.actor("a", tasks(rest, take))

@simharness.scenario
def a_callback(world):
    async def calls():
        trio.lowlevel.current_trio_token().run_sync_soon(world.outcome, 1)
        await trio.lowlevel.checkpoint()
    world.actor("a", tasks(rest, calls))

@simharness.scenario
def all_blocked(world):
    from trio.testing import wait_all_tasks_blocked
    world.actor("a", tasks(rest, wait_all_tasks_blocked))

@simharness.scenario
def a_check(world):
    cell = world.shared(0, "cell")
    @world.always
    def positive():
        assert cell.get() >= 0
    async def add():
        cell.add(1)
        await trio.lowlevel.checkpoint()
        cell.add(-1)
    world.actor("a", tasks(add, add))

@simharness.scenario(expect="violated")
def code_that_is_not_instrumented(world):
    stock = Stock()
    world.actor("a", tasks(stock.sell, stock.sell))
    @world.at_end
    def sold_once():
        assert stock.left == 0
"""
MISFITS += """
@simharness.scenario(expect="violated")
def methods_that_are_not_instrumented(world):
    stock = Stock()
    async def sell():
        if stock.available():
            await trio.lowlevel.checkpoint()
            stock.take()
    world.actor("a", tasks(sell, sell))
    @world.at_end
    def sold_once():
        assert stock.left == 0
"""
MISFITS += """
import os
from pathlib import Path

def sold_once(world, sold, sell):
    async def task():
        if not sold():
            await trio.lowlevel.checkpoint()
            sell()
    world.actor("a", tasks(task, task))
    @world.at_end
    def one_line():
        assert Path(world.path("sales")).read_text().count("sold") == 1

@simharness.scenario(expect="violated")
def files_that_are_not_instrumented(world):
    path = world.path("sales")
    def sell():
        with open(path, "a") as file:
            file.write("sold\\n")
    sold_once(world, lambda: os.path.exists(path), sell)

@simharness.scenario(expect="violated")
def paths_that_are_not_instrumented(world):
    path = Path(world.path("sales"))
    def sell():
        path.write_text((path.read_text() if path.exists() else "") + "sold\\n")
    sold_once(world, path.exists, sell)
"""
PLAIN = """
import trio

class Stock:
    left = 1

    async def sell(self):
        if self.left:
            await trio.lowlevel.checkpoint()
            self.left -= 1

    def available(self):
        return self.left > 0

    def take(self):
        self.left -= 1
"""


def test_what_does_not_fit_into_a_step_or_is_not_instrumented_keeps_all_steps_of_a_run_in_conflict(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "plain.py").write_text(PLAIN, encoding="utf-8")
    (tmp_path / "misfits.py").write_text(MISFITS, encoding="utf-8")
    scenarios = load(str(tmp_path / "misfits.py"))
    assert len(scenarios) == 13
    for scenario in scenarios:
        result = explored(scenario, max_executions=40, instrument="test")
        assert "all steps of a run conflict" in result.bounds, scenario.name
        assert result.redundant == 0, scenario.name
        assert result.verdict in (scenario.expected({}), "inconclusive"), scenario.name
        assert result.verdict == "violated" or "not_instrumented" not in scenario.name


def test_faults_keep_all_steps_of_a_run_in_conflict():
    result = simharness.explore(SMALL["own_cells"], faults="crash=1", stop_on_first=False, settings=Settings(shrink=0, confirm=False))
    assert result.verdict == "verified"
    assert "all steps of a run conflict" in result.bounds


@pytest.mark.parametrize("bound", [{"preemptions": 1}, {"delays": 1}])
def test_bounds_on_schedules_hold_with_reduction_among_tasks(bound):
    for scenario in SMALL.values():
        reduced, everything = explored(scenario, **bound), explored(scenario, "exhaustive", **bound)
        assert reduced.outcomes == everything.outcomes, scenario.name
        assert (reduced.deadlocks > 0) == (everything.deadlocks > 0), scenario.name
