"""The locations of shared memory in one execution, and their names.

A *location* is an object and a key. Its name decides its bit, so it must be the same in every execution and for every equivalent
schedule. Objects are therefore named by their maker and a per-maker counter: an actor does the same in all equivalent schedules. Objects
that set-up made are numbered in order; older ones are named by the path to them (`simharness.runtimes.memory.names`); an object of unknown
origin, made by code that is not instrumented, is named by its class. Such a coarse name is sound: it only makes more steps conflict.

Objects are identified by identity. An object that supports weak references is held weakly and forgotten when it goes; others are kept.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable, Iterable, Set
from types import FunctionType, ModuleType
from typing import Any

from simharness.engine.actors import ROOT, Actor
from simharness.engine.kernel import Kernel
from simharness.engine.phases import RUNNING, SETUP
from simharness.instrument.marks import HOOKS, announces
from simharness.places import is_foreign
from simharness.runtimes.memory.eval_loop import EvalLoop
from simharness.runtimes.memory.facts import Followed, MadeBefore, OneLocation, RacesFail, SharedLocation, Stepping
from simharness.runtimes.memory.kinds import CLASS, LIST, MODULE, OUTSIDE, ClassRules, own_attributes
from simharness.runtimes.memory.tracked import CHECK, DIRECT, MANY, Spot, TrackedObject
from simharness.runtimes.memory.watched import Watched
from simharness.trace.log_lines import part_of_a_logger

PEOPLE = "streams for people"
"""In a kernel's context: the streams, and the list of recorded warnings, that the code under test does not read."""
STRANGE = "not instrumented"
"""In a kernel's context: a file of code under test that is not instrumented and that instrumented code uses."""
SCENARIOS = "simharness_scenarios_"
"""The prefix of the names of modules that were loaded from the path of a scenario file."""
SWEEP = 2_000
"""After this many objects in one execution, those that no other code holds are forgotten."""

_FUNCTIONS = (FunctionType, type(functools.cache(len)))
_known_rules: weakref.WeakKeyDictionary[Kernel, dict[type, tuple[ClassRules, list[str | None]]]] = weakref.WeakKeyDictionary()
"""The rules of classes that outlive executions, and the files of code that is not instrumented which using them meets."""
_packages: weakref.WeakKeyDictionary[Kernel, dict[Any, str]] = weakref.WeakKeyDictionary()
"""How verdicts name the package of each module met; nothing for the standard library, tools and the harness."""


class _Reference(weakref.ref[Any]):
    __slots__ = ("key", "objects")
    objects: dict[int, TrackedObject]
    key: int


def _gone(reference: Any) -> None:
    reference.objects.pop(reference.key, None)


class _Met(dict[type, ClassRules]):
    """How accesses to the instances of the classes that an execution has met are announced; looking a class up meets it."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self._kernel = kernel
        self._lasting = _known_rules.setdefault(kernel, {})
        self._files: set[str] = set()

    def __missing__(self, cls: type) -> ClassRules:
        rules, files = self._lasting.get(cls) or self._rules_of(cls)
        self[cls] = rules
        for file in files:
            self.meets(file)
        return rules

    def _rules_of(self, cls: type) -> tuple[ClassRules, list[str | None]]:
        files = [getattr(module, "__file__", None) for base in cls.__mro__ if (module := _plain_module(base)) is not None]
        files += [base.__module__ for base in cls.__mro__ if str(base.__module__).partition(".")[0] in OUTSIDE]
        both = ClassRules(cls), files
        if vars(sys.modules.get(cls.__module__, sys)).get(cls.__name__) is cls:
            self._lasting[cls] = both
        return both

    def meets(self, file: str | None) -> None:
        """Instrumented code uses what is defined in this file, which is not instrumented, or in this module of the standard library."""
        if file is not None and file not in self._files:
            self._files.add(file)
            if _is_strange(file):
                self._kernel.context.setdefault(STRANGE, file)


class Locations:
    """The objects touched in one execution, by identity."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._shared, self.wholes = kernel.learned.of(SharedLocation), kernel.learned.of(OneLocation)
        self.watched = Watched() if kernel.learned.of(RacesFail) else None
        self.eval_loop = EvalLoop.of(kernel)
        self.objects: dict[int, TrackedObject] = {}
        self.named: dict[str, TrackedObject] = {}
        self.known_rules = _Met(kernel)
        self.rules: Callable[[type], ClassRules] = self.known_rules.__getitem__  # in C: asked for at each access
        self.meets = self.known_rules.meets
        self.numbers: dict[str, int] = {}
        self.own: Set[int] = frozenset()
        self.suffix = ""
        self.constructing: dict[Actor | None, list[type]] = {}
        self.entered: dict[str, Actor | None] = {}
        self.packages = _packages.setdefault(kernel, {})
        self.kept: list[Any] = []
        self.crossed: dict[int, TrackedObject] = {}
        self.pending: list[Spot] = []
        self.resumed: list[Any] = []
        self.stepped: set[str] = set()
        self._sweep_at = SWEEP

    @property
    def touched(self) -> bool:
        """Whether an actor has touched any memory."""
        objects = (*self.objects.values(), *self.named.values())
        return any(spot.actor is not None for tracked in objects for spot in (*tracked.spots.values(), *filter(None, (tracked.base,))))

    def close(self) -> None:
        """The execution is over: release every object."""
        if self.eval_loop is not None:
            self.eval_loop.close()
        for tracked in self.objects.values():
            if type(tracked.reference) is _Reference:
                tracked.reference.objects = {}
        for known in (self.objects, self.named, self.known_rules, self.constructing, self.kept, self.crossed, self.pending):
            known.clear()

    def enters(self, module: str) -> None:
        """The current actor calls code of a package, which is not instrumented: if several do, the verdict names it."""
        kernel = self.kernel
        if kernel.phase == RUNNING and not kernel.dying and self.entered.setdefault(module, kernel.actor) is not kernel.actor:
            kernel.learned.leaves_out(module)

    # Names

    def made(self, thing: Any, hint: str = "") -> None:
        """The current actor has just made an object: name it after the actor."""
        kernel = self.kernel
        if id(thing) in self.objects or kernel.phase > SETUP or kernel.dying:
            return
        kind = hint or type(thing).__name__
        maker = kernel.actor.name if kernel.phase == RUNNING and kernel.actor is not None else ""
        base = f"{maker}'s {kind}" if maker else kind
        number = self.numbers[base] = self.numbers.get(base, 0) + 1
        label = kind if maker in ("", ROOT) else base
        self.register(thing, f"{base} {number}", label if number == 1 else f"{label} #{number}")

    def made_by_call(self, value: Any) -> Any:
        """Name what a call has returned after the current actor, if it is new: nobody else has it. Return it."""
        rules = self.rules(type(value))
        if (rules.kind >= LIST or rules.opaque) and sys.getrefcount(value) <= _NEW:
            self.made(value)
        return value

    def holds(self, thing: Any) -> bool:
        """Whether the record of an object keeps it alive."""
        tracked = self.objects.get(id(thing))
        return tracked is not None and tracked.reference is thing

    def register(self, thing: Any, name: str, label: str) -> TrackedObject:
        """Give an object its name."""
        objects = self.objects
        key = id(thing)
        reference: Any = thing
        if type(thing).__weakrefoffset__ and not issubclass(type(thing), type):
            reference = _Reference(thing, _gone)
            reference.objects, reference.key = objects, key
        tracked = objects[key] = TrackedObject(name, label, reference)
        if name in self.wholes:
            tracked.whole = self.spot(tracked, "")
            if self.watched is not None and self.rules(type(thing)).kind < LIST:
                self.watched.location(tracked.whole.bit, label, True)
        if len(objects) > self._sweep_at:
            self._sweep()
        return tracked

    def _sweep(self) -> None:
        """Forget the objects that no other code holds: none can be touched any more."""
        for key, tracked in list(self.objects.items()):
            if type(tracked.reference) is not _Reference and sys.getrefcount(tracked.reference) <= _ALONE:
                del self.objects[key]
        self._sweep_at = max(SWEEP, 2 * len(self.objects))

    def tracked(self, thing: Any) -> TrackedObject | None:
        """Return the record of an object, perhaps a new one; None where only a check looks at the object."""
        tracked = self.objects.get(id(thing))
        return tracked if tracked is not None else self._met(thing)

    def _met(self, thing: Any) -> TrackedObject | None:
        kernel = self.kernel
        if kernel.phase > SETUP and not kernel.dying:
            return None
        kind = self.rules(type(thing)).kind
        if kind == MODULE:
            return self.globals_of(thing.__name__)
        for each in kernel.context.get(PEOPLE, ()):
            if thing is each:
                return None
        if kind == CLASS or type(thing) in _FUNCTIONS:
            name = f"{thing.__module__}.{thing.__qualname__}{self.suffix if id(thing) in self.own else ''}"
            return self.register(thing, name, thing.__qualname__.rpartition(".<locals>.")[2])
        module = dict.get(thing, "__name__") if type(thing) is dict else None
        if type(module) is str and (HOOKS in thing or vars(sys.modules.get(module, sys)) is thing):
            return self._namespace(module, thing)
        if kernel.phase == SETUP or (type(thing) in self.constructing.get(kernel.actor, ()) and _is_being_made(thing)):
            self.made(thing)
            return self.objects[id(thing)]
        name = type(thing).__name__
        label = part_of_a_logger(thing) if type(thing) is list and kernel.tracing else ""
        tracked = self.register(thing, f"some {name}", label or name)
        tracked.coarse = not kernel.learned.of(MadeBefore)
        return tracked

    def _namespace(self, module: str, names: dict[str, Any]) -> TrackedObject:
        """A module's globals are used as a dictionary: they become one location when an actor does so."""
        tracked = self.objects[id(names)] = self.globals_of(module)
        return tracked

    def refine(self, tracked: TrackedObject) -> bool:
        """The name of an object matters from here on; return whether it must be looked for, which starts exploring over."""
        if tracked.coarse:
            self.kernel.learned.learn(MadeBefore())
        return tracked.coarse

    def globals_of(self, module: str) -> TrackedObject:
        """Return the record of a module's globals."""
        tracked = self.named.get(module)
        if tracked is None:
            suffix = self.suffix if self.own and id(vars(sys.modules.get(module, sys))) in self.own else ""
            tracked = self.named[module] = TrackedObject(module + suffix, shown(module), None)
            if tracked.name in self.wholes:
                tracked.whole = self.spot(tracked, "")
        return tracked

    def modules(self, names: Iterable[str]) -> set[int]:
        """Return the identities of modules."""
        return {id(sys.modules[name]) for name in names if name in sys.modules}

    def again(self, key: int, tracked: TrackedObject, suffix: str) -> None:
        """An object that another process has, too, is one of its own in the process that moves now: under another name."""
        thing = tracked.reference() if type(tracked.reference) is _Reference else tracked.reference
        if thing is not None and key not in self.objects:
            new = self.register(thing, tracked.name + ("" if tracked.coarse else suffix), tracked.label)
            new.coarse = tracked.coarse

    def as_dictionary(self, owner: Any) -> None:
        """The attributes of an object are used as a dictionary from here on: both are one location."""
        kernel = self.kernel
        if kernel.phase > SETUP and not kernel.checking:
            return
        names = own_attributes(owner)
        tracked = self.tracked(owner) if type(names) is dict else None
        if tracked is not None and self.objects.get(id(names)) is not tracked and not self.refine(tracked):
            kernel.learned.learn(OneLocation(tracked.name))
            self.kept.append(names)
            self.objects[id(names)] = tracked

    def base_of(self, tracked: TrackedObject) -> Spot:
        """Return the location of an object as a whole."""
        base = tracked.whole or tracked.base
        if base is None:
            base = tracked.base = self.spot(tracked, "")
        return base

    def order_of(self, tracked: TrackedObject) -> Spot:
        """Return the location of the order of a container's keys."""
        order = tracked.order
        if order is None:
            order = tracked.order = self.spot(tracked, " order")
        return order

    def uses(self, tracked: TrackedObject, route: Any) -> None:
        """An object is used, DIRECT or through an opaque object: two ways and two actors may make it one that is followed."""
        actor = self.kernel.actor if self.kernel.phase == RUNNING else CHECK
        tracked.user = actor if tracked.user in (None, actor) else MANY
        if route not in tracked.routes:
            tracked.routes = *tracked.routes, route
        if tracked.user is MANY and len(tracked.routes) > 1:
            self.crossed[id(tracked)] = tracked

    def settle(self) -> None:
        """The execution is over: learn what was shared, except through packages' objects whose calls have steps of their own."""
        for steps in sorted(self.stepped - {""}):
            self.kernel.learned.learn(Stepping(steps))
        stepping = self.kernel.learned.of(Stepping)
        for tracked in self.crossed.values():
            packages = {route.steps.partition(".")[0] for route in tracked.routes if route is not DIRECT} - {""}
            for package in packages:
                self.kernel.learned.leaves_out(package)
            followed = sum(route is DIRECT or not route.steps for route in tracked.routes) > 1
            if followed and not self.refine(tracked):
                self.kernel.learned.learn(Followed(tracked.name))
        for spot in self.pending:
            if spot.tracked.steps not in stepping and not self.refine(spot.tracked):
                self.kernel.learned.learn(SharedLocation(spot.tracked.name + spot.key))

    def spot(self, tracked: TrackedObject, key: str) -> Spot:
        """Make a location of an object; it is a scheduling point if exploring has learned that it is shared."""
        if not self._shared or (name := tracked.name + key) not in self._shared:
            return Spot(tracked, key, 0)
        bit = self.bit(name)
        if self.watched is not None:
            self.watched.location(bit, tracked.label + key, key.startswith("."))
        return Spot(tracked, key, bit)

    def placed(self) -> bool:
        """A step has touched memory: where data races are looked for, its place is kept. Return that it was a scheduling point."""
        if self.watched is not None and self.kernel.phase == RUNNING:
            self.watched.stepped(self.kernel.record.n - 1)
        return True

    def bit(self, location: str) -> int:
        """Return the bit of the location of this name."""
        return self.kernel.names.bit(f"memory {location}")

    def global_spot(self, module: str, name: str) -> Spot:
        """Return the location of a module's global."""
        tracked = self.named.get(module) or self.globals_of(module)
        spot = tracked.spots.get(name)
        if spot is None:
            spot = tracked.spots[name] = tracked.whole or self.spot(tracked, f".{name}")
        return spot

    def cell_spot(self, cell: Any, description: str) -> Spot:
        """Return the location of a closure variable; `description` is "own" or "of", the function's path and the variable's name."""
        tracked = self.objects.get(id(cell))
        if tracked is None:
            whose, _, name = description.partition(" ")
            if whose == "own" or self.kernel.phase == SETUP:
                self.made(cell, name)
                tracked = self.objects[id(cell)]
            else:
                tracked = self.register(cell, name, name)
            tracked.label = name.rpartition(".")[2]
        spot = tracked.spots.get("")
        if spot is None:
            spot = tracked.spots[""] = self.spot(tracked, "")
            if self.watched is not None and spot.bit:
                self.watched.location(spot.bit, tracked.label, True)
        return spot


def _count_alone() -> int:
    """Return the references to an object that only its record holds, as `_sweep` counts them."""
    tracked = TrackedObject("", "", [])
    return sys.getrefcount(tracked.reference)


_ALONE = _count_alone()


def _count_new() -> int:
    value = object()

    def made_by_call(self: None, value: Any) -> int:
        rules = self
        return sys.getrefcount(value) if rules is None else 0

    return made_by_call(None, value)


_NEW = _count_new()
"""The references to a value that only a variable of the caller holds."""


def _is_being_made(thing: Any) -> bool:
    """Whether the running code is in the constructor of this very object, not of an older one of its class."""
    frame = sys._getframe(1).f_back
    while frame is not None:
        code = frame.f_code
        if code.co_name in _CONSTRUCTORS and code.co_argcount and frame.f_locals.get(code.co_varnames[0]) is thing:
            return True
        frame = frame.f_back
    return False


_CONSTRUCTORS = frozenset({"__init__", "__post_init__", "__setattr__"})


def _is_strange(file: str) -> bool:
    """Whether code in this file, or module of the standard library, may share memory without announcing it."""
    return file.partition(".")[0] in OUTSIDE or not is_foreign(file) or file in sys.stdlib_module_names


def _plain_module(cls: type) -> ModuleType | None:
    """Return the module that defines a class, if it is not instrumented."""
    module = sys.modules.get(str(cls.__module__))
    return module if module is not None and not announces(vars(module)) else None


def shown(module: str) -> str:
    """Return a module's name as users know it."""
    return module.removeprefix(SCENARIOS)
