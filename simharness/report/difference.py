"""Two runs of one schedule that differ: where they part, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from simharness.actors import SHIFT
from simharness.kernel import Kernel
from simharness.operations import Operation
from simharness.places import without_addresses

if TYPE_CHECKING:
    from simharness.simulation import Execution

Steps = Sequence[tuple[int, Operation]]


def first_difference(before: Steps, names: Mapping[int, str], first: Execution, kernel: Kernel, second: Execution) -> str:
    """Say at which step two runs of one schedule part; the second run's record is in the kernel."""
    after = list(zip(kernel.keys, kernel.operations, strict=True))
    now = {**names, **{actor.index: actor.name for actor in kernel.actors.values()}}
    for number, (one, two) in enumerate(zip(before, after, strict=False), start=1):
        left, right = _words(one, names), _words(two, now)
        if left != right:
            return f"not deterministic: step {number} was «{left}» and, repeated with the same choices, «{right}»"
    if len(before) != len(after):
        return f"not deterministic: the run had {len(before)} steps and, repeated with the same choices, {len(after)}"
    from simharness.simulation import describe

    left = without_addresses(f"{first.status}, {sorted(map(repr, first.outcomes))}, {describe(first.failure)}")
    right = without_addresses(f"{second.status}, {sorted(map(repr, second.outcomes))}, {describe(second.failure)}")
    if left == right:
        return "not deterministic: the same steps touched other resources when repeated with the same choices"
    return f"not deterministic: the same steps came to «{left}» and, repeated with the same choices, «{right}»"


def _words(step: tuple[int, Operation], names: Mapping[int, str]) -> str:
    key, operation = step
    return without_addresses(f"{names.get(key >> SHIFT, 'clock')} {operation.kind} {operation.detail}".strip())
