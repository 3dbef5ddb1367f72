"""A trace as plain objects for JSON, whole: what `--json` writes and what the page is made from. docs/timelines.md lists the fields."""

from __future__ import annotations

import linecache
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from simharness.engine.clock import EPOCH, SECOND
from simharness.places import Place
from simharness.timeline.folding import Row, rows
from simharness.timeline.words import clock_or_fault, done_in_words, move_in_words
from simharness.trace.data import Race, Step, Trace, Why
from simharness.trace.moves import Move
from simharness.trace.tables import Tables

AROUND = 2
"""Source lines before and after a named line."""
MOST_ROWS = 100
"""Rows that never change are given up to this number; those that change are all given."""
EXACT = 2**53
"""The largest integer that every reader of JSON keeps exact; larger numbers, infinities and NaN are given as text."""


def recorded(trace: Trace) -> dict[str, Any]:
    """Return everything that a trace holds, except why it failed."""
    kept = _kept_rows(trace)
    shown, _ = rows(trace, False)
    return {
        "actors": [{"name": name, "process": process} for name, process in trace.actors.items()],
        "epoch": EPOCH / SECOND,
        "failed_at": trace.failed_at,
        "waiting": [str(stuck) for stuck in trace.waiting],
        "initial": {
            "shown": dict(trace.initial),
            "until": _seconds(trace.until),
            "tables": _tables(trace.tables, kept),
        },
        "steps": [_step(step, kept) for step in trace.steps],
        "rows": [_row(row) for row in shown],
        "messages": [asdict(message) for message in trace.messages],
        "moves": [_move(move, -1) for move in trace.moves],
        "sources": sources(trace),
    }


def cause(why: Why | None) -> dict[str, Any]:
    """Return what is known about the cause of a failure: the blamed races, and the nearest passing execution with its record."""
    passing = why.passing if why is not None else None
    return {
        "blame": [{"races": [_race(race) for race in blame.races], "token": blame.token} for blame in (why.blame if why else ())],
        "passing": None
        if passing is None
        else {
            "token": passing.token,
            "parts_at": passing.parts_at,
            "actor": passing.actor,
            "reversed": passing.reversed,
            "trace": None if passing.trace is None else recorded(passing.trace),
        },
    }


def _race(race: Race) -> dict[str, Any]:
    return {**asdict(race), "resources": list(race.resources)}


def _step(step: Step, kept: Mapping[tuple[str, str], set[Any]]) -> dict[str, Any]:
    return {
        "number": step.number,
        "actor": step.actor,
        "kind": str(step.kind),
        "detail": step.detail,
        "text": clock_or_fault(step) or done_in_words(step),
        "place": None if step.place is None else str(step.place),
        "calls": [[str(place), place.function] for place in step.calls],
        "notes": list(step.notes),
        "time": step.time / SECOND,
        "wall": step.wall / SECOND,
        "database": list(step.database),
        "tables": _tables(step.tables, kept),
        "held": {actor: list(locks) for actor, locks in step.held.items()},
        "shown": dict(step.shown),
        "until": _seconds(step.until),
        "log": list(step.log),
        "choices": step.choices,
        "moves": [_move(move, step.key) for move in step.moves],
    }


def _row(row: Row) -> dict[str, Any]:
    """Return a line of the timeline: the steps from `number` to `last` in as few words as explain them."""
    return {
        "number": row.number,
        "last": row.step.number,
        "actor": row.step.actor,
        "text": clock_or_fault(row.step) or row.text,
        "inside": list(row.inside),
        "database": list(row.database),
        "log": list(row.log),
        "place": None if row.step.place is None else str(row.step.place),
        "filler": row.filler,
    }


def _move(move: Move, taken: int) -> dict[str, Any]:
    return {
        "actor": move.actor,
        "text": move_in_words(move),
        "place": None if move.place is None else str(move.place),
        "possible": move.possible,
        "taken": move.possible and move.key == taken,
        "why_not": move.why_not,
        "alternative": move.alternative if move.options > 1 else None,
        "value": move.value,
        "fault": move.fault,
    }


def _seconds(instants: Mapping[str, int]) -> dict[str, float]:
    return {name: instant / SECOND for name, instant in instants.items()}


def _tables(tables: Tables, kept: Mapping[tuple[str, str], set[Any]]) -> dict[str, Any]:
    return {
        database: {
            name: {
                "columns": list(table.columns),
                "rows": [list(map(value, row)) for row in _chosen(table.rows, kept.get((database, name)))],
                "left_out": len(table.rows) - len(_chosen(table.rows, kept.get((database, name)))),
            }
            for name, table in named.items()
        }
        for database, named in tables.items()
    }


def _chosen(rows: Sequence[tuple[Any, ...]], keys: set[Any] | None) -> Sequence[tuple[Any, ...]]:
    return rows if keys is None else [row for row in rows if row[:1] in keys]


def _kept_rows(trace: Trace) -> dict[tuple[str, str], set[Any]]:
    """For each table that is too large, the first values of the rows to keep: those that change, and the first of the others."""
    looks: dict[tuple[str, str], list[list[tuple[Any, ...]]]] = {}
    for tables in (trace.tables, *(step.tables for step in trace.steps)):
        for database, named in tables.items():
            for name, table in named.items():
                looks.setdefault((database, name), []).append(table.rows)
    kept = {}
    for table_name, all_rows in looks.items():
        if max(map(len, all_rows)) > MOST_ROWS:
            always = set(all_rows[0]).intersection(*all_rows[1:])
            changing = {row[:1] for rows_then in all_rows for row in rows_then if row not in always}
            kept[table_name] = changing | {row[:1] for row in all_rows[0][:MOST_ROWS]}
    return kept


def sources(trace: Trace) -> dict[str, dict[str, str]]:
    """Return the source lines that a trace names and those around them: file, line number, text."""
    places = [place for step in trace.steps for place in (*step.calls, *(move.place for move in step.moves))]
    return lines_of(place for place in (*places, *(stuck.place for stuck in trace.waiting)) if place is not None)


def lines_of(places: Iterable[Place]) -> dict[str, dict[str, str]]:
    """Return these source lines and those around them: file, line number, text."""
    lines: dict[str, dict[str, str]] = {}
    for place in dict.fromkeys((place.short, place.file, place.line) for place in places):
        short, file, line = place
        every = linecache.getlines(file)
        for number in range(max(1, line - AROUND), min(len(every), line + AROUND) + 1):
            lines.setdefault(short, {})[str(number)] = every[number - 1].expandtabs().rstrip()
    return lines


def value(thing: Any) -> Any:
    """Return a value as JSON can hold it: itself, or its text."""
    if isinstance(thing, bytes):
        return f"{len(thing)} bytes: {thing[:16].hex()}{'…' if len(thing) > 16 else ''}"
    if isinstance(thing, int | float) and not abs(thing) <= EXACT:
        return str(thing)
    return thing if thing is None or isinstance(thing, str | int | float | bool) else str(thing)
