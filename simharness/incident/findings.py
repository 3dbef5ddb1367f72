"""What a search found: the executions that explain the incident, and how close the others came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from simharness.engine.actors import ALTERNATIVES, SHIFT
from simharness.engine.faults import Faults
from simharness.engine.kernel import Kernel
from simharness.engine.operations import conflict
from simharness.incident.gate import BEYOND, DROPPED, PICK, Gate, Identity, LogLine, State
from simharness.incident.templates import Line
from simharness.runtimes.logs import LOG
from simharness.simulation.execution import Execution, describe
from simharness.simulation.transcript import Account
from simharness.trace.data import Trace

Event = tuple[str, str, int]
"""A step: its actor, what it does, and how many times that actor has done it so far."""
Pair = tuple[Event, Event]
Ordering = tuple[int, tuple[tuple[str, ...], ...]]


@dataclass(frozen=True)
class Evidence:
    """One execution that explains the incident, and what is known about it.

    Attributes:
        token: replays it.
        failure: what goes wrong in it, or None.
        account: what it does, in a text that is equal in every process.
        logged: the actor that logs each of the incident's lines.
        ids: which of the incident's ids correspond to which of the execution's.
        separating: the smallest known reordering that separates harmless from harmful, in sentences.
        other: the token of that other ordering, if one was run.
        unique: what would distinguish the orderings that fit, had it been logged.
    """

    token: str
    failure: str | None
    trace: Trace
    account: Account
    logged: Sequence[str]
    ids: Sequence[Identity]
    separating: Sequence[str] = ()
    other: str = ""
    unique: Sequence[str] = ()


@dataclass(frozen=True)
class Fit:
    """An execution that explains the incident.

    Attributes:
        keys: its choices, for a kernel in which log lines are scheduling points and none of them waits.
        failure: what went wrong, in words, or None.
        actors: the actor that logged each of the incident's lines.
        ids: which ids correspond.
        missing: messages that it logged and the incident lacks.
        pairs: mask of its ordered pairs of conflicting steps; their bits are in `Found.pairs`.
        switches: how often a step is of another actor than the step before.
        beyond: it logs more after the incident's last line, and what went wrong was not seen before that.
    """

    keys: Sequence[int]
    failure: str | None
    actors: Sequence[str]
    ids: Sequence[Identity]
    missing: Sequence[str]
    pairs: int
    switches: int
    beyond: bool = False


@dataclass(frozen=True)
class NearMiss:
    """How close the executions that do not explain the incident came.

    Attributes:
        consumed: how many of the incident's lines the best of them logged.
        line: the first one that it did not log.
        instead: what its actors were about to log there, as (actor, message); empty: they had ended, or waited for something else.
        rows: if it logged all of them, how its database differs.
    """

    consumed: int
    line: Line | None
    instead: Sequence[tuple[str, str]]
    rows: str = ""


@dataclass(frozen=True)
class Level:
    """The assumptions of one search: which faults have to strike, and how many lines the log may lack."""

    faults: Faults | None
    missing: int

    @property
    def words(self) -> str:
        """What was assumed, in words."""
        lines = f"{self.missing} line{'s' if self.missing != 1 else ''} missing from the log" if self.missing else ""
        return " and ".join(filter(None, [str(self.faults) if self.faults is not None else "", lines])) or "no faults"


@dataclass
class Found:
    """The result of the search of one level; `gave_up` says why it is not exhausted."""

    level: Level
    fits: dict[Ordering, Fit] = field(default_factory=dict)
    nearest: NearMiss | None = None
    executions: int = 0
    gave_up: str | None = None
    pairs: dict[Pair, int] = field(default_factory=dict)
    evidence: Evidence | None = None

    def keep_fewest_missing(self) -> None:
        """Keep the fits with the fewest lines missing from the log."""
        fewest = min(len(fit.missing) for fit in self.fits.values())
        self.fits = {name: fit for name, fit in self.fits.items() if len(fit.missing) == fewest}
        self.level = replace(self.level, missing=fewest)

    @property
    def harmful(self) -> list[Fit]:
        """The fits in which something went wrong."""
        return [fit for fit in self.fits.values() if fit.failure is not None]

    @property
    def only_beyond(self) -> bool:
        """Whether all that goes wrong may do so after the incident's last line."""
        return bool(self.harmful) and all(fit.beyond for fit in self.harmful)

    @property
    def harmless(self) -> list[Fit]:
        """The others."""
        return [fit for fit in self.fits.values() if fit.failure is None]


def fit_of(kernel: Kernel, gate: Gate, execution: Execution, pairs: dict[Pair, int]) -> Fit:
    """Return what to keep of the kernel's last execution, which fits."""
    actors = [""] * gate.complete.bit_length()
    missing = []
    last = -1
    for resource in gate.resources:
        before = State()
        for step, state in resource.history:
            gained = state.consumed & ~before.consumed
            operation = kernel.record.operations[step]
            if gained:
                last = max(last, step)
                actors[gained.bit_length() - 1] = kernel.cast.actors[kernel.record.keys[step] >> SHIFT].name
            elif isinstance(operation, LogLine):
                missing.append(operation.message)
            before = state
    kinds = [operation.kind for operation in kernel.record.operations]
    dropped = kernel.context.get(DROPPED, ())
    keys = [
        key & ~ALTERNATIVES if kind == LOG else key
        for step, (key, kind) in enumerate(zip(kernel.record.keys, kinds, strict=True))
        if kind != PICK and step not in dropped
    ]
    said = describe(execution.failure)
    failure = None if said is None else kernel.canonical(said)
    switches = sum(before >> SHIFT != after >> SHIFT for before, after in pairwise(keys))
    state = gate.state
    assert state is not None
    seen = execution.failure is not None and 0 <= execution.failure.step <= last
    beyond = BEYOND in kernel.context and not seen
    return Fit(keys, failure, actors, state.ids, missing, pairs_of(kernel, pairs), switches, beyond)


def ordering_of(kernel: Kernel, pairs: int) -> Ordering:
    """Return a name for the ordering of the kernel's last execution: what each mover did, and the order of conflicting steps.

    Only the code's own steps count, not log lines and not what waited for the incident's order.
    """
    own: dict[str, list[str]] = {}
    for (mover, what, _), operation, key in zip(events_of(kernel), kernel.record.operations, kernel.record.keys, strict=True):
        if operation.kind not in (LOG, PICK):
            own.setdefault(mover, []).append(f"{what} {key & ALTERNATIVES}")
    return pairs, tuple(sorted((mover, *steps) for mover, steps in own.items()))


def pairs_of(kernel: Kernel, known: dict[Pair, int]) -> int:
    """Return the mask of the ordered pairs of conflicting steps of different movers; new pairs get bits in `known`."""
    steps = [
        (event, key >> SHIFT, reads, writes)
        for event, key, reads, writes, operation in zip(
            events_of(kernel), kernel.record.keys, kernel.record.reads, kernel.record.writes, kernel.record.operations, strict=True
        )
        if operation.kind not in (LOG, PICK)
    ]
    mask = 0
    for later, (second, mover, reads, writes) in enumerate(steps):
        for first, other, read, written in steps[:later]:
            if other != mover and conflict(read, written, reads, writes):
                mask |= known.setdefault((first, second), 1 << len(known))
    return mask


def events_of(kernel: Kernel) -> list[Event]:
    """Return the name of each step of the kernel's last execution."""
    counts: dict[tuple[str, str], int] = {}
    events: list[Event] = []
    for key, operation in zip(kernel.record.keys, kernel.record.operations, strict=True):
        actor = kernel.cast.actors.get(key >> SHIFT)
        mover = kernel.mover(key) if actor is None else actor.name
        what = kernel.canonical(f"{operation.kind} {operation.detail}".strip())
        count = counts[mover, what] = counts.get((mover, what), 0) + 1
        events.append((mover, what, count))
    return events
