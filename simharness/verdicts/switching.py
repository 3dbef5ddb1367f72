"""Whether this version of CPython can make a failing ordering today: its eval loop must be able to switch wherever the ordering needs it.

The accesses between which the eval loop cannot switch (`simharness.runtimes.memory.eval_loop`) are a block. An ordering has an equal one
without a switch inside a block if and only if no block must come both before and after something outside of it: the blocks and the
conflicts between them have no cycle (as in serializability: Papadimitriou, The serializability of concurrent database updates, JACM 1979).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simharness.engine.actors import SHIFT
from simharness.engine.operations import conflict
from simharness.engine.record import Record
from simharness.errors import SimharnessError
from simharness.runtimes.memory.eval_loop import EVAL_LOOP, GIL, OBSERVED, EvalLoop, unknown
from simharness.simulation.repeating import strictly
from simharness.simulation.simulation import Simulation
from simharness.simulation.transcript import following
from simharness.trace.data import Trace

_HERE = "this version of CPython"
LONGEST = 1_000
"""Steps of an ordering that is examined."""


def today(simulation: Simulation, keys: Sequence[int], trace: Trace) -> str:
    """Say whether this interpreter can make an ordering that needs a switch between two accesses; empty if it needs none.

    Args:
        trace: of the execution with these choices.
    """
    kernel = simulation.kernel
    if GIL in kernel.modes or unknown() or len(keys) > LONGEST or not any(step.kind.family.name == "memory" for step in trace.steps):
        return ""
    if kernel.polled:
        return f"whether {_HERE} switches threads there is not known: loops that only look are waiting"
    kernel.turn_on(OBSERVED)
    try:
        with kernel.learned.unchanged():
            simulation.execute((), following(kernel, keys, strictly(kernel)))
    except SimharnessError as error:
        return f"whether {_HERE} switches threads there is not known: {str(error).splitlines()[0]}"
    finally:
        kernel.modes.discard(OBSERVED)
    loop: EvalLoop | None = kernel.context.get(EVAL_LOOP)
    if loop is None or broken(kernel.record, loop.straight) is None:
        return ""
    step = broken(kernel.record, loop.together)
    if step is None:
        return f"{_HERE} can switch threads where this ordering does"
    place = trace.steps[step].place if step < len(trace.steps) else None
    where = f"at {place}" if place else f"before step {step + 1}"
    return f"{_HERE} does not switch threads {where}, as this ordering does: the language allows it, and a free-threaded build does it"


def broken(record: Record, before: Mapping[int, int]) -> int | None:
    """Return the first step between which and the one `before` it others must come; None if all blocks of such steps can stay whole."""
    block = list(range(record.n))
    for step in sorted(before):
        block[step] = block[before[step]]
    steps: dict[int, list[int]] = {}
    for step, number in enumerate(block):
        steps.setdefault(number, []).append(step)
    for step in sorted(before):
        own = block[step]
        if any(later >= step for later in _reached(record, [other for other in steps[own] if other < step], own, block, steps)):
            return step
    return None


def _reached(record: Record, first: Sequence[int], own: int, block: Sequence[int], steps: Mapping[int, Sequence[int]]) -> set[int]:
    """Return the steps of a block that must come after its `first` steps because of steps of other blocks between them."""
    found: set[int] = set()
    seen: set[int] = set()
    todo = list(first)
    while todo:
        step = todo.pop()
        for later in range(step + 1, record.n):
            number = block[later]
            if number in seen or (number == own and block[step] == own) or not _ordered(record, step, later):
                continue
            if number == own:
                found.add(later)
            else:
                seen.add(number)
                todo.extend(steps[number])
    return found


def _ordered(record: Record, first: int, second: int) -> bool:
    if record.keys[first] >> SHIFT == record.keys[second] >> SHIFT:
        return True
    return conflict(record.reads[first], record.writes[first], record.reads[second], record.writes[second])
