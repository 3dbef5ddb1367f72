"""The result of a check as text: a matrix of its operations, the smallest programs that fail, and what the verdict covers.

It fits 80 columns and needs no colour.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Sequence

from simharness.check.results import Checked, Failure
from simharness.timeline.render import render
from simharness.verdicts.results import Verdict
from simharness.visible import visible

NARROW = 80
WIDEST = 100
FEW = 3


def text(checked: Checked, width: int = NARROW, command: str = "", timelines: bool = True) -> str:
    """Return the result as text.

    Args:
        command: the options with which the check was called, for the commands that replay.
        timelines: those of the failing orderings, too.
    """
    width = min(width, WIDEST)
    lines = [headline(checked), ""]
    lines += matrix(checked, width)
    for failure in checked.failures:
        lines += ["", *failure_lines(checked, failure, width, command, timelines)]
    lines += ["", *covered(checked, width)]
    return "\n".join(map(visible, lines))


def headline(checked: Checked) -> str:
    """Return the verdict in one line."""
    names = checked.bounds.names
    orderings = f"{_numbered(checked.executions, 'ordering')} of {_numbered(len(checked.examined), 'program')}"
    return f"{checked.target.name}: {_verdict(checked)}, {names[-1]}; {orderings}, {checked.seconds:.1f} s"


def _numbered(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _verdict(checked: Checked) -> str:
    return {Verdict.VERIFIED: "no violation", Verdict.VIOLATED: "violated"}.get(checked.verdict, "inconclusive")


def matrix(checked: Checked, width: int = NARROW) -> list[str]:
    """Return the matrix of operations, beside one another: a mark, and how many programs were run."""
    names = checked.target.operations
    cells = {(one, other): checked.cell(one, other) for at, one in enumerate(names) for other in names[at:]}
    with_counts = {key: f"{cell.mark}{cell.programs}" if cell.programs else cell.mark for key, cell in cells.items()}
    longest = max(map(len, names))
    for texts in (with_counts, {key: cell.mark for key, cell in cells.items()}):
        wide = max(map(len, texts.values()))
        named = longest + sum(max(len(name), wide) + 2 for name in names)
        if named <= width:
            return list(_rows(names, texts, list(names), longest))
    numbers = [str(number + 1) for number in range(len(names))]
    cell = max(len(numbers[-1]), 1) + 2
    label = min(longest, width - 2 * cell - 4) + len(numbers[-1]) + 1
    rows = [f"{number:>{len(numbers[-1])}} {name}"[:label] for number, name in zip(numbers, names, strict=True)]
    per_block = max(1, (width - label) // cell)
    lines: list[str] = []
    for start in range(0, len(names), per_block):
        lines += (
            ["", *_rows(names, texts, numbers, label, rows, range(start, min(start + per_block, len(names))))]
            if lines
            else list(_rows(names, texts, numbers, label, rows, range(start, min(start + per_block, len(names)))))
        )
    return lines


def _rows(
    names: Sequence[str],
    texts: dict[tuple[str, str], str],
    heads: Sequence[str],
    label: int,
    rows: Sequence[str] = (),
    columns: Sequence[int] | range = (),
) -> Iterator[str]:
    columns = columns or range(len(names))
    rows = rows or names
    wide = [max(len(heads[at]), *(len(texts[names[row], names[at]]) for row in range(at + 1))) + 2 for at in columns]
    yield " " * label + "".join(heads[at].rjust(size) for at, size in zip(columns, wide, strict=True))
    for row, name in enumerate(names):
        if row > columns[-1]:
            return
        cells = (texts[name, names[at]] if at >= row else "" for at in columns)
        yield (rows[row].ljust(label) + "".join(cell.rjust(size) for cell, size in zip(cells, wide, strict=True))).rstrip()


def failure_lines(checked: Checked, failure: Failure, width: int, command: str, timelines: bool) -> list[str]:
    """Return a failing program as text: its calls, its timeline, and the command that repeats it."""
    found = failure.counterexample
    beside = ", ".join(f"{one} beside {other}" for one, other in sorted(failure.pairs))
    lines = textwrap.wrap(f"✗ {beside}: {failure.violates}", width, subsequent_indent="  ")
    if failure.program.prefix:
        lines += textwrap.wrap(f"after {'; '.join(failure.program.prefix)}", width, initial_indent="  ", subsequent_indent="    ")
    for at, calls in enumerate(failure.program.actors):
        lines += textwrap.wrap("; ".join(calls), width, initial_indent=f"  {chr(ord('a') + at)}: ", subsequent_indent="     ")
    lines.append("")
    if timelines:
        lines += render(found.trace, width).partition("\n")[2].strip("\n").split("\n")
    else:
        lines += textwrap.wrap(found.failure, width, initial_indent="  ", subsequent_indent="  ")
    lines += textwrap.wrap(failure.anomaly, width, subsequent_indent="  ")
    return [*lines, *textwrap.wrap(found.shortness, width), replay_command(checked, failure, command)]


def replay_command(checked: Checked, failure: Failure, options: str = "") -> str:
    """Return the command that repeats a failing ordering."""
    return f"simharness check {shlex.quote(checked.target.address)}{options} --replay {shlex.quote(failure.counterexample.token)}"


def covered(checked: Checked, width: int) -> list[str]:
    """Return within what the verdict holds, in lines."""
    bounds = checked.bounds
    lines = textwrap.wrap(checked.in_words(), width, subsequent_indent="  ")
    lines += textwrap.wrap(f"specification: {', '.join(bounds.names)}", width, subsequent_indent="  ")
    lines += textwrap.wrap(f"calls: {', '.join(bounds.calls)}", width, subsequent_indent="  ", break_long_words=False)
    compared = "what state() returns" if checked.target.state else "the object's attributes, and the rows of databases"
    lines += textwrap.wrap(f"compared at the end: {compared}", width, subsequent_indent="  ")
    if bounds.prefixes:
        lines += textwrap.wrap(f"first calls: {', '.join('; '.join(each) for each in bounds.prefixes)}", width, subsequent_indent="  ")
    lines += textwrap.wrap(f"each ordering begins with {checked.target.options.get('how')}", width)
    lines += textwrap.wrap(checked.points, width, subsequent_indent="  ")
    for said in bounds.raising[:FEW]:
        lines += textwrap.wrap(f"on a new object {said}", width, subsequent_indent="  ")
    if len(bounds.raising) > FEW:
        lines.append(f"on a new object {len(bounds.raising) - FEW} more calls raise something")
    for said in checked.target.left:
        lines += textwrap.wrap(f"not called: {said}", width, subsequent_indent="  ")
    known = sum(stage.known for stage in checked.stages)
    if known:
        which = "1 program contains" if known == 1 else f"{known:,} programs contain"
        lines += textwrap.wrap(f"not run: {which} operations that fail beside each other", width)
    for why, programs in _unsettled(checked).items():
        also = f" and {len(programs) - 1} more" if len(programs) > 1 else ""
        lines += textwrap.wrap(f"? {programs[0]}{also}: {why}", width, subsequent_indent="  ")
    return lines


def _unsettled(checked: Checked) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in checked.unsettled:
        found.setdefault(one.reason, []).append(str(one.program))
    return dict(list(found.items())[:FEW])
