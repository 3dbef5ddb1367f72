"""Checks a class: runs programs of calls under every ordering, smallest first, and asks whether some serial order comes to the same.

The bounds are part of the verdict: how many actors make how many calls, with which arguments, after which calls. What has failed with two
operations beside each other is not looked for again in larger programs that contain them.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace

from simharness.authoring.scenario import Parameters
from simharness.check import anomalies
from simharness.check.outcomes import Outcome, Serial
from simharness.check.programs import Program, Shape, count, of_shape, pair, parse, shapes
from simharness.check.results import Bounds, Checked, Examined, Failure, Stage
from simharness.check.running import PROGRAM, ProgramScenario, refuse_unlike_model
from simharness.check.spreading import spread
from simharness.check.targets import Call, Target
from simharness.engine.interrupts import INTERRUPTS
from simharness.errors import Misuse, Nondeterminism, TokenError
from simharness.exploring.explore import explore, replay
from simharness.instrument.marks import is_instrumented
from simharness.instrument.project import of_root
from simharness.runtimes import control
from simharness.search import tokens
from simharness.settings import Settings
from simharness.verdicts.results import EXCEPT, Result, Verdict
from simharness.visible import shortened

SHAPES: tuple[Shape, ...] = ((1, 1), (1, 2), (2, 2), (1, 1, 1))
"""How many calls the actors make, where nobody says."""
PREFIXES = 6
"""States, besides the first, from which programs begin at most."""
TRIED = 40
"""Programs that are tried at most to make a failing one smaller."""
SORTED = 10_000
"""Where there are no more programs, those come first that are made of each operation's first call, so that each pair is run early."""
PARTS = 4
"""A program may take this part of the time that is left."""
_REFUSING = ("AttributeError", "TypeError")
AT_ONCE = 100
"""Programs that are given to worker processes at once."""
_monotonic = time.monotonic
Show = Callable[[Stage], None]


@dataclass(frozen=True)
class How:
    """How programs are explored.

    Attributes:
        names: the specifications.
        settings: the limits of each program.
        faults: what may strike.
        strategy: of exploring.
        max_seconds: for all programs together; None: no limit.
        workers: processes.
    """

    names: tuple[str, ...]
    settings: Settings
    faults: str | None = None
    strategy: str = "auto"
    max_seconds: float | None = None
    workers: int = 1

    def parameters(self, program: Program) -> Parameters:
        """Return the parameters of a program's scenario."""
        case: dict[str, str] = {PROGRAM: str(program)}
        return case if self.faults is None else {**case, "faults": self.faults}


class Checker:
    """Checks one class."""

    def __init__(self, target: Target, how: How, show: Show = lambda stage: None) -> None:
        if not target.calls:
            why = target.left[0] if target.left else 'it has no public method: give calls, --op "name(…)"'
            raise Misuse(f"{target.name} has no operation to call: {why}")
        self.target = target
        self.how = how
        self._show = show
        self._name_calls()
        self._began = _monotonic()
        self.raising: tuple[str, ...] = ()
        self._ahead: dict[Program, Examined] = {}
        self.stages: list[Stage] = []
        self.failures: list[Failure] = []
        self.examined: list[Examined] = []

    def _name_calls(self) -> None:
        calls = self.target.calls
        self._texts = [call.text for call in calls]
        self._operations = {call.text: call.operation for call in calls}
        self._ranks = {text: [t for t in self._texts if self._operations[t] == self._operations[text]].index(text) for text in self._texts}

    def run(self) -> Checked:
        """Check the class, within the bounds."""
        with ExitStack() as stack:
            stack.enter_context(self.opened())
            self.fit()
            prefixes = self.prefixes()
            if self.how.workers > 1:  # workers are forked where nothing is in place, and put it in place themselves
                stack.close()
            for shape, prefix in self._plan(prefixes):
                stage = Stage(shape, len(prefix), count(shape, len(self._texts)) * max(1, len(prefix)))
                self.stages.append(stage)
                self._stage(stage, prefix)
            if self.how.workers > 1:
                stack.enter_context(self.opened())
            self.failures = [self._explained(self._smallest(failure)) for failure in self.failures]
        return self._checked(prefixes)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """A block in which programs are explored: what each exploration needs is put in place once."""
        project = of_root(str(self.target.options["project"])) if self.target.options.get("project") else None
        with INTERRUPTS.held(), project.announcing() if project is not None else nullcontext(), control.installed():
            yield

    # Which programs

    def fit(self) -> None:
        """Replace each call that raises a TypeError by one with other arguments that does not, if nothing is known about the arguments."""
        for at, call in enumerate(self.target.calls):
            if self._refused(call):
                fitting = next((other for other in call.others() if not self._refused(other)), call)
                self.target.calls[at] = fitting
        self.target.calls[:] = {call.text: call for call in self.target.calls}.values()
        self._name_calls()

    def _refused(self, call: Call) -> bool:
        """Whether a call raises, as if its arguments were of the wrong kind, wherever it is made alone on a new object."""
        if next(call.others(), None) is None and call.text in self._texts:
            return False
        outcomes = self.serial(Program(((call.text,),))).complete
        return bool(outcomes) and all(one.results[0][1].raised in _REFUSING for one in outcomes)

    def prefixes(self) -> list[tuple[str, ...]]:
        """Return calls that lead to states other than the first, one for each state.

        Raises:
            Misuse: equal calls give different results, or the state cannot be looked at.
        """
        found: dict[object, tuple[str, ...]] = {}
        seen: list[Outcome] = []
        raising: dict[str, str] = {}
        for text in self._texts:
            alone = Program(((text,),))
            try:
                one, again = self.serial(alone), self.serial(alone)
            except Nondeterminism as error:
                said = "; if only the state differs, say what is compared, with --state"
                raise Nondeterminism(f"{text}: {error}{said}", error.difference) from None
            if {outcome.values for outcome in one.complete} != {outcome.values for outcome in again.complete}:
                raise Misuse(
                    f"{self.target.name}: {text} gives different results in equal executions: leave this operation out, or give it a state"
                )
            seen += one.complete
            for outcome in one.complete:
                returned = outcome.results[0][1]
                found.setdefault(outcome.state, () if returned.raised else (text,))
                if all(other.results[0][1].raised for other in one.complete):
                    raising[text] = returned.text
        if len(raising) == len(self._texts):
            said = next(iter(raising.values()))
            raise Misuse(f"{self.target.name}: every call raises when it is made alone, so nothing is checked: {said}; give others")
        self.raising = tuple(raising.values())
        first = self.serial(Program(((),)))
        seen += first.complete
        if seen and all(outcome.raised for outcome in seen):
            raise Misuse(
                f"{self.target.name}: its state raises {shortened(seen[0].raised)}, on a new object and after each call: give another"
            )
        states = {outcome.state for outcome in first.complete}
        return [prefix for state, prefix in found.items() if state not in states and prefix][:PREFIXES]

    def _plan(self, prefixes: Sequence[tuple[str, ...]]) -> Iterator[tuple[Shape, Sequence[tuple[str, ...]]]]:
        wanted = shapes(self.target.threads, self.target.length) if self.target.threads else list(SHAPES)
        for shape in wanted:
            yield shape, ()
            if prefixes and sum(shape) == 2:
                yield shape, prefixes
        if prefixes:
            yield from ((shape, prefixes) for shape in wanted if sum(shape) == 3)

    def _programs(self, stage: Stage, prefixes: Sequence[tuple[str, ...]]) -> Iterator[Program]:
        programs = (Program(actors, prefix) for actors, prefix in itertools.product(of_shape(stage.shape, self._texts), prefixes or [()]))
        if stage.total > SORTED:
            return programs
        return iter(sorted(programs, key=lambda program: sum(self._ranks[text] for calls in program.actors for text in calls)))

    # One stage

    def _stage(self, stage: Stage, prefixes: Sequence[tuple[str, ...]]) -> None:
        programs = self._programs(stage, prefixes)
        for program in programs if self.how.workers == 1 else self._spread(programs):
            if self._is_known(program):
                stage.known += 1
            elif program in self._ahead:
                self._take(stage, self._ahead.pop(program))
            elif self._over():
                break
            else:
                self._take(stage, self.examine(program))
            self._show(stage)

    def _spread(self, programs: Iterator[Program]) -> Iterator[Program]:
        """Explore one part of the programs after the other on several processes; yield each program once that is done."""
        while part := list(itertools.islice(programs, AT_ONCE)):
            unknown = [program for program in part if not self._is_known(program)]
            found = spread(unknown, self.examine, self.how.workers, self._over, self.opened)
            self._ahead = {unknown[at]: examined for at, examined in found.items()}
            yield from part

    def _over(self) -> bool:
        most = self.how.max_seconds
        return most is not None and _monotonic() - self._began > most

    def _limits(self) -> Settings:
        """Return the limits of the next program: it gets a part of the time that is left, so that others have their turn."""
        settings, most = replace(self.how.settings, confirm=False), self.how.max_seconds
        if most is None:
            return settings
        left = (self._began + most - _monotonic()) / PARTS
        return replace(settings, max_seconds=max(1.0, left if settings.max_seconds is None else min(left, settings.max_seconds)))

    def _is_known(self, program: Program) -> bool:
        """Whether a failing program has been found that this one contains."""
        pairs = program.pairs(self._operations.__getitem__)
        return any(failure.pairs <= pairs for failure in self.failures)

    def _take(self, stage: Stage, examined: Examined) -> None:
        stage.done += not examined.late
        self.examined.append(examined)
        if examined.result is not None and examined.verdict is Verdict.VIOLATED:
            pairs = frozenset(examined.program.pairs(self._operations.__getitem__))
            self.failures.append(Failure(examined.program, examined.result, pairs))

    # One program

    def serial(self, program: Program, model: bool = True) -> Serial:
        """Return what the serial orders of a program come to."""
        scenario = ProgramScenario(self.target, program, self.how.names, None)
        scenario.modelled = model
        settings = replace(self._limits(), preemptions=None, delays=None, proof=None)
        result = explore(scenario, "dpor", self.how.parameters(program), stop_on_first=False, settings=settings)
        serial = Serial.of([outcome for outcome in result.outcomes if isinstance(outcome, Outcome)])
        serial.complete.sort(key=lambda outcome: outcome.order)
        serial.whole, serial.why = settled(result, self.target.module), result.bounds
        return serial

    def scenario(self, program: Program) -> ProgramScenario:
        """Return the scenario of a program, with what its serial orders come to."""
        serial = self.serial(program)
        if self.target.model is not None:
            refuse_unlike_model(self.target, program, self.serial(program, model=False), serial)
        return ProgramScenario(self.target, program, self.how.names, serial)

    def examine(self, program: Program) -> Examined:
        """Run a program under every ordering."""
        scenario = self.scenario(program)
        assert scenario.serial is not None
        if not scenario.serial.whole:
            return Examined(program, Verdict.INCONCLUSIVE, 0, f"its serial orders: {scenario.serial.why}")
        try:
            result = explore(scenario, self.how.strategy, self.how.parameters(program), settings=self._limits())
        except Nondeterminism as error:
            raise Nondeterminism(f"{program}: {error}", error.difference) from None
        verdict, why = result.verdict, result.bounds
        if verdict is Verdict.INCONCLUSIVE and settled(result, self.target.module):
            verdict = Verdict.VERIFIED
        besides = tuple(said for said in result.remarks if said.startswith(EXCEPT))
        hidden = sorted({kind for one in scenario.serial.complete for kind in one.hidden})
        besides += tuple(
            f"{EXCEPT} what is inside a {kind}, which cannot be looked into: say what is compared, with --state" for kind in hidden
        )
        returned = frozenset(
            program.actors[actor][number]
            for one in (*scenario.serial.complete, *scenario.serial.stuck)
            for (actor, number), result_of in one.results
            if not result_of.raised
        )
        return Examined(program, verdict, result.executions, why, result if verdict is Verdict.VIOLATED else None, besides, returned)

    # Smaller programs

    def _smallest(self, failure: Failure) -> Failure:
        """Return the smallest program found that violates the same specification: fewer calls, or earlier ones of the same operation."""
        tried = 0
        better = True
        while better and tried < TRIED:
            better = False
            for program in self._simpler(failure.program):
                if tried == TRIED or self._over():
                    return failure
                tried += 1
                examined = self.examine(program)
                if (
                    examined.result is not None
                    and examined.result.counterexample is not None
                    and self._alike(failure.result, examined.result)
                ):
                    failure = Failure(program, examined.result, frozenset(program.pairs(self._operations.__getitem__)))
                    better = True
                    break
        return failure

    def _simpler(self, program: Program) -> Iterator[Program]:
        yield from program.smaller()
        for text in dict.fromkeys(itertools.chain(program.prefix, *program.actors)):
            for other in self._texts[: self._texts.index(text)]:
                if self._operations[other] == self._operations[text]:
                    yield program.with_call(text, other)

    def _explained(self, failure: Failure) -> Failure:
        """Return the failure with the name of what its execution has done."""
        scenario, token = self.scenario(failure.program), failure.counterexample.token
        execution = replay(scenario, token, self.how.parameters(failure.program), self.how.settings)
        named = {
            (actor, number): chr(ord("a") + actor) if len(calls) == 1 else f"{chr(ord('a') + actor)}'s {text}"
            for actor, calls in enumerate(failure.program.actors)
            for number, text in enumerate(calls)
        }
        found = anomalies.find(anomalies.accesses_of(scenario.footprints, execution.trace.steps, named))
        return replace(failure, anomaly="" if found is None else str(found))

    @staticmethod
    def _alike(one: Result, other: Result) -> bool:
        assert one.counterexample is not None
        assert other.counterexample is not None
        return one.counterexample.violates[:1] == other.counterexample.violates[:1]

    # The end

    def _checked(self, prefixes: Sequence[tuple[str, ...]]) -> Checked:
        bounds = Bounds(self.how.names, tuple(self._texts), tuple(prefixes), self.raising, self.how.faults)
        return Checked(self.target, bounds, self.stages, self.examined, self.failures, _monotonic() - self._began)


def settled(result: Result, module: str) -> bool:
    """Whether all orderings were run.

    That is so, too, where each leaves calls waiting, so that nothing could be checked at an end; and where no call touches anything that is
    shared, if the accesses of the class's module are steps.
    """
    if result.verdict is not Verdict.INCONCLUSIVE:
        return True
    said = list(itertools.takewhile(lambda part: not part.startswith("late by less than"), result.bounds.split("; ")[1:]))
    if result.blocked or not all(part in _ONLY_WAITING or part.endswith("never made a step") for part in said):
        return False
    if 0 < result.deadlocks == result.executions:
        return True
    seen = module in _KNOWN or is_instrumented(module)
    return result.executions == 1 and "no at_end check was ever evaluated" not in said and seen


_KNOWN = ("queue", "threading")
"""Modules whose classes are under control as a whole."""
_ONLY_WAITING = ("no at_end check was ever evaluated", "no actor ever made a step", "nothing ran concurrently")
"""What is said of an exploration in which nobody makes a step, or every execution ends with calls that wait (`verdicts/covered.py`)."""


def scenario_of_token(target: Target, token: str, how: How) -> ProgramScenario:
    """Return the scenario that a token of a check belongs to.

    Raises:
        TokenError: it belongs to no program of this class.
    """
    case = tokens.read(token, target.name, None, {}).case
    text = case.get(PROGRAM)
    if not isinstance(text, str):
        raise TokenError(f"this token names no program of calls: it was not written by a check of {target.name}")
    program = parse(text, target.texts)
    checker = Checker(target, replace(how, faults=str(case["faults"]) if "faults" in case else how.faults))
    with checker.opened():
        return checker.scenario(program)


__all__ = ["Call", "Checker", "How", "pair", "scenario_of_token"]
