"""What workers bring: speed-up, processor time of all processes, bytes sent; and what many workers would bring, simulated.

A simulation does every task in this process and lets it take the processor time that it took, on as many workers as asked for; the time of
the owner counts, and each answer is late by a millisecond. So it needs no idle machine.

    python benchmarks/parallel.py [--simulate 2,8,32,64] [NAME …]
"""

from __future__ import annotations

import heapq
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import simharness
from benchmarks.store_workload import contenders
from simharness import Result, Settings
from simharness.authoring.scenario import Scenario
from simharness.exploring.parallel import crew
from simharness.exploring.parallel.processes import Processes, Worker
from simharness.exploring.parallel.slices import Piece, Slices, Task, packed
from simharness.runtimes import control
from tests.programs import Row, casw, lastzero

_processor_time = time.process_time
LATENCY = 0.001
MEASURED: list[Processes] = []
"""The workers of the last exploration."""


class Counted(Processes):
    """Keeps what was sent."""

    def start(self) -> Worker:
        """Fork one more worker."""
        if self not in MEASURED:
            MEASURED.append(self)
        return super().start()


@dataclass
class Simulated(Worker):
    """A worker of the simulation."""

    slices: Slices | None = None


@dataclass
class Virtual(Processes):
    """Workers in virtual time: `now` is the owner's."""

    simulation: Any
    workers: list[Any] = field(default_factory=list)
    sent: int = 0
    received: int = 0
    now: float = 0.0
    read: float = field(default_factory=_processor_time)
    coming: list[tuple[float, int, int, Any, bytes]] = field(default_factory=list)

    def start(self) -> Worker:
        """Add a worker."""
        MEASURED[:] = [self]
        worker = Simulated(0, 0, 0, slices=Slices(self.simulation))
        self.workers.append(worker)
        return worker

    def _pass(self) -> None:
        """The owner has worked since the last look."""
        read = _processor_time()
        self.now += read - self.read
        self.read = read

    def give(self, worker: Any, task: Task) -> None:
        """Do a task at once, and note when its answer comes."""
        order = pickle.dumps(task)
        self._pass()
        worker.task = task.number
        answer = packed(worker.slices.work(pickle.loads(order)))
        took = _processor_time() - self.read
        self.read = _processor_time()
        self.sent, self.received = self.sent + len(order), self.received + len(answer)
        heapq.heappush(self.coming, (self.now + took + LATENCY, task.number, task.number, worker, answer))

    def pieces(self, seconds: float) -> Iterator[tuple[int, Piece | None]]:
        """Yield the next answer."""
        self._pass()
        when, _, number, worker, answer = heapq.heappop(self.coming)
        self.now = max(self.now, when)
        worker.task = None
        yield number, pickle.loads(answer)

    def settled(self) -> bool:
        """Nothing is asked."""
        self._pass()
        return True

    def close(self) -> None:
        """Nothing is to be ended."""


def _row(program: Callable[..., None], count: int) -> Callable[[], Scenario]:
    def made() -> Scenario:
        return Scenario(lambda world: Row(program.__name__, program, (count,), 0).scenario(world), allow_deadlock=True)

    return made


CASES: dict[str, Callable[[], Any]] = {
    "turns": lambda: simharness.load("scenarios/incident_fork.py::turns")[0],
    "store5": lambda: contenders(5, "inside"),
    "store4": lambda: contenders(4, "inside"),
    "lastzero12": _row(lastzero, 12),
    "casw5": _row(casw, 5),
}
PARAMETERS = {"turns": {"protocol": "fenced"}}


def explored(name: str, workers: int) -> tuple[Result, float, float]:
    """Explore; return the result, real seconds, and processor seconds of all processes."""
    MEASURED.clear()
    began, before = time.perf_counter(), sum(os.times()[:4])
    settings = Settings(workers=workers, confirm=False)
    result = simharness.explore(CASES[name](), "dpor", PARAMETERS.get(name), settings=settings)
    return result, time.perf_counter() - began, sum(os.times()[:4]) - before


def main(arguments: list[str]) -> int:
    """Print a line for each number of workers."""
    simulated: list[int] = []
    if arguments[:1] == ["--simulate"]:
        simulated, arguments = [int(number) for number in arguments[1].split(",")], arguments[2:]
    off = 0
    for name in arguments or ["store5", "lastzero12", "casw5"]:
        alone, seconds, processor = explored(name, 1)
        print(f"{name}, {alone.executions:,} orderings: {seconds:.1f} s alone, {processor:.1f} s of processor time", flush=True)
        for workers in simulated or [2]:
            crew.Processes = Virtual if simulated else Counted  # type: ignore[misc,attr-defined]  # in place of the real ones
            crew._monotonic = _processor_time if simulated else time.monotonic  # type: ignore[attr-defined]  # alone for so long
            result, took, used = explored(name, workers)
            off += (result.executions, result.redundant, result.branching) != (alone.executions, alone.redundant, alone.branching)
            sent = sum(one.sent + one.received for one in MEASURED)
            if simulated:
                took = crew.ALONE + sum(one.now for one in MEASURED if isinstance(one, Virtual)) if MEASURED else used
                print(f"  {workers} workers, simulated: {processor / took:.2f} times as fast, {sent / 1e6:.1f} MB sent", flush=True)
            else:
                more = used / processor
                print(
                    f"  {workers} workers: {seconds / took:.2f} times as fast, {more:.2f} of the processor time, {sent / 1e6:.1f} MB sent"
                )
    return 1 if off else 0


if __name__ == "__main__":
    with control.installed():
        sys.exit(main(sys.argv[1:]))
