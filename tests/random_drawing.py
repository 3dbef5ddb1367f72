"""Draws random programs, each from a seed, so that a seed names it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from tests.random_databases import SQL, STATEMENTS, TABLES, Database
from tests.random_programs import CLOCKED, Instruction, Program

CELLS = ("get", "get", "set", "set", "add", "swap", "compare_and_set")
LOCKS = ("lock", "lock", "unlock", "unlock", "try_lock", "locked", "free")
CONDITIONS = ("condition_wait", "condition_notify", "condition_notify")
EVENTS = ("event_set", "event_clear", "event_wait", "event_look")
SEMAPHORES = ("take", "give", "try_take")
QUEUES = ("put", "put", "try_put", "pop", "try_pop", "task_done", "all_done", "size")
BARRIERS = ("meet", "meet", "abort", "reset")
PRIMITIVES = (LOCKS, CONDITIONS, EVENTS, SEMAPHORES, QUEUES, BARRIERS)
SECONDS = (0.5, 1.0, 2.0, 3.0)


class Writer:
    """Draws the instructions of one program."""

    def __init__(self, rng: Random, names: Sequence[str], cells: int, locks: int, threads: Sequence[int]) -> None:
        self.rng = rng
        self.names = names

        def among(values: Sequence[Any]) -> Callable[[], Any]:
            return lambda: rng.choice(values)

        def some() -> tuple[str, ...]:
            return tuple(name for name in "uv" if rng.random() < 0.5)

        cell, lock, small, seconds = among(range(cells)), among(range(locks)), among(range(3)), among(SECONDS)
        which, table, thread = among(range(2)), among(TABLES), among(threads or [0])
        self.arguments: dict[str, tuple[Callable[[], Any], ...]] = {
            "get": (cell,),
            "set": (cell, among([None, 1, 2])),
            "add": (cell,),
            "swap": (cell, small),
            "compare_and_set": (cell, small, small),
            "wait_until": (cell, small, among([True, False])),
            "assume": (among([0, 1]),),
            "choose": (among([2, 3]),),
            "step": (some, some),
            "join": (thread,),
            "is_alive": (thread,),
            "timed_join": (thread, seconds),
            "sleep": (among((0.0, *SECONDS)),),
            **dict.fromkeys(LOCKS, (lock,)),
            "timed_lock": (lock, seconds),
            "condition_notify": (among([1, 2]),),
            **dict.fromkeys(("timed_event", "timed_take", "timed_condition", "timed_meet"), (seconds,)),
            **dict.fromkeys(QUEUES, (which,)),
            "put": (which, small),
            "try_put": (which, small),
            "timed_get": (which, seconds),
            "begin": (among(["IMMEDIATE", "DEFERRED"]),),
            "select": (table,),
            "update": (table, among([1, 2])),
            "bump": (table,),
            "replace": (table, small, small),
            "copy": (table, table),
        }

    def instruction(self, names: Sequence[str] = (), depth: int = 0) -> Instruction:
        """Draw one, of these names or of the program's."""
        rng = self.rng
        names = names or self.names
        name = rng.choice([*names, "if"] if depth < 2 else names)
        if name == "if":
            blocks = [tuple(self.instruction((), depth + 1) for _ in range(rng.choice([0, 1, 1, 2]))) for _ in range(2)]
            return ("if", rng.randint(0, 1), *blocks)
        return (name, *[argument() for argument in self.arguments.get(name, ())])

    def transaction(self) -> tuple[Instruction, ...]:
        """Draw a transaction with a statement or two, or a statement alone."""
        rng = self.rng
        if rng.random() < 0.5:
            return (self.instruction(),)
        inside = [self.instruction(STATEMENTS) for _ in range(rng.randint(1, 2))]
        return (("begin", rng.choice(["IMMEDIATE", "DEFERRED"])), *inside, (rng.choice(["commit", "commit", "rollback"]),))


def program(
    seed: int,
    extra: Sequence[str] = (),
    primitives: bool = False,
    threads: bool = False,
    daemons: bool = False,
    clocks: bool = False,
    sql: bool = False,
) -> Program:
    """Draw the program of this seed: reads and writes, a few of the `extra` instructions, and what else is asked for.

    With `primitives` it is one or two kinds of them, so that its actors have something to do with one another.
    """
    rng = Random(seed)
    count = rng.choice([2, 2, 3] if sql else [2, 3, 3, 4])
    cells, locks = rng.randint(1, 2), rng.randint(1, 2)
    chosen = rng.sample(extra, rng.randint(0, min(4, len(extra))))
    clocked = clocks or not CLOCKED.isdisjoint(chosen)
    names = [*CELLS, *chosen, *chosen]
    if primitives:
        names = ["get", "set", *chosen, *[name for kind in rng.sample(PRIMITIVES, rng.randint(1, 2)) for name in (*kind, *kind)]]
    elif sql:
        names = ["get", "set", *chosen, *SQL]
    elif not set(LOCKS).isdisjoint(chosen):
        names += ["lock", "unlock"]
    if clocks:
        names += rng.sample(sorted(CLOCKED - {"timed_join"}), rng.randint(1, 3)) * 3
    started = sorted(rng.sample(range(1, count), rng.randint(1, count - 1))) if threads else []
    writer = Writer(rng, names, cells, locks, started)
    longest = {2: 4, 3: 3, 4: 2}[count]
    actors = []
    for me in range(count):
        length = rng.randint(1, longest)
        own = [*names, *["join", "join", "is_alive"], *["timed_join"] * clocks] if started and me == 0 else []
        if sql:
            actors.append(tuple(piece for _ in range((length + 1) // 2) for piece in writer.transaction()))
        else:
            actors.append(tuple(writer.instruction(own) for _ in range(length)))
    return Program(
        actors=tuple(actors),
        cells=cells,
        locks=locks,
        reentrant=frozenset(lock for lock in range(locks) if rng.random() < 0.5),
        guard=rng.randrange(locks),
        threads=frozenset(started),
        daemons=frozenset({rng.choice(started)}) if daemons else frozenset(),
        always=rng.choice([(), (), tuple(range(cells))]),
        database=_database(rng, count) if sql else None,
        max_delay=rng.choice([0.0, 1.0, 2.0, 5.0]) if clocked else 5.0,
        timescale=rng.choice([None, None, 1.0]) if clocked else None,
    )


def each(check: Callable[[Program], bool], first: int, count: int, *kinds: dict[str, Any]) -> None:
    """Check so many programs, of these kinds in turn, from a seed on; those for which `check` returns False do not count.

    Raises:
        AssertionError: not one in ten of those drawn counts.
    """
    checked, seed = 0, first
    while checked < count:
        assert seed - first < 10 * count, f"only {checked} of {seed - first} programs could be checked"
        checked += check(program(seed, **kinds[seed % len(kinds)]))
        seed += 1


def _database(rng: Random, count: int) -> Database:
    memory = rng.random() < 0.1
    own, one = tuple(range(count)), (0,) * count
    connections = one if memory else rng.choice([own, own, own, own, one, (0, 0, 1)[:count]])
    return Database(
        connections=connections,
        wal=rng.random() < 0.6,
        memory=memory,
        level=rng.choice([None, None, ""]),
        timeout=rng.choice([0.0, 30.0]),
        guarded=frozenset({0}) if connections.count(0) > 1 and rng.random() < 0.4 else frozenset(),
        checked=() if memory else rng.choice([(), (), ("t",), ("t", "u")]),
    )
