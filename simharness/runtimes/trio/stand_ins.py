"""What a simulated `trio.run` puts in the place of Trio's own parts.

Trio's own loop runs: it expires deadlines, steps tasks, ends nurseries. Four of the things that it works with are replaced for one run: the
run queue (`RunQueue` hands out the task whose turn it is), the I/O manager (`IOManager` stops the loop until an actor of this run has
a turn), the queue of callbacks from other threads (`Callbacks`), and the deadlines (`Deadlines` orders equal ones by their making, not by
address). No socket, selector or signal handler is made.
"""

from __future__ import annotations

import itertools
from _thread import RLock
from collections.abc import Callable, Iterator
from heapq import heappush
from typing import Any, NoReturn, Protocol

import trio
from trio._core import _entry_queue, _run
from trio.lowlevel import Task


class Driver(Protocol):
    """What the stand-ins ask of the run that they serve."""

    def woke(self, task: Task) -> None:
        """A task is to be resumed."""

    def stop(self) -> bool:
        """Wait until an actor of this run has a turn; return whether anything has happened (if not, Trio considers the run idle)."""

    def batch(self) -> list[Task]:
        """Return the tasks to resume now."""

    def size(self) -> int:
        """Return how many tasks are to be resumed, now or later."""

    def calls(self) -> None:
        """A callback is about to be queued, inside Trio or from outside."""

    def called(self) -> None:
        """A callback has been queued."""

    def expires(self) -> bool:
        """Whether Trio would look at its deadlines now."""

    def refuse(self, what: str) -> NoReturn:
        """Refuse real I/O that the program asks for."""


class RunQueue:
    """Stands in for `Runner.runq`."""

    def __init__(self, run: Driver) -> None:
        self.run = run

    def append(self, task: Task) -> None:
        """A task is to be resumed."""
        self.run.woke(task)

    def __iter__(self) -> Iterator[Task]:
        return iter(self.run.batch())

    def clear(self) -> None:
        """Do nothing: `batch` has removed what it returned."""

    def __len__(self) -> int:
        return self.run.size()


class IOManager:
    """Stands in for the I/O manager."""

    def __init__(self, run: Driver) -> None:
        self.run = run

    def get_events(self, timeout: float) -> bool:
        """Wait until an actor of this run has a turn."""
        return self.run.stop()

    def process_events(self, events: bool) -> None:
        """There is no I/O."""

    def force_wakeup(self) -> None:
        """Do nothing: no OS thread waits."""

    def close(self) -> None:
        """Nothing was opened."""

    def statistics(self) -> Any:
        """Return what `trio.lowlevel.current_statistics` shows of I/O."""
        return _run.IOStatistics(tasks_waiting_read=0, tasks_waiting_write=0)  # type: ignore[attr-defined]  # depends on the platform

    async def wait_readable(self, descriptor: object) -> None:
        """Refuse."""
        self.run.refuse("trio.lowlevel.wait_readable")

    async def wait_writable(self, descriptor: object) -> None:
        """Refuse."""
        self.run.refuse("trio.lowlevel.wait_writable")

    def notify_closing(self, descriptor: object) -> None:
        """Do nothing: no task waits for a descriptor."""


class _WakeUp:
    """Stands in for the socket pair by which Trio's callback task is woken."""

    def __init__(self) -> None:
        self.sleeper: Task | None = None

    async def wait_woken(self) -> None:
        """Sleep until `wake`."""
        self.sleeper = trio.lowlevel.current_task()

        def abort(_: Any) -> trio.lowlevel.Abort:
            self.sleeper = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def wake(self) -> None:
        """Have the callbacks run."""
        sleeper, self.sleeper = self.sleeper, None
        if sleeper is not None:
            trio.lowlevel.reschedule(sleeper)

    def wakeup_thread_and_signal_safe(self) -> None:
        """Do nothing: the kernel decides when the callbacks run."""

    def close(self) -> None:
        """Nothing was opened."""


EntryQueue = _entry_queue.EntryQueue
_genuine_init = EntryQueue.__init__


def with_genuine_lock(queue: Any, *arguments: Any, **options: Any) -> None:
    """Make a queue of callbacks for a run that is not simulated: Trio insists that its lock is the interpreter's."""
    _genuine_init(queue, *arguments, **{"lock": RLock(), **options})


class Callbacks(EntryQueue):
    """The genuine queue of callbacks; filling it is one step, emptying it another."""

    def __init__(self, run: Driver) -> None:
        self.waker = _WakeUp()
        super().__init__(wakeup=self.waker, lock=RLock())  # type: ignore[arg-type]  # a stand-in
        self.run = run

    def run_sync_soon(self, sync_fn: Callable[..., object], *args: Any, idempotent: bool = False) -> None:  # type: ignore[override]  # less exact
        """Queue a callback."""
        self.run.calls()
        super().run_sync_soon(sync_fn, *args, idempotent=idempotent)
        self.run.called()


class Deadlines(_run.Deadlines):
    """The genuine deadlines; equal ones expire in the order in which they were made."""

    def __init__(self, run: Driver) -> None:
        super().__init__()
        self.run = run
        self.numbers = itertools.count()

    def add(self, deadline: float, cancel_scope: trio.CancelScope) -> None:
        """Register a deadline."""
        heappush(self._heap, (deadline, next(self.numbers), cancel_scope))
        self._active += 1

    def expire(self, now: float) -> bool:
        """Cancel what is due, if Trio would look now."""
        return super().expire(now) if self.run.expires() else False


class UnshuffledOrder:
    """Stands in for the random numbers by which Trio shuffles its batches: in a simulation a batch keeps its order."""

    def __init__(self, genuine: Any, simulated: Callable[[], bool]) -> None:
        self.genuine = genuine
        self.simulated = simulated

    def random(self) -> float:
        """Return a number that reverses no batch."""
        return 1.0 if self.simulated() else float(self.genuine.random())

    def shuffle(self, batch: list[Any]) -> None:
        """Leave the order as it is."""
        if not self.simulated():
            self.genuine.shuffle(batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.genuine, name)
