"""Processes share no memory: a lock, event or queue that two of them use would order steps that nothing orders in reality.

Each execution with several processes is checked when it is over. (Connections of another process are refused at their use.)
"""

from __future__ import annotations

from simharness.engine.actors import SHIFT
from simharness.engine.kernel import Kernel
from simharness.errors import Misuse


def shared_memory(kernel: Kernel) -> tuple[int, int] | None:
    """Return two steps of different processes that used the same lock, event, condition, semaphore, barrier or queue; None if none did."""
    actors = kernel.cast.actors
    if len({actor.process for actor in actors.values()}) < 2:
        return None
    users: dict[str, tuple[str, int]] = {}
    for position, operation in enumerate(kernel.record.operations):
        resource = operation.resource
        if resource is None or not operation.kind.family.in_memory:
            continue
        process = actors[kernel.record.keys[position] >> SHIFT].process
        first, step = users.setdefault(resource.name, (process, position))
        if first != process:
            return step, position
    return None


def refuse(kernel: Kernel, first: int, second: int) -> Misuse:
    """Return the error for two such steps; the kernel's last execution was traced."""
    resource = kernel.record.operations[second].resource
    assert resource is not None
    other, user = (kernel.cast.actors[kernel.record.keys[step] >> SHIFT].process for step in (first, second))
    here, there = ((kernel.record.calls[step] or ("?",))[0] for step in (second, first))
    return Misuse(
        f"{here}: process {user} uses {resource.name}, which process {other} uses at {there}; processes share no memory: make one in each"
    )
