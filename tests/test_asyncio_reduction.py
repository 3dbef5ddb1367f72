"""Reduction among the tasks of one loop: no outcome of any order is lost, each ordering of the superset once, and known numbers."""

from __future__ import annotations

import functools
import pathlib
import types

import asyncio_shared
import pytest
from test_trio_reduction import ordering

import simharness
from simharness import Settings, Verdict
from simharness.authoring.loading import load
from simharness.authoring.scenario import Scenario
from simharness.engine.facts import until_settled
from simharness.instrument.loader import compiled
from simharness.runtimes import control
from simharness.runtimes.aio.order import StepsCannotGrow, StepsGrow, grows
from simharness.search import named
from simharness.simulation.simulation import Simulation

SOURCE = pathlib.Path(asyncio_shared.__file__)


@pytest.fixture(scope="module")
def programs():
    module = types.ModuleType("asyncio_shared_instrumented")
    exec(compiled(SOURCE.read_bytes(), str(SOURCE)), vars(module))
    return module


def note(seen, who, line):
    seen.setdefault(who, []).append(str(line))


class Explored:
    """All executions of a program with a strategy: what each task saw in each, and the classes that they belong to."""

    def __init__(self, module, program, strategy, limit, widened):
        self.exhausted = False
        scenario = Scenario(lambda world: self.prepare(module, program), allow_deadlock=True, max_delay=0.0)
        with Simulation(scenario, {}, Settings(max_steps=400)) as simulation:
            self.learned = simulation.kernel.learned
            self.learned.learn(StepsGrow() if widened else StepsCannotGrow())
            until_settled(self.learned, lambda mark: self.round(simulation, strategy, limit, mark))

    @property
    def widened(self):
        return grows(self.learned)

    def prepare(self, module, program):
        self.seen = seen = {}
        module.Things(functools.partial(note, seen)).run(*program)

    def round(self, simulation, strategy, limit, mark):
        kernel = simulation.kernel
        search = named.made(strategy, kernel, simulation.settings)
        self.joint, self.executions = {}, 0
        while (plan := search.begin()) is not None:
            if self.executions >= limit:
                return mark.renew()
            execution = simulation.execute(plan, search.choose, search.expected())
            search.end()
            if not mark.holds:
                return None
            self.executions += 1
            if execution.status == "abandoned":
                continue
            outcome = execution.status, execution.failure is not None, tuple(sorted((str(who), *lines) for who, lines in self.seen.items()))
            assert self.joint.setdefault(ordering(kernel), outcome) == outcome, "two executions of one ordering come to different ends"
        self.exhausted = True
        return None

    @property
    def outcomes(self):
        return set(self.joint.values())


def compare(module, program, limit):
    """Compare the reduced superset with its brute force and with the orderings of the queue; return by how much it was reduced."""
    reduced = Explored(module, program, "dpor", limit, widened=True)
    plain = Explored(module, program, "dpor", limit, widened=False)
    if reduced.exhausted and plain.exhausted:
        assert plain.outcomes <= reduced.outcomes, program
        assert reduced.widened or plain.outcomes == reduced.outcomes, program
    if not reduced.widened or not reduced.exhausted:
        return 0
    everything = Explored(module, program, "exhaustive", 4 * limit, widened=True)
    if everything.exhausted:
        assert reduced.outcomes == everything.outcomes, program
        assert reduced.joint.keys() == everything.joint.keys(), program
        return everything.executions / reduced.executions
    return 0


def test_random_programs_lose_no_outcome_and_each_ordering_is_run_once(programs):
    small = {"tasks": (2,), "lengths": (1, 2)}
    with control.installed():
        reductions = [compare(programs, asyncio_shared.program(seed, asyncio_shared.KNOWN, **small), 60) for seed in range(12)]
    assert sum(reduction > 1 for reduction in reductions) > 2


def test_what_is_not_known_ends_the_reduction_and_loses_nothing(programs):
    with control.installed():
        for seed, operation in enumerate(asyncio_shared.UNKNOWN):
            program = "wait", [[(operation, 1)], [("add", 1)]]
            assert compare(programs, program, 60) == 0, (seed, operation)


@pytest.mark.long
@pytest.mark.parametrize("first", range(1_000, 1_200, 50))
def test_many_random_programs_lose_no_outcome_and_each_ordering_is_run_once(programs, first):
    everything = asyncio_shared.KNOWN + asyncio_shared.UNKNOWN
    with control.installed():
        for seed in range(first, first + 50):
            compare(programs, asyncio_shared.program(seed, everything), 500)


TASKS = """
import asyncio, simharness

class Counter:
    def __init__(self):
        self.value = 0

async def count(counter, pauses):
    for _ in range(pauses):
        value = counter.value
        await asyncio.sleep(0)
        counter.value = value + 1

@simharness.scenario
def apart(world):
    async def main():
        counters = [Counter() for _ in range(4)]
        await asyncio.gather(*[count(each, 3) for each in counters])
        assert all(each.value == 3 for each in counters)
    asyncio.run(main())

@simharness.scenario
def two_of_them_share(world):
    async def main():
        counters = [Counter() for _ in range(3)]
        await asyncio.gather(*[count(each, 2) for each in counters], count(counters[0], 1))
        assert counters[0].value == 3
    asyncio.run(main())

@simharness.scenario
def relies_on_the_queue(world):
    started, seen = [], []
    async def main():
        async def first():
            started.append(1)
            await asyncio.sleep(0)
        async def last():
            seen.append(len(started))
            await asyncio.sleep(0)
        await asyncio.gather(first(), last(), *[count(Counter(), 1) for _ in range(2)])
    asyncio.run(main())
    assert seen == [1]
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    file = tmp_path_factory.mktemp("tasks") / "counters.py"
    file.write_text(TASKS)
    return {scenario.name: scenario for scenario in load(str(file))}


def test_tasks_on_counters_of_their_own_have_one_ordering_for_each_in_which_they_end(tasks):
    result = simharness.explore(tasks["apart"])
    assert (result.verdict, result.executions) == (Verdict.VERIFIED, 24)
    assert "explored as a superset, in which steps are reduced by what they touch" in result.bounds


def test_a_lost_update_among_them_is_found(tasks):
    assert simharness.explore(tasks["two_of_them_share"]).verdict is Verdict.VIOLATED


def test_a_failure_that_the_queue_excludes_is_none(tasks):
    result = simharness.explore(tasks["relies_on_the_queue"], settings=Settings(max_executions=1_000))
    assert result.verdict is not Verdict.VIOLATED
    assert "all steps of a loop conflict" in result.bounds
