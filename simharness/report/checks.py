"""The result of a check of a class as a page, and as JSON."""

from __future__ import annotations

import html
from typing import Any

from simharness import __version__
from simharness.check.results import Checked, Failure
from simharness.check.words import covered, headline, replay_command
from simharness.report.recorded import recorded
from simharness.timeline.render import render
from simharness.visible import visible, visible_lines


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
        "anomaly": failure.anomaly,
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
        f"<pre>{said(visible_lines(render(failure.counterexample.trace, 120)))}</pre><p>{said(visible(failure.anomaly))}</p>"
        f"<pre>{said(visible(replay_command(checked, failure, options)))}</pre>"
        for number, failure in enumerate(checked.failures)
    )
    said_of = "".join(f"<p>{said(visible(line))}</p>" for line in covered(checked, 10_000))
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>'
        f"{said(checked.target.name)}: check</title><style>{_STYLE}</style></head><body><h1>{said(visible(headline(checked)))}</h1>"
        f'<div style="overflow:auto"><table><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        f"{failures}<h2>What this covers</h2>{said_of}</body></html>\n"
    )
