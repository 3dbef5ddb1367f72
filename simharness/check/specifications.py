"""What is promised of a class, each promise by its name in the verdict.

*Serializable*: the results and the final state are those of some order of the calls that keeps each actor's own. *Linearizable*: that order
also has a call after all that had returned before it began (Herlihy and Wing, *Linearizability: a correctness condition for concurrent
objects*, 1990). *Quiescent consistency* keeps an order only across moments at which no call is under way (Shavit and Zemach, *Diffracting
trees*, 1996). The others are weaker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from simharness.check.outcomes import Event, Outcome, Position, Serial, differing, in_parts, quiescence, real_time, respects
from simharness.errors import Misuse
from simharness.visible import shortened

SERIALIZABLE, LINEARIZABLE, QUIESCENT = "serializable", "linearizable", "quiescent consistency"
NO_EXCEPTION, NO_DEADLOCK, NO_LOST_UPDATE, INVARIANT = (
    "no exception that no serial order raises",
    "no deadlock",
    "no lost update",
    "invariant",
)
WORDS = {
    "serializable": SERIALIZABLE,
    "sequentially-consistent": SERIALIZABLE,
    "linearizable": LINEARIZABLE,
    "quiescent": QUIESCENT,
    "no-exception": NO_EXCEPTION,
    "no-deadlock": NO_DEADLOCK,
    "no-lost-update": NO_LOST_UPDATE,
    "invariant": INVARIANT,
}
"""What the command line calls them."""
EVENTS = (LINEARIZABLE, QUIESCENT)
"""Specifications for which it matters which call returned before which began: there, calls and returns are steps."""
_IMPLIED = (NO_DEADLOCK, NO_EXCEPTION, INVARIANT)
"""What the strongest three imply; where one of these does not hold, it is what the verdict names."""
Judge = Callable[[Outcome, Serial, Sequence[Event]], str | None]
"""Says what is wrong with what a program has come to; None if nothing is."""


def chosen(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return the specifications that these words name, those that a stronger one implies first.

    Raises:
        Misuse: there is no such specification.

    >>> chosen("linearizable")
    ('no deadlock', 'no exception that no serial order raises', 'invariant', 'linearizable')
    >>> chosen("no-deadlock")
    ('no deadlock',)
    """
    words = [word.strip() for word in (names.split(",") if isinstance(names, str) else names)]
    found = []
    for word in words:
        name = WORDS.get(word, word if word in WORDS.values() else None)
        if name is None:
            raise Misuse(f"{shortened(repr(word))} is no specification: give one of {', '.join(WORDS)}")
        found.append(name)
    if QUIESCENT in found and {SERIALIZABLE, LINEARIZABLE} & set(found):
        raise Misuse("quiescent consistency does not keep the order of an actor's calls, as the others do: check it alone")
    if any(name in (SERIALIZABLE, *EVENTS) for name in found):
        found = [*_IMPLIED, *found]
    return tuple(dict.fromkeys(found))


def judges(names: Sequence[str]) -> list[tuple[str, Judge]]:
    """Return for each specification that is decided when all calls have returned a function that says what is wrong."""
    known = {
        NO_EXCEPTION: _no_new_exception,
        NO_LOST_UPDATE: _no_lost_update,
        SERIALIZABLE: lambda outcome, serial, events: _in_some_order(outcome, serial),
        LINEARIZABLE: _respecting(real_time, "it has a call after one that began when it had returned"),
        QUIESCENT: _respecting(quiescence, "not across a moment at which no call was under way"),
    }
    return [(name, known[name]) for name in names if name in known]


def _no_new_exception(outcome: Outcome, serial: Serial, events: Sequence[Event]) -> str | None:
    for position, returned in outcome.results:
        if returned.raised and not any(
            other.raised == returned.raised for one in serial.complete for place, other in one.results if place == position
        ):
            return f"no serial order raises {returned.raised} there"
    return None


def _no_lost_update(outcome: Outcome, serial: Serial, events: Sequence[Event]) -> str | None:
    if any(one.state == outcome.state for one in serial.complete):
        return None
    return _otherwise("it ends with", outcome, serial.complete)


def _in_some_order(outcome: Outcome, serial: Serial) -> str | None:
    if serial.like(outcome):
        return None
    alike = [one for one in serial.complete if one.values == outcome.values]
    if alike:
        return _otherwise("with these results it ends with", outcome, alike)
    if any(one.state == outcome.state for one in serial.complete):
        return "no order of the calls gives these results and this final state"
    if not serial.complete:
        return "every serial order waits forever: calls that wait for one another, as at a barrier, need a weaker --spec"
    return _otherwise("no order of the calls gives these results, nor ends with", outcome, serial.complete)


def _otherwise(said: str, outcome: Outcome, others: Sequence[Outcome]) -> str:
    """Say what the state is, and what it is in these serial orders, as far as it differs."""
    if any(one.words == outcome.words for one in others):
        if any(one.inside == outcome.inside for one in others):
            return f"{said} {shortened(outcome.rows)} in its databases, as no serial order does"
        return f"{said} {in_parts(outcome)}: it is shown alike in a serial order, and is not: a method state() says what is to be compared"
    parts = differing(outcome, others)
    ends = list(dict.fromkeys(in_parts(one, parts) for one in others))
    ending = " or ".join(ends[:2]) + (f" or {len(ends) - 2} others" if len(ends) > 2 else "")
    return f"{said} {in_parts(outcome, parts)}; in a serial order it ends with {ending}"


def _respecting(before_of: Callable[[Sequence[Event]], dict[Position, frozenset[Position]]], but: str) -> Judge:
    """Return a function that wants an order of the calls that also respects which came before which; `but`: what all others have."""

    def wrong(outcome: Outcome, serial: Serial, events: Sequence[Event]) -> str | None:
        found = _in_some_order(outcome, serial)
        if found is not None:
            return found
        before = before_of(events)
        if any(respects(one.order, before) for one in serial.like(outcome)):
            return None
        return f"an order gives these results and this final state, but {but}"

    return wrong
