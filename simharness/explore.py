"""The explorer: next execution, run it, look at it, until nothing is left, something fails, or a limit is reached.

A verdict is "verified" only when the strategy has exhausted its space and nothing was cut, left out or never looked at; `bounds` says
in words what that space was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from simharness import choices, runtimes
from simharness.actors import SHIFT, Failure
from simharness.errors import Misuse, Nondeterminism, SimharnessError
from simharness.kernel import Kernel
from simharness.progress import Progress
from simharness.results import Counterexample, Replayed, Result, Verdict
from simharness.runtimes import trio
from simharness.scenario import Parameters, Scenario, as_scenario
from simharness.shrink import Shrinker
from simharness.simulation import Execution, Settings, Simulation, describe
from simharness.strategies import Strategy
from simharness.strategies.dpor import Dpor
from simharness.strategies.exhaustive import Exhaustive

STRATEGIES: dict[str, Callable[[Kernel], Strategy]] = {"dpor": Dpor, "exhaustive": Exhaustive}
BATCHES_TRIED = 1_000
"""Executions spent on whether a counterexample under any order of Trio's tasks has a like under its batches."""
_monotonic = time.monotonic


class _Tally:
    """Counts of one round."""

    def __init__(self) -> None:
        self.executions = self.deadlocks = self.blocked = self.redundant = self.cut = 0
        self.outcomes: set[Hashable] = set()
        self.steps = 0
        self.concurrent = False
        self.first_failure: Execution | None = None
        self.moved: set[int] = set()
        self.stuck: dict[str, int] = {}

    @property
    def runs(self) -> int:
        """Executions of every kind."""
        return self.executions + self.blocked + self.redundant + self.cut

    def add(self, execution: Execution, kernel: Kernel) -> None:
        status = execution.status
        self.steps += kernel.n
        self.concurrent = self.concurrent or kernel.concurrent
        if status == "abandoned":
            self.redundant += 1
        elif status == "blocked":
            self.blocked += 1
        elif status == "cut":
            self.cut += 1
        else:
            self.executions += 1
            if status == "deadlock":
                self.deadlocks += 1
                self.stuck.update((actor.name, actor.index) for actor in kernel.stuck)
            self.moved.update(kernel.keys)
            self.outcomes |= execution.outcomes


class Explorer:
    """Explores one cell."""

    def __init__(self, scenario: Scenario, parameters: Parameters, strategy: str, stop_on_first: bool, settings: Settings) -> None:
        self.scenario = scenario
        self.parameters = parameters
        self.strategy = strategy
        self.stop_on_first = stop_on_first
        self.settings = settings
        self.progress = settings.progress or Progress()
        self.tally = _Tally()
        self.gave_up: str | None = None
        self._began = _monotonic()
        self._next_report = 0.0

    def run(self) -> Result:
        """Explore and report."""
        self.progress.started(self.scenario, self.parameters)
        with Simulation(self.scenario, self.parameters, self.settings) as simulation:
            learned = simulation.kernel.learned
            version = -1
            while version != learned.version:
                exhausted = self._rounds(simulation)
                version = learned.version
                counterexample = self._counterexample(simulation)
            result = self._result(simulation, exhausted, counterexample)
            any_order = "trio" in learned.runtimes and trio.BATCHES not in learned.shared
        if any_order and result.counterexample is not None:
            result = replace(result, counterexample=self._in_batches(result.counterexample))
        self.progress.finished(result)
        return result

    def _rounds(self, simulation: Simulation) -> bool:
        """Explore until a round teaches nothing new about what conflicts; return whether it was exhausted."""
        learned = simulation.kernel.learned
        while True:
            version = learned.version
            self.tally = _Tally()
            finished = self._round(simulation, STRATEGIES[self.strategy](simulation.kernel), version)
            if learned.version == version:
                return finished
            if self.gave_up is not None:
                return False

    def _round(self, simulation: Simulation, strategy: Strategy, version: int) -> bool:
        kernel, tally = simulation.kernel, self.tally
        while True:
            plan = strategy.begin()
            if plan is None:
                return strategy.exhausts and not tally.cut
            if self._limit_reached():
                return False
            execution = simulation.execute(plan, strategy.choose, strategy.expected())
            strategy.end()
            tally.add(execution, kernel)
            if kernel.learned.version != version:
                return False
            failing = execution.failure is not None and tally.first_failure is None
            if failing:
                tally.first_failure = execution
            if failing or tally.runs == 1:
                self._repeat(simulation, execution)
            if failing and self.stop_on_first:
                return False

    def _limit_reached(self) -> bool:
        tally, settings = self.tally, self.settings
        now = _monotonic()
        if now >= self._next_report:
            self._next_report = now + 0.1
            self.progress.advanced(tally.executions, now - self._began)
        if settings.max_executions is not None and tally.runs >= settings.max_executions:
            self.gave_up = f"stopped at max_executions={settings.max_executions}"
        elif settings.max_seconds is not None and now - self._began >= settings.max_seconds:
            self.gave_up = f"stopped at max_seconds={settings.max_seconds:g}"
        return self.gave_up is not None

    def _repeat(self, simulation: Simulation, execution: Execution) -> None:
        """Run the first execution, and a failing one, again: what differs then is not the schedule's doing."""
        kernel = simulation.kernel
        steps = list(zip(kernel.keys, kernel.operations, strict=True))
        names = {actor.index: actor.name for actor in kernel.actors.values()}
        before = simulation.fingerprint(execution)
        again = simulation.execute(list(execution.keys), _first_enabled, (kernel.reads, kernel.writes))
        if simulation.fingerprint(again) == before:
            return
        from simharness.report.difference import first_difference

        raise Nondeterminism(first_difference(steps, names, execution, kernel, again))

    def _counterexample(self, simulation: Simulation) -> Counterexample | None:
        failing = self.tally.first_failure
        if failing is None:
            return None
        shrinker = Shrinker(simulation, failing, self.settings.shrink)
        learned = simulation.kernel.learned
        version = learned.version
        shortness = shrinker.run()
        if learned.version != version:
            return None
        execution = simulation.execute(shrinker.best, _first_enabled)
        failure: Failure | None = execution.failure
        assert failure is not None
        token = choices.write(self.scenario.name, self.parameters, simulation.kernel)
        text = describe(failure) or ""
        trace = simulation.record(shrinker.best, text, failure.step + 1)
        return Counterexample(text, token, trace, shortness)

    def _in_batches(self, found: Counterexample) -> Counterexample:
        """Say whether the installed Trio's loop, which takes batches of tasks, can fail too."""
        limits = replace(self.settings, trio_order="batches", max_executions=BATCHES_TRIED, progress=None)
        other = Explorer(self.scenario, self.parameters, self.strategy, True, limits).run()
        if other.counterexample is not None:
            said = f"the batches of {trio.used()} fail too: {other.counterexample.token}"
        elif other.verdict is Verdict.VERIFIED:
            said = f"no order of the batches of {trio.used()} fails (all {other.executions} tried): it takes what Trio leaves open"
        else:
            said = f"{other.executions} orders of the batches of {trio.used()} did not fail"
        return replace(found, shortness=f"{found.shortness}; {said}")

    def _result(self, simulation: Simulation, exhausted: bool, counterexample: Counterexample | None) -> Result:
        tally = self.tally
        reasons = self._reasons(simulation, exhausted)
        if counterexample is not None:
            verdict = Verdict.VIOLATED
        elif reasons:
            verdict = Verdict.INCONCLUSIVE
        else:
            verdict = Verdict.VERIFIED
        return Result(
            scenario=self.scenario.name,
            parameters=dict(self.parameters),
            strategy=self.strategy,
            verdict=verdict,
            expected=self.scenario.expected(self.parameters),
            executions=tally.executions,
            deadlocks=tally.deadlocks,
            blocked=tally.blocked,
            redundant=tally.redundant,
            outcomes=frozenset(tally.outcomes),
            bounds=self._bounds(simulation, verdict, reasons),
            seconds=_monotonic() - self._began,
            counterexample=counterexample,
        )

    def _reasons(self, simulation: Simulation, exhausted: bool) -> list[str]:
        """Say why the absence of a failure proves nothing, if it does not."""
        tally = self.tally
        reasons = []
        if self.gave_up:
            reasons.append(self.gave_up)
        elif not exhausted and not tally.cut:
            reasons.append("the space was not exhausted")
        if tally.cut:
            kernel = simulation.kernel
            tail = ", ".join(dict.fromkeys(operation.kind for operation in kernel.operations[-20:]))
            reasons.append(f"{tally.cut} executions were cut at max_steps={self.settings.max_steps} (repeating: {tail})")
        if not tally.executions:
            reasons.append("every execution was left out" if tally.blocked else "no execution ended")
        elif not tally.steps:
            reasons.append("no actor ever made a step")
        elif simulation.checks and not simulation.checked:
            reasons.append("no at_end check was ever evaluated")
        movers = {key >> SHIFT for key in tally.moved}
        idle = [name for name, index in tally.stuck.items() if index not in movers]
        if idle:
            reasons.append(f"{' and '.join(idle)} never made a step")
        return reasons

    def _bounds(self, simulation: Simulation, verdict: Verdict, reasons: Sequence[str]) -> str:
        tally, kernel = self.tally, simulation.kernel
        parts = []
        if verdict is Verdict.VERIFIED:
            what = "orderings (each once, up to swapping independent steps)" if self.strategy == "dpor" else "interleavings"
            parts.append(f"all {tally.executions} {what}")
        elif verdict is Verdict.VIOLATED and self.stop_on_first:
            parts.append(f"stopped at the first violation, after {tally.executions} executions")
        else:
            parts.append(f"{tally.executions} executions")
        if verdict is not Verdict.VIOLATED:
            parts.extend(reasons)
        if tally.blocked:
            parts.append(f"{tally.blocked} left out by assume")
        if not tally.concurrent:
            parts.append("nothing ran concurrently")
        parts.append(f"late by less than {kernel.clock.max_delay / 1e9:g} s of virtual time")
        scales = ", ".join(f"{scale / 1e9:g} s" for scale in kernel.clock.timescales)
        if scales:
            parts.append(f"timescales {scales}")
        parts.append(f"scheduling points: {', '.join(runtimes.names(kernel))}; between them, unsynchronised memory is not explored")
        parts.append("no faults")
        return "; ".join(parts)


def _first_enabled(enabled: list[int]) -> int:
    return enabled[0]


def explore(
    target: Any,
    strategy: str = "dpor",
    parameters: Parameters | None = None,
    stop_on_first: bool = True,
    faults: None = None,
    workers: int = 1,
    settings: Settings | None = None,
) -> Result:
    """Run a scenario's cell under every ordering (or as the strategy says) and return the verdict.

    Args:
        target: a scenario, or any function: one that takes a world, or plain threaded code that asserts.
        strategy: "dpor" (each ordering once) or "exhaustive" (every interleaving).
        parameters: of the cell; default: the first value of each.
        stop_on_first: end at the first violation; otherwise go on and count.
        faults: none can be asked for in this version.
        workers: cells of a matrix may be spread over processes (`explore_all`); one cell is explored by one.
        settings: limits, and who is told about progress.

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
    if strategy not in STRATEGIES:
        raise Misuse(f"no strategy {strategy!r}; there are: {', '.join(STRATEGIES)}")
    if faults is not None:
        raise Misuse(f"faults={faults!r}: this version explores orderings without faults; leave it out")
    if workers < 1:
        raise Misuse(f"workers={workers}: at least one is needed")
    cell = scenario.cell(parameters)
    return Explorer(scenario, cell, strategy, stop_on_first, settings or Settings()).run()


def explore_all(
    target: Any,
    strategy: str = "dpor",
    stop_on_first: bool = True,
    settings: Settings | None = None,
) -> list[Result]:
    """Explore every cell of a scenario's matrix; a cell that cannot be explored gives a result with an `error`."""
    scenario = as_scenario(target)
    with runtimes.installed():
        return [_explore_cell(scenario, strategy, cell, stop_on_first, settings) for cell in scenario.cells()]


def _explore_cell(scenario: Scenario, strategy: str, cell: Mapping[str, Any], stop_on_first: bool, settings: Settings | None) -> Result:
    began = _monotonic()
    try:
        return explore(scenario, strategy, cell, stop_on_first, settings=settings)
    except SimharnessError as error:
        result = failed(scenario, cell, strategy, error, _monotonic() - began)
        if settings is not None and settings.progress is not None:
            settings.progress.finished(result)
        return result


def failed(scenario: Scenario, cell: Mapping[str, Any], strategy: str, error: SimharnessError, seconds: float) -> Result:
    """Return the result of a cell that could not be explored."""
    return Result(
        scenario=scenario.name,
        parameters=dict(cell),
        strategy=strategy,
        verdict=Verdict.INCONCLUSIVE,
        expected=scenario.expected(cell),
        executions=0,
        deadlocks=0,
        blocked=0,
        redundant=0,
        outcomes=frozenset(),
        bounds="nothing was explored",
        seconds=seconds,
        error=str(error),
        error_status=error.exit_status,
    )


def replay(target: Any, token: str, parameters: Parameters | None = None, settings: Settings | None = None) -> Replayed:
    """Repeat one execution from its token, with its trace.

    Raises:
        TokenError: the token belongs to another scenario or cell, or no longer fits the code.
    """
    scenario = as_scenario(target)
    texts = {name: {str(value): value for value in values} for name, values in scenario.matrix.items()}
    given = None if parameters is None else scenario.cell(parameters)
    told = choices.read(token, scenario.name, given, texts)
    with Simulation(scenario, scenario.cell(told.cell), settings or Settings()) as simulation:
        simulation.kernel.learned.shared |= told.facts
        follow = choices.Replay(simulation.kernel, told.choices)
        execution = simulation.execute((), follow.choose)
        follow.finish(told.check)
        failure = describe(execution.failure)
        failed_at = None if execution.failure is None else execution.failure.step + 1
        trace = simulation.record(list(execution.keys), failure, failed_at)
    return Replayed(failure, token, trace)
