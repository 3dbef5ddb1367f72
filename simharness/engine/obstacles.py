"""What keeps the loop of an actor from being seen as waiting, in words: where an execution is cut, its verdict says so."""

from __future__ import annotations

from typing import NamedTuple

from simharness.engine.actors import SHIFT, Actor
from simharness.engine.kinds import Role
from simharness.engine.operations import CHECKED, ENDING, TIME, Operation
from simharness.engine.record import Record
from simharness.places import Place

LOOPS = 3
"""How often an actor repeats its steps before they are taken for a loop."""
WINDOW = 200


class Obstacle(NamedTuple):
    """Something that the turns of a loop do; `place`: where, if that is known."""

    words: str
    place: Place | None


def in_words(name: str, obstacle: Obstacle) -> str:
    """Return what is said of an actor's loop."""
    return f"{name}'s loop is not seen as waiting: {obstacle.words}{f' at {obstacle.place}' if obstacle.place is not None else ''}"


def of_steps(actor: Actor, record: Record) -> Obstacle | None:
    """Return what the steps of an actor do in each turn, if it repeats the same few."""
    own = [m for m in range(max(0, record.n - WINDOW), record.n) if record.keys[m] >> SHIFT == actor.index]
    own.reverse()
    made = [(record.operations[m].kind, record.reads[m], record.writes[m]) for m in own]
    for length in range(1, len(made) // LOOPS + 1):
        if made == made[:length] * (len(made) // length) + made[: len(made) % length]:
            return next(filter(None, (_of(actor, record.operations[m], record.writes[m]) for m in own[:length])), None)
    return None


def _of(actor: Actor, operation: Operation, writes: int) -> Obstacle | None:
    if operation.kind.role is Role.READS_CLOCK:
        return Obstacle("it reads a clock", None)
    if operation.kind.role is Role.LOGS:
        return Obstacle("it logs", None)
    if writes & ~(actor.mark | CHECKED | ENDING | TIME):
        what = operation.detail if operation.resource is None else operation.resource.name
        return Obstacle(f"it writes ({operation.kind}{f' of {what}' if what else ''})", None)
    return None
