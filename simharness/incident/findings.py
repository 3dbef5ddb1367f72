"""What a search has found: executions that explain the incident, and how far the others came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from simharness.account import Account
from simharness.actors import ALTERNATIVES, SHIFT
from simharness.faults import Faults
from simharness.incident.gate import RESOURCE, Identity, LogLine, State
from simharness.incident.templates import Line
from simharness.kernel import Kernel
from simharness.operations import conflict
from simharness.orderings import Ordering
from simharness.record import LOG
from simharness.simulation import Execution, describe
from simharness.trace import Trace

Event = tuple[str, str, int]
"""A step: who, what, and how many times that actor has done it."""
Pair = tuple[Event, Event]


@dataclass(frozen=True)
class Evidence:
    """One execution that explains the incident, and what is known about it.

    Attributes:
        token: replays it.
        failure: what goes wrong in it, or None.
        account: what it does, in words that are equal in every process.
        logged: who logs each of the incident's lines.
        ids: which of the incident's ids is which of the execution's.
        separating: the smallest reordering known that makes the difference between harmless and harmful, in sentences.
        other: the token of that other ordering, if one was run.
        unique: what would have told the orderings that fit apart, had it been logged.
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
        keys: its choices, for a kernel in which log lines are points and nothing waits.
        ordering: its ordering, without what only the incident's order made dependent.
        failure: what went wrong, in words, or None.
        actors: who logged each of the incident's lines.
        ids: which id is which.
        missing: messages that it logged and the incident lacks.
        pairs: mask of the pairs of conflicting steps that it has; their bits are in `Found.pairs`.
        switches: how often another actor moves than before.
    """

    keys: Sequence[int]
    ordering: Ordering
    failure: str | None
    actors: Sequence[str]
    ids: Sequence[Identity]
    missing: Sequence[str]
    pairs: int
    switches: int


@dataclass(frozen=True)
class NearMiss:
    """How far the executions that explain nothing came.

    Attributes:
        consumed: how many of the incident's lines the best of them logged.
        line: the first one that it did not log.
        instead: what its actors were about to log there, as (actor, message); empty: they had ended, or waited for something else.
        rows: if it logged all, what the database says otherwise.
    """

    consumed: int
    line: Line | None
    instead: Sequence[tuple[str, str]]
    rows: str = ""


@dataclass(frozen=True)
class Level:
    """One search: which faults had to strike, and how many lines had to be missing from the log."""

    faults: Faults | None
    missing: int

    @property
    def words(self) -> str:
        """What was assumed, in words."""
        lines = f"{self.missing} line{'s' if self.missing != 1 else ''} missing from the log" if self.missing else ""
        return " and ".join(filter(None, [str(self.faults) if self.faults is not None else "", lines])) or "no faults"


@dataclass
class Found:
    """What the search of one level came to; `gave_up` says why it is not exhausted."""

    level: Level
    fits: dict[Ordering, Fit] = field(default_factory=dict)
    nearest: NearMiss | None = None
    executions: int = 0
    gave_up: str | None = None
    pairs: dict[Pair, int] = field(default_factory=dict)
    evidence: Evidence | None = None
    more: int = 0

    @property
    def count(self) -> int:
        """How many distinct orderings fit; of more than `MOST_FITS` the rest is only counted."""
        return len(self.fits) + self.more

    @property
    def harmful(self) -> list[Fit]:
        """The fits in which something went wrong."""
        return [fit for fit in self.fits.values() if fit.failure is not None]

    @property
    def harmless(self) -> list[Fit]:
        """The others."""
        return [fit for fit in self.fits.values() if fit.failure is None]


def fit_of(kernel: Kernel, ordering: Ordering, execution: Execution, count: int, pairs: dict[Pair, int]) -> Fit:
    """Return what is kept of the kernel's last execution, which fits."""
    resource = kernel.resources[RESOURCE]
    who = [""] * count
    missing = []
    before = State()
    for step, state in resource.history:
        name = kernel.actors[kernel.keys[step] >> SHIFT].name
        gained = state.consumed & ~before.consumed
        if gained:
            who[gained.bit_length() - 1] = name
        elif state.missing > before.missing:
            operation = kernel.operations[step]
            missing.append(operation.message if isinstance(operation, LogLine) else "")
        before = state
    keys = [key & ~ALTERNATIVES if kernel.operations[step].kind == LOG else key for step, key in enumerate(kernel.keys)]
    said = describe(execution.failure)
    failure = None if said is None else kernel.canonical(said)
    movers = [key >> SHIFT for key in keys]
    switches = sum(one != other for one, other in pairwise(movers))
    return Fit(keys, ordering, failure, who, before.ids, missing, pairs_of(kernel, pairs), switches)


def pairs_of(kernel: Kernel, known: dict[Pair, int]) -> int:
    """Return the mask of the ordered pairs of conflicting steps of different actors; new pairs get bits in `known`."""
    without = ~kernel.names.bit(RESOURCE)
    events = events_of(kernel)
    steps = [
        (events[n], kernel.keys[n] >> SHIFT, kernel.reads[n] & without, kernel.writes[n] & without)
        for n in range(kernel.n)
        if kernel.keys[n] >> SHIFT in kernel.actors and kernel.operations[n].kind != LOG
    ]
    mask = 0
    for later, (second, mover, reads, writes) in enumerate(steps):
        for first, other, read, written in steps[:later]:
            if other != mover and conflict(read, written, reads, writes):
                mask |= known.setdefault((first, second), 1 << len(known))
    return mask


def events_of(kernel: Kernel) -> list[Event]:
    """Return a name for each step of the kernel's last execution: who did what, and how many times before."""
    made: dict[tuple[str, str], int] = {}
    found: list[Event] = []
    for key, operation in zip(kernel.keys, kernel.operations, strict=True):
        actor = kernel.actors.get(key >> SHIFT)
        who = kernel.mover(key) if actor is None else actor.name
        what = kernel.canonical(f"{operation.kind} {operation.detail}".strip())
        count = made[who, what] = made.get((who, what), 0) + 1
        found.append((who, what, count))
    return found
