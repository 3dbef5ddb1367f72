"""One `trio.run` under the kernel.

A task is an actor that shares the greenlet of its run; the main task is the actor that called `trio.run`. What a task does between two
checkpoints is atomic for its siblings, as it is in Trio, and its siblings share all memory with it: so every step of a run writes one
resource, the *run*, and any two of them conflict. For other threads and other runs a task's step is not atomic: cells, locks and SQL that
it uses are steps of their own, during which the run is not *free*.

The run's state says which tasks may be resumed. The order in which tasks are resumed is the kernel's to choose: "any" takes one task at a
time; "batches" takes what is runnable as a batch, forwards or backwards, as Trio's loop does. What Trio's loop does for itself (expiring
deadlines, which under "any" may come late, running callbacks from other threads, waking `wait_all_tasks_blocked`) are steps of a further
actor, the *loop*, which is among the movers only while it has something to do.
"""

from __future__ import annotations

from typing import Any, NoReturn

from greenlet import GreenletExit

from simharness.engine.actors import ROOT, Actor
from simharness.engine.clock import nanoseconds
from simharness.engine.clock_steps import sees_time
from simharness.engine.kernel import Kernel, current
from simharness.engine.kinds import Kind
from simharness.engine.operations import Every, Operation
from simharness.runtimes.memory.locations import STRANGE
from simharness.runtimes.refused import refuse_io
from simharness.runtimes.tasks.actors import TaskActor, spawn
from simharness.runtimes.tasks.cancellations import Cancellations
from simharness.runtimes.trio import internals, kinds
from simharness.runtimes.trio.order import BATCHES, StepsCannotGrow, StepsGrow
from simharness.runtimes.trio.state import RunClock, RunState, loop_operation, task_operation

RUNS = "trio runs"
FAR = 10**8
"""Seconds after which a deadline counts as none; a clock that stands still returns such times."""


class Run:
    """The kernel's side of one `trio.run`; it serves the stand-ins that Trio's loop uses."""

    def __init__(self, kernel: Kernel, host: Actor, clock: Any) -> None:
        self.kernel = kernel
        self.host = host
        self.clock = clock or RunClock(kernel)
        self.batches = BATCHES in kernel.modes
        name = kernel.new_name("trio.run").removeprefix(f"{ROOT}'s ")
        self.state = kernel.resource(name, RunState(), "trio")
        self.queue = kernel.resource(f"callbacks of {name}", 0, "trio")
        self.both = Every(self.queue.name, (self.state, self.queue))
        self.marks = self.both.bit, self.state.bit
        self.runner: Any = None
        self.hooks: Any = None
        self.actors: dict[int, Actor] = {}
        self.tasks: dict[int, internals.Task] = {}
        self.runnable: list[str] = []
        self.left: list[str] = []
        self.own: list[internals.Task] = []
        self.next: list[internals.Task] = []
        self.forming: int | None = None
        self.expiring = False
        self.before_expiry = 0
        self.started = self.abandoned = self.judged = False
        self.workers: list[Actor] = []
        self.scopes: list[tuple[internals.Task, Any, str]] = []
        self.cancellations = Cancellations(kernel, self.state)
        self.loop = TaskActor(kernel, f"{host.name}'s loop" if host.name != ROOT else "trio's loop", host)
        kernel.labels.reserve(self.loop.name)
        self.loop.mark |= self.both.bit
        self.loop.pending = self._loop_operation()
        self._calls = Operation(kinds.QUEUES_A_CALLBACK, self.queue, writes=self.queue.bit)
        kernel.movers.when_crashed.append(self._crashed)
        kernel.movers.when_suspended.append(self._suspended)

    def operation(self, actor: Actor, kind: Kind, detail: str) -> Operation:
        """Return the next step of a task."""
        return task_operation(self.state, actor.name, self.batches, kind, detail)

    # What Trio's loop asks

    def woke(self, task: internals.Task) -> None:
        """A task is to be resumed: from the end of this step on it is one of the movers."""
        if self.kernel.dying:
            return
        if internals.is_own(task):
            self.own.append(task)
            return
        actor = self.actors.get(id(task))
        if actor is None:
            actor = self._spawned(task)
        else:
            waited = self._waited(actor)
            kind, before = (kinds.IS_CANCELLED, "in") if internals.is_cancelled(task) else (kinds.RESUMES, "after")
            actor.pending = self.operation(actor, kind, f"{before} {waited}" if waited else "")
        self.runnable.append(actor.name)

    def _waited(self, actor: Actor) -> str:
        pending = actor.pending
        return pending.detail if pending is not None and pending.kind is kinds.WAITS else ""

    def stop(self) -> bool:
        """Wait until an actor of this run has a turn; Trio's own tasks, and the first step of the main task, need none."""
        kernel = self.kernel
        if kernel.dying:
            raise GreenletExit
        if self.own or (not self.started and self.runnable):
            self._start_main()
            return True
        alternative = self._next_step()
        mover = kernel.actor
        assert mover is not None
        due = self.loop.deadline is not None and kernel.clock.now >= self.loop.deadline
        self.loop.deadline = None
        mover.places = None
        self.forming = None
        self.expiring = mover is self.loop and not self.left
        if mover is self.loop:
            return self._loop_moves(alternative, due)
        self.runnable.remove(mover.name)
        if self.left:
            del self.left[0]
        self._occupy()
        self.next.append(self.tasks[mover.index])
        return True

    def _next_step(self) -> int:
        """Wait for the next step of this run that is not a cancellation by a fault; return its alternative."""
        kernel = self.kernel
        self._settle()
        while True:
            mover = kernel.actor
            assert mover is not None
            alternative = kernel.loop.turn(mover)
            if self.cancellations.strikes():
                kernel.put(self.state, RunState(True, idle=True))
                self._declare_loop()
                continue
            cancel = self.cancellations.take()
            if cancel is None:
                return alternative
            self._occupy()
            cancel()
            self._settle()

    def _start_main(self) -> None:
        if not self.own:
            self.started = True
            self.runnable.clear()
            self.next.append(self.tasks[self.host.index])

    def _loop_moves(self, alternative: int, due: bool) -> bool:
        callbacks = self.runner.entry_queue.size()
        if self.batches and not self.left:
            self.forming = alternative
            happened = bool(callbacks or due or self.runnable)
        else:
            happened = bool(callbacks or due)
            if self.left:
                del self.left[0]
            if callbacks:
                self.runner.entry_queue.waker.wake()
        self._occupy()
        return happened

    def batch(self) -> list[internals.Task]:
        """Return the tasks to resume now, the last of them first."""
        if self.forming is not None and not self.left:
            self.left = list(self.runnable)
            if self.runner.entry_queue.size():
                self.left.insert(self.before_expiry, self.loop.name)
            if self.forming:
                self.left.reverse()
            self.forming = None
        tasks = [*self.next, *self.own]
        self.next.clear()
        self.own.clear()
        return tasks

    def size(self) -> int:
        """Return how many tasks are to be resumed."""
        return len(self.own) + len(self.next) + len(self.runnable)

    def expires(self) -> bool:
        """Whether Trio's loop has its turn: between two batches."""
        self.before_expiry = len(self.runnable)
        expiring, self.expiring = self.expiring, False
        return expiring

    def calls(self) -> None:
        """A callback is about to be queued: a step of the caller, unless the caller is Trio itself."""
        kernel = current()
        task = internals.running()
        if kernel is self.kernel and (task is None or not internals.is_own(task)):
            kernel.step(self._calls)

    def called(self) -> None:
        """A callback has been queued; Trio's own run at once."""
        kernel = current()
        if kernel is not self.kernel:
            return
        task = internals.running()
        if task is not None and internals.is_own(task):
            self.runner.entry_queue.waker.wake()
            return
        kernel.put(self.queue, self.runner.entry_queue.size())
        self._declare_loop()

    def refuse(self, what: str) -> NoReturn:
        """Refuse real I/O that the program asks for."""
        refuse_io(self.kernel, what)

    # Steps

    def _settle(self) -> None:
        """The step under way is over: update which tasks may be resumed."""
        kernel = self.kernel
        mover = kernel.actor
        assert mover is not None
        task = self.tasks.get(mover.index)
        if task is not None and not mover.finished:
            self._stopped(mover, task)
        self._settled()
        if kernel.tracing:
            for index, task in self.tasks.items():
                actor = kernel.cast.actors[index]
                if not actor.finished:
                    actor.calls = internals.places(task)

    def _settled(self) -> None:
        kernel, runner = self.kernel, self.runner
        deadline, timeout = internals.seconds_to_deadline(runner)
        instant: int | None = None
        if timeout < FAR:
            exact = isinstance(self.clock, RunClock)
            instant = self.clock.instant(deadline) if exact else kernel.clock.now + nanoseconds(timeout)
        idle = not self.runnable and internals.waits_for_idle(runner, timeout)
        offered = self._cancellable() if self.cancellations.wanted else ()
        kernel.put(self.state, RunState(True, tuple(self.runnable), tuple(self.left), idle, instant, offered))
        waiting = runner.entry_queue.size()
        if waiting != self.queue.state:
            kernel.put(self.queue, waiting)
        self._declare_loop()
        if not self.judged and len(self.tasks) > 1:
            self._judge()

    def _cancellable(self) -> tuple[str, ...]:
        """Return the names of the tasks and scopes that a fault can cancel."""
        main, offered = self.tasks.get(self.host.index), []
        self.scopes = [each for each in self.scopes if id(each[0]) in self.actors and internals.can_be_cancelled(each[1])]
        for task, scope, name in self.scopes:
            if name or self.cancellations.concerns((task.name,), task is not main):
                offered.append(self.cancellations.offer(name or self.actors[id(task)].name, self.host, scope.cancel))
        return tuple(offered)

    def _judge(self) -> None:
        """Let the steps of tasks grow from the next execution on, if they can."""
        self.judged = True
        if not self.batches and StepsCannotGrow() not in self.kernel.learned and fits(self):
            self.kernel.learned.learn(StepsGrow())

    def _occupy(self) -> None:
        """A step has begun: until it is over, the other actors of this run wait."""
        self.kernel.put(self.state, self.state.state._replace(free=False, runnable=tuple(self.runnable), batch=tuple(self.left)))

    def _stopped(self, actor: Actor, task: internals.Task) -> None:
        """A task has reached its next checkpoint, or its end."""
        if internals.is_alive(self.runner, task):
            if actor.name not in self.runnable:
                actor.pending = self.operation(actor, kinds.WAITS, internals.waits_in(task))
            actor.places = lambda: internals.places(task)
            return
        del self.tasks[actor.index], self.actors[id(task)]
        if actor is self.host:
            actor.pending = self.operation(actor, kinds.WAITS, "trio.run")
        else:
            self.kernel.end(actor)

    def _spawned(self, task: internals.Task) -> Actor:
        kernel = self.kernel
        if self.runner.main_task is None and not self.tasks:
            actor = self.host
        else:
            actor = spawn(kernel, task.name.rpartition(".")[2] or task.name, self.host, kernel.actor)
            actor.mark |= self.marks[1]
            actor.pending = self.operation(actor, kinds.STARTS, "")
            actor.places = lambda: internals.places(task)
            kernel.register(actor)
        self.actors[id(task)] = actor
        self.tasks[actor.index] = task
        return actor

    def _loop_operation(self) -> Operation:
        callbacks, under_way = self.queue.state, self.cancellations.under_way
        if under_way is not None:
            return loop_operation(self.both, self.loop.name, False, kinds.CANCELS, detail=under_way[0])
        if self.batches and not self.left:
            options = 2 if len(self.runnable) + bool(callbacks) > 1 else 1
            if options > 1:
                self.kernel.notice(concurrent=True)
            return loop_operation(self.both, self.loop.name, True, kinds.TAKES_A_BATCH, options)
        timed = kinds.WAKES_WHO_WAITS if self.state.state.idle else kinds.EXPIRES_DEADLINES
        return loop_operation(self.both, self.loop.name, self.batches, kinds.RUNS_CALLBACKS if callbacks else timed)

    def _declare_loop(self) -> None:
        """Count the loop among the movers if it has something to do, now or later."""
        state, loop = self.state.state, self.loop
        if not state.free:
            return
        operation = loop.pending = self._loop_operation()
        assert operation.due is not None
        assert operation.enabled is not None
        loop.deadline = operation.due((state, self.queue.state))
        if loop.deadline is not None:
            self.kernel.notice(timed=True)
        needed = loop.deadline is not None or operation.enabled((state, self.queue.state))
        self.kernel.cast.attend(loop, needed)

    # Beginning and end

    def begin(self) -> None:
        """The host becomes the main task."""
        self.host.mark |= self.marks[0]
        sees_time(self.kernel, by_all=True)
        self.kernel.step(Operation(kinds.RUN, self.state, writes=self.state.bit))
        self._occupy()

    def finish(self) -> None:
        """The run is over: the host continues as before."""
        kernel, host, loop = self.kernel, self.host, self.loop
        for index in list(self.tasks):
            actor = kernel.cast.actors[index]
            if actor is not host and not actor.finished:
                kernel.end(actor)
        kernel.cast.attend(loop, False)
        mover = kernel.actor
        assert mover is not None
        if mover is not host:
            host.pending = Operation(kinds.RUN_RETURNS, writes=self.state.bit)
            kernel.loop.turn(mover)
        host.places = None
        host.mark = host.bit
        for actor in self.workers:
            if not actor.finished and not actor.daemon:
                kernel.make_daemon(actor)

    def _crashed(self, process: str) -> None:
        """The process has died, and its loop with it, even one that waited for nothing."""
        if process == self.host.process and not self.loop.finished:
            self.loop.finished, self.loop.crashed = True, self.kernel.record.n - 1

    def _suspended(self, process: str, length: int) -> None:
        """The process stands still for this many nanoseconds, and so does the clock of its deadlines."""
        state = self.state.state
        if process == self.host.process and state.deadline is not None:
            self.kernel.put(self.state, state._replace(deadline=state.deadline + length))
            self._declare_loop()

    def abandon(self) -> None:
        """The execution is dying."""
        for index in self.tasks:
            actor = self.kernel.cast.actors[index]
            if actor is not self.host:
                actor.finished = True
        self.loop.finished = self.abandoned = True


def fits(run: Run) -> bool:
    """Whether each step of a run's tasks can be a single step of the kernel, as far as this execution shows; asked between steps."""
    kernel, runner = run.kernel, run.runner
    _, timeout = internals.seconds_to_deadline(runner)
    return (
        kernel.faults is None
        and STRANGE not in kernel.context
        and not kernel.watched
        and not kernel.learned.daemons
        and isinstance(run.clock, RunClock)
        and timeout >= FAR
        and not internals.waits_for_idle(runner, timeout)
        and not runner.entry_queue.size()
        and not runner.instruments["_all"]
        and all(actor.host is run.host for actor in kernel.cast.actors.values())
        and all(internals.is_instrumented(task) for task in run.tasks.values())
    )
