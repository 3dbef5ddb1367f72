"""The globals of each simulated process: the heap of instrumented modules, exchanged when another process moves, as if it had been forked.

Set-up and checks belong to the process `main`. When set-up is over, every other process has what `main` has then; from there on, what one
changes no other sees. An object keeps its identity and is given the contents that it has in the process that moves, so only objects that an
execution has touched cost anything. A process that is started again after a crash begins with the state at the baseline.

What does not hang on an instrumented module, such as an object that the actors of two processes have from the scenario's function, is one
object for all; so is what its class, which is not instrumented, keeps in C. Iterators and random numbers of modules are one for all, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from typing import Any

from simharness.engine.kernel import Kernel
from simharness.runtimes.heap.functions import Generator
from simharness.runtimes.heap.iterators import Position
from simharness.runtimes.heap.loggers import Loggers
from simharness.runtimes.heap.records import MISSING, Record, Some, Variables, bind
from simharness.runtimes.heap.walk import Walk
from simharness.runtimes.memory.locations import shown
from simharness.runtimes.memory.shared import Memory
from simharness.runtimes.memory.tracked import CHECK
from simharness.runtimes.primitives import ATTACHED, BINDINGS, OWN

MAIN = "main"
_OF_ALL = (Variables, Position, Loggers, Generator)
"""Records whose state is not exchanged as a whole."""
Names = dict[str, dict[str, Any]]


class State:
    """What one process has: contents of objects by identity, variables by module, and locations; what is not there is as at the fork.

    Of the objects there are only those whose contents differ from those at the fork.
    """

    def __init__(self, objects: dict[int, Any], names: Names) -> None:
        self.objects, self.names = objects, names
        self.tracked: dict[int, Any] = {}
        self.spaces: dict[str, Any] = {}
        self.attach: list[tuple[Callable[[], Any], Callable[[], None]]] = []


class Exchanged:
    """What each process has for itself: records by identity, and the identities of all that has locations of its own in each process."""

    def __init__(self, walk: Walk, modules: Iterable[int]) -> None:
        self.records = {key: one for key, one in walk.records.items() if not isinstance(one, _OF_ALL)}
        self.spaces = {id(space.thing): module for module, space in walk.spaces.items()}
        self.keys: Set[int] = {*self.records, *self.spaces, *modules}


class Globals:
    """The globals of the processes of one execution."""

    def __init__(self, kernel: Kernel, memory: Memory, baseline: Walk, exchanged: Exchanged, watched: Iterable[Record]) -> None:
        self._kernel, self._memory = kernel, memory
        self._watched = [id(one.thing) for one in watched if id(one.thing) in exchanged.records]
        self._watched_names = {
            exchanged.spaces[id(one.thing)]: one.names for one in watched if isinstance(one, Some) and id(one.thing) in exchanged.spaces
        }
        self._by_identity = exchanged.spaces
        self._records: Mapping[int, Record] = exchanged.records
        self._keys = exchanged.keys
        self._spaces = baseline.spaces
        self._now = MAIN
        self._fork = State({}, {})
        self._at_fork: dict[int, Record] = {}
        self._take(self._fork)
        self._at_fork = {key: _with_state(self._records[key], state) for key, state in self._fork.objects.items()}
        self._own: Set[int] = baseline.own
        led_to = list(self._led_to())
        later = Walk(baseline) if led_to else None
        if later is not None:
            later.follow(led_to)
        if later is not None and (later.records or later.own):
            more = {key: one for key, one in later.records.items() if not isinstance(one, _OF_ALL)}
            self._records, self._keys, self._own = {**self._records, **more}, self._keys | more.keys(), self._own | later.own
        self._forked = [(key, memory.objects[key]) for key in memory.objects.keys() & self._keys]
        self._primitives = [
            (kernel.resources[name], kernel.resources[name].state)
            for name, thing in BINDINGS.named(kernel).items()
            if id(thing) in self._own and name in kernel.resources
        ]
        self._states = {MAIN: State({}, {})}
        memory.own, memory.suffix = self._keys, ""
        kernel.context[OWN] = self.name
        kernel.movers.exchange_with(self.enter)
        kernel.movers.when_crashed.append(self.crashed)

    def _led_to(self) -> Iterator[tuple[str, Any]]:
        """Yield what touched objects and variables hold now, where set-up has made it: the rest is known from the baseline."""
        for key, now in self._at_fork.items():
            record = self._records[key]
            if not (record.exact and record.same()):
                yield from ((record.path + part, value) for part, value in now.leads_to())
        for module, names in self._fork.names.items():
            saved = self._spaces[module].saved
            yield from ((f"{module}.{name}", value) for name, value in names.items() if value is not saved.get(name, MISSING))

    def name(self, thing: Any) -> str:
        """Return what the name of a primitive that was made before ends with: each process has its own of those that modules lead to."""
        return self._memory.suffix if id(thing) in self._own else ""

    def enter(self, process: str) -> str:
        """A process moves, or a check that belongs to it; return which one did until now."""
        left = self._now
        if process == left:
            return left
        leaving, entering = self._states[left], self._states.get(process)
        self._take(leaving)
        self._now = process
        memory, suffix = self._memory, "" if process == MAIN else f" of {process}"
        memory.suffix = suffix
        leaving.tracked = {key: memory.objects.pop(key) for key in memory.objects.keys() & self._keys}
        leaving.spaces = memory.named
        if entering is None:
            entering = self._states[process] = State({}, {})
            memory.named = entering.spaces
            for key, tracked in self._forked:
                memory.again(key, tracked, suffix)
            for resource, state in self._primitives:
                self._kernel.resource(resource.name + suffix, state, lock=resource.lock)
        else:
            memory.named = entering.spaces
            memory.objects.update(entering.tracked)
        self._give(leaving, entering)
        self._attach(leaving, entering)
        return left

    def crashed(self, process: str) -> None:
        """A process has ended: what it had is gone; one that is started again in its place begins at the baseline."""
        before = self.enter(process)
        state = self._states[process]
        self._take(state)
        state.objects = {key: self._records[key].saved for key in state.objects.keys() | self._fork.objects.keys()}
        for names in (self._fork.names, state.names):
            for module, known in names.items():
                saved = self._spaces[module].saved
                state.names.setdefault(module, {}).update((name, saved.get(name, MISSING)) for name in known)
        self._put(state.objects, state.names)
        self.enter(before)

    def all(self) -> Iterator[None]:
        """Yield once in each process, at the end of the execution."""
        self.enter(MAIN)
        self._name_what_checks_miss()
        for process in self._states:
            self.enter(process)
            yield
        self._memory.own = frozenset()
        self._kernel.movers.exchange_with(None)

    def _name_what_checks_miss(self) -> None:
        """Name the variables that a check has read, as `main` has them, and that another process has changed for itself."""
        for module, tracked in self._memory.named.items():
            read = [name for name, spot in tracked.spots.items() if spot.actor is None or spot.actor is CHECK]
            for name in read if module in self._spaces else ():
                here = self._spaces[module].thing.get(name, MISSING)
                for process, state in self._states.items():
                    there = state.names.get(module, {}).get(name, here)
                    if process != MAIN and (there is not here or _is_written(state.tracked.get(id(here)))):
                        self._kernel.learned.leaves_out(f"{shown(module)}.{name} in process {process}")

    # States

    def _take(self, state: State) -> None:
        """Note what the process that has moved has now in all that it has touched."""
        memory, objects = self._memory, self._memory.objects
        records, at_fork = self._records, self._at_fork  # `_at_fork` is empty while the state at the fork is taken
        for key in (*(records.keys() & objects.keys()), *self._watched):
            record = at_fork.get(key, records[key])
            if record.exact and record.same() and state is not self._fork:
                state.objects.pop(key, None)
            else:
                state.objects[key] = record.take()
        for module in memory.named.keys() & self._spaces.keys():
            self._take_names(state, module, memory.named[module].spots)
        for module, names in self._watched_names.items():
            self._take_names(state, module, names)
        for key in self._by_identity.keys() & objects.keys():
            module = self._by_identity[key]
            self._take_names(state, module, self._spaces[module].changed())

    def _take_names(self, state: State, module: str, names: Iterable[str]) -> None:
        space = self._spaces[module].thing
        state.names.setdefault(module, {}).update([(name, space.get(name, MISSING)) for name in names])

    def _give(self, leaving: State, entering: State) -> None:
        """Give what either process has touched the state that it has in the one that moves now."""
        fork = self._fork
        objects = {
            key: entering.objects[key] if key in entering.objects else fork.objects.get(key, self._records[key].saved)
            for key in leaving.objects.keys() | entering.objects.keys()
        }
        names: Names = {}
        for module in leaving.names.keys() | entering.names.keys():
            own, forked, saved = entering.names.get(module, {}), fork.names.get(module, {}), self._spaces[module].saved
            known = leaving.names.get(module, {}).keys() | own.keys()
            names[module] = {name: own[name] if name in own else forked.get(name, saved.get(name, MISSING)) for name in known}
        self._put(objects, names)

    def _put(self, objects: dict[int, Any], names: Names) -> None:
        for key, state in objects.items():
            try:
                self._records[key].give(state)
            except Exception:  # C code holds it, such as a view of a bytearray
                self._kernel.learned.leaves_out(f"{self._records[key].path}, which several processes use,")
        for module, values in names.items():
            bind(self._spaces[module].thing, values)

    def _attach(self, leaving: State, entering: State) -> None:
        """Have the locks and events that modules lead to stand for those of the process that moves."""
        context = self._kernel.context
        detached = [(detach, detach()) for detach in context.pop(ATTACHED, [])]
        leaving.attach = [(detach, attach) for detach, attach in detached if attach is not None]
        for _, attach in entering.attach:
            attach()
        context[ATTACHED] = [detach for detach, _ in entering.attach]


def _with_state(record: Record, state: Any) -> Record:
    """Return a record like this one, of another state."""
    again = type(record).__new__(type(record))
    vars(again).update(vars(record))
    again.saved = state
    return again


def _is_written(tracked: Any) -> bool:
    """Whether the record of an object says that an actor has written it."""
    spots = () if tracked is None else (*tracked.spots.values(), *tracked.items.values(), tracked.base)
    return any(spot is not None and (spot.bit or spot.written) for spot in spots)
