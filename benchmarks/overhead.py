"""What exploring costs compared with running the same code bare, for the contenders of `store_workload`, in one run.

A: the time per explored ordering, divided by one ordinary run of the same actors on real threads; set-up, check and close are
included in both. The exploration's own fixed work is included (the watchdog, two repetitions of the first schedule), patching the
standard library is not: it is done once around all, and has its own line.

B: the time per execution of an exploration, divided by the same actors run bare, one after the other; set-up, check and close
are left out of both, everything else is in: actors, scheduling, the reduction, learning what the statements read and write,
the two extra runs. Fixed costs weigh most with 10 orderings, so B is also measured with four contenders, which have 1,200.

A is measured in wall-clock seconds, since threads wait, and in processor seconds, which other programs disturb less; B, where no
thread waits, in processor seconds. Each ratio is the median over pairs, measured one right after the other.

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
from simharness.engine.clock import processor_seconds, real_seconds
from simharness.runtimes import control

Clock = Callable[[], float]
MEMORY = ":memory:"
REPEATS = 200
"""The approximate number of explored and ordinary runs in a pair."""


ROWS: tuple[tuple[str, int, Clock, float], ...] = (
    ("A", 2, real_seconds, 0.5),
    ("A, processor", 2, processor_seconds, 0.5),
    ("B", 2, processor_seconds, 2.5),
    ("B", 4, processor_seconds, 2.5),
)


def names(count: int) -> list[str]:
    return [f"contender_{number}" for number in range(count)]


def check_and_close(store: Store) -> None:
    """The end of a run on either side."""
    assert store.children(PARENT) == 1
    store.connection.close()


def prepared(path: str) -> Store:
    """The beginning of a run on either side."""
    store = Store(path)
    store.create(PARENT)
    return store


class Explored:
    """Explorations of the contenders, with the time of set-up, check and close kept apart."""

    def __init__(self, count: int, file: bool, clock: Clock) -> None:
        self.count = count
        self.file = file
        self.clock = clock
        self.runs = self.executions = 0
        self.apart = self.seconds = 0.0

    def scenario(self, world: simharness.World) -> None:
        began = self.clock()
        store = prepared(world.path("state.db") if self.file else MEMORY)
        self.runs += 1
        self.apart += self.clock() - began
        for name in names(self.count):
            world.actor(name, compress, store, name, "inside")

        @world.at_end
        def one_child() -> None:
            began = self.clock()
            check_and_close(store)
            self.apart += self.clock() - began

    def explore(self, times: int) -> None:
        """Explore all orderings this many times."""
        began = self.clock()
        for _ in range(times):
            result = simharness.explore(self.scenario, "dpor")
            assert result.verdict is simharness.Verdict.VERIFIED
            assert result.executions == ORDERINGS[self.count]
            self.executions += result.executions
        self.seconds += self.clock() - began


def on_threads(count: int, file: str, clock: Clock) -> float:
    """One ordinary run on real threads; return its seconds."""
    began = clock()
    store = prepared(file)
    threads = [threading.Thread(target=compress, args=(store, name, "inside")) for name in names(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_and_close(store)
    return clock() - began


def one_after_the_other(count: int, file: str, clock: Clock) -> float:
    """One bare run; return its seconds without set-up, check and close."""
    store = prepared(file)
    began = clock()
    for name in names(count):
        compress(store, name, "inside")
    seconds = clock() - began
    check_and_close(store)
    return seconds


def fresh(file: str) -> str:
    """Remove the files of an earlier run; return the path."""
    for name in (file, f"{file}-wal", f"{file}-shm"):
        Path(name).unlink(missing_ok=True)
    return file


def pair(count: int, path: str | None, bare: bool, clock: Clock) -> tuple[float, float]:
    """Return (seconds of one explored execution, seconds of one ordinary run)."""
    run = one_after_the_other if bare else on_threads
    times = max(1, REPEATS // ORDERINGS[count])
    runs = max(REPEATS, 100)
    ordinary = sum(run(count, MEMORY if path is None else fresh(path), clock) for _ in range(runs)) / runs
    explored = Explored(count, path is not None, clock)
    with control.installed():
        explored.explore(times)
    if bare:
        return (explored.seconds - explored.apart) / explored.runs, ordinary
    return explored.seconds / explored.executions, ordinary


def report(title: str, pairs: list[tuple[float, float]], target: float) -> None:
    ratios = [explored / ordinary for explored, ordinary in pairs]
    explored, ordinary = (statistics.median(values) * 1e6 for values in zip(*pairs, strict=True))
    print(f"{title:42} {explored:6.0f} µs / {ordinary:6.0f} µs = {statistics.median(ratios):.2f}"
          f"  ({min(ratios):.2f}–{max(ratios):.2f}; target ≤ {target})")  # fmt: skip


def entering(times: int) -> float:
    """Return the seconds that patching and restoring the standard library takes."""
    seconds = []
    for _ in range(times):
        began = real_seconds()
        with control.installed():
            pass
        seconds.append(real_seconds() - began)
    return statistics.median(seconds)


def main(pairs: int) -> int:
    memory = "/dev/shm"
    print(f"{pairs} pairs of explored and ordinary runs each; median (min–max)")
    print("A: per explored ordering / one ordinary run on real threads; set-up, check, close in both; patching left out")
    print("B: per execution / the actors run bare, one after the other; set-up, check, close in neither")
    with tempfile.TemporaryDirectory(dir=memory if os.path.isdir(memory) else None) as folder:
        file = os.path.join(folder, "state.db")
        for what, count, clock, target in ROWS:
            for place, path in ((":memory:", None), ("WAL file", file)):
                bare = what.startswith("B")
                report(f"{what}, {count} contenders, {place}", [pair(count, path, bare, clock) for _ in range(pairs)], target)
    print(f"entering and leaving, once per exploration or once around many: {entering(pairs) * 1000:.1f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 7))
