"""Whether daemons would move for ever while nobody else can: then the others are stuck.

Daemons that come round again and again change nothing for those who wait. Progress must not be taken for that: a worker that empties
a queue, a counter that somebody waits for. So a daemon must have come back to the same operation with all resources in the same states,
several times. What it keeps in local variables or in a database shows in no state; a single daemon is given many rounds for that.
If somebody else could have moved within the last round, nobody is stuck: only a scheduler that never lets him move goes on so, and the
execution is cut.
"""

from __future__ import annotations

from simharness.engine.actors import SHIFT
from simharness.engine.operations import Resource
from simharness.engine.record import Record

ROUNDS = 3
ROUNDS_OF_ONE = 20
"""Where one daemon moves alone, more rounds cost no more orderings."""


def repeat_without_progress(record: Record) -> bool:
    """Whether every daemon that moves has repeated its round so often since another actor last moved; marks an unfair execution as cut."""
    now = record.clock.now
    # Asked only where no worker can move. A worker that still waits for an instant is not stuck: the clock will free it, however long the
    # daemons repeat. Only steps since a worker's last step count, as that step may have changed what the daemons react to. An advance of
    # the clock in between does not end the count: a daemon that polls with a sleep moves only after one. All states that have changed
    # since are compared, and not only those that the daemon uses: a change in any of them may be progress.
    if not record.learned.daemons or any(a.deadline is not None or now < a.wakes for a in record.live if not a.daemon):
        return False
    daemons = {actor.index: actor for actor in record.live if actor.daemon}
    visits: dict[int, list[int]] = {index: [] for index in daemons}
    start = 0
    for position in range(record.n - 1, -1, -1):
        index = record.keys[position] >> SHIFT
        if index in daemons:
            visits[index].append(position)
        elif record.keys[position] != record.clock_key:
            start = position + 1
            break
    movers = [index for index, actor in daemons.items() if actor.deadline is not None or actor.ready(now)]
    rounds = ROUNDS_OF_ONE if len(movers) == 1 else ROUNDS
    changed = [found for found in record.resources.values() if found.history and found.history[-1][0] >= start]
    begins = [_last_round(record, visits[index], rounds, changed) for index in movers]
    if -1 in begins:
        return False
    record.cut = _could_move(record, min(begins, default=record.n))
    return True


def _could_move(record: Record, since: int) -> bool:
    """Whether an actor that waits could have moved after one of the steps from `since` on."""
    for actor in record.live:
        operation = actor.pending
        if actor.daemon or operation is None or operation.enabled is None or operation.resource is None:
            continue
        if any(operation.enabled(operation.resource.state_in((2 << position) - 1)) for position in range(since, record.n)):
            return True
    return False


def _last_round(record: Record, visits: list[int], rounds: int, changed: list[Resource]) -> int:
    """Return where the last round of a daemon begins whose latest step was done so often, with the same states after it; else -1."""
    if len(visits) < rounds:
        return -1
    last = record.operations[visits[0]]
    alike = [
        position
        for position in visits
        if record.operations[position].kind == last.kind and record.operations[position].resource is last.resource
    ]
    if len(alike) < rounds:
        return -1
    states = [found.state_in((2 << alike[0]) - 1) for found in changed if not found.name.startswith("file locks of ")]
    others = [found for found in changed if not found.name.startswith("file locks of ")]
    same = 0
    for position in alike:
        upto = (2 << position) - 1
        same += all(found.state_in(upto) is state or found.state_in(upto) == state for found, state in zip(others, states, strict=True))
    return alike[1] if same >= rounds else -1
