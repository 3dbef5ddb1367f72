"""Results as JSON, for programs. The file is there whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from simharness import __version__
from simharness.report import files
from simharness.report.recorded import cause, recorded
from simharness.verdicts.results import Counterexample, Replayed, Result


def write(path: str, results: Sequence[Result], interrupted: bool = False) -> None:
    """Write the results, replacing the file in one go.

    Raises:
        Misuse: the file cannot be written.
    """
    files.write(path, as_text(document(results, interrupted)), "--json")


def as_text(found: Mapping[str, Any]) -> str:
    """Return an object as the text of a JSON file."""
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def document(results: Sequence[Result], interrupted: bool = False) -> dict[str, Any]:
    """Return the object that `write` writes."""
    return {
        "simharness": __version__,
        "exit_status": max((result.exit_status for result in results), default=0),
        "interrupted": interrupted,
        "results": [entry(result) for result in results],
    }


def entry(result: Result) -> dict[str, Any]:
    """Return one case's entry."""
    return {
        "scenario": result.scenario,
        "parameters": {name: plain(value) for name, value in result.parameters.items()},
        "strategy": result.strategy,
        "verdict": str(result.verdict),
        "expected": result.expected,
        "as_expected": result.as_expected,
        "executions": result.executions,
        "redundant": result.redundant,
        "blocked": result.blocked,
        "deadlocks": result.deadlocks,
        "seconds": round(result.seconds, 6),
        "branching": None if result.branching is None else {"points": result.branching[0], "mean": round(result.branching[1], 3)},
        "never_reached": None if result.never_reached is None else list(result.never_reached),
        "bounds": result.bounds,
        "outcomes": sorted(map(repr, result.outcomes)),
        "error": result.error,
        "counterexample": None if result.counterexample is None else _counterexample(result.counterexample),
    }


def _counterexample(found: Counterexample) -> dict[str, Any]:
    return {
        **replayed(found),
        "shortness": found.shortness,
        "confirmed": found.confirmed,
        "explanation": list(found.explanation),
        **cause(found.trace.why),
    }


def replayed(found: Replayed) -> dict[str, Any]:
    """Return one execution: what became of it, its token, and the whole of its trace."""
    return {"failure": found.failure, "token": found.token, "trace_hash": found.trace_hash, **recorded(found.trace)}


def plain(value: Any) -> Any:
    """Return what JSON can say of a value: itself, or its text."""
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
