"""Lets the log lines of an execution pass in the order of an incident's, and keeps how far it has come."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from simharness.actors import SHIFT
from simharness.incident.templates import Line, Log
from simharness.incident.timeline import Incident
from simharness.kernel import Kernel
from simharness.operations import Operation
from simharness.record import LOG

RESOURCE = "the incident's log"
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

    Args:
        missing: lines that the execution may log and the incident lacks, at most.
    """

    def __init__(self, kernel: Kernel, incident: Incident, log: Log, missing: int) -> None:
        self._kernel = kernel
        self._log = log
        self._lines, self._before = incident.lines, incident.before
        self._missing = missing
        self.complete = (1 << len(incident.lines)) - 1

    @property
    def state(self) -> State:
        """How far the kernel's execution has come."""
        found: State = self._kernel.resource(RESOURCE, State()).state
        return found

    def __call__(self, record: logging.LogRecord) -> None:
        """Make the step of a line that is about to be logged."""
        kernel = self._kernel
        message = record.getMessage().partition("\n")[0]
        matched = self._log.match(record.name, message)
        if matched is None:
            kernel.step(LogLine(message, detail=record.name))
            return
        template, fields = matched
        equal = {name: fields[name] for name in self._log.equal if name in fields}
        candidates = [
            (index, self._identities(line, record, fields))
            for index, line in enumerate(self._lines)
            if line.template is template and all(line.fields[name] == value for name, value in equal.items())
        ]
        known: dict[State, list[State]] = {}

        def ways(state: State) -> list[State]:
            found = known.get(state)
            if found is None:
                found = known[state] = self._ways(state, candidates)
            return found

        resource = kernel.resource(RESOURCE, State())
        most = self._widest([index for index, _ in candidates]) + bool(self._missing)
        taken = kernel.step(
            LogLine(
                message,
                resource,
                enabled=lambda state: bool(ways(state)),
                writes_when=lambda state: state.consumed != self.complete,
                options=max(1, most),
                detail=record.name,
            )
        )
        found = ways(resource.state)
        if taken >= len(found):
            kernel.step(Operation("assume", kernel.resource("assume", False), enabled=bool))
        elif found[taken] is not resource.state:
            kernel.put(resource, found[taken])

    def _identities(self, line: Line, record: logging.LogRecord, fields: Mapping[str, str]) -> list[Identity]:
        """Return what has to be unified if the record is to be that line."""
        ids = self._log.ids
        found = [(ids[name], line.fields[name], value) for name, value in fields.items() if name in ids]
        life = f"{record.process}{self._lives(record)}"
        if line.process:
            found.append(("a process", line.process, life))
        if line.thread:
            found.append(("a thread", f"{line.source if not line.process else line.process} {line.thread}", f"{life} {record.thread}"))
        return found

    def _lives(self, record: logging.LogRecord) -> str:
        """Return a mark for each time that the record's process has crashed: started again, it is another one."""
        kernel = self._kernel
        process = kernel.actor.process if kernel.actor is not None else ""
        return "'" * sum(kernel.fault_movers.get(kernel.keys[step] >> SHIFT) == ("crash", process) for step, _ in kernel.struck)

    def _ways(self, state: State, candidates: Sequence[tuple[int, Sequence[Identity]]]) -> list[State]:
        """Return the states to which the record may lead: as one of the candidates, or as a line that is missing."""
        if state.consumed == self.complete:
            return [state]
        found = []
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
