"""A loop with no other actors besides its tasks: a step of a task or callback is one step of the kernel, with what it touched as footprint.

The queue of a loop, which is first in, first out, would order nearly all steps, as nearly all register callbacks. So this mode leaves it
out: whatever is registered may run next, at any time. That is a superset of each order of `orders.py`. Here two steps that touch nothing
in common commute (`tasks/growing.py`), and if no ordering fails, none of the queue's does. If one fails, or if there are too many, the
queue's orderings are explored, all steps of the loop in conflict: a failure of the superset alone is none.

This mode begins (`StepsGrow`) when an execution has shown several tasks whose code is instrumented, and ends (`StepsCannotGrow`) as soon as
something happens whose footprint is unknown or that does not fit into a single step: a timer, a thread, another loop, a cancellation, an
exception that ends a task, a callback that is none of `gather`, `wait` or a task group, a future made elsewhere, a task that pauses often
at one place, code under test that is not instrumented, faults, checks after every step.
"""

from __future__ import annotations

import asyncio
from asyncio import base_events
from typing import Any

from greenlet import GreenletExit

from simharness.engine.actors import Actor
from simharness.engine.kernel import Kernel
from simharness.engine.kinds import Kind
from simharness.engine.operations import Every, Operation
from simharness.errors import HarnessBug
from simharness.runtimes.aio import footprints, internals, kinds
from simharness.runtimes.aio.order import LOOP, LOOPS, RUNTIME, StepsCannotGrow
from simharness.runtimes.aio.orders import Queue
from simharness.runtimes.aio.run import Run
from simharness.runtimes.aio.state import Entry
from simharness.runtimes.memory.locations import STRANGE
from simharness.runtimes.tasks.actors import spawn
from simharness.runtimes.tasks.coroutines import frames, places, position, waits_in
from simharness.runtimes.tasks.footprints import are_known, bit_of
from simharness.runtimes.tasks.growing import Growing

PAUSES = 4
"""How often a task may pause at one place."""
KNOWN = frozenset({"contextlib", "types", "asyncio.tasks", "asyncio.locks", "asyncio.queues", "asyncio.taskgroups", "asyncio.mixins"})
"""Modules whose coroutines touch only what reports it (`footprints.py`)."""
ENDS: Any = base_events._run_until_complete_cb  # type: ignore[attr-defined]  # not in the stubs


class _Unordered(Queue):
    """The entries of a loop whose steps grow."""

    def __init__(self, run: GrowingRun) -> None:
        super().__init__()
        self._run = run

    def stop(self) -> None:
        """The loop is told to stop."""
        self._run.stop()


class GrowingRun(Run):
    """A loop whose steps grow until they are over."""

    def __init__(self, kernel: Kernel, loop: Any) -> None:
        super().__init__(kernel, loop)
        self.owner.mark &= ~self.state.bit
        self.queue = _Unordered(self)
        self.steps = kernel.context[footprints.STEPS] = Growing(kernel, "asyncio", StepsCannotGrow())
        self.is_running = kernel.resource(f"{self.name} runs", False, "asyncio")
        self.stopped = kernel.resource(f"{self.name} stops", False, "asyncio")
        self.entries: dict[int, Entry] = {}
        self.paused: dict[Any, int] = {}
        self.begun = False

    # Registrations

    def register(self, handle: Any) -> None:
        """A callback is registered."""
        entry = Entry(handle, 0)
        self.queue.ready.append(entry)
        if self.running:
            self._enlist(entry)

    def call_at(self, handle: Any) -> None:
        """A timer is made."""
        self.steps.misfit()

    def stop(self) -> None:
        """The loop is told to stop."""
        if self.inside and self.owner.index not in self.tasks:
            self.steps.put(self.stopped, True)
        else:
            self.steps.misfit()

    def _enlist(self, entry: Entry) -> None:
        kernel, handle = self.kernel, entry.handle
        if kernel.dying:
            return
        task = internals.task_of(handle)
        if not self.inside or self.foreign() or (task is None and not self._is_known(handle)):
            self.steps.misfit()
            return
        if task is None:
            actor = self._new_actor("callback")
            kind, detail = kinds.CALLBACK, internals.name_of(handle)
            actor.calls = internals.places_of(handle)
        else:
            actor, kind, detail = self._of_task(task, handle)
        entry.actor = self._put_entry(actor, entry)
        actor.pending = self._operation(actor, kind, detail)
        self.steps.put(self.steps.wake_of(actor), True)

    def _put_entry(self, actor: Actor, entry: Entry) -> Actor:
        """Note what an actor is to run."""
        if actor.index in self.entries:
            self.steps.misfit()
        self.entries[actor.index] = entry
        return actor

    def _is_known(self, handle: Any) -> bool:
        callback = handle._callback
        owner = getattr(callback, "__self__", None)
        group = isinstance(owner, asyncio.TaskGroup) and getattr(callback, "__name__", "") == "_on_task_done"
        return group or callback is ENDS or footprints.shared_by(callback) is not None

    def _of_task(self, task: Any, handle: Any) -> tuple[Actor, Kind, str]:
        actor = self.actors.get(id(task))
        if actor is not None:
            pending = actor.pending
            waited = pending.detail if pending is not None and pending.kind is kinds.WAITS else ""
            return actor, kinds.RESUMES, f"after {waited}" if waited else ""
        coroutine = task.get_coro()
        name = task.get_name()
        actor = self._new_actor(getattr(coroutine, "__name__", type(coroutine).__name__) if name.startswith("Task-") else name)
        actor.places = lambda: places(coroutine)
        self._know(actor, task)
        return actor, kinds.STARTS, ""

    def _know(self, actor: Actor, task: Any) -> None:
        self.actors[id(task)], self.tasks[actor.index] = actor, task
        if not bit_of(self.kernel, task):
            self.steps.misfit()

    def _new_actor(self, name: str) -> Actor:
        kernel = self.kernel
        actor = spawn(kernel, name, self.owner, kernel.actor)
        actor.absorbs = self.steps.absorb
        actor.pending = self._operation(actor, kinds.WAITS, "")
        kernel.register(actor)
        return actor

    def _operation(self, actor: Actor, kind: Kind, detail: str) -> Operation:
        wake = self.steps.wake_of(actor)
        both = Every("asyncio", (wake, self.is_running))
        return Operation(kind, both, reads=self.is_running.bit, writes=wake.bit, enabled=all, detail=detail)

    # Steps

    def next(self) -> Any:
        """Wait until an actor of this loop has a turn, and return the handle that it runs; None: the loop returns."""
        kernel, steps = self.kernel, self.steps
        if kernel.dying:
            raise GreenletExit
        if self.inside:
            self._step_ends()
        mover = kernel.actor
        assert mover is not None
        kernel.loop.turn(mover)
        mover = kernel.actor
        assert mover is not None
        mover.places = None
        steps.enter()
        self.inside = True
        entry = self.entries.pop(mover.index, None)
        if entry is None:
            if mover is not self.owner:
                raise HarnessBug(f"{mover.name} moves in an asyncio loop that has nothing for it")
            steps.put(self.is_running, False)
            steps.leave()
            self.inside = False
            kernel.loop.as_before()
            return None
        self.queue.ready.remove(entry)
        steps.put(steps.wake_of(mover), False)
        if entry.cancelled:
            steps.misfit()
        counted = footprints.shared_by(entry.handle._callback)
        if counted is not None:
            bit = bit_of(kernel, counted)
            steps.touch(bit, True)
            if not bit:
                steps.misfit()
        return entry.handle

    def _step_ends(self) -> None:
        self.inside = False
        kernel, steps = self.kernel, self.steps
        mover = kernel.actor
        assert mover is not None
        task = self.tasks.get(mover.index)
        if task is None:
            kernel.end(mover)
        elif task.done():
            self._task_ends(mover, task)
        else:
            self._task_stops(mover, task)
        if kernel.tracing:
            for each in self.tasks.values():
                self.actors[id(each)].calls = places(each.get_coro())
        steps.leave()
        if not fits(self):
            steps.misfit()
        kernel.loop.as_before()

    def _task_ends(self, actor: Actor, task: Any) -> None:
        self.steps.touch(bit_of(self.kernel, task), True)
        if task.cancelled() or internals.failure_of(task) is not None:
            self.steps.misfit()
        del self.tasks[actor.index], self.actors[id(task)]
        if actor is self.owner:
            actor.places = None
            actor.pending = Operation(kinds.RETURNS, self.stopped, writes=self.is_running.bit, enabled=bool)
        else:
            self.kernel.end(actor)

    def _task_stops(self, actor: Actor, task: Any) -> None:
        coroutine = task.get_coro()
        actor.places = lambda: places(coroutine)
        awaited = getattr(task, "_fut_waiter", None)
        if actor.index not in self.entries:
            actor.pending = self._operation(actor, kinds.WAITS, waits_in(coroutine) or "a future")
        if awaited is not None:
            if not bit_of(self.kernel, awaited):
                self.steps.misfit()
            return
        key = actor.index, position(coroutine)
        self.paused[key] = self.paused.get(key, 0) + 1
        if self.paused[key] > PAUSES:
            self.steps.misfit()

    # Beginning and end

    def begin(self, host: Actor, main: Any) -> None:
        """An actor begins to run the loop: it becomes the main task."""
        kernel, first = self.kernel, self.queue.ready[0] if self.queue.ready else None
        alone = first is not None and len(self.queue.ready) == 1 and internals.task_of(first.handle) is main
        if self.begun or main is None or host is not self.owner or not alone or kernel.context[LOOPS] != [self.loop]:
            self.steps.misfit()
        self.begun = self.running = True
        self.inside = False
        self.main = main
        if first is None:
            return
        first.actor = self._put_entry(host, first)
        self._know(host, main)
        host.absorbs = self.steps.absorb
        host.pending = self._operation(host, kinds.STARTS, "")
        kernel.put(self.is_running, True)
        kernel.put(self.steps.wake_of(host), True)

    def finish(self) -> None:
        """The loop has returned: its tasks wait for the next time that it runs."""
        kernel = self.kernel
        self.steps.leave()
        self.owner.absorbs = None
        if self.inside or self.tasks or self.entries:  # an exception has ended the loop, or tasks are left
            self.steps.misfit()
        self.running = self.inside = False
        for actor in [actor for actor in kernel.cast.live if actor.host is self.owner and actor is not self.owner]:
            kernel.cast.leave(actor)
        self.owner.places = None

    def close(self) -> None:
        """The loop is closed."""

    def _time_has_passed(self) -> None:
        self.steps.misfit()


def fits(run: Run) -> bool:
    """Whether each step of a loop can be a single step of the kernel, as far as this execution shows; asked between steps."""
    kernel, loop = run.kernel, run.loop
    return (
        kernel.faults is None
        and LOOP not in kernel.modes
        and STRANGE not in kernel.context
        and not kernel.watched
        and not kernel.learned.daemons
        and kernel.learned.runtimes == {RUNTIME}
        and not run.queue.timers
        and kernel.context[LOOPS] == [loop]
        and loop._task_factory is None
        and all(actor.host is run.owner for actor in kernel.cast.actors.values())
        and all(are_known((frame for frame, *_ in frames(task.get_coro())), KNOWN) for task in run.tasks.values())
    )
