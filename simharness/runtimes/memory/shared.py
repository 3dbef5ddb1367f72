"""Shared memory: reads and writes of attributes, items and variables that instrumented code announces, as operations.

What one actor alone has touched is no scheduling point, nor is what everybody only reads; that is taken for granted until an
execution shows otherwise, and then `kernel.learned` makes exploring start over. (The states of a location are those of Savage et al.,
Eraser, TOCS 1997, without the lockset: exclusive, shared, shared and modified.)

A container has a location for itself, read by every operation and written by those that change more than one item (for lists: by
all but `items[i] = v`), one for each key, and one for the order of its keys. The order is written by what adds or removes keys, and
counts only where somebody goes through the container. Going through it, or asking for its length, reads all its items.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from simharness.engine.actors import Actor
from simharness.engine.facts import Fact
from simharness.engine.kernel import Kernel
from simharness.engine.kinds import Family, Kind
from simharness.engine.operations import Operation
from simharness.engine.phases import INSPECTING, RUNNING, SETUP
from simharness.runtimes.memory.accesses import ALL, ATTRIBUTE, BULK, READ, REMOVE, WALK, WRITE, Part
from simharness.runtimes.memory.kinds import DICT, IDENTITY, LIST, OTHER, SET, key_of
from simharness.runtimes.memory.locations import Entry, Locations, SharedLocation, Spot, WrittenOnClass

MEMORY = "memory"
_STEPS = Family(MEMORY, said=False)
_READING, _WRITING = Kind(_STEPS, "read"), Kind(_STEPS, "write")
LONGEST_KEY = 24
LEAST_ADDRESS = 1 << 16
MANY = Actor.__new__(Actor)
"""Stands for more than one actor."""
CHECK = Actor.__new__(Actor)
"""Stands for the `always` checks: what they read and an actor writes is shared."""


@dataclass(frozen=True)
class Addresses(Fact, word="memory-at-addresses"):
    """Code that is not instrumented has asked for an `id` too, so that keys that may be addresses go by one name."""


class Memory(Locations):
    """The shared memory of one execution."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.identified: set[int] = set()
        self._numbers: set[int] = set()
        self.classes = frozenset(kernel.learned.of(WrittenOnClass))

    @property
    def touched(self) -> bool:
        """Whether an actor has touched any memory."""
        entries = (*self.entries.values(), *self.named.values())
        return any(spot.actor is not None for entry in entries for spot in (*entry.spots.values(), *filter(None, (entry.base,))))

    # Attributes and variables: one location each

    def attribute(self, owner: Any, name: str, write: bool) -> bool:
        """An attribute is about to be read or written; return whether that was a scheduling point."""
        entry = self.entries.get(id(owner))
        if entry is None:
            entry = self._met(owner)
            if entry is None:
                return False
        if self.kernel.phase == SETUP:
            return False
        spot = entry.spots.get(name)
        if spot is None:
            spot = entry.spots[name] = entry.whole or self.spot(entry, f".{name}")
        if name in self.classes:
            return self._through_classes(owner, name, spot, write)
        if write and issubclass(type(owner), type) and self.kernel.phase == RUNNING:
            self.kernel.learned.learn(WrittenOnClass(name))
        return self.touch(spot, write)

    def _through_classes(self, owner: Any, name: str, spot: Spot, write: bool) -> bool:
        """Touch an attribute that somebody writes on a class: reading it reads each class in which it is looked for."""
        if write:
            return self.touch(spot, True)
        return self.touch_all([(one, False) for one in (spot, *self._in_classes(owner, name))], spot.entry.label + spot.key)

    def read_class(self, owner: Any, name: str) -> None:
        """An attribute that somebody writes on a class is read through an instance whose own attributes are no locations."""
        if self.kernel.phase != SETUP:
            self.touch_all([(spot, False) for spot in self._in_classes(owner, name)], f"{type(owner).__name__}.{name}")

    def _in_classes(self, owner: Any, name: str) -> list[Spot]:
        spots = []
        for base in (owner if issubclass(type(owner), type) else type(owner)).__mro__[:-1]:
            entry = self.entry(base)
            if entry is None:
                continue
            known = entry.spots.get(name)
            if known is None:
                known = entry.spots[name] = self.spot(entry, f".{name}")
            spots.append(known)
        return spots

    def touch(self, spot: Spot, write: bool) -> bool:
        """The current actor, or a check, is about to read or write a location; return whether that was a scheduling point."""
        kernel = self.kernel
        if kernel.phase == RUNNING and not kernel.dying:
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
            reading = Operation(_READING, reads=spot.bit, detail=label)
            operations = spot.operations = reading, Operation(_WRITING, writes=spot.bit, detail=label)
        kernel.step(operations[write])
        return True

    def _aside(self, touched: Sequence[tuple[Spot, bool]]) -> bool:
        """Outside the actors' run, tell what a check reads; return whether the kernel has to know."""
        kernel = self.kernel
        if kernel.dying:
            return True
        if kernel.phase != INSPECTING or not kernel.checking:
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
        if not self.refine(spot.entry):
            self.kernel.learned.learn(SharedLocation(spot.entry.name + spot.key))

    # Containers

    def access(self, parts: Sequence[Part]) -> bool:
        """Things are about to be done to containers, in one step; return whether that was a scheduling point."""
        kernel = self.kernel
        if kernel.phase == SETUP:
            for container, _, _ in parts:
                self.entry(container)
            return False
        label = ""
        touched: list[tuple[Spot, bool]] = []
        for container, done, key in parts:
            entry = self.entry(container)
            if entry is None:
                continue
            if done == ATTRIBUTE:
                spot = entry.spots.get(key)
                if spot is None:
                    spot = entry.spots[key] = entry.whole or self.spot(entry, f".{key}")
                held = (spot, *self._in_classes(container, key)) if key in self.classes else (spot,)
                touched.extend((one, False) for one in held)
                label = label or entry.label
                continue
            if entry.whole is not None:
                touched.append((entry.whole, done in (WRITE, REMOVE, BULK)))
                label = label or entry.label
                continue
            base = entry.base
            if base is None:
                base = entry.base = self.spot(entry, "")
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
        if kind != LIST:
            known = self._named(key_of(key), key)
        elif type(key) is int and key >= 0:
            known = key
        else:
            known = OTHER
        if known == OTHER:
            if write:
                return None
            self._all(entry, container, ALL, touched)
            return f"[{'…' if kind != LIST else key!r}]" if type(key) in (int, bool, slice, type(None)) else "[…]"
        spot = entry.items.get(known)
        if spot is None:
            spot = entry.items[known] = self.spot(entry, f"[{_text(known)}]")
            if spot.bit:
                entry.points.append(spot)
        if write and entry.written_by is not self.kernel.actor:
            entry.written_by = self.kernel.actor if entry.written_by is None else MANY
        touched.append((spot, write))
        if write and kind != LIST:
            self._reorder(entry, container, key, done, touched)
        everybody = entry.all_by
        if write and not spot.bit and everybody is not None and everybody is not self.kernel.actor:
            self._learn(spot)
        return spot.key

    def _named(self, known: Any, key: Any) -> Any:
        """Return what stands for a key with the names of objects in the place of the objects and their `id`."""
        if type(known) is int and known >= LEAST_ADDRESS:
            if self.kernel.learned.of(Addresses):
                return ("object", "some address")
            if known not in self.identified:
                self._numbers.add(known)
        if known == IDENTITY or (type(known) is int and known in self.identified):
            owner = self.entries.get(known if type(known) is int else id(key))
            if owner is not None:
                self.refine(owner)
            return ("object", owner.name if owner is not None else f"some {type(key).__name__}")
        if type(known) is tuple and known[:1] == ("tuple",):
            return ("tuple", *(self._named(part, None) if type(part) is int else part for part in known[1:]))
        return known

    def identify(self, thing: Any) -> int:
        """Return the `id` of an object, which differs from execution to execution: as a key it goes by the object's name."""
        self.entry(thing)
        self.identified.add(id(thing))
        if id(thing) in self._numbers:
            self.kernel.learned.learn(Addresses())
        return id(thing)

    def _reorder(self, entry: Entry, container: Any, key: Any, done: int, touched: list[tuple[Spot, bool]]) -> None:
        """A key may be added or removed: that writes the order of the keys, if it is one that anybody could see."""
        order = self._order(entry)
        if order.bit:
            touched.append((order, True))
            return
        present = (dict if issubclass(type(container), dict) else set).__contains__(container, key)
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
            order = entry.order = self.spot(entry, " order")
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
        if kernel.phase != RUNNING and not kernel.checking:
            return ""
        reader = kernel.actor if kernel.phase == RUNNING else CHECK
        touched.extend((spot, False) for spot in self._learned_items(entry))
        if reader is CHECK and kernel.tracing:
            return ""
        if entry.written_by is not None and entry.written_by is not reader:
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
            prefix = f"{entry.name}["
            known = {spot.key for spot in entry.points}
            for location in self._shared:
                if location.startswith(prefix):
                    key = location[len(prefix) - 1 :]
                    if key not in known:
                        entry.points.append(Spot(entry, key, self.bit(location)))
            entry.learned = kernel.learned.version
        return entry.points

    def touch_all(self, touched: Sequence[tuple[Spot, bool]], label: str) -> bool:
        """Locations are about to be read (False) or written (True), in one step; return whether that was a scheduling point."""
        kernel = self.kernel
        if kernel.phase == RUNNING and not kernel.dying:
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
        kernel.step(Operation(_WRITING if written else _READING, reads=reads, writes=writes, detail=label))
        return True


def _text(known: Any) -> str:
    """Return the text of a key, in which facts can be told: short, and without what tokens are written with."""
    text = repr(known[1:] if isinstance(known, tuple) and known[0] == "tuple" else known).replace("+", " plus ")
    return text if len(text) <= LONGEST_KEY else f"{text[:LONGEST_KEY]}…{zlib.crc32(text.encode(errors='replace')):08x}"


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
        kernel.notice(touched=kernel.record.n == 0 and found.touched)
        found.close()
