"""`simharness incident LOG… --scenario PATH::NAME`: from log files to the orderings that explain them.

Exit status: 0 reproduced (by some case), 1 not (harmless, or impossible under this code), 2 misuse, 3 undecided within the budget, 4 the
scenario is not deterministic, 5 a bug of the harness. Nothing is written unless the answer is there.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from simharness.authoring.scenario import Scenario
from simharness.engine.faults import KINDS, Faults
from simharness.errors import Misuse
from simharness.exploring.jobs import jobs_of
from simharness.incident import database, writing
from simharness.incident.answer import EXIT_STATUS, Allowed, Answer, answer
from simharness.incident.findings import NearMiss
from simharness.incident.formats import Reading, read, unknown, within
from simharness.incident.gate import PROCESS, THREAD
from simharness.incident.templates import Log, log_of
from simharness.incident.timeline import Incident, incident_of, rendered
from simharness.report import files
from simharness.report.json_report import as_text
from simharness.settings import Settings
from simharness.timeline.render import render

SKEW = 1.0
"""Seconds by which clocks are taken to differ, unless said otherwise: more than what time servers leave, less than a misconfiguration."""
SECONDS = 120.0
WIDTH = 100
LISTED = 3


def incident(  # typer makes an option of each
    logs: Annotated[list[str], typer.Argument(metavar="LOG…", help="Log files; rotated and gzipped ones too, in any order.")],
    scenario: Annotated[str, typer.Option(metavar="PATH::SCENARIO", help="The scenario that is to explain them.")],
    parameter: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Only cases with this value; may be given several times.")
    ] = None,
    db: Annotated[str | None, typer.Option(metavar="FILE", help="The incident's database; a copy is read, with its -wal.")] = None,
    skew: Annotated[float, typer.Option(min=0.0, help="Seconds by which clocks of different logs or processes may differ.")] = SKEW,
    faults: Annotated[
        str | None, typer.Option(metavar="KIND=NUMBER,…", help=f"Faults that may have struck, fewest first: {', '.join(KINDS)}.")
    ] = None,
    missing: Annotated[int, typer.Option(min=0, help="So many lines may be missing from the log, fewest first.")] = 0,
    session: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="The session to explain, where the logs tell of several; those given belong together."),
    ] = None,
    format: Annotated[
        str | None, typer.Option(metavar="FORMAT", help="Of text lines, as logging.Formatter has it; default: the scenario's.")
    ] = None,
    zone: Annotated[str, typer.Option(help="Of times that tell none: UTC, +02:00, Europe/Berlin.")] = "UTC",
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only lines from this time on, written as in the log.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only lines up to this time.")] = None,
    unknown_lines: Annotated[bool, typer.Option("--unknown", help="List the lines that no template matches.")] = False,
    full: Annotated[bool, typer.Option("--full", help="The timeline of the explanation, with every step.")] = False,
    pytest: Annotated[str | None, typer.Option(metavar="FILE", help="Write a test that reproduces the incident.")] = None,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Write the answer here, too.")] = None,
    html: Annotated[str | None, typer.Option(metavar="FILE", help="Write a page that shows the explanation step by step.")] = None,
    max_executions: Annotated[int | None, typer.Option(min=1, help="Give a case up after so many executions.")] = None,
    max_seconds: Annotated[float, typer.Option(min=0.0, help="Give a case up after so many seconds.")] = SECONDS,
    seed: Annotated[int, typer.Option(help="Of random numbers.")] = 0,
) -> int:
    """Find the orderings of a scenario that log what an incident's log files say."""
    files.check_writable(("--pytest", pytest), ("--json", json), ("--html", html))
    model = Faults.of(faults)
    jobs = jobs_of([scenario], parameter or [])
    if len({job.scenario.name for job in jobs}) > 1:
        raise Misuse(f"--scenario {scenario} has several scenarios: name one, {jobs[0].scenario.address}")
    described = log_of(jobs[0].scenario.log, jobs[0].scenario.name)
    reading = read(logs, described, format, zone)
    within(reading, since, until, zone)
    found = incident_of(reading.lines, described, skew, session or ())
    wanted = None if db is None else database.wanted(db, described, _first_session(found))
    _tell_lines(reading, found, described, unknown_lines)
    allowed = Allowed(model, missing, Settings(max_executions=max_executions, max_seconds=max_seconds, seed=seed))
    cases = list({repr(case): case for case in ({k: v for k, v in job.parameters.items() if k != "faults"} for job in jobs)}.values())
    answers = []
    for case in cases:
        answers.append(
            answer(
                jobs[0].scenario, case, found, allowed, wanted, lambda other: incident_of(reading.lines, described, other, session or ())
            )
        )
        _tell_answer(answers[-1], found, full or len(cases) == 1, full)
    _write(found, reading, jobs[0].scenario, answers, json, pytest, html)
    statuses = {EXIT_STATUS[one.verdict] for one in answers}
    return 0 if 0 in statuses else max(statuses)


def _write(
    found: Incident, reading: Reading, scenario: Scenario, answers: Sequence[Answer], json: str | None, pytest: str | None, html: str | None
) -> None:
    """Write what was asked for, when all of it is there."""
    best = min(answers, key=lambda one: EXIT_STATUS[one.verdict])
    made: list[tuple[str, str, str]] = []
    if json is not None:
        made.append((json, as_text(writing.document(found, reading, answers)), "--json"))
    if pytest is not None:
        made.append((pytest, writing.as_test(pytest, found, best), "--pytest"))
    if html is not None:
        made.append((html, writing.as_page(found, scenario.log, scenario, best), "--html"))
    for written in made:
        files.write(*written)


def _first_session(found: Incident) -> str:
    if not found.sessions:
        raise Misuse("--db: no line of the incident names a session to ask the database about")
    return found.sessions[0]


def _width() -> int:
    return min(max(60, shutil.get_terminal_size((WIDTH, 24)).columns), 160)


def _tell_lines(reading: Reading, found: Incident, log: Log, unknown_lines: bool) -> None:
    """Print what was read, and the incident's timeline."""
    others = list(unknown(reading.lines, log))
    loggers = sum(why == "another logger" for why, _ in others)
    files = "1 file" if reading.files == 1 else f"{reading.files} files"
    print(f"read {reading.total:,} lines of {files}: {len(reading.lines):,} records, {reading.continued:,} lines that continue one")
    print(f"  {len(found.lines):,} lines are the incident's and have to be explained")
    for count, what in (
        (len(found.foreign), "match a template and belong to other sessions"),
        (len(found.unclear), "match a template and name nothing that tells whose they are: they are free"),
        (found.doubled, "were dropped: another log has them too"),
        (loggers, "are of loggers that no template names: they are free"),
        (len(others) - loggers, "are other messages of loggers that templates name: they are free"),
        (len(reading.unreadable), "are no records"),
    ):
        if count:
            print(f"  {count:,} {what}")
    for note in reading.notes:
        print(f"  note: {note}")
    if unknown_lines:
        print("\nlines that no template matches:")
        for why, line in others:
            print(f"  {line.place.rpartition('/')[2]} ({why}) {line.logger}: {line.message}"[: _width()])
        for place, text in reading.unreadable:
            print(f"  {place.rpartition('/')[2]} (no record) {text}"[: _width()])
    print(f"\nthe incident, in {found.span:.1f} s; clocks of different logs may differ by {found.skew:g} s")
    print("\n".join(rendered(found, log, _width())))
    if log.signature is not None:
        doc = (log.signature.__doc__ or log.signature.__name__).strip().splitlines()[0]
        print(f"{'* the signature' if found.marked else 'without the signature'} of a {log.signature.__name__}: {doc}")


def _tell_answer(one: Answer, found: Incident, timeline: bool, full: bool) -> None:
    case = " ".join(f"{name}={value}" for name, value in one.parameters.items())
    print(f"\n{one.scenario} {case}: {one.verdict.upper()}")
    print(f"  searched {one.executions:,} executions in {one.seconds:.1f} s; {one.allowed}")
    if one.gave_up:
        print(f"  not exhausted: {one.gave_up}")
    evidence = one.evidence
    if evidence is None:
        for text in _why_not(one, found):
            print(f"  {text}")
        return
    least = f"at least {one.orderings:,}" if one.gave_up else f"{one.orderings:,}"
    orderings = f"{least} distinct ordering{'s' if one.orderings != 1 else ''} fit{'s' if one.orderings == 1 else ''} the log"
    print(f"  {orderings}, {one.harmful:,} harmful; assumed: {one.level.words}")
    if evidence.failure is not None:
        print(f"  what goes wrong: {evidence.failure}")
    took = (evidence.trace.steps[-1].time if evidence.trace.steps else 0) / 1e9
    if took > found.span + found.skew:
        print(f"  note: this takes {took:.1f} s of virtual time, and the log spans {found.span:.1f} s: only the order was compared")
    for kind, mine, its in evidence.ids:
        if mine != its and kind not in (PROCESS, THREAD):
            print(f"  {kind} {mine} of the log is {its} there")
    for text in evidence.separating:
        print(f"  what makes the difference: {text}")
    if evidence.unique:
        print("  not logged, and would have told the orderings apart:")
        for text in evidence.unique:
            print(f"    {text}")
    print(f"  {one.confirmed}: simharness replay {shlex.quote(one.address)} {shlex.quote(evidence.token)}")
    if evidence.other:
        print(f"  the other ordering: simharness replay {shlex.quote(one.address)} {shlex.quote(evidence.other)}")
    if timeline:
        print("\n" + render(evidence.trace, min(_width(), WIDTH), sys.stdout.isatty(), full))


def _why_not(one: Answer, found: Incident) -> list[str]:
    """Say what could not be explained."""
    miss = one.nearest
    if miss is None:
        return []
    told = []
    if miss.line is not None:
        at = f"{miss.line.place.rpartition('/')[2]}: {miss.line.event}: {miss.line.message}"
        told.append(
            f"no execution gets further than {miss.consumed} of the {len(found.lines)} lines; the first that cannot be explained is"
        )
        told.append(f"  {at}")
        told.append(_instead(miss))
    else:
        told.append(f"executions log all {len(found.lines)} lines, and none leaves the database as it was found: {miss.rows}")
    if one.least_skew is not None:
        told.append(f"if clocks differ by {one.least_skew:g} s, it is possible: try --skew {one.least_skew:g}")
    return told


def _instead(miss: NearMiss) -> str:
    if not miss.instead:
        return "there the actors have ended, or wait for something else"
    said = [f"{actor} would log «{message}»" for actor, message in miss.instead[:LISTED]]
    return "instead " + "; ".join(said)
