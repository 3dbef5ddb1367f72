"""What real processes can come to that share files, and may be killed: the oracle's calls are made by children, one call at a time.

A child waits for a byte before each system call. A kill is SIGKILL: what the operating system does with locks and descriptors is its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from random_files import Append, Create, Ends, Get, Log, Operation, Put, Rename, Replace, Unlink, tree, tried

PROGRAM = Callable[[str], str]


class Record(Operation):
    """Add to a file between `lockf` and the closing of the file; "twice": another descriptor of the file is closed meanwhile."""

    def program(self, at, log, kept):
        with tried(log, lambda: open(at(self.arguments[0]), "r+b", buffering=0)) as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            if self.arguments[1] == "twice":
                os.close(os.open(at(self.arguments[0]), os.O_RDONLY))
            data = os.read(file.fileno(), 9)
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            os.write(file.fileno(), data + b"+")

    def calls(self, at, log, kept):
        yield
        descriptor = tried(log, lambda: os.open(at(self.arguments[0]), os.O_RDWR))
        yield lambda take: locked(descriptor, fcntl.lockf, take)
        if self.arguments[1] == "twice":
            yield
            other = os.open(at(self.arguments[0]), os.O_RDONLY)
            yield
            os.close(other)
        yield
        data = os.read(descriptor, 9)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield
        os.write(descriptor, data + b"+")
        yield
        os.close(descriptor)


class Flock(Operation):
    """Add to a file under `flock`."""

    def program(self, at, log, kept):
        with tried(log, lambda: open(at(self.arguments[0]), "r+")) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(file.read() + "f")

    def calls(self, at, log, kept):
        yield
        descriptor = tried(log, lambda: os.open(at(self.arguments[0]), os.O_RDWR))
        yield lambda take: locked(descriptor, fcntl.flock, take)
        pieces = []
        while not pieces or pieces[-1]:
            yield
            pieces.append(os.read(descriptor, 99))
        yield
        os.write(descriptor, b"".join(pieces) + b"f")
        yield
        os.close(descriptor)


def locked(descriptor: int, lock: Callable[[int, int], Any], take: bool) -> bool:
    """Take a lock if that is possible now, or only try; return whether it was possible."""
    try:
        lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    if not take:
        lock(descriptor, fcntl.LOCK_UN)
    return True


PROGRAMS: list[list[list[Operation]]] = [
    [[Put("a", "x"), Append("a", "y")]],
    [[Replace("a", "0")], [Get("a")]],
    [[Record("a", "")], [Record("a", "")]],
    [[Record("a", "twice")], [Record("a", "")]],
    [[Flock("a")], [Flock("a")]],
    [[Create("l"), Unlink("l")], [Create("l")]],
    [[Put("a", "x")], [Rename("a", "b"), Get("b")]],
    [[Append("a", "x"), Append("a", "y")], [Get("a")]],
]


class Child:
    """A process that makes an actor's calls."""

    def __init__(self, operations: list[Operation], at: Callable[[str], str], others: list[Child]) -> None:
        asks, self._asks = os.pipe()
        self._answers, answers = os.pipe()
        self.log: Log = []
        self.state: Any = None
        self.process = os.fork()
        if not self.process:
            for descriptor in (self._asks, self._answers, *(end for child in others for end in (child._asks, child._answers))):
                os.close(descriptor)
            try:
                _serve(operations, at, asks, answers)
            finally:
                os._exit(0)
        os.close(asks)
        os.close(answers)
        self.tell(b"s")

    def tell(self, what: bytes) -> bool:
        """Have it make its next call (s), or take its lock (l) or only try that (t); return whether that was possible."""
        os.write(self._asks, what)
        size = int.from_bytes(os.read(self._answers, 4), "big")
        possible, self.state, self.log = pickle.loads(os.read(self._answers, size))
        return possible

    def kill(self) -> None:
        """End it."""
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        os.close(self._asks)
        os.close(self._answers)


def _serve(operations: list[Operation], at: Callable[[str], str], asks: int, answers: int) -> None:
    log: Log = []

    def all_calls() -> Iterator[Any]:
        for operation in operations:
            with contextlib.suppress(Ends):
                yield from operation.calls(at, log, {})

    calls = all_calls()
    state: Any = None
    while what := os.read(asks, 1):
        possible = True
        if what != b"s":
            possible = state(what == b"l")
        if what == b"s" or (what == b"l" and possible):
            state = next(calls, "over")
        answer = pickle.dumps((possible, "lock" if callable(state) else state, log))
        os.write(answers, len(answer).to_bytes(4, "big") + answer)


def outcomes_of_processes(program: list[list[Operation]], kills: int) -> set[Any]:
    """Return the outcomes of every order of the calls, with at most so many kills between any two."""
    folder = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    outcomes: set[Any] = set()
    plan: list[Any] = []
    try:
        while True:
            taken, offered, outcome = _run(program, os.path.join(folder, "world"), plan, kills)
            outcomes.add(outcome)
            while taken and taken[-1] == offered[-1][-1]:
                taken.pop()
                offered.pop()
            if not taken:
                return outcomes
            plan = [*taken[:-1], offered[-1][offered[-1].index(taken[-1]) + 1]]
    finally:
        shutil.rmtree(folder)


def _run(program: list[list[Operation]], folder: str, plan: list[Any], kills: int) -> tuple[list[Any], list[list[Any]], Any]:
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder)
    set_up(lambda name: os.path.join(folder, name))
    children: list[Child] = []
    for operations in program:
        children.append(Child(operations, lambda name: os.path.join(folder, name), children))
    alive = dict(enumerate(children))
    over: set[int] = {number for number, child in alive.items() if child.state == "over"}
    taken: list[Any] = []
    offered: list[list[Any]] = []
    struck = 0
    while running := [number for number in alive if number not in over]:
        possible: list[Any] = [("step", number) for number in running if alive[number].state is None or alive[number].tell(b"t")]
        assert possible
        if struck < kills:
            possible += [("kill", number) for number in running]
        choice = plan[len(taken)] if len(taken) < len(plan) else possible[0]
        taken.append(choice)
        offered.append(possible)
        what, number = choice
        if what == "kill":
            struck += 1
            alive.pop(number).kill()
            continue
        alive[number].tell(b"s" if alive[number].state is None else b"l")
        if alive[number].state == "over":
            over.add(number)
    for child in alive.values():
        child.kill()
    return taken, offered, (tuple(tuple(child.log) for child in children), tree(folder))


def set_up(at: Callable[[str], str]) -> None:
    """Make what is there before."""
    with open(at("a"), "w") as file:
        file.write("old")


def scenario(program: list[list[Operation]]) -> Callable[[Any], None]:
    """Return the program as a scenario with a process for each actor."""

    def run(world: Any) -> None:
        def at(name: str) -> str:
            return world.path("world/" + name)

        os.mkdir(world.path("world"))
        set_up(at)
        logs: list[Log] = [[] for _ in program]

        def work(number: int) -> None:
            for operation in program[number]:
                with contextlib.suppress(Ends):
                    operation.program(at, logs[number], {})

        for number in range(len(program)):
            world.actor(f"actor{number}", work, number, process=f"process{number}")

        @world.at_end
        def note() -> None:
            world.outcome((tuple(map(tuple, logs)), tree(world.path("world"))))

    run.__qualname__ = run.__name__ = "processes"
    return run
