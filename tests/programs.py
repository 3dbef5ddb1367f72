"""Small concurrent programs whose number of orderings is known exactly, and the numbers.

The programs are those on which tools for stateless model checking are compared; the names are the ones they have there. Each is a
function of a `Stage`, which declares actors, cells and locks, and of the program's parameters. `ROWS` says for each program and
parameters how many orderings complete, deadlock, or get stuck in a false `assume` or a wait that never comes true (`blocked`),
and how many interleavings there are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from simharness import Cell, World


class Stage:
    """A world whose outcome is the final value of every cell."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cells: dict[str, Cell] = {}
        self.actors = 0
        world.at_end(self.report)

    def report(self) -> None:
        self.world.outcome(tuple((name, self.cells[name].get()) for name in sorted(self.cells)))

    def cell(self, name: str, value: Any = 0) -> Cell:
        if name not in self.cells:
            self.cells[name] = self.world.shared(value, name)
        return self.cells[name]

    def row_of_cells(self, name: str, count: int) -> list[Cell]:
        return [self.cell(f"{name}{i}") for i in range(count)]

    def actor(self, work: Callable[..., Any], *arguments: Any) -> None:
        self.world.actor(f"t{self.actors}", work, *arguments)
        self.actors += 1

    def actors_each(self, count: int, work: Callable[[int], Any]) -> None:
        for me in range(count):
            self.actor(work, me)


# One cell, plain reads and writes


def readers(stage: Stage, count: int) -> None:
    x = stage.cell("x")
    stage.actor(x.set, 42)
    stage.actors_each(count, lambda me: x.get())


def inc(stage: Stage, count: int) -> None:
    x = stage.cell("x")
    stage.actors_each(count, lambda me: x.set(x.get() + 2**me))


def rw(stage: Stage, count: int) -> None:
    x = stage.cell("x")

    def read_then_write(me: int) -> None:
        x.get()
        x.set(me)

    stage.actors_each(count, read_then_write)


# One cell, read-modify-write in one step


def ainc(stage: Stage, count: int) -> None:
    x = stage.cell("x")
    stage.actors_each(count, lambda me: x.add(1))


def wainc(stage: Stage, count: int) -> None:
    stage.actor(stage.cell("x").set, 42)
    ainc(stage, count)


def cas(stage: Stage, count: int) -> None:
    x = stage.cell("x")
    stage.actors_each(count, lambda me: x.compare_and_set(0, me + 1))


def casrot(stage: Stage, count: int) -> None:
    x = stage.cell("x")
    stage.actors_each(count, lambda me: x.compare_and_set(me, me + 1))


def casw(stage: Stage, count: int) -> None:
    x = stage.cell("x")

    def claim_then_write(me: int) -> None:
        x.compare_and_set(0, 1)
        x.set(me + 3)

    stage.actors_each(count, claim_then_write)


def wcas(stage: Stage, count: int) -> None:
    x = stage.cell("x")
    stage.actor(x.set, 2)
    stage.actors_each(count, lambda me: x.compare_and_set(2, 3))


# Several cells


def add_to_each(stage: Stage, count: int, names: str) -> None:
    cells = [stage.cell(name) for name in names]
    stage.actors_each(count, lambda me: [cell.add(1) for cell in cells])


def binc(stage: Stage, count: int) -> None:
    add_to_each(stage, count, "xy")


def cinc(stage: Stage, count: int) -> None:
    add_to_each(stage, count, "xyz")


def lastzero(stage: Stage, count: int) -> None:
    row = stage.row_of_cells("a", count + 1)

    def find_last_zero() -> None:
        for cell in reversed(row):
            if cell.get() == 0:
                return

    stage.actor(find_last_zero)
    stage.actors_each(count, lambda me: row[me + 1].set(row[me].get() + 1))


def indexer(stage: Stage, count: int) -> None:
    size = 128

    def insert_four(me: int) -> None:
        for turn in range(4):
            word = 11 * turn + me
            slot = 7 * word % size
            while not stage.cell(f"slot {slot}").compare_and_set(0, word or "zero"):
                slot = (slot + 1) % size

    stage.actors_each(count, insert_four)


def coherence(stage: Stage, count: int) -> None:
    x, y, z = (stage.cell(name) for name in "xyz")

    def write_look_read(value: int, other: Cell) -> None:
        x.set(value)
        other.get()
        x.get()

    def write_both(me: int) -> None:
        y.set(me)
        z.set(me)

    stage.actor(write_look_read, 1, y)
    stage.actor(write_look_read, 2, z)
    stage.actors_each(count - 1, write_both)


def fibonacci(stage: Stage, rounds: int) -> None:
    i, j = stage.cell("i", 1), stage.cell("j", 1)

    def sum_into(target: Cell) -> None:
        for _ in range(rounds):
            first = i.get()
            target.set(first + j.get())

    stage.actor(sum_into, i)
    stage.actor(sum_into, j)
    stage.actor(lambda: i.get() > 144 or j.get())


# Litmus tests


def store_buffering(stage: Stage) -> None:
    x, y = stage.cell("x"), stage.cell("y")
    stage.actor(lambda: (x.set(1), y.get()))
    stage.actor(lambda: (y.set(1), x.get()))


def load_buffering(stage: Stage) -> None:
    x, y = stage.cell("x"), stage.cell("y")
    stage.actor(lambda: (x.get(), y.set(1)))
    stage.actor(lambda: (y.get(), x.set(1)))


def message_passing(stage: Stage) -> None:
    x, y = stage.cell("x"), stage.cell("y")
    stage.actor(lambda: (x.set(1), y.set(1)))
    stage.actor(lambda: (y.get(), x.get()))


def independent_reads(stage: Stage) -> None:
    x, y = stage.cell("x"), stage.cell("y")
    stage.actor(x.set, 1)
    stage.actor(y.set, 1)
    stage.actor(lambda: (x.get(), y.get()))
    stage.actor(lambda: (y.get(), x.get()))


# Branches on what was read


def dekker(stage: Stage) -> None:
    flags, critical = stage.row_of_cells("flag", 2), stage.cell("critical")

    def enter(me: int) -> None:
        flags[me].set(1)
        if flags[1 - me].get() == 0:
            critical.set(1 - me)
            critical.get()

    stage.actors_each(2, enter)


def popl_example(stage: Stage) -> None:
    x, y, z = (stage.cell(name) for name in "xyz")

    def third() -> None:
        if y.get() == 0:
            z.set(1)

    def fourth() -> None:
        if z.get() == 1 and y.get() == 0:
            x.set(2)

    stage.actor(x.set, 1)
    stage.actor(y.set, 1)
    stage.actor(third)
    stage.actor(fourth)


def conditional_readers(stage: Stage) -> None:
    x, y = stage.cell("x"), stage.cell("y")
    stage.actor(x.set, 1)
    stage.actor(lambda: y.get() == 0 and x.get())
    stage.actor(lambda: (x.get(), y.set(1)))


def depend_on_one(stage: Stage) -> None:
    x, y, z = (stage.cell(name) for name in "xyz")
    for cell in (z, x, y):
        stage.actor(cell.set, 1)
    stage.actor(lambda: x.get() == 1 and y.get() == 1 and z.get())
    stage.actor(lambda: y.get() != 0 and z.get())


def depend_on_two(stage: Stage) -> None:
    x, y, z = (stage.cell(name) for name in "xyz")
    stage.actor(z.set, 1)
    stage.actor(x.set, 1)
    stage.actor(lambda: (y.set(1), y.set(2)))
    stage.actor(lambda: x.get() != 0 and y.get() != 0 and z.get())
    stage.actor(lambda: y.get() != 0 and z.get())


def sleeping_races(stage: Stage) -> None:
    x, y = stage.cell("x"), stage.cell("y")
    stage.actor(y.set, 1)
    stage.actor(x.set, 1)
    stage.actor(lambda: x.get() == 1 and y.get())


def sleeping_races_after_a_write(stage: Stage) -> None:
    x, y = stage.cell("x"), stage.cell("y")
    stage.actor(y.set, 1)
    stage.actor(x.set, 1)

    def write_look_read() -> None:
        y.set(2)
        if x.get() == 1:
            y.get()

    stage.actor(write_look_read)


def long_chain(stage: Stage) -> None:
    a, b, c, w, x, y, z = (stage.cell(name) for name in "abcwxyz")

    def pass_on(source: Cell, target: Cell) -> None:
        if source.get() == 1:
            target.set(1)

    def read_on(source: Cell) -> None:
        if source.get() == 1:
            w.get()

    stage.actor(lambda: (x.set(1), w.set(1)))
    for source, target in ((x, y), (y, a), (a, b), (b, c), (c, z)):
        stage.actor(pass_on, source, target)
    stage.actor(read_on, a)
    stage.actor(read_on, z)


# Locks


def lockinc(stage: Stage, count: int) -> None:
    guarded_adds(stage, count, "x")


def lock2inc(stage: Stage, count: int) -> None:
    guarded_adds(stage, count, "xy")


def guarded_adds(stage: Stage, count: int, names: str) -> None:
    mutex = threading.Lock()
    cells = [stage.cell(name) for name in names]

    def bump(me: int) -> None:
        with mutex:
            for cell in cells:
                cell.set(cell.get() + 1)

    stage.actors_each(count, bump)


def filesystem(stage: Stage, count: int) -> None:
    blocks, inodes = 26, 32
    inode_locks = [threading.Lock() for _ in range(min(count, inodes))]
    block_locks = [threading.Lock() for _ in range(blocks)]

    def claim_a_block(inode: int) -> None:
        block = 2 * inode % blocks
        while True:
            with block_locks[block]:
                busy = stage.cell(f"busy {block}")
                if not busy.get():
                    busy.set(1)
                    stage.cell(f"inode {inode}").set(block + 1)
                    return
            block = (block + 1) % blocks

    def create_a_file(me: int) -> None:
        inode = me % inodes
        with inode_locks[inode]:
            if stage.cell(f"inode {inode}").get() == 0:
                claim_a_block(inode)

    stage.actors_each(count, create_a_file)


def mutex_never_released(stage: Stage, count: int) -> None:
    mutex, x = threading.Lock(), stage.cell("x")

    def bump(me: int) -> None:
        mutex.acquire()
        x.set(x.get() + 1)

    stage.actors_each(count, bump)


def mutex_released_in_turn(stage: Stage, count: int) -> None:
    mutex, x = threading.Lock(), stage.cell("x")

    def release_if_it_is_my_turn(me: int) -> None:
        mutex.acquire()
        if x.add(1) == me:
            mutex.release()

    stage.actors_each(count, release_if_it_is_my_turn)


def mutex_tried(stage: Stage, count: int) -> None:
    mutex, x = threading.Lock(), stage.cell("x")

    def bump_if_free(me: int) -> None:
        if mutex.acquire(blocking=False):
            x.set(x.get() + 1)

    stage.actors_each(count, bump_if_free)


def philosophers(stage: Stage, count: int, ordered: bool = False) -> None:
    forks = [threading.Lock() for _ in range(count)]

    def dine(me: int) -> None:
        first, second = me, (me + 1) % count
        if ordered:
            first, second = sorted((first, second))
        with forks[first], forks[second]:
            pass

    stage.actors_each(count, dine)


# Waiting


def peterson(stage: Stage) -> None:
    flags, turn, critical = stage.row_of_cells("flag", 2), stage.cell("turn"), stage.cell("critical")

    def enter(me: int) -> None:
        flags[me].set(1)
        turn.set(1 - me)
        if flags[1 - me].get() == 1:
            stage.world.assume(turn.get() == me)
        critical.set(me)
        critical.get()
        flags[me].set(0)

    stage.actors_each(2, enter)


def ticketlock(stage: Stage, count: int) -> None:
    tickets, owner, guarded = stage.cell("tickets"), stage.cell("owner"), stage.cell("guarded")

    def enter(me: int) -> None:
        mine = tickets.add(1)
        owner.wait_until(lambda value: value == mine)
        guarded.set(1)
        guarded.get()
        owner.set(owner.get() + 1)

    stage.actors_each(count, enter)


def dekker_with_waits(stage: Stage) -> None:
    flags = stage.row_of_cells("flag", 2)

    def enter(me: int) -> None:
        flags[me].set(1)
        flags[1 - me].wait_until(lambda value: value == 0)
        flags[me].set(0)

    stage.actors_each(2, enter)


def revealed_write(stage: Stage) -> None:
    x, y = stage.cell("x"), stage.cell("y")

    def wait_then_write() -> None:
        x.wait_until(lambda value: value == 0)
        y.set(1)

    def write_then_wait() -> None:
        x.set(1)
        y.wait_until(lambda value: value == 1)

    stage.actor(wait_then_write)
    stage.actor(write_then_wait)


class Row(NamedTuple):
    """A program with its parameters and its numbers; `interleavings` is None where there are too many to count."""

    name: str
    program: Callable[..., None]
    arguments: tuple[Any, ...]
    complete: int
    deadlocked: int = 0
    blocked: int = 0
    interleavings: int | None = None

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.arguments))})"

    def scenario(self, world: World) -> None:
        """Declare the program's actors and cells in this world."""
        self.program(Stage(world), *self.arguments)


def rows(name: str, program: Callable[..., None], *counts: tuple[int, int, int | None]) -> list[Row]:
    """Return rows of a program of one parameter in which nothing gets stuck: (parameter, complete, interleavings) each."""
    return [Row(name, program, (parameter,), complete, 0, 0, total) for parameter, complete, total in counts]


ROWS = [
    *rows("readers", readers, (1, 2, 2), (2, 4, 6), (3, 8, 24), (8, 256, 362880), (13, 8192, None)),
    *rows("lastzero", lastzero, (1, 2, 3), (2, 5, 35), (3, 12, 920), (4, 28, 44300), (5, 64, 3487880), (10, 3328, None)),
    *rows("indexer", indexer, (11, 1, None), (12, 8, None), (13, 64, None)),
    *rows("filesystem", filesystem, (14, 2, None), (16, 8, None), (18, 32, None)),
    *rows("ainc", ainc, (2, 2, 2), (3, 6, 6), (4, 24, 24), (5, 120, 120)),
    *rows("binc", binc, (2, 4, 6), (3, 36, 90)),
    *rows("inc", inc, (2, 4, 6), (3, 36, 90)),
    *rows("rw", rw, (2, 4, 6), (3, 36, 90)),
    *rows("cinc", cinc, (2, 8, 20)),
    *rows("cas", cas, (2, 2, 2), (3, 3, 6), (4, 4, 24), (5, 5, 120)),
    *rows("casrot", casrot, (2, 2, 2), (3, 5, 6), (4, 14, 24), (5, 43, 120), (6, 144, 720)),
    *rows("casw", casw, (2, 6, 6), (3, 66, 90)),
    *rows("wcas", wcas, (2, 5, 6), (3, 13, 24), (4, 33, 120), (5, 81, 720)),
    *rows("wainc", wainc, (2, 6, 6), (3, 24, 24), (4, 120, 120)),
    *rows("lockinc", lockinc, (2, 2, 2), (3, 6, 6), (4, 24, 24), (5, 120, 120)),
    *rows("lock2inc", lock2inc, (2, 2, 2), (3, 6, 6), (4, 24, 24)),
    *rows("CoA", coherence, (1, 4, 20), (2, 15, 560), (3, 130, 25200)),
    Row("dekker_f", dekker, (), 3, interleavings=16),
    *rows("fib_bench", fibonacci, (1, 11, 560), (2, 140, 84084)),
    Row("peterson", peterson, (), 4, blocked=6, interleavings=370),
    Row("mutex_deadlock", mutex_never_released, (2,), 0, deadlocked=2, interleavings=2),
    Row("mutex_deadlock", mutex_never_released, (3,), 0, deadlocked=3, interleavings=3),
    Row("mutex_hard", mutex_released_in_turn, (3,), 1, deadlocked=3, interleavings=4),
    *rows("mutex_trylock_deadlock", mutex_tried, (3, 3, 36)),
    Row("simplified_dekker", dekker_with_waits, (), 2, blocked=1, interleavings=6),
    Row("revealed_write", revealed_write, (), 1, blocked=1, interleavings=3),
    *rows("ticketlock", ticketlock, (2, 2, 12)),
    Row("SB", store_buffering, (), 3, interleavings=6),
    Row("LB", load_buffering, (), 3, interleavings=6),
    Row("MP", message_passing, (), 3, interleavings=6),
    Row("IRIW", independent_reads, (), 15, interleavings=180),
    Row("POPL_optimal_example", popl_example, (), 5, interleavings=69),
    Row("conditional_readers_3", conditional_readers, (), 6, interleavings=29),
    Row("depend_1", depend_on_one, (), 12, interleavings=411),
    Row("depend_3", depend_on_two, (), 30, interleavings=2358),
    Row("long_chain", long_chain, (), 20, interleavings=803262),
    Row("sleeping_races_1", sleeping_races, (), 3, interleavings=7),
    Row("sleeping_races_2", sleeping_races_after_a_write, (), 5, interleavings=14),
    Row("philosophers", philosophers, (2,), 2, deadlocked=1, interleavings=6),
    Row("philosophers", philosophers, (3,), 6, deadlocked=1, interleavings=168),
    Row("philosophers", philosophers, (4,), 14, deadlocked=1, interleavings=98184),
    Row("philosophers", philosophers, (3, True), 6, interleavings=142),
]
