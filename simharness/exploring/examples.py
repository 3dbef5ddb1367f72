"""Hypothesis as the engine of an exploration: it draws a case's open parameters and the schedule, and shrinks both together.

Each example is one execution. Hypothesis keeps failing examples in its database, under the name of the scenario, and the next
exploration begins with them. The first failure ends the search and starts shrinking; two failures are the same if the check or actor and
the kind of exception are (`shrink.kind_of`). The result is then treated like any failing execution. Examples are drawn from the
exploration's seed; the current profile of Hypothesis says which database is used.

Hypothesis is imported only here and in `simharness.hypothesis`, and before the standard library is patched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from simharness.authoring.scenario import Parameters, Scenario, is_drawn
from simharness.errors import Misuse, Nondeterminism
from simharness.search.drawn import Drawn, Schedule
from simharness.simulation.execution import Execution
from simharness.simulation.repeating import WHAT_TO_DO
from simharness.simulation.simulation import Simulation
from simharness.verdicts.shrink import kind_of

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SHRINKS = 5
"""Hypothesis may spend this many times `Settings.shrink` executions, as it also makes parameters smaller."""
MANY = 1_000_000
"""The number of examples where only seconds are limited, not executions."""


class Enough(BaseException):
    """Ends Hypothesis' run from inside an example; a BaseException, so that it does not count as a failure."""


class Failed(Exception):
    """An execution failed; Hypothesis treats each subclass as a separate bug."""


def open_case(scenario: Scenario, given: Parameters | None) -> dict[str, Any]:
    """Return the case for Hypothesis to draw from: parameters that are not given, except `faults`, are drawn from their values."""
    from hypothesis.strategies import sampled_from

    import simharness.hypothesis  # noqa: F401  # now, before the standard library is patched

    case = scenario.case(given)
    return {
        name: sampled_from(scenario.matrix[name]) if name not in {*(given or {}), "faults"} and len(scenario.matrix[name]) > 1 else value
        for name, value in case.items()
    }


class Examples:
    """One run of Hypothesis: a round of an exploration.

    Args:
        case: values, and strategies for those that are drawn.
        execute: runs, checks and counts one execution, and returns it; None if its time was over before.
        enough: whether a limit has been reached.
    """

    def __init__(
        self,
        simulation: Simulation,
        strategy: Drawn,
        case: Parameters,
        execute: Callable[[], Execution | None],
        enough: Callable[[], bool],
    ) -> None:
        self._simulation = simulation
        self._strategy = strategy
        self._case = case
        self._execute = execute
        self._enough = enough
        self._kinds: dict[Any, type[Failed]] = {}
        self._shrinks = SHRINKS * simulation.settings.shrink
        self._mark = simulation.kernel.learned.mark()
        self.failing: tuple[Execution, Parameters] | None = None

    def run(self, most: int | None, stop_on_first: bool) -> None:
        """Draw examples until `enough` says so; afterwards `failing` is the failing execution, if any, shrunk if `stop_on_first`.

        Raises:
            Misuse: a parameter's strategy is wrong. Nondeterminism: equal draws gave different runs.
        """
        from hypothesis import errors

        test = self._test(most, stop_on_first)
        try:
            test()
        except _Broken as broken:
            raise broken.error from broken.error.__cause__
        except (Enough, Failed, errors.Unsatisfiable):
            pass
        except errors.Flaky as flaky:
            raise Nondeterminism(f"not deterministic: {' '.join(str(flaky).split())}; {WHAT_TO_DO}") from flaky
        except errors.HypothesisException as error:
            raise Misuse(f"Hypothesis: {' '.join(str(error).split())}") from error
        if self.failing is not None:
            self._simulation.parameters = dict(self.failing[1])

    def _test(self, most: int | None, stop_on_first: bool) -> Callable[[], None]:
        """Return what Hypothesis runs."""
        import hypothesis
        from hypothesis import HealthCheck, Phase, Verbosity, given
        from hypothesis.strategies import fixed_dictionaries

        from simharness.hypothesis import schedules

        simulation = self._simulation
        drawn: dict[str, SearchStrategy[Any]] = {name: value for name, value in self._case.items() if is_drawn(value)}
        fixed = {name: value for name, value in self._case.items() if name not in drawn}

        def example(values: Mapping[str, Any], schedule: Schedule) -> None:
            case = {name: fixed[name] if name in fixed else values[name] for name in self._case}
            self._example(case, schedule, stop_on_first)

        scenario = simulation.scenario
        name = simulation.kernel.canonical(f"{scenario.__module__} {scenario.name} {self._case}")
        example._hypothesis_internal_add_digest = name.encode()  # type: ignore[attr-defined]  # names the examples in the database
        phases = [Phase.reuse, Phase.generate, *([Phase.shrink] if simulation.settings.shrink else [])]
        limits = hypothesis.settings(
            max_examples=MANY if most is None else max(1, most),
            phases=phases,
            deadline=None,
            verbosity=Verbosity.quiet,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
            print_blob=False,
        )
        whole = given(values=fixed_dictionaries(drawn), schedule=schedules())(example)
        return limits(hypothesis.seed(simulation.settings.seed)(whole))

    def _example(self, case: Parameters, schedule: Schedule, stop_on_first: bool) -> None:
        """Run one example's execution; raise what Hypothesis needs to see."""
        from hypothesis import reject

        simulation, shrinking = self._simulation, stop_on_first and self.failing is not None
        simulation.parameters = dict(case)
        self._strategy.schedule = schedule
        try:
            if self._shrinks == 0 if shrinking else self._enough():
                raise Enough
            self._shrinks -= shrinking
            execution = simulation.execute((), self._strategy.choose) if shrinking else self._execute()
        except Exception as error:
            raise _Broken(error) from error
        schedule.finish()
        if not self._mark.holds or execution is None:
            raise Enough
        if execution.status == "blocked":
            reject()
        if execution.failure is None:
            return
        if self.failing is None or shrinking:
            self.failing = execution, case
        if stop_on_first:
            kind = kind_of(execution.failure)
            raise self._kinds.setdefault(kind, type("Failed", (Failed,), {}))


class _Broken(Enough):
    """Something other than a failure ended the exploration."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error
