"""From the first execution that failed to what is reported: a short counterexample, what causes it, its token and its trace."""

from __future__ import annotations

from dataclasses import replace

from simharness.errors import Nondeterminism
from simharness.search import tokens
from simharness.simulation.execution import Execution, describe
from simharness.simulation.repeating import WHAT_TO_DO, same_again, witness
from simharness.simulation.simulation import Simulation
from simharness.verdicts.blame import explain
from simharness.verdicts.results import HERE, Counterexample
from simharness.verdicts.shrink import Shrinker

FOR_BLAME = 2
"""One in this many executions of `Settings.shrink` is reserved for finding what causes the failure."""


def counterexample(simulation: Simulation, failing: Execution) -> Counterexample | None:
    """Return the counterexample, or None if exploring has to start over because the set of scheduling points has changed.

    Raises:
        Nondeterminism: the failing schedule behaves differently when it is repeated.
    """
    mark = simulation.kernel.learned.mark()
    budget = simulation.settings.shrink
    shrinker = Shrinker(simulation, failing, budget - budget // FOR_BLAME)
    shortness = shrinker.run()
    if not mark.holds:
        return None
    why = explain(simulation, shrinker, budget - shrinker.ran) if budget and shrinker.cost.steps else None
    if not mark.holds:
        return None
    execution, account = witness(simulation, shrinker.best)
    failure = execution.failure
    if failure is None:
        raise Nondeterminism(f"not deterministic: a failing schedule did not fail when it was repeated; {WHAT_TO_DO}")
    token = tokens.write(simulation.scenario.name, simulation.parameters, simulation.kernel)
    text = simulation.kernel.canonical(describe(failure) or "")
    same_again(simulation, shrinker.best, account)
    trace = simulation.record(shrinker.best, text, failure.step + 1)
    return Counterexample(text, token, replace(trace, why=why), shortness, account=account, confirmed=HERE)
