"""Workers in the test's own process that answer in random order, too late, twice or never, after slices of a few executions.

The oracle is the search on one process, which knows nothing of parts: everything that a result says must be the same, but for the seconds.
"""

import pickle
import random
import zlib
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import simharness
from simharness import Settings
from simharness.authoring.scenario import Scenario
from simharness.exploring.parallel import crew
from simharness.exploring.parallel.parts import Parts
from simharness.exploring.parallel.processes import Processes
from simharness.exploring.parallel.slices import Slices, packed
from tests.random_programs import Machine

FOREVER = 1e9


class Inline(Processes):
    """Stands in for the worker processes; `draw` decides when they answer."""

    draw = random.Random(0)
    lose = twice = 0.0
    slices = (1, 2, 3, 7, 30)
    answered = 0

    def start(self):
        worker = SimpleNamespace(task=None, order=None, slices=Slices(self._simulation))
        self.workers.append(worker)
        return worker

    def give(self, worker, task):
        worker.task, worker.order = task.number, pickle.dumps(task)

    def pieces(self, seconds):
        draw = self.draw
        busy = [worker for worker in self.workers if worker.task is not None]
        for worker in draw.sample(busy, draw.randint(1, len(busy))):
            number, worker.task = worker.task, None
            task = pickle.loads(worker.order)
            most = draw.choice(self.slices)
            task = replace(task, seconds=FOREVER, most=most if task.most is None else min(most, task.most))
            simulation = self._simulation
            checked = simulation.checked, simulation.checks
            answer = packed(worker.slices.work(task))
            simulation.checked, simulation.checks = checked
            if draw.random() < self.lose:
                self.workers.remove(worker)
                yield number, None
                continue
            Inline.answered += 1
            for _ in range(1 + (draw.random() < self.twice)):
                yield number, pickle.loads(answer)

    def settled(self):
        return all(worker.slices.settle() for worker in self.workers)

    def end(self, worker):
        self.workers.remove(worker)


class Splitting(Parts):
    """Leaves a random number of branches to others. What a part begins with must have been foreseen."""

    def settle(self):
        super().settle()
        assert not self.wrong

    def task(self, seconds, most, tolerant, others):
        return super().task(seconds, most, tolerant, Inline.draw.choice((0, 1, 2, 50)))


@contextmanager
def inline(monkeypatch, seed, lose=0.0, twice=0.1):
    """Have workers in this process."""
    with monkeypatch.context() as patch:
        patch.setattr(crew, "ALONE", -1.0)
        patch.setattr(crew, "Processes", Inline)
        patch.setattr(crew, "Parts", Splitting)
        patch.setattr(Inline, "draw", random.Random(seed))
        patch.setattr(Inline, "lose", lose)
        patch.setattr(Inline, "twice", twice)
        yield


def said(result):
    """Everything that a result says, but for the seconds."""
    failing = result.counterexample
    about = None if failing is None else (failing.token, failing.failure, failing.shortness, failing.trace_hash, failing.violates)
    counts = result.executions, result.deadlocks, result.blocked, result.redundant, result.sampled
    return (str(result.verdict), counts, result.outcomes, result.bounds, result.remarks, result.branching, about, result.error)


def explored(scenario, workers, strategy="auto", stop_on_first=True, faults=None, parameters=None, **options):
    """Explore; an error counts as a result."""
    settings = Settings(**{"confirm": False, "shrink": 20, "max_steps": 500, **options}, workers=workers)
    try:
        return said(simharness.explore(scenario, strategy, parameters, stop_on_first, faults, settings))
    except simharness.Misuse as error:
        return str(error)


def of_program(program, bad=0):
    """A scenario of a random program; it fails where its outcome, as a number, is a multiple of `bad`."""

    def scenario(world):
        machine = Machine(program, world)

        @world.at_end
        def is_seen():
            log = sorted(machine.log, key=lambda event: int(event.actor))
            outcome = repr([(event.actor, event.name, event.target, event.result) for event in log])
            world.outcome(outcome)
            assert not bad or zlib.crc32(outcome.encode()) % bad

    return Scenario(scenario, allow_deadlock=True, max_delay=program.max_delay)


def of_row(row):
    """A scenario of a known program."""

    def program(world):
        row.scenario(world)

    return Scenario(program, allow_deadlock=True)


def same(monkeypatch, scenario, seed, lose=0.0, **options):
    """Compare workers with one process; return what was said."""
    alone = explored(scenario, 1, **options)
    with inline(monkeypatch, seed, lose):
        together = explored(scenario, 2 + seed % 3, **options)
    assert together == alone, (seed, options)
    return alone
