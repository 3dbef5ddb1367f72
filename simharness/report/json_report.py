"""Results as JSON, for programs. The file is written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from simharness import __version__
from simharness.report import files
from simharness.report.recorded import cause, recorded
from simharness.verdicts.results import Counterexample, Replayed, Result
from simharness.visible import escaped


def write(path: str, results: Sequence[Result], interrupted: bool = False) -> None:
    """Write the results, replacing the file atomically.

    Raises:
        Misuse: the file cannot be written.
    """
    files.write(path, as_text(document(results, interrupted)), "--json")


def as_text(document: Mapping[str, Any]) -> str:
    """Return an object as the text of a JSON file: texts are as they were, what is not visible in them is escaped as JSON has it."""
    return "\n".join(map(escaped, json.dumps(document, indent=2, ensure_ascii=False).split("\n"))) + "\n"


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
        "sampled": result.sampled,
        "redundant": result.redundant,
        "blocked": result.blocked,
        "deadlocks": result.deadlocks,
        "seconds": round(result.seconds, 6),
        "branching": None if result.branching is None else {"points": result.branching[0], "mean": round(result.branching[1], 3)},
        "never_reached": None if result.never_reached is None else list(result.never_reached),
        "bounds": result.bounds,
        "proved": list(result.proved),
        "outcomes": sorted(map(repr, result.outcomes)),
        "error": result.error,
        "counterexample": None if result.counterexample is None else _counterexample(result.counterexample),
    }


def _counterexample(counterexample: Counterexample) -> dict[str, Any]:
    return {
        **replayed(counterexample),
        "shortness": counterexample.shortness,
        "confirmed": counterexample.confirmed,
        "explanation": list(counterexample.explanation),
        **cause(counterexample.trace.why),
    }


def replayed(execution: Replayed) -> dict[str, Any]:
    """Return one execution: its failure, its token, and its whole trace."""
    return {"failure": execution.failure, "token": execution.token, "trace_hash": execution.trace_hash, **recorded(execution.trace)}


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: itself, or its text."""
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
