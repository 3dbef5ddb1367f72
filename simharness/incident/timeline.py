"""The lines of one incident among all that were read, and which of them came before which.

Lines that share an id belong together; those connected with the incident's session are the incident. The order of two lines is known as
follows:

- lines of one log are in the order of the file, unless they name different processes;
- lines of one thread are in the order of their times;
- all others are ordered only if their times differ by more than the skew.

A clock that goes backwards orders fewer lines, never the wrong way round: a line counts as written at any time between the earliest time
of a later line of its log and the latest time of an earlier one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from simharness.errors import Misuse
from simharness.incident.doubles import without_doubles
from simharness.incident.near import NearLine, near_lines
from simharness.incident.templates import Line, Log
from simharness.incident.times import SECOND, clock_text
from simharness.visible import shortened, visible

Id = tuple[str, str]
"""(kind, value)"""
LONGEST_LIST = 5
MOST_LINES = 1_000
"""Lines of one incident: every pair of them is compared, and a scenario with more of them is too large to search."""


@dataclass(frozen=True)
class Incident:
    """The lines that an execution has to explain.

    Attributes:
        lines: in an order that agrees with `before`.
        before: for each line, the mask of the lines before it.
        sessions: the ids of the session kind in them, in order of appearance.
        marked: indices of the lines of the signature; empty if it does not occur.
        foreign: lines that match a template and belong to other sessions.
        unclear: lines that match a template and whose session is not known.
        doubled: how many lines were dropped because another log, or another handler of the same one, has them as well.
        near: lines that match no template, and may belong to the incident all the same.
        span: seconds between the first and the last line.
    """

    lines: Sequence[Line]
    before: Sequence[int]
    sessions: Sequence[str]
    marked: frozenset[int]
    foreign: Sequence[Line]
    unclear: Sequence[Line]
    doubled: int
    skew: float
    span: float = field(default=0.0)
    near: Sequence[NearLine] = ()


def incident_of(lines: Sequence[Line], log: Log, skew: float, sessions: Sequence[str] = ()) -> Incident:
    """Pick the incident's lines and order them.

    Args:
        skew: seconds by which the clocks of different logs or processes may differ.
        sessions: ids of the sessions to explain, if there are several; those given belong together.

    Raises:
        Misuse: no line matches a template, or it is not clear which session is meant.
    """
    meaningful = [line for line in lines if line.template is not None]
    if not meaningful:
        names = ", ".join(sorted(log.by_logger)[:LONGEST_LIST])
        what = f"none of the {len(lines):,} log lines matches a template of the scenario: its templates are for loggers {names}"
        for near in near_lines(lines, log, ()):
            assert near.template is not None
            at = f"{near.line.place.rpartition('/')[2]}, of logger {shortened(near.line.logger)!r}"
            raise Misuse(f"{what}; {at}, resembles {near.template.message!r}: {near.why}")
        raise Misuse(what)
    meaningful, doubled = without_doubles(meaningful)
    groups = _Groups()
    named: dict[tuple[str, str, str], list[Id]] = {}
    for line in meaningful:
        ids = _ids(line, log)
        groups.link(ids)
        if line.thread and ids:
            thread = (line.source if not line.process else "", line.process, line.thread)
            if line.template is not None and line.template.goes_on and thread in named:
                groups.link([*named[thread], *ids])
            named[thread] = ids
    known = {key for line in meaningful for key in _ids(line, log)}
    for session in sessions:
        if (log.session, session) not in known:
            there = [value for kind, value in sorted(known) if kind == log.session]
            raise Misuse(f"--session {shortened(session)}: no log line names it; there are: {_listed(there) or 'none'}")
    groups.link([(log.session, session) for session in sessions])
    chosen = _chosen(meaningful, log, groups, sessions)
    belonging: list[Line] = []
    foreign: list[Line] = []
    unclear: list[Line] = []
    alone = sum(1 for group in groups.all() if any(kind == log.session for kind, _ in group)) == 1 and not _several(groups, log)
    for line in meaningful:
        ids = _ids(line, log)
        root = groups.root(ids[0]) if ids else None
        if root == chosen or (alone and (root is None or not groups.has(root, log.session))):
            belonging.append(line)
        elif root is not None and groups.has(root, log.session):
            foreign.append(line)
        else:
            unclear.append(line)
    if len(belonging) > MOST_LINES:
        raise Misuse(f"{len(belonging):,} lines belong to the session; an incident has at most {MOST_LINES:,}: use --since and --until")
    ordered, before = _ordered(belonging, round(skew * SECOND))
    named_sessions = dict.fromkeys(value for line in ordered for kind, value in log.ids_of(line.fields) if kind == log.session)
    made = Incident(ordered, before, list(named_sessions), frozenset(), foreign, unclear, doubled, skew)
    marked = signature(ordered, log)
    times = [line.time for line in ordered]
    return replace(made, marked=marked, span=(max(times) - min(times)) / SECOND)


def signature(lines: Sequence[Line], log: Log) -> frozenset[int]:
    """Return the indices of the lines of the harm's signature."""
    if log.signature is None:
        return frozenset()
    marked = {id(line) for line in log.signature(lines)}
    return frozenset(index for index, line in enumerate(lines) if id(line) in marked)


def _ids(line: Line, log: Log) -> list[Id]:
    """Return the ids that a line names, including those of its tags."""
    tags = [(kind, line.tags[name]) for name, kind in log.tags.items() if line.tags.get(name)]
    return [*log.ids_of(line.fields), *tags]


class _Groups:
    """Connected ids, as disjoint sets; the smaller set joins the larger one, so that linking stays cheap."""

    def __init__(self) -> None:
        self._parent: dict[Id, Id] = {}
        self._members: dict[Id, list[Id]] = {}
        self._kinds: dict[Id, set[str]] = {}

    def root(self, key: Id) -> Id:
        while self._parent[key] != key:
            self._parent[key] = self._parent[self._parent[key]]
            key = self._parent[key]
        return key

    def link(self, ids: Sequence[Id]) -> None:
        for key in ids:
            if key not in self._parent:
                self._parent[key] = key
                self._members[key] = [key]
                self._kinds[key] = {key[0]}
            first, other = self.root(ids[0]), self.root(key)
            if first != other:
                if len(self._members[first]) < len(self._members[other]):
                    first, other = other, first
                self._parent[other] = first
                self._members[first] += self._members.pop(other)
                self._kinds[first] |= self._kinds.pop(other)

    def all(self) -> Iterable[list[Id]]:
        return self._members.values()

    def has(self, root: Id, kind: str) -> bool:
        return kind in self._kinds[root]


def _several(groups: _Groups, log: Log) -> bool:
    """Whether several ids of one kind are not connected with a session: then it is not known to which session they belong."""
    apart = [key for group in groups.all() if not any(kind == log.session for kind, _ in group) for key in group]
    kinds = [kind for kind, _ in apart]
    return len(kinds) != len(set(kinds))


def _chosen(lines: Sequence[Line], log: Log, groups: _Groups, sessions: Sequence[str]) -> Id:
    """Return the root of the group that the incident is about."""
    if sessions:
        return groups.root((log.session, sessions[0]))
    roots: dict[Id, list[Line]] = {}
    for line in lines:
        ids = _ids(line, log)
        if ids and groups.has(groups.root(ids[0]), log.session):
            roots.setdefault(groups.root(ids[0]), []).append(line)
    if not roots:
        raise Misuse(f"no log line names a {log.session}: so it is not known which lines belong together")
    names = {root: next(value for line in group for kind, value in _ids(line, log) if kind == log.session) for root, group in roots.items()}
    if len(roots) == 1:
        return next(iter(roots))
    marked = [root for root, group in roots.items() if signature(sorted(group, key=lambda line: line.time), log)]
    if len(marked) == 1:
        return marked[0]
    which = [names[root] for root in marked or roots]
    raise Misuse(
        f"the logs name {len(which)} unconnected sessions: give --session, once for each that belongs to the incident: {_listed(which)}"
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LONGEST_LIST} more" if len(names) > LONGEST_LIST else ""
    return ", ".join(map(shortened, names[:LONGEST_LIST])) + more


def _ordered(lines: Sequence[Line], skew: int) -> tuple[list[Line], list[int]]:
    """Return the lines in a possible order, and for each the mask of those before it."""
    latest, earliest = _bounds(lines)
    count = len(lines)
    position: dict[str, int] = {}
    rank = []
    for line in lines:
        rank.append(position.get(line.source, 0))
        position[line.source] = rank[-1] + 1
    first = [sum(1 << i for i in range(count) if i != j and _comes_before(lines, rank, latest, earliest, skew, i, j)) for j in range(count)]
    done = 0
    order: list[int] = []
    left = sorted(range(count), key=lambda j: (lines[j].time, lines[j].source, rank[j]))
    while left:
        best = next(j for j in left if not first[j] & ~done)
        left.remove(best)
        order.append(best)
        done |= 1 << best
    place = {old: new for new, old in enumerate(order)}
    before = [sum(1 << place[i] for i in range(count) if first[j] >> i & 1) for j in order]
    return [lines[j] for j in order], before


def _bounds(lines: Sequence[Line]) -> tuple[list[int], list[int]]:
    """Return for each line the latest and the earliest time at which it can have been written, by its log's clock."""
    latest, earliest = [0] * len(lines), [0] * len(lines)
    running: dict[str, int] = {}
    for index, line in enumerate(lines):
        running[line.source] = latest[index] = max(running.get(line.source, 0), line.time + line.precision)
    running.clear()
    for index in range(len(lines) - 1, -1, -1):
        line = lines[index]
        running[line.source] = earliest[index] = min(running.get(line.source, line.time), line.time)
    return latest, earliest


def _comes_before(
    lines: Sequence[Line], rank: Sequence[int], latest: Sequence[int], earliest: Sequence[int], skew: int, i: int, j: int
) -> bool:
    """Whether line i is known to have been written before line j."""
    first, second = lines[i], lines[j]
    apart = bool(first.process and second.process and first.process != second.process)
    if first.source == second.source and not apart:
        return rank[i] < rank[j]
    if first.process and first.thread and (first.process, first.thread) == (second.process, second.thread):
        return first.time + first.precision <= second.time
    return latest[i] + skew < earliest[j]


def rendered(incident: Incident, log: Log, width: int = 100) -> list[str]:
    """Return the incident as text, with an asterisk at the lines of its signature."""
    lines = incident.lines
    names = {session: f"session {chr(ord('A') + index)}" for index, session in enumerate(incident.sessions[:26])}
    many = len({line.source for line in lines}) > 1
    rows = []
    for index, line in enumerate(lines):
        origin = [f"{names.get(value, value)}" for kind, value in log.ids_of(line.fields) if kind == log.session]
        origin += [f"{title} {value}" for title, value in (("pid", line.process), ("thread", line.thread)) if value]
        if many:
            origin.append(line.source.rpartition("/")[2])
        who = shortened(", ".join(dict.fromkeys(origin)), width)
        where = visible(line.place.rpartition("/")[2])
        rows.append(("*" if index in incident.marked else " ", clock_text(line.time), visible(line.event), who, where))
    first, second = (max((len(row[column]) for row in rows), default=0) for column in (2, 3))
    text = [f"{names[session]} is {shortened(session)}" for session in incident.sessions[:26]]
    for mark, time, event, origin_text, place in rows:
        text.append(f"{mark} {time}  {event:{first}}  {origin_text:{second}}  {place}"[:width].rstrip())
    return text
