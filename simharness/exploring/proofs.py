"""Proofs within bounds, for an exploration that does not end: it then says what is proved, and what is not.

A part of the budget is kept for them: the last quarter of `max_seconds`, and for each a quarter as many executions as `max_executions`, on
top. A proof is an exploration of its own: without the memory of the project's other modules (with as many executions as the whole), of
schedules with no thread late, or late by less than the smallest time-out in play, or with few preemptions. If time is left, the search of
the whole continues. `Settings.proof` names a bound that is enough: the whole is then explored a little, to find what is easy to find, for a
quarter of the time at most, and the bound to its end.

A failure within a bound is a failure. A bound on lateness can change which steps there are, so the failing schedule is followed without it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from simharness.authoring.scenario import Parameters
from simharness.engine.clock import SECOND, nanoseconds
from simharness.engine.facts import Mark
from simharness.exploring.rounds import Rounds
from simharness.exploring.waits import shorter, shortest_waits
from simharness.exploring.watching import Watcher
from simharness.instrument.project import WORD
from simharness.search import named
from simharness.search.estimate import Estimate, in_words
from simharness.settings import Proof, Settings
from simharness.simulation.execution import Execution
from simharness.simulation.simulation import Narrow, Simulation
from simharness.verdicts.covered import reasons
from simharness.verdicts.results import Verdict
from simharness.verdicts.shrink import follow, kind_of

SHARE = 4
"""One part in so many of the budget is kept for proofs."""
A_LITTLE = 256
"""Executions of the search of the whole where a bound is enough."""
_monotonic = time.monotonic


class Timeouts(Watcher):
    """Notes how long the shortest wait is that something other than time can end; in nanoseconds, 0 if there is none."""

    def __init__(self) -> None:
        self.shortest = 0
        self.sleep = 0

    def after(self, rounds: Rounds, execution: Execution) -> None:
        """Look at the waits of the last execution."""
        if rounds.simulation.kernel.timed:
            self.add(shortest_waits(rounds.simulation.kernel))

    def add(self, waits: tuple[int, int]) -> None:
        """Take in the shortest wait and the shortest sleep of further executions."""
        self.shortest, self.sleep = shorter((self.shortest, self.sleep), waits)


class Reports(Protocol):
    """What proofs ask of the exploration's reporter."""

    timeouts: Timeouts

    def tick(self, executions: int) -> None:
        """Report how many executions of the whole have been run, if it is time to."""

    def estimate(self, rounds: Rounds, limited: bool = True) -> Estimate | None:
        """Return how much there is to do; not `limited`: without the limit on executions."""


class _Within(Watcher):
    """Watches a proof: reports progress, and passes on what was explored of the whole."""

    spreads = True

    def __init__(self, reporter: Reports, whole: Rounds) -> None:
        self._reporter = reporter
        self._whole = whole

    def before(self, rounds: Rounds, branch: int | None) -> None:
        """An execution is about to be run."""
        self._reporter.tick(self._whole.tally.executions)


class Proofs:
    """The proofs of one exploration.

    Attributes:
        ended, unfinished: the bounds within which nothing fails, and those whose exploration did not end, with its executions.
        enough: the exploration within the bound that is enough, if it ended.
        trouble: a failure within a bound that could not be repeated without it.
        share: of `max_seconds`, for the search of the whole.
    """

    def __init__(self, simulation: Simulation, strategy: str, parameters: Parameters, reporter: Reports, began: float) -> None:
        self._simulation = simulation
        self._parameters = parameters
        self._reporter = reporter
        self._began = began
        settings = simulation.settings
        self.wanted = None if settings.proof is None else Proof.of(settings.proof)
        bounded = settings.preemptions is not None or settings.delays is not None
        limited = settings.max_executions is not None or settings.max_seconds is not None
        self.tried = settings.shard is None and (self.wanted is not None or (strategy == named.DEFAULT and not bounded and limited))
        self.ended: list[Proof] = []
        self.unfinished: list[tuple[Proof, int]] = []
        self.enough: Rounds | None = None
        self.trouble = ""
        self._whole: Rounds | None = None
        kept = 0.0 if settings.max_seconds is None or not self.tried else 1 / SHARE
        self.share = 1 - kept if self.wanted is None or not kept else kept

    def limits(self) -> Settings:
        """Return the limits for the search of the whole."""
        settings = self._simulation.settings
        if self.wanted is None:
            return settings
        return replace(settings, max_executions=min(A_LITTLE, settings.max_executions or A_LITTLE))

    def after(self, whole: Rounds) -> bool:
        """Prove what can be proved when the search of the whole was given up; return whether it has ended after all."""
        if not self.tried or whole.gave_up is None or whole.tally.first_failure is not None:
            return False
        self.ended, self.unfinished, self.enough, self._whole = [], [], None, whole
        self.trouble = ""
        mark = whole.simulation.kernel.learned.mark()
        settings = self._simulation.settings
        if self.wanted is None and settings.max_seconds is not None and whole.share < 1:
            estimate = self._reporter.estimate(whole)
            if estimate is not None and estimate.seconds_left < self._left():
                whole.share = 1.0
                if self._continued(whole, mark):
                    return True
        for bound in self._bounds(whole):
            self._prove(whole, bound)
            if whole.tally.first_failure is not None or self.trouble:
                return False
        if self.wanted is None and settings.max_seconds is not None and mark.holds:
            whole.share = 1.0
            return self._continued(whole, mark)
        return False

    def _continued(self, whole: Rounds, mark: Mark) -> bool:
        """Continue the search of the whole with the time that is left, from the start if it learns something."""
        return whole.resume(mark) or (not mark.holds and whole.tally.first_failure is None and whole.run())

    def _left(self) -> float:
        seconds = self._simulation.settings.max_seconds
        return float("inf") if seconds is None else max(0.0, self._began + seconds - _monotonic())

    def _bounds(self, whole: Rounds) -> Iterator[Proof]:
        """Yield the bounds to try next: of each kind the wider one only if the narrower one was proved."""
        if self.wanted is not None:
            yield self.wanted
            return
        kernel, simulation = self._simulation.kernel, self._simulation
        if not simulation.narrow and (names := simulation.in_project):
            yield Proof("memory", 0, tuple(names))
        full = kernel.clock.max_delay
        lateness: list[Proof] = []
        if kernel.timed and not kernel.movers.may_stall and full:
            shortest = self._reporter.timeouts.shortest or self._reporter.timeouts.sleep
            lateness = [Proof("lateness", 0), *([Proof("lateness", shortest / SECOND)] if 0 < shortest < full else [])]
        none, one = (Proof("preemptions", most) for most in (0, 1))
        for bounds in ([none], lateness, [one]) if kernel.faults is not None else (lateness, [none, one]):
            for bound in bounds:
                if any(bound.measure == other.measure for other, _ in self.unfinished):
                    break
                yield bound

    def _prove(self, whole: Rounds, bound: Proof) -> None:
        """Explore all schedules within a bound, as far as the budget goes."""
        simulation, settings = self._simulation, self._simulation.settings
        memory = bound.measure == "memory"
        seconds = None if settings.max_seconds is None else self._left() * (1.0 if self.wanted is not None else 0.75 if memory else 0.5)
        most = settings.max_executions
        if most is not None and self.wanted is None and not memory:
            most = most // SHARE
        if seconds == 0 or most == 0:
            return
        own = replace(settings, max_executions=most, max_seconds=seconds, proof=None, cluster=None)
        if bound.measure == "preemptions":
            own = replace(own, preemptions=int(bound.most))
        within = Rounds(simulation, "dpor", whole.stop_on_first, _Within(self._reporter, whole), self._parameters, own)
        with self.limited(bound):
            exhausted = within.run()
        failing = within.tally.first_failure
        if failing is not None:
            whole.tally.first_failure = self._without(bound, failing)
            whole.gave_up = f"a failure was found {bound.in_words()}"
        elif within.gave_up is None and not reasons(within.tally, simulation, within.gave_up, exhausted):
            self.ended.append(bound)
            if bound == self.wanted:
                self.enough = within
        else:
            self.unfinished.append((bound, within.tally.runs))
            if bound == self.wanted:
                whole.gave_up = f"not proved {bound.in_words()}: {within.gave_up or 'its executions do not all end'}"

    def _without(self, bound: Proof, failing: Execution) -> Execution | None:
        """Return a failing execution that needs no bound to be replayed."""
        if bound.measure == "preemptions":
            return failing
        if bound.measure == "memory":
            self._simulation.kernel.learned.learn(Narrow())
            return failing
        again = follow(self._simulation, failing.keys)
        if kind_of(again.failure) == kind_of(failing.failure):
            return again
        self.trouble = f"a failure {bound.in_words()} is not one without that bound: explore with max_delay={bound.most:g}"
        return None

    @contextmanager
    def limited(self, bound: Proof | None = None) -> Iterator[None]:
        """A block in which actors are late by no more than a bound allows; default: the bound that was enough, if one was."""
        clock, simulation = self._simulation.kernel.clock, self._simulation
        full = clock.max_delay
        if bound is None and self.enough is not None:
            bound = self.wanted
        if bound is not None and bound.measure == "lateness":
            clock.max_delay = min(full, nanoseconds(bound.most))
        narrow, simulation.narrow = simulation.narrow, simulation.narrow or (bound is not None and bound.measure == "memory")
        try:
            yield
        finally:
            clock.max_delay, simulation.narrow = full, narrow

    # In words

    def remarks(self, verdict: Verdict) -> list[str]:
        """Say of a verdict that rests on a bound that it does."""
        if verdict is not Verdict.VERIFIED or self.enough is None or self._whole is None:
            return []
        assert self.wanted is not None
        beyond = self._whole.tally
        return [f"only {self.wanted.in_words()}: without that bound, {beyond.runs} executions and {beyond.sampled} samples were run"]

    def words(self, verdict: Verdict) -> list[str]:
        """Say of an exploration without a verdict what is proved and what is not."""
        whole = self._whole
        if verdict is not Verdict.INCONCLUSIVE or whole is None or not (self.ended or self.unfinished or self.trouble):
            return []
        widest = {bound.measure: bound for bound in self.ended}
        said = [self.trouble] if self.trouble else []
        if widest:
            said.append("proved: no failure " + ", nor ".join(bound.in_words() for bound in widest.values()))
        elif self.unfinished and self.wanted is None:
            said.append(f"nothing is proved within a bound (tried: {', '.join(str(bound) for bound, _ in self.unfinished)})")
        if self.wanted is None:
            estimate = self._reporter.estimate(whole, limited=False)
            of = "" if estimate is None else f" of about {in_words(estimate.total)}"
            bound = "a bound" if not widest else "that bound" if len(widest) < 2 else "those bounds"
            said.append(f"not finished without {bound}: {whole.tally.executions:,}{of}")
        return said

    def next_words(self, verdict: Verdict) -> list[str]:
        """Say what to try next."""
        advice = self.advice(verdict)
        if not advice and verdict is Verdict.INCONCLUSIVE and self.ended and self.wanted is None:
            return [f"next: instrument={WORD!r} makes that enough"]
        return [f"next: proof={advice!r}{' makes that enough' if self.ended else ' with more time'}"] if advice else []

    def advice(self, verdict: Verdict) -> str:
        """Return the bound to ask for next; empty if there is nothing to say."""
        if verdict is not Verdict.INCONCLUSIVE or self.wanted is not None or self.trouble:
            return ""
        ended, unfinished = (
            [bound for bound in bounds if bound.measure != "memory"] for bounds in (self.ended, [b for b, _ in self.unfinished])
        )
        if not ended:
            return str(unfinished[0]) if unfinished and not self.ended else ""
        lateness = [bound for bound in ended if bound.measure == "lateness"]
        return str((lateness or ended)[-1])
