"""From the first execution that failed to what is reported: a short counterexample, what causes it, its token and its trace.

A failing execution that was the same when it was repeated is *in hand*: whatever goes wrong after that, while it is shortened, explained
or recorded, makes the report poorer and never takes the verdict back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from simharness.authoring.scenario import Scenario
from simharness.engine.actors import Failure
from simharness.errors import Nondeterminism, SimharnessError, TokenError
from simharness.places import words_of
from simharness.search import tokens
from simharness.settings import Settings
from simharness.simulation.execution import DataRace, Execution, describe
from simharness.simulation.repeating import WHAT_TO_DO, same_again, watched, witness
from simharness.simulation.simulation import Simulation
from simharness.simulation.transcript import Account
from simharness.trace.data import Trace, Why
from simharness.verdicts.blame import explain
from simharness.verdicts.results import HERE, Counterexample
from simharness.verdicts.sequential import fails_in_sequence, names_of
from simharness.verdicts.shrink import Shrinker

FOR_BLAME = 2
"""One in this many executions of `Settings.shrink` is reserved for finding what causes the failure."""


@dataclass(frozen=True)
class InHand:
    """A failing execution that was the same when it was repeated, and what another simulation needs to repeat it.

    Attributes:
        shorter: the shortest schedule so far that fails, too; it was not repeated.
    """

    keys: Sequence[int]
    parameters: Mapping[str, Any]
    token: str
    failure: Failure
    text: str
    account: Account
    shorter: Sequence[int] = ()


def counterexample(simulation: Simulation, failing: Execution, keep: Callable[[InHand], None] = lambda hand: None) -> Counterexample | None:
    """Return the counterexample, or None if exploring has to start over because the set of scheduling points has changed.

    Args:
        keep: called with the failing execution in hand, before anything else can go wrong.

    Raises:
        Nondeterminism: the failing schedule behaves differently when it is repeated.
    """
    mark = simulation.kernel.learned.mark()
    hand = _in_hand(simulation, *witness(simulation, failing.keys))
    same_again(simulation, hand.keys, hand.account)
    keep(hand)
    best, shortness, why = _explained(simulation, failing)
    if not mark.holds:
        keep(replace(hand, shorter=best))
        return None
    if best != hand.keys:
        try:
            hand = _in_hand(simulation, *witness(simulation, best))
        except Exception as error:
            why, shortness = None, _failed("shortened", error)
    report = _reported(simulation, hand, shortness, why)
    return report if mark.holds else None


def from_hand(scenario: Scenario, hand: InHand, settings: Settings, trouble: str) -> Counterexample | None:
    """Return the counterexample that is in hand, repeated from its token in a new simulation; None if it does not fail there.

    Args:
        trouble: why there is no better one.
    """
    try:
        token = scenario.read_token(hand.token, hand.parameters)
        with Simulation(scenario, hand.parameters, settings) as simulation:
            follow = tokens.Replay(simulation.kernel, token)
            again = _in_hand(simulation, *watched(simulation, (), follow.choose))
            follow.finish()
            return _reported(simulation, again, f"not shortened: {trouble}", None)
    except (TokenError, Nondeterminism):
        return None


def _in_hand(simulation: Simulation, execution: Execution, account: Account) -> InHand:
    failure = execution.failure
    if failure is None:
        raise Nondeterminism(f"not deterministic: a failing schedule did not fail when it was repeated; {WHAT_TO_DO}")
    token = tokens.write(simulation.scenario.name, simulation.parameters, simulation.kernel)
    text = simulation.kernel.canonical(describe(failure) or "")
    return InHand(list(execution.keys), dict(simulation.parameters), token, failure, text, account)


def _explained(simulation: Simulation, failing: Execution) -> tuple[Sequence[int], str, Why | None]:
    """Return a shorter schedule that fails in the same way, what is known about its length, and what causes the failure."""
    mark = simulation.kernel.learned.mark()
    budget = simulation.settings.shrink
    try:
        shrinker = Shrinker(simulation, failing, budget - budget // FOR_BLAME)
        shortness = shrinker.run()
    except Exception as error:
        return list(failing.keys), _failed("shortened", error), None
    race = failing.failure is not None and isinstance(failing.failure.error, DataRace)  # in no order of the two it is none
    if not mark.holds or not budget or not shrinker.cost.steps or race:
        return list(shrinker.best), shortness, None
    try:
        why = explain(simulation, shrinker, budget - shrinker.ran)
    except Exception as error:
        return list(shrinker.best), f"{shortness}; {_failed('explained', error)}", None
    return list(shrinker.best), shortness, why


def _reported(simulation: Simulation, hand: InHand, shortness: str, why: Why | None) -> Counterexample:
    """Return what is in hand, with its trace if that can be recorded."""
    confirmed = HERE
    try:
        same_again(simulation, hand.keys, hand.account)
    except Exception as error:
        confirmed = f"{HERE}, not in the same way each time: {_first_line(error)}"
    failed_at = hand.failure.step + 1
    try:
        trace = simulation.record(hand.keys, hand.text, failed_at)
    except Exception as error:
        shortness = f"{shortness}; {_failed('recorded', error)}"
        trace = Trace(simulation.scenario.name, dict(simulation.parameters), {}, (), failure=hand.text, failed_at=failed_at)
    without_race = fails_in_sequence(simulation, hand.failure)
    if without_race:
        shortness = f"{shortness}; the sequential orderings raise this exception, too: it takes no race"
    return Counterexample(
        hand.text,
        hand.token,
        replace(trace, why=why),
        shortness,
        account=hand.account,
        confirmed=confirmed,
        violates=names_of(hand.failure),
        without_race=without_race,
    )


def _failed(what: str, error: Exception) -> str:
    return f"not {what}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    line = next(iter(words_of(error).splitlines()), "")
    return line if line and isinstance(error, SimharnessError) else f"{type(error).__name__}: {line}"
