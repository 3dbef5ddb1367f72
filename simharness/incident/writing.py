"""What is written on request: the answer as JSON, a test that reproduces the incident, a page that shows it."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from typing import Any

from simharness import __version__
from simharness.authoring.scenario import Scenario
from simharness.errors import Misuse
from simharness.exploring.explore import replay
from simharness.incident.answer import EXIT_STATUS, Answer, Verdict
from simharness.incident.formats import Reading
from simharness.incident.templates import Log
from simharness.incident.timeline import Incident, rendered
from simharness.report.html_report import executed
from simharness.report.page import page
from simharness.verdicts.results import Replayed

_TEST = '''"""An incident, reproduced. {about}

Written by `simharness incident`; run it from the folder in which that was done.
"""

{imports}import simharness
from simharness import load

SCENARIO = {place}
NAME = {name!r}
TOKEN = {token!r}
FAILURE = {failure!r}
LOGGED = {logged}
"""The actors that log the incident's lines, with the lines."""


def test_the_incident_of_{function}_is_reproduced():
    [scenario] = load(f"{{SCENARIO}}::{{NAME}}")
    execution = simharness.replay(scenario, TOKEN)
    logged = [(step.actor, line) for step in execution.steps for line in step.log]
    left = iter(logged)
    for line in LOGGED:
        assert line in left, f"not logged, or not in this order: {{line}}"
    assert FAILURE in (execution.failure or ""), execution.timeline
'''


def document(incident: Incident, reading: Reading, answers: Sequence[Answer]) -> dict[str, Any]:
    """Return the answers as one object for programs."""
    return {
        "simharness": __version__,
        "incident": {
            "read": reading.total,
            "records": len(reading.lines),
            "unreadable": len(reading.unreadable),
            "notes": list(reading.notes),
            "sessions": list(incident.sessions),
            "skew": incident.skew,
            "span": incident.span,
            "foreign": len(incident.foreign),
            "unclear": len(incident.unclear),
            "lines": [
                {
                    "place": line.place,
                    "time": line.time / 1e9,
                    "event": line.event,
                    "logger": line.logger,
                    "message": line.message,
                    "process": line.process,
                    "thread": line.thread,
                    "signature": index in incident.marked,
                }
                for index, line in enumerate(incident.lines)
            ],
        },
        "answers": [_plain(one) for one in answers],
    }


def _plain(one: Answer) -> dict[str, Any]:
    miss, evidence = one.nearest, one.evidence
    return {
        "scenario": one.scenario,
        "parameters": {name: str(value) for name, value in one.parameters.items()},
        "verdict": one.verdict.value,
        "exit_status": EXIT_STATUS[one.verdict],
        "orderings": one.orderings,
        "harmful": one.harmful,
        "exhausted": one.gave_up is None,
        "gave_up": one.gave_up,
        "executions": one.executions,
        "seconds": one.seconds,
        "allowed": one.allowed,
        "assumed": one.level.words,
        "least_skew": one.least_skew,
        "unexplained": None
        if evidence is not None or miss is None
        else {
            "consumed": miss.consumed,
            "place": miss.line.place if miss.line is not None else None,
            "message": miss.line.message if miss.line is not None else None,
            "instead": [{"actor": actor, "message": message} for actor, message in miss.instead],
            "rows": miss.rows,
        },
        "evidence": None
        if evidence is None
        else {
            "token": evidence.token,
            "failure": evidence.failure,
            "confirmed": one.confirmed,
            "logged_by": list(evidence.logged),
            "ids": [{"kind": kind, "log": mine, "execution": its} for kind, mine, its in evidence.ids],
            "separating": list(evidence.separating),
            "other_token": evidence.other or None,
            "would_be_unique_with": list(evidence.unique),
        },
    }


def as_page(incident: Incident, log: Log, scenario: Scenario, one: Answer) -> str:
    """Return the page that shows an answer's evidence, with the other ordering beside it if there is one.

    Raises:
        Misuse: there is no evidence.
    """
    evidence = one.evidence
    if evidence is None:
        raise Misuse(f"--html: there is nothing to show, {one.scenario}: {one.verdict}")
    shown = Replayed(evidence.failure, evidence.token, evidence.trace, account=evidence.account)
    notes = [
        ("The incident", rendered(incident, log)),
        (
            "The answer",
            [f"{one.verdict}: {one.orderings} orderings fit the log, {one.harmful} harmful; {one.allowed}", *evidence.separating],
        ),
        ("Not logged, and would have told the orderings apart", evidence.unique),
    ]
    beside = replay(scenario, evidence.other) if evidence.other else None
    return page([executed(shown, one.address, [note for note in notes if note[1]], beside)])


def as_test(path: str, incident: Incident, one: Answer) -> str:
    """Return a test module that replays an answer's evidence.

    Args:
        path: where it will be written: the scenario is found from there.

    Raises:
        Misuse: the incident is not reproduced.
    """
    evidence = one.evidence
    if one.verdict is not Verdict.REPRODUCED or evidence is None:
        raise Misuse(f"--pytest {path}: nothing to write, the incident is not reproduced: {one.verdict}")
    file, _, name = one.address.partition("::")
    wanted = [(actor, line.message) for actor, line in zip(evidence.logged, incident.lines, strict=True)]
    steps = iter((step.actor, line) for step in evidence.trace.steps for line in step.log)
    logged = []
    loggers = [f" {line.logger}: " for line in incident.lines]
    for (actor, _), logger in zip(wanted, loggers, strict=True):
        logged.append(next(found for found in steps if found[0] == actor and logger in found[1]))
    case = ", ".join(f"{key}={value}" for key, value in one.parameters.items())
    about = f"{one.scenario} {case}: {one.orderings} orderings fit the log of {os.path.basename(incident.lines[0].source)}."
    imports, place = _found_from(file, path)
    return _TEST.format(
        imports=imports,
        place=place,
        about="\n".join(textwrap.wrap(about, 100)),
        name=name or one.scenario,
        token=evidence.token,
        failure=(evidence.failure or "").partition(" at ")[0],
        logged="[\n" + "".join(f"    {entry!r},\n" for entry in logged) + "]",
        function="".join(letter if letter.isalnum() else "_" for letter in one.scenario),
    )


def _found_from(place: str, path: str) -> tuple[str, str]:
    """Return how a test at `path` names the scenario's file or module: its imports, and an expression."""
    if not os.path.isfile(place):
        return "", repr(place)
    return "from pathlib import Path\n\n", f"Path(__file__).parent / {os.path.relpath(place, os.path.dirname(os.path.abspath(path)))!r}"
