"""Lets the log lines of an execution pass in the order of an incident's, and tracks how far it has got."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from simharness.authoring.world import ASSUME
from simharness.engine.actors import SHIFT
from simharness.engine.kernel import Kernel
from simharness.engine.kinds import ALONE, Kind
from simharness.engine.operations import Operation, Resource
from simharness.incident.templates import Line, Log
from simharness.incident.timeline import Incident
from simharness.runtimes.logs import LOG

RESOURCE = "the incident's log"
PROCESS, THREAD = "a process", "a thread"
"""Kinds of ids that come from the line format."""
BEYOND = "beyond the incident's log"
"""In a kernel's context, if the execution logs lines that match a template after the incident's last line."""
DROPPED = "dropped log lines"
"""In a kernel's context: the indices of steps that only showed that a line comes after the end of its part; not steps of the code."""
PICK = Kind(ALONE, "pick")
"""The kind of the steps by which actors pick the part whose lines they log; they are not the code's steps."""
Identity = tuple[str, str, str]
"""(kind, value in the incident, value in the execution)"""


class State(NamedTuple):
    """How much of the incident an execution has logged: the mask of its lines, the number of lines that the incident lacks, the ids."""

    consumed: int = 0
    missing: int = 0
    ids: tuple[Identity, ...] = ()

    def unified(self, pairs: Sequence[Identity]) -> tuple[Identity, ...] | None:
        """Return the ids with these added, or None if an id already corresponds to another one."""
        ids = list(self.ids)
        for pair in pairs:
            if pair in ids:
                continue
            kind, logged, own = pair
            if any(kind == known and (logged == mine or own == its) for known, mine, its in ids):
                return None
            ids.append(pair)
        return tuple(sorted(ids))


class LogLine(Operation):
    """The step of a log line; `message` is what it logs, `event` what that means."""

    __slots__ = ("event", "message")

    def __init__(self, message: str, *arguments: Any, event: str = "", **options: Any) -> None:
        super().__init__(LOG, *arguments, **options)
        self.message = message
        self.event = event


class Gate:
    """Lets log lines pass in the incident's order; see `Kernel.route_log_lines`.

    Where no order is known between the lines of two processes, each has its own resource, so that their lines stay independent; each actor
    then picks, before its first line, the part whose lines it logs. The parts' ids are unified when the execution is over.

    Args:
        missing: how many lines the execution may log that the incident lacks.

    Attributes:
        said: the events that each actor has been about to log, in any execution so far.
    """

    def __init__(self, kernel: Kernel, incident: Incident, log: Log, missing: int) -> None:
        self._kernel = kernel
        self._log = log
        self._lines, self._before = incident.lines, incident.before
        self._missing = missing
        self.said: dict[str, set[str]] = {}
        self._parts = parts(incident)
        self.complete = (1 << len(incident.lines)) - 1
        self._expected = -1, frozenset[str]()

    @property
    def resources(self) -> list[Resource]:
        """The resource of each part of the incident; its state is what has been logged of the part."""
        return [self._kernel.resource(f"{RESOURCE} {number}", State()) for number in range(len(self._parts))]

    @property
    def state(self) -> State | None:
        """How far the kernel's execution has got; None if the ids of its parts contradict each other."""
        states: list[State] = [resource.state for resource in self.resources]
        whole = State()
        for state in states:
            ids = whole.unified(state.ids)
            if ids is None:
                return None
            whole = State(whole.consumed | state.consumed, whole.missing + state.missing, ids)
        return whole

    @property
    def consumed(self) -> int:
        """The mask of the lines that the kernel's execution has logged."""
        return sum(resource.state.consumed for resource in self.resources)

    def __call__(self, record: logging.LogRecord) -> None:
        """Make the step of a line that is about to be logged."""
        kernel = self._kernel
        message = record.getMessage().partition("\n")[0]
        matched = self._log.match(record.name, message)
        if matched is None:
            kernel.step(LogLine(message, detail=record.name))
            return
        template, fields = matched
        assert kernel.actor is not None
        self.said.setdefault(kernel.actor.name, set()).add(template.event)
        part = self._part()
        resource = self.resources[part]
        equal = [(name, fields[name]) for name in self._log.equal if name in fields]
        candidates = [
            (index, self._identities(line, record, fields))
            for index, line in enumerate(self._lines)
            if self._parts[part] >> index & 1
            and line.event == template.event
            and all(line.fields.get(name, value) == value for name, value in equal)
        ]
        taken = self._pass(message, record.name, part, candidates, template.event)
        if taken is None:
            kernel.step(Operation(ASSUME, kernel.resource("assume", False), enabled=bool))
        elif taken != resource.state:
            kernel.put(resource, taken)
            if taken.consumed == self._parts[part]:
                ended = self._ended
                kernel.put(ended, ended.state | taken.consumed)
        else:
            kernel.context[BEYOND] = True
            if len(self._parts) > 1:
                kernel.context.setdefault(DROPPED, set()).add(kernel.record.n - 1)
                ended = self._ended
                kernel.step(
                    LogLine(message, ended, reads=ended.bit, enabled=lambda consumed: bool(consumed == self.complete), detail=record.name)
                )

    def expected(self) -> frozenset[str]:
        """The events of the lines that the incident has next."""
        done = self.consumed
        if done != self._expected[0]:
            lines = (line for index, line in enumerate(self._lines) if not done >> index & 1 and not self._before[index] & ~done)
            self._expected = done, frozenset(line.event for line in lines)
        return self._expected[1]

    def _pass(self, message: str, logger: str, part: int, candidates: Sequence[tuple[int, Sequence[Identity]]], event: str) -> State | None:
        """Make the step of a line that may match a candidate; return the state that it leads to, or None if no candidate matches."""
        resource, known = self.resources[part], dict[State, list[State]]()

        def ways(state: State) -> list[State]:
            states = known.get(state)
            if states is None:
                states = known[state] = self._ways(state, self._parts[part], candidates)
            return states

        last = any(not any(before >> index & 1 for before in self._before) for index, _ in candidates)
        most = self._widest([index for index, _ in candidates]) + bool(self._missing)
        taken = self._kernel.step(
            LogLine(
                message,
                resource,
                enabled=lambda state: bool(ways(state)),
                writes_when=lambda state: len(ways(state)) > 1 or state.consumed != self._parts[part],
                options=max(1, most),
                detail=logger,
                event=event,
                also=self._ended.bit if last and len(self._parts) > 1 else 0,
            )
        )
        states = ways(resource.state)
        return states[taken] if taken < len(states) else None

    @property
    def _ended(self) -> Resource:
        """The resource whose state is the mask of the lines of the finished parts; once all are finished, further lines are free."""
        return self._kernel.resource(f"the end of {RESOURCE}", 0)

    def _part(self) -> int:
        """Return the part of the incident that the current actor logs; it picks one before its first line."""
        actor = self._kernel.actor
        assert actor is not None
        picked: int | None = actor.locals.get(PICK)
        if picked is None:
            number = len(self._parts)
            picked = actor.locals[PICK] = self._kernel.step(Operation(PICK, options=number)) if number > 1 else 0
        return picked

    def _identities(self, line: Line, record: logging.LogRecord, fields: Mapping[str, str]) -> list[Identity]:
        """Return the ids to unify if the record is taken for that line."""
        ids = self._log.ids
        pairs = [(ids[name], line.fields[name], value) for name, value in fields.items() if name in ids and name in line.fields]
        life = f"{record.process}{self._lives(record)}"
        if line.process:
            pairs.append((PROCESS, line.process, life))
        if line.thread:
            pairs.append((THREAD, f"{line.source if not line.process else line.process} {line.thread}", f"{life} {record.thread}"))
        return pairs

    def _lives(self, record: logging.LogRecord) -> str:
        """Return a mark for each crash of the record's process: after a restart it is another process."""
        kernel = self._kernel
        process = kernel.actor.process if kernel.actor is not None else ""
        return "'" * sum(
            kernel.movers.faults.get(kernel.record.keys[step] >> SHIFT) == ("crash", process) for step, _ in kernel.record.struck
        )

    def _ways(self, state: State, part: int, candidates: Sequence[tuple[int, Sequence[Identity]]]) -> list[State]:
        """Return the states to which the record may lead: as one of the candidates, or as a line that the incident lacks."""
        states: list[State] = []
        if state.consumed == part:
            states.append(state)
            if len(self._parts) == 1:
                return states
        for index, identities in candidates:
            if not state.consumed >> index & 1 and not self._before[index] & ~state.consumed:
                ids = state.unified(identities)
                if ids is not None:
                    states.append(State(state.consumed | 1 << index, state.missing, ids))
        if state.missing < self._missing:
            states.append(state._replace(missing=state.missing + 1))
        return states

    def _widest(self, indices: Sequence[int]) -> int:
        """Return an upper bound of how many of these lines can be next at once: the number of chains of a greedy partition."""
        chains: list[int] = []
        for index in indices:
            for position, last in enumerate(chains):
                if self._before[index] >> last & 1:
                    chains[position] = index
                    break
            else:
                chains.append(index)
        return len(chains)


def parts(incident: Incident) -> list[int]:
    """Return the parts of the incident, as masks of lines: lines of different parts have no known order. One part if a line has no process.

    All lines of a process are in one part, so all lines of an actor are.
    """
    lines = incident.lines
    if not lines or not all(line.process for line in lines):
        return [(1 << len(lines)) - 1]
    masks: list[int] = []
    for index, line in enumerate(lines):
        mask = 1 << index | incident.before[index]
        mask |= sum(1 << other for other in range(index) if lines[other].process == line.process)
        joined = [part for part in masks if part & mask]
        masks = [part for part in masks if not part & mask] + [sum(joined) | 1 << index]
    return masks
