"""Resources, operations and the bits that say when two of them conflict.

An actor declares an `Operation` before it does it. The *footprint* of an operation is a pair of integer masks, the resources that it reads
and those that it writes; two steps conflict if one writes what the other reads or writes. Masks are compared for every pair of concurrent
steps of every execution, so they are integers, not sets.

A resource may have a *state*, a small value on which operations depend in two ways: an operation with an `enabled` predicate
can be done only in the states for which it holds (a lock that is free, an awaited cell); one with a `writes_when` predicate
writes in those states and only reads in the others (a compare-and-set, a try-lock). States are kept with the steps that set
them, so that the reduction can ask what footprint an operation would have had at an earlier point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from simharness.engine.kinds import Kind

CLOCK = 1
"""Read by every step, written by a stall and by some advances of the clock: these conflict with everything."""
ENDING = 2
"""Written by every step of a daemon and read by the last step of every other actor: daemons stop when the others have ended."""
CHECKED = 4
"""Written by every step that writes what an `always` check reads, since such steps do not commute."""

TIME = 8
"""Written by every advance of the clock, and read by the steps whose code sets deadlines or reads the clock."""

State = Any
Predicate = Callable[[State], bool]


class Names:
    """Gives each name one bit for the whole exploration: sleep sets and wakeup trees outlive executions."""

    def __init__(self) -> None:
        self._bits: dict[str, int] = {}
        self._names: list[str] = []
        self._reserved = 4

    def bit(self, name: str) -> int:
        """Return the mask with the one bit of `name` set."""
        bits = self._bits
        bit = bits.get(name)
        if bit is None:
            bit = bits[name] = 1 << (self._reserved + len(bits))
        return bit

    def index(self, name: str) -> int:
        """Return the position of the bit of `name`, a small integer."""
        return self.bit(name).bit_length() - 1

    def all(self) -> list[str]:
        """Return the names in the order in which they got their bits."""
        return list(self._bits)

    def of(self, mask: int) -> list[str]:
        """Return the names whose bits are set in `mask`, in the order in which they got their bits."""
        if len(self._names) != len(self._bits):
            self._names = list(self._bits)
        found, mask = [], mask >> self._reserved
        while mask:
            low = mask & -mask
            mask ^= low
            place = low.bit_length() - 1
            if place < len(self._names):
                found.append(self._names[place])
        return found

    def footprint(self, reads: int, writes: int) -> str:
        """Return a footprint in words."""
        return f"reads {{{', '.join(self.of(reads))}}} writes {{{', '.join(self.of(writes))}}}"


class Resource:
    """Something that steps read and write, in one execution.

    `history` lists (step, state) for each change of state, oldest first; the state before the first is `initial`.
    `lock`: the state is the name of the actor that holds it, or None; a crash of that actor's process frees it.
    """

    __slots__ = ("bit", "history", "initial", "lock", "name", "state")

    def __init__(self, name: str, bit: int, state: State = None) -> None:
        self.name = name
        self.bit = bit
        self.lock = False
        self.state = self.initial = state
        self.history: list[tuple[int, State]] = []

    def put(self, step: int, state: State) -> None:
        """Set the state as an effect of the step with this index (-1: set-up)."""
        self.state = state
        self.history.append((step, state))

    def state_without(self, i: int, before: Sequence[int], end: int) -> State:
        """Return the state after the steps up to `end` without step i and what happens after it by the masks `before`."""
        bit = 1 << i
        for step, state in reversed(self.history):
            if step < i or (i < step < end and not before[step] & bit):
                return state
        return self.initial

    def state_in(self, configuration: int) -> State:
        """Return the state after the steps whose indices are set in the mask `configuration`."""
        for step, state in reversed(self.history):
            if step < 0 or configuration >> step & 1:
                return state
        return self.initial


class Every(Resource):
    """Several resources as a single one, for an operation that depends on all their states: its state is the tuple of theirs."""

    __slots__ = ("parts",)

    def __init__(self, name: str, parts: Sequence[Resource]) -> None:
        self.name = name
        self.parts = tuple(parts)
        self.lock = False
        self.bit = 0
        for part in self.parts:
            self.bit |= part.bit

    @property
    def state(self) -> State:
        """The states of all parts."""
        return tuple(part.state for part in self.parts)

    def state_without(self, i: int, before: Sequence[int], end: int) -> State:
        """Return the states without a step and what happens after it."""
        return tuple(part.state_without(i, before, end) for part in self.parts)

    def state_in(self, configuration: int) -> State:
        """Return the states after the steps whose indices are set in the mask."""
        return tuple(part.state_in(configuration) for part in self.parts)


class Operation:
    """What an actor is about to do at a scheduling point.

    Args:
        kind: such as `lock.acquire`; declared beside the primitive.
        resource: the resource whose state decides `enabled` and `writes_when`; None if neither is used.
        reads, writes: masks of the resources that it reads and writes in every state.
        enabled: if given, the operation can be done only in these states of `resource` (or once its deadline has passed).
        writes_when: if given, the operation writes `resource` in these states and reads it in the others.
        also: mask of what else it writes if `writes_when` holds.
        options: number of alternatives of a data choice; 1 for everything else.
        due: if given, the deadline as a function of the state of `resource`; for deadlines that other actors may postpone.
        faults: kinds of faults that can strike at it: alternative k is the k-th of them (from 1).
        detail: shown beside the kind, such as the SQL text.
    """

    __slots__ = ("also", "detail", "due", "enabled", "faults", "kind", "options", "reads", "resource", "writes", "writes_when")

    def __init__(
        self,
        kind: Kind,
        resource: Resource | None = None,
        reads: int = 0,
        writes: int = 0,
        enabled: Predicate | None = None,
        writes_when: Predicate | None = None,
        options: int = 1,
        detail: str = "",
        also: int = 0,
        due: Callable[[State], int | None] | None = None,
        faults: Sequence[str] = (),
    ) -> None:
        self.kind = kind
        self.resource = resource
        self.reads = reads
        self.writes = writes
        self.enabled = enabled
        self.writes_when = writes_when
        self.options = options
        self.detail = detail
        self.also = also
        self.due = due
        self.faults = faults

    def footprint(self, state: State) -> tuple[int, int]:
        """Return (reads, writes) of this operation if it is done in this state of its resource."""
        if self.writes_when is None:
            return self.reads, self.writes
        assert self.resource is not None
        if self.writes_when(state):
            return self.reads, self.writes | self.resource.bit | self.also
        return self.reads | self.resource.bit, self.writes

    def __repr__(self) -> str:
        name = f" {self.resource.name}" if self.resource is not None else ""
        return f"<{self.kind}{name}{' ' + self.detail if self.detail else ''}>"


def conflict(reads: int, writes: int, other_reads: int, other_writes: int) -> bool:
    """Whether two footprints conflict: one writes what the other reads or writes."""
    return bool(writes & (other_reads | other_writes) or reads & other_writes)
