"""Shared memory: reads and writes of attributes, items and variables that instrumented code announces, as operations.

A location that a single actor touches is not a scheduling point, nor is one that actors only read. This is assumed until an execution
shows otherwise; then `kernel.learned` makes exploring start over. (The states of a location are those of Savage et al., Eraser, TOCS 1997,
without the lockset: exclusive, shared, shared and modified.)

A container has a location for itself, read by every operation and written by those that change more than one item (for lists: by all
except `items[i] = v`), one for each key, and one for the order of its keys. Operations that add or remove keys write the order, which
counts only where code iterates over the container. Iterating, or asking for the length, reads all items.

What an access reaches may depend on shared memory: a deep read reads what the containers hold when it has its turn. So it is announced in
levels: a step reads the shared containers reached so far; if what they hold at its turn leads to more, another step reads that, too. The
last of them reads all of it at once. So each footprint depends only on what the steps before it have read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simharness.engine.actors import Actor
from simharness.engine.kernel import Kernel
from simharness.engine.kinds import Family, Kind
from simharness.engine.operations import Operation
from simharness.engine.phases import INSPECTING, RUNNING, SETUP
from simharness.runtimes.identities import number_of
from simharness.runtimes.memory.accesses import ALL, ATTRIBUTE, ATTRIBUTES, BULK, DEEP, READ, REMOVE, WALK, WRITE, Part
from simharness.runtimes.memory.facts import Addresses, OneLocation, SharedLocation, WrittenOnClass
from simharness.runtimes.memory.kinds import DICT, IDENTITY, LIST, OTHER, SET, key_of, key_text
from simharness.runtimes.memory.locations import Locations
from simharness.runtimes.memory.tracked import CHECK, DIRECT, MANY, Spot, TrackedObject

MEMORY = "memory"
_STEPS = Family(MEMORY, said=False)
_READING, _WRITING = Kind(_STEPS, "read"), Kind(_STEPS, "write")
LEAST_ADDRESS = 1 << 16
_DIRECT = (DIRECT,)


class Memory(Locations):
    """The shared memory of one execution."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.identified: dict[int, int] = {}
        self._numbers: set[int] = set()
        self.reads = self.writes = 0
        self.halfway: set[Actor] = set()
        self._reorders: list[tuple[TrackedObject, Any, Any, int]] = []
        self.classes = frozenset(kernel.learned.of(WrittenOnClass))
        self._step = kernel.step if self.eval_loop is None else self.eval_loop.access

    # Attributes and variables: one location each

    def attribute(self, owner: Any, name: str, write: bool, opaque: bool = False) -> bool:
        """An attribute is about to be read or written; return whether that was a point. Of an opaque object all of it is read, too."""
        tracked = self.objects.get(id(owner))
        if tracked is None:
            tracked = self._met(owner)
            if tracked is None:
                return False
        if self.kernel.phase == SETUP:
            return False
        spot = tracked.spots.get(name)
        if spot is None:
            spot = tracked.spots[name] = tracked.whole or self.spot(tracked, f".{name}")
        if name in self.classes:
            return self._through_classes(owner, name, spot, write)
        if write and tracked.all_by is not None and not spot.bit and tracked.all_by is not self.kernel.actor:
            self._learn(spot)
        if opaque:
            tracked.steps = self.rules(type(owner)).steps
            self.uses(tracked, DIRECT)
            point = self.touch_all([(spot, write), (self.base_of(tracked), False)], tracked.label + spot.key)
            spot.private = None
            return point
        if write and issubclass(type(owner), type) and self.kernel.phase == RUNNING:
            self.kernel.learned.learn(WrittenOnClass(name))
        return self.touch(spot, write)

    def _through_classes(self, owner: Any, name: str, spot: Spot, write: bool) -> bool:
        """Touch an attribute that is also written on a class: reading it reads each class in which Python looks for it."""
        if write:
            return self.touch(spot, True)
        point = self.touch_all([(read, False) for read in (spot, *self._in_classes(owner, name))], spot.tracked.label + spot.key)
        spot.private = None
        return point

    def read_class(self, owner: Any, name: str) -> None:
        """An attribute that is written on a class is about to be read through an instance whose own attributes are not locations."""
        if self.kernel.phase != SETUP:
            self.touch_all([(spot, False) for spot in self._in_classes(owner, name)], f"{type(owner).__name__}.{name}")

    def _in_classes(self, owner: Any, name: str) -> list[Spot]:
        spots = []
        for base in (owner if issubclass(type(owner), type) else type(owner)).__mro__[:-1]:
            tracked = self.tracked(base)
            if tracked is None:
                continue
            known = tracked.spots.get(name)
            if known is None:
                known = tracked.spots[name] = self.spot(tracked, f".{name}")
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
                if self.halfway:
                    self.pause(spot.tracked.label + spot.key)
                return False
        elif not self._aside([(spot, write)]):
            return False
        operations = spot.operations
        if operations is None:
            label = spot.tracked.label + spot.key
            reading = Operation(_READING, reads=spot.bit, detail=label)
            operations = spot.operations = reading, Operation(_WRITING, writes=spot.bit, detail=label)
        self._step(operations[write])
        return self.placed()

    def _aside(self, touched: Sequence[tuple[Spot, bool]]) -> bool:
        """Outside the actors' run, record what a check reads; return whether the kernel has to know."""
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
        """Record that an actor, or a check, touches a location that is not a scheduling point yet."""
        if spot.actor is None:
            spot.actor = spot.private = actor
            spot.written = write
        elif spot.actor is not actor:
            spot.private = MANY
            if write or spot.written:
                spot.private = None
                self._learn(spot)
            spot.actor = MANY
        elif write:
            spot.written = True

    def _learn(self, spot: Spot) -> None:
        if spot.tracked.steps and not spot.key:
            self.pending.append(spot)
        elif not self.refine(spot.tracked):
            self.kernel.learned.learn(SharedLocation(spot.tracked.name + spot.key))

    def as_a_whole(self, owner: Any, name: str, write: bool) -> None:
        """`__dict__` or `__class__` of an object is read or assigned: assigning it changes every attribute, so they are one location."""
        kernel = self.kernel
        if kernel.phase > SETUP and not kernel.checking:
            return
        if name == "__dict__":
            self.as_dictionary(owner)
        tracked = self.tracked(owner)
        if tracked is None or kernel.phase == SETUP:
            return
        if write and kernel.phase == RUNNING and not self.refine(tracked):
            kernel.learned.learn(OneLocation(tracked.name))
        if tracked.whole is not None:
            self.touch(tracked.whole, write)

    # Containers

    def access(self, parts: Sequence[Part]) -> bool:
        """Containers are about to be read or changed, the last step does all of it; return whether that was a scheduling point."""
        touched: list[tuple[Spot, bool]] = []
        label, deep = self._locate_all(parts, touched, 0)
        reorders = self._reorders
        if reorders:
            self._reorders = []
        point = again = self.touch_all(touched, label)
        while deep and again:
            touched, seen = [], self.reads | self.writes
            label, _ = self._locate_all(parts, touched, seen)
            self._reorders = []
            again = self.touch_all(touched, label, seen)
        for reorder in reorders:
            self._reordered(*reorder)
        return point

    def _locate_all(self, parts: Sequence[Part], touched: list[tuple[Spot, bool]], seen: int) -> tuple[str, bool]:
        label, deep = "", False
        for part in parts:
            if part[1] == DEEP:
                deep = True
                text = part[0].touch(self, touched, seen)
            else:
                text = self.locate(part, touched)
            label = label or text
        return label, deep

    def locate(self, part: Part, touched: list[tuple[Spot, bool]]) -> str:
        """Add the locations of a part of an access; return a text for it."""
        container, done, key = part
        tracked = self.tracked(container)
        if tracked is None or self.kernel.phase == SETUP:
            return ""
        if done == ATTRIBUTE:
            spot = tracked.spots.get(key)
            if spot is None:
                spot = tracked.spots[key] = tracked.whole or self.spot(tracked, f".{key}")
            held = (spot, *self._in_classes(container, key)) if key in self.classes else (spot,)
            touched.extend((read, False) for read in held)
            return tracked.label
        if tracked.routes != _DIRECT or tracked.user is not self.kernel.actor:
            self.uses(tracked, DIRECT)
        if tracked.reference is None and tracked.whole is None and self.kernel.phase == RUNNING:
            self.kernel.learned.learn(OneLocation(tracked.name))
        if tracked.whole is not None:
            touched.append((tracked.whole, done in (WRITE, REMOVE, BULK)))
            return tracked.label
        if done == ATTRIBUTES:
            self._all(tracked, container, ATTRIBUTES, touched)
            return tracked.label
        base = tracked.base
        if base is None:
            base = tracked.base = self.spot(tracked, "")
        if done <= REMOVE:
            text = self._item(tracked, container, done, key, touched)
        else:
            text = "" if done == BULK else self._all(tracked, container, done, touched)
        touched.append((base, done == BULK or text is None))
        return f"{tracked.label}{text or ''}"

    def _item(self, tracked: TrackedObject, container: Any, done: int, key: Any, touched: list[tuple[Spot, bool]]) -> str | None:
        """Record the reading or writing of an item; return its text, or None if that counts as a change of the whole."""
        known: Any
        kind = self.rules(type(container)).kind
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
            self._all(tracked, container, ALL, touched)
            return f"[{'…' if kind != LIST else key!r}]" if type(key) in (int, bool, slice, type(None)) else "[…]"
        spot = tracked.items.get(known)
        if spot is None:
            spot = tracked.items[known] = self.spot(tracked, f"[{key_text(known)}]")
            if spot.bit:
                tracked.points.append(spot)
        if write and tracked.written_by is not self.kernel.actor:
            tracked.written_by = self.kernel.actor if tracked.written_by is None else MANY
        touched.append((spot, write))
        if write and kind != LIST:
            order = self.order_of(tracked)
            if order.bit:
                touched.append((order, True))
            else:
                self._reorders.append((tracked, container, key, done))
        reader = tracked.all_by
        if write and not spot.bit and reader is not None and reader is not self.kernel.actor:
            self._learn(spot)
        return spot.key

    def _named(self, known: Any, key: Any) -> Any:
        """Return what stands for a key, with the names of objects in place of the objects and their `id`s."""
        if type(known) is int and known >= LEAST_ADDRESS:
            if self.kernel.learned.of(Addresses):
                return ("object", "some address")
            if known not in self.identified:
                self._numbers.add(known)
        if known == IDENTITY or (type(known) is int and known in self.identified):
            owner = self.objects.get(self.identified[known] if type(known) is int else id(key))
            if owner is not None:
                self.refine(owner)
            return ("object", owner.name if owner is not None else f"some {type(key).__name__}")
        if type(known) is tuple and known[:1] == ("tuple",):
            return ("tuple", *(self._named(part, None) if type(part) is int else part for part in known[1:]))
        return known

    def identify(self, thing: Any) -> int:
        """Return the `id` of an object; as a key the object's name stands for it."""
        self.tracked(thing)
        self.identified[number := number_of(self.kernel, thing)] = id(thing)
        if number in self._numbers:
            self.kernel.learned.learn(Addresses())
        return number

    def _reordered(self, tracked: TrackedObject, container: Any, key: Any, done: int) -> None:
        """A key is added or removed now, perhaps: that writes the order of the keys, if code iterates over them."""
        order = self.order_of(tracked)
        present = (dict if issubclass(type(container), dict) else set).__contains__(container, key)
        actor = self.kernel.actor
        # Only the adding of an absent key, or the removing of a present one, changes the order.
        if present is (done == REMOVE):
            if order.actor is not None and order.actor is not actor:
                tracked.disorder = True
                if tracked.observed:
                    self._learn(order)
            order.actor = actor

    def _all(self, tracked: TrackedObject, container: Any, done: int, touched: list[tuple[Spot, bool]]) -> str:
        """Record the reading of all items, and of their order if code iterates over them."""
        kernel = self.kernel
        if done == WALK and self.rules(type(container)).kind in (DICT, SET):
            order = self.order_of(tracked)
            if order.bit:
                touched.append((order, False))
            elif not tracked.observed and not kernel.tracing:
                tracked.observed = True
                if tracked.disorder:
                    self._learn(order)
        if kernel.phase != RUNNING and not kernel.checking:
            return ""
        reader = kernel.actor if kernel.phase == RUNNING else CHECK
        if self._shared:
            touched.extend((spot, False) for spot in self._learned_items(tracked, container))
        if reader is CHECK and kernel.tracing:
            return ""
        if done == ATTRIBUTES or (tracked.written_by is not None and tracked.written_by is not reader):
            for spot in (tracked.spots if done == ATTRIBUTES else tracked.items).values():
                if not spot.bit and spot.written and spot.actor is not reader:
                    self._learn(spot)
        if tracked.all_by is not reader:
            tracked.all_by = reader if tracked.all_by is None else MANY
        return ""

    def _learned_items(self, tracked: TrackedObject, container: Any) -> Sequence[Spot]:
        """Return the items of a container that are scheduling points, also those that this execution has not met."""
        if tracked.learned != self.kernel.learned.version:
            prefix = f"{tracked.name}{'[' if self.rules(type(container)).kind >= LIST else '.'}"
            known = {spot.key for spot in tracked.points}
            for location in self._shared:
                if location.startswith(prefix):
                    key = location[len(prefix) - 1 :]
                    if key not in known:
                        tracked.points.append(Spot(tracked, key, self.bit(location)))
            tracked.learned = self.kernel.learned.version
        return tracked.points

    def touch_all(self, touched: Sequence[tuple[Spot, bool]], label: str, seen: int = 0) -> bool:
        """Locations are about to be read (False) or written (True), in one step; return whether that was a scheduling point.

        It is none if all those that are points are in the mask `seen`: they have had their turn just now.
        """
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
            if not (reads | writes) & ~seen:
                if self.halfway and not seen:
                    self.pause(label)
                return False
        elif not self._aside(touched) or not (reads := sum({spot.bit for spot, _ in touched})) & ~seen:
            return False
        else:
            writes = 0
        written = any(write for _, write in touched)
        self._step(Operation(_WRITING if written else _READING, reads=reads, writes=writes, detail=label))
        self.reads, self.writes = reads, writes
        return self.placed()

    def pause(self, label: str) -> None:
        """Private memory is touched: a step, if that is in a call in C which is half-way through shared memory."""
        if self.kernel.actor in self.halfway:
            self._step(Operation(_READING, detail=label))


def of(kernel: Kernel) -> Memory:
    """Return the shared memory of the execution under way."""
    memory: Memory | None = kernel.context.get(MEMORY)
    if memory is None:
        memory = kernel.context[MEMORY] = Memory(kernel)
    return memory


def end_execution(kernel: Kernel) -> None:
    """Release the objects of an execution."""
    memory: Memory | None = kernel.context.pop(MEMORY, None)
    if memory is not None:
        kernel.notice(touched=kernel.record.n == 0 and memory.touched)
        memory.settle()
        memory.close()
