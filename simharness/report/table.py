"""The end of an exploration in text: a table of its cells, then each violated cell's counterexample and how to replay it."""

from __future__ import annotations

import shlex
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from simharness.report.by_scenario import MARK, STYLES, by_scenario
from simharness.report.timeline import render
from simharness.results import Counterexample, Result, Verdict

PROPERTY_NAMES = ("property", "check")
LONGEST = 100

Addresses = Mapping[str, str]
"""For each scenario's name, how to name it on the command line: PATH::NAME."""


def report(
    console: Console,
    results: Sequence[Result],
    addresses: Addresses,
    timelines: bool = True,
    full: bool = False,
    about: Mapping[str, str] | None = None,
) -> None:
    """Print tables for all results, then the counterexamples.

    Args:
        about: for each scenario's name, a line that says what it is about: then there is one table, with a row for each scenario.
    """
    if not results:
        return
    if about is None:
        tables(console, results)
    else:
        _by_scenario(console, results, about)
    _bounds(console, results)
    if timelines:
        counterexamples(console, results, addresses, full)


def summary(results: Sequence[Result]) -> str:
    """Say in one line how many cells came to what, and how many of them as expected."""
    counts = [f"{sum(r.verdict is verdict and r.error is None for r in results)} {verdict}" for verdict in Verdict]
    errors = sum(result.error is not None for result in results)
    parts = [count for count in counts if not count.startswith("0 ")] + ([f"{errors} not explored"] if errors else [])
    odd = sum(not result.as_expected for result in results)
    cells = "1 cell" if len(results) == 1 else f"{len(results)} cells"
    return f"{cells}: {', '.join(parts)}; {'all as expected' if not odd else f'{odd} not as expected ({MARK})'}"


def tables(console: Console, results: Sequence[Result]) -> None:
    """Print tables of parameter by property for the scenarios that have such, and one with a row for each cell of the others."""
    others: list[Result] = []
    for name in dict.fromkeys(result.scenario for result in results):
        cells = [result for result in results if result.scenario == name]
        grids = _grids(cells, console)
        for grid in grids:
            console.print(grid)
            _put(console, "")
        if not grids:
            others += cells
    if others:
        console.print(_rows(others))
        _put(console, "")
    if len(others) < len(results):
        _put(console, f"in the cells: verdict, {_runs(results)} run, seconds", "dim")
    _put(console, summary(results))


def _by_scenario(console: Console, results: Sequence[Result], about: Mapping[str, str]) -> None:
    console.print(by_scenario(results, about, console.width))
    _put(console, "")
    _put(console, f"beside the cells: {_runs(results)} run, seconds", "dim")
    _put(console, summary(results))


def _runs(results: Sequence[Result]) -> str:
    return "orderings" if all(result.strategy == "dpor" for result in results) else "executions"


def counterexamples(console: Console, results: Sequence[Result], addresses: Addresses, full: bool = False) -> None:
    """Print each violated cell's failure, timeline and replay command; an equal timeline is printed once."""
    seen: dict[str, str] = {}
    width = min(console.width, LONGEST)
    for result in results:
        found = result.counterexample
        if found is None:
            continue
        name = cell_name(result)
        _rule(console, f"{name}: {'violated, as expected' if result.as_expected else 'VIOLATED ' + MARK}", width)
        body = render(found.trace, width, console.color_system is not None, full).partition("\n")[2].strip("\n")
        if body in seen:
            _put(console, f"{found.failure}\n(the same timeline as {seen[body]})")
        else:
            seen[body] = name
            console.print(Text.from_ansi(body), soft_wrap=True)
        _put(console, _wrapped(f"{len(found.steps)} steps, {found.shortness}; {found.confirmed}", width), "dim")
        _put(console, f"replay with: {replay_command(result, found, addresses)}")


def replay_command(result: Result, found: Counterexample, addresses: Addresses) -> str:
    """Return the command that repeats a counterexample."""
    return f"simharness replay {shlex.quote(addresses.get(result.scenario, result.scenario))} '{found.token}'"


def cell_name(result: Result) -> str:
    """Return the scenario and its parameters in words."""
    return f"{result.scenario} {words_of(result.parameters)}".strip()


def words_of(parameters: Mapping[str, Any]) -> str:
    """Return a cell's parameters in words."""
    return " ".join(f"{name}={value}" for name, value in parameters.items())


def _grids(cells: Sequence[Result], console: Console) -> list[Table]:
    """Return tables of one parameter by the properties, if the scenario has just such two parameters; one table if that fits."""
    names = list(cells[0].parameters)
    across = next((name for name in names if name in PROPERTY_NAMES), None)
    if len(names) != 2 or across is None or len(cells) < 2:
        return []
    down = next(name for name in names if name != across)
    columns = list(dict.fromkeys(str(cell.parameters[across]) for cell in cells))
    at = {(str(cell.parameters[down]), str(cell.parameters[across])): cell for cell in cells}
    for pieces in range(1, len(columns) + 1):
        size = -(-len(columns) // pieces)
        chunks = [columns[start : start + size] for start in range(0, len(columns), size)]
        for gap in (" ", "\n"):
            title = f"{cells[0].scenario}: {down} by {across}"
            grids = [_grid(title, down, chunk, at, gap) for chunk in chunks]
            if all(_least_width(grid) <= console.width for grid in grids):
                return grids
    return []


def _grid(title: str, down: str, columns: Sequence[str], at: Mapping[tuple[str, str], Result], gap: str) -> Table:
    table = _table(title)
    lines = list(dict.fromkeys(line for line, _ in at))
    table.add_column(down, no_wrap=True, width=max(map(len, [down, *lines])))
    for column in columns:
        words = column.replace("_", " ")
        texts = [part for line in lines for part in _cell(at.get((line, column)), gap).plain.split("\n")]
        table.add_column(words, width=max(map(len, [*texts, *words.split()])))
    for line in lines:
        table.add_row(line, *(_cell(at.get((line, column)), gap) for column in columns))
    return table


def _least_width(grid: Table) -> int:
    """Return how wide a grid is when only its headings are wrapped; three blanks stand between columns."""
    return sum(3 + (column.width or 0) for column in grid.columns) - 3


def _cell(result: Result | None, gap: str) -> Text:
    """Return verdict, orderings run and seconds, on one line or two."""
    if result is None:
        return Text("")
    text = _verdict(result)
    if not result.as_expected:
        text.append(f" {MARK}", "bold red")
    if result.error is None:
        text.append(f"{gap}{result.executions} {result.seconds:.1f}s", "dim")
    return text


def _rows(cells: Sequence[Result]) -> Table:
    """Return a table with a row for each cell."""
    table = _table("")
    table.add_column("scenario", overflow="fold")
    parameters = any(cell.parameters for cell in cells)
    if parameters:
        table.add_column("parameters", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    table.add_column(_runs(cells), justify="right", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    for cell in cells:
        verdict = _verdict(cell)
        if not cell.as_expected:
            verdict.append(f" {MARK}", "bold red")
            if cell.error is None:
                verdict.append(f" not {cell.expected}", "dim")
        middle = [words_of(cell.parameters)] if parameters else []
        table.add_row(cell.scenario, *middle, verdict, str(cell.executions), f"{cell.seconds:.1f}")
    return table


def _table(title: str) -> Table:
    return Table(title=title or None, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=False, pad_edge=False)


def _verdict(result: Result) -> Text:
    if result.error is not None:
        return Text("error", "bold red")
    word = str(result.verdict)
    style = STYLES[result.verdict]
    return Text(word, style) if result.as_expected else Text(word.upper(), f"bold {style}")


def _bounds(console: Console, results: Sequence[Result]) -> None:
    """Say what the verdicts mean: why cells are inconclusive, and the bounds of those verified: what all have, then what some have."""
    width = min(console.width, LONGEST)
    for result in results:
        if result.verdict is Verdict.INCONCLUSIVE and result.error is None:
            _put(console, _wrapped(f"{cell_name(result)}: inconclusive: {result.bounds}", width))
    verified = [result.bounds.split("; ")[1:] for result in results if result.verdict is Verdict.VERIFIED]
    shared = [part for part in (verified[0] if verified else []) if all(part in parts for parts in verified)]
    if verified:
        _put(console, _wrapped(f"verified: {'; '.join(shared) or 'within these bounds'}", width), "dim")
    others = Counter("; ".join(part for part in parts if part not in shared) for parts in verified)
    for bounds, cells in others.items():
        if len(others) > 1:
            _put(console, _wrapped(f"  {cells} {'cell' if cells == 1 else 'cells'}: {bounds or 'nothing else'}", width), "dim")


def _rule(console: Console, title: str, width: int) -> None:
    _put(console, "")
    _put(console, f"══ {title} ".ljust(width, "═"), "bold")


def _wrapped(text: str, width: int) -> str:
    return textwrap.fill(text, width, subsequent_indent="  ", break_on_hyphens=False)


def _put(console: Console, text: str, style: str = "") -> None:
    """Print text as it is: no wrapping by the console, no markup, so that tokens can be copied in one piece."""
    console.print(Text(text, style), soft_wrap=True)


def console_for(stream: Any, width: int) -> Console:
    """Return a console for standard output: colours on a terminal only."""
    return Console(file=stream, width=width, highlight=False)
