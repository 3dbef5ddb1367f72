"""A point of an execution in words, for the terminal and for lines: the steps, what can come next, what is held, rows, log lines."""

from __future__ import annotations

from collections.abc import Iterator

from simharness.engine.clock import EPOCH, SECOND
from simharness.report.recorded import value
from simharness.step.stepper import Point
from simharness.timeline.words import clock_or_fault, cut, done_in_words, move_in_words, one_line, seconds, where
from simharness.trace.data import Step
from simharness.trace.moves import Move
from simharness.trace.tables import AGES
from simharness.visible import visible

NOT_ACTORS = ("clock", "")


def title(point: Point) -> str:
    """Say which point the execution has reached: how many steps, how many more are ahead, and the time."""
    made = "at the start" if not point.position else f"after step {point.position}"
    ahead = f", {point.total - point.position} more ahead" if point.total > point.position else ""
    return f"{made}{ahead}, at {seconds(point.time)}"


def step_in_words(step: Step) -> str:
    """Return what a step did, with its actor."""
    return clock_or_fault(step) or f"{visible(step.actor)}: {done_in_words(step)}"


def below(step: Step) -> Iterator[str]:
    """Yield the effects of a step: rows that it changed, log lines."""
    yield from (one_line(change) for change in step.database)
    yield from (f"log {visible(line)}" for line in step.log)


def move(choice: Move, width: int) -> str:
    """Return a possible move on one line; if it is not possible, with the reason."""
    actor = "" if choice.actor in NOT_ACTORS else f"{visible(choice.actor)}: "
    place = where(choice.place, 24)
    text = f"{actor}{visible(move_in_words(choice))}"
    if choice.why_not:
        return cut(f"{text} – cannot: {visible(choice.why_not)}", width)
    return f"{cut(text, width - len(place) - 2)}  {place}".rstrip()


def held(point: Point) -> list[str]:
    """Say what actors hold: locks, and the values of `world.show`."""
    last = point.trace.steps[-1] if point.trace.steps else None
    lines = [visible(f"{actor} holds {', '.join(locks)}") for actor, locks in (last.held if last else {}).items() if locks]
    shown = last.shown if last else point.trace.initial
    until = last.until if last else point.trace.until
    wall = last.wall if last else 0
    for name, text in shown.items():
        end = until.get(name)
        left = "" if end is None else f", ran out at {seconds(end)}" if wall >= end else f" until {seconds(end)}"
        lines.append(f"{visible(name)}: {visible(text) or '–'}{left}")
    return lines


def cell(content: object) -> str:
    """Return a value of a row in words; a number that can be a time of the execution is shown as a time."""
    if content is None:
        return "–"
    if isinstance(content, float) and 0 <= content - EPOCH / SECOND < AGES:
        return f"t+{round(content - EPOCH / SECOND, 6):g}s"
    return one_line(str(value(content)))


def changed_now(point: Point) -> set[tuple[str, str]]:
    """Return the (database, table) pairs that the last step changed."""
    last = point.trace.steps[-1] if point.trace.steps else None
    return {(database, name) for database, tables in (last.tables if last else {}).items() for name in tables}


def log(point: Point) -> list[str]:
    """Return the log lines so far, each with the number of its step."""
    return [f"{step.number:>4}  {visible(line)}" for step in point.trace.steps for line in step.log]
