"""What an execution of a program comes to, and what some serial order of its calls comes to.

The serial orders are those of the class itself, or of a model, found by running it with one call at a time (Burckhardt, Dern, Musuvathi and
Tan, *Line-Up: a complete and automatic linearizability checker*, PLDI 2010). A call that waits forever when it is alone is stuck: an
execution may leave it waiting, too, if the calls that returned have an order after which it waits (section 3 there, stuck histories).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

Position = tuple[int, int]
"""A call of a program: the number of its actor, and its number among that actor's calls."""


class Returned(NamedTuple):
    """What a call returned: in a form to be compared, in words, and the kind of exception if it raised one."""

    value: Hashable
    text: str
    raised: str = ""


class Outcome(NamedTuple):
    """What an execution came to.

    Attributes:
        results: of the calls that returned, by position; sorted.
        same: which of these results are the same object.
        state: what is compared at the end, of the object and of databases; None while not all calls have returned.
        order: the calls, in the order in which they began.
        stuck: of a serial order, the call that waits.
        words: the state as it is shown, by the names of its parts.
        hidden: the types of what cannot be looked into at the end.
        raised: what the expression of the state has raised.
    """

    results: tuple[tuple[Position, Returned], ...]
    same: tuple[int, ...] = ()
    state: tuple[Hashable, str] | None = None
    order: tuple[Position, ...] = ()
    stuck: Position | None = None
    words: tuple[tuple[str, str], ...] = ()
    hidden: tuple[str, ...] = ()
    raised: str = ""

    @property
    def inside(self) -> Hashable:
        """The state of the object."""
        return None if self.state is None else self.state[0]

    @property
    def rows(self) -> str:
        """The rows of databases."""
        return "" if self.state is None else self.state[1]

    @property
    def values(self) -> tuple[tuple[Position, Hashable], ...]:
        """The results, in the form in which they are compared, with which are the same object."""
        return (*((position, returned.value) for position, returned in self.results), ((-1, -1), self.same))


@dataclass
class Serial:
    """What the serial orders of a program come to.

    Attributes:
        complete: the outcomes of orders in which every call returned.
        stuck: those of orders that end with a call that waits.
        whole: whether all orders were run.
        why: why not.
    """

    complete: list[Outcome] = field(default_factory=list)
    stuck: list[Outcome] = field(default_factory=list)
    whole: bool = True
    why: str = ""

    @staticmethod
    def of(outcomes: Sequence[Outcome]) -> Serial:
        """Return these outcomes, sorted into those of complete orders and of stuck ones."""
        return Serial([one for one in outcomes if one.stuck is None], [one for one in outcomes if one.stuck is not None])

    def like(self, outcome: Outcome) -> list[Outcome]:
        """Return the orders that give the same results and the same final state."""
        return [one for one in self.complete if one.values == outcome.values and one.state == outcome.state]

    def leaves_waiting(self, outcome: Outcome, waiting: Sequence[Position], precedes: Mapping[Position, frozenset[Position]]) -> bool:
        """Whether for each waiting call, some order of those that returned gives the same results and leaves it waiting."""
        values = {position: returned.value for position, returned in outcome.results}
        return all(
            any(
                one.stuck == call
                and {position: returned.value for position, returned in one.results} == values
                and respects(one.order, precedes)
                for one in self.stuck
            )
            for call in waiting
        )


def differing(one: Outcome, others: Sequence[Outcome]) -> set[str]:
    """Return the names of the parts of the state that are shown, and differ from those of one of the others."""
    return {name for other in others for name, _ in set(one.words) ^ set(other.words)}


def in_parts(outcome: Outcome, names: set[str] | None = None) -> str:
    """Return the state as it is shown; only these parts of it, if some are named."""
    shown = [(name, text) for name, text in outcome.words if not names or name in names]
    return ", ".join(f"{name}={text}" if name else text for name, text in shown) or "nothing"


def respects(order: Sequence[Position], precedes: Mapping[Position, frozenset[Position]]) -> bool:
    """Whether an order has each call after all that precede it."""
    seen: set[Position] = set()
    for call in order:
        if not {other for other in precedes.get(call, ()) if other in order} <= seen:
            return False
        seen.add(call)
    return True


class Event(NamedTuple):
    """A call has begun, or has returned."""

    call: Position
    ends: bool


def real_time(events: Sequence[Event]) -> dict[Position, frozenset[Position]]:
    """Return for each call those that had returned before it began (Herlihy and Wing, 1990)."""
    returned: set[Position] = set()
    before: dict[Position, frozenset[Position]] = {}
    for event in events:
        if event.ends:
            returned.add(event.call)
        else:
            before[event.call] = frozenset(returned)
    return before


def quiescence(events: Sequence[Event]) -> dict[Position, frozenset[Position]]:
    """Return for each call those that had returned before a moment at which no call was under way, and it began after that moment."""
    under_way: set[Position] = set()
    returned: set[Position] = set()
    apart: frozenset[Position] = frozenset()
    before: dict[Position, frozenset[Position]] = {}
    for event in events:
        if event.ends:
            under_way.discard(event.call)
            returned.add(event.call)
            if not under_way:
                apart = frozenset(returned)
        else:
            under_way.add(event.call)
            before[event.call] = apart
    return before
