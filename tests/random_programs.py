"""Random small programs, and every execution of them that a strategy asks for.

A program is a tuple of actors, an actor a tuple of instructions, an instruction a tuple that starts with its name. The last
result an actor got is its *register*, on which it can branch. What an execution did is logged by the program itself: what each actor
set out to do and what came of it. The orderings (Mazurkiewicz traces) are computed from that log in `tests.orderings`.
"""

from __future__ import annotations

import gc
import queue
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from simharness import Cell, World
from simharness.engine.actors import SHIFT
from simharness.engine.clock import nanoseconds
from simharness.engine.facts import Mark, until_settled
from simharness.engine.kernel import Kernel
from simharness.runtimes import control
from simharness.search.strategy import Strategy
from tests.random_databases import Database, Session, Statements

Instruction = tuple[Any, ...]
TIMED = ("timed_lock", "timed_event", "timed_take", "timed_get", "timed_condition", "timed_join", "timed_meet")
CLOCKED = frozenset({"sleep", "time", *TIMED})
"""Instructions for which outcomes are compared, and orderings are not."""


@dataclass(frozen=True)
class Program:
    """A program. `threads` are started by actor 0 before anything else, and not declared; daemons are some of them.

    Of the locks, `reentrant` are RLocks, and `guard` is the one that the condition uses.
    """

    actors: tuple[tuple[Instruction, ...], ...]
    cells: int = 2
    locks: int = 0
    reentrant: frozenset[int] = frozenset()
    guard: int = 0
    threads: frozenset[int] = frozenset()
    daemons: frozenset[int] = frozenset()
    always: tuple[int, ...] = ()
    database: Database | None = None
    max_delay: float = 5.0
    timescale: float | None = None

    def uses(self, names: frozenset[str]) -> bool:
        """Whether an instruction with one of these names occurs, in a branch too."""

        def within(block: Sequence[Instruction]) -> Iterator[str]:
            for instruction in block:
                yield instruction[0]
                if instruction[0] == "if":
                    yield from within((*instruction[2], *instruction[3]))

        return any(name in names for block in self.actors for name in within(block))


@dataclass
class Event:
    """What an actor set out to do when `at` steps had been made, on what, in which circumstances; and the result, if it came to one."""

    actor: int
    name: str
    target: Any
    at: int
    facts: dict[str, Any]
    result: Any = None


@dataclass(frozen=True)
class Step:
    """One step of an execution: what its actor was doing, and which of the steps that this takes it was."""

    event: Event
    part: int


class Machine:
    """Runs a program in a world and logs its events."""

    def __init__(self, program: Program, world: World) -> None:
        self.program = program
        self.kernel = world._kernel
        self.world = world
        self.log: list[Event] = []
        self.cells: list[Cell] = [world.shared(0, f"c{i}") for i in range(program.cells)]
        self.locks: list[Any] = [threading.RLock() if i in program.reentrant else threading.Lock() for i in range(program.locks)]
        self.event = threading.Event()
        self.semaphore = threading.Semaphore(1)
        self.condition = threading.Condition(self.locks[program.guard]) if program.locks else None
        self.queues: tuple[queue.Queue[int], ...] = (queue.Queue(), queue.Queue(1))
        self.barrier = threading.Barrier(2)
        self.session = Session(program.database, world) if program.database is not None else None
        self.finished: set[int] = set()
        self.states: set[Hashable] = set()
        self.threads: dict[int, threading.Thread] = {}
        if program.timescale is not None:
            world.timescale(program.timescale)
        for me in range(len(program.actors)):
            if me not in program.threads:
                world.actor(f"a{me}", self.run, me)
        if program.always or (self.session is not None and self.session.database.checked):
            world.always(self.look)

    def look(self) -> None:
        rows = self.session.checked() if self.session is not None else ()
        self.states.add((tuple(self.cells[i].get() for i in self.program.always), rows))

    def run(self, me: int) -> None:
        runner = Runner(self, me)
        if me == 0:
            for number in sorted(self.program.threads):
                daemon = number in self.program.daemons
                thread = self.threads[number] = threading.Thread(target=self.run, args=(number,), name=f"a{number}", daemon=daemon)
                runner.does("start", number, thread.start, keep=False)
        runner.block(self.program.actors[me])
        runner.does("end", me, lambda: None, keep=False)
        self.finished.add(me)

    def steps(self) -> list[Step]:
        """Return the steps of the execution, each with the event that its actor was in; advances of the clock are actor -1."""
        number = {actor.index: int(actor.name.rpartition("a")[2]) for actor in self.kernel.cast.actors.values()}
        events: dict[int, list[Event]] = {me: [event for event in self.log if event.actor == me] for me in number.values()}
        parts: Counter[int] = Counter()
        position: Counter[int] = Counter()
        found = []
        for n, key in enumerate(self.kernel.record.keys):
            if key == self.kernel.movers.clock_key:
                found.append(Step(Event(-1, "advance", None, n, {}), 0))
                continue
            me = number[key >> SHIFT]
            own = events[me]
            while position[me] + 1 < len(own) and own[position[me] + 1].at <= n:
                position[me] += 1
                parts[me] = 0
            found.append(Step(own[position[me]], parts[me]))
            parts[me] += 1
        return found


class Runner(Statements):
    """One actor at work: its register, and how often it has entered the locks it holds."""

    def __init__(self, machine: Machine, me: int) -> None:
        self.machine = machine
        self.me = me
        self.register: Any = 0
        self.held: Counter[int] = Counter()

    def block(self, instructions: Sequence[Instruction]) -> None:
        for instruction in instructions:
            if instruction[0] == "if":
                self.block(instruction[2] if self.register == instruction[1] else instruction[3])
            else:
                getattr(self, instruction[0])(*instruction[1:])

    def does(self, name: str, target: Any, call: Callable[[], Any], keep: bool = True, **facts: Any) -> Any:
        """Log what is to be done, do it, and log the result, which goes into the register where it is kept."""
        event = Event(self.me, name, target, self.machine.kernel.record.n, facts)
        self.machine.log.append(event)
        result = call()
        event.result = int(result) if isinstance(result, bool) else 0 if result is None else result
        if keep:
            self.register = event.result
        return event.result

    # Cells, choices, time

    def get(self, cell: int) -> None:
        self.does("get", cell, self.machine.cells[cell].get)

    def set(self, cell: int, value: int | None) -> None:
        new = self.register + 1 if value is None and isinstance(self.register, int) else value
        self.does("set", cell, lambda: self.machine.cells[cell].set(new), keep=False, value=new)

    def add(self, cell: int) -> None:
        self.does("add", cell, lambda: self.machine.cells[cell].add(1))

    def swap(self, cell: int, value: int) -> None:
        self.does("swap", cell, lambda: self.machine.cells[cell].swap(value))

    def compare_and_set(self, cell: int, expected: int, new: int) -> None:
        self.does("compare_and_set", cell, lambda: self.machine.cells[cell].compare_and_set(expected, new))

    def wait_until(self, cell: int, value: int, equal: bool) -> None:
        self.does("wait_until", cell, lambda: self.machine.cells[cell].wait_until(lambda now: (now == value) is equal))

    def assume(self, value: int) -> None:
        self.does("assume", value, lambda: self.machine.world.assume(self.register == value), keep=False)

    def choose(self, count: int) -> None:
        self.does("choose", None, lambda: self.machine.world.choose(range(count)))

    def step(self, reads: tuple[str, ...], writes: tuple[str, ...]) -> None:
        self.does("step", (reads, writes), lambda: self.machine.world.step("step", reads=reads, writes=writes), keep=False)

    def join(self, number: int) -> None:
        self.does("join", number, self.machine.threads[number].join, keep=False)

    def is_alive(self, number: int) -> None:
        self.does("is_alive", number, self.machine.threads[number].is_alive)

    def timed_join(self, number: int, seconds: float) -> None:
        self.does("timed_join", number, lambda: self.machine.threads[number].join(seconds))

    def sleep(self, seconds: float) -> None:
        self.does("sleep", None, lambda: self.machine.world.clock.sleep(seconds), keep=False)

    def time(self) -> None:
        self.does("time", None, lambda: round(self.machine.world.clock.elapsed_ns() / 1_000_000))

    # Locks and the condition

    def lock(self, lock: int) -> None:
        self._acquire("lock", lock)

    def try_lock(self, lock: int) -> None:
        self._acquire("try_lock", lock, blocking=False)

    def timed_lock(self, lock: int, seconds: float) -> None:
        self._acquire("timed_lock", lock, timeout=seconds)

    def _acquire(self, name: str, lock: int, **options: Any) -> None:
        again = bool(self.held[lock]) and lock in self.machine.program.reentrant
        if self.does(name, lock, lambda: self.machine.locks[lock].acquire(**options), keep=name != "lock", again=again):
            self.held[lock] += 1

    def unlock(self, lock: int) -> None:
        if self.held[lock]:
            again = self.held[lock] > 1
            self.does("unlock", lock, lambda: refused(self.machine.locks[lock].release, RuntimeError), keep=False, again=again)
            self.held[lock] -= 1

    def free(self, lock: int) -> None:
        """Release a lock, whoever holds it."""
        if lock not in self.machine.program.reentrant:
            self.does("unlock", lock, lambda: refused(self.machine.locks[lock].release, RuntimeError))

    def locked(self, lock: int) -> None:
        if lock not in self.machine.program.reentrant:
            self.does("locked", lock, self.machine.locks[lock].locked)

    def condition_wait(self) -> None:
        self._inside("condition_wait", lambda condition: condition.wait())

    def timed_condition(self, seconds: float) -> None:
        self._inside("timed_condition", lambda condition: condition.wait(seconds))

    def condition_notify(self, count: int) -> None:
        self._inside("condition_notify", lambda condition: condition.notify(count), count)

    def _inside(self, name: str, call: Callable[[threading.Condition], Any], target: Any = None) -> None:
        """Use the condition, with its lock taken for that if it is not held."""
        guard, condition = self.machine.program.guard, self.machine.condition
        assert condition is not None
        held = self.held[guard]
        if not held:
            self.lock(guard)
        self.does(name, target, lambda: refused(lambda: call(condition), RuntimeError))
        if not held:
            self.does("unlock", guard, lambda: refused(self.machine.locks[guard].release, RuntimeError), keep=False)
            self.held[guard] -= 1

    # Events, semaphores, queues, barriers

    def event_set(self) -> None:
        self.does("event_set", None, self.machine.event.set, keep=False)

    def event_clear(self) -> None:
        self.does("event_clear", None, self.machine.event.clear, keep=False)

    def event_wait(self) -> None:
        self.does("event_wait", None, self.machine.event.wait, keep=False)

    def event_look(self) -> None:
        self.does("event_look", None, self.machine.event.is_set)

    def timed_event(self, seconds: float) -> None:
        self.does("timed_event", None, lambda: self.machine.event.wait(seconds))

    def take(self) -> None:
        self.does("take", None, self.machine.semaphore.acquire, keep=False)

    def try_take(self) -> None:
        self.does("try_take", None, lambda: self.machine.semaphore.acquire(blocking=False))

    def timed_take(self, seconds: float) -> None:
        self.does("timed_take", None, lambda: self.machine.semaphore.acquire(timeout=seconds))

    def give(self) -> None:
        self.does("give", None, self.machine.semaphore.release, keep=False)

    def put(self, which: int, item: int) -> None:
        self.does("put", which, lambda: self.machine.queues[which].put(item), keep=False)

    def try_put(self, which: int, item: int) -> None:
        self.does("try_put", which, lambda: refused(lambda: self.machine.queues[which].put_nowait(item), queue.Full))

    def pop(self, which: int) -> None:
        self.does("pop", which, self.machine.queues[which].get)

    def try_pop(self, which: int) -> None:
        self.does("try_pop", which, lambda: refused(self.machine.queues[which].get_nowait, queue.Empty))

    def timed_get(self, which: int, seconds: float) -> None:
        self.does("timed_get", which, lambda: refused(lambda: self.machine.queues[which].get(timeout=seconds), queue.Empty))

    def task_done(self, which: int) -> None:
        self.does("task_done", which, lambda: refused(self.machine.queues[which].task_done, ValueError))

    def all_done(self, which: int) -> None:
        self.does("all_done", which, self.machine.queues[which].join, keep=False)

    def size(self, which: int) -> None:
        self.does("size", which, self.machine.queues[which].qsize)

    def meet(self) -> None:
        self.does("meet", None, lambda: refused(self.machine.barrier.wait, threading.BrokenBarrierError))

    def timed_meet(self, seconds: float) -> None:
        self.does("timed_meet", None, lambda: refused(lambda: self.machine.barrier.wait(seconds), threading.BrokenBarrierError))

    def abort(self) -> None:
        self.does("abort", None, self.machine.barrier.abort, keep=False)

    def reset(self) -> None:
        self.does("reset", None, self.machine.barrier.reset, keep=False)


def refused(call: Callable[[], Any], refusal: type[Exception]) -> Any:
    """Return what the call returns, or the name of the exception by which it is refused."""
    try:
        return call()
    except refusal as error:
        return type(error).__name__


# Every execution


class TooMany(Exception):
    """The program has more executions than wanted."""


@dataclass
class Explored:
    """What exploring a program came to. An outcome is who was stuck in what, the final cells and tables and each actor's own events."""

    executions: list[tuple[list[Step], set[int]]] = field(default_factory=list)
    outcomes: set[Hashable] = field(default_factory=set)
    states: set[Hashable] = field(default_factory=set)
    redundant: int = 0
    advances: bool = False


@contextmanager
def runtimes_in_place() -> Iterator[None]:
    """Have threads and locks simulated; done once for many programs, since it takes longer than exploring one.

    Automatic garbage collection is off: what listens to it, as Hypothesis does, looks at the clock, which would be a step of an actor.
    """
    with control.installed():
        gc.disable()
        try:
            yield
        finally:
            gc.enable()


def explored(program: Program, strategy: Callable[[Kernel], Strategy], limit: int) -> Explored:
    """Run every execution of a program that the strategy asks for; needs `runtimes_in_place`."""
    kernel = Kernel(max_delay=nanoseconds(program.max_delay))
    try:
        return until_settled(kernel.learned, lambda mark: _round(program, kernel, strategy(kernel), limit, mark))
    finally:
        control.forget(kernel)
        kernel.close()
        gc.collect(1)


def _round(program: Program, kernel: Kernel, search: Strategy, limit: int, mark: Mark) -> Explored:
    found = Explored()
    machines: list[Machine] = []
    while (plan := search.begin()) is not None and mark.holds:
        machines.clear()
        try:
            kernel.run(lambda: machines.append(Machine(program, World(kernel))), plan, search.choose, search.expected())
            if kernel.failure is not None:
                raise kernel.failure.error
            if kernel.abandoned:
                found.redundant += 1
            else:
                _take_in(found, program, machines[0], kernel)
        finally:
            control.end_execution(kernel)
        search.end()
        if len(found.executions) + found.redundant > limit:
            raise TooMany
    return found


def _take_in(found: Explored, program: Program, machine: Machine, kernel: Kernel) -> None:
    found.executions.append((machine.steps(), machine.finished))
    found.states |= machine.states
    found.advances |= bool(kernel.record.advances)
    stuck = tuple(sorted((actor.name, actor.pending.kind) for actor in kernel.cast.stuck if actor.pending is not None))
    cells = tuple(kernel.resource(f"cell c{i}").state for i in range(program.cells))
    rows = repr([[table.rows for table in tables.values()] for tables in control.snapshot(kernel).values()])
    own = tuple(
        tuple((event.name, event.target, event.result) for event in machine.log if event.actor == me) for me in range(len(program.actors))
    )
    found.outcomes.add((stuck, cells, rows, own))
