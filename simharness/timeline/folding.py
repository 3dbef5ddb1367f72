"""Which steps of a trace a timeline shows: the fewest that explain it.

Left out are lock and transaction borders around work that no other actor interrupted, clock readings that nothing depends on, actors
that only start and join others, repetitions, the middle of long uninterrupted runs, and what comes after the failure. Step numbers
are unchanged, so a gap shows that something was left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from simharness.engine.actors import ALTERNATIVES
from simharness.engine.kinds import Border, Role
from simharness.places import Place
from simharness.timeline.words import advance, behind, is_sql, row_in_words, statements
from simharness.trace.data import Step, Trace
from simharness.visible import visible

LONG_RUN = 12
KEPT_AT_ENDS = 3


@dataclass(frozen=True)
class Row:
    """A line of a timeline: a step (the last of those it stands for), its text, and the lines below it."""

    step: Step
    number: int
    text: str
    inside: tuple[str, ...] = ()
    database: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    filler: bool = False


def rows(trace: Trace, full: bool) -> tuple[list[Row], list[Step]]:
    """Return the rows to show, and the steps after the failure, which are not shown."""
    if full:
        return [_row(step) for step in trace.steps], []
    end = len(trace.steps) if trace.failed_at is None else trace.failed_at
    steps, after = list(trace.steps[:end]), list(trace.steps[end:])
    hidden = _idle_readings(steps) | _bystanders(trace, steps) | _declined(steps)
    joined = _uninterrupted(steps, hidden)
    shown = [_row(step, joined.get(position, ())) for position, step in enumerate(steps) if position not in hidden]
    return _shorten(_repetitions(shown), trace.failed_at), after


def _declined(steps: Sequence[Step]) -> set[int]:
    """The choices that nothing happens before an operation."""
    return {position for position, step in enumerate(steps) if step.kind.role is Role.OFFERS and not step.key & ALTERNATIVES}


def _row(step: Step, others: Sequence[Step] = ()) -> Row:
    """Make one row of a step and those that are shown with it."""
    folded = (step, *others)
    text, below = row_in_words(folded)
    lead = next((each for each in folded if any(not s.is_border and not s.matched_nothing for s in statements(each))), step)
    place = lead.place
    if step.calls and step.calls[0] != step.place:
        place = step.calls[0]
        text = _named(visible(place.function), text, any(each.database for each in folded))
    return Row(
        replace(folded[-1], actor=step.actor, kind=step.kind, detail=step.detail, place=place),
        step.number,
        text,
        tuple(below),
        tuple(line for each in folded for line in each.database),
        tuple(line for each in folded for line in each.log),
    )


def _uninterrupted(steps: list[Step], hidden: set[int]) -> dict[int, list[Step]]:
    """Fold what was not interrupted: a transaction into one row, a lock that is taken and given back into what it guards.

    Adds to `hidden`; returns, for the position of a row, the steps that are shown with it.
    """
    joined: dict[int, list[Step]] = {}
    for start in range(len(steps) - 1, -1, -1):
        step = steps[start]
        end = _closing(steps, start)
        if end is None or start in hidden:
            continue
        within = [position for position in range(start + 1, end) if position not in hidden]
        if step.kind.border is None:
            shown = [start, *within] if _says(step) or not within else within
            hidden |= {start, end} - {shown[0]}
            if not within or _says(steps[end]):
                joined.setdefault(shown[-1], []).append(steps[end])
            called = _shared(steps[start : end + 1])
            for position in range(start, end):
                steps[position] = replace(_without(steps[position], step), calls=called)
            steps[end - 1] = replace(steps[end - 1], shown=steps[end].shown)
        elif all(is_sql(steps[position]) or behind(steps[position]) for position in within):
            first = within[0] if within else start
            joined[first] = [steps[position] for position in (*within[1:], end)]
            hidden |= {start, *within, end} - {first}
    for position, others in joined.items():
        joined[position] = [steps[other.number - steps[0].number] for other in others]
    return joined


def _shared(steps: Sequence[Step]) -> tuple[Place, ...]:
    """Return the calls in which all of the steps were made, innermost first."""
    shared: list[Place] = []
    for places in zip(*(reversed(step.calls) for step in steps), strict=False):
        if len(set(places)) > 1:
            break
        shared.append(places[0])
    if shared and shared[-1] == steps[0].place:
        del shared[-1]
    return tuple(reversed(shared))


def _named(function: str, text: str, changes_shown: bool) -> str:
    """Name uninterrupted work after the function that did it, and say more only where no changes are shown below."""
    if not changes_shown:
        return f"{function}: {text}"
    _, arrow, result = text.rpartition(" → ")
    return f"{function}{arrow}{result}" if arrow else function


def _without(step: Step, lock: Step) -> Step:
    """Return the step without the lock among those held: it is folded away."""
    held = tuple(name for name in step.held.get(step.actor, ()) if name != lock.detail)
    return replace(step, held={**step.held, step.actor: held})


def _closing(steps: Sequence[Step], start: int) -> int | None:
    """Return the position of the step that closes what this step opens, if its actor was not interrupted in between."""
    step = steps[start]
    opens = step.kind.role is Role.OPENS
    if not opens and step.kind.border is not Border.BEGINS:
        return None
    for position in range(start + 1, len(steps)):
        later = steps[position]
        if later.actor != step.actor:
            return None
        closes = later.kind.role is Role.CLOSES and later.kind.family == step.kind.family
        if opens and closes and step.detail.startswith(later.detail):
            return position
        if not opens and later.kind.border is Border.COMMITS and all(note.startswith("committed") for note in later.notes):
            return position
        if not opens and later.kind.border is not None:
            return None
    return None


def _says(step: Step) -> bool:
    inside = not is_sql(step) and any(not statement.is_border for statement in statements(step))
    return bool(step.database or step.log or inside)


def _idle_readings(steps: Sequence[Step]) -> set[int]:
    """Clock readings after which the clock stood still until their actor moved again."""
    result = set()
    for position, step in enumerate(steps):
        if step.kind.role is not Role.READS_CLOCK or _says(step):
            continue
        following = next((later for later in range(position + 1, len(steps)) if steps[later].actor == step.actor), None)
        if following is not None and not any(between.kind.role is Role.MOVES_CLOCK for between in steps[position:following]):
            result.add(position)
    return result


def _bystanders(trace: Trace, steps: Sequence[Step]) -> set[int]:
    """The steps of actors that only wait, start and join others, and the starting and joining of those."""
    busy = {step.actor for step in steps if not _only_waits(step) or _says(step)}
    busy |= {waiting.actor for waiting in trace.waiting}
    if not {step.actor for step in steps} & busy - {"clock"}:
        return set()
    heard = {(step.kind.family, step.detail) for step in steps if step.actor in busy and step.kind.role is Role.AWAITS}
    return {
        position
        for position, step in enumerate(steps)
        if step.actor not in busy
        or (step.kind.role is Role.ABOUT_ACTORS and step.detail in trace.actors and step.detail not in busy)
        or (step.kind.role is Role.SIGNALS and (step.kind.family, step.detail) not in heard and not _says(step))
    }


def _only_waits(step: Step) -> bool:
    return step.kind.role in (Role.ABOUT_ACTORS, Role.AWAITS, Role.READS_CLOCK, Role.SLEEPS)


def _repetitions(shown: Sequence[Row]) -> list[Row]:
    """Make one row of a step that is repeated, and of consecutive advances of the clock."""
    result: list[Row] = []
    times, text = 1, ""
    for row in shown:
        last = result[-1] if result else None
        if last is None or last.step.actor != row.step.actor or row.database or row.log or last.database or last.log:
            again = False
        else:
            again = (row.text, row.inside, row.step.place) == (text, last.inside, last.step.place)
        if again and last is not None and row.step.kind.role is not Role.MOVES_CLOCK:
            times += 1
            result[-1] = replace(row, number=last.number, text=f"{row.text} ({times} times)")
            continue
        if last is not None and row.step.kind.role is last.step.kind.role is Role.MOVES_CLOCK:
            result[-1] = replace(last, step=replace(last.step, detail=str(advance(row.step)[1])))
        else:
            result.append(row)
        times, text = 1, row.text
    return result


def _shorten(shown: Sequence[Row], failed_at: int | None) -> list[Row]:
    """Leave out the middle of long runs of one actor, except what changed the database or was logged."""
    result: list[Row] = []
    start = 0
    while start < len(shown):
        end = start
        while end < len(shown) and shown[end].step.actor == shown[start].step.actor:
            end += 1
        run = shown[start:end]
        if len(run) <= LONG_RUN:
            result += run
        else:
            left_out: list[Row] = []
            for position, row in enumerate(run):
                near = position < KEPT_AT_ENDS or position >= len(run) - KEPT_AT_ENDS
                if near or row.database or row.inside or row.log or row.number == failed_at:
                    result += _filler(left_out)
                    left_out = []
                    result.append(row)
                else:
                    left_out.append(row)
        start = end
    return result


def _filler(left_out: Sequence[Row]) -> list[Row]:
    if len(left_out) < 2:
        return list(left_out)
    return [Row(left_out[-1].step, left_out[0].number, f"… {len(left_out)} steps, nothing committed", filler=True)]
