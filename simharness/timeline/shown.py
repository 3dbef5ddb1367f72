"""A trace as it may be shown: every text in it visible and on one line; see `simharness.visible`.

Runs of blanks in operations, notes and rows are one blank, since a statement of SQL may have several lines. In names, values and log lines
a line break is content, and comes out as `\\n`. Places keep their files, which are read for source lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from simharness.timeline.words import one_line
from simharness.trace.data import Blame, Passing, Step, Trace, Waiting, Why
from simharness.visible import visible

T = TypeVar("T")


def shown(trace: Trace) -> Trace:
    """Return the trace with every text visible."""
    return replace(
        trace,
        scenario=visible(trace.scenario),
        parameters={visible(name): visible(str(value)) for name, value in trace.parameters.items()},
        actors={visible(name): visible(process) for name, process in trace.actors.items()},
        steps=tuple(_step(step) for step in trace.steps),
        waiting=tuple(_waiting(stuck) for stuck in trace.waiting),
        failure=None if trace.failure is None else visible(trace.failure),
        initial=_values(trace.initial),
        until=_named(trace.until),
        why=None if trace.why is None else _why(trace.why),
    )


def _step(step: Step) -> Step:
    return replace(
        step,
        actor=visible(step.actor),
        detail=one_line(step.detail),
        notes=_lines(step.notes),
        database=_lines(step.database),
        held={visible(actor): tuple(map(visible, locks)) for actor, locks in step.held.items()},
        shown=_values(step.shown),
        until=_named(step.until),
        log=tuple(map(visible, step.log)),
    )


def _waiting(stuck: Waiting) -> Waiting:
    holder = None if stuck.holder is None else visible(stuck.holder)
    return replace(stuck, actor=visible(stuck.actor), detail=one_line(stuck.detail), holder=holder)


def _why(why: Why) -> Why:
    return replace(why, blame=tuple(map(_blame, why.blame)), passing=None if why.passing is None else _passing(why.passing))


def _blame(blame: Blame) -> Blame:
    races = tuple(
        replace(race, actor=visible(race.actor), resources=tuple(map(visible, race.resources)), instead=visible(race.instead))
        for race in blame.races
    )
    return replace(blame, races=races)


def _passing(passing: Passing) -> Passing:
    return replace(passing, actor=visible(passing.actor), token=visible(passing.token))


def _lines(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(one_line, texts))


def _values(values: Mapping[str, str]) -> dict[str, str]:
    return {visible(name): visible(value) for name, value in values.items()}


def _named(values: Mapping[str, T]) -> dict[str, T]:
    return {visible(name): value for name, value in values.items()}
