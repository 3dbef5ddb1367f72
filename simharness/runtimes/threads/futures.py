"""The futures of a pool's tasks, modelled: a future is two resources, the beginning of its task and its outcome.

The genuine future guards its state with a lock, which orders all who look at it. Here looking is reading. A future is cancelled before it
begins or not at all: cancelling writes the beginning while that is pending. Who waits for the outcome does not care when the task
begins. As in CPython, a future that was cancelled counts for `wait` and `as_completed` only when a worker has noticed it, and callbacks
run in the worker, which is free for other tasks after them. Futures that the program makes itself keep the genuine code.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Future, _base
from typing import Any

from simharness.engine.kernel import Kernel, current
from simharness.engine.kinds import Family, Kind, Role, Sends
from simharness.engine.operations import Operation, Resource
from simharness.engine.phases import RUNNING
from simharness.runtimes.primitives import step_until
from simharness.runtimes.workers import leave, see

TASK = "_simharness_task"
"""The attribute in which a future of a modelled pool keeps its task."""
FUTURE = Family("future", said=False, in_memory=True)
BEGIN = Kind(
    *(FUTURE, "begin", Role.ABOUT_ACTORS), blocked="no worker of {name} is free", awaited="a free worker", done="begin", noun="beginning"
)
FINISH = Kind(FUTURE, "finish", Role.ABOUT_ACTORS, done="finish", noun="end")
NOTICE = Kind(FUTURE, "notice", Role.ABOUT_ACTORS, done="notice that it is cancelled")
FREE = Kind(FUTURE, "free", Role.ABOUT_ACTORS, done="free the worker")
RESULT = Kind(
    *(FUTURE, "result", Role.ABOUT_ACTORS),
    enabled_by=Sends.END,
    blocked="{name} has no result",
    awaited="the result of {detail}",
    done="result of {detail}",
    calls=("result()",),
)
LOOK = Kind(FUTURE, "look", Role.ABOUT_ACTORS, done="look at {detail}")
CANCEL = Kind(FUTURE, "cancel")
CALL_BACK = Kind(FUTURE, "add_done_callback", done="add a callback to {detail}", calls=("add_done_callback",))

PENDING, STARTED, CANCELLED = "pending", "running", "cancelled"
"""The states of a beginning."""
NOTICED, FINISHED, FAILED = "noticed", "finished", "failed"
"""The states of an outcome, beside CANCELLED; at first it is empty."""
COMPLETE = frozenset({NOTICED, FINISHED, FAILED})
"""The outcomes that count for `wait` and `as_completed`."""
_HIDDEN = ("_condition", "_state", "_result", "_exception", "_waiters", "_done_callbacks")
_GENUINE = {CANCELLED: _base.CANCELLED, NOTICED: _base.CANCELLED_AND_NOTIFIED, FINISHED: _base.FINISHED, FAILED: _base.FINISHED}

_genuine_result = Future.result
_genuine_exception = Future.exception
_genuine_done = Future.done
_genuine_running = Future.running
_genuine_cancelled = Future.cancelled
_genuine_cancel = Future.cancel
_genuine_add_done_callback = Future.add_done_callback
_genuine_set_running = Future.set_running_or_notify_cancel
_genuine_set_result = Future.set_result
_genuine_set_exception = Future.set_exception
_genuine_repr = Future.__repr__


class Task:
    """A task of a pool, and its future, in one execution. It does not refer to the future, whose result is released with it.

    Attributes:
        pool: the name of the pool.
        name: the name of the actor.
        begun, outcome: see the states above.
        slot: whether the worker that ran it is free for another.
        watched: whether somebody wants to know the order in which futures complete.
    """

    __slots__ = (
        *("begun", "callbacks", "error", "execution", "hidden", "kernel", "name", "order"),
        *("outcome", "pool", "slot", "value", "watched", "witnesses"),
    )

    def __init__(self, kernel: Kernel, pool: str, name: str, future: Future[Any]) -> None:
        self.kernel = kernel
        self.execution = kernel.resources
        self.pool = pool
        self.name = name
        self.begun = kernel.resource(f"beginning of {name}", PENDING)
        self.outcome = kernel.resource(f"future of {name}", "", name)
        self.slot = kernel.resource(f"worker of {name}", False)
        self.watched = kernel.resource(f"watchers of {name}", False)
        self.order = completions(kernel)
        self.value: Any = None
        self.error: BaseException | None = None
        self.callbacks: list[Callable[[Future[Any]], Any]] = []
        self.witnesses: set[Any] = set()
        self.hidden = {attribute: vars(future).pop(attribute) for attribute in _HIDDEN}
        vars(future)[TASK] = self

    # Steps of the task

    def finish(self, future: Future[Any], value: Any, error: BaseException | None) -> bool:
        """End the task's work; return whether the worker is free at once, as no callback has to run first."""
        self._complete(FINISH)
        self.value, self.error = value, error
        self._put(FINISHED if error is None else FAILED)
        called = bool(self.callbacks)
        self.call_back(future)
        return not called

    def notice(self) -> None:
        """A worker comes to the task, which is cancelled."""
        self._complete(NOTICE)
        self._put(NOTICED)

    def _complete(self, kind: Kind) -> None:
        watched = self.watched
        writes = self.outcome.bit | self.slot.bit
        self.kernel.step(Operation(kind, watched, writes=writes, writes_when=bool, also=self.order.bit, detail=self.name))

    def _put(self, outcome: str) -> None:
        self.kernel.put(self.outcome, outcome)
        self.witnesses.add(self.kernel.actor)
        if self.watched.state:
            self.kernel.put(self.order, (*self.order.state, self.name))

    def call_back(self, future: Future[Any]) -> None:
        """Call what was added with `add_done_callback`."""
        for callback in self.callbacks:
            try:
                callback(future)
            except Exception:
                _base.LOGGER.exception("exception calling callback for %r", future)
            except BaseException:
                if not self.kernel.dying:
                    leave(self.kernel, self.pool)  # it ends the genuine worker
                raise

    # Steps of others

    def settled(self) -> bool:
        """Whether the running actor knows how the task has ended: that stays so, and looking again is no step."""
        return self.kernel.actor in self.witnesses and self.kernel.phase == RUNNING

    def look(self, kind: Kind = LOOK, begun: bool = False) -> str:
        """Read the outcome, and the beginning if wanted; return the outcome."""
        kernel, outcome = self.kernel, self.outcome
        if not self.settled():
            kernel.step(Operation(kind, reads=outcome.bit | (self.begun.bit if begun else 0), detail=self.name))
            self.witness()
        return str(outcome.state)

    def witness(self) -> None:
        """Note that the running actor has read the outcome."""
        if self.outcome.state and self.kernel.phase == RUNNING:
            self.witnesses.add(self.kernel.actor)

    def wait(self, timeout: float | None) -> None:
        """Wait for the outcome.

        Raises:
            TimeoutError: the time is over before.
            CancelledError: the future was cancelled.
        """
        kernel, outcome = self.kernel, self.outcome
        if timeout is not None and timeout <= 0:
            self.look(RESULT)
        elif not self.settled():
            detail = self.name if timeout is None else f"{self.name} for {timeout:g} s"
            operation = Operation(RESULT, outcome, outcome.bit, enabled=bool, detail=detail)
            if timeout is None:
                kernel.step(operation)
            else:
                step_until(kernel, operation, timeout)
            self.witness()
        if not outcome.state:
            if kernel.tracing:
                kernel.note("time is over")
            raise TimeoutError
        if outcome.state not in (FINISHED, FAILED):
            raise CancelledError

    def cancel(self, future: Future[Any]) -> bool:
        """Cancel the future if its task has not begun."""
        kernel, begun = self.kernel, self.begun
        if self.settled():
            return bool(begun.state == CANCELLED)
        operation = Operation(CANCEL, begun, writes_when=lambda state: state == PENDING, also=self.outcome.bit, detail=self.name)
        kernel.step(operation)
        if begun.state != PENDING:
            return bool(begun.state == CANCELLED)
        kernel.put(begun, CANCELLED)
        kernel.put(self.outcome, CANCELLED)
        self.witness()
        self.call_back(future)
        return True

    def add_callback(self, future: Future[Any], callback: Callable[[Future[Any]], Any]) -> None:
        """Have `callback` called when the future is done: now, if it is."""
        outcome = self.outcome
        if not self.settled():
            self.kernel.step(Operation(CALL_BACK, outcome, writes_when=lambda state: not state, detail=self.name))
            if not outcome.state:
                self.callbacks.append(callback)
                return
            self.witness()
        try:
            callback(future)
        except Exception:
            _base.LOGGER.exception("exception calling callback for %r", future)

    def __repr__(self) -> str:
        outcome = self.look(begun=True)
        shown = "pending" if self.begun.state == PENDING else "running"
        if outcome in (CANCELLED, NOTICED):
            shown = "cancelled"
        elif outcome:
            shown = f"finished raised {type(self.error).__name__}" if self.error else f"finished returned {type(self.value).__name__}"
        return f"state={shown}"

    # The genuine future

    def expose(self, future: Future[Any]) -> None:
        """Give the future the attributes of a genuine one in the same state."""
        space = vars(future)
        space.update(self.hidden)
        outcome = self.outcome.state
        space["_state"] = _GENUINE.get(outcome, _base.RUNNING if self.begun.state == STARTED else _base.PENDING)
        space["_result"], space["_exception"] = self.value, self.error
        space["_done_callbacks"] = [] if outcome else list(self.callbacks)


def completions(kernel: Kernel) -> Resource:
    """Return the resource whose state is the order in which watched futures complete."""
    return kernel.resource("order of completions", ())


def task_of(future: Any) -> Task | None:
    """Return the task of a future of a modelled pool, in the execution under way; one of another execution becomes a genuine future."""
    task: Task | None = vars(future).get(TASK)
    if task is None:
        return None
    kernel = current()
    if kernel is not None and task.execution is kernel.resources:
        return task
    del vars(future)[TASK]
    task.expose(future)
    return None


def _result(self: Future[Any], timeout: float | None = None) -> Any:
    task = task_of(self)
    try:
        if task is None:
            return _genuine_result(self, timeout)
        task.wait(timeout)
        if task.error:
            raise task.error
        return task.value
    finally:
        del self, task  # they would refer to the exception, and it to this frame


def _exception(self: Future[Any], timeout: float | None = None) -> BaseException | None:
    task = task_of(self)
    if task is None:
        return _genuine_exception(self, timeout)
    task.wait(timeout)
    return task.error


def _done(self: Future[Any]) -> bool:
    task = task_of(self)
    return _genuine_done(self) if task is None else bool(task.look())


def _running(self: Future[Any]) -> bool:
    task = task_of(self)
    if task is None:
        return _genuine_running(self)
    return not task.look(begun=True) and task.begun.state == STARTED


def _cancelled(self: Future[Any]) -> bool:
    task = task_of(self)
    return _genuine_cancelled(self) if task is None else task.look() in (CANCELLED, NOTICED)


def _cancel(self: Future[Any]) -> bool:
    task = task_of(self)
    return _genuine_cancel(self) if task is None else task.cancel(self)


def _add_done_callback(self: Future[Any], fn: Callable[[Future[Any]], Any]) -> None:
    task = task_of(self)
    if task is None:
        _genuine_add_done_callback(self, fn)
    else:
        task.add_callback(self, fn)


def _set_running(self: Future[Any]) -> bool:
    _by_hand(self)
    return _genuine_set_running(self)


def _set_result(self: Future[Any], result: Any) -> None:
    _by_hand(self)
    _genuine_set_result(self, result)


def _set_exception(self: Future[Any], exception: BaseException | None) -> None:
    _by_hand(self)
    _genuine_set_exception(self, exception)


def _by_hand(future: Future[Any]) -> None:
    """The program completes a future, which is the pool's business: the pool's worker fails on it."""
    task = task_of(future)
    if task is not None:
        leave(task.kernel, task.pool)


def _repr(self: Future[Any]) -> str:
    task = task_of(self)
    return _genuine_repr(self) if task is None else f"<{type(self).__name__} at {id(self):#x} {task!r}>"


def insides(self: Future[Any], name: str) -> Any:
    """Look into a future: only for what is not there, such as the insides of a modelled one."""
    task = task_of(self) if name in _HIDDEN else None
    if task is not None:
        see(task.kernel, task.pool)
        task.expose(self)
    if name in vars(self):
        return vars(self)[name]
    raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)


METHODS: dict[str, Any] = {
    "result": _result,
    "exception": _exception,
    "done": _done,
    "running": _running,
    "cancelled": _cancelled,
    "cancel": _cancel,
    "add_done_callback": _add_done_callback,
    "set_running_or_notify_cancel": _set_running,
    "set_result": _set_result,
    "set_exception": _set_exception,
    "__repr__": _repr,
}
"""What stands in for the methods of futures."""
