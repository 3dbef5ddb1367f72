"""What runs on a worker of Dask's: tasks are handed to a process of this one's, which has entered the simulation of the case.

A simulation replaces what threads are, so it does not run in the worker itself, which has some. Such a process serves one exploration, as
far as it has learned no more facts; it ends when its pipe is closed, so with the worker.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simharness.authoring.loading import load
from simharness.digests import other_code
from simharness.engine.facts import Fact
from simharness.errors import Misuse, SimharnessError
from simharness.exploring.parallel.border import Border, Table
from simharness.exploring.parallel.frames import receive, send
from simharness.exploring.parallel.slices import LEARNS, RAISES, Piece, Slices, Task, packed
from simharness.runtimes import control
from simharness.search.dpor import Dpor
from simharness.settings import Settings
from simharness.simulation.simulation import Simulation

TRIES = 5
"""How often a first execution, or a task, may show what this process does not know yet about its memory."""
_START = "import sys; sys.path[:] = {path!r}; from simharness.exploring.parallel.remote import serve; serve()"


@dataclass(frozen=True)
class Opening:
    """What a process needs to know before its first task.

    Attributes:
        scenario: its address, the case, and the settings.
        facts: word and fields of each.
        lasting: what else was learned: `checked`, `late`, `runtimes`, `unseen`.
        code: digests of files, which have to be the same.
    """

    path: list[str]
    folder: str
    scenario: tuple[str, dict[str, Any], Settings]
    table: Table
    facts: list[tuple[str, list[str]]]
    lasting: tuple[int, bool, list[str], list[str]]
    code: Mapping[str, str]


# On the worker


class Child:
    """A process that does the tasks of one exploration for one thread of the worker."""

    def __init__(self, opening: bytes) -> None:
        known: Opening = pickle.loads(opening)
        code = _START.format(path=known.path)
        self._process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.ask(opening)

    def ask(self, data: bytes) -> bytes:
        """Send an order and return the answer; OSError: the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        send(self._process.stdin.fileno(), data)
        answer = receive(self._process.stdout.fileno())
        if answer is None:
            raise OSError("the process has ended")
        return answer

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


class Children:
    """The processes of a worker, by exploration and thread."""

    def __init__(self) -> None:
        self._all: dict[tuple[str, int], Child] = {}
        self._lock = threading.Lock()

    def do(self, session: str, opening: bytes, order: bytes) -> bytes | None:
        """Do a task; None if the process does not survive it, twice."""
        key = session, threading.get_ident()
        for _ in range(2):
            try:
                if key not in self._all:
                    self.end(session, others=True)
                    self._all[key] = Child(opening)
                return self._all[key].ask(order)
            except OSError:
                self._forget(key)
        return None

    def settle(self, session: str) -> bool:
        """Return whether all that executions have changed was announced."""
        settled = True
        for key in [key for key in self._all if key[0] == session]:
            with contextlib.suppress(OSError):
                settled = pickle.loads(self._all[key].ask(b"")) and settled
        return settled

    def end(self, session: str, others: bool = False) -> None:
        """End the processes of an exploration, or those of all others."""
        for key in [key for key in list(self._all) if (key[0] == session) is not others]:
            self._forget(key)

    def _forget(self, key: tuple[str, int]) -> None:
        with self._lock:
            child = self._all.pop(key, None)
        if child is not None:
            child.end()


CHILDREN = Children()
"""Those of this worker."""


def do(session: str, opening: bytes, order: bytes) -> bytes | None:
    """Do a task: what Dask calls."""
    return CHILDREN.do(session, opening, order)


def settle(session: str) -> bool:
    """Ask all processes of an exploration, as `Children.settle`."""
    return CHILDREN.settle(session)


def end(session: str) -> None:
    """End all processes of an exploration."""
    CHILDREN.end(session)


# In the process that explores


def serve() -> None:
    """Do tasks until the worker closes the pipe."""
    orders, answers = os.dup(0), os.dup(1)
    os.dup2(2, 1)  # what scenarios print goes elsewhere
    first = receive(orders)
    if first is None:
        return
    opening: Opening = pickle.loads(first)
    try:
        with contextlib.suppress(OSError):
            os.chdir(opening.folder)
        address, parameters, settings = opening.scenario
        [scenario] = load(address)
        different = other_code(opening.code)
        if different:
            raise Misuse(f"a worker of the cluster has other code: {different}")
        with control.installed(), Simulation(scenario, parameters, settings) as simulation:
            slices = _opened(simulation, opening)
            send(answers, b"ready")
            gc.freeze()
            while (data := receive(orders)) is not None:
                send(answers, packed(_done(simulation, slices, pickle.loads(data))) if data else pickle.dumps(slices.settle()))
    except SimharnessError as error:
        send(answers, b"failed")
        while (data := receive(orders)) is not None:
            send(answers, packed(Piece(Table((), ()), 0, 0, trouble=RAISES, error=error)) if data else pickle.dumps(True))


def _opened(simulation: Simulation, opening: Opening) -> Slices:
    """Let a simulation know what the owner knows, and run a first execution for what this process has to learn about its memory."""
    kernel = simulation.kernel
    border, learned = Border(kernel, opening.table), kernel.learned
    checked, late, runtimes, unseen = opening.lasting
    learned.know(Fact.known[word](*fields) for word, fields in opening.facts)
    learned.check_reads(border.mask(checked))
    learned.footprints_are_late(late)
    for runtime in runtimes:
        learned.uses(runtime)
    for module in unseen:
        learned.leaves_out(module)
    for _ in range(TRIES):
        mark = learned.mark()
        simulation.execute((), Dpor(kernel).choose)
        if mark.holds:
            break
    return Slices(simulation)


def _done(simulation: Simulation, slices: Slices, task: Task) -> Piece:
    """Do a task, again if only this process's memory was news."""
    learned = simulation.kernel.learned
    for _ in range(TRIES):
        before = len(learned.all()), learned.checked
        piece = slices.work(task)
        if piece.trouble != LEARNS or before != (len(learned.all()), learned.checked):
            break
    return piece
