"""The answer to "what happened here": one of six conclusions for each case of a scenario, and what it rests on.

- *reproduced*: some executions log every line of the incident, and fail.
- *reproduced up to the last line*: some executions log every line and fail, but these log more after the incident's last line, and neither
  the log's signature nor the database shows that the harm was done by then.
- *consistent but harmless*: some executions log every line of it, and none of these fails.
- *impossible under this code*: the search was exhausted, and no execution logs them all.
- *undecided within the budget*: the search was not exhausted.
- *undecided: the templates do not fit*: no execution logs them all, but there are lines that resemble a template or name the incident's
  ids, and that none of the templates matches.

`course.py` says in which order what is searched; a harmful ordering ends it where the space is large.

Each conclusion holds within the bounds that are printed with it: the faults and missing lines that were allowed, the skew, the scenario.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from simharness.authoring.scenario import Scenario
from simharness.engine.clock import SECOND
from simharness.engine.faults import Faults
from simharness.incident.course import Course
from simharness.incident.database import Wanted
from simharness.incident.findings import Evidence, Found, Level, NearMiss
from simharness.incident.matching import Search
from simharness.incident.timeline import Incident
from simharness.settings import Settings
from simharness.simulation.difference import nondeterminism
from simharness.verdicts.confirm import confirmed
from simharness.verdicts.results import HERE, Counterexample, Result, Verdict

_monotonic = time.monotonic


class Conclusion(StrEnum):
    """The result of the search, in the words that are printed."""

    REPRODUCED = "reproduced"
    UP_TO_LAST = "reproduced up to the last line"
    HARMLESS = "consistent but harmless"
    IMPOSSIBLE = "impossible under this code"
    UNDECIDED = "undecided within the budget"
    NO_FIT = "undecided: the templates do not fit"


MOST_FOR_SKEW = 1_000
"""The number of executions for each skew that is tried."""
EXIT_STATUS = {
    Conclusion.REPRODUCED: 0,
    Conclusion.UP_TO_LAST: 3,
    Conclusion.HARMLESS: 1,
    Conclusion.IMPOSSIBLE: 1,
    Conclusion.UNDECIDED: 3,
    Conclusion.NO_FIT: 3,
}


@dataclass(frozen=True)
class Allowed:
    """What the search may assume, and its limits.

    Attributes:
        faults: those that may have struck; fewer are tried first.
        missing: how many of the lines that the code logs the log may lack; fewer are tried first.
    """

    faults: Faults | None = None
    missing: int = 0
    settings: Settings = field(default_factory=Settings)

    @property
    def words(self) -> str:
        """The bounds, in words."""
        faults = self.faults.in_words() if self.faults is not None else "no faults"
        lines = f"at most {self.missing} lines missing from the log" if self.missing else "no line missing from the log"
        return f"{faults}; {lines}"


@dataclass(frozen=True)
class Answer:
    """The answer for one case.

    Attributes:
        level: what had to be assumed: the level that decided the case.
        orderings: how many distinct orderings fit; `harmful` of them fail.
        nearest: of the executions that do not explain the incident, the one that came closest.
        allowed: the bounds, in words.
        gave_up: why the search was not exhausted, if it was not.
        confirmed: where the evidence was replayed with the same result.
        clocks: which clocks had to be set right by whole quarters of an hour, in words.
        least_skew: the smallest skew, in seconds, with which an execution would fit, if a larger one than given helps.
    """

    scenario: str
    address: str
    parameters: Mapping[str, Any]
    conclusion: Conclusion
    level: Level
    orderings: int
    harmful: int
    executions: int
    seconds: float
    allowed: str
    nearest: NearMiss | None = None
    evidence: Evidence | None = None
    gave_up: str | None = None
    confirmed: str = ""
    least_skew: float | None = None
    clocks: str = ""


def answer(
    scenario: Scenario,
    parameters: Mapping[str, Any],
    incident: Incident,
    allowed: Allowed,
    wanted: Wanted | None = None,
    with_skew: Callable[[float], Incident] | None = None,
) -> Answer:
    """Search one case of a scenario for the executions that explain the incident.

    Args:
        wanted: what the incident's database answers.
        with_skew: returns the incident with another skew, to find out whether clocks that differ more would explain it.

    Raises:
        Misuse: the scenario is wrong. Nondeterminism: equal choices gave different runs.
    """
    began = _monotonic()
    case = {name: value for name, value in parameters.items() if name != "faults"}
    course = Course(scenario, case, incident, wanted, allowed.settings, began)
    last = course.run(allowed.faults, allowed.missing)
    searched = course.searched
    nearest = max((search.nearest for search in searched if search.nearest is not None), key=lambda miss: miss.consumed, default=None)
    made = Answer(
        scenario.name,
        scenario.address,
        case,
        _conclusion(last, incident, wanted),
        last.level,
        len(last.fits),
        len(last.harmful),
        course.executions,
        _monotonic() - began,
        allowed.words,
        nearest,
        last.evidence,
        last.gave_up,
    )
    if made.evidence is not None:
        return replace(made, confirmed=_confirmed(scenario, made, made.evidence, allowed.settings))
    if (
        made.conclusion in (Conclusion.IMPOSSIBLE, Conclusion.NO_FIT)
        and with_skew is not None
        and nearest is not None
        and nearest.line is not None
    ):
        return replace(made, least_skew=_least_skew(scenario, case, course.left(), with_skew, incident))
    return made


def _conclusion(search: Found, incident: Incident, wanted: Wanted | None) -> Conclusion:
    if search.harmful:
        shown = incident.marked or (wanted is not None and any(rows is not None for rows in wanted.answers))
        return Conclusion.UP_TO_LAST if search.only_beyond and not shown else Conclusion.REPRODUCED
    if search.gave_up:
        return Conclusion.UNDECIDED
    if search.fits:
        return Conclusion.HARMLESS
    return Conclusion.NO_FIT if incident.near else Conclusion.IMPOSSIBLE


def _confirmed(scenario: Scenario, made: Answer, evidence: Evidence, settings: Settings) -> str:
    """Replay the evidence in a fresh process; return where it gave the same result.

    Raises:
        Nondeterminism: it gave another one.
    """
    shown = Counterexample(evidence.failure or "", evidence.token, evidence.trace, "", account=evidence.account)
    parameters = {**made.parameters, **({"faults": str(made.level.faults)} if made.level.faults is not None else {})}
    counts = (made.executions, 0, 0, 0)
    result = Result(
        scenario.name, parameters, "dpor", Verdict.VIOLATED, "violated", *counts, frozenset(), "", made.seconds, counterexample=shown
    )
    [checked] = confirmed([result], [scenario], settings)
    if checked.error is not None:
        raise nondeterminism(checked.error, checked.difference)
    return HERE if checked.counterexample is None else checked.counterexample.confirmed


def _least_skew(
    scenario: Scenario, case: Mapping[str, Any], settings: Settings, with_skew: Callable[[float], Incident], incident: Incident
) -> float | None:
    """Return the smallest skew, to the millisecond, with which an execution fits; None if there is none.

    Faults and missing lines are not allowed here. A larger skew only removes constraints, so bisection finds the smallest; if the time runs
    out, the smallest that it has seen to fit.
    """

    def fits(skew: float) -> bool:
        left = replace(limited, max_seconds=None if end is None else max(0.0, end - _monotonic()))
        return bool(Search(scenario, case, left, with_skew(skew), Level(None, 0), None).find(evidence_too=False).fits)

    end = None if settings.max_seconds is None else _monotonic() + settings.max_seconds
    limited = replace(settings, max_executions=min(settings.max_executions or MOST_FOR_SKEW, MOST_FOR_SKEW))
    times = [(line.source, line.process, line.time, line.precision) for line in incident.lines]
    apart = {round(abs(first[2] - second[2]) / SECOND + 0.001, 3) for first in times for second in times if first[:2] != second[:2]}
    skews = sorted(skew for skew in apart if skew > incident.skew)
    if not skews or with_skew(skews[-1]).before == incident.before or not fits(skews[-1]):
        return None
    low, high = 0, len(skews) - 1
    while low < high:
        middle = (low + high) // 2
        if fits(skews[middle]):
            high = middle
        else:
            low = middle + 1
    return skews[high]
