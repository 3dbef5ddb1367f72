"""The kernel's side of one loop: its tasks, callbacks and timers as actors.

A task is an actor that shares the greenlet of the actor that runs the loop, its *host*; the main task is the host itself. Callbacks that
step no task are steps of a further actor, and each timer is one. What runs between two returns to the loop is atomic for its siblings, as
it is in asyncio, and they share all memory with it: so every step of a loop writes one resource, and any two of them conflict. Its state
says who may move (`orders.py`). Everything that changes this state is a step that writes it: a call from another thread, too; the clock,
whose steps conflict with everything, moves timers.

An actor that another one can disable (a timer that is cancelled, the tasks of a loop that returns) has not ended: it takes part in the
search for races.
"""

from __future__ import annotations

from typing import Any

from greenlet import GreenletExit

from simharness.engine.actors import ROOT, Actor
from simharness.engine.clock_steps import sees_time
from simharness.engine.kernel import Kernel
from simharness.engine.operations import Operation
from simharness.errors import HarnessBug, SimharnessError
from simharness.runtimes.aio import internals, kinds
from simharness.runtimes.aio.cancellable import cancellable, cancelling, has_begun
from simharness.runtimes.aio.order import CalledByThreads, order_of
from simharness.runtimes.aio.orders import AnyOrder, LoopOrder, Queue
from simharness.runtimes.aio.polls import Polls
from simharness.runtimes.aio.state import Entry, LoopState, operation
from simharness.runtimes.tasks.actors import ExactTimes, spawn
from simharness.runtimes.tasks.cancellations import Cancellations
from simharness.runtimes.tasks.coroutines import places, position, waits_in

_ORDERS = {"loop": LoopOrder, "arrivals": Queue, "any": AnyOrder}


class Run:
    """The kernel's side of one loop; `loop` is asyncio's."""

    def __init__(self, kernel: Kernel, loop: Any) -> None:
        self.kernel = kernel
        self.loop = loop
        self.queue: Queue = _ORDERS[order_of(kernel.modes)]()
        self.times = ExactTimes(kernel)
        self.name = kernel.new_name("asyncio loop").removeprefix(f"{ROOT}'s ")
        self.state = kernel.resource(self.name, LoopState(), "asyncio")
        assert kernel.actor is not None
        self.owner: Actor = kernel.actor.host
        self.owner.mark |= self.state.bit
        self.running = self.inside = False
        self.registered, self.began = False, 0
        self.main: Any = None
        self.actors: dict[int, Actor] = {}
        self.tasks: dict[int, Any] = {}
        self.named: dict[str, Actor] = {}
        self.away: list[Actor] = []
        self.candidates: list[Entry] = []
        self.callbacks: Actor | None = None
        self.events = 0
        self.polls = Polls()
        self.cancellations = Cancellations(kernel, self.state)
        sees_time(kernel, by_all=True)
        kernel.movers.when_advanced.append(self._time_has_passed)
        kernel.movers.when_crashed.append(self._crashed)
        kernel.movers.when_suspended.append(self._suspended)

    # Registrations

    def register(self, handle: Any) -> None:
        """A callback is registered."""
        if self.inside and not self.foreign():
            self._let_threads_call()
        task = internals.task_of(handle)
        entry = Entry(handle, 0, task=task is not None)
        if task is not None and self.inside and internals.is_step(handle) and self.loop.current() is task:
            entry.pause = True
        self.queue.register(entry)

    def _let_threads_call(self) -> None:
        """Make a registration a point if threads can register callbacks before it and after the beginning of the step."""
        kernel = self.kernel
        first, self.registered = not self.registered and kernel.record.n == self.began, True
        if not first and CalledByThreads() in kernel.learned and any(a.host is not self.owner for a in kernel.cast.live):
            kernel.step(Operation(kinds.REGISTERS, self.state, writes=self.state.bit))

    def call_at(self, handle: Any) -> None:
        """A timer is made."""
        entry = Entry(handle, 0, instant=self.times.instant(handle._when))
        self.queue.timers[id(handle)] = entry
        self.events += self.queue.look_at(entry, self.kernel.clock.now)

    def foreign(self) -> bool:
        """Whether the running code is not that of the loop's thread."""
        kernel = self.kernel
        actor = kernel.actor
        return actor is not None and actor.host is not self.owner

    def called(self) -> None:
        """Another thread has registered a callback."""
        self.events += 1
        self.queue.turn += 1
        self.kernel.learned.learn(CalledByThreads())
        if self.running and not self.inside:
            self._declare()

    def _time_has_passed(self) -> None:
        """The clock has moved: timers are due, and naps are over."""
        for timer in self.queue.timers.values():
            self.events += self.queue.look_at(timer, self.kernel.clock.now)
        if self.inside:
            self._none_may_move_yet()
        elif self.running:
            self._declare()

    def _none_may_move_yet(self) -> None:
        """Keep what the clock has reached from moving: a step of the loop is under way."""
        now, state = self.kernel.clock.now, self.state.state
        for name, instant in state.waits:
            if instant <= now:
                self.named[name].deadline = None
        self.kernel.put(self.state, state._replace(waits=tuple(wait for wait in state.waits if wait[1] > now)))

    def _suspended(self, process: str, length: int) -> None:
        """The process stands still for this many nanoseconds, and so does the clock of its timers."""
        if process == self.owner.process:
            for timer in self.queue.timers.values():
                timer.instant += 0 if timer.due else length
            if self.running and not self.inside:
                self._declare()

    # Steps

    def next(self) -> Any:
        """Wait until an actor of this loop has a turn, and return the handle that it runs; None: the loop returns."""
        kernel, queue = self.kernel, self.queue
        while True:
            if kernel.dying:
                raise GreenletExit
            if self.inside:
                self._settle()
            mover = kernel.actor
            assert mover is not None
            if not self._declare() and mover is self.owner and queue.returns():
                return None
            kernel.loop.turn(mover)
            if self.cancellations.strikes():
                continue
            mover = kernel.actor
            assert mover is not None
            mover.places = None
            kernel.put(self.state, self.state.state._replace(free=False, may=()))
            self.inside, self.registered, self.began = True, False, kernel.record.n
            cancel = self.cancellations.take()
            if cancel is not None:
                queue.turn += 1
                cancel()
                continue
            entry = next((each for each in self.candidates if each.actor is mover), None)
            if entry is None:
                if mover is not self.owner:
                    raise HarnessBug(f"{mover.name} moves in an asyncio loop that has nothing for it")
                return None
            timer = id(entry.handle) in queue.timers
            queue.take(entry)
            if not timer:
                return entry.handle
            self.events += 1
            mover.deadline = None
            self.loop.fires(entry.handle)
            if not queue.enters:  # it runs the callback itself
                return entry.handle
            self._has_fired(mover)
            queue.register(Entry(entry.handle, 0))

    def _has_fired(self, timer: Actor) -> None:
        self.kernel.cast.attend(timer, False)
        timer.finished = True

    def _settle(self) -> None:
        """The step under way is over."""
        self.inside = False
        kernel = self.kernel
        mover, paused = kernel.actor, None
        assert mover is not None
        task = self.tasks.get(mover.index)
        if task is None:
            self.events += 1
            mover.pending = operation(self.state, mover.name, kinds.WAITS)
            if mover is not self.callbacks:
                self._has_fired(mover)
        elif task.done():
            self.events += 1
            self._ended(mover, task)
        else:
            new = [entry for entry in (*self.queue.ready, *self.queue.pauses) if entry.actor is None]
            paused = next((entry for entry in new if entry.pause), None)
            self.events += len(new) > 1
            self._stopped(mover, task, paused)
        if kernel.tracing:
            for each in self.tasks.values():
                self.actors[id(each)].calls = places(each.get_coro())

    def _ended(self, actor: Actor, task: Any) -> None:
        error = None if task.cancelled() else internals.failure_of(task)
        if isinstance(error, SimharnessError):
            self.kernel.give_up(error)
            raise error
        del self.tasks[actor.index], self.actors[id(task)]
        if actor is self.owner:
            actor.places = None
        else:
            self.kernel.end(actor)

    def _stopped(self, actor: Actor, task: Any, paused: Entry | None) -> None:
        coroutine = task.get_coro()
        actor.pending = operation(self.state, actor.name, kinds.WAITS, waits_in(coroutine) or "a future")
        actor.places = lambda: places(coroutine)
        if paused is None:
            self.events += 1
            return
        paused.place = position(coroutine)
        nap = self.polls.nap(actor.index, paused.place, self.events)
        paused.nap = self.kernel.clock.now + nap if nap else 0

    def _actor_of(self, entry: Entry) -> Actor:
        actor = entry.actor
        if actor is None:
            task = internals.task_of(entry.handle)
            if task is not None:
                actor = self.actor_of_task(task)
            elif id(entry.handle) in self.queue.timers:
                actor = spawn(self.kernel, "timer", self.owner, self.kernel.actor)
                actor.mark |= self.state.bit
                actor.pending = operation(self.state, actor.name, kinds.TIMER, internals.name_of(entry.handle), timed=True)
                actor.places = lambda: internals.places_of(entry.handle)
                actor.calls = internals.places_of(entry.handle)
            else:
                actor = self.actor_of_callbacks()
            entry.actor = self.named[actor.name] = actor
        return actor

    def actor_of_task(self, task: Any) -> Actor:
        """Return the actor that a task is."""
        actor = self.actors.get(id(task))
        if actor is None:
            coroutine = task.get_coro()
            if task is self.main:
                actor = self.owner
            else:
                name = task.get_name()
                if name.startswith("Task-"):
                    name = getattr(coroutine, "__name__", type(coroutine).__name__)
                actor = self._enter(name)
            actor.places = lambda: places(coroutine)
            self.actors[id(task)] = actor
            self.tasks[actor.index] = task
            actor.pending = operation(self.state, actor.name, kinds.WAITS if has_begun(task) else kinds.STARTS)
        return actor

    def actor_of_callbacks(self) -> Actor:
        """Return the actor of the callbacks that step no task."""
        if self.callbacks is None:
            self.callbacks = self._enter("callbacks" if self.owner.name == ROOT else f"{self.owner.name}'s callbacks", alone=True)
        return self.callbacks

    def _enter(self, name: str, alone: bool = False) -> Actor:
        kernel = self.kernel
        actor = spawn(kernel, name, self.owner, None if alone else kernel.actor)
        actor.mark |= self.state.bit
        actor.pending = operation(self.state, actor.name, kinds.WAITS)
        if alone:
            kernel.cast.attend(actor, True)
        else:
            kernel.register(actor)
        return actor

    # Who may move

    def _declare(self) -> list[Entry]:
        """Say who may move, and how; return the entries that may run."""
        kernel, queue = self.kernel, self.queue
        queue.drop_cancelled()
        for entry in (*queue.ready, *queue.pauses):
            if entry.actor is None:
                self._announce(entry)
        now = kernel.clock.now
        candidates = self.candidates = queue.candidates()
        may = [self._actor_of(entry).name for entry in candidates if entry.nap <= now]
        waits = [(self._actor_of(entry).name, entry.nap) for entry in candidates if entry.nap > now]
        for entry in candidates:
            actor = self._actor_of(entry)
            actor.deadline = None if entry.nap <= now else entry.nap
            if actor is self.callbacks:
                actor.pending = operation(self.state, actor.name, kinds.CALLBACK, internals.name_of(entry.handle))
                actor.calls = internals.places_of(entry.handle)
            elif entry.nap > now and actor.pending is not None:
                pending = actor.pending
                actor.pending = operation(self.state, actor.name, pending.kind, pending.detail, True)
        waits += self._timers()
        if queue.returns():
            may.append(self.owner.name)
        if self.owner.index not in self.tasks:
            self.owner.pending = operation(self.state, self.owner.name, kinds.RETURNS)
            self.owner.deadline = None
        if waits:
            kernel.notice(timed=True)
        if self.cancellations.under_way is not None:
            may = [cancelling(self)]
        kernel.put(self.state, LoopState(True, tuple(may), tuple(waits), cancellable(self)))
        return candidates

    def _timers(self) -> list[tuple[str, int]]:
        """Have the timers among the movers that are not cancelled; return those whose time has not come."""
        waits = []
        cast = self.kernel.cast
        timers = [self._actor_of(timer) for timer in self.queue.timers.values()]
        for actor in [actor for actor in cast.live if actor in cast.attending and actor.host is self.owner]:
            if actor is not self.callbacks and actor not in timers:
                actor.deadline = None
                cast.attend(actor, False)
        for timer, actor in zip(self.queue.timers.values(), timers, strict=True):
            cast.attend(actor, True)
            actor.deadline = None if timer.due else timer.instant
            if not timer.due:
                waits.append((actor.name, timer.instant))
        return waits

    def _announce(self, entry: Entry) -> None:
        """Set what the actor of a new entry is about to do."""
        actor = self._actor_of(entry)
        if not entry.task or actor.pending is None or actor.pending.kind is kinds.STARTS:
            return
        task, waited = internals.task_of(entry.handle), actor.pending.detail if actor.pending.kind is kinds.WAITS else ""
        kind, before = (kinds.IS_CANCELLED, "in") if internals.is_cancelled(entry.handle, task) else (kinds.RESUMES, "after")
        detail = f"{before} {waited}" if waited else ""
        actor.pending = operation(self.state, actor.name, kind, detail)

    # Beginning and end

    def begin(self, host: Actor, main: Any) -> None:
        """An actor begins to run the loop, for a main task if that has no actor."""
        kernel = self.kernel
        if host is not self.owner:
            kernel.step(Operation(kinds.RUN, self.state, writes=self.state.bit))
            self.owner.mark &= ~self.state.bit
            self.owner = host
            host.mark |= self.state.bit
        self.main = main if main is not None and id(main) not in self.actors else None
        cast = kernel.cast
        for actor in self.away:
            cast.live.append(actor)
            cast.unfinished += not actor.daemon
        self.away.clear()
        self.running, self.inside = True, False
        self.queue.begin(self.loop._stopping)
        for timer in self.queue.timers.values():
            self.events += self.queue.look_at(timer, kernel.clock.now)
        if self.callbacks is not None:
            cast.attend(self.callbacks, True)

    def finish(self) -> None:
        """The loop returns: its tasks wait for the next time that it runs."""
        kernel, host = self.kernel, self.owner
        self.running = self.inside = False
        self.actors.pop(id(self.tasks.pop(host.index, None)), None)
        for entry in (*self.queue.ready, *self.queue.pauses):
            if entry.actor is host:
                entry.actor = None
        mover = kernel.actor
        assert mover is not None
        if mover is not host:  # an exception has ended the loop
            kernel.put(self.state, LoopState(True, (host.name,)))
            mover.pending = operation(self.state, mover.name, kinds.WAITS)
            host.pending = operation(self.state, host.name, kinds.RETURNS)
            kernel.loop.turn(mover)
        kernel.put(self.state, LoopState())
        for actor in list(kernel.cast.live):
            if actor.host is host and actor is not host and actor.mark & self.state.bit:
                actor.deadline = None
                if actor in kernel.cast.attending:
                    kernel.cast.attend(actor, False)
                else:
                    kernel.cast.leave(actor)
                    self.away.append(actor)
        host.places = None

    def close(self) -> None:
        """The loop is closed."""
        self.owner.mark &= ~self.state.bit

    def _crashed(self, process: str) -> None:
        """The process has died, and its loop with it."""
        if process == self.owner.process and self.running:
            step = self.kernel.record.n - 1
            self.running = False
            for timer in self.queue.timers.values():
                if timer.actor is not None and not timer.actor.finished:
                    timer.actor.finished, timer.actor.crashed = True, step
