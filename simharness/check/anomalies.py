"""Names what an execution that fits no serial order has done: lost update, write skew, phantom and so on, with its dependency cycle.

Transactions are the calls of a program. One depends on another if it reads what that wrote (wr), writes what that wrote (ww), or writes
what that read before (rw, an anti-dependency). Executions without a cycle of these have a serial order. Cycles are classed as by Adya
(*Weak consistency*, 1999, section 4.2): G0 is made of writes, G1 has no anti-dependency, G-single has one, G2 has several; the names are
those of Berenson et al. (*A critique of ANSI SQL isolation levels*, SIGMOD 1995). That a cycle is shown is the idea of Elle (Kingsbury and
Alvaro, VLDB 2020), which has to infer it from results; here the accesses are known.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import NamedTuple

from simharness.check.outcomes import Position
from simharness.trace.data import Step


class Access(NamedTuple):
    """A read or a write, in the order in which they happened.

    Attributes:
        by: the transaction.
        item: what is read or written.
        writes: whether it is written.
        of: the table that a row is of; a read of that table reads the row.
        whole: of a write, whether it adds or removes the row: a read of the table did not meet it, or would no longer.
    """

    by: Hashable
    item: str
    writes: bool
    of: str = ""
    whole: bool = False


class Edge(NamedTuple):
    """A dependency: the second transaction comes after the first in every serial order that has these accesses.

    Attributes:
        how: "ww", "wr" or "rw".
        first, second: the accesses, by position.
        item: on what.
        whole: whether it is a predicate that is read, and a row that comes or goes.
    """

    how: str
    one: Hashable
    other: Hashable
    first: int
    second: int
    item: str
    whole: bool


class Anomaly(NamedTuple):
    """A cycle of dependencies, its class and its name."""

    name: str
    adya: str
    cycle: tuple[Edge, ...]

    def __str__(self) -> str:
        chain = "".join(f"{edge.one} -{edge.how}-> " for edge in self.cycle) + str(self.cycle[0].one)
        return f"{self.name} ({self.adya}): {_story(self)}: {chain}"


G0, G1, SINGLE, G2 = "G0", "G1", "G-single", "G2"
CLASSES = (G0, G1, SINGLE, G2)
LOST_UPDATE, DIRTY_READ, FUZZY_READ, PHANTOM, READ_SKEW, WRITE_SKEW, DIRTY_WRITE, CYCLE = (
    "lost update",
    "dirty read",
    "fuzzy read",
    "phantom",
    "read skew",
    "write skew",
    "dirty write",
    "dependency cycle",
)
_RANKS = (LOST_UPDATE, DIRTY_READ, FUZZY_READ, PHANTOM, READ_SKEW, WRITE_SKEW, DIRTY_WRITE, CYCLE)


def edges_of(accesses: Sequence[Access]) -> list[Edge]:
    """Return the dependencies between transactions: of each pair of accesses that conflict."""
    found = []
    for (first, one), (second, other) in itertools.combinations(enumerate(accesses), 2):
        meet = other.item in (one.item, one.of) or other.of == one.item
        if one.by == other.by or not (one.writes or other.writes) or not meet:
            continue
        kind = ("w" if one.writes else "r") + ("w" if other.writes else "r")
        whole = (one.whole or other.whole) and not (one.writes and other.writes)
        found.append(Edge(kind, one.by, other.by, first, second, max(one.item, other.item, key=len), whole))
    return found


def find(accesses: Sequence[Access]) -> Anomaly | None:
    """Return the anomaly of the lowest class, and of these the best known; None if there is a serial order."""
    edges = edges_of(accesses)
    for adya in CLASSES:
        found = [Anomaly(_name(cycle, adya, edges), adya, cycle) for cycle in _cycles(edges, adya)]
        if found:
            best = min(found, key=lambda one: (_RANKS.index(one.name), len(one.cycle), [(edge.first, edge.second) for edge in one.cycle]))
            return _as_told(best, edges)
    return None


def _cycles(edges: Sequence[Edge], adya: str) -> Iterator[tuple[Edge, ...]]:
    """Yield cycles of a class; all with two transactions, and else the shortest through each edge."""
    kinds = {G0: ("ww",), G1: ("ww", "wr"), SINGLE: ("ww", "wr"), G2: ("ww", "wr", "rw")}[adya]
    starts = [edge for edge in edges if edge.how == "rw"] if adya in (SINGLE, G2) else [edge for edge in edges if edge.how in kinds]
    rest = [edge for edge in edges if edge.how in kinds]
    short = [(one, other) for one in starts for other in rest if (other.one, other.other) == (one.other, one.one)]
    if short:
        yield from short
        return
    for start in starts:
        path = _path(rest, start.other, start.one)
        if path:
            yield (start, *path)


def _path(edges: Sequence[Edge], start: Hashable, end: Hashable) -> tuple[Edge, ...]:
    """Return a shortest way from one transaction to another; () if there is none."""
    ways: dict[Hashable, tuple[Edge, ...]] = {start: ()}
    waiting = [start]
    for here in waiting:
        for edge in edges:
            if edge.one == here and edge.other not in ways:
                ways[edge.other] = (*ways[here], edge)
                waiting.append(edge.other)
    return ways.get(end, ())


def _name(cycle: tuple[Edge, ...], adya: str, edges: Sequence[Edge]) -> str:
    if adya == G0:
        return DIRTY_WRITE
    if adya == G1:
        return DIRTY_READ
    if adya == G2:
        return PHANTOM if any(edge.whole for edge in cycle if edge.how == "rw") else WRITE_SKEW
    anti, back = cycle[0], cycle[-1]
    if len(cycle) > 2:
        return CYCLE
    if anti.item != back.item:
        return READ_SKEW if back.how == "wr" else CYCLE
    if back.how == "ww":
        return LOST_UPDATE
    if back.first < anti.first:
        return DIRTY_READ
    return PHANTOM if anti.whole or back.whole else FUZZY_READ


def _as_told(anomaly: Anomaly, edges: Sequence[Edge]) -> Anomaly:
    """Return a lost update of two that both read first as it is told: each has overwritten what the other has read."""
    anti = anomaly.cycle[0]
    if anomaly.name == LOST_UPDATE:
        for edge in edges:
            alike = edge.item == anti.item or anti.item.startswith(f"{edge.item}[")
            if edge.how == "rw" and alike and (edge.one, edge.other) == (anti.other, anti.one):
                return anomaly._replace(cycle=tuple(sorted((anti, edge), key=lambda edge: edge.first)))
    return anomaly


def _story(anomaly: Anomaly) -> str:
    """Say in words what happened."""
    first, last = anomaly.cycle[0], anomaly.cycle[-1]
    one, other, item = first.one, first.other, first.item
    if anomaly.name == LOST_UPDATE:
        both = f"{one} and {other} both read {item}, then both wrote it"
        return both if last.how == "rw" else f"{one} read {item}, {other} wrote it, and {one} wrote over that"
    if len(anomaly.cycle) > 2 or anomaly.name == CYCLE:
        return "no order of the calls has these accesses"
    stories = {
        DIRTY_WRITE: f"{other} wrote {item} after {one}, and {one} wrote {last.item} after {other}",
        DIRTY_READ: f"{one} read {last.item} between two writes of {other}"
        if anomaly.adya == SINGLE
        else f"{other} saw what {one} had written, and {one} what {other} had",
        FUZZY_READ: f"{one} read {item} before and after {other} wrote it",
        READ_SKEW: f"{one} read {item} before {other} wrote it, and {last.item} after {other} wrote that",
        WRITE_SKEW: f"{one} read {item} and wrote {last.item}, {other} the other way round",
        PHANTOM: f"{one} looked for rows before {other} added or removed {item}, and after"
        if anomaly.adya == SINGLE
        else f"{one} looked for rows before {other} added or removed {item}, and {other} before {one} changed {last.item}",
    }
    return stories[anomaly.name]


Footprint = tuple[Position, Sequence[str], Sequence[str]]
"""A call, and the names of what one of its steps has read and written."""
_TABLE = re.compile(r".* table (.+)")
_MEMORY = re.compile(r"memory (.+?)(?: 1)?((?:\[.*\]|\.\w+)*)")
_CHANGE = re.compile(r"([-+~]) (\S+) ([^,]*)(?:,.*)?")


def accesses_of(footprints: Sequence[Footprint | None], steps: Sequence[Step], names: Mapping[Position, str]) -> list[Access]:
    """Return what calls have read and written: from the footprints of their steps, and the rows that steps have changed.

    Args:
        steps: those of the trace.
        names: of the calls, as they are shown.
    """
    found = []
    for footprint, step in zip(footprints, steps, strict=False):
        if footprint is None:
            continue
        position, reads, writes = footprint
        by, changed = names[position], [match for match in map(_CHANGE.fullmatch, step.database) if match is not None]
        updates = step.detail.lstrip()[:6].upper() in ("UPDATE", "COMMIT")
        for name in (*reads, *writes):
            table = _TABLE.fullmatch(name)
            memory = _MEMORY.fullmatch(name)
            if table is not None and not any(match[2] == table[1] for match in changed):
                found.append(Access(by, table[1], updates and name in writes))  # an update may write what was there
            elif memory is not None:
                found.append(Access(by, memory[1] + memory[2], name in writes))
        found += [Access(by, f"{match[2]}[{match[3]}]", True, match[2], match[1] != "~") for match in changed]
    return found
