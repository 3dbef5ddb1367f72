"""What explorations and replays return: verdicts, counterexamples, results."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from simharness.authoring.scenario import Parameters
from simharness.simulation.difference import Difference
from simharness.simulation.transcript import Account, Witness
from simharness.trace.data import Blame, Passing, Step, Trace

HERE = "replayed in this process"
FRESH = "replayed in a fresh process with another hash seed"


EXCEPT = "except for"
"""How a remark begins that takes something out of the verdict."""


class Verdict(StrEnum):
    """The outcome of an exploration."""

    VERIFIED = "verified"
    VIOLATED = "violated"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Replayed:
    """An execution that was repeated for its trace.

    Attributes:
        failure: one line that says what went wrong, or None.
        token: for `simharness.replay(scenario, token)`, which repeats it.
        trace: its record; `timeline` renders it, `steps` lists its steps.
        account: what it did, in words that are the same in every process.
        error: the exception behind the failure, if it was repeated by `replay`.
    """

    failure: str | None
    token: str
    trace: Trace
    account: Account = field(default=Account(), repr=False, kw_only=True)
    error: BaseException | None = field(default=None, repr=False, compare=False, kw_only=True)

    @property
    def trace_hash(self) -> str:
        """64 hex digits, equal whenever and wherever the same execution is run."""
        return self.account.hash

    @property
    def timeline(self) -> str:
        """The execution as text: a column per actor, time downwards."""
        from simharness.timeline.render import render

        return render(self.trace)

    @property
    def steps(self) -> Sequence[Step]:
        """The steps, first to last."""
        return self.trace.steps


@dataclass(frozen=True)
class Counterexample(Replayed):
    """An execution that fails.

    Attributes:
        shortness: what is known about its length.
        confirmed: where a replay was the same.
        violates: the names of what is violated: the check, the actor, the kind of exception, or "deadlock".
        without_race: whether the sequential orderings raise this exception, too, though the author expects a violation.
    """

    failure: str
    shortness: str
    confirmed: str = field(default=HERE, kw_only=True)
    violates: tuple[str, ...] = field(default=(), kw_only=True)
    without_race: bool = field(default=False, kw_only=True)

    @property
    def blame(self) -> Sequence[Blame]:
        """The races (or data choices) that decide it: each was reversed, and that execution passed."""
        return self.trace.why.blame if self.trace.why is not None else ()

    @property
    def passing(self) -> Passing | None:
        """The passing execution that differs least, among those tried; None if no execution passed."""
        return self.trace.why.passing if self.trace.why is not None else None

    @property
    def explanation(self) -> Sequence[str]:
        """What decides the failure, in sentences."""
        from simharness.timeline.why import explain

        return explain(self.trace)


@dataclass(frozen=True)
class Result:
    """The result of exploring a scenario with one combination of its parameters.

    Attributes:
        scenario, parameters: what was explored.
        strategy: its name.
        verdict: "verified", "violated" or "inconclusive".
        expected: the verdict that the scenario's author expects, which may name what is violated: "violated: run_once".
        executions: how many ran to their end; under "auto" and "dpor" each is a different ordering.
        deadlocks: how many of them ended in a deadlock.
        blocked: how many were left out because an `assume` did not hold.
        redundant: how many repeated an ordering that had been run.
        outcomes: the values of `world.outcome`, without those of samples.
        bounds: what was explored, in words; of an inconclusive result, why it proves nothing.
        seconds: how long it took, in real seconds.
        counterexample: a failing execution, if there is one.
        error: why it could not be explored, if it could not; `error_status` is the command line's exit status for that.
        error_status: 0 without an error.
        difference: two runs that should have been the same, if that is the error.
        first: the first execution; a fresh process repeats it.
        branching: the number of points at which a depth-first search branched, and the mean number of branches.
        never_reached: the scheduling points, in functions that ran, that no execution reached (`Settings.reached`).
        sampled: how many more executions "auto" drew between them, which cover nothing.
        proved: bounds within which nothing fails, such as "lateness<0.9", where exploring everything did not end.
        proof_to_try: the bound to ask for next (`Settings.proof`), if there is no verdict and one could help.
        about_proofs: what is proved and what is not, in words; `bounds` says it, too.
        remarks: where "verified" means less than it may seem: nothing is checked, or the actors never met; `bounds` says it, too.
    """

    scenario: str
    parameters: Parameters
    strategy: str
    verdict: Verdict
    expected: str
    executions: int
    deadlocks: int
    blocked: int
    redundant: int
    outcomes: frozenset[Hashable]
    bounds: str
    seconds: float
    counterexample: Counterexample | None = None
    error: str | None = None
    error_status: int = 0
    difference: Difference | None = None
    first: Witness | None = field(default=None, repr=False)
    branching: tuple[int, float] | None = None
    never_reached: tuple[str, ...] | None = None
    sampled: int = 0
    proved: tuple[str, ...] = ()
    proof_to_try: str = ""
    about_proofs: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def as_expected(self) -> bool:
        """Whether the verdict is the one that the scenario's author expects."""
        return self.error is None and not self.unlike

    @property
    def unlike(self) -> str:
        """What the verdict is not, though the scenario's author expects it; empty if it is as expected."""
        verdict, _, name = self.expected.partition(":")
        failing = self.counterexample
        if self.verdict != verdict or (failing is not None and name and name.strip() not in failing.violates):
            return f"not {self.expected}"
        if failing is not None and failing.without_race:
            return "no race"
        return ""

    @property
    def exit_status(self) -> int:
        """The command line's exit status for this case alone."""
        if self.error is not None:
            return self.error_status
        if self.as_expected:
            return 0
        return 3 if self.verdict is Verdict.INCONCLUSIVE else 1
