"""Draws random programs: Hypothesis strategies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from tests.random_databases import SQL, STATEMENTS, TABLES, Database
from tests.random_programs import CLOCKED, Instruction, Program

CELLS = ("get", "get", "set", "set", "add", "swap", "compare_and_set")
LOCKS = ("lock", "lock", "unlock", "unlock", "try_lock", "locked", "free")
CONDITIONS = ("condition_wait", "condition_notify", "condition_notify")
EVENTS = ("event_set", "event_clear", "event_wait", "event_look")
SEMAPHORES = ("take", "give", "try_take")
QUEUES = ("put", "try_put", "pop", "try_pop", "task_done", "all_done", "size")
BARRIERS = ("meet", "meet", "abort", "reset")
PRIMITIVES = (LOCKS, CONDITIONS, EVENTS, SEMAPHORES, QUEUES, BARRIERS)
OTHERS = ("choose", "assume", "step")
SECONDS = (0.5, 1.0, 2.0, 3.0)

Draw = Callable[[Any], Any]


class Writer:
    """Draws the instructions of one program."""

    def __init__(self, draw: Draw, names: Sequence[str], cells: int, locks: int, threads: Sequence[int]) -> None:
        self.draw = draw
        self.names = names
        cell, lock, small = st.integers(0, cells - 1), st.integers(0, locks - 1), st.integers(0, 2)
        some = st.lists(st.sampled_from("uv"), unique=True, max_size=2).map(lambda found: tuple(sorted(found)))
        seconds, which, table = st.sampled_from(SECONDS), st.integers(0, 1), st.sampled_from(TABLES)
        thread = st.sampled_from(threads or [0])
        self.arguments: dict[str, tuple[Any, ...]] = {
            "get": (cell,),
            "set": (cell, st.sampled_from([None, 1, 2])),
            "add": (cell,),
            "swap": (cell, small),
            "compare_and_set": (cell, small, small),
            "wait_until": (cell, small, st.booleans()),
            "assume": (st.integers(0, 1),),
            "choose": (st.integers(2, 3),),
            "step": (some, some),
            "join": (thread,),
            "is_alive": (thread,),
            "timed_join": (thread, seconds),
            "sleep": (st.sampled_from((0.0, *SECONDS)),),
            **dict.fromkeys(LOCKS, (lock,)),
            "timed_lock": (lock, seconds),
            "condition_notify": (st.integers(1, 2),),
            **dict.fromkeys(("timed_event", "timed_take", "timed_condition", "timed_meet"), (seconds,)),
            **dict.fromkeys(QUEUES, (which,)),
            "put": (which, small),
            "try_put": (which, small),
            "timed_get": (which, seconds),
            "begin": (st.sampled_from(["IMMEDIATE", "DEFERRED"]),),
            "select": (table,),
            "update": (table, st.integers(1, 2)),
            "bump": (table,),
            "replace": (table, small, small),
            "copy": (table, table),
        }

    def instruction(self, names: Sequence[str] = (), depth: int = 0) -> Instruction:
        """Draw one, of these names or of the program's."""
        draw = self.draw
        names = [*self.names, *names]
        name = draw(st.sampled_from([*names, "if", "if"] if depth < 2 else names))
        if name == "if":
            blocks = [tuple(self.instruction((), depth + 1) for _ in range(draw(st.integers(0, 2)))) for _ in range(2)]
            return ("if", draw(st.integers(0, 1)), *blocks)
        return (name, *[draw(argument) for argument in self.arguments.get(name, ())])

    def transaction(self) -> tuple[Instruction, ...]:
        """Draw a transaction with a statement or two, or a statement alone."""
        draw = self.draw
        if draw(st.booleans()):
            return (self.instruction(),)
        begin = ("begin", draw(st.sampled_from(["IMMEDIATE", "DEFERRED", "DEFERRED"])))
        inside = [self.instruction(STATEMENTS) for _ in range(draw(st.integers(1, 2)))]
        return (begin, *inside, (draw(st.sampled_from(["commit", "commit", "rollback"])),))


@st.composite
def programs(
    draw: Draw, extra: Sequence[str] = (), threads: bool = False, daemons: bool = False, clocks: bool = False, sql: bool = False
) -> Program:
    """Draw a program of reads and writes, a few of the `extra` instructions, and what else is asked for."""
    count = draw(st.integers(2, 3 if sql else 4))
    cells, locks = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    chosen = draw(st.lists(st.sampled_from(extra), unique=True, max_size=4)) if extra else []
    names = [*CELLS, *chosen, *chosen]
    for kind in PRIMITIVES:
        if not set(kind).isdisjoint(chosen):
            names += kind
    if clocks:
        names += [*draw(st.lists(st.sampled_from(sorted(CLOCKED - {"timed_join"})), unique=True, min_size=1, max_size=3))] * 2
    if sql:
        names = ["get", "set", *chosen, *SQL]
    started = frozenset(draw(st.sets(st.integers(1, count - 1), min_size=1))) if threads else frozenset()
    writer = Writer(draw, names, cells, locks, sorted(started))
    longest = {2: 4, 3: 3, 4: 2}[count]
    actors = []
    for me in range(count):
        own = [*["join", "join", "is_alive"], *["timed_join"] * clocks] if started and me == 0 else []
        length = draw(st.integers(1, longest))
        if sql:
            actors.append(tuple(piece for _ in range((length + 1) // 2) for piece in writer.transaction()))
        else:
            actors.append(tuple(writer.instruction(own) for _ in range(length)))
    return Program(
        actors=tuple(actors),
        cells=cells,
        locks=locks,
        reentrant=frozenset(draw(st.sets(st.integers(0, locks - 1)))),
        guard=draw(st.integers(0, locks - 1)),
        threads=started,
        daemons=frozenset({draw(st.sampled_from(sorted(started)))}) if daemons else frozenset(),
        always=draw(st.sampled_from([(), (), tuple(range(min(2, cells)))])),
        database=draw(databases(count)) if sql else None,
        max_delay=draw(st.sampled_from([0.0, 1.0, 2.0, 5.0])) if clocks else 5.0,
        timescale=draw(st.sampled_from([None, None, 1.0])) if clocks else None,
    )


@st.composite
def databases(draw: Draw, count: int) -> Database:
    """Draw a database for so many actors."""
    memory = draw(st.sampled_from([False, False, False, False, True]))
    own, one = tuple(range(count)), (0,) * count
    connections = one if memory else draw(st.sampled_from([own, own, own, one, (0, 0, 1)[:count]]))
    return Database(
        connections=connections,
        wal=draw(st.sampled_from([True, True, False])),
        memory=memory,
        level=draw(st.sampled_from([None, None, ""])),
        timeout=draw(st.sampled_from([0.0, 30.0])),
        guarded=frozenset({0}) if connections[0] in connections[1:] and draw(st.booleans()) else frozenset(),
        checked=() if memory else draw(st.sampled_from([(), (), ("t",), ("t", "u")])),
    )
