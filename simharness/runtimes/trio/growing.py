"""A `trio.run` with no other actors besides its tasks: a task's step is one step of the kernel, whose footprint is what it touched.

What such steps are is said in `tasks/growing.py`, what they touch of Trio in `footprints.py`.

A task that waits for its turn waits for its *wake-up*: waking the task writes it, looking whether the task can be cancelled reads it. A
task that waits for the children of a nursery waits for the *end* of each child, so that children may end in any order. The steps of a task
read all cancel scopes around it.

This mode begins (`StepsGrow`) when an execution has shown several tasks whose code is instrumented, and ends (`StepsCannotGrow`) as soon as
something happens whose footprint is unknown or that does not fit into a single step: a deadline, a worker thread, another actor, a
callback, a choice, an operation that has to wait, code under test that is not instrumented (a task's, or what instrumented code calls or
handles), faults, checks after every step. Then all steps of a run conflict.
"""

from __future__ import annotations

from typing import Any

from simharness.engine.actors import Actor
from simharness.engine.kernel import Kernel
from simharness.engine.kinds import Kind
from simharness.engine.operations import Every, Operation, Resource
from simharness.runtimes.tasks.footprints import bit_of
from simharness.runtimes.tasks.growing import Growing
from simharness.runtimes.trio import internals, kinds
from simharness.runtimes.trio.order import StepsCannotGrow
from simharness.runtimes.trio.run import Run, fits


class GrowingRun(Growing, Run):
    """A run whose tasks' steps grow until they are over."""

    def __init__(self, kernel: Kernel, host: Actor, clock: Any) -> None:
        Run.__init__(self, kernel, host, clock)
        Growing.__init__(self, kernel, "trio", StepsCannotGrow())
        self.judged, self.marks = True, (0, 0)
        self.ends: dict[int, list[Resource]] = {}
        self.end_of: dict[int, Resource] = {}
        self.awaits: dict[int, Any] = {}

    # What steps touch

    def starts(self, nursery: Any) -> None:
        """A task starts a child in a nursery; it may find another task's nursery closed, because all children have ended."""
        running = internals.running()
        self.looks(nursery, True, running is None or nursery.parent_task is not running)
        self._read_scopes(nursery)

    def looks(self, nursery: Any, write: bool, children: bool) -> None:
        """A task looks at a nursery, or changes it except by a child's end; `children`: it also looks whether children have ended."""
        self.touch(bit_of(self.kernel, nursery), write)
        for end in self.ends.get(id(nursery), ()) if children else ():
            self.touch(end.bit, False)

    def aborts(self, task: internals.Task) -> None:
        """Whether a task can be cancelled depends on whether it waits."""
        actor = self.actors.get(id(task))
        if actor is not None:
            self.touch(self.wake_of(actor).bit, False)

    # Steps

    def operation(self, actor: Actor, kind: Kind, detail: str) -> Operation:
        """Return the next step of a task."""
        wake = self.wake_of(actor)
        nursery = self.awaits.get(actor.index)
        if nursery is None:
            return Operation(kind, wake, writes=wake.bit, enabled=bool, detail=detail)
        ends = Every("trio", self.ends.get(id(nursery), ()))
        reads = ends.bit | bit_of(self.kernel, nursery)
        return Operation(kind, ends, reads=reads, writes=wake.bit, enabled=_ended, detail=detail)

    def woke(self, task: internals.Task) -> None:
        """A task is to be resumed."""
        super().woke(task)
        actor = self.actors.get(id(task))
        if actor is not None and actor.index not in self.awaits and not self.kernel.dying:
            self.put(self.wake_of(actor), True)

    def _spawned(self, task: internals.Task) -> Actor:
        actor = super()._spawned(task)
        actor.absorbs = self.absorb
        nursery = task.parent_nursery
        if actor is self.host or nursery is None:
            return actor
        if not bit_of(self.kernel, nursery) or internals.is_system(self.runner, nursery):
            self.misfit()
        end = self.end_of[actor.index] = self.kernel.resource(f"end of task {actor.name}", None, "trio")
        self.ends.setdefault(id(nursery), []).append(end)
        self.put(end, True)
        for index, awaited in self.awaits.items():
            if awaited is nursery:
                parent = self.kernel.cast.actors[index]
                parent.pending = self.operation(parent, kinds.WAITS, "nursery")
        return actor

    def _stopped(self, actor: Actor, task: internals.Task) -> None:
        if not internals.is_alive(self.runner, task):
            if actor.index in self.end_of:
                self.put(self.end_of[actor.index], False)
        elif actor.name not in self.runnable:
            nursery = internals.awaited_nursery(task)
            if nursery is not None:
                self.awaits[actor.index] = nursery
        super()._stopped(actor, task)

    def _settled(self) -> None:
        kernel = self.kernel
        self.leave()
        if not fits(self):
            self.misfit()
        kernel.loop.as_before()

    def _occupy(self) -> None:
        mover = self.kernel.actor
        assert mover is not None
        self.enter()
        if self.awaits.pop(mover.index, None) is None:
            self.put(self.wake_of(mover), False)
        task = self.tasks.get(mover.index)
        if task is not None:
            self._read_scopes(task)

    def _read_scopes(self, inside: Any) -> None:
        """Read the cancel scopes around: cancelling one affects each task in it, now or at its next checkpoint."""
        for scope in internals.scopes_around(inside):
            bit = bit_of(self.kernel, scope)
            if bit:
                self.touch(bit, False)
            else:
                self.misfit()

    def begin(self) -> None:
        """The host becomes the main task."""
        self.host.absorbs = self.absorb
        self.kernel.step(Operation(kinds.RUN, self.state))
        self._occupy()

    def finish(self) -> None:
        """The run is over: the host continues as before."""
        self.leave()
        super().finish()
        self.host.absorbs = None


def _ended(states: tuple[Any, ...]) -> bool:
    return not any(states)
