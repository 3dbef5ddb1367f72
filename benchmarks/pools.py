"""Prints how many orderings the plainest uses of an executor have: as tasks that are actors, and with the genuine workers.

python benchmarks/pools.py
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import simharness
from simharness.runtimes import control

SECONDS = 20.0


class GenuineExecutor(ThreadPoolExecutor):
    """Overrides a method, which brings the genuine workers back."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return super().submit(fn, *args, **kwargs)


Make = Callable[[int], ThreadPoolExecutor]


def mapped(workers: int, tasks: int, locked: bool = False) -> Callable[[Make], Callable[[], None]]:
    """Map over a pool; `locked`: each task appends under a lock."""

    def program(make: Make) -> Callable[[], None]:
        def run() -> None:
            lock, log = threading.Lock(), []

            def work(number: int) -> int:
                if locked:
                    with lock:
                        log.append(number)
                return number

            with make(workers) as pool:
                assert list(pool.map(work, range(tasks))) == list(range(tasks))

        return run

    return program


def completed(make: Make) -> Callable[[], None]:
    """Take results as they are completed."""

    def run() -> None:
        with make(2) as pool:
            assert sum(future.result() for future in as_completed([pool.submit(int), pool.submit(int)])) == 0

    return run


PROGRAMS = {
    "map, 1 worker, 2 tasks": mapped(1, 2),
    "map, 2 workers, 2 tasks": mapped(2, 2),
    "map, 2 workers, 3 tasks": mapped(2, 3),
    "map, 3 workers, 3 tasks": mapped(3, 3),
    "tasks append under a lock, 2 workers, 3 tasks": mapped(2, 3, locked=True),
    "as_completed, 2 workers, 2 tasks": completed,
}


def main() -> None:
    print(f"{'program':46} {'actors':>8} {'genuine':>8}")
    for name, program in PROGRAMS.items():
        numbers = []
        for make in (ThreadPoolExecutor, GenuineExecutor):
            began = time.perf_counter()
            result = simharness.explore(program(make), "dpor", settings=simharness.Settings(max_seconds=SECONDS, confirm=False))
            ended = result.verdict == "verified"
            numbers.append(f"{result.executions:,}" if ended else f"no end in {time.perf_counter() - began:.0f} s ({result.executions:,})")
        print(f"{name:46} {numbers[0]:>8} {numbers[1]:>8}", flush=True)


if __name__ == "__main__":
    with control.installed():
        main()
