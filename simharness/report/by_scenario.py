"""A table with a row for each scenario: what it is about, the cases in which it was violated, and next to them those that were verified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from simharness.verdicts.results import Result, Verdict
from simharness.visible import visible

Column = tuple[str, list[Text]]
"""A heading, and a text for each scenario."""
MARK = "!"
"""Marks a verdict that the scenario's author did not expect."""
STYLES = {Verdict.VERIFIED: "green", Verdict.VIOLATED: "red", Verdict.INCONCLUSIVE: "yellow"}
LEAST_TITLE, LONGEST_TITLE = 20, 44
BETWEEN = 2


def by_scenario(results: Sequence[Result], about: Mapping[str, str], width: int) -> Table:
    """Return the table, at most `width` characters wide where that is possible.

    Args:
        about: one line for each scenario, by its name.
    """
    columns = _columns(results, " ")
    if _room(columns, width) < LEAST_TITLE:
        columns = _columns(results, "\n")
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, BETWEEN - 1, 0, 0))
    titles = {name: _title(name, about.get(name, "")) for name in _names(results)}
    longest = max(_width(title) for title in titles.values())
    table.add_column("scenario", width=max(LEAST_TITLE, min(_room(columns, width), longest, LONGEST_TITLE)), overflow="fold")
    for heading, cells in columns:
        table.add_column(heading, width=_widest(heading, cells), justify="left" if heading else "right")
    for row, title in enumerate(titles.values()):
        table.add_row(title, *(cells[row] for _, cells in columns), end_section=True)
    return table


def _columns(results: Sequence[Result], together: str) -> list[Column]:
    """Return two columns for each verdict that occurs: the cases, and their effort; a text for each scenario."""
    columns: list[Column] = []
    for verdict in (Verdict.VIOLATED, Verdict.VERIFIED, Verdict.INCONCLUSIVE):
        matching = [result for result in results if _counts_as(result) is verdict]
        if matching:
            cells = [[_cell(result, together) for result in matching if result.scenario == name] for name in _names(results)]
            for part, heading in enumerate((str(verdict), "")):
                columns.append((heading, [Text("\n").join(cell[part] for cell in row) for row in cells]))
    return columns


def _names(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(result.scenario for result in results))


def _title(name: str, about: str) -> Text:
    return Text("\n").join(Text(line, style) for line, style in ((visible(about.rstrip(".")), ""), (visible(name), "dim")) if line)


def _room(columns: Sequence[Column], width: int) -> int:
    """Return how many characters are left for the titles."""
    return width - sum(BETWEEN + _widest(heading, cells) for heading, cells in columns)


def _widest(heading: str, cells: Sequence[Text]) -> int:
    return max(len(heading), *map(_width, cells))


def _width(text: Text) -> int:
    return max(map(len, text.plain.split("\n")))


def _value(name: str, value: object) -> str:
    """Return the value of a parameter in words, without the parameter's name where the value is clear without it."""
    if name == "faults":
        return visible(str(value or "no faults"))
    return visible(value if isinstance(value, str) else f"{name}={value}")


def _counts_as(result: Result) -> Verdict:
    return Verdict.INCONCLUSIVE if result.error is not None else result.verdict


def _cell(result: Result, together: str) -> tuple[Text, Text]:
    """Return the values of a case's parameters, and its effort, as texts of equally many lines."""
    values = [_value(name, value) for name, value in result.parameters.items()]
    style = STYLES[_counts_as(result)] if result.as_expected else f"bold {STYLES[_counts_as(result)]}"
    label = Text(" ".join(filter(None, (together.join(values), "" if result.as_expected else MARK))), style)
    effort = "error" if result.error is not None else f"{result.executions} {result.seconds:.1f}s"
    return label, Text(effort + "\n" * label.plain.count("\n"), "dim")
