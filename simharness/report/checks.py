"""The result of a check of a class: a matrix of its operations, the smallest programs that fail, and what the verdict covers.

On a terminal it fits 80 columns and needs no colour; the page holds the same, and the JSON object all programs.
"""

from __future__ import annotations

import html
import shlex
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from simharness import __version__
from simharness.check.results import Checked, Failure
from simharness.report.recorded import recorded
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
    lines += ["", *_covered(checked, width)]
    return "\n".join(map(visible, lines))


def headline(checked: Checked) -> str:
    """Return the verdict in one line."""
    names = checked.bounds.names
    orderings = f"{checked.executions:,} orderings of {len(checked.examined):,} programs"
    return f"{checked.target.name}: {_verdict(checked)}, {names[-1]}; {orderings}, {checked.seconds:.1f} s"


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
    return [*lines, *textwrap.wrap(found.shortness, width), replay_command(checked, failure, command)]


def replay_command(checked: Checked, failure: Failure, options: str = "") -> str:
    """Return the command that repeats a failing ordering."""
    return f"simharness check {shlex.quote(checked.target.address)}{options} --replay {shlex.quote(failure.counterexample.token)}"


def _covered(checked: Checked, width: int) -> list[str]:
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


def document(checked: Checked) -> dict[str, Any]:
    """Return the result as a JSON object."""
    names, bounds = checked.target.operations, checked.bounds
    return {
        "simharness": __version__,
        "exit_status": checked.exit_status,
        "check": {
            "target": checked.target.address,
            "verdict": str(checked.verdict),
            "specification": list(bounds.names),
            "covers": checked.in_words(),
            "calls": list(bounds.calls),
            "first_calls": [list(each) for each in bounds.prefixes],
            "faults": bounds.faults,
            "not_called": list(checked.target.left),
            "seconds": round(checked.seconds, 3),
            "stages": [
                {"shape": str(stage), "programs": stage.total, "explored": stage.done, "contain_a_failing_one": stage.known}
                for stage in checked.stages
            ],
            "matrix": [
                {"operations": [one, other], **checked.cell(one, other)._asdict()} for at, one in enumerate(names) for other in names[at:]
            ],
            "failures": [_entry(failure) for failure in checked.failures],
            "programs": [
                {"program": str(one.program), "verdict": str(one.verdict), "orderings": one.executions} for one in checked.examined
            ],
        },
    }


def _entry(failure: Failure) -> dict[str, Any]:
    found = failure.counterexample
    return {
        "program": str(failure.program),
        "actors": [list(calls) for calls in failure.program.actors],
        "first_calls": list(failure.program.prefix),
        "operations": sorted(map(list, failure.pairs)),
        "violates": failure.violates,
        "failure": found.failure,
        "token": found.token,
        "explanation": list(found.explanation),
        "trace": recorded(found.trace),
    }


_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b;background:#fff}
table{border-collapse:collapse}th,td{border:1px solid #ccc;padding:.15rem .5rem;text-align:center}th[scope=row]{text-align:left}
pre{overflow:auto;background:#f6f6f6;padding:1rem;font-size:13px;line-height:1.35}td.no{background:#fde0e0}td.yes{background:#e4f5e4}
@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#161616}pre{background:#222}td.no{background:#5a1d1d}td.yes{background:#1d401d}
a{color:#8ab4f8}}"""


def page(checked: Checked, options: str = "") -> str:
    """Return the result as one page, which makes no network requests."""
    names = checked.target.operations
    said = html.escape
    rows = []
    for at, one in enumerate(names):
        cells = ["<td></td>"] * at
        for other in names[at:]:
            cell = checked.cell(one, other)
            kind = {"✓": "yes", "✗": "no"}.get(cell.mark, "open")
            where = next((n for n, failure in enumerate(checked.failures) if tuple(sorted((one, other))) in failure.pairs), None)
            inner = f"{cell.mark} {cell.programs}" if cell.programs else cell.mark
            linked = f'<a href="#failure-{where}">{inner}</a>' if where is not None and cell.mark == "✗" else inner
            cells.append(f'<td class="{kind}" title="{cell.programs} programs, {cell.orderings} orderings">{linked}</td>')
        rows.append(f'<tr><th scope="row">{said(one)}</th>{"".join(cells)}</tr>')
    head = "".join(f'<th scope="col">{said(name)}</th>' for name in names)
    failures = "".join(
        f'<h2 id="failure-{number}">{said(str(failure.program))}: {said(failure.violates)}</h2>'
        f"<pre>{said(visible_block(render(failure.counterexample.trace, 120)))}</pre>"
        f"<pre>{said(visible(replay_command(checked, failure, options)))}</pre>"
        for number, failure in enumerate(checked.failures)
    )
    covered = "".join(f"<p>{said(visible(line))}</p>" for line in _covered(checked, 10_000))
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>'
        f"{said(checked.target.name)}: check</title><style>{_STYLE}</style></head><body><h1>{said(visible(headline(checked)))}</h1>"
        f'<div style="overflow:auto"><table><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        f"{failures}<h2>What this covers</h2>{covered}</body></html>\n"
    )


def visible_block(block: str) -> str:
    """Return lines of text without what cannot be seen."""
    return "\n".join(map(visible, block.split("\n")))
