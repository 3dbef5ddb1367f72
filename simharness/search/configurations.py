"""What else could happen after some of the steps of an execution.

A *configuration* is a set of steps of the kernel's last execution, as a mask of their indices, that contains with each step all that
happens before it. The states of resources after it are recorded (`Resource.state_in`), so what could have come next is known without
running anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from simharness.engine.actors import Actor
from simharness.engine.advances import EVERYTHING, Wait, footprint, wait_of
from simharness.engine.kernel import Kernel
from simharness.engine.operations import CLOCK


class Pending(NamedTuple):
    """What the actors wait for after some steps.

    Attributes:
        deadlines: of those that cannot move; for an actor of a stalled process, the end of the stall.
        ready: the processes of those that can.
        waits: those whose deadlines are not over, whether they can move or not.
    """

    deadlines: list[int]
    ready: list[str]
    waits: list[Wait]


def instead(kernel: Kernel, steps_of: dict[int, int], done: int, since: tuple[int, int]) -> Iterator[tuple[int, int, int]]:
    """Yield the late advance of the clock and the stalls that are possible after the steps in `done`: their keys, reads and writes.

    Args:
        steps_of: for each actor's index, the mask of its steps.
        since: the time and the lateness that the last advance among these steps left.
    """
    now, lateness = since
    clock = kernel.clock
    saved = clock.now, clock.lateness
    clock.now, clock.lateness = now, lateness
    try:
        pending, readings = _pending(kernel, steps_of, done, now), kernel.record.readings(done)
        target = clock.target(pending.deadlines, False, readings)
        if target is not None:
            narrow = kernel.movers.narrow
            yield kernel.movers.clock_key, *(footprint(pending.waits, now, target, kernel.learned) if narrow else EVERYTHING)
        if kernel.movers.may_stall:
            for key in kernel.movers.stalls(dict.fromkeys(pending.ready), clock.instants(pending.deadlines, readings), now, lateness):
                yield key, 0, CLOCK | kernel.movers.fault_bit
    finally:
        clock.now, clock.lateness = saved


def _alive(steps_of: dict[int, int], actor: Actor, done: int) -> bool:
    """Whether an actor has begun and not ended after the steps in `done`."""
    if (actor.born >= 0 and not done >> actor.born & 1) or (actor.crashed is not None and done >> actor.crashed & 1):
        return False
    return not actor.finished or actor.crashed is not None or bool(steps_of.get(actor.index, 0) & ~done)


def _asleep(kernel: Kernel, actor: Actor, done: int, now: int) -> int:
    """Return when the stall of the actor's process ends that holds after the steps in `done`; 0 if there is none."""
    for step, process, until, *_ in kernel.record.stalled:
        if process == actor.process and step > actor.born and done >> step & 1 and now < until:
            return until
    return 0


def _pending(kernel: Kernel, steps_of: dict[int, int], done: int, now: int) -> Pending:
    """Return what the actors wait for after the steps in `done`."""
    pending = deadlines, ready, waits = Pending([], [], [])
    for actor in kernel.cast.actors.values():
        if not _alive(steps_of, actor, done):
            continue
        if until := _asleep(kernel, actor, done, now):
            deadlines.append(until)
            continue
        # What the actor waits to do is its first step that is not in `done`, or what it was about to do at the end. Its deadline was
        # recorded in an execution with all its stalls. A suspension postpones the deadlines of its process, so one that struck while the
        # actor waited, and is not in `done`, has to be taken off again; one before it declared the operation is part of its past.
        # An actor whose deadline has passed can move, even if what it waits for has not happened.
        own = steps_of.get(actor.index, 0)
        left = own & ~done
        position = (left & -left).bit_length() - 1 if left else kernel.record.n
        operation, deadline = (
            (kernel.record.operations[position], kernel.record.deadlines[position]) if left else (actor.pending, actor.deadline)
        )
        if operation is None:
            continue
        if operation.due is not None and operation.resource is not None:
            deadline = operation.due(operation.resource.state_in(done))
        elif deadline is not None and kernel.record.stalled:
            declared = max((own & done).bit_length() - 1, actor.born)
            deadline -= sum(
                naps if operation.kind.family.naps else later
                for step, process, _, later, naps in kernel.record.stalled
                if process == actor.process and declared < step < position and not done >> step & 1
            )
        if deadline is not None and deadline > now:
            waits.append(wait_of(actor, operation, deadline))
        if operation.enabled is None or operation.resource is None or operation.enabled(operation.resource.state_in(done)):
            ready.append(actor.process)
        elif deadline is not None:
            deadlines.append(deadline) if deadline > now else ready.append(actor.process)
    return pending
