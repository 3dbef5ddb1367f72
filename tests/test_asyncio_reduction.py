"""Reduction among the tasks of one loop: no outcome of any order is lost, each ordering of the superset once, and known numbers."""

from __future__ import annotations

import functools
import pathlib
import types

import asyncio_shared
import pytest
from test_trio_reduction import ordering

from simharness import Settings
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
