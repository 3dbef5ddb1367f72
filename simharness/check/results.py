"""What a check has found: which programs were run, which operations may run beside which, and the smallest programs that fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from simharness.check.programs import Program, Shape, pair
from simharness.check.targets import Target
from simharness.verdicts.results import Counterexample, Result, Verdict


@dataclass
class Stage:
    """The programs of one shape.

    Attributes:
        shape: how many calls each actor makes.
        prefixes: from how many states, besides the first, they begin; 0: the first only.
        total: how many there are.
        done: how many were explored.
        known: how many contain a smaller one that fails.
    """

    shape: Shape
    prefixes: int
    total: int
    done: int = 0
    known: int = 0

    @property
    def whole(self) -> bool:
        """Whether each of them was explored, or contains one that fails."""
        return self.done + self.known == self.total

    def __str__(self) -> str:
        return "+".join(map(str, self.shape)) + (" after a call" if self.prefixes else "")


@dataclass(frozen=True)
class Examined:
    """A program that was explored.

    Attributes:
        program, verdict, executions: which, with what result, in how many orderings.
        why: what was explored, in words.
        result: of a program that fails.
        besides: what the verdict does not cover, such as the memory of packages.
        returned: the calls that return in some serial order, and do not raise.
    """

    program: Program
    verdict: Verdict
    executions: int
    why: str
    result: Result | None = None
    besides: tuple[str, ...] = ()
    returned: frozenset[str] = frozenset()

    @property
    def late(self) -> bool:
        """Whether its time was over before its orderings were; then it counts as one that was not run."""
        return self.verdict is Verdict.INCONCLUSIVE and "stopped at max_seconds" in self.why

    @property
    def reason(self) -> str:
        """Why there is no verdict."""
        parts = self.why.split("; ")
        cause = [part for part in parts[1:] if not part.startswith("late by less than")]
        unseen = "no module was instrumented" in self.why
        return "its calls make no step: written in C, or not instrumented" if unseen and "no actor" in self.why else (cause or parts)[0]


@dataclass(frozen=True)
class Failure:
    """A program that violates a specification.

    Attributes:
        pairs: the operations that it makes beside one another.
        anomaly: what the failing execution has done, by the name that the literature has for it; empty if nothing is known.
    """

    program: Program
    result: Result
    pairs: frozenset[tuple[str, str]]
    anomaly: str = ""

    @property
    def counterexample(self) -> Counterexample:
        """The failing execution."""
        assert self.result.counterexample is not None
        return self.result.counterexample

    @property
    def violates(self) -> str:
        """The name of the specification."""
        name = self.counterexample.violates[0]
        return "no deadlock" if name in ("deadlock", "livelock") else name


@dataclass(frozen=True)
class Bounds:
    """Within what the verdict holds.

    Attributes:
        names: the specifications.
        calls: the texts of all calls.
        prefixes: calls before the actors move, each of which leads to another state.
        raising: what calls raise when they are made alone, on a new object.
        faults: what may strike.
    """

    names: tuple[str, ...]
    calls: tuple[str, ...]
    prefixes: tuple[tuple[str, ...], ...]
    raising: tuple[str, ...]
    faults: str | None


class Cell(NamedTuple):
    """What is known about two operations beside each other."""

    mark: str
    programs: int
    orderings: int


@dataclass
class Checked:
    """The result of a check.

    Attributes:
        target, bounds: what was checked, within what.
        stages: which programs.
        examined: the programs that were explored.
        failures: the smallest that fail, one for each combination of operations.
        seconds: how long it took.
    """

    target: Target
    bounds: Bounds
    stages: Sequence[Stage]
    examined: Sequence[Examined]
    failures: Sequence[Failure]
    seconds: float
    _cells: dict[tuple[str, str], Cell] = field(default_factory=dict, repr=False)

    @property
    def verdict(self) -> Verdict:
        """Violated if a program fails; verified if each program within the bounds was explored, and none fails."""
        if self.failures:
            return Verdict.VIOLATED
        if any(not one.late for one in self.unsettled) or not self.covered:
            return Verdict.INCONCLUSIVE
        return Verdict.VERIFIED

    @property
    def exit_status(self) -> int:
        """The command line's exit status."""
        return {Verdict.VIOLATED: 1, Verdict.VERIFIED: 0}.get(self.verdict, 3)

    @property
    def unsettled(self) -> list[Examined]:
        """Programs without a verdict."""
        return [one for one in self.examined if one.verdict is Verdict.INCONCLUSIVE]

    @property
    def covered(self) -> list[Stage]:
        """The stages of which all programs were explored."""
        return [stage for stage in self.stages if stage.whole]

    @property
    def executions(self) -> int:
        """How many orderings were run."""
        return sum(one.executions for one in self.examined)

    @property
    def besides(self) -> list[str]:
        """What the verdict does not cover: operations that always raise, and memory that is shared and not explored."""
        raising = ", ".join(self.raising)
        said = [f"except for {raising}, which raised in every serial order"] if raising else []
        return list(dict.fromkeys([*said, *(said for one in self.examined for said in one.besides)]))

    @property
    def raising(self) -> list[str]:
        """The operations of which no call has returned in any serial order: what is beside them has hardly been checked."""
        operations = {call.text: call.operation for call in self.target.calls}
        ran = {operations[text] for one in self.examined for calls in one.program.actors for text in calls}
        returned = {operations[text] for one in self.examined for text in one.returned}
        return [name for name in self.target.operations if name in ran - returned]

    @property
    def points(self) -> str:
        """Where actors can be interrupted, in words."""
        bounds = next((one.why for one in reversed(self.examined) if "late by less than" in one.why), "")
        return bounds[bounds.find("late by less than") :] if bounds else ""

    def cell(self, one: str, other: str) -> Cell:
        """Return what is known about two operations beside each other."""
        if not self._cells:
            self._fill()
        return self._cells.get(pair(one, other), Cell("?", 0, 0))

    def _fill(self) -> None:
        operations = {call.text: call.operation for call in self.target.calls}
        raising = set(self.raising)
        for one in self.examined:
            if one.late and sum(one.program.shape) > 2:
                continue
            mark = {Verdict.VERIFIED: "✓", Verdict.VIOLATED: "✗"}.get(one.verdict, "?")
            for each in one.program.pairs(operations.__getitem__):
                had = self._cells.get(each, Cell("✓", 0, 0))
                alone = mark == "?" or (mark == "✗" and all(each not in failure.pairs for failure in self.failures))
                worse = had.mark if mark == "✓" or (alone and mark == "✗") else "✗" if "✗" in (mark, had.mark) else "?"
                worse = "?" if worse == "✓" and raising & set(each) else worse
                self._cells[each] = Cell(worse, had.programs + 1, had.orderings + one.executions)

    def in_words(self) -> str:
        """Say what the verdict covers."""
        whole = [str(stage) for stage in self.covered]
        cut = [f"{stage} ({stage.done + stage.known:,} of {stage.total:,})" for stage in self.stages if not stage.whole]
        said = f"✓ means: no violation in programs of {', '.join(whole) or 'no shape'}"
        if cut:
            said += f", and of some of {', '.join(cut)}"
        return "; ".join([f"{said}, with these arguments", *self.besides])
