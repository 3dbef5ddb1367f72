"""Worker processes, forked from the one that owns the exploration, between two of its executions.

Each begins with the owner's state: scenario, names, facts, what was imported. It does one task at a time and ends with the owner. A worker
that has learned something is not used again: what it explores next would rest on other facts than the owner's.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

from simharness.endings import end_with_parent
from simharness.exploring.parallel.frames import Frames, receive, send
from simharness.exploring.parallel.slices import Piece, Slices, Task, packed
from simharness.simulation.forks import continued, fork
from simharness.simulation.simulation import Simulation

_pipe, _close, _exit, _getpid, _kill, _wait = os.pipe, os.close, os._exit, os.getpid, os.kill, os.waitpid
_poll = getattr(select, "poll", None)
_signal = sys.modules.get("_signal", signal)
_ENDING = tuple(number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None)


@dataclass
class Worker:
    """A process; `task` is the number of what it does, or None; `said` is the part of its answer that has arrived."""

    process: int
    orders: int
    answers: int
    task: int | None = None
    said: Frames = field(default_factory=Frames)


class Processes:
    """The workers of one exploration."""

    share_places = True
    """Whether they take places of this machine, as those of other cases do."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self.workers: list[Worker] = []
        self.sent = self.received = 0

    @property
    def places(self) -> int | None:
        """How many workers there are, if they are not processes of this machine, which share places with other cases."""
        return None

    @property
    def idle(self) -> list[Worker]:
        """The workers that have nothing to do."""
        return [worker for worker in self.workers if worker.task is None]

    def start(self) -> Worker:
        """Fork one more worker."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()  # what it holds would be written by both
        (their_orders, orders), (answers, their_answers) = _pipe(), _pipe()
        parent, process = _getpid(), fork()
        if not process:
            try:
                for descriptor in (orders, answers, *(end for other in self.workers for end in (other.orders, other.answers))):
                    _close(descriptor)
                end_with_parent(parent)
                _serve(self._simulation, their_orders, their_answers)
            finally:
                _exit(0)
        _close(their_orders)
        _close(their_answers)
        worker = Worker(process, orders, answers)
        self.workers.append(worker)
        return worker

    def give(self, worker: Worker, task: Task) -> None:
        """Give a worker a task; one that has ended shows in `pieces`."""
        data = pickle.dumps(task, pickle.HIGHEST_PROTOCOL)
        worker.task = task.number
        self.sent += len(data)
        with contextlib.suppress(OSError):
            send(worker.orders, data)

    def pieces(self, seconds: float) -> Iterator[tuple[int, Piece | None]]:
        """Wait for answers; yield (number of the task, answer), None for a worker that has ended without one."""
        assert _poll is not None
        poll = _poll()
        for worker in self.workers:
            poll.register(worker.answers, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(seconds * 1000)}
        for worker in [worker for worker in self.workers if worker.answers in ready]:
            number = worker.task
            if not worker.said.read(worker.answers):
                self.end(worker)
                if number is not None:
                    yield number, None
                continue
            for answer in worker.said.whole():
                worker.task = None
                self.received += len(answer)
                if number is not None:
                    yield number, pickle.loads(answer)

    def settled(self) -> bool:
        """Exploring is over: end what is under way; return whether all that the workers' executions have changed was announced."""
        settled = True
        for worker in list(self.workers):
            if worker.task is not None:
                self.end(worker)
                continue
            with contextlib.suppress(OSError):
                send(worker.orders, b"")
                answer = receive(worker.answers)
                settled = settled and (answer is None or pickle.loads(answer))
        return settled

    def end(self, worker: Worker) -> None:
        """End a worker, whatever it does."""
        self.workers.remove(worker)
        _close(worker.orders)
        _close(worker.answers)
        with contextlib.suppress(OSError):
            _kill(worker.process, getattr(signal, "SIGKILL", signal.SIGTERM))
        with contextlib.suppress(OSError):
            _wait(worker.process, 0)

    def close(self) -> None:
        """End all workers."""
        for worker in list(self.workers):
            self.end(worker)


class Here(Processes):
    """This process does each task when it is given: where one process goes on from parts of an exploration."""

    share_places = False

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self._slices = Slices(simulation)
        self._done: list[Piece] = []

    @property
    def places(self) -> int | None:
        """One."""
        return 1

    def start(self) -> Worker:
        """There is one worker."""
        worker = Worker(0, -1, -1)
        self.workers.append(worker)
        return worker

    def give(self, worker: Worker, task: Task) -> None:
        """Do a task."""
        simulation = self._simulation
        worker.task = task.number
        checked = simulation.checked, simulation.checks
        self._done.append(self._slices.work(task))
        simulation.checked, simulation.checks = checked  # the answer says it

    def pieces(self, seconds: float) -> Iterator[tuple[int, Piece | None]]:
        """Yield what the tasks came to."""
        done, self._done = self._done, []
        for worker in self.workers:
            worker.task = None
        for piece in done:
            yield piece.number, piece

    def settled(self) -> bool:
        """The owner settles."""
        return True

    def end(self, worker: Worker) -> None:
        """Nothing is to be ended."""
        self.workers.remove(worker)


def _serve(simulation: Simulation, orders: int, answers: int) -> None:
    """Do tasks until the owner closes the pipe."""
    _signal.signal(signal.SIGINT, int(signal.SIG_IGN))
    for number in _ENDING:
        _signal.signal(number, int(signal.SIG_DFL))
    mark = simulation.kernel.learned.mark()
    with continued(simulation):
        slices = Slices(simulation)
        while mark.holds and (data := receive(orders)) is not None:
            send(answers, packed(slices.work(pickle.loads(data))) if data else pickle.dumps(slices.settle()))
