"""Shared memory: reads and writes of attributes, items and variables that instrumented code announces, as operations.

What one actor alone has touched is no scheduling point, nor is what everybody only reads; that is taken for granted until an
execution shows otherwise, and then `kernel.learned` makes exploring start over. (The states of a location are those of Savage et al.,
Eraser, TOCS 1997, without the lockset: exclusive, shared, shared and modified.)

A *location* is an object and a key. Its name decides its bit, so it must be the same in every execution and for every equivalent
schedule. Objects are therefore named by who made them, and as his how many-th of that kind: an actor does the same in all equivalent schedules. What
set-up made is numbered in its order; what was there before is named by the path to it (`simharness.runtimes.memory_names`); what cannot be
told, since code that is not instrumented made it, goes by its class: a coarse name is sound, it only makes more steps conflict.

A container has a location for itself, read by every operation and written by those that change more than one item (for lists: by
all but `items[i] = v`), one for each key, and one for the order of its keys. The order is written by what adds or removes keys, and
counts only where somebody goes through the container. Going through it, or asking for its length, reads all its items.
"""

from __future__ import annotations

import sys
import weakref
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from simharness.actors import ROOT, Actor
from simharness.instrument.kinds import CLASS, DICT, HOOKS, IDENTITY, LIST, MODULE, OTHER, SET, Plan, key_of
from simharness.kernel import Kernel
from simharness.operations import Operation
from simharness.record import RUNNING, SETUP

MEMORY = "memory"
MADE_BEFORE = "memory made before"
FACT = "memory "
CLASS_FACT = "memory of classes "
READ, WRITE, REMOVE, ALL, WALK, BULK = range(6)
"""What is done to a container: one item read, written or removed, all read, gone through, changed as a whole."""
SCENARIOS = "simharness_scenarios_"
"""What the names of modules begin with that were loaded from the path of a scenario file."""
LONGEST_KEY = 24
SWEEP = 2_000
"""Objects known in one execution, after which those that nobody else holds are forgotten."""
Part = tuple[Any, int, Any]
"""(container, what is done, key)"""


MANY = Actor.__new__(Actor)
"""Stands for more than one actor."""
CHECK = Actor.__new__(Actor)
"""Stands for the `always` checks: what they read and an actor writes is shared."""


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
    """An object in one execution: its name, its locations, and what keeps its identity from being given to another."""

    __slots__ = ("all_by", "base", "disorder", "items", "label", "learned", "name", "observed", "order", "reference", "spots")

    def __init__(self, name: str, label: str, reference: Any) -> None:
        self.name = name
        self.label = label
        self.reference = reference
        self.spots: dict[str, Spot] = {}
        self.items: dict[Any, Spot] = {}
        self.base: Spot | None = None
        self.order: Spot | None = None
        self.learned = -1
        self.all_by: Actor | None = None
        self.observed = self.disorder = False


class _Reference(weakref.ref[Any]):
    __slots__ = ("entries", "key")
    entries: dict[int, Entry]
    key: int


def _gone(reference: Any) -> None:
    reference.entries.pop(reference.key, None)


class Memory:
    """The shared memory of one execution."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.entries: dict[int, Entry] = {}
        self.named: dict[str, Entry] = {}
        self.plans: dict[type, Plan] = {}
        self.numbers: dict[str, int] = {}
        self.constructing: dict[Actor | None, list[type]] = {}
        self.classes = frozenset(fact.removeprefix(CLASS_FACT) for fact in kernel.learned.shared if fact.startswith(CLASS_FACT))
        self._sweep_at = SWEEP

    def close(self) -> None:
        """The execution is over: let go of every object."""
        for entry in self.entries.values():
            if type(entry.reference) is _Reference:
                entry.reference.entries = {}
        for kept in (self.entries, self.named, self.plans, self.constructing):
            kept.clear()

    def plan(self, cls: type) -> Plan:
        """Return how accesses to the instances of a class are announced."""
        found = self.plans.get(cls)
        if found is None:
            found = self.plans[cls] = Plan(cls)
        return found

    # Names

    def made(self, thing: Any, hint: str = "") -> None:
        """The current actor has just made an object: name it after him."""
        kernel = self.kernel
        if id(thing) in self.entries or kernel.mode > SETUP or kernel.dying:
            return
        kind = hint or type(thing).__name__
        maker = kernel.actor.name if kernel.mode == RUNNING and kernel.actor is not None else ""
        base = f"{maker}'s {kind}" if maker else kind
        number = self.numbers[base] = self.numbers.get(base, 0) + 1
        label = kind if maker in ("", ROOT) else base
        self.register(thing, f"{base} {number}", label if number == 1 else f"{label} #{number}")

    def register(self, thing: Any, name: str, label: str) -> Entry:
        """Give an object its name."""
        entries = self.entries
        key = id(thing)
        reference: Any = thing
        if type(thing).__weakrefoffset__ and not isinstance(thing, type):
            reference = _Reference(thing, _gone)
            reference.entries, reference.key = entries, key
        entry = entries[key] = Entry(name, label, reference)
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
        if kernel.mode > SETUP and not kernel.dying:
            return None
        kind = self.plan(type(thing)).kind
        if kind == MODULE:
            return self.global_entry(thing.__name__)
        if kind == CLASS or isinstance(thing, type(_gone)):
            name = f"{thing.__module__}.{thing.__qualname__}"
            return self.register(thing, name, thing.__qualname__.rpartition(".<locals>.")[2])
        if kernel.mode == SETUP or type(thing) in self.constructing.get(kernel.actor, ()):
            self.made(thing)
            return self.entries[id(thing)]
        kernel.learned.share(MADE_BEFORE)
        name = type(thing).__name__
        return self.register(thing, f"some {name}", name)

    def global_entry(self, module: str) -> Entry:
        """Return what is known of a module's globals."""
        found = self.named.get(module)
        if found is None:
            found = self.named[module] = Entry(module, shown(module), None)
        return found

    def _spot(self, entry: Entry, key: str) -> Spot:
        fact = f"{FACT}{entry.name}{key}"
        kernel = self.kernel
        return Spot(entry, key, kernel.names.bit(fact) if fact in kernel.learned.shared else 0)

    # Attributes and variables: one location each

    def attribute(self, owner: Any, name: str, write: bool) -> bool:
        """An attribute is about to be read or written; return whether that was a scheduling point."""
        entry = self.entries.get(id(owner))
        if entry is None:
            entry = self._met(owner)
            if entry is None:
                return False
        spot = entry.spots.get(name)
        if spot is None:
            spot = entry.spots[name] = self._spot(entry, f".{name}")
        if name in self.classes:
            return self._through_classes(owner, name, spot, write)
        if write and isinstance(owner, type) and self.kernel.mode == RUNNING:
            self.kernel.learned.share(CLASS_FACT + name)
        return self.touch(spot, write)

    def _through_classes(self, owner: Any, name: str, spot: Spot, write: bool) -> bool:
        """Touch an attribute that somebody writes on a class: reading it reads each class in which it is looked for."""
        if write:
            return self.touch(spot, True)
        spots = [spot]
        for base in (owner if isinstance(owner, type) else type(owner)).__mro__[:-1]:
            entry = self.entry(base)
            if entry is None:
                continue
            known = entry.spots.get(name)
            if known is None:
                known = entry.spots[name] = self._spot(entry, f".{name}")
            spots.append(known)
        return self.touch_all([(one, False) for one in spots], spot.entry.label + spot.key)

    def global_spot(self, module: str, name: str) -> Spot:
        """Return the location of a module's global."""
        entry = self.named.get(module) or self.global_entry(module)
        spot = entry.spots.get(name)
        if spot is None:
            spot = entry.spots[name] = self._spot(entry, f".{name}")
        return spot

    def cell_spot(self, cell: Any, told: str) -> Spot:
        """Return the location of a closure variable; `told` is "own" or "of", the function's path and the variable's name."""
        entry = self.entries.get(id(cell))
        if entry is None:
            whose, _, name = told.partition(" ")
            if whose == "own" or self.kernel.mode == SETUP:
                self.made(cell, name)
                entry = self.entries[id(cell)]
            else:
                entry = self.register(cell, name, name)
            entry.label = name.rpartition(".")[2]
        spot = entry.spots.get("")
        if spot is None:
            spot = entry.spots[""] = self._spot(entry, "")
        return spot

    def touch(self, spot: Spot, write: bool) -> bool:
        """The current actor, or a check, is about to read or write a location; return whether that was a scheduling point."""
        kernel = self.kernel
        if kernel.mode == RUNNING and not kernel.dying:
            actor = kernel.actor
            if not spot.bit:
                if spot.actor is actor:
                    spot.written = spot.written or write
                else:
                    self._meet(spot, actor, write)
                return False
        elif not self._aside([(spot, write)]):
            return False
        operations = spot.operations
        if operations is None:
            label = spot.entry.label + spot.key
            reading = Operation("memory.read", reads=spot.bit, detail=label)
            operations = spot.operations = reading, Operation("memory.write", writes=spot.bit, detail=label)
        kernel.step(operations[write])
        return True

    def _aside(self, touched: Sequence[tuple[Spot, bool]]) -> bool:
        """Outside the actors' run, tell what a check reads; return whether the kernel has to know."""
        kernel = self.kernel
        if kernel.dying:
            return True
        if kernel.mode in (SETUP, RUNNING) or kernel.actor is None:
            return False
        for spot, _ in touched:
            if not spot.bit and not kernel.tracing:
                self._meet(spot, CHECK, False)
        return any(spot.bit for spot, _ in touched)

    def _meet(self, spot: Spot, actor: Actor | None, write: bool) -> None:
        """Somebody touches a location that is no scheduling point yet."""
        if spot.actor is None:
            spot.actor, spot.written = actor, write
        elif spot.actor is not actor:
            if write or spot.written:
                self._learn(spot)
            spot.actor = MANY
        elif write:
            spot.written = True

    def _learn(self, spot: Spot) -> None:
        self.kernel.learned.share(f"{FACT}{spot.entry.name}{spot.key}")

    # Containers

    def access(self, parts: Sequence[Part]) -> bool:
        """Things are about to be done to containers, in one step; return whether that was a scheduling point."""
        kernel = self.kernel
        if kernel.mode == SETUP:
            for container, _, _ in parts:
                self.entry(container)
            return False
        label = ""
        touched: list[tuple[Spot, bool]] = []
        for container, done, key in parts:
            entry = self.entry(container)
            if entry is None:
                continue
            base = entry.base
            if base is None:
                base = entry.base = self._spot(entry, "")
            if done <= REMOVE:
                text = self._item(entry, container, done, key, touched)
            else:
                text = "" if done == BULK else self._all(entry, container, done, touched)
            touched.append((base, done == BULK or text is None))
            label = label or f"{entry.label}{text or ''}"
        return self.touch_all(touched, label)

    def _item(self, entry: Entry, container: Any, done: int, key: Any, touched: list[tuple[Spot, bool]]) -> str | None:
        """Note the reading or writing of one item; return its text, or None when it counts as a change of the whole."""
        known: Any
        kind = self.plan(type(container)).kind
        write = done != READ
        if kind == LIST:
            known = key if type(key) is int and key >= 0 else OTHER
        else:
            known = key_of(key)
            if known == IDENTITY:
                owner = self.entries.get(id(key))
                known = ("object", owner.name if owner is not None else f"some {type(key).__name__}")
        if known == OTHER:
            if write:
                return None
            self._all(entry, container, ALL, touched)
            return f"[{'…' if kind != LIST else key!r}]" if isinstance(key, int | slice | type(None)) else "[…]"
        spot = entry.items.get(known)
        if spot is None:
            spot = entry.items[known] = self._spot(entry, f"[{_text(known)}]")
        touched.append((spot, write))
        if write and kind != LIST:
            self._reorder(entry, container, key, done, touched)
        everybody = entry.all_by
        if write and not spot.bit and everybody is not None and everybody is not self.kernel.actor:
            self._learn(spot)
        return spot.key

    def _reorder(self, entry: Entry, container: Any, key: Any, done: int, touched: list[tuple[Spot, bool]]) -> None:
        """A key may be added or removed: that writes the order of the keys, if it is one that anybody could see."""
        order = self._order(entry)
        if order.bit:
            touched.append((order, True))
            return
        present = (dict if isinstance(container, dict) else set).__contains__(container, key)
        actor = self.kernel.actor
        if present is (done == REMOVE):
            if order.actor is not None and order.actor is not actor:
                entry.disorder = True
                if entry.observed:
                    self._learn(order)
            order.actor = actor

    def _order(self, entry: Entry) -> Spot:
        order = entry.order
        if order is None:
            order = entry.order = self._spot(entry, " order")
        return order

    def _all(self, entry: Entry, container: Any, done: int, touched: list[tuple[Spot, bool]]) -> str:
        """Note the reading of all items, and of their order when somebody goes through them."""
        kernel = self.kernel
        if done == WALK and self.plan(type(container)).kind in (DICT, SET):
            order = self._order(entry)
            if order.bit:
                touched.append((order, False))
            elif not entry.observed and not kernel.tracing:
                entry.observed = True
                if entry.disorder:
                    self._learn(order)
        if kernel.mode != RUNNING and kernel.actor is None:
            return ""
        reader = kernel.actor if kernel.mode == RUNNING else CHECK
        for spot in self._learned_items(entry):
            touched.append((spot, False))
        if reader is CHECK and kernel.tracing:
            return ""
        for spot in entry.items.values():
            if not spot.bit and spot.written and spot.actor is not reader:
                self._learn(spot)
        if entry.all_by is not reader:
            entry.all_by = reader if entry.all_by is None else MANY
        return ""

    def _learned_items(self, entry: Entry) -> Sequence[Spot]:
        """Return the items of a container that are scheduling points, whether this execution has met them or not."""
        kernel = self.kernel
        if entry.learned != kernel.learned.version:
            prefix = f"{FACT}{entry.name}["
            known = {spot.key for spot in entry.items.values() if spot.bit}
            for fact in kernel.learned.shared:
                if fact.startswith(prefix):
                    key = fact[len(prefix) - 1 :]
                    if key not in known:
                        entry.items["learned", key] = Spot(entry, key, kernel.names.bit(fact))
            entry.learned = kernel.learned.version
        return [spot for spot in entry.items.values() if spot.bit]

    def touch_all(self, touched: Sequence[tuple[Spot, bool]], label: str) -> bool:
        kernel = self.kernel
        if kernel.mode == RUNNING and not kernel.dying:
            actor = kernel.actor
            reads = writes = 0
            for spot, write in touched:
                if not spot.bit:
                    self._meet(spot, actor, write)
                elif write:
                    writes |= spot.bit
                else:
                    reads |= spot.bit
            if not reads | writes:
                return False
        elif not self._aside(touched):
            return False
        else:
            reads, writes = sum({spot.bit for spot, _ in touched}), 0
        written = any(write for _, write in touched)
        kernel.step(Operation("memory.write" if written else "memory.read", reads=reads, writes=writes, detail=label))
        return True


def _text(known: Any) -> str:
    """Return the text of a key, in which facts can be told: short, and without what tokens are written with."""
    text = repr(known[1:] if isinstance(known, tuple) and known[0] == "tuple" else known).replace("+", " plus ")
    return text if len(text) <= LONGEST_KEY else f"{text[:LONGEST_KEY]}…{zlib.crc32(text.encode(errors='replace')):08x}"


def _count_alone() -> int:
    """Return the references to an object that only its entry holds, as `_sweep` counts them."""
    entry = Entry("", "", [])
    return sys.getrefcount(entry.reference)


_ALONE = _count_alone()


def of(kernel: Kernel) -> Memory:
    """Return the shared memory of the execution under way."""
    found: Memory | None = kernel.context.get(MEMORY)
    if found is None:
        found = kernel.context[MEMORY] = Memory(kernel)
    return found


def end_execution(kernel: Kernel) -> None:
    """Let go of the objects of an execution."""
    found: Memory | None = kernel.context.pop(MEMORY, None)
    if found is not None:
        found.close()


def settle(kernel: Kernel) -> None:
    """Set-up is over: name what was there before, if exploring has met something that nobody could name."""
    if MADE_BEFORE in kernel.learned.shared:
        from simharness.runtimes import memory_names

        memory_names.settle(of(kernel), [actor.work for actor in kernel.waiting])


def is_instrumented(module: str) -> bool:
    """Whether the module of this name has been imported and rewritten."""
    found = sys.modules.get(module)
    return found is not None and HOOKS in vars(found)


def shown(module: str) -> str:
    """Return a module's name as people know it."""
    return module.removeprefix(SCENARIOS)
