"""One execution of a program: which calls have begun and returned, with what, in which steps, and what it has come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from simharness.authoring.world import World
from simharness.check.arguments import Names
from simharness.check.outcomes import Event, Outcome, Position, Returned
from simharness.check.targets import Call
from simharness.check.values import Freezing, frozen, in_words, same_objects
from simharness.engine.actors import SHIFT
from simharness.places import last_place, words_of
from simharness.runtimes import control
from simharness.visible import shortened


class Run:
    """One execution: what has begun, what has returned.

    Attributes:
        subject: the object under check; where each actor has a process, the one that is made before they move, and looked at at the end.
        names: what the arguments of calls may use.
        events: beginnings and returns, in the order in which they happened.
        spans: the steps of each call.
    """

    def __init__(self, world: World, make: Callable[[], Any], apart: bool, calls: Sequence[Sequence[Call]], names: Names) -> None:
        self.world = world
        self.names = names
        self._canonical = world._kernel.canonical
        self.subject = make()
        self._own = make if apart else None
        self._owned: dict[int, Any] = {}
        self.calls = calls
        self.events: list[Event] = []
        self.results: dict[Position, Returned] = {}
        self.spans: dict[Position, Span] = {}
        self._raw: dict[Position, Any] = {}
        self.finished: Outcome | None = None

    def begin(self, position: Position) -> None:
        """A call begins."""
        self.events.append(Event(position, ends=False))
        kernel = self.world._kernel
        actor = kernel.actor
        self.spans[position] = Span(-1 if actor is None else actor.index, kernel.record.n)

    def end(self, position: Position, value: Any, error: BaseException | None) -> None:
        """A call has returned this, or raised this."""
        self.spans[position] = self.spans[position]._replace(end=self.world._kernel.record.n)
        if error is None:
            self.results[position] = Returned(frozen(value, self._canonical), self._canonical(in_words(value)))
            self._raw[position] = value
        else:
            name = type(error).__name__
            place = last_place(error)
            said = shortened(" ".join(words_of(error).split()), 60)
            text = f"{self.text(position)} raises {name}{': ' if said else ''}{said}{f' at {place}' if place else ''}"
            self.results[position] = Returned(("raises", type(error).__qualname__), text, type(error).__qualname__)
            self._raw[position] = None

    def returned(self, position: Position) -> None:
        """A call has returned: what begins from here on comes after it."""
        self.events.append(Event(position, ends=True))

    def text(self, position: Position) -> str:
        """Return the call at a position as it is shown."""
        return self.calls[position[0]][position[1]].text

    def subject_of(self, actor: int) -> Any:
        """Return the object that an actor calls."""
        if self._own is None:
            return self.subject
        if actor not in self._owned:
            self._owned[actor] = self._own()
        return self._owned[actor]

    def footprints(self) -> list[tuple[Position, list[str], list[str]] | None]:
        """Return for each step the call that made it, if one did, and the names of what it read and wrote."""
        kernel = self.world._kernel
        record, names = kernel.record, kernel.names
        found: list[tuple[Position, list[str], list[str]] | None] = []
        for step, key in enumerate(record.keys):
            spans = (position for position, span in self.spans.items() if span.actor == key >> SHIFT and span.begin <= step)
            by = next((position for position in spans if (end := self.spans[position].end) is None or step < end), None)
            found.append(None if by is None else (by, names.of(record.reads[step]), names.of(record.writes[step])))
        return found

    @property
    def waiting(self) -> list[Position]:
        """The calls that have begun and not returned."""
        return [event.call for event in self.events if not event.ends and event.call not in self.results]

    def outcome(self, look: Callable[[Any], Look] | None = None, stuck: Position | None = None) -> Outcome:
        """Return what the execution has come to; with the final state if `look` returns it."""
        results = tuple(sorted(self.results.items()))
        same = same_objects([self._raw[position] for position, _ in results])
        order = tuple(event.call for event in self.events if not event.ends)
        if look is None:
            return Outcome(results, same, None, order, stuck)
        seen = look(self.subject)
        tables = control.snapshot(self.world._kernel)
        rows = self._canonical(repr(tables))
        in_tables = [(name, in_words(table.rows)) for named in tables.values() for name, table in named.items() if not table.shadow]
        words = tuple((name, self._canonical(text)) for name, text in (*seen.words, *in_tables))
        freezing = Freezing(self._canonical)
        state = freezing.of(seen.value), rows
        return Outcome(results, same, state, order, stuck, words, tuple(sorted(freezing.hidden)), seen.raised)


class Span(NamedTuple):
    """The steps of a call: those of this actor, from one to before another."""

    actor: int
    begin: int
    end: int | None = None


class Look(NamedTuple):
    """What is compared of an object, how that is shown, and what looking has raised."""

    value: Any
    words: tuple[tuple[str, str], ...]
    raised: str = ""


class UsersError(Exception):
    """A call has raised this."""

    def __init__(self, raised: BaseException) -> None:
        super().__init__(raised)
        self.raised = raised
