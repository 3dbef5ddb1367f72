"""All that simharness reaches into Trio's internals for; `tests/test_trio_internals.py` fails when a release of Trio changes it.

Trio's own loop runs: it expires deadlines, steps tasks, ends nurseries. Four of the things that it works with are exchanged, for one
`trio.run`: the run queue (`RunQueue`, which hands out the task whose turn it is), what waits for I/O (`Waiting`, where the loop stops
until somebody has a turn), the queue of callbacks from other threads (`Callbacks`), and the deadlines (`Deadlines`, which orders equal
ones by their making and not by address). No socket, no selector and no signal handler is made.
"""

from __future__ import annotations

import itertools
import sys
from _thread import RLock
from collections.abc import Callable, Iterator
from contextvars import copy_context
from heapq import heappush
from types import FrameType
from typing import Any, NamedTuple, NoReturn, Protocol

import outcome
import trio
from greenlet import GreenletExit
from sniffio import thread_local as sniffio_library
from trio._core import _asyncgens, _entry_queue, _instrumentation, _ki, _run, _traps

from simharness.instrument.marks import HOOKS
from simharness.places import Place, is_foreign

Task = trio.lowlevel.Task
Context = _run.GLOBAL_RUN_CONTEXT
MANY = 100
"""How often an abandoned task is told to end before it is given up."""
_OWN = frozenset(
    {
        "Runner.init",
        "EntryQueue.task",
        "EntryQueue.task.<locals>.run_cb.<locals>.kill_everything",
        "AsyncGenerators._finalize_one",
    }
)
"""Trio's own system tasks, whose steps are no points; system tasks that somebody else spawned are tasks like all others."""


class Driver(Protocol):
    """What the stand-ins ask of the run that they serve."""

    def woke(self, task: Task) -> None:
        """A task is to be resumed."""

    def stop(self) -> bool:
        """Return when somebody of this run has a turn; whether anything has happened (else Trio takes the run for idle)."""

    def batch(self) -> list[Task]:
        """Return the tasks to resume now."""

    def size(self) -> int:
        """Return how many tasks are to be resumed, now or later."""

    def calls(self) -> None:
        """A callback is about to be queued, by anybody."""

    def called(self) -> None:
        """A callback has been queued."""

    def expires(self) -> bool:
        """Whether Trio would look at its deadlines now."""

    def refuse(self, what: str) -> NoReturn:
        """Somebody asks for real I/O."""


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
        """What was iterated over is gone already."""

    def __len__(self) -> int:
        return self.run.size()


class Waiting:
    """Stands in for the I/O manager."""

    def __init__(self, run: Driver) -> None:
        self.run = run

    def get_events(self, timeout: float) -> bool:
        """Stop until somebody of this run has a turn."""
        return self.run.stop()

    def process_events(self, events: bool) -> None:
        """There is no I/O."""

    def force_wakeup(self) -> None:
        """Nobody waits for real."""

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
        """Nobody waits for it."""


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
    """The genuine queue of callbacks, whose filling is a step and whose emptying another."""

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


class Order:
    """Stands in for the random numbers by which Trio shuffles its batches: they stay as they are handed out."""

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


class Hooks(NamedTuple):
    """A run's hooks for asynchronous generators; in a tuple of our own, because the collector does not see into the interpreter's."""

    firstiter: Any
    finalizer: Any


def make_runner(run: Driver, clock: trio.abc.Clock, instruments: Any, strict: bool) -> tuple[Any, Any]:
    """Return a runner with the stand-ins, made current, and its hooks for asynchronous generators, which are not set."""
    if hasattr(Context, "runner"):
        raise RuntimeError("Attempted to call run() from inside a run()")
    runner = _run.Runner(
        clock=clock,
        instruments=_instrumentation.Instruments(instruments),
        io_manager=Waiting(run),  # type: ignore[arg-type]  # a stand-in
        system_context=copy_context(),
        ki_manager=_ki.KIManager(),
        strict_exception_groups=strict,
        runq=RunQueue(run),  # type: ignore[arg-type]  # a stand-in
        deadlines=Deadlines(run),
        entry_queue=Callbacks(run),
    )
    before = sys.get_asyncgen_hooks()
    runner.asyncgens.install_hooks(runner)
    hooks = Hooks(*sys.get_asyncgen_hooks())
    sys.set_asyncgen_hooks(*before)
    Context.runner = runner
    return runner, hooks


def drive(runner: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Run Trio's loop to its end; return or raise what the main task came to. Tasks that are left when an error ends it are ended."""
    library, sniffio_library.name = sniffio_library.name, "trio"
    loop = _run.unrolled_run(runner, function, arguments, host_uses_signal_set_wakeup_fd=True)
    events: Any = None
    try:
        while True:
            try:
                timeout = loop.send(events)
            except StopIteration:
                break
            events = runner.io_manager.get_events(timeout)
    except BaseException as error:
        _abandon(runner, loop)
        if isinstance(error, trio.TrioInternalError) and error.__cause__ is not None and _from_below(error.__cause__):
            raise error.__cause__ from None
        raise
    finally:
        sniffio_library.name = library
    return runner.main_task_outcome.unwrap()


def _from_below(error: BaseException) -> bool:
    """Whether an error comes from the kernel and not from Trio."""
    return type(error).__module__.split(".")[0] in ("simharness", "greenlet")


def _abandon(runner: Any, loop: Any) -> None:
    """End the coroutines of a run that does not go on, while Trio still knows whose they are; let nurseries go with children in them."""
    nurseries = [nursery for task in runner.tasks for nursery in task.child_nurseries]
    for task in sorted(runner.tasks, key=lambda task: -task._counter):
        Context.runner, Context.task = runner, task
        for _ in range(MANY):
            try:
                task.context.run(task.coro.throw, GreenletExit())
            except BaseException:
                break
    for nursery in nurseries:
        nursery._children.clear()
    Context.__dict__.pop("task", None)
    try:
        loop.throw(GreenletExit())
    except BaseException:
        Context.__dict__.clear()


def is_own(task: Task) -> bool:
    """Whether this is one of Trio's own system tasks."""
    code = task.coro.cr_code
    return code.co_qualname in _OWN and code.co_filename.startswith(_CORE)


_KNOWN = frozenset(
    {"contextlib", "outcome", "trio._abc", "trio._channel", "trio._sync", "trio._timeouts", "types"}
    | {f"trio._core.{name}" for name in ("_parking_lot", "_run", "_traps")}
)
"""Modules whose coroutines touch nothing but what tells it (`trio_footprints.py`)."""
_CORE = _run.__file__.removesuffix("_run.py")


def running() -> Task | None:
    """Return the task that the current run is stepping."""
    return getattr(Context, "task", None)


def awaited_nursery(task: Task) -> trio.Nursery | None:
    """Return the nursery for whose children a task waits in leaving it."""
    nursery = task.child_nurseries[-1] if task.child_nurseries else None
    return nursery if nursery is not None and nursery._parent_waiting_in_aexit else None


def is_system(runner: Any, nursery: trio.Nursery) -> bool:
    """Whether the tasks of a nursery are system tasks."""
    return nursery is runner.system_nursery


def scopes_around(inside: Task | trio.Nursery) -> Iterator[trio.CancelScope]:
    """Yield the cancel scopes that a task, or a nursery's children, are in, innermost first."""
    status: _run.CancelStatus | None = inside._cancel_status
    while status is not None:
        yield status._scope
        status = status._parent


def is_instrumented(task: Task) -> bool:
    """Whether all that a task waits in is instrumented, or code of Trio whose footprint is known."""
    for frame, _ in task.iter_await_frames():
        if HOOKS not in frame.f_globals and frame.f_globals.get("__name__") not in _KNOWN:
            return False
    return True


def is_alive(runner: Any, task: Task) -> bool:
    """Whether the task has not ended."""
    return task in runner.tasks


def is_cancelled(task: Task) -> bool:
    """Whether a task that is to be resumed will find itself cancelled."""
    sent = task._next_send
    return type(sent) is outcome.Error and isinstance(sent.error, trio.Cancelled)


def seconds_to_deadline(runner: Any) -> tuple[float, float]:
    """Return the next deadline and the seconds until then, on the run's clock; both infinite if there is none."""
    deadline = runner.deadlines.next_deadline()
    return deadline, runner.clock.deadline_to_sleep_time(deadline)


def waits_for_idle(runner: Any, timeout: float) -> bool:
    """Whether Trio would do something if nothing happened for a while: wake `wait_all_tasks_blocked`, or jump a clock."""
    if runner.waiting_for_idle:
        return bool(runner.waiting_for_idle.keys()[0][0] < timeout)
    return bool(runner.clock_autojump_threshold < timeout and runner.deadlines.next_deadline() < float("inf"))


def places(task: Task) -> tuple[Place, ...]:
    """Return the user's lines in which a task waits, innermost first."""
    found = [Place(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in task.iter_await_frames()]
    return tuple(place for place in reversed(found) if not is_foreign(place.file))


def waits_in(task: Task) -> str:
    """Return what of Trio the user's code waits in: `Event.wait`."""
    name = ""
    frames: list[FrameType] = [frame for frame, _ in task.iter_await_frames()]
    for frame in reversed(frames):
        code = frame.f_code
        if not is_foreign(code.co_filename) or "pytest_trio" in code.co_filename:
            break
        if not code.co_qualname.startswith("AsyncContextManagerMixin"):
            owner = frame.f_locals.get("self")
            name = code.co_name if owner is None else f"{type(owner).__name__}.{code.co_name}"
    return "nursery" if name == "NurseryManager.__aexit__" else name


def token_run(token: Any) -> Any:
    """Return the run that a token belongs to, or None if that is no simulated one."""
    return getattr(token._reentry_queue, "run", None)


REACHED = {
    _run.Runner: (
        "runq",
        "tasks",
        "deadlines",
        "entry_queue",
        "asyncgens",
        "waiting_for_idle",
        "clock_autojump_threshold",
        "instruments",
        "system_nursery",
    ),
    _run.Deadlines: ("_heap", "_active", "add", "expire", "next_deadline"),
    _run.Task: ("_cancel_status", "_counter", "_next_send", "child_nurseries", "coro", "context", "parent_nursery"),
    _run.CancelStatus: ("_scope", "_parent"),
    _entry_queue.EntryQueue: ("queue", "wakeup", "lock", "task", "run_sync_soon", "size", "done"),
    _asyncgens.AsyncGenerators: ("install_hooks", "_finalize_one"),
    _traps: ("wait_task_rescheduled", "cancel_shielded_checkpoint"),
    _run: ("unrolled_run", "_r", "GLOBAL_RUN_CONTEXT", "CancelStatus", "IOStatistics"),
}
"""What of Trio's internals is used, for the test that looks for it."""
