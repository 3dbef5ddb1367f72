"""A point of an execution in words, for the terminal and for lines: the steps, what can come next, what is held, rows, log lines."""

from __future__ import annotations

from collections.abc import Iterator

from simharness.engine.clock import EPOCH, SECOND
from simharness.report.recorded import value
from simharness.step.stepper import Point
from simharness.timeline.words import cut, move_in_words, of_nobody, one_line, seconds, where, words
from simharness.trace.data import Step
from simharness.trace.moves import Move
from simharness.trace.tables import AGES

NOBODY = ("clock", "")


def title(point: Point) -> str:
    """Say where the execution stands: how many steps, of how many known, and the time."""
    made = "at the start" if not point.position else f"after step {point.position}"
    ahead = f", {point.total - point.position} more known" if point.total > point.position else ""
    return f"{made}{ahead}, at {seconds(point.time)}"


def step_in_words(step: Step) -> str:
    """Return who did what in a step."""
    return of_nobody(step) or f"{step.actor}: {words(step)}"


def below(step: Step) -> Iterator[str]:
    """Yield what came of a step: rows it changed, log lines."""
    yield from (one_line(change) for change in step.database)
    yield from (f"log {one_line(line)}" for line in step.log)


def move(one: Move, width: int) -> str:
    """Return a possible move, or one that somebody wants to make and cannot, with the reason, on one line."""
    who = "" if one.actor in NOBODY else f"{one.actor}: "
    place = where(one.place, 24)
    text = f"{who}{move_in_words(one)}"
    if one.why_not:
        return cut(f"{text} – cannot: {one.why_not}", width)
    return f"{cut(text, width - len(place) - 2)}  {place}".rstrip()


def held(point: Point) -> list[str]:
    """Say who holds what: locks, and what `world.show` tells."""
    last = point.trace.steps[-1] if point.trace.steps else None
    lines = [f"{actor} holds {', '.join(locks)}" for actor, locks in (last.held if last else {}).items() if locks]
    shown = last.shown if last else point.trace.initial
    until = last.until if last else point.trace.until
    wall = last.wall if last else 0
    for name, text in shown.items():
        end = until.get(name)
        left = "" if end is None else f", ran out at {seconds(end)}" if wall >= end else f" until {seconds(end)}"
        lines.append(f"{name}: {one_line(text) or '–'}{left}")
    return lines


def cell(thing: object) -> str:
    """Return a value of a row in words; what looks like a moment of the execution is told as one."""
    if thing is None:
        return "–"
    if isinstance(thing, float) and 0 <= thing - EPOCH / SECOND < AGES:
        return f"t+{round(thing - EPOCH / SECOND, 6):g}s"
    return one_line(str(value(thing)))


def changed_now(point: Point) -> set[tuple[str, str]]:
    """Return the (database, table) pairs that the last step changed."""
    last = point.trace.steps[-1] if point.trace.steps else None
    return {(database, name) for database, tables in (last.tables if last else {}).items() for name in tables}


def log(point: Point) -> list[str]:
    """Return the log lines so far, each with the number of its step."""
    return [f"{step.number:>4}  {one_line(line)}" for step in point.trace.steps for line in step.log]
