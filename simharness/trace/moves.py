"""What can happen next at a point of an execution, and what passes between actors: for timelines and for stepping by hand.

A move is a choice that is possible, or an actor's next operation that is not, with the reason. A message is what lets a step be
done, or what it receives, and comes from another actor's step: a lock handed over, an item of a queue, a wake-up, a start, an end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from simharness.engine.actors import ALTERNATIVES, SHIFT, Actor
from simharness.engine.kernel import Kernel
from simharness.engine.kinds import Kind, Role, Sends
from simharness.engine.movers import ADVANCE, STALLS, STRIKES
from simharness.engine.operations import Every, Operation, Resource
from simharness.places import Place

LETTERS = "letters"
"""In a kernel's context while tracing: for each queue its items, as (identity, step that put it), and under None the delivered ones."""
OPTIONS = "options"
"""In a kernel's context while tracing: for each actor, by index, the values it chooses from."""


@dataclass(frozen=True)
class Move:
    """A choice that is possible at some point, or an actor's next operation that is not.

    Attributes:
        actor: its name; "clock", or "" for a fault that is not an actor's step.
        kind, detail: the operation, as those of a step.
        place: the user's source line at which the actor stands.
        alternative: of a data choice, from 0; where a fault strikes at the operation, its number, from 1.
        value: what a data choice would return, in words.
        options: how many alternatives the operation has.
        fault: the kind of fault that would strike; empty if none.
        why_not: why it is not possible; empty if it is.
        key: the choice; negative where it is not possible.
    """

    actor: str
    kind: Kind
    detail: str
    place: Place | None = None
    alternative: int = 0
    options: int = 1
    fault: str = ""
    why_not: str = ""
    key: int = -1
    value: str = ""

    @property
    def possible(self) -> bool:
        """Whether it can be chosen."""
        return not self.why_not


@dataclass(frozen=True)
class Message:
    """What one actor's step passes to another actor's step.

    Attributes:
        first, second: numbers of the two steps.
        kind: "item" of a queue, "wake-up" of an actor that was waiting, "hand-over" of a lock, "start" or "end" of an actor, else "signal".
        name: of what was passed, or of the lock or queue.
    """

    first: int
    second: int
    kind: str
    name: str


def moves(kernel: Kernel, keys: Sequence[int]) -> tuple[Move, ...]:
    """Return the moves that can be chosen now (`keys`), then the operations of actors that cannot move."""
    possible = [_possible(kernel, key) for key in keys]
    able = {key >> SHIFT for key in keys}
    blocked = [actor for actor in kernel.cast.live if actor.index not in able]
    return (*possible, *(replace(_of(kernel, actor), why_not=_why_not(kernel, actor)) for actor in blocked))


def _of(kernel: Kernel, actor: Actor) -> Move:
    operation = actor.pending
    assert operation is not None
    name = operation.resource.name if operation.resource is not None else ""
    detail = operation.detail or ("" if name in ("assume", "sleep") else name)
    place = actor.calls[0] if actor.calls else None
    return Move(actor.name, operation.kind, kernel.canonical(detail), place, options=operation.options)


def _possible(kernel: Kernel, key: int) -> Move:
    actor = kernel.cast.actors.get(key >> SHIFT)
    alternative = key & ALTERNATIVES
    if actor is not None:
        values = kernel.context.get(OPTIONS, {}).get(actor.index, ()) if kernel.tracing else ()
        value = kernel.canonical(repr(values[alternative])) if alternative < len(values) else ""
        if actor.pending is not None and actor.pending.kind.role is Role.OFFERS:
            value = f"{actor.pending.detail.split(', ')[alternative - 1]} runs" if alternative else "nothing runs"
        return replace(_of(kernel, actor), key=key, alternative=alternative, fault=kernel.movers.strikes(key) or "", value=value)
    if key == kernel.movers.clock_key:
        idle = not any(actor.ready(kernel.clock.now) for actor in kernel.cast.live)
        return Move("clock", ADVANCE, str(kernel.movers.next_instant(idle)), key=key)
    kind, process = kernel.movers.faults[key >> SHIFT]
    detail = process
    if kind in STALLS:
        instants = kernel.clock.instants(kernel.movers.deadlines(), kernel.record.readings())
        detail = f"{process} for {(instants[alternative] - kernel.clock.now) / 1e9:g} s"
    return Move("", STRIKES[kind], detail, alternative=alternative, key=key, fault=kind)


def _why_not(kernel: Kernel, actor: Actor) -> str:
    """Say why an actor cannot move now."""
    operation = actor.pending
    assert operation is not None
    if kernel.clock.now < actor.wakes:
        return f"its process is stopped until {actor.wakes / 1e9:g} s"
    kind, resource = operation.kind, operation.resource
    until = f"{actor.deadline / 1e9:g} s" if actor.deadline is not None else ""
    if kind.role is Role.SLEEPS:
        return kind.why_not("", None, until)
    if resource is None or kernel.over or kernel.cast.unfinished == 0:
        return "the execution is over"
    reason = kernel.canonical(kind.why_not(resource.name, resource.state))
    return f"{reason}; waits until {until} at most" if until else reason


# Messages


def put_in(kernel: Kernel, queue: Resource, item: Any) -> None:
    """Note that the last step has put an item into a queue. Call only while tracing."""
    kernel.context.setdefault(LETTERS, {}).setdefault(queue.name, []).append((id(item), kernel.record.n - 1))


def taken_out(kernel: Kernel, queue: Resource, item: Any) -> None:
    """Note that the last step has taken an item out of a queue. Call only while tracing."""
    letters = kernel.context.setdefault(LETTERS, {})
    for letter in letters.get(queue.name, ()):
        if letter[0] == id(item):
            letters[queue.name].remove(letter)
            letters.setdefault(None, []).append((letter[1], kernel.record.n - 1, queue.name))
            return


def messages(kernel: Kernel, wanted: Mapping[int, Sequence[Move]], clean: Callable[[str], str]) -> tuple[Message, ...]:
    """Return the messages of the kernel's execution, which is over and was traced; `wanted` holds the moves before each step."""
    movers = [kernel.mover(key).removeprefix("actor ") for key in kernel.record.keys]

    def waited(first: int, second: int) -> bool:
        """Whether the second step's actor stood before it, unable to make it, when the first was made."""
        own = movers[second] not in movers[first:second]
        return own and any(move.actor == movers[second] and move.why_not for move in wanted.get(first, ()))

    result = list(_letters(kernel))
    delivered = {message.second for message in result}
    for second, operation in enumerate(kernel.record.operations):
        first = _enabling(operation, second)
        if first is None or first < 0 or movers[first] == movers[second] or second + 1 in delivered:
            continue
        name = operation.resource.name if operation.resource is not None else ""
        result.append(Message(first + 1, second + 1, _kind(operation, waited(first, second)), name))
    result += _starts(kernel, movers)
    names = kernel.cast.actors.values()
    actors = {actor.name for actor in names}
    return tuple(
        replace(message, name=clean(message.name))
        for message in sorted(result, key=lambda message: (message.second, message.first))
        if actors.issuperset((movers[message.first - 1], movers[message.second - 1]))
    )


def _letters(kernel: Kernel) -> Iterator[Message]:
    for first, second, name in kernel.context.get(LETTERS, {}).get(None, ()):
        if first >= 0 and kernel.record.keys[first] >> SHIFT != kernel.record.keys[second] >> SHIFT:
            yield Message(first + 1, second + 1, "item", name)


def _enabling(operation: Operation, position: int) -> int | None:
    """Return the step that last changed what an operation needed, if that is what allowed it; None where nothing had to."""
    resource = operation.resource
    if operation.enabled is None or resource is None:
        return None
    before = (1 << position) - 1
    parts = resource.parts if isinstance(resource, Every) else (resource,)
    changes = [step for part in parts for step, _ in part.history if step < position]
    if not changes or not operation.enabled(resource.state_in(before)):
        return None
    return max(changes)


def _kind(operation: Operation, waited: bool) -> str:
    sent = operation.kind.enabled_by
    return "wake-up" if waited and sent is not Sends.END else sent.value


def _starts(kernel: Kernel, movers: Sequence[str]) -> Iterator[Message]:
    for actor in kernel.cast.actors.values():
        if actor.born >= 0 and actor.name in movers[actor.born + 1 :]:
            yield Message(actor.born + 1, movers.index(actor.name, actor.born + 1) + 1, "start", actor.name)
