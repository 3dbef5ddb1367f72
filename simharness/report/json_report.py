"""Results as JSON, for programs. The file is there whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from simharness import __version__
from simharness.errors import Misuse
from simharness.results import Counterexample, Result
from simharness.trace import Race, Step


def check_writable(path: str, option: str = "--json") -> None:
    """Find out now whether the file can be written when the exploration is over.

    Raises:
        Misuse: it cannot.
    """
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        raise Misuse(f"{option} {path}: this is a folder; give the name of a file")
    if not os.path.isdir(folder):
        raise Misuse(f"{option} {path}: there is no folder {folder}; make it, or give another path")
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise Misuse(f"{option} {path}: cannot write in {folder} ({error.strerror}); give another path") from error


def write(path: str, results: Sequence[Result], interrupted: bool = False) -> None:
    """Write the results, replacing the file in one go.

    Raises:
        Misuse: the file cannot be written.
    """
    write_whole(path, as_text(document(results, interrupted)))


def as_text(found: Mapping[str, Any]) -> str:
    """Return an object as the text of a JSON file."""
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def write_whole(path: str, text: str, option: str = "--json") -> None:
    """Write a file in one go: it is there whole or as it was.

    Raises:
        Misuse: it cannot be written.
    """
    folder = os.path.dirname(os.path.abspath(path))
    temporary = None
    try:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=folder, prefix=".simharness-", delete=False) as file:
            temporary = file.name
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        raise Misuse(f"{option} {path}: cannot be written ({error.strerror})") from error


def document(results: Sequence[Result], interrupted: bool = False) -> dict[str, Any]:
    """Return the object that `write` writes."""
    return {
        "simharness": __version__,
        "exit_status": max((result.exit_status for result in results), default=0),
        "interrupted": interrupted,
        "results": [entry(result) for result in results],
    }


def entry(result: Result) -> dict[str, Any]:
    """Return one cell's entry."""
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
        "bounds": result.bounds,
        "outcomes": sorted(map(repr, result.outcomes)),
        "error": result.error,
        "counterexample": None if result.counterexample is None else _counterexample(result.counterexample),
    }


def _counterexample(found: Counterexample) -> dict[str, Any]:
    return {
        "failure": found.failure,
        "token": found.token,
        "shortness": found.shortness,
        "confirmed": found.confirmed,
        "trace_hash": found.trace_hash,
        "failed_at": found.trace.failed_at,
        "explanation": list(found.explanation),
        "blame": [{"races": [_race(race) for race in blame.races], "token": blame.token} for blame in found.blame],
        "passing": None if found.passing is None else asdict(found.passing),
        "waiting": [str(stuck) for stuck in found.trace.waiting],
        "steps": [_step(step) for step in found.steps],
    }


def _race(race: Race) -> dict[str, Any]:
    return {**asdict(race), "resources": list(race.resources)}


def _step(step: Step) -> dict[str, Any]:
    return {
        "number": step.number,
        "actor": step.actor,
        "kind": step.kind,
        "detail": step.detail,
        "place": None if step.place is None else str(step.place),
        "notes": list(step.notes),
        "time": step.time / 1e9,
        "database": list(step.database),
        "held": {actor: list(locks) for actor, locks in step.held.items()},
        "shown": dict(step.shown),
        "log": list(step.log),
    }


def plain(value: Any) -> Any:
    """Return what JSON can say of a value: itself, or its text."""
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
