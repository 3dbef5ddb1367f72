"""The locations of shared memory in one execution, and their names.

A *location* is an object and a key. Its name decides its bit, so it must be the same in every execution and for every equivalent
schedule. Objects are therefore named by who made them, and as his how many-th of that kind: an actor does the same in all equivalent
schedules. What set-up made is numbered in its order; what was there before is named by the path to it (`simharness.runtimes.memory.names`);
what cannot be told, since code that is not instrumented made it, goes by its class: a coarse name is sound, it only makes more steps
conflict.

Objects are known by identity. One that can be referred to weakly is, and is forgotten when it goes; others are held.
"""

from __future__ import annotations

import sys
import weakref
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

from simharness.engine.actors import ROOT, Actor
from simharness.engine.facts import Fact
from simharness.engine.kernel import Kernel
from simharness.engine.operations import Operation
from simharness.engine.phases import RUNNING, SETUP
from simharness.instrument.marks import HOOKS
from simharness.places import is_foreign
from simharness.runtimes.memory.kinds import CLASS, MODULE, OUTSIDE, Plan, own_attributes

STRANGE = "not instrumented"
"""In a kernel's context: a file of code under test that is not instrumented and that instrumented code uses."""
SCENARIOS = "simharness_scenarios_"
"""What the names of modules begin with that were loaded from the path of a scenario file."""
SWEEP = 2_000
"""Objects known in one execution, after which those that nobody else holds are forgotten."""


_plans: weakref.WeakKeyDictionary[Kernel, dict[type, Plan]] = weakref.WeakKeyDictionary()
"""How accesses to the instances of classes are announced, of classes that outlive executions."""


@dataclass(frozen=True)
class SharedLocation(Fact, word="memory"):
    """Several actors touch the location, and one of them writes it: it is a scheduling point."""

    location: str


@dataclass(frozen=True)
class WrittenOnClass(Fact, word="memory-of-classes"):
    """An attribute of this name is written on a class, so reading it on an instance reads the classes, too."""

    attribute: str


@dataclass(frozen=True)
class OneLocation(Fact, word="memory-as-a-whole"):
    """The attributes of the object are also used as a dictionary: it is one location."""

    owner: str


@dataclass(frozen=True)
class MadeBefore(Fact, word="memory-made-before"):
    """Names matter of objects that neither set-up nor an actor has made: they are looked for when set-up is over."""


class Spot:
    """A location in one execution: its bit if it is a scheduling point, else who has touched it so far and whether it was written."""

    __slots__ = ("actor", "bit", "entry", "key", "operations", "written")

    def __init__(self, entry: Entry, key: str, bit: int) -> None:
        self.entry = entry
        self.key = key
        self.bit = bit
        self.actor: Actor | None = None
        self.written = False
        self.operations: tuple[Operation, Operation] | None = None


class Entry:
    """An object in one execution: its name, its locations, and what keeps its identity from being given to another.

    `coarse`: nobody has looked for a name of its own yet, which only matters once it is shared.
    """

    __slots__ = (
        "all_by",
        "base",
        "coarse",
        "disorder",
        "items",
        "label",
        "learned",
        "name",
        "observed",
        "order",
        "points",
        "reference",
        "spots",
        "whole",
        "written_by",
    )

    def __init__(self, name: str, label: str, reference: Any) -> None:
        self.name = name
        self.label = label
        self.reference = reference
        self.spots: dict[str, Spot] = {}
        self.items: dict[Any, Spot] = {}
        self.base: Spot | None = None
        self.order: Spot | None = None
        self.learned = -1
        self.points: list[Spot] = []
        self.all_by: Actor | None = None
        self.written_by: Actor | None = None
        self.observed = self.disorder = False
        self.whole: Spot | None = None
        self.coarse = False


class _Reference(weakref.ref[Any]):
    __slots__ = ("entries", "key")
    entries: dict[int, Entry]
    key: int


def _gone(reference: Any) -> None:
    reference.entries.pop(reference.key, None)


class Locations:
    """What has been touched in one execution, by identity."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._shared, self._wholes = kernel.learned.of(SharedLocation), kernel.learned.of(OneLocation)
        self.entries: dict[int, Entry] = {}
        self.named: dict[str, Entry] = {}
        self._lasting = _plans.setdefault(kernel, {})
        self.plans: dict[type, Plan] = self._lasting.copy()
        self.files: set[str] = set()
        self.numbers: dict[str, int] = {}
        self.constructing: dict[Actor | None, list[type]] = {}
        self.kept: list[Any] = []
        self._sweep_at = SWEEP

    def close(self) -> None:
        """The execution is over: let go of every object."""
        for entry in self.entries.values():
            if type(entry.reference) is _Reference:
                entry.reference.entries = {}
        for known in (self.entries, self.named, self.plans, self.constructing, self.kept):
            known.clear()

    def plan(self, cls: type) -> Plan:
        """Return how accesses to the instances of a class are announced."""
        found = self.plans.get(cls)
        if found is None:
            found = self.plans[cls] = Plan(cls)
            files = [getattr(module, "__file__", None) for base in cls.__mro__ if (module := _plain_module(base)) is not None]
            files += [base.__module__ for base in cls.__mro__ if str(base.__module__).partition(".")[0] in OUTSIDE]
            for file in files:
                self.meets(file)
            told_each_time = any(file is not None and _is_strange(file) for file in files)
            if not told_each_time and vars(sys.modules.get(cls.__module__, sys)).get(cls.__name__) is cls:
                self._lasting[cls] = found
        return found

    def meets(self, file: str | None) -> None:
        """Instrumented code uses what is defined in this file, which is not instrumented, or in this module of the standard library."""
        if file is not None and file not in self.files:
            self.files.add(file)
            if _is_strange(file):
                self.kernel.context.setdefault(STRANGE, file)

    # Names

    def made(self, thing: Any, hint: str = "") -> None:
        """The current actor has just made an object: name it after him."""
        kernel = self.kernel
        if id(thing) in self.entries or kernel.phase > SETUP or kernel.dying:
            return
        kind = hint or type(thing).__name__
        maker = kernel.actor.name if kernel.phase == RUNNING and kernel.actor is not None else ""
        base = f"{maker}'s {kind}" if maker else kind
        number = self.numbers[base] = self.numbers.get(base, 0) + 1
        label = kind if maker in ("", ROOT) else base
        self.register(thing, f"{base} {number}", label if number == 1 else f"{label} #{number}")

    def register(self, thing: Any, name: str, label: str) -> Entry:
        """Give an object its name."""
        entries = self.entries
        key = id(thing)
        reference: Any = thing
        if type(thing).__weakrefoffset__ and not issubclass(type(thing), type):
            reference = _Reference(thing, _gone)
            reference.entries, reference.key = entries, key
        entry = entries[key] = Entry(name, label, reference)
        if name in self._wholes:
            entry.whole = self.spot(entry, "")
        if len(entries) > self._sweep_at:
            self._sweep()
        return entry

    def _sweep(self) -> None:
        """Forget what nobody else holds: nobody can touch it any more."""
        for key, entry in list(self.entries.items()):
            if type(entry.reference) is not _Reference and sys.getrefcount(entry.reference) <= _ALONE:
                del self.entries[key]
        self._sweep_at = max(SWEEP, 2 * len(self.entries))

    def entry(self, thing: Any) -> Entry | None:
        """Return what is known of an object, which may be touched for the first time; None where only a check looks at it."""
        found = self.entries.get(id(thing))
        return found if found is not None else self._met(thing)

    def _met(self, thing: Any) -> Entry | None:
        kernel = self.kernel
        if kernel.phase > SETUP and not kernel.dying:
            return None
        kind = self.plan(type(thing)).kind
        if kind == MODULE:
            return self.global_entry(thing.__name__)
        if kind == CLASS or type(thing) is FunctionType:
            name = f"{thing.__module__}.{thing.__qualname__}"
            return self.register(thing, name, thing.__qualname__.rpartition(".<locals>.")[2])
        if kernel.phase == SETUP or (type(thing) in self.constructing.get(kernel.actor, ()) and _is_being_made(thing)):
            self.made(thing)
            return self.entries[id(thing)]
        name = type(thing).__name__
        found = self.register(thing, f"some {name}", name)
        found.coarse = not kernel.learned.of(MadeBefore)
        return found

    def refine(self, entry: Entry) -> bool:
        """The name of an object matters from here on; return whether it must be looked for, which starts exploring over."""
        if entry.coarse:
            self.kernel.learned.learn(MadeBefore())
        return entry.coarse

    def global_entry(self, module: str) -> Entry:
        """Return what is known of a module's globals."""
        found = self.named.get(module)
        if found is None:
            found = self.named[module] = Entry(module, shown(module), None)
        return found

    def as_dictionary(self, owner: Any) -> None:
        """The attributes of an object are used as a dictionary from here on: both are one location."""
        kernel = self.kernel
        if kernel.phase > SETUP and not kernel.checking:
            return
        names = own_attributes(owner)
        entry = self.entry(owner) if type(names) is dict else None
        if entry is not None and id(names) not in self.entries and not self.refine(entry):
            kernel.learned.learn(OneLocation(entry.name))
            self.kept.append(names)
            self.entries[id(names)] = entry

    def spot(self, entry: Entry, key: str) -> Spot:
        """Make a location of an object; it is a scheduling point if exploring has learned that it is shared."""
        name = entry.name + key
        return Spot(entry, key, self.bit(name) if name in self._shared else 0)

    def bit(self, location: str) -> int:
        """Return the bit of the location of this name."""
        return self.kernel.names.bit(f"memory {location}")

    def global_spot(self, module: str, name: str) -> Spot:
        """Return the location of a module's global."""
        entry = self.named.get(module) or self.global_entry(module)
        spot = entry.spots.get(name)
        if spot is None:
            spot = entry.spots[name] = self.spot(entry, f".{name}")
        return spot

    def cell_spot(self, cell: Any, told: str) -> Spot:
        """Return the location of a closure variable; `told` is "own" or "of", the function's path and the variable's name."""
        entry = self.entries.get(id(cell))
        if entry is None:
            whose, _, name = told.partition(" ")
            if whose == "own" or self.kernel.phase == SETUP:
                self.made(cell, name)
                entry = self.entries[id(cell)]
            else:
                entry = self.register(cell, name, name)
            entry.label = name.rpartition(".")[2]
        spot = entry.spots.get("")
        if spot is None:
            spot = entry.spots[""] = self.spot(entry, "")
        return spot


def _count_alone() -> int:
    """Return the references to an object that only its entry holds, as `_sweep` counts them."""
    entry = Entry("", "", [])
    return sys.getrefcount(entry.reference)


_ALONE = _count_alone()


def _is_being_made(thing: Any) -> bool:
    """Whether the running code is in the constructor of this very object; another of its class may have been there before."""
    frame = sys._getframe(1).f_back
    while frame is not None:
        code = frame.f_code
        if code.co_name in _CONSTRUCTORS and code.co_argcount and frame.f_locals.get(code.co_varnames[0]) is thing:
            return True
        frame = frame.f_back
    return False


_CONSTRUCTORS = frozenset({"__init__", "__post_init__", "__setattr__"})


def _is_strange(file: str) -> bool:
    """Whether what is defined there, a file or a module of the standard library, may share what nobody announces."""
    return file.partition(".")[0] in OUTSIDE or not is_foreign(file)


def _plain_module(cls: type) -> ModuleType | None:
    """Return the module that defines a class, if it is not instrumented."""
    module = sys.modules.get(str(cls.__module__))
    return module if module is not None and HOOKS not in vars(module) else None


def shown(module: str) -> str:
    """Return a module's name as people know it."""
    return module.removeprefix(SCENARIOS)
