"""The end of an exploration in text: a table of its cells, then each violated cell's counterexample and how to replay it."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from simharness.explore import Counterexample, Result, Verdict
from simharness.report.timeline import render

MARK = "‹!›"
PROPERTY_NAMES = ("property", "check")
_STYLES = {Verdict.VERIFIED: "green", Verdict.VIOLATED: "red", Verdict.INCONCLUSIVE: "yellow"}
LONGEST = 100

Addresses = Mapping[str, str]
"""For each scenario's name, how to name it on the command line: PATH::NAME."""


def report(
    console: Console, results: Sequence[Result], addresses: Addresses, timelines: bool = True, full: bool = False
) -> None:
    """Print tables for all results, then the counterexamples."""
    if not results:
        return
    tables(console, results)
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
    return f"{cells}: {', '.join(parts)}; {'all as expected' if not odd else f'{odd} not as expected {MARK}'}"


def tables(console: Console, results: Sequence[Result]) -> None:
    """Print one table for each scenario that can be laid out as parameter by property, and one for all others."""
    others: list[Result] = []
    for name in dict.fromkeys(result.scenario for result in results):
        cells = [result for result in results if result.scenario == name]
        grid = _grid(cells)
        if grid is not None and Measurement.get(console, console.options.update(max_width=1_000), grid).maximum <= console.width:
            console.print(grid)
        else:
            others += cells
    if others:
        console.print(_rows(others))
    console.print(Text(summary(results)))


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
        _put(console, _wrapped(f"{len(found.steps)} steps, {found.shortness}", width), "dim")
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


def _grid(cells: Sequence[Result]) -> Table | None:
    """Return a table of one parameter by the properties, if the scenario has just such two parameters and enough cells."""
    names = list(cells[0].parameters)
    across = next((name for name in names if name in PROPERTY_NAMES), None)
    if len(names) != 2 or across is None or len(cells) < 2:
        return None
    down = next(name for name in names if name != across)
    columns = list(dict.fromkeys(str(cell.parameters[across]) for cell in cells))
    lines = list(dict.fromkeys(str(cell.parameters[down]) for cell in cells))
    at = {(str(cell.parameters[down]), str(cell.parameters[across])): cell for cell in cells}
    table = _table(f"{cells[0].scenario}   (verdict, orderings run, seconds)")
    table.add_column(down, no_wrap=True)
    for column in columns:
        table.add_column(column, no_wrap=True)
    for line in lines:
        table.add_row(line, *(_cell(at.get((line, column))) for column in columns))
    return table


def _cell(result: Result | None) -> Text:
    if result is None:
        return Text("")
    text = _verdict(result)
    if result.error is None:
        text.append(f" {result.executions} {result.seconds:.1f}s", "dim")
    if not result.as_expected:
        text.append(f" {MARK}", "bold red")
    return text


def _rows(cells: Sequence[Result]) -> Table:
    """Return a table with a row for each cell."""
    table = _table("")
    table.add_column("scenario", overflow="fold")
    parameters = any(cell.parameters for cell in cells)
    if parameters:
        table.add_column("parameters", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    table.add_column("orderings", justify="right", no_wrap=True)
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
    return Table(title=title or None, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)


def _verdict(result: Result) -> Text:
    if result.error is not None:
        return Text("error", "bold red")
    word = str(result.verdict)
    style = _STYLES[result.verdict]
    return Text(word, style) if result.as_expected else Text(word.upper(), f"bold {style}")


def _bounds(console: Console, results: Sequence[Result]) -> None:
    """Say what the verdicts mean: why cells are inconclusive, and the bounds, once where they are equal."""
    width = min(console.width, LONGEST)
    for result in results:
        if result.verdict is Verdict.INCONCLUSIVE and result.error is None:
            _put(console, _wrapped(f"{cell_name(result)}: inconclusive: {result.bounds}", width))
    common: dict[str, int] = {}
    for result in results:
        if result.verdict is Verdict.VERIFIED:
            _, _, rest = result.bounds.partition("; ")
            common[rest] = common.get(rest, 0) + 1
    for bounds, cells in common.items():
        which = "" if len(common) == 1 else f" ({cells} cells)"
        text = f"verified{which}: every ordering, each once up to swapping independent steps; {bounds}"
        _put(console, _wrapped(text, width), "dim")


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


