"""Contenders that compress one session of a small SQLite store: the workload on which tools are compared.

Every operation of the store takes its `threading.Lock` and runs one transaction, so the orderings are the orders of the store's
operations. `check` says when a contender checks whether the session has already been rotated: "inside" the lease (correct),
"early", before it takes the lease (wrong in some orderings), or never (None).

    python benchmarks/store_workload.py
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import simharness
from benchmarks.store import ORDERINGS, PARENT, Store, compress
from simharness.runtimes import control


def contenders(count: int, check: str | None) -> Callable[[simharness.World], Any]:
    """Return the scenario of `count` contenders."""

    def one_child(world: simharness.World) -> None:
        store = Store()
        store.create(PARENT)
        for number in range(count):
            world.actor(f"contender_{number}", compress, store, f"contender_{number}", check)

        @world.at_end
        def session_has_one_child() -> None:
            children = store.children(PARENT)
            world.outcome(children)
            assert children == 1

    return one_child


def main() -> int:
    off = 0
    for count, known in ORDERINGS.items():
        began = time.perf_counter()
        result = simharness.explore(contenders(count, "inside"), "dpor")
        seconds = time.perf_counter() - began
        right = result.verdict is simharness.Verdict.VERIFIED and result.executions == known and result.redundant == 0
        off += not right
        per = seconds / max(1, result.executions) * 1e6
        print(
            f"{count} contenders: {result.verdict}, {result.executions} of {known} orderings, "
            f"{result.redundant} redundant, {seconds * 1000:.1f} ms, {per:.0f} µs an execution"
        )
    for check in (None, "early"):
        result = simharness.explore(contenders(2, check), "dpor")
        off += result.verdict is not simharness.Verdict.VIOLATED
        print(f"check={check!r}: {result.verdict} after {result.executions} executions")
    return 1 if off else 0


if __name__ == "__main__":
    with control.installed():
        sys.exit(main())
