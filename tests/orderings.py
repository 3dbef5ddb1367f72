"""The orderings that executions fall into, counted without the engine's help.

An execution's ordering (its Mazurkiewicz trace) is computed from what the program logged and from the tables in `docs/semantics.md`
(operation and result: what is read, what is written), written down here once more; never from what the engine recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from tests.random_programs import Event, Explored, Program, Step

Footprint = tuple[set[Hashable], set[Hashable]]
NOTHING: frozenset[Hashable] = frozenset()
BUSY = "SQLITE_BUSY"


def counted(program: Program, found: Explored) -> Counter[Hashable]:
    """Return how many of the executions are of each ordering."""
    known = Known(program, found)
    return Counter(known.ordering(steps, finished) for steps, finished in found.executions)


class Known:
    """What is known of a program once all its executions are: the connections in the open, whether snapshots are taken."""

    def __init__(self, program: Program, found: Explored) -> None:
        self.program = program
        self.checked: set[Hashable] = {("cell", i) for i in program.always}
        self.open: set[int] = set()
        self.snapshots = False
        database = program.database
        if database is None:
            return
        if database.checked:
            self.checked |= {"every", *(("table", name) for name in database.checked)}
        self.several = not database.memory and (len(set(database.connections)) > 1 or bool(database.checked))
        shared: set[int] = set()
        locks: dict[int, frozenset[int]] = {}
        for steps, _ in found.executions:
            users: dict[int, int] = {}
            for event in (step.event for step in steps):
                if "connection" in event.facts:
                    number = event.facts["connection"]
                    locks[number] = locks.get(number, event.facts["locks"]) & event.facts["locks"]
                    if users.setdefault(number, event.actor) != event.actor:
                        shared.add(number)
        self.open = {number for number in shared if not locks[number]}
        self.snapshots = any(self._takes_snapshot(step.event) for steps, _ in found.executions for step in steps)

    def _takes_snapshot(self, event: Event) -> bool:
        facts = event.facts
        if "connection" not in facts:
            return False
        if facts["connection"] in self.open:
            return self.several
        return event.name == "select" and bool(facts["inside"]) and not facts["was"][1]

    # The table

    def footprints(self, steps: Sequence[Step], finished: set[int]) -> list[Footprint]:
        """Return what each step reads and writes, with what does not depend on the instruction alone."""
        last = {step.event.actor: position for position, step in enumerate(steps)}
        waiting: list[int] = []
        result = []
        for position, step in enumerate(steps):
            me = step.event.actor
            if step.event.name == "advance":
                result.append((set[Hashable](), {"clock"}))
                continue
            found = self.statement(step) if "connection" in step.event.facts else self.condition(step, waiting)
            reads, writes = (set(part) for part in found or footprint(step))
            reads.add("clock")
            writes.add(("actor", me))
            if writes & self.checked:
                writes.add("checked")
            if me in self.program.daemons:
                writes.add("the end")
            elif self.program.daemons and me in finished and last[me] == position:
                reads.add("the end")
            result.append((reads, writes))
        return result

    def condition(self, step: Step, waiting: list[int]) -> tuple[Iterable[Hashable], Iterable[Hashable]] | None:
        """The condition's operations; `waiting` are the actors in its queue, oldest first."""
        event, lock = step.event, ("lock", self.program.guard)
        if event.name == "condition_wait":
            if step.part:
                return ["condition"], [lock]
            if event.result != "RuntimeError":
                waiting.append(event.actor)
            return [], ["condition", lock]
        if event.name == "condition_notify":
            some = bool(waiting)
            if event.result != "RuntimeError":
                del waiting[: event.target]
            return ([lock], ["condition"]) if some else ([lock, "condition"], [])
        return None

    def statement(self, step: Step) -> tuple[Iterable[Hashable], Iterable[Hashable]]:
        """What a statement of SQL reads and writes."""
        facts, name = step.event.facts, step.event.name
        connection = ("connection", facts["connection"])
        reads, writes = ({("table", table) for table in facts[kind]} for kind in ("reads", "writes"))
        database = self.program.database
        assert database is not None
        if facts["connection"] in self.open:
            if name == "select":
                journal = self.several and not database.wal
                commits = {"commits"} if self.several else NOTHING
                return {connection, *commits, "every", *(reads if not step.part else NOTHING)}, {"file"} if journal else NOTHING
            whole = self.several and step.event.target[1:] != ("DEFERRED",)
            return {"every"}, {connection, *writes, *(("every", "commits", "wlock", "file") if whole else ())}
        if not self.several:
            return NOTHING, NOTHING
        found = self.wal(step, reads, writes) if database.wal else self.journal(step, reads, writes)
        return {"every", *found[0]}, found[1]

    def wal(self, step: Step, reads: set[Any], writes: set[Any]) -> tuple[Iterable[Hashable], Iterable[Hashable]]:
        """A statement on a connection that is not in the open, with WAL."""
        event = step.event
        snapshot, holds, touched, changed = event.facts["was"]
        inside = event.facts["inside"]
        commits = {"commits"} if self.snapshots else set()
        if event.name == "select":
            if not inside:
                return reads, NOTHING
            return (NOTHING, NOTHING) if holds or snapshot else (commits, NOTHING)
        if event.name in ("commit", "rollback"):
            if not holds:
                return NOTHING, NOTHING
            tables = {("table", table) for table in touched} | commits if event.name == "commit" and changed else set()
            return NOTHING, {"wlock", *tables}
        if holds or event.target[1:] == ("DEFERRED",):
            return NOTHING, NOTHING
        if writes and not inside:
            return {"wlock", *reads}, {*writes, *commits}
        seen = commits if snapshot else set()
        return ({"wlock", *seen}, NOTHING) if event.result == BUSY else (seen, {"wlock"})

    def journal(self, step: Step, reads: set[Any], writes: set[Any]) -> tuple[Iterable[Hashable], Iterable[Hashable]]:
        """The same with a rollback journal; a statement that is refused waits and is tried again, each time a step."""
        event = step.event
        _, _, touched, changed = event.facts["was"]
        inside = event.facts["inside"]
        if event.name == "select":
            return (reads, {"file"}) if inside or step.part else ({"file", *reads}, NOTHING)
        tables = {("table", table) for table in touched} if event.name == "commit" and changed else set()
        if event.name in ("commit", "rollback"):
            return NOTHING, {"file", *tables}
        return reads, {"file", *(writes if not inside else NOTHING)}

    def ordering(self, steps: Sequence[Step], finished: set[int]) -> Hashable:
        """Return the class of an execution: for each actor its steps, each with how many of every actor's happen before it."""
        bits: dict[Hashable, int] = {}

        def mask(resources: set[Hashable]) -> int:
            return sum(1 << bits.setdefault(resource, len(bits)) for resource in resources)

        touched = [(mask(reads), mask(writes)) for reads, writes in self.footprints(steps, finished)]
        movers = len(self.program.actors) + 1
        clocks: list[list[int]] = []
        result: list[list[Hashable]] = [[] for _ in range(movers)]
        for j, step in enumerate(steps):
            reads, writes = touched[j]
            either = reads | writes
            clock = [0] * movers
            for i in range(j):
                if touched[i][1] & either or touched[i][0] & writes:
                    clock = list(map(max, clock, clocks[i]))
            event = step.event
            clock[event.actor] += 1
            clocks.append(clock)
            taken = event.result if event.name == "choose" else None
            result[event.actor].append((event.name, event.target, step.part, taken, tuple(clock)))
        return tuple(tuple(own) for own in result)


def footprint(step: Step) -> Footprint:
    """Return what a step reads and writes whoever makes it and whatever came before."""
    event, part = step.event, step.part
    name, target, result = event.name, event.target, event.result
    cell, lock, actor, life = {("cell", target)}, {("lock", target)}, {("actor", target)}, {("life", target)}
    items, tasks = {("queue", target)}, {("tasks", target)}
    done = result not in (0, "Full", "Empty") if name in ("try_lock", "try_take", "compare_and_set") else result not in ("Full", "Empty")
    none: set[Any] = set()
    if name == "step":
        return {("named", x) for x in target[0]}, {("named", x) for x in target[1]}
    if event.facts.get("again"):
        return none, none
    table: dict[str, tuple[set[Any], set[Any]]] = {
        "get": (cell, none),
        "wait_until": (cell, none),
        "set": (none, cell),
        "add": (none, cell),
        "swap": (none, cell),
        "compare_and_set": (none, cell) if done else (cell, none),
        "start": (none, actor | life),
        "join": (actor | life, none),
        "is_alive": (life, none),
        "end": (none, life),
        "lock": (none, lock),
        "unlock": (none, lock),
        "try_lock": (none, lock) if done else (lock, none),
        "locked": (lock, none),
        "event_set": (none, {"event"}),
        "event_clear": (none, {"event"}),
        "event_wait": ({"event"}, none),
        "event_look": ({"event"}, none),
        "take": (none, {"semaphore"}),
        "give": (none, {"semaphore"}),
        "try_take": (none, {"semaphore"}) if done else ({"semaphore"}, none),
        "put": (none, items | tasks),
        "try_put": (none, items | tasks) if done else (items, none),
        "pop": (none, items),
        "try_pop": (none, items) if done else (items, none),
        "task_done": (none, tasks),
        "all_done": (tasks, none),
        "size": (items, none),
        "meet": ({"barrier"}, none) if part else (none, {"barrier"}),
        "abort": (none, {"barrier"}),
        "reset": (none, {"barrier"}),
    }
    return table.get(name, (none, none))
