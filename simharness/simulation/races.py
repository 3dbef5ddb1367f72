"""Data races: two accesses to one attribute or variable, one of them a write, by threads between which nothing orders them.

What orders is happens-before: the program order of each thread, and the writing of anything but plain memory before each later step that
touches it: starts and ends of threads, locks, queues, events, futures, rows and locks of SQLite, files.
Operations on containers are atomic and order, too; a loop over one races with a change of it. Tasks of one event loop are one thread.

Each execution is judged by vector clocks (Flanagan and Freund, FastTrack, PLDI 2009, in the simple form with one clock for each access).
If two conflicting accesses come next to each other in any interleaving, no chain of steps orders them in an execution with the same
ordering, and exploring runs one of these: so it finds a race in every program that has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from simharness.engine.actors import SHIFT
from simharness.engine.kernel import Kernel
from simharness.runtimes.memory.facts import AllowedRace, RacesFail
from simharness.runtimes.memory.shared import MEMORY, Memory
from simharness.runtimes.memory.watched import Watched
from simharness.simulation.execution import DataRace

_PLAIN = ("memory ", "cell ")
"""What the names of plain memory begin with; everything else orders those who touch it."""
FRAMES = 3
"""How many of the user's lines that led to an access are shown, innermost first."""
Clock = dict[int, int]


class Access(NamedTuple):
    """A step that touches a location: its thread, the time of that thread's clock, its index, and whether it writes."""

    thread: int
    time: int
    step: int
    write: bool


def demand(kernel: Kernel, allowed: Sequence[str]) -> None:
    """Have data races fail from here on, but for those at the allowed locations, each "location: reason"."""
    kernel.learned.learn(RacesFail())
    for entry in allowed:
        kernel.learned.learn(AllowedRace(entry.partition(":")[0].strip()))


def race_in(kernel: Kernel) -> DataRace | None:
    """Return the first data race of an execution that is over; None if there is none, or if nobody asked for them."""
    memory: Memory | None = kernel.context.get(MEMORY)
    return None if memory is None or memory.watched is None else _Search(kernel, memory.watched).first()


class _Search:
    def __init__(self, kernel: Kernel, watched: Watched) -> None:
        self._kernel = kernel
        self._watched = watched
        names = kernel.names
        self._plain = sum(names.bit(name) for name in names.all() if name.startswith(_PLAIN))
        allowed = {fact.location for fact in kernel.learned.of(AllowedRace).values()}
        atomic = sum(bit for bit, label in watched.labels.items() if label in allowed)
        self._variables = watched.variables & ~atomic
        self._atomic = (sum(watched.labels) & ~watched.variables) | atomic
        self._clocks: dict[int, Clock] = {}
        self._released: dict[int, Clock] = {}
        self._writes: dict[int, Access] = {}
        self._reads: dict[int, dict[int, Access]] = {}

    def first(self) -> DataRace | None:
        kernel, record = self._kernel, self._kernel.record
        actors = kernel.cast.actors
        for step in range(record.n):
            mover = actors.get(record.keys[step] >> SHIFT)
            if mover is None:  # the clock or a fault
                continue
            thread = mover.host.index
            clock = self._clocks.setdefault(thread, {})
            clock[thread] = clock.get(thread, 0) + 1
            found = self._step(step, thread, clock)
            if found is not None:
                return self._described(*found)
        return None

    def _step(self, step: int, thread: int, clock: Clock) -> tuple[int, Access, Access] | None:
        record, watched = self._kernel.record, self._watched
        reads, writes = record.reads[step], record.writes[step]
        synchronising = (reads | writes) & (~self._plain | self._atomic)
        for bit in _bits(synchronising):
            released = self._released.get(bit)
            if released is not None:
                _join(clock, released)
        checked = self._variables | (self._atomic if step in watched.walks else 0)
        for bit in _bits((reads | writes) & checked):
            access = Access(thread, clock[thread], step, bool(writes & bit & self._variables))
            other = self._unordered(bit, access, clock)
            if other is not None:
                return bit, other, access
            self._note(bit, access)
        for bit in _bits(writes & self._atomic):
            access = Access(thread, clock[thread], step, True)
            other = self._unordered(bit, access, clock)
            if other is not None:
                return bit, other, access
        for bit in _bits(writes & synchronising):
            _join(self._released.setdefault(bit, {}), clock)
        return None

    def _unordered(self, bit: int, access: Access, clock: Clock) -> Access | None:
        """Return an earlier access to a location that conflicts with this one and that nothing orders before it."""
        others: list[Access | None] = [self._writes.get(bit), *(self._reads.get(bit, {}).values() if access.write else ())]
        for other in others:
            if other and other.thread != access.thread and clock.get(other.thread, 0) < other.time:
                return other
        return None

    def _note(self, bit: int, access: Access) -> None:
        if access.write:
            self._writes[bit] = access
            self._reads.pop(bit, None)
        else:
            self._reads.setdefault(bit, {})[access.thread] = access

    def _described(self, bit: int, first: Access, second: Access) -> DataRace:
        location = self._watched.labels[bit]
        writes = "writes it" if bit & self._variables else "changes it"
        text = f"{location}: {self._who(first, writes)} and {self._who(second, writes)}, and nothing orders them"
        return DataRace(text, location, second.step)

    def _who(self, access: Access, writes: str) -> str:
        kernel, watched = self._kernel, self._watched
        does = writes if access.write else "reads it"
        if access.step in watched.walks:
            does = "loops over it"
        places = watched.places.get(access.step, ())
        where = f" at {', called at '.join(map(str, places[:FRAMES]))}" if places else ""
        return f"{kernel.cast.actors[kernel.record.keys[access.step] >> SHIFT].name} {does}{where}"


def _join(clock: Clock, other: Clock) -> None:
    for thread, time in other.items():
        if clock.get(thread, 0) < time:
            clock[thread] = time


def _bits(mask: int) -> list[int]:
    bits = []
    while mask:
        low = mask & -mask
        mask ^= low
        bits.append(low)
    return bits
