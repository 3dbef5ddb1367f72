"""`simharness incident LOG… --scenario PATH::NAME`: from log files to the orderings that explain them.

Exit status: 0 reproduced (by some case), 1 not (harmless, or impossible under this code), 2 misuse, 3 undecided within the budget, 4 the
scenario is not deterministic, 5 a bug of the harness. Files are written only when the search has ended.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer

from simharness.authoring.scenario import Scenario
from simharness.cli.elsewhere import continue_with
from simharness.cli.exits import number, put
from simharness.engine.faults import KINDS, Faults
from simharness.errors import Misuse
from simharness.exploring.jobs import Job, jobs_of
from simharness.incident import database, writing, zones
from simharness.incident.answer import EXIT_STATUS, Allowed, Answer, Conclusion, answer
from simharness.incident.database import Wanted
from simharness.incident.findings import NearMiss
from simharness.incident.formats import Reading, Window, read, unknown
from simharness.incident.gate import PROCESS, THREAD
from simharness.incident.near import near_lines
from simharness.incident.templates import Line, Log, log_of
from simharness.incident.timeline import Incident, incident_of, rendered
from simharness.report import files
from simharness.report.json_report import as_text
from simharness.settings import Settings
from simharness.simulation.imports import watched_import
from simharness.timeline.render import render
from simharness.visible import shortened

SKEW = 1.0
"""The default skew, in seconds: more than synchronised clocks differ, less than a misconfigured one does."""
SECONDS = 120.0
WIDTH = 100
LISTED = 3
_PATHS = {"logs": "", "scenario": "::", "db": "", "pytest": "", "json": "", "html": ""}
"""The options that are paths, and what may follow the path."""
LONGEST = 1_000
"""Characters of a message."""

_Python = Annotated[
    str | None, typer.Option(metavar="PATH", help="The interpreter to use, in whose environment the scenario's code is installed.")
]
_Zones = Annotated[
    list[str] | None,
    typer.Option(metavar="[FILE=]ZONE", help="Time zone of times without one: UTC (default), +02:00, Europe/Berlin; of one log FILE=ZONE."),
]
_Sessions = Annotated[
    list[str] | None, typer.Option(metavar="ID", help="The session to explain, if the logs name several; those given belong together.")
]


def incident(  # typer makes an option of each
    context: typer.Context,
    logs: Annotated[list[str], typer.Argument(metavar="LOG…", help="Log files; rotated and gzipped ones too, in any order.")],
    scenario: Annotated[str, typer.Option(metavar="PATH::SCENARIO", help="The scenario that should explain them.")],
    parameter: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Only cases with this value; may be given several times.")
    ] = None,
    db: Annotated[str | None, typer.Option(metavar="FILE", help="The incident's database; a copy is read, with its -wal.")] = None,
    skew: Annotated[float, typer.Option(min=0.0, help="Seconds by which clocks of different logs or processes may differ.")] = SKEW,
    faults: Annotated[
        str | None, typer.Option(metavar="KIND=NUMBER,…", help=f"Faults that may have struck; fewer are tried first: {', '.join(KINDS)}.")
    ] = None,
    missing: Annotated[int, typer.Option(min=0, help="How many lines the log may lack; fewer are tried first.")] = 0,
    session: _Sessions = None,
    format: Annotated[
        str | None, typer.Option(metavar="FORMAT", help="Format of text lines, as for logging.Formatter; default: the scenario's.")
    ] = None,
    zone: _Zones = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only lines from this time on, written as in the log.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only lines up to this time.")] = None,
    unknown_lines: Annotated[bool, typer.Option("--unknown", help="List the lines that no template matches.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Show every step in the timeline of the explanation.")] = False,
    python: _Python = None,
    pytest: Annotated[str | None, typer.Option(metavar="FILE", help="Write a test that reproduces the incident.")] = None,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Also write the answers to this file.")] = None,
    html: Annotated[str | None, typer.Option(metavar="FILE", help="Write a page that shows the explanation step by step.")] = None,
    max_executions: Annotated[int | None, typer.Option(min=1, help="Give up a case after this many executions.")] = None,
    max_seconds: Annotated[float, typer.Option(min=0.0, help="Give up a case after this many seconds.")] = SECONDS,
    seed: Annotated[int, typer.Option(help="Seed of random numbers.")] = 0,
) -> int:
    """Find the orderings of a scenario that log what an incident's log files say."""
    if python is not None:
        continue_with(python, context, _PATHS)
    inputs = (*logs, db, scenario.partition("::")[0])
    files.check_writable(("--pytest", pytest), ("--json", json), ("--html", html), inputs=inputs)
    model, skew, max_seconds = Faults.of(faults), number(skew), number(max_seconds)
    with watched_import():
        jobs = jobs_of([scenario], parameter or [], beyond_the_matrix=True)
    if len({job.scenario.name for job in jobs}) > 1:
        raise Misuse(f"--scenario {scenario} has several scenarios: name one, {jobs[0].scenario.address}")
    described = log_of(jobs[0].scenario.log, jobs[0].scenario.name)
    reading = read(logs, described, format, zone or [], Window(since, until), max_seconds)
    selected = _selected(reading, described, skew, session or ())
    wanted = None if db is None else database.wanted(db, described, _first_session(selected), reading.notes, max_seconds)
    _print_lines(reading, selected, described, unknown_lines)
    allowed = Allowed(model, missing, Settings(max_executions=max_executions, max_seconds=max_seconds, seed=seed))
    determined = dict(described.parameters(selected.lines)) if described.parameters is not None else {}
    cases = _cases(jobs, determined)
    answers = []
    for case in cases:
        question = _Question(jobs[0].scenario, case, allowed, wanted, reading.lines, skew, session or ())
        answers.append(question.answered(selected))
        _print_answer(*answers[-1], full or len(cases) == 1, full)
    _write(reading, jobs[0].scenario, answers, json, pytest, html)
    statuses = {EXIT_STATUS[result.conclusion] for result, _ in answers}
    return 0 if 0 in statuses else max(statuses)


def _selected(reading: Reading, log: Log, skew: float, sessions: Sequence[str]) -> Incident:
    """Pick the incident's lines, and what may belong to it; note clocks that may be a time zone apart."""
    incident = incident_of(reading.lines, log, skew, sessions)
    if by := zones.shifts(incident.lines):
        reading.notes.insert(0, f"perhaps {zones.in_words(by)}")
    return replace(incident, near=near_lines(reading.lines, log, incident.sessions))


@dataclass(frozen=True)
class _Question:
    """What is asked about one case."""

    scenario: Scenario
    case: Mapping[str, Any]
    allowed: Allowed
    wanted: Wanted | None
    lines: Sequence[Line]
    skew: float
    sessions: Sequence[str]

    def answered(self, incident: Incident) -> tuple[Answer, Incident]:
        """Return the answer, and the incident that it is about: with clocks set right if that is what explains it."""
        began = time.monotonic()
        by = zones.shifts(incident.lines)
        if not by:
            return answer(self.scenario, self.case, incident, self.allowed, self.wanted, self._with_skew), incident
        result = answer(self.scenario, self.case, incident, self.allowed, self.wanted)
        if result.evidence is not None:
            return result, incident
        lines = zones.shifted(self.lines, by)
        other = replace(incident_of(lines, self.scenario.log, self.skew, self.sessions), near=incident.near)
        left = self.allowed.settings.max_seconds
        if left is not None:
            left = max(1.0, left - (time.monotonic() - began))
        allowed = replace(self.allowed, settings=replace(self.allowed.settings, max_seconds=left))
        set_right = answer(self.scenario, self.case, other, allowed, self.wanted)
        if set_right.evidence is not None:
            return replace(set_right, clocks=zones.in_words(by)), other
        if result.conclusion in (Conclusion.IMPOSSIBLE, Conclusion.NO_FIT):
            return answer(self.scenario, self.case, incident, allowed, self.wanted, self._with_skew), incident
        return result, incident

    def _with_skew(self, skew: float) -> Incident:
        return incident_of(self.lines, self.scenario.log, skew, self.sessions)


def _write(reading: Reading, scenario: Scenario, answered: Sequence[tuple[Answer, Incident]], *paths: str | None) -> None:
    """Write the files that were asked for; nothing is written if one of them cannot be made."""
    json, pytest, html = paths
    best, incident = min(answered, key=lambda pair: EXIT_STATUS[pair[0].conclusion])
    answers = [result for result, _ in answered]
    made: list[tuple[str, str, str]] = []
    if json is not None:
        made.append((json, as_text(writing.document(incident, reading, answers)), "--json"))
    if pytest is not None:
        made.append((pytest, writing.as_test(pytest, incident, best), "--pytest"))
    if html is not None:
        made.append((html, writing.as_page(incident, scenario.log, scenario, best), "--html"))
    for written in made:
        files.write(*written)


def _cases(jobs: Sequence[Job], determined: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the different cases of the jobs, apart from faults, with the parameters that the log determines and nobody has given."""
    cases = ({name: value for name, value in {**determined, **job.parameters}.items() if name != "faults"} for job in jobs)
    return list({repr(sorted(case.items(), key=str)): case for case in cases}.values())


def _first_session(incident: Incident) -> str:
    if not incident.sessions:
        raise Misuse("--db: no line of the incident names a session to ask the database about")
    return incident.sessions[0]


def _width() -> int:
    return min(max(60, shutil.get_terminal_size((WIDTH, 24)).columns), 160)


def _print_lines(reading: Reading, incident: Incident, log: Log, unknown_lines: bool) -> None:
    """Print what was read, and the incident's timeline."""
    others = list(unknown(reading.lines, log))
    loggers = sum(reason == "another logger" for reason, _ in others)
    files = "1 file" if reading.files == 1 else f"{reading.files} files"
    put(f"read {reading.total:,} lines of {files}: {len(reading.lines):,} records, {reading.continued:,} lines that continue a record")
    put(f"  {len(incident.lines):,} lines belong to the incident and have to be explained")
    for count, description in (
        (len(incident.foreign), "match a template and belong to other sessions"),
        (len(incident.unclear), "match a template and belong to no known session: they are free"),
        (incident.doubled, "were dropped: another log, or another handler of the same one, has them as well"),
        (loggers, "come from loggers that no template names: they are free"),
        (len(others) - loggers, "match no template of their logger: they are free"),
        (reading.unread, "are not records"),
    ):
        if count:
            put(f"  {count:,} {description}")
    for note in reading.notes:
        put(f"  note: {note}")
    _print_near(incident)
    if unknown_lines:
        put()
        put("lines that no template matches:")
        for reason, line in others:
            put(f"  {line.place.rpartition('/')[2]} ({reason}) {line.logger}: {line.message}", _width())
        for place, text in reading.unreadable:
            put(f"  {place.rpartition('/')[2]} (not a record) {text}", _width())
        if reading.unread > len(reading.unreadable):
            put(f"  and {reading.unread - len(reading.unreadable):,} more that are not records")
    put()
    put(f"the incident, in {incident.span:.1f} s; clocks of different logs may differ by {incident.skew:g} s")
    for text in rendered(incident, log, _width()):
        put(text)
    if log.signature is not None:
        doc = (log.signature.__doc__ or log.signature.__name__).strip().splitlines()[0]
        put(f"{'* the signature' if incident.marked else 'without the signature'} of a {log.signature.__name__}: {doc}")


def _print_near(incident: Incident) -> None:
    """Print the lines that may belong to the incident though no template matches them."""
    if incident.near:
        put(f"  {len(incident.near):,} near misses: no template matches, and they may belong to the incident (see Log.free)")
    for near in incident.near[:LISTED]:
        put(f"    {near.line.place.rpartition('/')[2]}: {shortened(near.line.logger)}: {near.line.message}", _width())
        template = "" if near.template is None else f" «{near.template.message}» of {', '.join(near.template.loggers)}:"
        put(f"      nearest:{template} {near.why}" if template else f"      {near.why}", _width())


def _print_verdict(result: Answer) -> None:
    """Print the verdict and what it rests on."""
    case = " ".join(f"{name}={value}" for name, value in result.parameters.items())
    put()
    if result.clocks:
        put(f"assumed: {result.clocks}")
    put(f"{result.scenario} {case}: {result.conclusion.upper()}")
    put(f"  searched {result.executions:,} executions in {result.seconds:.1f} s; {result.allowed}")
    if result.gave_up:
        put(f"  not exhausted: {result.gave_up}")
    if result.conclusion is Conclusion.NO_FIT:
        put("  no execution logs these lines, but the near misses above may be lines that a template should match: see `Log.templates`")
    if result.conclusion is Conclusion.UP_TO_LAST:
        least = "at least " if result.gave_up else ""
        put(
            f"  what follows the last line would be harmful in {result.harmful:,} of {least}{result.orderings:,} orderings; --db settles it"
        )


def _print_answer(result: Answer, incident: Incident, timeline: bool, full: bool) -> None:
    _print_verdict(result)
    evidence = result.evidence
    if evidence is None:
        for text in _why_not(result, incident):
            put(f"  {text}")
        return
    least = f"at least {result.orderings:,}" if result.gave_up else f"{result.orderings:,}"
    orderings = f"{least} distinct ordering{'s' if result.orderings != 1 else ''} fit{'s' if result.orderings == 1 else ''} the log"
    put(f"  {orderings}, {result.harmful:,} harmful; assumed: {result.level.words}")
    if evidence.failure is not None:
        put(f"  what goes wrong: {evidence.failure}")
    took = (evidence.trace.steps[-1].time if evidence.trace.steps else 0) / 1e9
    if took > incident.span + incident.skew:
        put(f"  note: this takes {took:.1f} s of virtual time, and the log spans {incident.span:.1f} s: only the order is compared")
    for kind, mine, its in evidence.ids:
        if mine != its and kind not in (PROCESS, THREAD):
            put(f"  {kind} {shortened(mine)} of the log is {shortened(its)} in the execution")
    for text in evidence.separating:
        put(f"  what makes the difference: {text}")
    if evidence.unique:
        put("  not logged, and would distinguish the orderings:")
        for text in evidence.unique:
            put(f"    {text}")
    put(f"  {result.confirmed}: simharness replay {shlex.quote(result.address)} {shlex.quote(evidence.token)}")
    if evidence.other:
        put(f"  the other ordering: simharness replay {shlex.quote(result.address)} {shlex.quote(evidence.other)}")
    if timeline:
        put()
        print(render(evidence.trace, min(_width(), WIDTH), sys.stdout.isatty(), full))


def _why_not(result: Answer, incident: Incident) -> list[str]:
    """Say what could not be explained."""
    miss = result.nearest
    if miss is None:
        return []
    reasons = []
    if result.least_skew is not None:
        reasons.append(f"it is possible if clocks differ by {result.least_skew:g} s: try --skew {result.least_skew:g}")
    if miss.line is not None:
        at = f"{miss.line.place.rpartition('/')[2]}: {miss.line.event}: {shortened(miss.line.message, LONGEST)}"
        reasons.append(
            f"no execution logs more than {miss.consumed} of the {len(incident.lines)} lines; the first that cannot be explained is"
        )
        reasons.append(f"  {at}")
        reasons.append(_instead(miss))
    else:
        reasons.append(f"some executions log all {len(incident.lines)} lines, and none of them leaves the database as it was: {miss.rows}")
    return reasons


def _instead(miss: NearMiss) -> str:
    if not miss.instead:
        return "instead the actors have ended or wait for something else"
    said = [f"{actor} would log «{shortened(message, LONGEST)}»" for actor, message in miss.instead[:LISTED]]
    return "instead " + "; ".join(said)
