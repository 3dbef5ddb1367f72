"""The loop that simulated programs get: CPython's own, with its run queue, timers, waiting and self-pipe exchanged.

`run_forever`, `run_until_complete`, futures, tasks and everything above them are CPython's. `_run_once` takes what the kernel chooses.
No selector, socket or signal handler is made: real I/O is refused.
"""

from __future__ import annotations

import asyncio
import heapq
import sys
from asyncio import events, tasks
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from greenlet import GreenletExit

from simharness.engine.kernel import Kernel, current
from simharness.engine.operations import Operation
from simharness.engine.phases import RUNNING
from simharness.runtimes.aio import footprints, hidden, internals, kinds
from simharness.runtimes.aio.growing import GrowingRun, fits
from simharness.runtimes.aio.order import LOOPS, MAY_GROW, StepsCannotGrow, StepsGrow, grows
from simharness.runtimes.aio.run import Run
from simharness.runtimes.aio.switching import Running
from simharness.runtimes.refused import refuse
from simharness.runtimes.tasks.actors import become_host

NUMBERS = "asyncio numbers"
_REAL_IO = "real I/O cannot be scheduled: put a stub in its place"


def numbered(kernel: Kernel, kind: str) -> int:
    """Return the number of a new thing of this kind in this execution."""
    counts: dict[str, int] = kernel.context.setdefault(NUMBERS, {})
    count = counts[kind] = counts.get(kind, 0) + 1
    return count


class Numbered:
    """Has a hash that does not depend on addresses, so that sets of tasks and futures have the same order in every execution."""

    _simharness_number = 0

    def __hash__(self) -> int:
        return self._simharness_number


class SimTask(Numbered, asyncio.Task[Any]):
    """A task; written in C as usual."""

    def cancel(self, msg: Any = None) -> bool:
        """Ask the task to end; from another thread, that is a failure."""
        _check_thread(self, "Task.cancel")
        return super().cancel(msg)


class SimFuture(Numbered, asyncio.Future[Any]):
    """A future; written in C as usual."""

    def set_result(self, result: Any) -> None:
        """Set the result; from another thread, that is a failure."""
        _check_thread(self, "Future.set_result")
        super().set_result(result)

    def set_exception(self, exception: Any) -> None:
        """Set an exception; from another thread, that is a failure."""
        _check_thread(self, "Future.set_exception")
        super().set_exception(exception)

    def cancel(self, msg: Any = None) -> bool:
        """Cancel the future; from another thread, that is a failure."""
        _check_thread(self, "Future.cancel")
        return super().cancel(msg)


class GrowingTask(footprints.Reports, SimTask):
    """A task that reports its uses."""


class GrowingFuture(footprints.Reports, SimFuture):
    """A future that reports its uses."""


def _check_thread(future: Any, call: str) -> None:
    loop = future.get_loop()
    if isinstance(loop, SimLoop):
        loop.check_thread_of(call)


class Ready:
    """Stands in for `_ready`, the run queue."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def append(self, handle: Any) -> None:
        """A callback is registered."""
        self.run.register(handle)

    def clear(self) -> None:
        """The loop is closed."""
        self.run.queue.ready.clear()
        self.run.queue.pauses.clear()

    def __iter__(self) -> Iterator[Any]:
        return iter([entry.handle for entry in (*self.run.queue.ready, *self.run.queue.pauses)])

    def __len__(self) -> int:
        return len(self.run.queue.ready) + len(self.run.queue.pauses)


class Scheduled(list[Any]):
    """Stands in for `_scheduled`, the heap of timers."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    def clear(self) -> None:
        """The loop is closed."""
        super().clear()
        self.run.queue.timers.clear()


class NoSelector:
    """Stands in for the selector: nothing is registered with it."""

    def register(self, *_: Any) -> NoReturn:
        """Refuse."""
        kernel = current()
        assert kernel is not None
        refuse(kernel, "loop.add_reader", _REAL_IO, sys._getframe(1))

    def get_map(self) -> dict[Any, Any]:
        """Return what is registered."""
        return {}

    def get_key(self, descriptor: Any) -> NoReturn:
        """Raise KeyError: nothing is registered."""
        raise KeyError(descriptor)

    def close(self) -> None:
        """Nothing was opened."""


_Genuine: Any = asyncio.SelectorEventLoop


class SimLoop(_Genuine):  # type: ignore[misc]  # the stubs have few of the attributes that are exchanged
    """The genuine loop, whose callbacks run when the kernel says so."""

    def __init__(self) -> None:
        kernel = current()
        assert kernel is not None
        if kernel.phase != RUNNING:
            become_host(kernel, "asyncio.new_event_loop")
        kernel.learned.uses("asyncio")
        self.kernel = kernel
        self.growing = grows(kernel.learned)
        if self.growing or StepsGrow() in kernel.learned:
            kernel.learned.footprints_are_late(self.growing)
        self.run: Run = GrowingRun(kernel, self) if self.growing else Run(kernel, self)
        self.judged = self.growing
        self.made: list[Any] = []
        self._future: Any = None
        self._from_outside = False
        super().__init__(NoSelector())
        self._clock_resolution = 0.0
        self._ready = Ready(self.run)
        self._scheduled = Scheduled(self.run)
        kernel.context.setdefault(LOOPS, []).append(self)
        kernel.when_over.append(lambda: hidden.judge_unclosed(self))

    def _make_self_pipe(self) -> None:
        """Make none: no OS thread waits."""

    def _close_self_pipe(self) -> None:
        """There is none."""

    def _write_to_self(self) -> None:
        """Wake nobody: the kernel decides when callbacks run."""

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> NoReturn:
        """Refuse."""
        refuse(self.kernel, "loop.add_signal_handler", "real signals cannot be scheduled: call the handler from an actor", sys._getframe(1))

    def time(self) -> float:
        """Return the virtual monotonic clock."""
        return self.run.times.now()

    def current(self) -> Any:
        """Return the task whose step is under way."""
        return tasks.current_task(self)

    # Tasks and futures

    def create_future(self) -> Any:
        """Make a future."""
        if not self.growing:
            return self._number(SimFuture(loop=self), "future")
        future: Any = GrowingFuture.__new__(GrowingFuture)
        footprints.make(self.kernel, future)
        future.__init__(loop=self)
        return future

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None, **options: Any) -> Any:
        """Make a task; names that nobody chose are numbered anew in each execution."""
        self._check_closed()
        if self.growing:
            return self._growing_task(coro, name, context)
        factory = self._task_factory
        chosen = f"Task-{numbered(self.kernel, 'task name')}" if name is None else name
        if factory is None or factory is getattr(asyncio, "eager_task_factory", None):
            if factory is not None:
                options.setdefault("eager_start", True)
            task: Any = SimTask.__new__(SimTask)
            self._number(task, "task")
            self.made.append(task)
            task.__init__(coro, loop=self, name=chosen, context=context, **options)
        else:
            task = super().create_task(coro, name=name, context=context, **options)
            self.made.append(task)
            if name is None and hasattr(task, "set_name"):
                task.set_name(chosen)
        return task

    def _growing_task(self, coro: Any, name: Any, context: Any) -> Any:
        kernel = self.kernel
        task: Any = GrowingTask.__new__(GrowingTask)
        footprints.make(kernel, task)
        number = numbered(kernel, "task name")
        footprints.counts(kernel)
        if self._task_factory is not None or context is not None:
            footprints.in_step_misfit()
        task.__init__(coro, loop=self, name=f"Task-{number}" if name is None else name, context=context)
        self.made.append(task)
        return task

    def get_debug(self) -> bool:
        """Return whether asyncio's debug mode is on; each future asks this when it is made."""
        if self.growing and sys._getframe(1).f_code not in _MAKERS:
            footprints.misfit()
        return bool(super().get_debug())

    def _number(self, thing: Any, kind: str) -> Any:
        thing._simharness_number = numbered(self.kernel, kind)
        return thing

    # Registering callbacks

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        """Register a callback; from another thread, that is a failure."""
        self.check_thread_of("loop.call_soon")
        return super().call_soon(callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        """Register a timer; from another thread, that is a failure."""
        self.check_thread_of("loop.call_at")
        timer = super().call_at(when, callback, *args, context=context)
        self.run.call_at(timer)
        return timer

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> Any:
        """Register a callback from any thread: from another one it is a step of that thread."""
        if not self._simulated() or not self.run.foreign():
            return super().call_soon_threadsafe(callback, *args, context=context)
        self.kernel.step(Operation(kinds.CALL, self.run.state, writes=self.run.state.bit))
        handle = super().call_soon_threadsafe(callback, *args, context=context)
        self.run.called()
        return handle

    def fires(self, timer: Any) -> None:
        """The time of a timer has come: it is no longer scheduled."""
        self._scheduled.remove(timer)
        heapq.heapify(self._scheduled)
        timer._scheduled = False

    def stop(self) -> None:
        """Have the loop return after the iteration under way."""
        super().stop()
        self.run.queue.stop()

    def _simulated(self) -> bool:
        kernel = self.kernel
        return current() is kernel and kernel.phase == RUNNING and not kernel.dying

    def check_thread_of(self, call: str) -> None:
        """Report a call from another thread of what only the loop's thread may call."""
        if self.run.running and self._simulated() and self.run.foreign():
            hidden.foreign_call(self, call)

    # Running

    def run_until_complete(self, future: Any) -> Any:
        """Run until a future is done; what `asyncio.run` does at its end takes no steps where there is nothing to do."""
        if self.kernel.dying:
            if hasattr(future, "close"):
                future.close()
            raise GreenletExit
        if self._nothing_to_do(future):
            try:
                future.send(None)
            except StopIteration as ended:
                return ended.value
        self._future = future
        return super().run_until_complete(future)

    def _nothing_to_do(self, future: Any) -> bool:
        code: Any = getattr(future, "cr_code", None)
        attribute = internals.SHUTDOWN.get(code)
        if attribute is None or getattr(self, attribute) or self._ready or self._closed or self.is_running():
            return False
        alone = all(actor.host is self.run.owner for actor in self.kernel.cast.live)
        return alone and not any(not timer._cancelled for timer in self._scheduled)

    def run_forever(self) -> None:
        """Run until `stop` is called."""
        kernel = self.kernel
        if kernel.dying:
            raise GreenletExit
        self._check_closed()
        self._check_running()
        host = become_host(kernel, "asyncio.run").host
        future, self._future = self._future, None
        main = future if isinstance(future, asyncio.Task) else self.made[-1] if asyncio.iscoroutine(future) else None
        running = Running.of(kernel)
        outer = running.enter(self)
        try:
            self.run.begin(host, main)
            super().run_forever()
        finally:
            running.leave(outer)
            if kernel.dying:
                self.abandon()
            elif kernel.error is None:
                self.run.finish()

    def _run_once(self) -> None:
        """Run what the kernel chooses, until the loop returns."""
        while True:
            handle = self.run.next()
            if handle is None:
                return
            handle._run()
            if not self.judged and len(self.run.tasks) > 1:
                self._judge()

    def _judge(self) -> None:
        """Note that the steps of tasks can grow, if they can."""
        self.judged = True
        if StepsCannotGrow() not in self.kernel.learned and self._simulated() and fits(self.run):
            self.kernel.context[MAY_GROW] = True

    def close(self) -> None:
        """Close the loop; what its tasks and futures have hidden is reported."""
        if self._closed:
            return
        super().close()
        if self._simulated():
            hidden.judge(self)
            self.run.close()

    def __del__(self) -> None:
        """Warn of nothing: an execution that is given up closes no loop."""

    def abandon(self) -> None:
        """The execution is dying: end the coroutines of the tasks."""
        made, self.made = self.made, []
        internals.abandon(made)

    # What asyncio hides

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """What asyncio would only log is a failure."""
        hidden.unhandled(self, context)

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        if self._simulated():
            super()._asyncgen_finalizer_hook(agen)


_MAKERS = {
    *(SimLoop.create_future.__code__, SimLoop._growing_task.__code__, footprints.GATHERING.__init__.__code__),
    events.Handle.__init__.__code__,
}
"""What makes futures whose uses are seen, and handles."""
