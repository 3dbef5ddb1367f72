"""Processes share no memory: what instrumented modules lead to, each has for itself (`heap/processes.py`).

Another lock, event or queue that two of them use would order steps that nothing orders in reality, and is refused; objects that two of them
have from the scenario's function are named in the verdict. Each execution with several processes is checked when it is over. (Connections
of another process are refused at their use.)
"""

from __future__ import annotations

from collections.abc import Iterable

from simharness.engine.actors import SHIFT, Actor
from simharness.engine.kernel import Kernel
from simharness.errors import Misuse
from simharness.runtimes.memory.shared import MEMORY


def several(actors: Iterable[Actor]) -> bool:
    """Whether actors belong to several processes. If all are in one, set-up and checks belong to that."""
    return len({actor.process for actor in actors}) > 1


def shared_objects(kernel: Kernel) -> list[str]:
    """Return the names of the places in memory that several processes have used, and one has written."""
    actors = kernel.cast.actors
    if not several(actors.values()):
        return []
    users: dict[int, set[str]] = {}
    written = 0
    names: dict[int, str] = {}
    record = kernel.record
    for key, operation in zip(record.keys, record.operations, strict=True):
        if operation.kind.family.name == MEMORY:
            process = actors[key >> SHIFT].process
            written |= operation.writes
            mask = operation.reads | operation.writes
            while mask:
                bit = mask & -mask
                mask ^= bit
                users.setdefault(bit, set()).add(process)
                names[bit] = operation.detail
    return [f"{names[bit]}, which several processes use," for bit, known in users.items() if len(known) > 1 and bit & written]


def shared_memory(kernel: Kernel) -> tuple[int, int] | None:
    """Return two steps of different processes that used the same lock, event, condition, semaphore, barrier or queue; None if none did."""
    actors = kernel.cast.actors
    if not several(actors.values()):
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
