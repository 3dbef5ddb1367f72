"""The command line: `simharness explore`, `replay` and `list`; `step` and `incident` have modules of their own.

Exit status, the highest of all cases: 0 every case is as expected, 1 a case is not as expected (or a replayed execution fails),
2 misuse, 3 inconclusive, 4 the scenario is not deterministic, 5 a bug of the harness. Errors are one line on stderr; only a bug
of the harness shows a traceback, for the report.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer

from simharness import __version__
from simharness.authoring.loading import load, only_of
from simharness.cli import keeping
from simharness.cli import step as command
from simharness.cli.check import check as check_class
from simharness.cli.exits import PIPED_WIDTH, OneLine, number, put, width
from simharness.cli.exits import errors as _errors
from simharness.cli.incident import incident
from simharness.cli.options import Allowed, Atomicity, Races
from simharness.cli.signals import INCONCLUSIVE, Interrupt, interruptible
from simharness.cli.signals import say as _say
from simharness.cli.streams import quiet_when_nobody_reads
from simharness.cli.supervised import supervised
from simharness.engine.faults import KINDS, Faults
from simharness.exploring.explore import replay
from simharness.exploring.jobs import How, Job, Workers, interrupted, jobs_of, one_by_one
from simharness.report import files, html_report, json_report
from simharness.report.table import Shown, case_name, console_for, report, words_of
from simharness.search import tokens
from simharness.search.named import DEFAULT, STRATEGIES, check
from simharness.settings import ASYNCIO_ORDERS, ISOLATIONS, TRIO_ORDERS, Settings
from simharness.simulation.difference import side_by_side
from simharness.simulation.imports import watched_import
from simharness.timeline.render import render
from simharness.verdicts.confirm import confirmed
from simharness.verdicts.results import Result
from simharness.visible import visible_lines

_Paths = Annotated[
    list[str],
    typer.Argument(metavar="PATH[::SCENARIO]", help="Python files with scenarios, folders of such files, or dotted module names."),
]
_Parameter = Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Only cases with this value; may be given several times.")]
_TrioOrder = Annotated[
    str | None, typer.Option(metavar="ORDER", help=f"Orders of Trio's tasks: {', '.join(TRIO_ORDERS)}; default: the scenario's.")
]
_AsyncioOrder = Annotated[
    str | None, typer.Option(metavar="ORDER", help=f"Orders of asyncio's callbacks: {', '.join(ASYNCIO_ORDERS)}; default: the scenario's.")
]
_Isolation = Annotated[
    str, typer.Option(metavar="HOW", help=f"How executions are kept apart: {' or '.join(ISOLATIONS)}, a process for each, which is slower.")
]
_Faults = Annotated[
    str | None, typer.Option(metavar="KIND=NUMBER,…", help=f"Faults that may strike: {', '.join(KINDS)}; instead of the scenario's own.")
]
_Instrument = Annotated[
    list[str] | None,
    typer.Option(metavar="MODULE", help="Also make this module's shared memory scheduling points; may be given several times."),
]
_Outside = Annotated[
    str | None, typer.Option(metavar="HOW", help="What the world outside answers: down (no network, no programs) or refused.")
]
_Network = Annotated[str | None, typer.Option(metavar="HOW", help="What sockets and name look-ups do: down or refused.")]
_Programs = Annotated[str | None, typer.Option(metavar="HOW", help="What starting a program does: none or refused.")]
app = typer.Typer(
    name="simharness",
    cls=OneLine,
    help="Run real concurrent code under every ordering: a proof within stated bounds, or a counterexample to read and replay.",
    epilog="Exit status: 0 as expected, 1 not as expected, 2 misuse, 3 inconclusive, 4 not deterministic, 5 bug of the harness.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
)


def main() -> None:
    """Run the command line."""
    supervised(run)


def run() -> None:
    """Run the command line in this process."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a replaced stream may lack it
    with quiet_when_nobody_reads():
        app()


def _version(asked: bool) -> None:
    if asked:
        print(f"simharness {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None: ...


@app.command()
def explore(  # typer makes an option of each
    paths: _Paths,
    strategy: Annotated[str, typer.Option(help=f"How to explore: {', '.join(STRATEGIES)}.")] = DEFAULT,
    faults: _Faults = None,
    workers: Annotated[int, typer.Option(min=1, help="Use this many processes, for one case too.")] = 1,
    keep_going: Annotated[bool, typer.Option("--all", help="Continue after a case's first violation, and count.")] = False,
    parameter: _Parameter = None,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Also write the results to this file.")] = None,
    html: Annotated[str | None, typer.Option(metavar="FILE", help="Write a page that shows the counterexamples step by step.")] = None,
    instrument: _Instrument = None,
    max_executions: Annotated[int | None, typer.Option(min=1, help="Give up a case after this many executions.")] = None,
    max_seconds: Annotated[float | None, typer.Option(min=0.0, help="Give up a case after this many seconds.")] = None,
    preemptions: Annotated[int | None, typer.Option(min=0, help="Only schedules with at most this many preemptions.")] = None,
    delays: Annotated[int | None, typer.Option(min=0, help="Only schedules with at most this many delays.")] = None,
    proof: Annotated[str | None, typer.Option(metavar="BOUND", help="A bound that is enough: lateness<0.9, preemptions<=1.")] = None,
    depth: Annotated[int, typer.Option(min=1, help="Depth of the bugs that pct looks for.")] = 3,
    seed: Annotated[int, typer.Option(help="Seed of random numbers and of samplers.")] = 0,
    by_scenario: Annotated[bool, typer.Option("--by-scenario", help="One row for each scenario: the cases in which it fails.")] = False,
    cluster: keeping.ClusterAt = None,
    checkpoint: keeping.Checkpoint = None,
    resume: keeping.Resume = None,
    shard: keeping.ShardOf = None,
    no_timelines: Annotated[bool, typer.Option("--no-timelines", help="Print only the table.")] = False,
    all_timelines: Annotated[bool, typer.Option("--all-timelines", help="Also show timelines of cases that others explain.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Show every step in timelines.")] = False,
    trio_order: _TrioOrder = None,
    asyncio_order: _AsyncioOrder = None,
    isolation: _Isolation = "undo",
    outside: _Outside = None,
    network: _Network = None,
    programs: _Programs = None,
    races: Races = None,
    allow_race: Allowed = None,
    atomicity: Atomicity = "language",
) -> None:
    """Explore every ordering of every case; print verdicts, and a counterexample for each violation."""
    with _errors():
        asked: dict[str, Any] = {"cluster": cluster, "checkpoint": checkpoint, "resume": resume, "races": races, "atomicity": atomicity}
        asked |= {"outside": outside, "network": network, "programs": programs, "allowed_races": tuple(allow_race or ())}
        settings = Settings(
            max_executions=max_executions,
            max_seconds=number(max_seconds),
            preemptions=preemptions,
            delays=delays,
            proof=proof,
            depth=depth,
            seed=seed,
            instrument=tuple(instrument or ()),
            trio_order=trio_order,
            asyncio_order=asyncio_order,
            isolation=isolation,
            workers=workers,
            reached=html is not None,
            **asked,
        )
        _check(strategy, settings, json, html)
        jobs, settings = keeping.shared(_jobs(paths, parameter or [], faults), settings, shard)
        results, stopped = _explored(jobs, How(strategy, not keep_going, settings), workers if cluster is None else 1)
        _tell(jobs, results, Shown(not no_timelines, full, all_timelines, {} if by_scenario else None), (json, html), stopped, settings)
        raise typer.Exit(_status(results, stopped, len(jobs)))


def _check(strategy: str, settings: Settings, json: str | None, html: str | None) -> None:
    check(strategy, settings)
    files.check_writable(("--json", json), ("--html", html), ("--checkpoint", settings.checkpoint))


def _jobs(paths: Sequence[str], selections: Sequence[str], faults: str | None) -> list[Job]:
    """Return the cases to explore; wrong faults are misuse of the command, not of each case."""
    Faults.of(faults)
    with watched_import():
        return jobs_of(paths, selections, faults)


def _explored(jobs: Sequence[Job], how: How, workers: int) -> tuple[list[Result], bool]:
    """Explore all jobs and confirm the results; return them, and whether Ctrl-C ended the exploration."""
    results, stopped = _explore(jobs, replace(how, settings=replace(how.settings, confirm=False)), workers)
    if not stopped:
        try:
            results = confirmed(results, [job.scenario for job in jobs], how.settings, workers)
        except KeyboardInterrupt:
            stopped = True
    return results, stopped


def _status(results: list[Result], stopped: bool, cases: int) -> int:
    """Return the exit status; if the exploration was stopped, print how many cases had finished."""
    status = max((result.exit_status for result in results), default=0)
    if not stopped:
        return status
    finished = sum(not result.bounds.startswith("interrupted") for result in results)
    _say(f"interrupted: {finished} of {cases} cases finished; the others prove nothing")
    return max(status, INCONCLUSIVE)


def _tell(
    jobs: Sequence[Job], results: list[Result], shown: Shown, written: tuple[str | None, str | None], stopped: bool, settings: Settings
) -> None:
    """Print the results and the errors of cases, and write the results to the files that were asked for."""
    addresses = {job.scenario.name: job.scenario.address for job in jobs}
    if shown.about is not None:
        shown = replace(shown, about={job.scenario.name: job.scenario.about for job in jobs})
    json, html = written
    report(console_for(sys.stdout, width()), results, addresses, shown)
    _complain(results)
    if json is not None:
        json_report.write(json, results, interrupted=stopped)
    if html is not None:
        files.write(html, html_report.of_results(results, addresses), "--html")
    keeping.advise(results, settings)


@app.command("replay")
def replay_command(
    path: Annotated[str, typer.Argument(metavar="PATH::SCENARIO", help="The scenario that the token belongs to.")],
    token: Annotated[str, typer.Argument(help="The token of an execution, from a counterexample.")],
    full: Annotated[bool, typer.Option("--full", help="Show every step.")] = False,
    source: Annotated[bool, typer.Option("--source", help="Also show lines of source.")] = False,
    html: Annotated[str | None, typer.Option(metavar="FILE", help="Write a page that shows the execution step by step.")] = None,
    outside: _Outside = None,
    network: _Network = None,
    programs: _Programs = None,
) -> None:
    """Repeat one execution and print its timeline; exit status 1 if it fails, 0 if not."""
    with _errors():
        files.check_writable(("--html", html))
        with watched_import():
            scenario = only_of(load(path), path, tokens.scenario_of(token))
        execution = replay(scenario, token, settings=Settings(outside=outside, network=network, programs=programs))
        print(render(execution.trace, min(width(), PIPED_WIDTH), sys.stdout.isatty(), full, source))
        if execution.failure is None:
            put()
            put("this execution does not fail")
        if html is not None:
            files.write(html, html_report.of_execution(execution, scenario.address or path), "--html")
        raise typer.Exit(0 if execution.failure is None else 1)


app.command("step")(command.step)


@app.command("incident")
@functools.wraps(incident)
def incident_command(**options: Any) -> None:
    """Find the orderings of a scenario that log what an incident's log files say."""
    with _errors():
        raise typer.Exit(incident(**options))


@app.command("merge")
@functools.wraps(keeping.merge)
def merge_command(**options: Any) -> None:
    """Join the parts that `explore --shard` has explored of a case; exit status 0 once nothing is left."""
    with _errors():
        raise typer.Exit(keeping.merge(**options))


@app.command("check")
@functools.wraps(check_class)
def check_command(**options: Any) -> None:
    """Run the operations of a class beside one another, under every ordering; exit status 1 if some do not fit any serial order."""
    with _errors():
        raise typer.Exit(check_class(**options))


@app.command("list")
def list_command(paths: Annotated[list[str], typer.Argument(metavar="PATH[::SCENARIO]")]) -> None:
    """List the scenarios of files, folders or modules, their parameters, and what each is about."""
    with _errors():
        for path in paths:
            with watched_import():
                scenarios = load(path)
            for scenario in scenarios:
                cases = list(scenario.cases())
                put(f"{scenario.address}  ({len(cases)} {'case' if len(cases) == 1 else 'cases'})")
                if scenario.about:
                    put(f"    {scenario.about}")
                for name, values in scenario.matrix.items():
                    put(f"    {name}: {', '.join(map(str, values))}")


def _explore(jobs: Sequence[Job], how: How, workers: int) -> tuple[list[Result], bool]:
    """Explore all jobs; return the results in the order of the jobs, and whether Ctrl-C ended the exploration."""
    from simharness.report.live import LiveProgress

    interrupt = Interrupt()
    results: dict[int, Result] = {}
    current: list[int] = []
    stopped = False
    with interruptible(interrupt.handle), LiveProgress(sys.stderr, len(jobs), interrupt) as progress:
        try:
            if workers > 1 and len(jobs) > 1:
                with Workers(workers, jobs, how, lambda job: progress.working_on(_name(job))) as pool:
                    try:
                        for index, result in pool.results(interrupt):
                            results[index] = result
                            progress.finished(result)
                    except KeyboardInterrupt:
                        current = pool.unfinished
                        raise
            else:
                for index, result in one_by_one(jobs, how, progress):
                    results[index] = result
                    if interrupt():
                        raise KeyboardInterrupt
        except KeyboardInterrupt:
            stopped = True
            if workers == 1 or len(jobs) == 1:
                current = [len(results)] if len(results) < len(jobs) else []
            for index in current:
                results[index] = interrupted(jobs[index], how, progress.executions, progress.so_far())
    return [results[index] for index in sorted(results)], stopped


def _complain(results: Sequence[Result]) -> None:
    """Print the errors of cases, each text once."""
    failed: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if result.error is not None:
            failed.setdefault((result.scenario, result.error), []).append(result)
    for (_, error), cases in failed.items():
        also = f" (and {len(cases) - 1} more cases)" if len(cases) > 1 else ""
        _say(f"{case_name(cases[0])}{also}: {error}")
        if cases[0].difference is not None:
            sys.stderr.write(visible_lines(side_by_side(cases[0].difference, min(width(), 160))) + "\n")
        if cases[0].bounds.startswith("Traceback"):
            sys.stderr.write(visible_lines(cases[0].bounds))


def _name(job: Job) -> str:
    return f"{job.scenario.name} {words_of(job.parameters)}".strip()
