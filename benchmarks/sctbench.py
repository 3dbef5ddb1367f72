"""Small programs with a bug, in the shapes on which schedule fuzzers are compared: SCTBench, with the names and sizes from there.

Each is a scenario whose cells are the program's global variables; `PROGRAMS` has them by name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from simharness import Cell, World


def reorder(world: World, setters: int, checkers: int) -> None:
    """A checker sees the first of a setter's two writes, but no second one."""
    a, b = world.shared(0, "a"), world.shared(0, "b")

    def sets() -> None:
        a.set(1)
        b.set(-1)

    def checks() -> None:
        assert (a.get() == 0 and b.get() == 0) or (a.get() == 1 and b.get() == -1)

    for number in range(setters):
        world.actor(f"setter {number}", sets)
    for number in range(checkers):
        world.actor(f"checker {number}", checks)


def twostage(world: World, writers: int, readers: int) -> None:
    """A reader comes between a writer's two stages, each of which has its lock, and before the second stage of all others."""
    one, two = threading.Lock(), threading.Lock()
    first, second = world.shared(0, "first"), world.shared(0, "second")

    def writes() -> None:
        with one:
            first.set(1)
        with two:
            second.set(first.get() + 1)

    def reads() -> None:
        with one:
            seen = first.get()
        if seen == 0:
            return
        with two:
            assert second.get() == seen + 1

    for number in range(writers):
        world.actor(f"writer {number}", writes)
    for number in range(readers):
        world.actor(f"reader {number}", reads)


def wronglock(world: World, others: int) -> None:
    """One thread guards a counter with a lock, the others with another one."""
    right, wrong = threading.Lock(), threading.Lock()
    count = world.shared(0, "count")

    def guarded() -> None:
        with right:
            before = count.get()
            count.set(count.get() + 1)
            assert count.get() == before + 1

    def adds() -> None:
        with wrong:
            count.set(count.get() + 1)

    world.actor("guarded", guarded)
    for number in range(others):
        world.actor(f"other {number}", adds)


def token_ring(world: World) -> None:
    """Only one order of the three moves makes all values equal."""
    cells = [world.shared(value, f"x{number}") for number, value in ((1, 1), (2, 2), (3, 1))]
    done = [world.shared(False, f"flag{number}") for number in (1, 2, 3)]
    lock = threading.Lock()

    def moves(number: int) -> None:
        with lock:
            before = cells[number - 1].get()
            cells[number].set((before + 1) % 4 if number == 0 else before)
            done[number].set(True)

    def checks() -> None:
        with lock:
            if all(flag.get() for flag in done):
                assert len({cell.get() for cell in cells}) == 1

    for number in range(3):
        world.actor(f"t{number + 1}", moves, number)
    world.actor("checker", checks)


def account(world: World) -> None:
    """The check is wrong: it fails once both transfers are done."""
    lock, balance = threading.Lock(), world.shared(1, "balance")
    deposited, withdrawn = world.shared(False, "deposited"), world.shared(False, "withdrawn")

    def moves(amount: int, done: Cell) -> None:
        with lock:
            balance.set(balance.get() + amount)
            done.set(True)

    def checks() -> None:
        with lock:
            if deposited.get() and withdrawn.get():
                assert balance.get() == 1 - 2 - 4

    world.actor("checker", checks)
    world.actor("deposit", moves, 2, deposited)
    world.actor("withdraw", moves, -4, withdrawn)


def bluetooth(world: World) -> None:
    """A driver is stopped between its look at a flag and its count of requests."""
    pending, stopping = world.shared(1, "pending"), world.shared(False, "stopping")
    event, stopped = world.shared(False, "event"), world.shared(False, "stopped")

    def leave() -> None:
        if pending.add(-1) == 1:
            event.set(True)

    def adds() -> None:
        if not stopping.get():
            pending.add(1)
            assert not stopped.get()
        leave()

    def stops() -> None:
        stopping.set(True)
        leave()
        if event.get():
            stopped.set(True)

    world.actor("stop", stops)
    world.actor("add", adds)


def stringbuffer(world: World) -> None:
    """A buffer is shortened between the reading of its length, under its lock, and the copying, under its lock."""
    lock, text = threading.Lock(), world.shared("abcdef", "text")

    def length() -> int:
        with lock:
            return len(text.get())

    def erases() -> None:
        with lock:
            text.set("")

    def appends() -> None:
        wanted = length()
        with lock:
            assert len(text.get()) >= wanted

    world.actor("append", appends)
    world.actor("erase", erases)


def lazy(world: World) -> None:
    """Three threads under one lock; the third fails where it comes after both others."""
    lock, data = threading.Lock(), world.shared(0, "data")

    def adds(amount: int) -> None:
        with lock:
            data.set(data.get() + amount)

    def checks() -> None:
        with lock:
            assert data.get() < 3

    world.actor("one", adds, 1)
    world.actor("two", adds, 2)
    world.actor("checker", checks)


def carter(world: World) -> None:
    """Two threads hold one lock between two turns under another; the second waits for it inside a turn, and so blocks the first."""
    turn, held = threading.Lock(), threading.Lock()
    counts = [world.shared(0, name) for name in ("first", "second")]

    def takes(mine: Cell) -> None:
        with turn:
            if mine.add(1) == 0:
                held.acquire()
        with turn:
            if mine.add(-1) == 1:
                held.release()

    for number, mine in enumerate(counts, 1):
        world.actor(f"t{number}", takes, mine)


def philosophers(world: World, count: int) -> None:
    """Each takes its left fork first."""
    forks = [threading.Lock() for _ in range(count)]

    def eats(number: int) -> None:
        with forks[number], forks[(number + 1) % count]:
            pass

    for number in range(count):
        world.actor(f"p{number}", eats, number)


PROGRAMS: dict[str, Callable[[World], None]] = {
    "reorder_3": partial(reorder, setters=2, checkers=1),
    "reorder_5": partial(reorder, setters=4, checkers=1),
    "reorder_10": partial(reorder, setters=9, checkers=1),
    "reorder_20": partial(reorder, setters=10, checkers=10),
    "twostage": partial(twostage, writers=1, readers=1),
    "twostage_20": partial(twostage, writers=19, readers=1),
    "twostage_50": partial(twostage, writers=49, readers=1),
    "wronglock_3": partial(wronglock, others=3),
    "wronglock_7": partial(wronglock, others=7),
    "token_ring": token_ring,
    "account": account,
    "bluetooth": bluetooth,
    "stringbuffer": stringbuffer,
    "lazy": lazy,
    "carter": carter,
    "philosophers_5": partial(philosophers, count=5),
}
