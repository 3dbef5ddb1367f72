"""Lets the log lines of an execution pass in the order of an incident's, and keeps how far it has come."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from simharness.engine.actors import SHIFT
from simharness.engine.kernel import Kernel
from simharness.engine.operations import Operation, Resource
from simharness.engine.record import LOG
from simharness.incident.templates import Line, Log
from simharness.incident.timeline import Incident

RESOURCE = "the incident's log"
PROCESS, THREAD = "a process", "a thread"
"""Kinds of ids that the line format tells."""
DROPPED = "dropped log lines"
"""In a kernel's context: the indices of steps that only found out that a line comes after the end of its part; none of the code's."""
PICK = "pick"
"""The kind of the steps by which actors pick whose lines they log; they are no steps of the code."""
Identity = tuple[str, str, str]
"""(kind, value in the incident, value in the execution)"""


class State(NamedTuple):
    """How much of the incident an execution has logged: a mask of its lines, how many of its own it lacks, which ids are which."""

    consumed: int = 0
    missing: int = 0
    ids: tuple[Identity, ...] = ()

    def unified(self, pairs: Sequence[Identity]) -> tuple[Identity, ...] | None:
        """Return the ids with these, or None if one of them is taken for something else."""
        found = list(self.ids)
        for pair in pairs:
            if pair in found:
                continue
            kind, one, other = pair
            if any(kind == known and (one == mine or other == its) for known, mine, its in found):
                return None
            found.append(pair)
        return tuple(sorted(found))


class LogLine(Operation):
    """The step that a log line is; `message` is what is logged."""

    __slots__ = ("message",)

    def __init__(self, message: str, *arguments: Any, **options: Any) -> None:
        super().__init__(LOG, *arguments, **options)
        self.message = message


class Gate:
    """Lets log lines pass in the incident's order; `Record.on_log` of a kernel.

    Processes between whose lines nothing is known of the order have a lock each, so that their lines stay independent; each actor then
    picks, before its first line, whose lines it logs. Which ids are which is brought together when the execution is over.

    Args:
        missing: lines that the execution may log and the incident lacks, at most.
    """

    def __init__(self, kernel: Kernel, incident: Incident, log: Log, missing: int) -> None:
        self._kernel = kernel
        self._log = log
        self._lines, self._before = incident.lines, incident.before
        self._missing = missing
        self._parts = parts(incident)
        self.complete = (1 << len(incident.lines)) - 1

    @property
    def resources(self) -> list[Resource]:
        """One for each part of the incident that has a lock of its own; their states are what has been logged of it."""
        return [self._kernel.resource(f"{RESOURCE} {number}", State()) for number in range(len(self._parts))]

    @property
    def state(self) -> State | None:
        """How far the kernel's execution has come; None if its parts take ids for different things."""
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
        part = self._part()
        resource = self.resources[part]
        equal = {name: fields[name] for name in self._log.equal if name in fields}
        candidates = [
            (index, self._identities(line, record, fields))
            for index, line in enumerate(self._lines)
            if self._parts[part] >> index & 1
            and line.template is template
            and all(line.fields[name] == value for name, value in equal.items())
        ]
        taken = self._pass(message, record.name, part, candidates)
        if taken is None:
            kernel.step(Operation("assume", kernel.resource("assume", False), enabled=bool))
        elif taken != resource.state:
            kernel.put(resource, taken)
            if taken.consumed == self._parts[part]:
                ended = self._ended
                kernel.put(ended, ended.state | taken.consumed)
        elif len(self._parts) > 1:
            kernel.context.setdefault(DROPPED, set()).add(kernel.record.n - 1)
            ended = self._ended
            kernel.step(
                LogLine(message, ended, reads=ended.bit, enabled=lambda consumed: bool(consumed == self.complete), detail=record.name)
            )

    def _pass(self, message: str, logger: str, part: int, candidates: Sequence[tuple[int, Sequence[Identity]]]) -> State | None:
        """Make the step of a line that may be one of the candidates; return the state that it leads to, None if it is none of them."""
        resource, known = self.resources[part], dict[State, list[State]]()

        def ways(state: State) -> list[State]:
            found = known.get(state)
            if found is None:
                found = known[state] = self._ways(state, self._parts[part], candidates)
            return found

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
                also=self._ended.bit if last and len(self._parts) > 1 else 0,
            )
        )
        found = ways(resource.state)
        return found[taken] if taken < len(found) else None

    @property
    def _ended(self) -> Resource:
        """Its state is the mask of the lines of the parts that have been logged to their ends; what comes after all is free."""
        return self._kernel.resource(f"the end of {RESOURCE}", 0)

    def _part(self) -> int:
        """Return which part of the incident the current actor logs; before its first line it picks one."""
        actor = self._kernel.actor
        assert actor is not None
        picked: int | None = actor.locals.get(PICK)
        if picked is None:
            number = len(self._parts)
            picked = actor.locals[PICK] = self._kernel.step(Operation(PICK, options=number)) if number > 1 else 0
        return picked

    def _identities(self, line: Line, record: logging.LogRecord, fields: Mapping[str, str]) -> list[Identity]:
        """Return what has to be unified if the record is to be that line."""
        ids = self._log.ids
        found = [(ids[name], line.fields[name], value) for name, value in fields.items() if name in ids]
        life = f"{record.process}{self._lives(record)}"
        if line.process:
            found.append((PROCESS, line.process, life))
        if line.thread:
            found.append((THREAD, f"{line.source if not line.process else line.process} {line.thread}", f"{life} {record.thread}"))
        return found

    def _lives(self, record: logging.LogRecord) -> str:
        """Return a mark for each time that the record's process has crashed: started again, it is another one."""
        kernel = self._kernel
        process = kernel.actor.process if kernel.actor is not None else ""
        return "'" * sum(
            kernel.movers.faults.get(kernel.record.keys[step] >> SHIFT) == ("crash", process) for step, _ in kernel.record.struck
        )

    def _ways(self, state: State, part: int, candidates: Sequence[tuple[int, Sequence[Identity]]]) -> list[State]:
        """Return the states to which the record may lead: as one of the candidates, or as a line that is missing."""
        found: list[State] = []
        if state.consumed == part:
            found.append(state)
            if len(self._parts) == 1:
                return found
        for index, identities in candidates:
            if not state.consumed >> index & 1 and not self._before[index] & ~state.consumed:
                ids = state.unified(identities)
                if ids is not None:
                    found.append(State(state.consumed | 1 << index, state.missing, ids))
        if state.missing < self._missing:
            found.append(state._replace(missing=state.missing + 1))
        return found

    def _widest(self, indices: Sequence[int]) -> int:
        """Return how many of these lines may be next at once, at most: the greedy number of chains that they fall into is no less."""
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
    """Return the incident's lines as masks of those whose order is somehow known; all in one where lines do not tell their process.

    A process is never taken apart: what an actor logs is all in one part.
    """
    lines = incident.lines
    if not lines or not all(line.process for line in lines):
        return [(1 << len(lines)) - 1]
    found: list[int] = []
    for index, line in enumerate(lines):
        mask = 1 << index | incident.before[index]
        mask |= sum(1 << other for other in range(index) if lines[other].process == line.process)
        joined = [part for part in found if part & mask]
        found = [part for part in found if not part & mask] + [sum(joined) | 1 << index]
    return found
