"""Whether daemons would move forever while no other actor can: then the others are stuck.

Daemons that repeat the same round change nothing for the actors that wait. Progress must not be mistaken for that: a worker that empties
a queue, a counter that another actor waits for. So a daemon must have come back to the same operation with all resources in the same
states, several times. What it keeps in local variables or in a database shows in no state; a single daemon is given many rounds for that.
If another actor could have moved within the last round, no actor is stuck: only a scheduler that never lets it move continues like this,
and the execution is cut.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from simharness.engine.actors import SHIFT, Actor
from simharness.engine.cast import Cast
from simharness.engine.operations import ENDING, Resource
from simharness.engine.record import Record

ROUNDS = 3
ROUNDS_OF_ONE = 20
"""Where one daemon moves alone, more rounds cost no more orderings."""


class Daemons(Enum):
    """What daemons do while no other actor can move."""

    WORK = "they may still change something"
    SPIN = "they repeat a round that changes nothing"
    STARVE = "they repeat a round in which another actor could have moved"


def judge(cast: Cast, record: Record, resources: Iterable[Resource], now: int, clock_key: int) -> Daemons:
    """Return what the daemons do, when no other actor can move."""
    # A worker that still waits for an instant is not stuck: the clock will free it, however long the daemons repeat. Only steps since a
    # worker's last step count, as that step may have changed what the daemons react to. An advance of the clock in between does not end
    # the count: a daemon that polls with a sleep moves only after one. All states that have changed since are compared, and not only
    # those that the daemon uses: a change in any of them may be progress.
    if any(actor.deadline is not None or now < actor.wakes for actor in cast.live if not actor.daemon):
        return Daemons.WORK
    daemons = {actor.index: actor for actor in cast.live if actor.daemon}
    visits: dict[int, list[int]] = {index: [] for index in daemons}
    start = 0
    for position in range(record.n - 1, -1, -1):
        index = record.keys[position] >> SHIFT
        if index in daemons:
            visits[index].append(position)
        elif record.keys[position] != clock_key:
            start = position + 1
            break
    movers = [index for index, actor in daemons.items() if actor.deadline is not None or actor.ready(now)]
    rounds = ROUNDS_OF_ONE if len(movers) == 1 else ROUNDS
    changed = [
        resource
        for resource in resources
        # The state of a file's locks counts how often they were dropped, so it is another one in each round.
        if resource.history and resource.history[-1][0] >= start and not resource.name.startswith("file locks of ")
    ]
    begins = [_last_round(record, visits[index], rounds, changed) for index in movers]
    if -1 in begins:
        return Daemons.WORK
    return Daemons.STARVE if _could_move(cast.live, min(begins, default=record.n), record.n) else Daemons.SPIN


def _could_move(live: Iterable[Actor], since: int, until: int) -> bool:
    """Whether an actor that waits could have moved after one of the steps from `since` on."""
    for actor in live:
        operation = actor.pending
        if actor.daemon or operation is None or operation.enabled is None or operation.resource is None:
            continue
        if any(operation.enabled(operation.resource.state_in((2 << position) - 1)) for position in range(since, until)):
            return True
    return False


def _last_round(record: Record, visits: list[int], rounds: int, changed: list[Resource]) -> int:
    """Return where a daemon's last round begins if its last step was done in so many rounds, with the same states after it; else -1."""
    if len(visits) < rounds:
        return -1
    last = record.operations[visits[0]]
    alike = [
        position
        for position in visits
        if record.operations[position].kind == last.kind
        and record.operations[position].resource is last.resource
        and record.reads[position] | ENDING == record.reads[visits[0]] | ENDING
    ]
    if len(alike) < rounds:
        return -1
    states = [resource.state_in((2 << alike[0]) - 1) for resource in changed]
    same = 0
    for position in alike:
        upto = (2 << position) - 1
        same += all(
            resource.state_in(upto) is state or resource.state_in(upto) == state for resource, state in zip(changed, states, strict=True)
        )
    return alike[1] if same >= rounds else -1
