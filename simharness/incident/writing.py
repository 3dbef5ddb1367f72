"""The output files: the answers as JSON, a test that reproduces the incident, a page that shows it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from simharness import __version__
from simharness.authoring.scenario import Scenario
from simharness.errors import Misuse
from simharness.exploring.explore import replay
from simharness.incident.answer import EXIT_STATUS, Answer, Conclusion
from simharness.incident.formats import Reading
from simharness.incident.templates import Log
from simharness.incident.timeline import Incident, rendered
from simharness.report.html_report import executed
from simharness.report.page import page
from simharness.verdicts.results import Replayed

_TEST = '''"""An incident, reproduced. Written by `simharness incident`; run it from the folder where that command was run."""

{imports}import simharness
from simharness import load

ABOUT = {about}
SCENARIO = {place}
NAME = {name}
TOKEN = {token}
FAILURE = {failure}
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
    """Return the answers as one JSON object."""
    return {
        "simharness": __version__,
        "incident": {
            "read": reading.total,
            "records": len(reading.lines),
            "unreadable": reading.unread,
            "notes": list(reading.notes),
            "sessions": list(incident.sessions),
            "skew": incident.skew,
            "span": incident.span,
            "foreign": len(incident.foreign),
            "unclear": len(incident.unclear),
            "near": [
                {
                    "place": near.line.place,
                    "logger": near.line.logger,
                    "message": near.line.message,
                    "template": None if near.template is None else near.template.message,
                    "why": near.why,
                }
                for near in incident.near
            ],
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
        "answers": [_plain(answer) for answer in answers],
    }


def _plain(answer: Answer) -> dict[str, Any]:
    miss, evidence = answer.nearest, answer.evidence
    return {
        "scenario": answer.scenario,
        "parameters": {name: str(value) for name, value in answer.parameters.items()},
        "verdict": answer.conclusion.value,
        "exit_status": EXIT_STATUS[answer.conclusion],
        "orderings": answer.orderings,
        "harmful": answer.harmful,
        "exhausted": answer.gave_up is None,
        "gave_up": answer.gave_up,
        "executions": answer.executions,
        "seconds": answer.seconds,
        "allowed": answer.allowed,
        "assumed": answer.level.words,
        "least_skew": answer.least_skew,
        "clocks": answer.clocks or None,
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
            "confirmed": answer.confirmed,
            "logged_by": list(evidence.logged),
            "ids": [{"kind": kind, "log": mine, "execution": its} for kind, mine, its in evidence.ids],
            "separating": list(evidence.separating),
            "other_token": evidence.other or None,
            "would_be_unique_with": list(evidence.unique),
        },
    }


def as_page(incident: Incident, log: Log, scenario: Scenario, answer: Answer) -> str:
    """Return the page that shows an answer's evidence, beside the other ordering if there is one.

    Raises:
        Misuse: there is no evidence.
    """
    evidence = answer.evidence
    if evidence is None:
        raise Misuse(f"--html: there is nothing to show, {answer.scenario}: {answer.conclusion}")
    shown = Replayed(evidence.failure, evidence.token, evidence.trace, account=evidence.account)
    notes = [
        ("The incident", rendered(incident, log)),
        (
            "The answer",
            [
                f"{answer.conclusion}: {answer.orderings} orderings fit the log, {answer.harmful} harmful; {answer.allowed}",
                *evidence.separating,
            ],
        ),
        ("Not logged, and would distinguish the orderings", evidence.unique),
    ]
    beside = replay(scenario, evidence.other) if evidence.other else None
    return page([executed(shown, answer.address, [note for note in notes if note[1]], beside)])


def as_test(path: str, incident: Incident, answer: Answer) -> str:
    """Return a test module that replays an answer's evidence. What comes from outside is in it as the repr of a text, or not at all.

    Args:
        path: where it will be written; it names the scenario's file relative to that.

    Raises:
        Misuse: the incident is not reproduced.
    """
    evidence = answer.evidence
    if answer.conclusion is not Conclusion.REPRODUCED or evidence is None:
        raise Misuse(f"--pytest {path}: nothing to write, the incident is not reproduced: {answer.conclusion}")
    file, _, name = answer.address.partition("::")
    wanted = [(actor, line.message) for actor, line in zip(evidence.logged, incident.lines, strict=True)]
    steps = iter((step.actor, line) for step in evidence.trace.steps for line in step.log)
    logged = []
    loggers = [f" {line.logger}: " for line in incident.lines]
    for (actor, _), logger in zip(wanted, loggers, strict=True):
        logged.append(next(entry for entry in steps if entry[0] == actor and logger in entry[1]))
    case = ", ".join(f"{key}={value}" for key, value in answer.parameters.items())
    about = f"{answer.scenario} {case}: {answer.orderings} orderings fit the log of {os.path.basename(incident.lines[0].source)}."
    imports, place = _scenario_from(file, path)
    return _TEST.format(  # every text stands there as its repr: names, ids and lines come from outside
        imports=imports,
        place=place,
        about=repr(about),
        name=repr(name or answer.scenario),
        token=repr(evidence.token),
        failure=repr((evidence.failure or "").partition(" at ")[0]),
        logged="[\n" + "".join(f"    {entry!r},\n" for entry in logged) + "]",
        function=re.sub(r"[^A-Za-z0-9_]", "_", answer.scenario),
    )


def _scenario_from(place: str, path: str) -> tuple[str, str]:
    """Return how a test at `path` names the scenario's file or module: imports and an expression."""
    if not os.path.isfile(place):
        return "", repr(place)
    return "from pathlib import Path\n\n", f"Path(__file__).parent / {os.path.relpath(place, os.path.dirname(os.path.abspath(path)))!r}"
