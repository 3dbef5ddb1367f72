"""What the page shows of results and of executions: their JSON, and beside it the timeline as text and the command to repeat them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from simharness.report.json_report import entry, replayed
from simharness.report.page import page
from simharness.report.table import replay_command
from simharness.report.timeline import render
from simharness.results import Replayed, Result


def of_results(results: Sequence[Result], addresses: Mapping[str, str]) -> str:
    """Return the page of an exploration.

    Args:
        addresses: for each scenario's name, how to name it on the command line: PATH::NAME.
    """
    return page([_explored(result, addresses) for result in results])


def of_execution(execution: Replayed, address: str, notes: Sequence[tuple[str, Sequence[str]]] = ()) -> str:
    """Return the page of one execution.

    Args:
        address: how to name its scenario on the command line: PATH::NAME.
        notes: what to say about it at the top: headings and their lines.
    """
    return page([executed(execution, address, notes)])


def executed(execution: Replayed, address: str, notes: Sequence[tuple[str, Sequence[str]]] = ()) -> dict[str, Any]:
    """Return the page's entry for one execution; see `of_execution`."""
    trace = execution.trace
    return {
        "scenario": trace.scenario,
        "parameters": {name: str(value) for name, value in trace.parameters.items()},
        "counterexample": replayed(execution),
        "timeline": render(trace),
        "command": f"simharness replay {shlex.quote(address)} '{execution.token}'",
        "notes": [[heading, list(lines)] for heading, lines in notes],
    }


def _explored(result: Result, addresses: Mapping[str, str]) -> dict[str, Any]:
    told, found = entry(result), result.counterexample
    if found is not None:
        told["timeline"] = render(found.trace)
        told["command"] = replay_command(result, found, addresses)
    return told
