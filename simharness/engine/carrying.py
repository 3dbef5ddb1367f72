"""What a kernel keeps from one execution to the next, as plain data: an execution in another process sends it back."""

from __future__ import annotations

from typing import Any

from simharness.engine.kernel import Kernel

_OF_THE_LAST = ("timed", "concurrent", "touched", "watched", "fair", "cut")


def kept(kernel: Kernel) -> dict[str, Any]:
    """Return what executions change and later ones, or the verdict, need."""
    learned = dict(vars(kernel.learned))
    learned["_facts"] = {kind: dict(known) for kind, known in learned["_facts"].items()}
    return {
        "last": {name: getattr(kernel, name) for name in _OF_THE_LAST},
        "bits": dict(kernel.names._bits),
        "faults": dict(kernel.movers.faults),
        "timescales": kernel.clock.timescales,
        "learned": learned,
    }


def take(kernel: Kernel, state: dict[str, Any]) -> None:
    """Take over what another process has kept; what callers hold of the kernel stays the same object."""
    vars(kernel).update(state["last"])
    kernel.names._bits.update(state["bits"])
    kernel.movers.faults.update(state["faults"])
    kernel.clock.timescales = state["timescales"]
    learned = dict(state["learned"])
    for kind, known in learned.pop("_facts").items():
        kernel.learned._facts[kind].update(known)
    vars(kernel.learned).update(learned)
