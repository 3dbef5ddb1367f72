"""From the first execution that failed to what is reported: a short one, what it is due to, its token and its trace."""

from __future__ import annotations

from dataclasses import replace

from simharness import choices
from simharness.blame import explain
from simharness.results import Counterexample
from simharness.shrink import Shrinker
from simharness.simulation import Execution, Simulation, describe

FOR_BLAME = 2
"""One execution in so many of `Settings.shrink` is kept for finding what a failure is due to."""


def counterexample(simulation: Simulation, failing: Execution) -> Counterexample | None:
    """Return the counterexample, or None if exploring has to start over: what is a scheduling point has turned out to be something else."""
    learned = simulation.kernel.learned
    version = learned.version
    budget = simulation.settings.shrink
    shrinker = Shrinker(simulation, failing, budget - budget // FOR_BLAME)
    shortness = shrinker.run()
    if learned.version != version:
        return None
    why = explain(simulation, shrinker, budget - shrinker.ran) if budget and shrinker.cost.steps else None
    if learned.version != version:
        return None
    execution = simulation.execute(shrinker.best, _first_enabled)
    failure = execution.failure
    assert failure is not None
    token = choices.write(simulation.scenario.name, simulation.parameters, simulation.kernel)
    text = describe(failure) or ""
    trace = simulation.record(shrinker.best, text, failure.step + 1)
    return Counterexample(text, token, replace(trace, why=why), shortness)


def _first_enabled(enabled: list[int]) -> int:
    return enabled[0]
