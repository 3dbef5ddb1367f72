"""Each execution in a forked child of the baseline (`Settings.isolation`), for programs with state that nothing can put back.

This process keeps the search and runs no code of the user's; a child runs one execution, lets the search learn from it, and sends back
what exploring keeps: the search, its counts, the names and facts of the kernel. A child that raises an error proves nothing by itself: the
execution is run again here. Counterexamples are shortened here, too, with the heap put back.
"""

from __future__ import annotations

import io
import pickle
from _random import Random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from simharness.engine.actors import Failure
from simharness.engine.carrying import kept, take
from simharness.errors import Misuse
from simharness.places import words_of
from simharness.simulation.forks import apart, possible
from simharness.simulation.simulation import Simulation
from simharness.simulation.watchdog import Watchdog

if TYPE_CHECKING:
    from simharness.exploring.rounds import Rounds  # these run a part of its executions; a circle of types only

_OF_SIMULATION = ("checked", "checks", "executions")
_OF_ROUNDS = ("tally", "strategy", "repeats", "branching", "execution", "_last", "_due", "_overdue")


class Failed(Exception):
    """Stands for an exception of another process that cannot be sent."""


class Children:
    """Runs the parts of one round's executions, each in a child."""

    def __init__(self, rounds: Rounds, watcher: Any) -> None:
        if not possible():
            raise Misuse("isolation='fork': this platform has no forks; leave it out")
        self._rounds = rounds
        self._watcher = watcher
        simulation: Simulation = rounds.simulation
        kernel = simulation.kernel
        simulation.kernel.workspace.empty()  # it has to be this process's
        lasting = [rounds, watcher, simulation, kernel, kernel.names, kernel.learned, kernel.movers, kernel.clock, kernel.faults]
        lasting += [simulation.scenario, simulation.settings, simulation.parameters, *simulation.parameters.values()]
        self._lasting = [one for one in lasting if one is not None]
        self._numbers = {id(one): number for number, one in enumerate(self._lasting)}

    def run(self, work: Callable[[], None]) -> bool:
        """Do work in a child and take over what it has changed; return whether that was possible."""
        simulation = self._rounds.simulation

        def there() -> bytes:
            with Watchdog(simulation.kernel, simulation.settings.watchdog, forked=True):
                work()
                return self._packed()

        data, _ = apart(there)
        if data:
            self._take(data)
        return bool(data)

    def _packed(self) -> bytes:
        rounds, simulation, kernel = self._rounds, self._rounds.simulation, self._rounds.simulation.kernel
        scenario = simulation.scenario
        state = {
            "rounds": {name: getattr(rounds, name) for name in _OF_ROUNDS},
            "watcher": {name: getattr(self._watcher, name) for name in self._watcher.keeps},
            "simulation": {name: getattr(simulation, name) for name in _OF_SIMULATION},
            "scenario": {name: getattr(scenario.function, name) for name in scenario.keeps},
            "kernel": kept(kernel),
        }
        stream = io.BytesIO()
        try:
            _Pickler(stream, self._numbers).dump(state)
        except Exception as error:
            return pickle.dumps(f"{type(error).__name__}: {words_of(error)}")
        return stream.getvalue()

    def _take(self, data: bytes) -> None:
        rounds, simulation, kernel = self._rounds, self._rounds.simulation, self._rounds.simulation.kernel
        state = _Unpickler(io.BytesIO(data), self._lasting).load()
        if isinstance(state, str):
            raise Misuse(f"isolation='fork': what an execution gives to exploring cannot be sent to another process ({state})")
        for owner, name in ((rounds, "rounds"), (self._watcher, "watcher"), (simulation, "simulation")):
            for attribute, value in state[name].items():
                setattr(owner, attribute, value)
        vars(simulation.scenario.function).update(state["scenario"])
        take(kernel, state["kernel"])


class _Pickler(pickle.Pickler):
    """Sends what lasts as its number, random numbers as their state, and exceptions as far as they can be sent."""

    def __init__(self, stream: io.BytesIO, numbers: dict[int, int]) -> None:
        super().__init__(stream, pickle.HIGHEST_PROTOCOL)
        self._numbers = numbers

    def persistent_id(self, thing: Any) -> int | None:
        """Return the number of what both processes have."""
        return self._numbers.get(id(thing))

    def reducer_override(self, thing: Any) -> Any:
        """Return how to make these anew."""
        if type(thing) is Random:
            return _random, (thing.getstate(),)
        if type(thing) is Failure:
            return Failure, (thing.step, thing.actor, thing.check, _sendable(thing.error))
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, lasting: list[Any]) -> None:
        super().__init__(stream)
        self._lasting = lasting

    def persistent_load(self, number: Any) -> Any:
        """Return what lasts by its number."""
        return self._lasting[number]


def _random(state: Any) -> Random:
    random = Random()
    random.setstate(state)
    return random


def _sendable(error: BaseException) -> BaseException:
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    except Exception:
        pass
    return Failed(f"{type(error).__name__}: {words_of(error)}")
