"""The search: the executions of a scenario whose own log lines are the incident's.

While searching, each log line of the code under test is a step, and the incident is a lock that lets lines pass in its order: a line that
matches a template waits until it can be the incident's next one (the same template, ids that unify, everything that came before it already
there). So the reduction explores, once each, the orderings of a program that logs what the incident's did; the executions that end with an
actor waiting for a line that never comes explain nothing, and how far they came says what cannot be explained. That is the engine's own
`wait_until`, whose soundness its tests hold; nothing is cut off that could still match.

Steps between the lines are free. What follows the incident's last line is free too: the log was taken then. Faults and lines that are
missing from the log are free up to a number, and the search is made with the smallest numbers first.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import product
from typing import Any

from simharness.authoring.scenario import Scenario
from simharness.engine.faults import KINDS, Faults
from simharness.engine.kernel import Kernel
from simharness.exploring.rounds import Rounds
from simharness.exploring.watching import Watcher
from simharness.incident.database import Wanted, differ
from simharness.incident.findings import Found, Level, NearMiss, fit_of, ordering_of
from simharness.incident.gate import Gate, LogLine
from simharness.incident.guided import Guided
from simharness.incident.separation import evidence
from simharness.incident.templates import Log
from simharness.incident.timeline import Incident
from simharness.runtimes.logs import LOG_LINES
from simharness.settings import Settings
from simharness.simulation.execution import Execution
from simharness.simulation.simulation import Simulation

MOST_FITS = 200
"""When so many orderings fit, the search ends."""
MOST_AFTER = 400
"""Executions after the first harmful one that fits."""
ENOUGH_DRAWN = 8
"""When so many harmful orderings were drawn, drawing ends; it also ends when no more were drawn in as many executions as the first took."""


def levels(faults: Faults | None, missing: int) -> list[Level]:
    """Return the searches to make, fewest faults first, and with no line missing before any number of them up to `missing`."""
    limits = [(kind, faults.limit(kind)) for kind in KINDS if faults is not None and faults.limit(kind)]
    found = []
    for *counts, lacking in product(*(range(limit + 1) for _, limit in limits), sorted({0, missing})):
        budgets: dict[str, Any] = {}
        for (kind, _), count in zip(limits, counts, strict=True):
            assert faults is not None
            limited = "+".join(faults.limited_to(kind))
            budgets[kind] = f"{count}@{limited}" if limited and count else count
        found.append((sum(counts), lacking, Level(Faults.of(Faults(**budgets)), lacking)))
    return [level for _, _, level in sorted(found, key=lambda entry: entry[:2])]


class Search(Watcher):
    """Explores one level and keeps what fits."""

    def __init__(
        self, scenario: Scenario, parameters: Mapping[str, Any], settings: Settings, incident: Incident, level: Level, wanted: Wanted | None
    ) -> None:
        self.scenario = scenario
        self.parameters = {**parameters, "faults": str(level.faults)} if level.faults is not None else dict(parameters)
        self.settings = settings
        self.incident = incident
        self.log: Log = scenario.log
        self.wanted = wanted
        self.found = Found(level)
        self._guided = False
        self._probe: int | None = None
        self._rounds: Rounds | None = None
        self._first = 0

    def find(self, evidence_too: bool = True, guided: bool = False, probe: int | None = None) -> Found:
        """Search.

        Args:
            evidence_too: look closely at one of the executions that fit.
            guided: draw executions, until harmful ones fit.
            probe: give up after so many executions of which none fits.
        """
        with Simulation(self.scenario, self.parameters, self.settings) as simulation:
            kernel = simulation.kernel
            kernel.turn_on(LOG_LINES)
            self.gate = Gate(kernel, self.incident, self.log, self.found.level.missing)
            kernel.route_log_lines(self.gate)
            self._guided, self._probe = guided, probe
            strategy = partial(Guided, kernel, self.settings.seed, self.gate) if guided else "dpor"
            rounds = Rounds(simulation, strategy, False, self, self.parameters)
            self._rounds = rounds
            rounds.run()
            self.found.executions = rounds.tally.runs
            self.found.gave_up = rounds.gave_up
            if self.found.fits and evidence_too:
                self.found.keep_fewest_missing()
                kernel.route_log_lines(None)
                self.found.evidence = evidence(simulation, self.found, all(line.thread for line in self.incident.lines))
            if rounds.tally.cut and not rounds.gave_up:
                self.found.gave_up = f"{rounds.tally.cut} executions were cut at max_steps={self.settings.max_steps}"
        return self.found

    def begin(self, rounds: Rounds) -> None:
        """A round begins."""
        self.found = Found(self.found.level)
        self._first = 0

    def after(self, rounds: Rounds, execution: Execution) -> None:
        """Keep an execution that fits, and how near the others come."""
        if execution.status in ("complete", "deadlock") and self.gate.consumed == self.gate.complete:
            self._fits(rounds.simulation, execution)
        elif execution.status in ("complete", "deadlock", "blocked"):
            self._misses(rounds.simulation.kernel)

    def enough(self) -> str | None:
        """Return why the search ends."""
        runs, harmful = self._rounds.tally.runs if self._rounds is not None else 0, len(self.found.harmful)
        if self._guided and harmful and (harmful >= ENOUGH_DRAWN or runs >= 2 * self._first):
            return "stopped at harmful orderings that were drawn"
        if self._probe is not None and runs >= self._probe and not self.found.fits:
            return f"{self._probe} executions, and none fits"
        if self._probe is not None and harmful and runs >= self._first + MOST_AFTER:
            return f"stopped {MOST_AFTER} executions after the first harmful ordering that fits"
        return f"stopped when {MOST_FITS} orderings fitted" if len(self.found.fits) >= MOST_FITS else None

    def _fits(self, simulation: Simulation, execution: Execution) -> None:
        kernel, level, state = simulation.kernel, self.found.level, self.gate.state
        if state is None or len(kernel.record.struck) != _number(level.faults):
            return
        if self.wanted is not None:
            otherwise = differ(self.wanted, kernel, self.log, state.ids)
            if otherwise:
                self._nearer(NearMiss(len(self.incident.lines), None, (), otherwise))
                return
        fit = fit_of(kernel, self.gate, execution, self.found.pairs)
        self.found.fits.setdefault(ordering_of(kernel, fit.pairs), fit)
        if fit.failure is not None and not self._first and self._rounds is not None:
            self._first = self._rounds.tally.runs

    def _misses(self, kernel: Kernel) -> None:
        consumed, lines = self.gate.consumed, self.incident.lines
        if consumed == self.gate.complete:
            return
        first = next(index for index in range(len(lines)) if not consumed >> index & 1)
        instead = [(actor.name, actor.pending.message) for actor in kernel.cast.stuck if isinstance(actor.pending, LogLine)]
        self._nearer(NearMiss(consumed.bit_count(), lines[first], instead))

    def _nearer(self, miss: NearMiss) -> None:
        known = self.found.nearest
        if known is None or miss.consumed > known.consumed:
            self.found.nearest = miss


def _number(faults: Faults | None) -> int:
    return 0 if faults is None else sum(faults.limit(kind) for kind in KINDS)
