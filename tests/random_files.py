"""Random programs of system calls on files, and all that real calls on a real folder can come to, one call at a time.

Each operation is written twice: as a program under test does it, and as a generator that makes the system calls beneath it and stops before
each. The oracle steps the generators in every order; it shares nothing with the runtime.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

NAMES = ("a", "b", "d/c")
Log = list[Any]


class Ends(Exception):
    """An operation that failed: the rest of its calls are left out."""


def tried(log: Log, call: Callable[[], Any]) -> Any:
    """Make a call; note how it fails."""
    try:
        return call()
    except OSError as error:
        log.append(type(error).__name__)
        raise Ends from None


class Operation:
    """An operation on files below a folder."""

    def __init__(self, *arguments: str) -> None:
        self.arguments = arguments

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.arguments))})"

    def program(self, at: Callable[[str], str], log: Log, kept: dict[str, Any]) -> None:
        """Do it as a program does."""
        raise NotImplementedError

    def calls(self, at: Callable[[str], str], log: Log, kept: dict[str, Any]) -> Iterator[Any]:
        """Do it call by call; yield before each, a function that says whether it can be made if it may have to wait."""
        raise NotImplementedError


class Simple(Operation):
    """One system call."""

    def call(self, at: Callable[[str], str]) -> Any:
        """Make it."""

    def program(self, at: Callable[[str], str], log: Log, kept: dict[str, Any]) -> None:
        log.append(tried(log, lambda: self.call(at)))

    def calls(self, at: Callable[[str], str], log: Log, kept: dict[str, Any]) -> Iterator[Any]:
        yield
        log.append(tried(log, lambda: self.call(at)))


class Exists(Simple):
    def call(self, at):
        return os.path.exists(at(self.arguments[0]))


class Size(Simple):
    def call(self, at):
        status = os.stat(at(self.arguments[0]))
        return status.st_nlink if os.path.isdir is None else ("size", status.st_size if not status.st_mode & 0o40000 else 0)


class Names(Simple):
    def call(self, at):
        return status_of_names(sorted(os.listdir(at(""))))


def status_of_names(names):
    return ",".join(names)


class Unlink(Simple):
    def call(self, at):
        os.unlink(at(self.arguments[0]))


class MakeFolder(Simple):
    def call(self, at):
        os.mkdir(at("d"))


class RemoveFolder(Simple):
    def call(self, at):
        os.rmdir(at("d"))


class Rename(Simple):
    def call(self, at):
        os.rename(at(self.arguments[0]), at(self.arguments[1]))


class Link(Simple):
    def call(self, at):
        os.link(at(self.arguments[0]), at(self.arguments[1]))


class Symlink(Simple):
    def call(self, at):
        os.symlink(self.arguments[0].rpartition("/")[2], at(self.arguments[1]))


class Truncate(Simple):
    def call(self, at):
        os.truncate(at(self.arguments[0]), 1)


class Create(Operation):
    """Make a file that must not be there."""

    def program(self, at, log, kept):
        os.close(tried(log, lambda: os.open(at(self.arguments[0]), os.O_CREAT | os.O_EXCL | os.O_WRONLY)))
        log.append("made")

    def calls(self, at, log, kept):
        yield
        os.close(tried(log, lambda: os.open(at(self.arguments[0]), os.O_CREAT | os.O_EXCL | os.O_WRONLY)))
        log.append("made")


class Put(Operation):
    """Write a whole file: nothing of it is there before it is closed."""

    mode, flags = "w", os.O_CREAT | os.O_TRUNC | os.O_WRONLY

    def program(self, at, log, kept):
        with tried(log, lambda: open(at(self.arguments[0]), self.mode)) as file:
            file.write(self.arguments[1])
            file.write("!")

    def calls(self, at, log, kept):
        yield
        descriptor = tried(log, lambda: os.open(at(self.arguments[0]), self.flags))
        yield
        os.write(descriptor, f"{self.arguments[1]}!".encode())
        os.close(descriptor)


class Append(Put):
    """Add to a file."""

    mode, flags = "a", os.O_CREAT | os.O_APPEND | os.O_WRONLY


class Get(Operation):
    """Read a whole file."""

    def program(self, at, log, kept):
        with tried(log, lambda: open(at(self.arguments[0]))) as file:
            log.append(file.read())

    def calls(self, at, log, kept):
        yield
        descriptor = tried(log, lambda: os.open(at(self.arguments[0]), os.O_RDONLY))
        pieces = []
        room = 0
        while True:
            yield
            if not pieces:
                room = os.fstat(descriptor).st_size + 1
            piece = os.read(descriptor, room)
            pieces.append(piece)
            room = room - len(piece) or 8192
            if not piece:
                break
        os.close(descriptor)
        log.append(b"".join(pieces).decode())


class Update(Operation):
    """Read a few bytes and write them back with one more, through a descriptor."""

    def program(self, at, log, kept):
        descriptor = tried(log, lambda: os.open(at(self.arguments[0]), os.O_RDWR))
        data = os.read(descriptor, 4)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, data + b"+")
        os.close(descriptor)

    def calls(self, at, log, kept):
        yield
        descriptor = tried(log, lambda: os.open(at(self.arguments[0]), os.O_RDWR))
        yield
        data = os.read(descriptor, 4)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield
        os.write(descriptor, data + b"+")
        os.close(descriptor)


class Shared(Operation):
    """Write to, or read from, a descriptor that all actors share."""

    def program(self, at, log, kept):
        if self.arguments[0] == "write":
            os.write(kept["shared"], self.arguments[1].encode())
        else:
            log.append(os.read(kept["shared"], 2).decode())

    def calls(self, at, log, kept):
        yield
        self.program(at, log, kept)


class Locked(Operation):
    """Add to a file between `flock` and the closing of the file."""

    def program(self, at, log, kept):
        how = fcntl.LOCK_SH if self.arguments[1] == "shared" else fcntl.LOCK_EX
        with tried(log, lambda: open(at(self.arguments[0]), "a+")) as file:
            fcntl.flock(file, how)
            os.write(file.fileno(), b"1")
            os.write(file.fileno(), b"2")

    def calls(self, at, log, kept):
        how = fcntl.LOCK_SH if self.arguments[1] == "shared" else fcntl.LOCK_EX
        yield
        descriptor = tried(log, lambda: os.open(at(self.arguments[0]), os.O_CREAT | os.O_APPEND | os.O_RDWR))
        yield lambda: is_taken(descriptor, how)
        yield
        os.write(descriptor, b"1")
        yield
        os.write(descriptor, b"2")
        yield
        os.close(descriptor)


class TryLocked(Operation):
    """Try to lock a file; hold the lock for one more call."""

    def program(self, at, log, kept):
        with tried(log, lambda: open(at(self.arguments[0]), "a")) as file:
            tried(log, lambda: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB))
            os.write(file.fileno(), b"3")

    def calls(self, at, log, kept):
        yield
        descriptor = tried(log, lambda: os.open(at(self.arguments[0]), os.O_CREAT | os.O_APPEND | os.O_WRONLY))
        yield
        try:
            tried(log, lambda: fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB))
            yield
            os.write(descriptor, b"3")
            yield
        finally:
            os.close(descriptor)


def is_taken(descriptor: int, how: int) -> bool:
    """Take a lock if that is possible now; return whether it was."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Replace(Operation):
    """Write a file of one's own and move it over another."""

    def program(self, at, log, kept):
        own = at(f"own{self.arguments[1]}")
        with tried(log, lambda: open(own, "w")) as file:
            file.write(self.arguments[1])
        tried(log, lambda: os.replace(own, at(self.arguments[0])))

    def calls(self, at, log, kept):
        own = at(f"own{self.arguments[1]}")
        yield
        descriptor = tried(log, lambda: os.open(own, os.O_CREAT | os.O_TRUNC | os.O_WRONLY))
        yield
        os.write(descriptor, self.arguments[1].encode())
        os.close(descriptor)
        yield
        tried(log, lambda: os.replace(own, at(self.arguments[0])))


class Program:
    """What two or three actors do, and what is there before."""

    def __init__(self, seed: int) -> None:
        draw = random.Random(seed)
        self.seed = seed
        self.names = draw.choice((("a",), ("a", "a", "b"), ("d/c", "d/c", "a"), NAMES))
        self.before = [name for name in ("a", "b") if draw.random() < 0.5]
        self.folder = draw.random() < 0.6
        number = 2 if draw.random() < 0.8 else 3
        self.actors = [
            [self._operation(draw, f"{actor}{i}") for i in range(draw.choice((1, 2, 3)) if number == 2 else 1)] for actor in range(number)
        ]

    def _operation(self, draw: random.Random, word: str) -> Operation:
        name, other = draw.choice(self.names), draw.choice(self.names)
        kind = draw.choice(KINDS)
        if kind in (Rename, Link, Symlink):
            return kind(name, other)
        if kind is Shared:
            return kind(draw.choice(("write", "read")), word)
        if kind is Locked:
            return kind(name, draw.choice(("shared", "exclusive", "exclusive")))
        return kind(name, word)

    def __repr__(self) -> str:
        return f"<seed {self.seed}: before {self.before}, folder {self.folder}, {self.actors}>"

    def set_up(self, at: Callable[[str], str]) -> dict[str, Any]:
        """Make what is there before; return what actors share."""
        for name in self.before:
            with open(at(name), "w") as file:
                file.write(f"{name}old")
        if self.folder:
            os.mkdir(at("d"))
        return {"shared": os.open(at("shared"), os.O_CREAT | os.O_RDWR)}


KINDS: list[type[Operation]] = [Exists, Size, Names, Unlink, MakeFolder, RemoveFolder, Rename, Link, Symlink, Truncate]
KINDS += [Create, Put, Append, Get, Update, Shared, Locked, TryLocked, Replace, Put, Append, Get]


def tree(folder: str) -> tuple[Any, ...]:
    """Return what is in a folder: names, and the contents of files."""
    found = []
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if os.path.islink(path):
            found.append((name, "link", os.readlink(path)))
        elif os.path.isdir(path):
            found.append((name, tree(path)))
        else:
            with open(path) as file:
                found.append((name, file.read()))
    return tuple(found)


def outcomes_really(program: Program, most: int = 3_000) -> set[Any] | None:
    """Return the outcomes of all orders of real calls; None if there are too many."""
    folder = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    outcomes: set[Any] = set()
    plan: list[int] = []
    runs = 0
    try:
        while True:
            runs += 1
            if runs > most:
                return None
            taken, offered, outcome = _run(program, os.path.join(folder, "world"), plan)
            outcomes.add(outcome)
            while taken and taken[-1] == offered[-1][-1]:
                taken.pop()
                offered.pop()
            if not taken:
                return outcomes
            plan = [*taken[:-1], next(choice for choice in offered[-1] if choice > taken[-1])]
    finally:
        shutil.rmtree(folder)


def _actor(program: Program, at: Callable[[str], str], number: int, log: Log, kept: dict[str, Any]) -> Iterator[Any]:
    for operation in program.actors[number]:
        with contextlib.suppress(Ends):
            yield from operation.calls(at, log, kept)


def _run(program: Program, folder: str, plan: list[int]) -> tuple[list[int], list[list[int]], Any]:
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder)
    kept = program.set_up(lambda name: os.path.join(folder, name))
    logs: list[Log] = [[] for _ in program.actors]
    waiting: dict[int, Any] = {}
    running = {number: _actor(program, lambda name: os.path.join(folder, name), number, logs[number], kept) for number in range(len(logs))}
    taken: list[int] = []
    offered: list[list[int]] = []

    def advance(number: int) -> None:
        try:
            waiting[number] = next(running[number])
        except StopIteration:
            del running[number]

    for number in list(running):
        advance(number)
    while running:
        possible = [number for number in sorted(running) if waiting[number] is None or _could(waiting[number])]
        if not possible:
            logs.append(["stuck"])
            break
        choice = plan[len(taken)] if len(taken) < len(plan) else possible[0]
        taken.append(choice)
        offered.append(possible)
        if waiting[choice] is not None:
            assert waiting[choice]()
        advance(choice)
    for generator in running.values():
        generator.close()
    os.close(kept["shared"])
    return taken, offered, (tuple(map(tuple, logs)), tree(folder))


def _could(take: Any) -> bool:
    """Whether a lock could be taken; it is given back."""
    taken = take()
    if taken:
        cells = dict(zip(take.__code__.co_freevars, take.__closure__ or (), strict=True))
        fcntl.flock(cells["descriptor"].cell_contents, fcntl.LOCK_UN)
    return bool(taken)


def scenario(program: Program) -> Callable[[Any], None]:
    """Return the program as a scenario; its outcomes are as the oracle's."""

    def run(world: Any) -> None:
        def at(name: str) -> str:
            return world.path("world/" + name)

        os.mkdir(world.path("world"))
        kept = program.set_up(at)
        logs: list[Log] = [[] for _ in program.actors]

        def work(number: int) -> None:
            for operation in program.actors[number]:
                with contextlib.suppress(Ends):
                    operation.program(at, logs[number], kept)

        for number in range(len(logs)):
            world.actor(f"actor{number}", work, number)

        @world.at_end
        def note() -> None:
            world.outcome((tuple(map(tuple, logs)), tree(world.path("world"))))

    run.__qualname__ = run.__name__ = "files"
    return run
