"""The explorer: runs and checks one execution after another, until nothing is left, something fails, or a limit is reached.

A verdict is "verified" only when the strategy has exhausted its space and nothing was cut, left out or never checked; `bounds` says
in words what that space was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from simharness.authoring.scenario import Parameters, Scenario, as_scenario, fixed_case, is_drawn
from simharness.engine.facts import Mark, until_settled
from simharness.engine.faults import Faults
from simharness.engine.interrupts import INTERRUPTS
from simharness.errors import Nondeterminism, SimharnessError
from simharness.exploring import narrower
from simharness.exploring.examples import open_case
from simharness.exploring.progress import Progress
from simharness.exploring.proofs import Proofs
from simharness.exploring.reporter import Reporter
from simharness.exploring.rounds import Rounds
from simharness.exploring.watching import Keeping
from simharness.runtimes import control
from simharness.search import named, tokens
from simharness.search.drawn import Drawn
from simharness.settings import Settings
from simharness.simulation.difference import nondeterminism
from simharness.simulation.execution import Execution, describe
from simharness.simulation.repeating import WHAT_TO_DO, watched
from simharness.simulation.simulation import Simulation
from simharness.trace.reached import Reached
from simharness.verdicts.confirm import confirmed
from simharness.verdicts.counterexample import InHand, counterexample, from_hand
from simharness.verdicts.covered import bounds, reasons, remarks
from simharness.verdicts.followed import Followed
from simharness.verdicts.left_behind import Before
from simharness.verdicts.results import Counterexample, Replayed, Result, Verdict

_NOTHING_KEPT: dict[str, Any] = dict.fromkeys(("checkpoint", "resume", "shard", "cluster"))
_monotonic = time.monotonic


class Explorer:
    """Explores one case and says what the result is."""

    def __init__(
        self,
        scenario: Scenario,
        parameters: Parameters,
        strategy: str,
        stop_on_first: bool,
        settings: Settings,
        progress: Progress | None = None,
        joined: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        self.scenario = scenario
        self.parameters = parameters
        self.strategy = strategy
        self.stop_on_first = stop_on_first
        self.settings = settings
        self.reached = Reached() if settings.reached and settings.isolation != "fork" else None
        self._began = _monotonic()
        limited = settings.max_executions is not None or settings.max_seconds is not None
        self._reporter = Reporter(progress, self._began, limited or progress is not None)
        self._hand: InHand | None = None
        kept = settings.checkpoint or settings.resume or settings.shard or joined
        self._keeper = self._made_keeper(joined) if kept else None

    def _made_keeper(self, joined: Sequence[Mapping[str, Any]] | None) -> Keeping:
        from simharness.exploring.checkpoints import Keeper

        return Keeper(self.scenario, self.parameters, (self.strategy, self.stop_on_first), self.settings, joined)

    def run(self) -> Result:
        """Explore and report."""
        progress = self._reporter.progress
        progress.started(self.scenario, self.parameters)
        trouble: Exception | None = None
        simulation = Simulation(self.scenario, self.parameters, self.settings)
        drawn = any(map(is_drawn, self.parameters.values()))
        with simulation, Before(simulation, wanted=not drawn and self.settings.isolation != "fork") as before:
            kernel = simulation.kernel
            proofs = Proofs(simulation, self.strategy, self.parameters, self._reporter, self._began)
            rounds = Rounds(
                simulation,
                self.strategy,
                self.stop_on_first,
                self._reporter,
                self.parameters,
                proofs.limits(),
                self._began,
                self._keeper,
            )
            try:
                exhausted, counterexample = until_settled(kernel.learned, partial(self._attempt, rounds, proofs))
            except Exception as error:
                if self._hand is None:
                    raise before.cause_of(error, rounds.repeats.first) from None
                trouble, exhausted, counterexample = error, False, None
            if counterexample is not None:
                before.check(counterexample)
            result = self._result(rounds, exhausted, counterexample, proofs)
            narrower_orders = narrower.orders(kernel)
        if counterexample is None and self._hand is not None:
            result = self._not_lost(result, self._hand, trouble)
        for one in narrower_orders if result.counterexample is not None else ():
            result = replace(result, counterexample=self._in(one, result.counterexample, simulation.parameters))
        progress.finished(result)
        return result

    def _attempt(self, rounds: Rounds, proofs: Proofs, mark: Mark) -> tuple[bool, Counterexample | None]:
        """Explore; return whether that was exhausted, and the counterexample, the search for which may teach something, too."""
        failing, exhausted = self._still_failing(rounds), False
        if failing is None:
            with self.reached or nullcontext():
                rounds.share = proofs.share
                exhausted = rounds.run() or proofs.after(rounds)
        mark.renew()
        rounds.simulation.settle()
        if not mark.holds:
            return exhausted, None
        if failing is None:
            failing = rounds.failing()
        if failing is None:
            rounds.finish()
        return exhausted, None if failing is None else counterexample(rounds.simulation, failing, self._keep)

    def _still_failing(self, rounds: Rounds) -> Execution | None:
        """Follow what is in hand as closely as is possible with what explaining it has taught.

        Returns:
            The execution, if it fails, too: then there is no need to explore anew.
        """
        hand, simulation = self._hand, rounds.simulation
        if hand is None or not self.stop_on_first or isinstance(rounds.strategy, Drawn):
            return None

        def follow(mark: Mark) -> Execution:
            return Followed(simulation).follow(hand.shorter or hand.keys)[1]

        execution = until_settled(simulation.kernel.learned, follow)
        return None if execution.failure is None else execution

    def _keep(self, hand: InHand) -> None:
        self._hand = hand

    def _not_lost(self, result: Result, hand: InHand, trouble: Exception | None) -> Result:
        """Return the result with the counterexample that was in hand before exploring started over and did not find it again.

        Raises:
            Nondeterminism: it no longer fails. If an error occurred in between, that error is raised.
        """
        why = result.bounds.partition("; ")[0] if trouble is None else str(trouble).partition("\n")[0]
        kept = from_hand(self.scenario, hand, self.settings, f"exploring again, with what this taught, did not find it: {why}")
        if kept is None:
            raise trouble or Nondeterminism(f"not deterministic: a failing schedule did not fail when it was repeated; {WHAT_TO_DO}")
        return replace(
            result,
            parameters={name: hand.parameters.get(name, value) for name, value in result.parameters.items()},
            verdict=Verdict.VIOLATED,
            counterexample=kept,
            bounds="; ".join(["stopped at the first violation", *result.bounds.split("; ")[1:]]),
            remarks=(),
        )

    def _in(self, narrow: narrower.Narrower, counterexample: Counterexample | None, case: Parameters) -> Counterexample:
        """Say whether the code can fail in a narrower order, too: in what the installed library's loop does today."""
        assert counterexample is not None
        alone = replace(self.settings, **_NOTHING_KEPT)
        limits = narrow.of(replace(alone, max_executions=narrower.TRIED, preemptions=None, delays=None, proof=None))
        try:
            other = Explorer(self.scenario, case, "dpor", True, limits).run()
        except Exception as error:
            said = f"{narrow.name} could not be tried: {error}"
            return replace(counterexample, shortness=f"{counterexample.shortness}; {said}")
        if other.counterexample is not None:
            said = f"{narrow.name} fail too: {other.counterexample.token}"
        elif other.verdict is Verdict.VERIFIED:
            said = f"no order of {narrow.name} fails (all {other.executions} tried): {narrow.takes}"
        else:
            said = f"{other.executions} orders of {narrow.name} did not fail"
        return replace(counterexample, shortness=f"{counterexample.shortness}; {said}")

    def _result(self, rounds: Rounds, exhausted: bool, counterexample: Counterexample | None, proofs: Proofs) -> Result:
        with proofs.limited():
            result = self._as_explored(proofs.enough or rounds, exhausted or proofs.enough is not None, counterexample, proofs)
        drawn = any(map(is_drawn, self.parameters.values()))
        # The first execution is one without the bound of a proof: that is how it is repeated.
        return replace(result, first=None if drawn else rounds.repeats.first)

    def _as_explored(self, rounds: Rounds, exhausted: bool, counterexample: Counterexample | None, proofs: Proofs) -> Result:
        simulation, tally, branching = rounds.simulation, rounds.tally, rounds.branching
        why = [*_in_parts(rounds, exhausted), *reasons(tally, simulation, rounds.gave_up, exhausted or rounds.gave_up == "")]
        if counterexample is not None:
            verdict = Verdict.VIOLATED
        elif why:
            verdict = Verdict.INCONCLUSIVE
        else:
            verdict = Verdict.VERIFIED
        said = (*remarks(tally, simulation, verdict), *proofs.remarks(verdict))
        about_proofs = proofs.words(verdict)
        why += [*about_proofs, *proofs.next_words(verdict)]
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
            bounds=bounds(
                tally, simulation, rounds.strategy, verdict, [*why, *said, *filter(None, [rounds.why_one_core])], self.stop_on_first
            ),
            seconds=_monotonic() - self._began,
            counterexample=counterexample,
            branching=None if branching is None else (branching.points, branching.mean),
            never_reached=None if self.reached is None else self.reached.missing(),
            sampled=tally.sampled,
            proved=tuple(map(str, proofs.ended)) if verdict is not Verdict.VIOLATED else (),
            about_proofs=tuple(about_proofs),
            proof_to_try=proofs.advice(verdict),
            remarks=said,
        )

    def _case(self, simulation: Simulation, counterexample: Counterexample | None) -> dict[str, Any]:
        """Return the parameters to report: those of the counterexample or, where there is none, what open parameters were drawn from."""
        case = self.parameters if counterexample is None else simulation.parameters
        return {name: str(value) if is_drawn(value) else value for name, value in case.items()}


def explore(
    target: Any,
    strategy: str = named.DEFAULT,
    parameters: Parameters | None = None,
    stop_on_first: bool = True,
    faults: Faults | str | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Result:
    """Run a scenario's case under every ordering (or as the strategy says) and return the verdict.

    Args:
        target: a scenario, or any function: one that takes a world, or plain threaded code that asserts.
        strategy: "auto" (each ordering once, with samples in between, which find bugs far from the first ordering), "dpor" (without
            samples), "exhaustive" (every interleaving), or one that only samples: "random", "pct", "pos", "surw", "hypothesis".
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
    with INTERRUPTS.held():  # until the explorer is gone, too: what a handler raises in the callback of a weak reference would be lost
        result = Explorer(scenario, case, strategy, stop_on_first, settings, progress).run()
    if settings.confirm:
        [result] = confirmed([result], [scenario], settings)
        if result.error is not None:
            raise nondeterminism(result.error, result.difference)
    return result


def explore_all(
    target: Any,
    strategy: str = named.DEFAULT,
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
    with INTERRUPTS.held(), control.installed():
        results = [explore_case(scenario, strategy, case, stop_on_first, apart, progress) for case in scenario.cases(faults)]
    return confirmed(results, [scenario] * len(results), settings) if settings.confirm else results


def explore_case(
    scenario: Scenario, strategy: str, case: Mapping[str, Any], stop_on_first: bool, settings: Settings, progress: Progress | None = None
) -> Result:
    """Explore one case of a matrix; an error becomes a result that carries it."""

    def run() -> Result:
        return explore(scenario, strategy, case, stop_on_first, settings=settings, progress=progress)

    return run_safely(scenario, case, strategy, run, progress)


def run_safely(
    scenario: Scenario, case: Mapping[str, Any], strategy: str, run: Callable[[], Result], progress: Progress | None = None
) -> Result:
    """Return what exploring a case comes to; an error becomes a result that carries it."""
    began = _monotonic()
    try:
        return run()
    except SimharnessError as error:
        result = failed(scenario, case, strategy, error, _monotonic() - began)
        if progress is not None:
            progress.finished(result)
        return result


def _in_parts(rounds: Rounds, exhausted: bool) -> list[str]:
    """Say why a part of an exploration proves nothing, whatever it has explored, and how much is left."""
    shard = rounds.shard
    if shard is None or (exhausted and not shard.number):
        return []
    left = rounds.left or 0
    incomplete = f"incomplete: {left:,} {'leaf' if left == 1 else 'leaves'} left"
    if not shard.number:
        return [incomplete]
    return [f"part {shard.number} of {shard.of}, which `simharness merge` joins", incomplete]


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
    with INTERRUPTS.held():
        return _replayed(as_scenario(target), token, parameters, settings or Settings())


def _replayed(scenario: Scenario, token: str, parameters: Parameters | None, settings: Settings) -> Replayed:
    parsed = scenario.read_token(token, None if parameters is None else fixed_case(scenario, parameters))
    with Simulation(scenario, fixed_case(scenario, parsed.case), settings) as simulation:
        follow = tokens.Replay(simulation.kernel, parsed)
        execution, account = watched(simulation, (), follow.choose)
        follow.finish()
        said = describe(execution.failure)
        failure = None if said is None else simulation.kernel.canonical(said)
        failed_at, error = (None, None) if execution.failure is None else (execution.failure.step + 1, execution.failure.error)
        trace = simulation.record(list(execution.keys), failure, failed_at)
    return Replayed(failure, token, trace, account=account, error=error)
