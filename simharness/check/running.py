"""A program as a scenario: each actor makes its calls, all at once or one call at a time.

For linearizability a call's beginning and its return are steps. A return conflicts with the beginnings of other actors' calls, as it
decides what precedes what; returns commute, and so do beginnings.
"""

from __future__ import annotations

import inspect
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Any

from simharness.authoring.scenario import Scenario
from simharness.authoring.world import World
from simharness.check.arguments import functions
from simharness.check.executions import Look, Run, UsersError
from simharness.check.outcomes import Position, Serial, real_time
from simharness.check.programs import Program, parse
from simharness.check.specifications import EVENTS, INVARIANT, LINEARIZABLE, NO_DEADLOCK, QUIESCENT, judges
from simharness.check.targets import ASYNCIO, TRIO, Call, Target, not_built
from simharness.check.values import in_words, parts_in_words, taken
from simharness.errors import Misuse, SimharnessError
from simharness.places import words_of

PROGRAM = "program"
"""The name of the one parameter of such a scenario."""


class _Turn:
    """A lock that actors of several processes share."""

    def __init__(self, world: World) -> None:
        self._taken = world.shared(False, "turn")

    def __enter__(self) -> None:
        while not self._taken.compare_and_set(False, True):
            self._taken.wait_until(lambda taken: not taken)

    def __exit__(self, *error: object) -> None:
        self._taken.set(False)


class ProgramScenario(Scenario):
    """A program of calls on one object.

    Attributes:
        target, program: what is called.
        serial: what the serial orders come to; None: calls are made one at a time, to find that out.
        footprints: those of the last execution that fitted no serial order.
    """

    def __init__(self, target: Target, program: Program, names: Sequence[str], serial: Serial | None) -> None:
        self.target = target
        self.program = program
        self.names = names
        self.serial = serial
        self.calls = [[target.call(text) for text in calls] for calls in program.actors]
        self.prefix = [target.call(text) for text in program.prefix]
        self._last: Callable[[], Run | None] = lambda: None
        self.modelled = True
        self.footprints: list[tuple[Position, list[str], list[str]] | None] = []
        super().__init__(
            {"": self._set_up, TRIO: self._set_up_tasks, ASYNCIO: self._set_up_loop}[target.tasks],
            {PROGRAM: [str(program)]},
            instrument=tuple(target.options.get("instrument", ())),
        )
        self.name = self.__name__ = target.name
        self.address = target.address
        self.__module__ = target.module
        self.project = str(target.options.get("project", ""))

    @property
    def allow_deadlock(self) -> bool:
        """Whether the execution that has just got stuck may be: some serial order leaves its calls waiting, too."""
        run = self._last()
        if self.serial is None or run is None or NO_DEADLOCK not in self.names:
            return True
        if not run.waiting:
            return False
        before = real_time(run.events) if LINEARIZABLE in self.names else {}
        return self.serial.leaves_waiting(run.outcome(), run.waiting, before)

    @allow_deadlock.setter
    def allow_deadlock(self, value: bool) -> None: ...

    # One execution

    def _set_up(self, world: World, program: str) -> None:
        run = self._begun(world)
        for call in self.prefix:
            with suppress(UsersError):
                self._value(call, run, run.subject)
        self._declare(world, run)
        turn = self._turn(world)
        for name, positions in self._parts().items():
            process = f"process_{name}" if self.target.options.get("process") else None
            world.actor(name, self._work, run, positions, turn, process=process)

    def _set_up_loop(self, world: World, program: str) -> None:
        import asyncio

        from simharness.runtimes.aio import callers

        asyncio.run(self._calling(world, callers))

    async def _set_up_tasks(self, world: World, program: str) -> None:
        from simharness.runtimes.trio import callers

        await self._calling(world, callers)

    async def _calling(self, world: World, callers: Any) -> None:
        """Call from tasks of the library that `callers` is of."""
        run = self._begun(world)
        for call in self.prefix:
            with suppress(UsersError):
                await self._awaited(call, run, run.subject)
        self._declare(world, run)
        turn = callers.turn() if self.serial is None else nullcontext()
        parts = self._parts().items()
        await callers.together({name: partial(self._task, run, positions, turn) for name, positions in parts})

    def _begun(self, world: World) -> Run:
        """Return an execution in which nothing has happened."""
        target = self.target
        model = target.model if self.serial is None and self.modelled else None
        paths: dict[str, str] = {}

        def path(name: str = "file") -> str:
            return paths.setdefault(name, world.path(name))

        names = {"path": path, **functions()}

        def make() -> Any:
            try:
                return target.make(names) if model is None else model()
            except SimharnessError:
                raise
            except Exception as error:
                raise not_built(target, error) from None

        run = Run(world, make, bool(target.options.get("process")), self.calls, names)
        self._last = weakref.ref(run)  # what the object does when it is collected belongs to its own execution, not to the next
        return run

    def _parts(self) -> dict[str, list[Position]]:
        """Return the actors, and which calls each makes."""
        positions = [[(actor, number) for number in range(len(calls))] for actor, calls in enumerate(self.calls)]
        if self.serial is None and QUIESCENT in self.names:  # an order of the calls that need not keep each actor's own
            return {f"{_name(actor)}{number + 1}": [(actor, number)] for own in positions for actor, number in own}
        return {_name(actor): own for actor, own in enumerate(positions)}

    def _turn(self, world: World) -> AbstractContextManager[Any]:
        """Return what an actor holds while it calls: one at a time, to find out the serial orders."""
        if self.serial is not None:
            return nullcontext()
        return _Turn(world) if self.target.options.get("process") else threading.Lock()

    def _declare(self, world: World, run: Run) -> None:
        serial = self.serial
        if serial is None:

            def at_end() -> None:
                world.outcomes[:] = [run.outcome(self._look)]

            world.at_end(at_end)
            return
        if INVARIANT in self.names and self.target.invariant is not None:
            world.at_end(_named(INVARIANT, lambda: self._hold(run)))
        for name, judge in judges(self.names):
            world.at_end(_named(name, self._asserting(run, serial, judge)))

    def _work(self, run: Run, positions: Sequence[Position], turn: AbstractContextManager[Any]) -> None:
        for actor, number in positions:
            with turn:
                self._begin(run, (actor, number))
                try:
                    run.end((actor, number), self._value(self.calls[actor][number], run, run.subject_of(actor)), None)
                except UsersError as error:
                    run.end((actor, number), None, error.raised)
                self._end(run, (actor, number))

    async def _task(self, run: Run, positions: Sequence[Position], turn: AbstractAsyncContextManager[Any]) -> None:
        for actor, number in positions:
            async with turn:
                self._begin(run, (actor, number))
                try:
                    run.end((actor, number), await self._awaited(self.calls[actor][number], run, run.subject_of(actor)), None)
                except UsersError as error:
                    run.end((actor, number), None, error.raised)
                self._end(run, (actor, number))

    def _begin(self, run: Run, position: Position) -> None:
        if self._events:
            others = [f"return of {_name(other)}" for other in range(len(self.calls)) if other != position[0]]
            run.world.step(f"call {run.text(position)}", reads=others)
        run.begin(position)
        if self.serial is None:
            run.world.outcomes[:] = [run.outcome(stuck=position)]

    def _end(self, run: Run, position: Position) -> None:
        if self._events:
            run.world.step(f"return {run.results[position].text}", writes=[f"return of {_name(position[0])}"])
        run.returned(position)
        if self.serial is None:
            run.world.outcomes[:] = [run.outcome()]

    @property
    def _events(self) -> bool:
        return self.serial is not None and any(name in EVENTS for name in self.names)

    @staticmethod
    def _value(call: Call, run: Run, subject: Any) -> Any:
        """Make a call; raise UsersError for what it raises."""
        try:
            return taken(call.perform(subject, run.names))
        except SimharnessError:
            raise
        except (Exception, SystemExit) as error:
            raise UsersError(error) from error

    @staticmethod
    async def _awaited(call: Call, run: Run, subject: Any) -> Any:
        """Make a call that may be a coroutine; raise UsersError for what it raises."""
        try:
            value = call.perform(subject, run.names)
            return taken(await value if inspect.isawaitable(value) else value)
        except SimharnessError:
            raise
        except (Exception, SystemExit) as error:
            raise UsersError(error) from error

    # At the end

    def _look(self, subject: Any) -> Look:
        """Return what is compared of an object."""
        state = self.target.state
        if state is None and self.target.model is not None:
            return Look(None, (("", "anything: without a method state() results are compared with the model's"),))
        if state is None:
            return Look(subject, parts_in_words(subject))
        try:
            value = taken(state(subject))
            return Look(value, (("", in_words(value)),))
        except SimharnessError:
            raise
        except Exception as error:
            kind = type(error).__name__
            return Look(error, (("", f"state() raising {kind}"),), f"{kind}: {words_of(error)}")

    def _hold(self, run: Run) -> None:
        assert self.target.invariant is not None
        if self.target.invariant(run.subject) is False:
            said = ", ".join(f"{name}={text}" if name else text for name, text in parts_in_words(run.subject))
            raise AssertionError(f"invariant() returns False with {said}")

    def _asserting(self, run: Run, serial: Serial, judge: Callable[..., str | None]) -> Callable[[], None]:
        def check() -> None:
            if run.finished is None:
                run.finished = run.outcome(self._look)
            wrong = judge(run.finished, serial, run.events)
            if wrong is not None:
                self.footprints = run.footprints()
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
