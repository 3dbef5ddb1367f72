"""What the page shows of results and of executions: their JSON, with the timeline as text and the command that repeats them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from simharness.report.json_report import entry, replayed
from simharness.report.page import page
from simharness.report.recorded import recorded
from simharness.report.table import replay_command
from simharness.timeline.render import render
from simharness.trace.data import Step, Trace
from simharness.verdicts.results import Replayed, Result
from simharness.visible import visible

Notes = Sequence[tuple[str, Sequence[str]]]
"""Headings and their lines."""


def of_results(results: Sequence[Result], addresses: Mapping[str, str]) -> str:
    """Return the page of an exploration.

    Args:
        addresses: for each scenario's name, how to name it on the command line: PATH::NAME.
    """
    return page([_explored(result, addresses) for result in results])


def of_execution(execution: Replayed, address: str) -> str:
    """Return the page of one execution.

    Args:
        address: how to name its scenario on the command line: PATH::NAME.
    """
    return page([executed(execution, address)])


def executed(execution: Replayed, address: str, notes: Notes = (), beside: Replayed | None = None) -> dict[str, Any]:
    """Return the page's entry for one execution.

    Args:
        address: how to name its scenario on the command line: PATH::NAME.
        notes: what to say about it at the top: headings and their lines.
        beside: another one of the same scenario, to be shown next to it from where they diverge.
    """
    trace = execution.trace
    return {
        "scenario": trace.scenario,
        "parameters": {name: str(value) for name, value in trace.parameters.items()},
        "counterexample": {**replayed(execution), "passing": None if beside is None else _diverging(trace, beside)},
        "timeline": render(trace),
        "command": visible(f"simharness replay {shlex.quote(address)} '{execution.token}'"),
        "notes": [[heading, list(lines)] for heading, lines in notes],
    }


def _diverging(trace: Trace, other: Replayed) -> dict[str, Any]:
    """Return another execution in the form of the passing one, from where it diverges."""
    pairs = zip(trace.steps, other.steps, strict=False)
    same = sum(1 for _ in takewhile(lambda pair: _alike(*pair), pairs))
    mover = other.steps[same].actor if same < len(other.steps) else ""
    return {"token": other.token, "parts_at": same + 1, "actor": mover, "reversed": 0, "trace": recorded(other.trace)}


def _alike(step: Step, other: Step) -> bool:
    return (step.actor, step.kind, step.detail, step.notes) == (other.actor, other.kind, other.detail, other.notes)


def _explored(result: Result, addresses: Mapping[str, str]) -> dict[str, Any]:
    explored, counterexample = entry(result), result.counterexample
    if counterexample is not None:
        explored["timeline"] = render(counterexample.trace)
        explored["command"] = replay_command(result, counterexample, addresses)
    return explored
