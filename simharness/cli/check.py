"""`simharness check`: a class, and which of its operations may be called beside which."""

from __future__ import annotations

import shlex
import shutil
import sys
from typing import Annotated, Any

import typer

from simharness.check import words
from simharness.check.checking import Checker, How, scenario_of_token
from simharness.check.declared import how_of, target_of
from simharness.check.results import Stage
from simharness.check.specifications import WORDS
from simharness.check.targets import Target
from simharness.cli.exits import number, put
from simharness.cli.options import Allowed, Atomicity, Races
from simharness.cli.step import walk
from simharness.engine.faults import KINDS, Faults
from simharness.exploring import explore
from simharness.report import checks, files, html_report
from simharness.report.json_report import as_text
from simharness.settings import Settings
from simharness.simulation.imports import watched_import
from simharness.timeline.render import render

WIDEST = 100


def check(  # typer makes an option of each
    address: Annotated[
        str,
        typer.Argument(metavar="MODULE:CLASS", help="A class, or a call that makes an object of one: 'store:Store(2)'; or FILE.py:CLASS."),
    ],
    op: Annotated[list[str] | None, typer.Option(metavar="CALL", help="A call, as in \"put('k', 1)\"; may be given several times.")] = None,
    state: Annotated[str | None, typer.Option(metavar="EXPRESSION", help="What is compared at the end, as in 'sorted(self)'.")] = None,
    spec: Annotated[str | None, typer.Option(metavar="NAME,…", help=f"What is promised: {', '.join(WORDS)}.")] = None,
    threads: Annotated[int | None, typer.Option(help="How many actors call at most.")] = None,
    calls: Annotated[int | None, typer.Option(help="How often each of them calls at most.")] = None,
    faults: Annotated[str | None, typer.Option(metavar="KIND=NUMBER,…", help=f"Faults that may strike: {', '.join(KINDS)}.")] = None,
    process: Annotated[bool, typer.Option("--process", help="Each actor has a process, and an object, of its own.")] = False,
    max_seconds: Annotated[float | None, typer.Option(min=0.0, help="Stop after this many seconds; default: 60.")] = None,
    max_executions: Annotated[int | None, typer.Option(min=1, help="Give up a program after this many executions.")] = None,
    preemptions: Annotated[int | None, typer.Option(min=0, help="Only schedules with at most this many preemptions.")] = None,
    strategy: Annotated[str | None, typer.Option(help="How to explore; default: auto.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Use this many processes.")] = None,
    instrument: Annotated[
        list[str] | None, typer.Option(metavar="MODULE", help="Also make this module's memory scheduling points.")
    ] = None,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Also write the result to this file.")] = None,
    html: Annotated[str | None, typer.Option(metavar="FILE", help="Write a page with the matrix and the failing orderings.")] = None,
    no_timelines: Annotated[bool, typer.Option("--no-timelines", help="Print no timelines.")] = False,
    races: Races = None,
    allow_race: Allowed = None,
    atomicity: Atomicity = "language",
    replay: Annotated[str | None, typer.Option("--replay", metavar="TOKEN", help="Repeat one ordering, with its timeline.")] = None,
    step: Annotated[str | None, typer.Option("--step", metavar="TOKEN", help="Step through one ordering: pick each move.")] = None,
    lines: Annotated[bool, typer.Option("--lines", help="With --step: read choices from standard input, one a line.")] = False,
) -> int:
    """Run the operations of a class beside one another, under every ordering; exit status 1 if some do not fit any serial order."""
    files.check_writable(("--json", json), ("--html", html))
    Faults.of(faults)
    given: dict[str, Any] = {"state": state, "spec": spec, "threads": threads, "calls": calls, "faults": faults, "strategy": strategy}
    given |= {"process": process or None, "workers": workers, "instrument": tuple(instrument) if instrument else None}
    given |= {"max_seconds": number(max_seconds), "max_executions": max_executions, "preemptions": preemptions}
    given |= {"races": races, "allowed_races": tuple(allow_race) if allow_race else None}
    given |= {"atomicity": atomicity if atomicity != "language" else None}
    with watched_import():
        target = target_of(address, op or (), given)
    how = how_of(target, Settings())
    options = _options(op, state, spec, process, instrument)
    if replay is not None:
        return _replay(target, how, replay, html)
    if step is not None:
        command = f"simharness check {shlex.quote(address)}{options}"
        walk(scenario_of_token(target, step, how), step, {}, lines, (f"{command} --replay", f"{command} --step"))
        return 0
    with _Progress(target) as progress:
        checked = Checker(target, how, progress.show).run()
    width = max(60, shutil.get_terminal_size((words.NARROW, 24)).columns)
    for line in words.text(checked, width, options, not no_timelines).split("\n"):
        put(line)
    if json is not None:
        files.write(json, as_text(checks.document(checked)), "--json")
    if html is not None:
        files.write(html, checks.page(checked, options), "--html")
    return checked.exit_status


def _replay(target: Target, how: How, token: str, html: str | None) -> int:
    execution = explore.replay(scenario_of_token(target, token, how), token, settings=how.settings)
    width = min(shutil.get_terminal_size((WIDEST, 24)).columns, WIDEST)
    print(render(execution.trace, width, sys.stdout.isatty()))
    if execution.failure is None:
        put()
        put("this execution does not fail")
    if html is not None:
        files.write(html, html_report.of_execution(execution, target.address), "--html")
    return 0 if execution.failure is None else 1


def _options(op: list[str] | None, state: str | None, spec: str | None, process: bool, instrument: list[str] | None) -> str:
    """Return the options that decide what a token means."""
    said = [f" --op {shlex.quote(call)}" for call in op or ()]
    said += [f" --{name} {shlex.quote(value)}" for name, value in (("state", state), ("spec", spec)) if value is not None]
    said += [" --process"] if process else []
    return "".join([*said, *(f" --instrument {shlex.quote(name)}" for name in instrument or ())])


class _Progress:
    """One line on a terminal: which programs are being run, and how many there are."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._shown = sys.stderr.isatty()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")

    def show(self, stage: Stage) -> None:
        """Show how far a stage is."""
        if self._shown:
            sys.stderr.write(f"\r\x1b[K{self._target.name}: {stage}: {stage.done + stage.known:,} of {stage.total:,} programs")
            sys.stderr.flush()
