"""Workers on other machines, through Dask's `distributed` (the extra `simharness[cluster]`): a user has its scheduler, or one is started.

Three processes lie between the search and a task, since a simulation replaces what threads and clocks are: the owner starts `broker.py`,
which is Dask's client; on a worker of Dask's, `remote.py` hands the task to a process of its own, which has entered the simulation. Tasks,
answers and what is made of them are those of forked workers. Dask gives a task that a worker did not survive to another one.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace

from simharness.digests import own_code
from simharness.engine.facts import Fact
from simharness.errors import Lacking, Misuse
from simharness.exploring.parallel.border import Table
from simharness.exploring.parallel.frames import Frames, send
from simharness.exploring.parallel.processes import Processes, Worker
from simharness.exploring.parallel.remote import Opening
from simharness.exploring.parallel.slices import Piece, Task
from simharness.simulation.simulation import Simulation

_Popen, _poll, _getpid = subprocess.Popen, getattr(select, "poll", None), os.getpid
PATIENCE = 60.0
"""Real seconds until a scheduler has answered."""
_START = "import sys; sys.path[:] = {path!r}; from simharness.exploring.parallel.broker import main; main({address!r}, {workers}, {parent})"


class Cluster(Processes):
    """The workers of a scheduler of Dask's.

    Args:
        address: that of the scheduler, or "local" to start one.
        number: how many workers a local one has.
    """

    share_places = False

    def __init__(self, simulation: Simulation, address: str, number: int) -> None:
        super().__init__(simulation)
        if "::" not in simulation.scenario.address:
            raise Misuse(f"cluster={address!r}: its workers have to load {simulation.scenario.name}, which is in no file: load it from one")
        self._address = address
        self._number = number if number > 1 else os.cpu_count() or 1
        self._broker: subprocess.Popen[bytes] | None = None
        self._opening = b""
        self._frames = Frames()
        self._settled: bool | None = None

    @property
    def places(self) -> int | None:
        """How many workers there are now."""
        if self._broker is None:
            self._begin()
        return self._number

    def _begin(self) -> None:
        """Start the broker, and wait until it knows the workers."""
        simulation = self._simulation
        learned, settings = simulation.kernel.learned, simulation.settings
        facts: list[Fact] = learned.all()
        lasting = (learned.checked, learned.late, sorted(learned.runtimes), sorted(learned.unseen))
        alone = replace(settings, workers=1, cluster=None, resume=None, shard=None)
        scenario = simulation.scenario.address, dict(simulation.parameters), alone
        known = [(fact.word, [getattr(fact, name) for name in fact.fields]) for fact in facts]
        opening = Opening(list(sys.path), os.getcwd(), scenario, Table.of(simulation.kernel), known, lasting, own_code())
        try:
            data = pickle.dumps(opening)
        except Exception as error:
            raise Misuse(f"cluster={self._address!r}: the case cannot be sent to its workers: {error}") from None
        self._opening = pickle.dumps((uuid.uuid4().hex, data))
        self._frames, self._settled = Frames(), None
        code = _START.format(path=list(sys.path), address=self._address, workers=self._number, parent=_getpid())
        self._broker = _Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._send(self._opening)
        self._number = 0
        for _ in range(int(PATIENCE)):
            self._read(1.0)
            if self._number:
                return
        raise Lacking(f"cluster={self._address!r}: no worker has come within {PATIENCE:.0f} s")

    def _send(self, data: bytes) -> None:
        assert self._broker is not None
        assert self._broker.stdin is not None
        self.sent += len(data)
        try:
            send(self._broker.stdin.fileno(), data)
        except OSError:
            raise self._lost() from None

    def _lost(self, why: str = "it cannot be reached any more") -> Lacking:
        return Lacking(f"cluster={self._address!r}: {why}")

    def _read(self, seconds: float) -> list[tuple[int, bytes | None]]:
        """Wait for what the broker says; return the answers to tasks."""
        assert self._broker is not None
        assert self._broker.stdout is not None
        assert _poll is not None
        poll, descriptor = _poll(), self._broker.stdout.fileno()
        poll.register(descriptor, select.POLLIN)
        answers: list[tuple[int, bytes | None]] = []
        if not poll.poll(seconds * 1000):
            return answers
        if not self._frames.read(descriptor):
            raise self._lost()
        for frame in self._frames.whole():
            self.received += len(frame)
            word, content = pickle.loads(frame)
            if word == "workers":
                self._number = content
            elif word == "settled":
                self._settled = content
            elif word == "error":
                raise self._lost(content)
            else:
                answers.append((word, content))
        return answers

    def start(self) -> Worker:
        """Count one more worker as known."""
        worker = Worker(0, -1, -1)
        self.workers.append(worker)
        return worker

    def give(self, worker: Worker, task: Task) -> None:
        """Give a worker a task."""
        worker.task = task.number
        self._send(pickle.dumps((task.number, pickle.dumps(task, pickle.HIGHEST_PROTOCOL))))

    def pieces(self, seconds: float) -> Iterator[tuple[int, Piece | None]]:
        """Wait for answers; yield (number of the task, answer), None for a task that no worker survives."""
        for number, answer in self._read(seconds):
            for worker in self.workers:
                if worker.task == number:
                    worker.task = None
            yield number, None if answer is None else pickle.loads(answer)

    def settled(self) -> bool:
        """Exploring is over: return whether all that the workers' executions have changed was announced."""
        if self._broker is None:
            return True
        self._send(pickle.dumps((-1, b"")))
        while self._settled is None:
            self._read(1.0)
        return self._settled

    def end(self, worker: Worker) -> None:
        """Forget a worker."""
        self.workers.remove(worker)

    def close(self) -> None:
        """Let the broker end what runs on the workers, and end it."""
        super().close()
        broker, self._broker = self._broker, None
        if broker is None:
            return
        for stream in (broker.stdin, broker.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            broker.wait(10)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            broker.kill()
            broker.wait()
