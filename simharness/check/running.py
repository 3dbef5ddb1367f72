"""A program as a scenario: each actor makes its calls, all at once or one call at a time.

For linearizability a call's beginning and its return are steps. A return conflicts with the beginnings of other actors' calls, as it
decides what precedes what; returns commute, and so do beginnings.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from simharness.authoring.scenario import Scenario
from simharness.authoring.world import World
from simharness.check.outcomes import Event, Outcome, Position, Returned, Serial, real_time
from simharness.check.programs import Program, parse
from simharness.check.specifications import EVENTS, INVARIANT, LINEARIZABLE, NO_DEADLOCK, QUIESCENT, judges
from simharness.check.targets import Call, Target, not_built
from simharness.check.values import frozen, in_words, same_objects, state_in_words, taken
from simharness.errors import Misuse, SimharnessError
from simharness.places import last_place, words_of
from simharness.runtimes import control
from simharness.runtimes.memory import hooks  # noqa: F401  # before the runtimes are in place, or it would be taken for the user's
from simharness.visible import shortened

PROGRAM = "program"
"""The name of the one parameter of such a scenario."""


class Run:
    """One execution: what has begun, what has returned.

    Attributes:
        subjects: the objects under check: one, or one for each process.
        events: beginnings and returns, in the order in which they happened.
    """

    def __init__(self, world: World, subjects: Sequence[Any], calls: Sequence[Sequence[Call]]) -> None:
        self.world = world
        self.subjects = subjects
        self.calls = calls
        self.events: list[Event] = []
        self.results: dict[Position, Returned] = {}
        self._raw: dict[Position, Any] = {}
        self.finished: Outcome | None = None

    def begin(self, position: Position) -> None:
        """A call begins."""
        self.events.append(Event(position, ends=False))

    def end(self, position: Position, value: Any, error: Exception | None) -> None:
        """A call has returned this, or raised this."""
        if error is None:
            self.results[position] = Returned(frozen(value), in_words(value))
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

    @property
    def waiting(self) -> list[Position]:
        """The calls that have begun and not returned."""
        return [event.call for event in self.events if not event.ends and event.call not in self.results]

    def outcome(self, look: Callable[[Any], tuple[Any, str]] | None = None, stuck: Position | None = None) -> Outcome:
        """Return what the execution has come to; with the final state if `look` returns it."""
        results = tuple(sorted(self.results.items()))
        same = same_objects([self._raw[position] for position, _ in results])
        order = tuple(event.call for event in self.events if not event.ends)
        if look is None:
            return Outcome(results, same, None, order, stuck)
        looked = [look(subject) for subject in self.subjects]
        rows = control.snapshot(self.world._kernel)
        words = "; ".join(words for _, words in looked)
        return Outcome(results, same, (frozen([value for value, _ in looked]), repr(rows)), order, stuck, words)


class ProgramScenario(Scenario):
    """A program of calls on one object.

    Attributes:
        target, program: what is called.
        serial: what the serial orders come to; None: calls are made one at a time, to find that out.
    """

    def __init__(self, target: Target, program: Program, names: Sequence[str], serial: Serial | None) -> None:
        self.target = target
        self.program = program
        self.names = names
        self.serial = serial
        self.calls = [[target.call(text) for text in calls] for calls in program.actors]
        self.prefix = [target.call(text) for text in program.prefix]
        self.last: Run | None = None
        self.modelled = True
        super().__init__(self._set_up, {PROGRAM: [str(program)]}, instrument=tuple(target.options.get("instrument", ())))
        self.name = self.__name__ = target.name
        self.address = target.address
        self.__module__ = target.module
        self.project = str(target.options.get("project", ""))

    @property
    def allow_deadlock(self) -> bool:
        """Whether the execution that has just got stuck may be: some serial order leaves its calls waiting, too."""
        run = self.last
        if self.serial is None or run is None or NO_DEADLOCK not in self.names:
            return True
        if not run.waiting:
            return False
        before = real_time(run.events) if LINEARIZABLE in self.names else {}
        return self.serial.leaves_waiting(run.outcome(), run.waiting, before)

    @allow_deadlock.setter
    def allow_deadlock(self, value: bool) -> None: ...

    # One execution

    def _set_up(self, world: World, program: str) -> Any:
        run = self.last = Run(world, self._built(world), self.calls)
        for call in self.prefix:
            try:
                taken(call.perform(run.subjects[0]))
            except SimharnessError:
                raise
            except Exception:  # what a prefix raises is raised in every order
                continue
        if self.serial is None:
            self._one_at_a_time(world, run)
        else:
            self._at_once(world, run)

    def _built(self, world: World) -> list[Any]:
        target, each = self.target, bool(self.target.options.get("process"))
        model = target.model if self.serial is None and self.modelled else None
        paths: dict[str, str] = {}

        def path(name: str = "file") -> str:
            return paths.setdefault(name, world.path(name))

        try:
            return [target.make({"path": path}) if model is None else model() for _ in range(len(self.calls) if each else 1)]
        except SimharnessError:
            raise
        except Exception as error:
            raise not_built(target.name, str(target.options.get("how", target.name)), error) from None

    def _one_at_a_time(self, world: World, run: Run) -> None:
        turn = threading.Lock()

        def make(position: Position) -> None:
            with turn:
                run.begin(position)
                world.outcomes[:] = [run.outcome(stuck=position)]
                self._perform(run, position)
                run.returned(position)
                world.outcomes[:] = [run.outcome()]

        def at_end() -> None:
            world.outcomes[:] = [run.outcome(self._look)]

        if QUIESCENT in self.names:  # an order of the calls that need not keep each actor's own
            for actor, calls in enumerate(self.calls):
                for number in range(len(calls)):
                    world.actor(f"{_name(actor)}{number + 1}", make, (actor, number))
        else:
            self._actors(world, make)
        world.at_end(at_end)

    def _at_once(self, world: World, run: Run) -> None:
        serial = self.serial
        assert serial is not None
        number = len(self.calls)
        events = any(name in EVENTS for name in self.names)

        def make(position: Position) -> None:
            actor = position[0]
            if events:
                others = [f"return of {_name(other)}" for other in range(number) if other != actor]
                world.step(f"call {run.text(position)}", reads=others)
            run.begin(position)
            self._perform(run, position)
            if events:
                world.step(f"return {run.results[position].text}", writes=[f"return of {_name(actor)}"])
            run.returned(position)

        self._actors(world, make)
        if INVARIANT in self.names and self.target.invariant is not None:
            world.at_end(_named(INVARIANT, lambda: self._hold(run)))
        for name, judge in judges(self.names):
            world.at_end(_named(name, self._asserting(run, serial, judge)))

    def _actors(self, world: World, make: Callable[[Position], None]) -> None:
        def work(actor: int) -> None:
            for number in range(len(self.calls[actor])):
                make((actor, number))

        for actor in range(len(self.calls)):
            process = f"process_{_name(actor)}" if self.target.options.get("process") else None
            world.actor(_name(actor), work, actor, process=process)

    def _perform(self, run: Run, position: Position) -> None:
        actor, number = position
        subject = run.subjects[actor if len(run.subjects) > 1 else 0]
        try:
            value = taken(self.calls[actor][number].perform(subject))
        except SimharnessError:
            raise
        except Exception as error:
            run.end(position, None, error)
        else:
            run.end(position, value, None)

    # At the end

    def _look(self, subject: Any) -> tuple[Any, str]:
        """Return what is compared of an object, and how that is shown."""
        state = self.target.state
        if state is None:
            return subject, state_in_words(subject)
        try:
            value = taken(state(subject))
            return value, in_words(value)
        except SimharnessError:
            raise
        except Exception as error:
            return error, f"state() raising {type(error).__name__}"

    def _hold(self, run: Run) -> None:
        assert self.target.invariant is not None
        for subject in run.subjects:
            if self.target.invariant(subject) is False:
                raise AssertionError(f"invariant() returns False with {state_in_words(subject)}")

    def _asserting(self, run: Run, serial: Serial, judge: Callable[..., str | None]) -> Callable[[], None]:
        def check() -> None:
            if run.finished is None:
                run.finished = run.outcome(self._look)
            wrong = judge(run.finished, serial, run.events)
            if wrong is not None:
                results = "; ".join(
                    f"{_name(position[0])}: {run.text(position)} → {returned.text}"
                    if not returned.raised
                    else f"{_name(position[0])}: {returned.text}"
                    for position, returned in run.finished.results
                )
                raise AssertionError(f"{results}; {wrong}")

        return check


def _named(name: str, check: Callable[[], None]) -> Callable[[], None]:
    check.__name__ = name
    return check


def _name(actor: int) -> str:
    return chr(ord("a") + actor)


def scenario_of(target: Target, text: str, names: Sequence[str], serial: Serial | None) -> ProgramScenario:
    """Return the scenario of a program in words, such as a token's."""
    return ProgramScenario(target, parse(text, [call.text for call in target.calls]), names, serial)


def refuse_unlike_model(target: Target, program: Program, own: Serial, model: Serial) -> None:
    """Raise if the class differs from its model although calls are made one at a time.

    Raises:
        Misuse: it does.
    """
    for one in own.complete:
        if not any(other.values == one.values and other.order == one.order for other in model.complete):
            said = ", ".join(returned.text for _, returned in one.results)
            raise Misuse(
                f"{target.name} differs from its model already when {program} is called in a row (it gives {said}): repair the model"
            )
