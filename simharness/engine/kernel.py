"""The kernel: actors are greenlets on one OS thread, and one loop decides who moves.

An actor *declares* its next operation (`Kernel.step`) before it does it. So the kernel knows what every actor wants and whether
it can have it. The rule of the loop: collect what is enabled, ask the strategy, record, switch. The next actor is chosen inside the
greenlet of the actor that has just stopped, so going on with the same actor costs no switch; the greenlet that called `run` is
entered again only when the execution is over.
"""

from __future__ import annotations

import contextvars
import sys
from _thread import get_ident
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

from simharness.engine import daemons
from simharness.engine.actors import ALTERNATIVES, ROOT, SHIFT, Actor, ended
from simharness.engine.faults import Faults
from simharness.engine.movers import Striking
from simharness.engine.operations import CLOCK, ENDING, Operation
from simharness.engine.record import ENDED, INSPECTING, RUNNING, SETUP, Chooser
from simharness.errors import HarnessBug, Misuse, SimharnessError, Stuck, told
from simharness.places import caller, callers

ABANDON = -1
"""What a strategy's `choose` returns to give an execution up."""
MAX_KILLS = 20
NO_ACTOR = "start the thread in the scenario, or let an actor do it"
_active: list[tuple[Kernel, int]] = []
"""The current world: the kernel whose execution is under way and the OS thread it runs on; at most one."""


def current() -> Kernel | None:
    """Return the kernel whose simulation the running code is part of; None outside a simulation and on other OS threads."""
    if _active:
        kernel, thread = _active[0]
        if thread == get_ident():
            return kernel
    return None


class Kernel(Striking):
    """Runs executions of one scenario, one after the other; the record of the last one is in its attributes.

    Args:
        max_steps: an execution that makes more is cut.
        max_delay: of the clock, in nanoseconds.
        plain: the scenario function takes no world: what it does before it starts a thread is its own, not only set-up.
        faults: those that may strike.
    """

    def __init__(self, max_steps: int = 20_000, max_delay: int = 5_000_000_000, plain: bool = False, faults: Faults | None = None) -> None:
        super().__init__(max_delay, faults)
        self.plain = plain
        self.max_steps = max_steps
        self.hub = getcurrent()
        self.pool: list[greenlet] = []
        self.graveyard: list[greenlet] = []

    def run(
        self,
        prepare: Callable[[], Any],
        plan: Sequence[int] = (),
        choose: Chooser = lambda enabled: enabled[0],
        expected: tuple[Sequence[int], Sequence[int]] = ((), ()),
    ) -> None:
        """Run one execution: set up by calling `prepare`, follow `plan`, then ask `choose`; leave the record in the attributes.

        `expected` holds the footprints (reads, writes) of the steps of `plan` but the last, where they are known.

        Raises:
            Nondeterminism: a step of the plan is not the one that `expected` tells.
            TokenError: a choice of the plan is not possible.
        """
        self.bury()
        self._reset(plan, choose, *expected)
        self.hub, self.mode = getcurrent(), SETUP
        if _active:
            raise Misuse("an exploration inside an exploration: explore from outside of actors, scenarios and checks")
        _active.append((self, get_ident()))
        try:
            self.created[f"actor {ROOT}"] = 1
            self._launch(Actor(self.names, self.hub, ROOT, prepare, False, "main"))
            self.leave_set_up()
            for actor in self.waiting:
                if self.error is None:
                    self.register(actor)
                    self._launch(actor)
            if self.error is None:
                key = self._pick()
                if key >= 0:
                    self._switch_to(key)
        finally:
            self.mode = ENDED
            for actor in self.live:
                if actor.greenlet is not None and not actor.daemon:
                    self.stuck_at[actor.name] = actor.place()
            self.actor = None
            _active.clear()
        if self.error is not None:
            raise self.error

    def inspect(self, check: Callable[[], Any]) -> int:
        """Call a check, during or after an execution; its operations are done at once. Return the mask of what it read."""
        before, self.mode, self.inspected = self.mode, INSPECTING, 0
        self.checking, outside = before != ENDED, not _active
        if outside:
            _active.append((self, get_ident()))
        try:
            check()
        finally:
            self.mode = before
            if outside:
                _active.clear()
        return self.inspected

    def close(self) -> None:
        """Let go of what outlives executions: the temporary folder and the pooled greenlets, which the collector cannot reach."""
        self.bury()
        super().close()
        while self.pool:
            self.pool.pop().throw()
        self.clear()

    def clear(self) -> None:
        """Let go of the record of the last execution."""
        self.bury()
        self._reset((), lambda enabled: enabled[0], (), ())

    # Actors

    def add_actor(self, name: str, work: Callable[[], Any], daemon: bool = False, process: str = "main") -> Actor:
        """Declare an actor; it is launched when set-up is over. Names are unique within an execution."""
        title = f"actor {name}"
        if title in self.created:
            raise Misuse(f"two actors are called {name!r}: give each a name of its own")
        self.created[title] = 1
        actor = Actor(self.names, self.hub, name, work, daemon, process)
        if daemon:
            self.learned.daemon()
        if self.mode == SETUP:
            self.waiting.append(actor)
        return actor

    def start(self, actor: Actor) -> None:
        """Launch a thread's actor as a step of the current one; in set-up this makes the scenario function the root actor."""
        if self.mode == SETUP:
            self.waiting.remove(actor)
            self.move_root()
        self.step(Operation("thread.start", writes=actor.bit, detail=actor.name))
        self._bring_up(actor)

    def begin(self, name: str, work: Callable[[], Any], process: str) -> Actor:
        """Declare an actor as an effect of the last step and run it to its first scheduling point."""
        actor = self.add_actor(name, work, process=process)
        self._bring_up(actor)
        return actor

    def _bring_up(self, actor: Actor) -> None:
        """Have an actor come into being as an effect of the last step."""
        actor.born = self.n - 1
        self.register(actor)
        self._launch(actor)

    def move_root(self) -> None:
        """The scenario function moves before set-up is over: it is an actor from here on."""
        root = self.actor
        assert root is not None
        self.leave_set_up()
        self.register(root)

    def register(self, actor: Actor) -> None:
        """Have an actor among those that can move."""
        actor.base = CLOCK | self.process_bit(actor.process)
        self.actors[actor.index] = actor
        self.live.append(actor)
        if not actor.daemon:
            self.unfinished += 1

    def end(self, actor: Actor) -> None:
        """The actor has ended, with the step that was made last if that was its own."""
        actor.finished = True
        self.live.remove(actor)
        actor.done.put(self.n - 1, True)
        if not actor.daemon:
            self.unfinished -= 1
            if self.learned.daemons and self.n and self.keys[-1] >> SHIFT == actor.index:
                self.reads[-1] |= ENDING

    def _launch(self, actor: Actor) -> None:
        """Run the actor up to its first scheduling point, in a greenlet of the pool."""
        body = self.pool.pop() if self.pool else greenlet(self._worker, self.hub)
        body.gr_context = contextvars.Context()
        actor.greenlet = body
        actor.starter = getcurrent()
        before, self.actor = self.actor, actor
        body.switch()
        self.actor = before

    def _worker(self) -> None:
        """The body of a greenlet of the pool, which holds on to nothing of an execution while it waits there."""
        while True:
            self._act().switch()

    def _act(self) -> greenlet:
        """Do the work of the current actor; return the greenlet to which control belongs when it has ended."""
        actor = self.actor
        assert actor is not None
        try:
            actor.work()
        except (GreenletExit, SystemExit):
            pass
        except BaseException as raised:
            error = told(raised)
            fatal = isinstance(error, SimharnessError | Stuck | KeyboardInterrupt)
            if not fatal and self._root_may_move():
                self.move_root()
            if fatal or self.mode == SETUP:
                self.give_up(error)
            elif not self.dying:
                actor.failure = error
                self.fail(error, actor=actor.name)
        after = self._after(actor)
        assert actor.greenlet is not None
        self.pool.append(actor.greenlet)
        return after

    def _root_may_move(self) -> bool:
        """Whether this is set-up that belongs to a plain function, which is an actor as soon as it waits or fails."""
        return self.plain and self.mode == SETUP and not self.waiting

    def _after(self, actor: Actor) -> greenlet:
        """The actor has ended: return the greenlet that goes on."""
        actor.work = ended
        if self.dying or self.error is not None:
            return self.hub
        if self.mode == SETUP:
            return actor.starter
        self.end(actor)
        if actor.fresh:
            return actor.starter
        key = self._pick()
        return self.hub if key < 0 else self._next_to_move(key)

    def _switch_to(self, key: int) -> None:
        self._next_to_move(key).switch()

    def _next_to_move(self, key: int) -> greenlet:
        actor = self.actors[key >> SHIFT]
        self.actor, self.key = actor, key
        assert actor.greenlet is not None
        return actor.greenlet

    def bury(self) -> None:
        """End what is left of the greenlets, without letting their `finally` blocks have effects. Call when the execution was judged."""
        left = [*self.live, *self.dead]
        if not left or self.buried:
            return
        self.buried = self.dying = True
        self.hub = getcurrent()
        before = self.error
        _active.append((self, get_ident()))
        report = sys.unraisablehook
        sys.unraisablehook = lambda what: None if what.exc_type is GreenletExit else report(what)  # raised in a generator's `finally`
        for actor in left:
            body = actor.greenlet
            if actor.host is actor and body is not None and not body.dead and body not in self.pool:
                self.actor = actor
                body.throw(GreenletExit)
        sys.unraisablehook = report
        self.dying = False
        self.actor = None
        _active.clear()
        if self.error is not None and self.error is not before:
            raise self.error

    # A step, seen from the actor

    def step(self, operation: Operation, deadline: int | None = None) -> int:
        """Declare the next operation of the current actor and return when it is its turn to do it.

        Args:
            deadline: virtual time at which the operation can be done though its resource does not allow it (a timeout).

        Returns:
            The alternative taken, for a data choice; else 0.
        """
        if self.mode != RUNNING or self.dying or get_ident() != self.thread:
            return self._step_aside(operation)
        actor = self.actor
        assert actor is not None
        if actor.absorbs is not None and actor.absorbs(operation):
            return 0
        actor.pending = operation
        actor.deadline = deadline
        if deadline is not None:
            self.timed = True
        if self.tracing:
            actor.calls = callers()
        return self.turn(actor)

    def turn(self, actor: Actor) -> int:
        """Stop here until an actor of this greenlet has its turn: mostly the one that stops, but Trio's tasks share one."""
        if actor.fresh:
            actor.fresh = False
            actor.starter.switch()
        else:
            key = self._pick()
            if key < 0:
                self.hub.switch()
            elif key >> SHIFT == actor.index:
                self.key = key
            else:
                self._switch_to(key)
        if self.dying:
            raise GreenletExit
        mover = self.actor
        assert mover is not None
        operation = mover.pending
        assert operation is not None
        if not self.record(mover, operation):
            self.hub.switch()
        return self.key & ALTERNATIVES

    def _step_aside(self, operation: Operation) -> int:
        """Outside the actors' run (set-up, checks) operations are done at once; in a dying execution they are not done."""
        if get_ident() != self.thread:
            self.give_up(Misuse(f"{caller() or '?'}: {operation!r} by a real thread from outside the simulation: {NO_ACTOR}"))
            raise Misuse(str(self.error))
        if self.dying:
            actor = self.actor
            if actor is not None:
                actor.kills += 1
                if actor.kills > MAX_KILLS:
                    assert actor.greenlet is not None
                    self.graveyard.append(actor.greenlet)
                    self.hub.switch()
            raise GreenletExit
        if self.mode == ENDED:
            raise HarnessBug(f"{operation!r} outside an execution")
        resource = operation.resource
        if self.mode == INSPECTING:
            self.inspected |= operation.reads | operation.writes
            if resource is not None:
                self.inspected |= resource.bit
        if operation.enabled is not None and resource is not None and not operation.enabled(resource.state):
            if self._root_may_move():
                self.move_root()
                return self.step(operation)
            where = "a check" if self.mode == INSPECTING else "the set-up"
            raise Misuse(f"{caller() or '?'}: {where} would wait for ever: {operation!r}; nobody else can move there")
        return 0

    # Who goes next

    def _pick(self) -> int:
        """Return the choice to take now, or a negative number when the execution is over."""
        try:
            if self.after_step is not None:
                self.after_step()
            while True:
                if self.unfinished == 0 or self.over or self.error is not None:
                    return ABANDON
                if self.n >= self.max_steps:
                    self.cut = True
                    return ABANDON
                if self.n < self.planned:
                    if self.when_asked is not None:
                        self.enabled()
                    key = self.plan[self.n]
                    self.check_possible(key)
                else:
                    enabled = self.enabled()
                    if not enabled:
                        return ABANDON
                    key = self.choose(enabled)
                    if key < 0:
                        self.abandoned = True
                        return ABANDON
                if key >> SHIFT in self.actors:
                    return key
                self.move(key)
        except BaseException as error:
            self.give_up(error)
            return ABANDON

    def enabled(self) -> list[int]:
        """Return the choices that are possible now; empty when the execution is over."""
        now = self.clock.now
        keys: list[int] = []
        movers = 0
        workers = False
        for actor in self.live:
            operation = actor.pending
            assert operation is not None
            predicate = operation.enabled
            if now < actor.wakes:
                continue
            if predicate is not None and not predicate(operation.resource.state):  # type: ignore[union-attr]  # enabled implies a resource
                if actor.deadline is None or now < actor.deadline:
                    continue
            movers += 1
            workers |= not actor.daemon
            if operation.options == 1:
                keys.append(actor.key)
            else:
                keys.extend(range(actor.key, actor.key + operation.options))
        if movers > 1:
            self.concurrent = True
        if not workers and daemons.repeat_without_progress(self):
            keys = []
        elif (self.timed or self.clock.timescales) and self.next_instant(not keys) is not None:
            keys.append(self.clock_key)
        if self.faults is not None and not self.cut:
            keys = self.with_faults(keys)
        if self.when_asked is not None:
            self.when_asked(keys)
        return keys


@contextmanager
def outside() -> Iterator[None]:
    """Leave the simulation for the length of a block, which must not wait for its actors."""
    active = _active[:]
    _active.clear()
    try:
        yield
    finally:
        _active[:] = active
