"""The explorer: runs and checks one execution after another, until nothing is left, something fails, or a limit is reached.

A verdict is "verified" only when the strategy has exhausted its space and nothing was cut, left out or never checked; `bounds` says
in words what that space was.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from simharness.authoring.scenario import Parameters, Scenario, as_scenario, fixed_case, is_drawn
from simharness.engine.facts import Mark, until_settled
from simharness.engine.faults import Faults
from simharness.errors import Nondeterminism, SimharnessError
from simharness.exploring.examples import Examples, open_case
from simharness.exploring.progress import Progress
from simharness.runtimes import control
from simharness.runtimes.trio import order as trio
from simharness.search import named, tokens
from simharness.search.drawn import Drawn
from simharness.search.estimate import Branching, Estimate, Tree
from simharness.search.sampling import DEFAULT_EXECUTIONS
from simharness.search.strategy import Strategy
from simharness.settings import Settings
from simharness.simulation.difference import nondeterminism
from simharness.simulation.execution import Execution, describe
from simharness.simulation.repeating import Repeats, watched
from simharness.simulation.simulation import Simulation
from simharness.trace.reached import Reached
from simharness.verdicts.confirm import confirmed
from simharness.verdicts.counterexample import counterexample
from simharness.verdicts.covered import Tally, bounds, reasons
from simharness.verdicts.results import Counterexample, Replayed, Result, Verdict

BATCHES_TRIED = 1_000
"""Executions spent on finding out whether a program that fails under some order of Trio's tasks also fails under Trio's batches."""
_monotonic = time.monotonic

_MANY_ROUNDS = 50
_ENDLESS = "look for keys made of addresses (id, hash or repr of an object) or of random values"


class Explorer:
    """Explores one case."""

    def __init__(
        self,
        scenario: Scenario,
        parameters: Parameters,
        strategy: str,
        stop_on_first: bool,
        settings: Settings,
        progress: Progress | None = None,
    ) -> None:
        self.scenario = scenario
        self.parameters = parameters
        self.strategy = strategy
        self.stop_on_first = stop_on_first
        self.settings = settings
        self.progress = progress or Progress()
        self._estimates = progress is not None
        self.tally = Tally()
        self.search: Strategy | None = None
        self.gave_up: str | None = None
        self.branching: Branching | None = None
        self.reached = Reached() if settings.reached else None
        self._began = _monotonic()
        self._round_began = self._began
        self._next_report = 0.0

    def run(self) -> Result:
        """Explore and report."""
        self.progress.started(self.scenario, self.parameters)
        with Simulation(self.scenario, self.parameters, self.settings) as simulation:
            kernel = simulation.kernel
            exhausted, counterexample = until_settled(kernel.learned, partial(self._attempt, simulation))
            result = self._result(simulation, exhausted, counterexample)
            any_order = "trio" in kernel.learned.runtimes and trio.BATCHES not in kernel.modes
        if any_order and result.counterexample is not None:
            result = replace(result, counterexample=self._in_batches(result.counterexample, simulation.parameters))
        self.progress.finished(result)
        return result

    def _attempt(self, simulation: Simulation, mark: Mark) -> tuple[bool, Counterexample | None]:
        """Explore; return whether that was exhausted, and the counterexample, the search for which may teach something, too."""
        with self.reached or nullcontext():
            exhausted = self._rounds(simulation)
        mark.renew()
        if self.tally.first_failure is None:
            self.repeats.finish(self.tally.runs)
        return exhausted, self._counterexample(simulation)

    def _rounds(self, simulation: Simulation) -> bool:
        """Explore until a round teaches nothing new about what conflicts, or there is a limit; return whether it was exhausted."""
        rounds = 0

        def whole_round(mark: Mark) -> bool:
            nonlocal rounds
            rounds += 1
            self.tally, self._round_began = Tally(), _monotonic()
            self.search = named.made(self.strategy, simulation.kernel, self.settings)
            finished = self._round(simulation, self.search, mark)
            if self.gave_up is not None:
                mark.renew()  # what was learned cannot be acted on any more
                if rounds > _MANY_ROUNDS:
                    self.gave_up += f"; exploring started over {rounds} times, each time since something else was shared: {_ENDLESS}"
            return finished

        return until_settled(simulation.kernel.learned, whole_round)

    def _round(self, simulation: Simulation, strategy: Strategy, mark: Mark) -> bool:
        tally = self.tally
        self.repeats = Repeats(simulation)
        if isinstance(strategy, Drawn):
            self._examples(simulation, strategy, mark)
            return False
        walks = strategy.pending() is not None
        tree = Tree() if self._estimates and walks else None
        branching = self.branching = Branching() if walks else None
        execution: Execution | None = None
        while True:
            plan = strategy.begin()
            if plan is None:
                return strategy.exhausts
            if branching is not None and execution is not None:
                branching.branch(len(plan) - 1)
                if tree is not None:
                    tree.branch(len(plan) - 1, execution.keys)
            self._report(strategy, tree)
            if self._limit_reached(strategy):
                return False
            execution = self._next(simulation, strategy, plan)
            if not mark.holds or (tally.first_failure is not None and self.stop_on_first):
                return False

    def _next(self, simulation: Simulation, strategy: Strategy, plan: Sequence[int]) -> Execution:
        """Run one execution, count it, and check it unless something new was learned from it about what conflicts."""
        kernel, tally = simulation.kernel, self.tally
        mark = kernel.learned.mark()
        execution = self.repeats.execute(tally.runs + 1, plan, strategy.choose, strategy.expected())
        if execution.failure is None or not self.stop_on_first or not strategy.exhausts:
            strategy.end()  # skipped for the last execution: finding the races of a livelock takes long
        if strategy.exhausts or execution.status != "abandoned":
            tally.add(execution, kernel)
        if mark.holds:
            failing = execution.failure is not None and tally.first_failure is None
            if failing:
                tally.first_failure = execution
            self.repeats.check(execution, failing)
        return execution

    def _examples(self, simulation: Simulation, strategy: Drawn, mark: Mark) -> None:
        """Let Hypothesis explore; the failure that it has shrunk counts as the first."""

        def execute() -> Execution:
            self._report(strategy, None)
            return self._next(simulation, strategy, strategy.begin() or ())

        examples = Examples(simulation, strategy, self.parameters, execute, lambda: self._limit_reached(strategy))
        examples.run(self._most_executions(strategy), self.stop_on_first)
        if examples.failing is not None:
            self.tally.first_failure = examples.failing[0]
        elif mark.holds and not self._limit_reached(strategy):
            self.gave_up = "Hypothesis drew nothing new"

    def _report(self, strategy: Strategy, tree: Tree | None) -> None:
        """Report how far the exploration is, if it is time to."""
        now = _monotonic()
        if now < self._next_report:
            return
        self._next_report = now + 0.1
        self.progress.advanced(self.tally.executions, now - self._began, self._estimate(strategy, tree, now - self._round_began))

    def _estimate(self, strategy: Strategy, tree: Tree | None, seconds: float) -> Estimate | None:
        """Return how much there is to do, in executions that run to their end; `seconds` is what those so far took."""
        if not self.tally.executions:
            return None
        tally, limit = self.tally, self._most_executions(strategy)
        most = math.inf if limit is None else float(limit)
        pending = strategy.pending()
        totals = None if tree is None or pending is None else tree.totals(pending, strategy.grows)
        if totals is None:
            return None if strategy.exhausts or limit is None else Estimate.of(tally.executions, (most, most, most), seconds)
        share = tally.executions / tally.runs
        low, best, high = (min(total, most) * share for total in totals)
        return Estimate.of(tally.executions, (low, best, high), seconds)

    def _most_executions(self, strategy: Strategy) -> int | None:
        settings = self.settings
        if strategy.exhausts or settings.max_executions is not None or settings.max_seconds is not None:
            return settings.max_executions
        return DEFAULT_EXECUTIONS

    def _limit_reached(self, strategy: Strategy) -> bool:
        settings, limit = self.settings, self._most_executions(strategy)
        if limit is not None and self.tally.runs >= limit:
            default = f"{limit:,} executions, since neither max_executions nor max_seconds says otherwise"
            self.gave_up = f"stopped at {default if settings.max_executions is None else f'max_executions={limit}'}"
        elif settings.max_seconds is not None and _monotonic() - self._began >= settings.max_seconds:
            self.gave_up = f"stopped at max_seconds={settings.max_seconds:g}"
        return self.gave_up is not None

    def _counterexample(self, simulation: Simulation) -> Counterexample | None:
        failing = self.tally.first_failure
        return None if failing is None else counterexample(simulation, failing)

    def _in_batches(self, counterexample: Counterexample, case: Parameters) -> Counterexample:
        """Say whether the installed Trio's loop, which takes batches of tasks, can fail too."""
        limits = replace(self.settings, trio_order="batches", max_executions=BATCHES_TRIED, preemptions=None, delays=None)
        other = Explorer(self.scenario, case, "dpor", True, limits).run()
        if other.counterexample is not None:
            said = f"the batches of {trio.used()} fail too: {other.counterexample.token}"
        elif other.verdict is Verdict.VERIFIED:
            said = f"no order of the batches of {trio.used()} fails (all {other.executions} tried): it takes an order that Trio leaves open"
        else:
            said = f"{other.executions} orders of the batches of {trio.used()} did not fail"
        return replace(counterexample, shortness=f"{counterexample.shortness}; {said}")

    def _result(self, simulation: Simulation, exhausted: bool, counterexample: Counterexample | None) -> Result:
        tally = self.tally
        why = reasons(tally, simulation, self.gave_up, exhausted)
        assert self.search is not None
        if counterexample is not None:
            verdict = Verdict.VIOLATED
        elif why:
            verdict = Verdict.INCONCLUSIVE
        else:
            verdict = Verdict.VERIFIED
        return Result(
            scenario=self.scenario.name,
            parameters=self._case(simulation, counterexample),
            strategy=self.strategy,
            verdict=verdict,
            expected=self.scenario.expected(simulation.parameters),
            executions=tally.executions,
            deadlocks=tally.deadlocks,
            blocked=tally.blocked,
            redundant=tally.redundant,
            outcomes=frozenset(tally.outcomes),
            bounds=bounds(tally, simulation, self.search, verdict, why, self.stop_on_first),
            seconds=_monotonic() - self._began,
            counterexample=counterexample,
            first=None if any(map(is_drawn, self.parameters.values())) else self.repeats.first,
            branching=None if self.branching is None else (self.branching.points, self.branching.mean),
            never_reached=None if self.reached is None else self.reached.missing(),
        )

    def _case(self, simulation: Simulation, counterexample: Counterexample | None) -> dict[str, Any]:
        """Return the parameters to report: those of the counterexample or, where there is none, what open parameters were drawn from."""
        case = self.parameters if counterexample is None else simulation.parameters
        return {name: str(value) if is_drawn(value) else value for name, value in case.items()}


def explore(
    target: Any,
    strategy: str = "dpor",
    parameters: Parameters | None = None,
    stop_on_first: bool = True,
    faults: Faults | str | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Result:
    """Run a scenario's case under every ordering (or as the strategy says) and return the verdict.

    Args:
        target: a scenario, or any function: one that takes a world, or plain threaded code that asserts.
        strategy: "dpor" (each ordering once), "exhaustive" (every interleaving), or one that samples: "random", "pct", "pos", "hypothesis".
        parameters: of the case; default: the first value of each. With "hypothesis" a value may be one of its strategies, and
            what is not given is drawn as well.
        stop_on_first: end at the first violation; otherwise continue and count.
        faults: those that may strike, and how many in one execution: `Faults(crash=1, stall=1)` or `"crash=1,stall=1"`. Default: the
            first value of the scenario's parameter `faults`, or none.
        settings: limits, and what they are for.
        progress: called while exploring.

    Raises:
        Misuse: the scenario or an argument is wrong. Nondeterminism: equal choices gave different runs.

    >>> import simharness
    >>> def lost_update(world):
    ...     cell = world.shared(0, "counter")
    ...     def bump():
    ...         cell.set(cell.get() + 1)
    ...     world.actor("a", bump)
    ...     world.actor("b", bump)
    ...     @world.at_end
    ...     def both_counted():
    ...         assert cell.get() == 2
    >>> simharness.explore(lost_update).verdict
    <Verdict.VIOLATED: 'violated'>
    """
    scenario = as_scenario(target)
    settings = settings or Settings()
    named.check(strategy, settings)
    given = parameters if faults is None else {**(parameters or {}), "faults": faults}
    case = open_case(scenario, given) if strategy == "hypothesis" else fixed_case(scenario, given)
    result = Explorer(scenario, case, strategy, stop_on_first, settings, progress).run()
    if settings.confirm:
        [result] = confirmed([result], [scenario], settings)
        if result.error is not None:
            raise nondeterminism(result.error, result.difference)
    return result


def explore_all(
    target: Any,
    strategy: str = "dpor",
    stop_on_first: bool = True,
    faults: Faults | str | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> list[Result]:
    """Explore every case of a scenario's matrix; a case that cannot be explored gives a result with an `error`.

    Args:
        target, strategy: as for `explore`.
        stop_on_first: end each case at its first violation; otherwise go on and count.
        faults: one fault model for all cases, in place of the scenario's own parameter of that name.
        settings, progress: as for `explore`; limits are those of each case.
    """
    scenario = as_scenario(target)
    settings = settings or Settings()
    apart = replace(settings, confirm=False)
    with control.installed():
        results = [explore_case(scenario, strategy, case, stop_on_first, apart, progress) for case in scenario.cases(faults)]
    return confirmed(results, [scenario] * len(results), settings) if settings.confirm else results


def explore_case(
    scenario: Scenario, strategy: str, case: Mapping[str, Any], stop_on_first: bool, settings: Settings, progress: Progress | None = None
) -> Result:
    """Explore one case of a matrix; an error becomes a result that carries it."""
    began = _monotonic()
    try:
        return explore(scenario, strategy, case, stop_on_first, settings=settings, progress=progress)
    except SimharnessError as error:
        result = failed(scenario, case, strategy, error, _monotonic() - began)
        if progress is not None:
            progress.finished(result)
        return result


def failed(scenario: Scenario, case: Mapping[str, Any], strategy: str, error: SimharnessError, seconds: float) -> Result:
    """Return the result of a case that could not be explored."""
    return Result(
        scenario=scenario.name,
        parameters=dict(case),
        strategy=strategy,
        verdict=Verdict.INCONCLUSIVE,
        expected=scenario.expected(case),
        executions=0,
        deadlocks=0,
        blocked=0,
        redundant=0,
        outcomes=frozenset(),
        bounds="nothing was explored",
        seconds=seconds,
        error=str(error),
        error_status=error.exit_status,
        difference=error.difference if isinstance(error, Nondeterminism) else None,
    )


def replay(target: Any, token: str, parameters: Parameters | None = None, settings: Settings | None = None) -> Replayed:
    """Repeat one execution from its token, with its trace.

    Args:
        target: the scenario that the token belongs to, or its function.
        token: from a counterexample, or from a result's first execution.
        parameters: of the case, to check that the token is one of it; default: those that the token names.
        settings: as for `explore`.

    Raises:
        TokenError: the token belongs to another scenario or case, or no longer fits the code.
    """
    scenario = as_scenario(target)
    parsed = scenario.read_token(token, None if parameters is None else fixed_case(scenario, parameters))
    with Simulation(scenario, fixed_case(scenario, parsed.case), settings or Settings()) as simulation:
        follow = tokens.Replay(simulation.kernel, parsed)
        execution, account = watched(simulation, (), follow.choose)
        follow.finish()
        said = describe(execution.failure)
        failure = None if said is None else simulation.kernel.canonical(said)
        failed_at, error = (None, None) if execution.failure is None else (execution.failure.step + 1, execution.failure.error)
        trace = simulation.record(list(execution.keys), failure, failed_at)
    return Replayed(failure, token, trace, account=account, error=error)
