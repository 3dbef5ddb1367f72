"""What it costs that each execution begins with the state of the first: per execution, in microseconds of processor time, best of five.

The program has three threads that change three globals of an instrumented module, which has no others or 1,000 others; the figure with a
process of its own for each execution is in real seconds, as most of it is the system's.

    python benchmarks/heap.py
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import simharness
from simharness.engine.clock import processor_seconds, real_seconds
from simharness.runtimes import control
from simharness.runtimes.heap.heap import Heap

SOURCE = """
hits, last, total = 0, None, 0

def work():
    global hits, last, total
    hits += 1
    last = hits
    total += last
"""
EXECUTIONS, REPEATS = 600, 5


def scenario(work: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return run


def cost(module: str, isolation: str, clock: Callable[[], float], executions: int) -> float:
    settings = simharness.Settings(instrument=(module,), isolation=isolation, max_executions=executions)
    work = importlib.import_module(module).work
    began = clock()
    result = simharness.explore(scenario(work), "dpor", stop_on_first=False, settings=settings)
    return (clock() - began) / result.executions * 1e6


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, control.installed():
        sys.path.insert(0, folder)
        for others in (0, 1_000):
            name = f"with_{others}_others"
            Path(folder, f"{name}.py").write_text(SOURCE + "".join(f"g{n} = {n}\n" for n in range(others)))
            best = min(cost(name, "undo", processor_seconds, EXECUTIONS) for _ in range(REPEATS))
            print(f"three globals of {others + 3:5,}, put back: {best:8.0f} µs each")
        began = processor_seconds()
        Heap()
        print(f"a baseline, once for each exploration: {(processor_seconds() - began) * 1e6:8.0f} µs")
        print(f"a process for each execution:          {cost(name, 'fork', real_seconds, 100):8.0f} µs each")


if __name__ == "__main__":
    main()
