"""What decides a failure, in sentences for readers who have not written the scenario."""

from __future__ import annotations

from collections.abc import Sequence

from simharness.engine.kinds import Border, Role
from simharness.timeline.folding import Row, rows
from simharness.timeline.words import advance, cut, in_short, is_sql, one_line, seconds, strike
from simharness.trace.data import Race, Trace, Why
from simharness.visible import visible

LONGEST = 48
"""Characters of a step's name."""
SHOWN = 1
"""Causes to report; where several are known, each is enough."""


def explain(trace: Trace, shown: Sequence[Row] | None = None) -> list[str]:
    """Return what is known about the cause of a trace's failure, a sentence each, the most informative first.

    Args:
        shown: the rows of its timeline, from which the steps are named.
    """
    if trace.why is None:
        return []
    shown = rows(trace, False)[0] if shown is None else shown
    sentences = []
    for blame in trace.why.blame[:SHOWN]:
        orders = [_order(trace, shown, race) for race in blame.races]
        if len(orders) > 2:
            sentences.append(f"no single race decides it, nor do two of those tried: with {len(orders)} reversed, the execution passes")
        elif len(orders) == 1:
            race = blame.races[0]
            change = f"with {race.instead} instead" if race.instead else "in the opposite order"
            sentences.append(f"{orders[0]}: {change}, the execution passes")
        else:
            sentences.append(f"no single race decides it; {', and '.join(orders)}: with both reversed, the execution passes")
    return sentences or [_nothing(trace.why)]


def _nothing(why: Why) -> str:
    if why.singles:
        alone = f"no single race decides it ({why.singles} tried{'' if why.all_singles else ', not all'})"
    else:
        alone = "no two steps could have come in the opposite order" if why.all_singles else "no race was tried: the budget was used up"
    return alone if why.passing is not None else f"{alone}; no passing ordering was found ({why.tried} tried)"


def _order(trace: Trace, shown: Sequence[Row], race: Race) -> str:
    first = _named(trace, shown, race.first)
    if race.instead:
        return first
    second = _waits(trace, race.actor) if race.second is None else _named(trace, shown, race.second)
    touched = list(map(_resource, race.resources))
    tables = [name for name in touched if name.startswith("table ")]
    unsaid = [name for name in tables or touched if name.removeprefix("table ") not in f"{first} {second}"]
    where = f", on {' and '.join(unsaid[:2])}" if unsaid else ""
    return f"{first} came before {second}{where}"


def _named(trace: Trace, shown: Sequence[Row], number: int) -> str:
    """Name a step as its row does: main_turn's end_session (store.py:147)."""
    step = trace.steps[number - 1]
    if step.kind.role is Role.MOVES_CLOCK:
        return f"the clock's move to {seconds(advance(step)[1])}"
    if step.kind.role is Role.STRIKES:
        return strike(step)
    row = row_of(trace, shown, number)
    place = step.place
    if is_sql(step) and step.kind.border is None:
        text = in_short(step)
    elif row is not None and (row.number != number or is_sql(step) or row.step.place != step.place):
        text, place = row.text.partition(":")[0].partition(" → ")[0], row.step.place
    elif step.kind.noun:
        text = step.kind.noun.format(detail=one_line(step.detail), result=", ".join(step.notes) or step.detail)
    else:
        text = step.kind.phrase(one_line(step.detail))
    where = f" ({visible(place.file.rpartition('/')[2])}:{place.line})" if place is not None else f" (step {number})"
    return f"{step.actor}'s {cut(text, LONGEST)}{where}"


def _waits(trace: Trace, actor: str) -> str:
    """Name an operation that was never done by what the actor waits for."""
    for stuck in trace.waiting:
        if stuck.actor == actor:
            where = f" ({visible(stuck.place.file.rpartition('/')[2])}:{stuck.place.line})" if stuck.place is not None else ""
            return f"{actor}'s {stuck.kind.wanted(one_line(stuck.detail))}{where}"
    return "the clock could move" if actor == "clock" else f"{actor}'s next step"


def _resource(name: str) -> str:
    database, table, name_of_table = name.partition(" table ")
    return f"table {name_of_table}" if table and " " not in database else name


def row_of(trace: Trace, shown: Sequence[Row], number: int) -> Row | None:
    """Return the row that shows a step, also if it was folded into a row of its actor."""
    step = trace.steps[number - 1]
    own = [row for row in shown if row.step.actor == step.actor]
    opens = step.kind.role is Role.OPENS or step.kind.border is Border.BEGINS
    here = next((row for row in own if row.number == number), None)
    later = next((row for row in own if row.number > number), None)
    earlier = next((row for row in reversed(own) if row.number < number), None)
    return here or ((later or earlier) if opens else (earlier or later))
