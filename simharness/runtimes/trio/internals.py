"""Access to Trio's internals: making a runner with the stand-ins, running Trio's loop, and asking about tasks, scopes and nurseries.

`REACHED` lists what is used here and by the stand-ins; `tests/test_trio_internals.py` fails when a release of Trio changes it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextvars import copy_context
from types import FrameType
from typing import Any, NamedTuple

import outcome
import trio
from greenlet import GreenletExit
from sniffio import thread_local as sniffio_library
from trio._core import _asyncgens, _entry_queue, _instrumentation, _ki, _run, _traps

from simharness.places import Place, is_foreign
from simharness.runtimes.tasks.footprints import are_known
from simharness.runtimes.trio import anyio
from simharness.runtimes.trio.stand_ins import Callbacks, Deadlines, Driver, IOManager, RunQueue

Task = trio.lowlevel.Task
Context = _run.GLOBAL_RUN_CONTEXT
ATTEMPTS = 100
"""How often an exception is thrown into an abandoned task to end it, before it is left alone."""
_OWN = frozenset(
    {"Runner.init", "EntryQueue.task", "EntryQueue.task.<locals>.run_cb.<locals>.kill_everything", "AsyncGenerators._finalize_one"}
)
"""Trio's own system tasks, whose steps are no points; system tasks that the program spawned are tasks like all others."""


class Hooks(NamedTuple):
    """A run's hooks for asynchronous generators, in a tuple of our own: the garbage collector does not see into the interpreter's."""

    firstiter: Any
    finalizer: Any


def make_runner(run: Driver, clock: trio.abc.Clock, instruments: Any, strict: bool) -> tuple[Any, Any]:
    """Return a runner with the stand-ins, made current, and its hooks for asynchronous generators, which are not set."""
    if hasattr(Context, "runner"):
        raise RuntimeError("Attempted to call run() from inside a run()")
    runner = _run.Runner(
        clock=clock,
        instruments=_instrumentation.Instruments(instruments),
        io_manager=IOManager(run),  # type: ignore[arg-type]  # a stand-in
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
    """Run Trio's loop to its end; return or raise the main task's outcome. If an error ends the loop, end the remaining tasks."""
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
    """End the coroutines of a run that will not continue while Trio still knows their tasks; release nurseries with children in them."""
    nurseries = [nursery for task in runner.tasks for nursery in task.child_nurseries]
    for task in sorted(runner.tasks, key=lambda task: -task._counter):
        Context.runner, Context.task = runner, task
        anyio.forget(task.coro)
        for _ in range(ATTEMPTS):
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
    | anyio.KNOWN
)
"""Modules whose coroutines touch only what reports it (`footprints.py`)."""
_CORE = _run.__file__.removesuffix("_run.py")


def running() -> Task | None:
    """Return the task that the current run is stepping."""
    return getattr(Context, "task", None)


def awaited_nursery(task: Task) -> trio.Nursery | None:
    """Return the nursery that a task is leaving, waiting for its children; None if there is none."""
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
    """Whether every frame that a task waits in is instrumented, or code of Trio with a known footprint."""
    return are_known((frame for frame, _ in task.iter_await_frames()), _KNOWN)


def is_alive(runner: Any, task: Task) -> bool:
    """Whether the task has not ended."""
    return task in runner.tasks


def is_cancelled(task: Task) -> bool:
    """Whether a task that is to be resumed will find itself cancelled."""
    sent = task._next_send
    return type(sent) is outcome.Error and isinstance(sent.error, trio.Cancelled)


def can_be_cancelled(scope: trio.CancelScope) -> bool:
    """Whether a scope has neither been cancelled nor left."""
    return not scope.cancel_called and (scope._cancel_status is not None or not scope._has_been_entered)


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
    lines = [Place(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in task.iter_await_frames()]
    return tuple(place for place in reversed(lines) if not is_foreign(place.file))


def waits_in(task: Task) -> str:
    """Return the call of Trio in which the user's code waits, such as `Event.wait`."""
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
    """Return the simulated run that a token belongs to, or None."""
    return getattr(token._reentry_queue, "run", None)


REACHED = {
    _run.Runner: (
        *("runq", "tasks", "deadlines", "entry_queue", "asyncgens", "waiting_for_idle"),
        *("clock_autojump_threshold", "instruments", "system_nursery", "spawn_impl"),
    ),
    _run.Deadlines: ("_heap", "_active", "add", "expire", "next_deadline"),
    _run.Task: ("_cancel_status", "_counter", "_next_send", "child_nurseries", "coro", "context", "parent_nursery"),
    _run.CancelStatus: ("_scope", "_parent"),
    _run.CancelScope: ("_cancel_status", "_has_been_entered", "__enter__"),
    _entry_queue.EntryQueue: ("queue", "wakeup", "lock", "task", "run_sync_soon", "size", "done"),
    _asyncgens.AsyncGenerators: ("install_hooks", "_finalize_one"),
    _traps: ("wait_task_rescheduled", "cancel_shielded_checkpoint"),
    _run: ("unrolled_run", "_r", "GLOBAL_RUN_CONTEXT", "CancelStatus", "IOStatistics"),
}
"""The attributes of Trio's internals that are used, by owner; a test looks for each."""
