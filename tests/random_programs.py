"""Random small programs, every execution of them, and the orderings those fall into, counted without the engine's help.

A program is a tuple of actors, an actor a tuple of instructions, an instruction a tuple that starts with its name. The last
result an actor got is its *register*, on which it can branch. What an execution did is logged by the program itself, and its
ordering (its Mazurkiewicz trace) is computed from the log and from the table in `footprint`, never from what the engine recorded.
"""

from __future__ import annotations

import gc
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from simharness import Cell, World, runtimes
from simharness.clock import nanoseconds
from simharness.kernel import Kernel
from simharness.strategies import Strategy

Instruction = tuple[Any, ...]
CLOCKED = frozenset({"sleep", "time", "timed_lock", "timed_event"})
UNCOUNTED = CLOCKED | {
    "event_set",
    "event_clear",
    "event_wait",
    "semaphore_take",
    "semaphore_give",
    "condition_wait",
    "condition_notify",
}
"""Instructions whose footprints the table below does not tell: outcomes are compared, orderings are not."""


@dataclass(frozen=True)
class Program:
    """A program. `threads` are started by actor 0 before anything else, and not declared; daemons are some of them."""

    actors: tuple[tuple[Instruction, ...], ...]
    cells: int = 2
    locks: int = 0
    threads: frozenset[int] = frozenset()
    daemons: frozenset[int] = frozenset()
    always: tuple[int, ...] = ()
    max_delay: float = 5.0
    timescale: float | None = None

    def instructions(self) -> Iterator[Instruction]:
        """Yield every instruction, those in branches too."""

        def within(block: Sequence[Instruction]) -> Iterator[Instruction]:
            for instruction in block:
                yield instruction
                if instruction[0] == "if":
                    yield from within(instruction[2])
                    yield from within(instruction[3])

        for block in self.actors:
            yield from within(block)

    def uses(self, names: frozenset[str] | set[str]) -> bool:
        """Whether an instruction with one of these names occurs."""
        return any(instruction[0] in names for instruction in self.instructions())


@dataclass(frozen=True)
class Event:
    """One step, as the program saw it: who, what, on which cell, lock or actor, and the result."""

    actor: int
    name: str
    target: Any
    result: Any


class Machine:
    """Runs a program in a world and logs its events."""

    def __init__(self, program: Program, world: World, log: list[Event]) -> None:
        self.program = program
        self.world = world
        self.log = log
        self.cells: list[Cell] = [world.shared(0, f"c{i}") for i in range(program.cells)]
        self.locks = [threading.Lock() for _ in range(program.locks)]
        self.event = threading.Event()
        self.semaphore = threading.Semaphore(1)
        self.condition = threading.Condition()
        self.finished: set[int] = set()
        self.states: set[tuple[int, ...]] = set()
        self.threads: dict[int, threading.Thread] = {}
        if program.timescale is not None:
            world.timescale(program.timescale)
        for me in range(len(program.actors)):
            if me not in program.threads:
                world.actor(f"a{me}", self.run, me)
        if program.always:
            world.always(self.look)

    def look(self) -> None:
        self.states.add(tuple(self.cells[i].get() for i in self.program.always))

    def run(self, me: int) -> None:
        if me == 0:
            for number in sorted(self.program.threads):
                daemon = number in self.program.daemons
                thread = threading.Thread(target=self.run, args=(number,), name=f"a{number}", daemon=daemon)
                self.threads[number] = thread
                thread.start()
                self.log.append(Event(0, "start", number, 0))
        Runner(self, me).block(self.program.actors[me])
        self.finished.add(me)


class Runner:
    """One actor at work: its register, and the locks it holds."""

    def __init__(self, machine: Machine, me: int) -> None:
        self.machine = machine
        self.me = me
        self.register: Any = 0
        self.held: set[int] = set()

    def block(self, instructions: Sequence[Instruction]) -> None:
        for instruction in instructions:
            if instruction[0] == "if":
                self.block(instruction[2] if self.register == instruction[1] else instruction[3])
            else:
                getattr(self, instruction[0])(*instruction[1:])

    def did(self, name: str, target: Any, result: Any = 0, keep: bool = True) -> None:
        self.machine.log.append(Event(self.me, name, target, result))
        if keep:
            self.register = result

    def get(self, cell: int) -> None:
        self.did("get", cell, self.machine.cells[cell].get())

    def set(self, cell: int, value: int | None) -> None:
        new = self.register + 1 if value is None else value
        self.machine.cells[cell].set(new)
        self.did("set", cell, new, keep=False)

    def add(self, cell: int) -> None:
        self.did("add", cell, self.machine.cells[cell].add(1))

    def swap(self, cell: int, value: int) -> None:
        self.did("swap", cell, self.machine.cells[cell].swap(value))

    def compare_and_set(self, cell: int, expected: int, new: int) -> None:
        self.did("compare_and_set", cell, int(self.machine.cells[cell].compare_and_set(expected, new)))

    def wait_until(self, cell: int, value: int, equal: bool) -> None:
        self.did("wait_until", cell, self.machine.cells[cell].wait_until(lambda now: (now == value) is equal))

    def lock(self, lock: int) -> None:
        self.machine.locks[lock].acquire()
        self.held.add(lock)
        self.did("lock", lock, keep=False)

    def unlock(self, lock: int) -> None:
        if lock in self.held:
            self.held.discard(lock)
            self.machine.locks[lock].release()
            self.did("unlock", lock, keep=False)

    def try_lock(self, lock: int) -> None:
        self._locked("try_lock", lock, self.machine.locks[lock].acquire(blocking=False))

    def timed_lock(self, lock: int, seconds: float) -> None:
        self._locked("timed_lock", lock, self.machine.locks[lock].acquire(timeout=seconds))

    def _locked(self, name: str, lock: int, got: bool) -> None:
        if got:
            self.held.add(lock)
        self.did(name, lock, int(got))

    def assume(self, value: int) -> None:
        self.machine.world.assume(self.register == value)

    def choose(self, count: int) -> None:
        self.did("choose", None, self.machine.world.choose(range(count)))

    def step(self, reads: tuple[str, ...], writes: tuple[str, ...]) -> None:
        self.machine.world.step("step", reads=reads, writes=writes)
        self.did("step", (reads, writes), keep=False)

    def join(self, number: int) -> None:
        if number in self.machine.threads:
            self.machine.threads[number].join()
            self.did("join", number, keep=False)

    def sleep(self, seconds: float) -> None:
        self.machine.world.clock.sleep(seconds)
        self.did("sleep", None, keep=False)

    def time(self) -> None:
        self.did("time", None, round(self.machine.world.clock.elapsed_ns() / 1_000_000))

    def event_set(self) -> None:
        self.machine.event.set()
        self.did("event_set", None, keep=False)

    def event_clear(self) -> None:
        self.machine.event.clear()
        self.did("event_clear", None, keep=False)

    def event_wait(self) -> None:
        self.machine.event.wait()
        self.did("event_wait", None, keep=False)

    def timed_event(self, seconds: float) -> None:
        self.did("timed_event", None, int(self.machine.event.wait(seconds)))

    def semaphore_take(self) -> None:
        self.machine.semaphore.acquire()
        self.did("semaphore_take", None, keep=False)

    def semaphore_give(self) -> None:
        self.machine.semaphore.release()
        self.did("semaphore_give", None, keep=False)

    def condition_wait(self) -> None:
        with self.machine.condition:
            self.machine.condition.wait()
        self.did("condition_wait", None, keep=False)

    def condition_notify(self) -> None:
        with self.machine.condition:
            self.machine.condition.notify()
        self.did("condition_notify", None, keep=False)


# The orderings


def footprint(event: Event) -> tuple[set[Hashable], set[Hashable]]:
    """Return what an event reads and what it writes."""
    name, target = event.name, event.target
    cell, lock = {("cell", target)}, {("lock", target)}
    table: dict[str, tuple[set[Any], set[Any]]] = {
        "get": (cell, set()),
        "wait_until": (cell, set()),
        "set": (set(), cell),
        "add": (set(), cell),
        "swap": (set(), cell),
        "compare_and_set": (set(), cell) if event.result else (cell, set()),
        "lock": (set(), lock),
        "unlock": (set(), lock),
        "try_lock": (set(), lock) if event.result else (lock, set()),
        "start": (set(), {("actor", target)}),
        "join": ({("actor", target)}, set()),
    }
    if name == "step":
        reads, writes = target
        return {("named", x) for x in reads}, {("named", x) for x in writes}
    return table.get(name, (set(), set()))


def footprints(program: Program, events: Sequence[Event], finished: set[int]) -> list[tuple[set[Hashable], set[Hashable]]]:
    """Return the footprints of an execution's events, with what does not depend on the instruction alone."""
    checked = {("cell", i) for i in program.always}
    last = {event.actor: position for position, event in enumerate(events)}
    result = []
    for position, event in enumerate(events):
        reads, writes = (set(mask) for mask in footprint(event))
        writes.add(("actor", event.actor))
        if writes & checked:
            writes.add("checked")
        if event.actor in program.daemons:
            writes.add("the end")
        elif program.daemons and event.actor in finished and last[event.actor] == position:
            reads.add("the end")
        result.append((reads, writes))
    return result


def ordering(program: Program, events: Sequence[Event], finished: set[int]) -> Hashable:
    """Return the class of an execution: for each actor its events, each with how many of every actor's happen before it."""
    touched = footprints(program, events, finished)
    clocks: list[list[int]] = []
    result: list[list[Hashable]] = [[] for _ in program.actors]
    for j, event in enumerate(events):
        reads, writes = touched[j]
        clock = [0] * len(program.actors)
        for i in range(j):
            if touched[i][1] & (reads | writes) or touched[i][0] & writes:
                clock = [max(pair) for pair in zip(clock, clocks[i], strict=True)]
        clock[event.actor] += 1
        clocks.append(clock)
        taken = event.result if event.name == "choose" else None
        result[event.actor].append((event.name, event.target, taken, tuple(clock)))
    return tuple(tuple(own) for own in result)


# Every execution


class TooMany(Exception):
    """The program has more executions than wanted."""


@dataclass
class Explored:
    """What exploring a program came to. An outcome is who was stuck in what, the final cells and each actor's own events."""

    orderings: Counter[Hashable] = field(default_factory=Counter)
    outcomes: set[Hashable] = field(default_factory=set)
    states: set[Hashable] = field(default_factory=set)
    executions: int = 0
    redundant: int = 0


@contextmanager
def runtimes_in_place() -> Iterator[None]:
    """Have threads and locks simulated; done once for many programs, since it takes longer than exploring one.

    Automatic garbage collection is off: Hypothesis looks at the clock when it begins, which would be a step of an actor.
    """
    with runtimes.installed():
        gc.disable()
        try:
            yield
        finally:
            gc.enable()


def explored(program: Program, strategy: Callable[[Kernel], Strategy], limit: int) -> Explored:
    """Run every execution of a program that the strategy asks for; needs `runtimes_in_place`."""
    kernel = Kernel(max_delay=nanoseconds(program.max_delay))
    try:
        while True:
            version = kernel.learned.version
            found = _round(program, kernel, strategy(kernel), limit)
            if kernel.learned.version == version:
                return found
    finally:
        kernel.close()
        gc.collect(1)


def _round(program: Program, kernel: Kernel, search: Strategy, limit: int) -> Explored:
    found, version = Explored(), kernel.learned.version
    machines: list[Machine] = []
    while (plan := search.begin()) is not None and kernel.learned.version == version:
        machines.clear()
        try:
            kernel.run(lambda: machines.append(Machine(program, World(kernel), [])), plan, search.choose, search.expected())
        finally:
            runtimes.end_execution(kernel)
        search.end()
        if found.executions + found.redundant > limit:
            raise TooMany
        if kernel.failure is not None:
            raise kernel.failure.error
        if kernel.abandoned:
            found.redundant += 1
        else:
            _take_in(found, program, machines[0], kernel)
    return found


def _take_in(found: Explored, program: Program, machine: Machine, kernel: Kernel) -> None:
    found.executions += 1
    found.states |= machine.states
    found.orderings[ordering(program, machine.log, machine.finished)] += 1
    stuck = tuple(sorted((actor.name, actor.pending.kind) for actor in kernel.stuck if actor.pending is not None))
    cells = tuple(kernel.resource(f"cell c{i}").state for i in range(program.cells))
    own = tuple(tuple(event for event in machine.log if event.actor == me) for me in range(len(program.actors)))
    found.outcomes.add((stuck, cells, own))


# Programs to try

CELLS = ("get", "get", "set", "set", "add", "swap", "compare_and_set")
LOCKS = ("lock", "lock", "unlock", "unlock", "try_lock")
SIGNALS = ("event_set", "event_clear", "event_wait", "semaphore_take", "semaphore_give", "condition_wait", "condition_notify")
SECONDS = (0.0, 0.5, 1.0, 2.0, 3.0)


def instruction(draw: Callable[[Any], Any], names: Sequence[str], cells: int, locks: int, others: Sequence[int], depth: int) -> Instruction:
    """Draw one instruction."""
    name = draw(st.sampled_from([*names, "if", "if"] if depth < 2 else names))
    cell, small = st.integers(0, cells - 1), st.integers(0, 2)
    some = st.lists(st.sampled_from("uv"), unique=True, max_size=2).map(lambda found: tuple(sorted(found)))
    block = st.integers(0, 2).map(range)
    arguments: dict[str, Callable[[], Instruction]] = {
        "get": lambda: (draw(cell),),
        "set": lambda: (draw(cell), draw(st.sampled_from([None, 1, 2]))),
        "add": lambda: (draw(cell),),
        "swap": lambda: (draw(cell), draw(small)),
        "compare_and_set": lambda: (draw(cell), draw(small), draw(small)),
        "wait_until": lambda: (draw(cell), draw(small), draw(st.booleans())),
        "assume": lambda: (draw(st.integers(0, 1)),),
        "choose": lambda: (draw(st.integers(2, 3)),),
        "step": lambda: (draw(some), draw(some)),
        "sleep": lambda: (draw(st.sampled_from(SECONDS)),),
        "timed_event": lambda: (draw(st.sampled_from(SECONDS[1:])),),
        "timed_lock": lambda: (draw(st.integers(0, locks - 1)), draw(st.sampled_from(SECONDS[1:]))),
        "join": lambda: (draw(st.sampled_from(others)),),
        "if": lambda: (
            draw(st.integers(0, 1)),
            tuple(instruction(draw, names, cells, locks, others, depth + 1) for _ in draw(block)),
            tuple(instruction(draw, names, cells, locks, others, depth + 1) for _ in draw(block)),
        ),
        **{lock: lambda: (draw(st.integers(0, locks - 1)),) for lock in LOCKS},
    }
    return (name, *arguments.get(name, tuple)())


@st.composite
def programs(draw: Callable[[Any], Any], extra: Sequence[str] = (), threads: bool = False, daemons: bool = False) -> Program:
    """Draw a program of reads and writes and a few of the other instructions (`extra`)."""
    count = draw(st.integers(2, 4))
    cells, locks = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    chosen = draw(st.lists(st.sampled_from(extra), unique=True, max_size=4)) if extra else []
    names = [*CELLS, *chosen, *chosen]
    if not set(LOCKS).isdisjoint(chosen):
        names += ["lock", "unlock"]
    started = frozenset(draw(st.sets(st.integers(1, count - 1), min_size=1))) if threads else frozenset()
    longest = {2: 4, 3: 3, 4: 2}[count]
    actors = []
    for me in range(count):
        joins = ["join", "join"] if started and me == 0 else []
        length = draw(st.integers(1, longest))
        actors.append(tuple(instruction(draw, [*names, *joins], cells, locks, sorted(started), 0) for _ in range(length)))
    clocked = not CLOCKED.isdisjoint(chosen)
    return Program(
        actors=tuple(actors),
        cells=cells,
        locks=locks,
        threads=started,
        daemons=frozenset({draw(st.sampled_from(sorted(started)))}) if daemons else frozenset(),
        always=draw(st.sampled_from([(), (), tuple(range(min(2, cells)))])),
        max_delay=draw(st.sampled_from([0.0, 1.0, 2.0, 5.0])) if clocked else 5.0,
        timescale=draw(st.sampled_from([None, None, 1.0])) if clocked else None,
    )
