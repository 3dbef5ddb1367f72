"""What exploring costs beside running the same code bare, for the two contenders of `store_workload`, from one run.

A: the time per explored ordering, divided by one ordinary run of the same actors on real threads; set-up, check and close are
included in both. The exploration's own fixed work is included (the watchdog, the first schedule run twice more to see that it
repeats), the replacing of the standard library is not: it is done once around all, and has a line of its own.

B: the time per execution of an exploration, divided by the same actors run bare, one after the other; set-up, check and close
are left out of both, everything else is in: actors, scheduling, the reduction, the two extra runs.

All are genuine seconds that pass, not processor time. Each ratio is the median over pairs, measured one right after the other.

    python benchmarks/overhead.py [PAIRS]
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import simharness
from benchmarks.store_workload import ORDERINGS, PARENT, Store, compress
from simharness import runtimes
from simharness.clock import real_seconds

NAMES = ("contender_0", "contender_1")
MEMORY = ":memory:"
REPEATS = 20


def check_and_close(store: Store) -> None:
    """What ends a run on either side."""
    assert store.children(PARENT) == 1
    store.connection.close()


def prepared(path: str) -> Store:
    """What begins a run on either side."""
    store = Store(path)
    store.create(PARENT)
    return store


class Explored:
    """Explorations of the two contenders, with the time that went into set-up, check and close kept apart."""

    def __init__(self, file: bool) -> None:
        self.file = file
        self.runs = self.executions = 0
        self.apart = self.seconds = 0.0

    def scenario(self, world: simharness.World) -> None:
        began = real_seconds()
        store = prepared(world.path("state.db") if self.file else MEMORY)
        self.runs += 1
        self.apart += real_seconds() - began
        for name in NAMES:
            world.actor(name, compress, store, name, "inside")

        @world.at_end
        def one_child() -> None:
            began = real_seconds()
            check_and_close(store)
            self.apart += real_seconds() - began

    def explore(self, times: int) -> None:
        """Explore so many times, all orderings each time."""
        began = real_seconds()
        for _ in range(times):
            result = simharness.explore(self.scenario)
            assert result.verdict is simharness.Verdict.VERIFIED
            assert result.executions == ORDERINGS[len(NAMES)]
            self.executions += result.executions
        self.seconds += real_seconds() - began


def on_threads(file: str) -> None:
    """One ordinary run on real threads."""
    store = prepared(file)
    threads = [threading.Thread(target=compress, args=(store, name, "inside")) for name in NAMES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_and_close(store)


def one_after_the_other(file: str) -> float:
    """One bare run; return its seconds without set-up, check and close."""
    store = prepared(file)
    began = real_seconds()
    for name in NAMES:
        compress(store, name, "inside")
    seconds = real_seconds() - began
    check_and_close(store)
    return seconds


def fresh(file: str) -> str:
    """Remove what an earlier run left."""
    for name in (file, f"{file}-wal", f"{file}-shm"):
        Path(name).unlink(missing_ok=True)
    return file


def measure(runs: int, work: Callable[[], float | None]) -> float:
    """Return the seconds of one of so many calls: what they return, or else what they take."""
    began = real_seconds()
    told = [work() for _ in range(runs)]
    took = real_seconds() - began
    return sum(seconds for seconds in told if seconds is not None) / runs if told[0] is not None else took / runs


def pair(file: str | None, bare: bool) -> tuple[float, float]:
    """Return (seconds of one explored execution, seconds of one ordinary run)."""
    place = file or MEMORY
    run: Callable[[str], float | None] = one_after_the_other if bare else on_threads
    ordinary = measure(ORDERINGS[len(NAMES)] * REPEATS, lambda: run(place if file is None else fresh(file)))
    explored = Explored(file is not None)
    with runtimes.installed():
        explored.explore(REPEATS)
    if bare:
        return (explored.seconds - explored.apart) / explored.runs, ordinary
    return explored.seconds / explored.executions, ordinary


def report(title: str, pairs: list[tuple[float, float]], target: float) -> None:
    ratios = [explored / ordinary for explored, ordinary in pairs]
    explored, ordinary = (statistics.median(values) * 1e6 for values in zip(*pairs, strict=True))
    print(f"{title:42} {explored:6.0f} µs / {ordinary:6.0f} µs = {statistics.median(ratios):.2f}"
          f"  ({min(ratios):.2f}–{max(ratios):.2f}; target ≤ {target})")  # fmt: skip


def entering(pairs: int) -> float:
    """Return the seconds that replacing the standard library takes, and putting it back."""

    def enter() -> None:
        with runtimes.installed():
            pass

    return statistics.median(measure(1, enter) for _ in range(pairs))


def main(pairs: int) -> int:
    memory = "/dev/shm"
    print(f"two contenders, {ORDERINGS[len(NAMES)]} orderings, {pairs} pairs; median (min–max)")
    print("A: per explored ordering / one ordinary run on real threads; set-up, check, close in both; patching left out")
    print("B: per execution / the actors run bare, one after the other; set-up, check, close in neither")
    with tempfile.TemporaryDirectory(dir=memory if os.path.isdir(memory) else None) as folder:
        file = os.path.join(folder, "state.db")
        for place, path in ((":memory:", None), ("WAL file", file)):
            report(f"A, {place}", [pair(path, False) for _ in range(pairs)], 0.5)
        for place, path in ((":memory:", None), ("WAL file", file)):
            report(f"B, {place}", [pair(path, True) for _ in range(pairs)], 2.5)
    print(f"entering and leaving, once per exploration or once around many: {entering(pairs) * 1000:.1f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 7))
