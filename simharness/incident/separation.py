"""What separates harmful orderings from harmless ones, and the orderings that fit from each other.

If both harmful and harmless orderings fit, the two that differ least are compared. If all that fit are harmful, the races that decide the
harm are found by reversing them (`verdicts.blame`). If all are harmless, the scenario is explored for the harmful ordering that differs
least. The difference is the number of pairs of conflicting steps that are reversed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from simharness.exploring.rounds import Rounds
from simharness.exploring.watching import Watcher
from simharness.incident.findings import Event, Evidence, Fit, Found, Pair, events_of, pairs_of
from simharness.search import tokens
from simharness.settings import Settings
from simharness.simulation.execution import Execution
from simharness.simulation.repeating import witness
from simharness.simulation.simulation import Simulation
from simharness.timeline.why import explain as explain_in_words
from simharness.trace.data import Step, Trace
from simharness.verdicts.blame import explain
from simharness.verdicts.shrink import Shrinker

MOST_EXECUTIONS = 2_000
MOST_SECONDS = 4.0
"""Limits of the search for a harmful ordering, if all that fit are harmless."""
REVERSALS = 40
SHOWN = 3
"""How many pairs of steps are reported."""
MOST_FIELDS = 6


def evidence(simulation: Simulation, found: Found, threads_known: bool) -> Evidence:
    """Return one of the executions that fit, a harmful one if possible, and what is known about it.

    Args:
        simulation: that of the search; log lines no longer wait for the incident's.
        threads_known: whether the incident's lines name their threads.
    """
    kernel = simulation.kernel
    harmful, harmless = found.harmful, found.harmless
    best = min(harmful or harmless, key=lambda fit: (fit.switches, len(fit.keys)))
    execution, account = witness(simulation, best.keys)
    token = tokens.write(simulation.scenario.name, simulation.parameters, kernel)
    failed_at = None if execution.failure is None else execution.failure.step + 1
    trace = simulation.record(best.keys, best.failure, failed_at)
    names = _Names(trace, events_of(kernel))
    made = Evidence(token, best.failure, trace, account, best.actors, best.ids, unique=_unique(found, names, threads_known))
    if harmful and harmless:
        nearest = min(harmless, key=lambda fit: len(_reversed(best.pairs, fit.pairs, found.pairs)))
        sentences = names.difference(_reversed(best.pairs, nearest.pairs, found.pairs), "harmless; it fits the log as well")
        return replace(made, separating=sentences, other=_token(simulation, nearest.keys))
    if harmful:
        return _blamed(simulation, made, execution)
    nearest_harm = _Nearest(best, found.pairs)
    nearest_harm.look(simulation)
    return replace(made, separating=nearest_harm.sentences(names), other=nearest_harm.token)


def _blamed(simulation: Simulation, made: Evidence, execution: Execution) -> Evidence:
    if execution.failure is not None and execution.failure.step < 0:
        return made
    shrinker = Shrinker(simulation, execution, 0)
    why = explain(simulation, shrinker, REVERSALS)
    trace = replace(made.trace, why=why)
    return replace(made, trace=trace, separating=explain_in_words(trace), other=why.passing.token if why.passing is not None else "")


def _token(simulation: Simulation, keys: Sequence[int]) -> str:
    witness(simulation, keys)
    return tokens.write(simulation.scenario.name, simulation.parameters, simulation.kernel)


def _reversed(mine: int, other: int, known: dict[Pair, int]) -> list[Pair]:
    """Return the pairs in `mine` that are reversed in `other`."""
    return [pair for pair, bit in known.items() if bit & mine and known.get((pair[1], pair[0]), 0) & other]


class _Nearest(Watcher):
    """Explores a case, without the incident, for the failing execution that differs least from a fit."""

    def __init__(self, fit: Fit, known: dict[Pair, int]) -> None:
        self._fit, self._known = fit, known
        self._best: tuple[int, Sequence[int], list[Pair], str] | None = None
        self._nothing = "no ordering of this case is harmful"
        self.token = ""

    def look(self, simulation: Simulation) -> None:
        """Explore."""
        most = min(MOST_EXECUTIONS, simulation.settings.max_executions or MOST_EXECUTIONS)
        limits = Settings(max_executions=most, max_seconds=MOST_SECONDS, seed=simulation.settings.seed)
        rounds = Rounds(simulation, "dpor", False, self, simulation.parameters, limits)
        if not rounds.run():
            self._nothing = f"none of the {rounds.tally.runs} orderings looked at is harmful ({rounds.gave_up})"
        if self._best is not None:
            self.token = _token(simulation, self._best[1])

    def sentences(self, names: _Names) -> Sequence[str]:
        """Return the result in sentences."""
        if self._best is None:
            return [self._nothing]
        return names.difference(self._best[2], "harmful")

    def after(self, rounds: Rounds, execution: Execution) -> None:
        """Keep the failing execution that differs least."""
        if execution.failure is not None:
            pairs = _reversed(self._fit.pairs, pairs_of(rounds.simulation.kernel, self._known), self._known)
            if self._best is None or len(pairs) < self._best[0]:
                self._best = len(pairs), list(execution.keys), pairs, str(execution.failure.error)


class _Names:
    """Names the steps of an execution by the user's functions and lines."""

    def __init__(self, trace: Trace, events: Sequence[Event]) -> None:
        self._steps: dict[Event, Step] = dict(zip(events, trace.steps, strict=True))

    def difference(self, pairs: Sequence[Pair], what: str) -> list[str]:
        """Say which pairs of steps are reversed in the nearest other ordering; `what` describes that ordering."""
        if not pairs:
            return [f"the nearest ordering that is {what} consists of other steps"]
        shown = [f"{first} before {second}" for first, second in dict.fromkeys(map(self.pair, pairs))]
        more = f" (and {len(shown) - SHOWN} more)" if len(shown) > SHOWN else ""
        return [f"in the other order this is {what}: {'; '.join(shown[:SHOWN])}{more}"]

    def pair(self, pair: Pair) -> tuple[str, str]:
        """Return the names of two steps, each by the innermost line that led to it and not to the other step."""
        first, second = (self._lines(event) for event in pair)
        depth = next((k for k, (mine, its) in enumerate(zip(first, second, strict=False)) if mine != its), 0)
        return self._name(pair[0], first, depth), self._name(pair[1], second, depth)

    def _lines(self, event: Event) -> Sequence[object]:
        step = self._steps.get(event)
        return () if step is None else step.calls

    def _name(self, event: Event, lines: Sequence[object], depth: int) -> str:
        mover, what, count = event
        if depth < len(lines):
            place = lines[depth]
            return f"{mover} in {getattr(place, 'function', what)} ({place})"
        return f"{mover}: {what}{f' ({count})' if count > 1 else ''}"


def _unique(found: Found, names: _Names, threads_known: bool) -> list[str]:
    """Return what would distinguish all orderings that fit, had it been logged; what distinguishes most of them first."""
    fits = list(found.fits.values())
    if len(fits) < 2:
        return []
    missing: list[str] = []
    classes = [0] * len(fits)
    if not threads_known and len({tuple(fit.actors) for fit in fits}) > 1:
        missing.append("the thread of each line: %(process)d and %(threadName)s in the format")
        classes = _split(classes, [tuple(fit.actors) for fit in fits])
    union = 0
    common = -1
    for fit in fits:
        union |= fit.pairs
        common &= fit.pairs
    varying = [(pair, bit) for pair, bit in found.pairs.items() if bit & union & ~common]
    while varying and len(set(classes)) < len(fits) and len(missing) < MOST_FIELDS:
        pair, bit = max(varying, key=lambda entry: len(set(_split(classes, [bool(fit.pairs & entry[1]) for fit in fits]))))
        split = _split(classes, [bool(fit.pairs & bit) for fit in fits])
        if len(set(split)) == len(set(classes)):
            break
        classes = split
        first, second = names.pair(pair)
        text = f"a line at {first} and one at {second}, to show which came first"
        missing += [text] if text not in missing else []
    left = len(fits) - len(set(classes))
    if left:
        missing.append(f"more of the same: these do not distinguish {left} of {len(fits)} orderings")
    return missing


def _split(classes: Sequence[int], by: Sequence[object]) -> list[int]:
    numbers: dict[tuple[int, object], int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in zip(classes, by, strict=True)]
