"""The end of an exploration in text: a table of its cases, then each violated case's counterexample and how to replay it."""

from __future__ import annotations

import shlex
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from simharness.report.by_scenario import MARK, STYLES, by_scenario
from simharness.search.named import REDUCED
from simharness.timeline.render import render
from simharness.verdicts.results import EXCEPT, Counterexample, Result, Verdict
from simharness.visible import visible, visible_lines

PROPERTY_NAMES = ("property", "check")
FAULTS = "faults"
MARKS = {Verdict.VERIFIED: "✓", Verdict.VIOLATED: "✗", Verdict.INCONCLUSIVE: "?"}
LONGEST = 100
FEW = 3
"""How many cases a remark names at most."""

Addresses = Mapping[str, str]
"""For each scenario's name, how to name it on the command line: PATH::NAME."""


@dataclass(frozen=True)
class Shown:
    """What to print of results.

    Attributes:
        timelines: the counterexamples, too.
        full: every step of them.
        every: those of all violated cases, not only those that explain the others.
        about: for each scenario's name, a line that says what it is about: then there is one table, with a row for each scenario.
    """

    timelines: bool = True
    full: bool = False
    every: bool = False
    about: Mapping[str, str] | None = None


def report(console: Console, results: Sequence[Result], addresses: Addresses, shown: Shown) -> None:
    """Print tables for all results, then the counterexamples."""
    if not results:
        return
    if shown.about is None:
        tables(console, results)
    else:
        _by_scenario(console, results, shown.about)
    _bounds(console, results, addresses)
    if shown.timelines:
        counterexamples(console, results, addresses, shown)


def summary(results: Sequence[Result]) -> str:
    """Return one line: the number of cases of each verdict, and how many are not as expected."""
    counts = [f"{sum(r.verdict is verdict and r.error is None for r in results)} {verdict}" for verdict in Verdict]
    errors = sum(result.error is not None for result in results)
    parts = [count for count in counts if not count.startswith("0 ")] + ([f"{errors} not explored"] if errors else [])
    odd = sum(not result.as_expected for result in results)
    cases = "1 case" if len(results) == 1 else f"{len(results)} cases"
    return f"{cases}: {', '.join(parts)}; {'all as expected' if not odd else f'{odd} not as expected ({MARK})'}"


def tables(console: Console, results: Sequence[Result]) -> None:
    """Print tables of parameter by property for the scenarios that have them, and one with a row for each case of the others."""
    others: list[Result] = []
    timed = False
    for name in dict.fromkeys(result.scenario for result in results):
        cases = [result for result in results if result.scenario == name]
        grids = _grids(cases, console) if len(cases) > 1 else []
        for grid in grids:
            console.print(grid)
            _put(console, "")
        if not grids:
            others += cases
        timed |= len(grids) > 0 and grids[-1].show_header
    if others:
        console.print(_rows(others))
        _put(console, "")
    if len(others) < len(results):
        seconds = ", seconds" if timed else ""
        _put(console, f"in each cell: verdict, {_runs(results)} run{seconds}", "dim")
    _put(console, summary(results))


def _by_scenario(console: Console, results: Sequence[Result], about: Mapping[str, str]) -> None:
    console.print(by_scenario(results, about, console.width))
    _put(console, "")
    _put(console, f"next to each case: {_runs(results)} run, seconds", "dim")
    _put(console, summary(results))


def _runs(results: Sequence[Result]) -> str:
    return "orderings" if all(result.strategy in REDUCED for result in results) else "executions"


def counterexamples(console: Console, results: Sequence[Result], addresses: Addresses, shown: Shown) -> None:
    """Print violated cases' failures, timelines and replay commands: of those that explain the others, unless `shown.every` is set.

    An equal timeline is printed once.
    """
    violated = [result for result in results if result.counterexample is not None]
    explaining = violated if shown.every else _explaining(violated)
    seen: dict[str, str] = {}
    width = min(console.width, LONGEST)
    for result in explaining:
        counterexample = result.counterexample
        assert counterexample is not None
        name = case_name(result)
        _rule(console, f"{name}: {'violated, as expected' if result.as_expected else 'VIOLATED ' + MARK}", width)
        body = render(counterexample.trace, width, console.color_system is not None, shown.full).partition("\n")[2].strip("\n")
        if body in seen:
            _put(console, f"{visible(counterexample.failure)}\n(the same timeline as {seen[body]})")
        else:
            seen[body] = name
            console.print(Text.from_ansi(body), soft_wrap=True)
        steps = f"{len(counterexample.steps)} {'step' if len(counterexample.steps) == 1 else 'steps'}"
        _put(console, _wrapped(f"{steps}, {counterexample.shortness}; {counterexample.confirmed}", width), "dim")
        _put(console, f"replay with: {replay_command(result, counterexample, addresses)}")
    others = [result for result in violated if result not in explaining]
    if others:
        _rule(console, f"violated, as expected, similar to those above: {len(others)} (--all-timelines shows them)", width)
    for result in others:
        assert result.counterexample is not None
        _put(console, f"{case_name(result)}:")
        _put(console, f"  {replay_command(result, result.counterexample, addresses)}")


def _explaining(violated: Sequence[Result]) -> list[Result]:
    """Return the cases whose counterexamples explain the others'.

    These are all that are not as expected, and of the others those that are not violated under a smaller fault model as well: of
    these the shortest for each scenario, property and fault model.
    """
    shortest: dict[tuple[str, ...], Result] = {}
    for result in violated:
        fewer = [other for other in violated if result.as_expected and _same_with_fewer_faults(other, result)]
        group = result.scenario, *(str(result.parameters.get(name)) for name in (_property_of(result.parameters), FAULTS))
        other = shortest.get(group)
        if result.as_expected and not fewer and (other is None or _steps(result) < _steps(other)):
            shortest[group] = result
    kept = list(shortest.values())
    return [result for result in violated if not result.as_expected or result in kept]


def _same_with_fewer_faults(result: Result, other: Result) -> bool:
    fewer, more = (set(filter(None, str(each.parameters.get(FAULTS) or "").split(","))) for each in (result, other))
    rest, same = ({**each.parameters, FAULTS: None} for each in (result, other))
    return result.scenario == other.scenario and rest == same and fewer < more


def _steps(result: Result) -> int:
    return len(result.counterexample.steps) if result.counterexample is not None else 0


def _property_of(parameters: Mapping[str, Any]) -> str:
    """Return the name of the parameter that says which property a case is about; empty if there is none."""
    return next((name for name in parameters if name in PROPERTY_NAMES), "")


def replay_command(result: Result, counterexample: Counterexample, addresses: Addresses) -> str:
    """Return the command that repeats a counterexample."""
    return visible(f"simharness replay {shlex.quote(addresses.get(result.scenario, result.scenario))} '{counterexample.token}'")


def case_name(result: Result) -> str:
    """Return the scenario and its parameters in words, visible."""
    return visible(f"{result.scenario} {words_of(result.parameters)}".strip())


def words_of(parameters: Mapping[str, Any]) -> str:
    """Return a case's parameters in words, visible."""
    return visible(" ".join(f"{name}={value}" for name, value in parameters.items()))


def _grids(cases: Sequence[Result], console: Console) -> list[Table]:
    """Return tables of one parameter by the fault models or the properties, if the scenario has just these; one table if that fits.

    With both there is a section for each property. Parameters with a single value are in the title.
    """
    names = [name for name in cases[0].parameters if len({str(case.parameters[name]) for case in cases}) > 1]
    across = next((name for name in (FAULTS, *PROPERTY_NAMES) if name in names), _property_of(cases[0].parameters))
    sections = _property_of(dict.fromkeys(names)) if across == FAULTS else ""
    down = [name for name in names if name not in (across, sections)]
    if not across or len(down) != 1:
        return []
    fixed = [visible(f"{name}={value}") for name, value in cases[0].parameters.items() if name not in (across, *names)]
    title = ", ".join([visible(f"{cases[0].scenario}: {down[0]} by {across}"), *fixed])
    layout = Layout(down[0], across, sections)
    columns = list(dict.fromkeys(str(case.parameters[across]) for case in cases))
    for pieces in range(1, len(columns) + 1):
        size = -(-len(columns) // pieces)
        chunks = [columns[start : start + size] for start in range(0, len(columns), size)]
        for form in ("words", "marks") if sections else ("line", "lines"):
            heading = f"{title}\n({', '.join(f'{mark} {verdict}' for verdict, mark in MARKS.items())})" if form == "marks" else title
            grids = [grid for chunk in chunks for grid in _grid(heading, layout, chunk, cases, form)]
            if all(_least_width(grid) <= console.width for grid in grids):
                return grids
    return []


class Layout(NamedTuple):
    """Which parameter gives the rows, which the columns, and which has a section for each of its values (empty: none)."""

    down: str
    across: str
    sections: str


def _grid(title: str, layout: Layout, columns: Sequence[str], cases: Sequence[Result], form: str) -> list[Table]:
    """Return a table, or with sections a table that has only the heads of the columns, and another for each section."""
    lines = list(dict.fromkeys(str(case.parameters[layout.down]) for case in cases))
    parts = list(dict.fromkeys(str(case.parameters.get(layout.sections, "")) for case in cases))
    at = {tuple(str(case.parameters.get(name, "")) for name in layout): case for case in cases}
    heads = {column: _heading(column) if layout.across == FAULTS else visible(column.replace("_", " ")) for column in columns}
    widths = {}
    for column, words in heads.items():
        texts = [part for place, case in at.items() if place[1] == column for part in _cell(case, form).plain.split("\n")]
        widths[column] = max(map(len, [*texts, *words.split()]))
    grids: list[Table] = []
    for part in ["", *parts] if layout.sections else parts:
        table = _table(title if not grids else visible(part.replace("_", " ")))
        table.show_header = not grids
        if form == "marks":
            table.padding = (0, 1, 0, 0)
        table.add_column(Text(visible(layout.down)), no_wrap=True, width=max(map(len, map(visible, [layout.down, *lines]))))
        for column, words in heads.items():
            table.add_column(Text(words), width=widths[column])
        for line in lines if part or not layout.sections else ():
            table.add_row(Text(visible(line)), *(_cell(at.get((line, column, part)), form) for column in columns))
        grids.append(table)
    return grids


def _heading(faults: str) -> str:
    """Return a fault model as the head of a column, without what its kinds are limited to."""
    kinds = [visible(part.partition("@")[0].replace("_", " ").removesuffix("=1")) for part in faults.split(",")]
    return "no fault" if faults == "None" else " + ".join(kinds)


def _least_width(grid: Table) -> int:
    """Return how wide a grid is when only its headings are wrapped; between columns stand a blank and their padding."""
    gap = 1 + grid.padding[1] + grid.padding[3]
    return sum(gap + (column.width or 0) for column in grid.columns) - gap


def _cell(result: Result | None, form: str) -> Text:
    """Return a verdict and how many orderings were run, and in some forms the seconds: on a line, on two lines, as words or as a mark."""
    if result is None:
        return Text("")
    text = _verdict(result)
    if form == "marks" and result.error is None:
        text = Text(MARKS[result.verdict], text.style)
    if not result.as_expected:
        text.append(f" {MARK}", "bold red")
    if result.error is None:
        seconds = "" if form in ("words", "marks") else f" {result.seconds:.1f}s"
        text.append("\n" if form == "lines" else " ")
        text.append(f"{result.executions}{seconds}", "dim")
    return text


def _rows(cases: Sequence[Result]) -> Table:
    """Return a table with a row for each case."""
    table = _table("")
    table.add_column("scenario", overflow="fold")
    parameters = any(case.parameters for case in cases)
    if parameters:
        table.add_column("parameters", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    table.add_column(_runs(cases), justify="right", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    for case in cases:
        verdict = _verdict(case)
        if not case.as_expected:
            verdict.append(f" {MARK}", "bold red")
            if case.error is None:
                verdict.append(f" {visible(case.unlike)}", "dim")
        middle = [Text(words_of(case.parameters))] if parameters else []
        table.add_row(Text(visible(case.scenario)), *middle, verdict, str(case.executions), f"{case.seconds:.1f}")
    return table


def _table(title: str) -> Table:
    return Table(
        title=Text(title) if title else None, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=False, pad_edge=False
    )


def _verdict(result: Result) -> Text:
    if result.error is not None:
        return Text("error", "bold red")
    word = str(result.verdict)
    style = STYLES[result.verdict]
    return Text(word, style) if result.as_expected else Text(word.upper(), f"bold {style}")


def _remarks(results: Sequence[Result]) -> dict[str, list[str]]:
    """Return the remarks about verified cases, each with the names of its cases."""
    cases: dict[str, list[str]] = {}
    for result in results:
        for remark in result.remarks:
            cases.setdefault(remark, []).append(case_name(result))
    return {remark: names if len(names) <= FEW else [f"{len(names)} cases"] for remark, names in cases.items()}


def proof_command(result: Result, addresses: Addresses) -> str:
    """Return the command that explores a case within the bound that is to be tried next."""
    case = [
        f"--faults {shlex.quote(str(value))}" if name == FAULTS and value is not None else f"--parameter {shlex.quote(f'{name}={value}')}"
        for name, value in result.parameters.items()
    ]
    address = shlex.quote(addresses.get(result.scenario, result.scenario))
    return " ".join(["simharness explore", address, *case, f"--proof {shlex.quote(result.proof_to_try)}"])


def _bounds(console: Console, results: Sequence[Result], addresses: Addresses) -> None:
    """Say what the verdicts mean: why cases are inconclusive, and the bounds of those verified: what all have, then what some have."""
    width = min(console.width, LONGEST)
    for result in results:
        if result.verdict is Verdict.INCONCLUSIVE and result.error is None:
            _put(console, _wrapped(f"{case_name(result)}: inconclusive: {result.bounds}", width))
            if result.proof_to_try:
                _put(console, proof_command(result, addresses))
    for remark, names in _remarks(results).items():
        said = f"verified {remark}" if remark.startswith(EXCEPT) else f"verified, but {remark}"
        _put(console, _wrapped(f"{said}: {', '.join(names)}", width), "yellow")
    verified = [
        [part for part in result.bounds.split("; ")[1:] if part not in result.remarks]
        for result in results
        if result.verdict is Verdict.VERIFIED
    ]
    shared = [part for part in (verified[0] if verified else []) if all(part in parts for parts in verified)]
    if verified:
        _put(console, _wrapped(f"verified: {'; '.join(shared) or 'within these bounds'}", width), "dim")
    others = Counter("; ".join(part for part in parts if part not in shared) for parts in verified)
    for bounds, cases in others.items():
        if len(others) > 1:
            _put(console, _wrapped(f"  {cases} {'case' if cases == 1 else 'cases'}: {bounds or 'nothing else'}", width), "dim")


def _rule(console: Console, title: str, width: int) -> None:
    _put(console, "")
    _put(console, f"══ {title} ".ljust(width, "═"), "bold")


def _wrapped(text: str, width: int) -> str:
    return textwrap.fill(text, width, subsequent_indent="  ", break_on_hyphens=False)


def _put(console: Console, text: str, style: str = "") -> None:
    """Print lines as they are: no wrapping by the console, no markup, so that tokens can be copied in one piece."""
    console.print(Text(visible_lines(text), style), soft_wrap=True)


def console_for(stream: Any, width: int) -> Console:
    """Return a console for standard output: colours on a terminal only."""
    return Console(file=stream, width=width, highlight=False)
