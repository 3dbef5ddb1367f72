"""The kernel: actors are greenlets on one OS thread, and one loop decides which of them moves.

An actor *declares* its next operation (`Kernel.step`) before it does it. So the kernel knows what every actor is about to do and
whether it can. The kernel is one class that owns its parts: the loop, the record, the cast of actors and their greenlets, the clock,
and the other movers. The greenlet that called `run` continues only when the execution is over.
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable, Sequence
from typing import Any

from greenlet import getcurrent

from simharness.engine.active import _active, current, outside
from simharness.engine.actors import ROOT, SHIFT, Actor, Failure
from simharness.engine.budget import Budget
from simharness.engine.cast import Cast
from simharness.engine.clock import BOOT, Clock
from simharness.engine.facts import Daemons, Learned
from simharness.engine.faults import Faults
from simharness.engine.greenlets import Greenlets
from simharness.engine.handlers import Handlers
from simharness.engine.labels import Labels
from simharness.engine.loop import Loop
from simharness.engine.modes import Mode
from simharness.engine.movers import Movers
from simharness.engine.operations import CLOCK, ENDING, Names, Operation, Resource
from simharness.engine.phases import ENDED, INSPECTING, RUNNING, SETUP
from simharness.engine.plan import Chooser, Plan, first
from simharness.engine.polling import Polling
from simharness.engine.record import Record
from simharness.engine.workspace import Workspace
from simharness.errors import Misuse
from simharness.places import callers

__all__ = ["Kernel", "_active", "current", "os_thread", "outside"]

os_thread = get_ident
"""Returns the running OS thread also where the simulation has replaced the function of this name."""


class Kernel:
    """Runs executions of one scenario, one after the other.

    Args:
        max_steps: an execution with more steps is cut.
        max_delay: of the clock, in nanoseconds.
        plain: the scenario function takes no world: it becomes an actor when it starts a thread, waits or fails.
        faults: those that may strike.

    Attributes:
        names, learned, clock, movers, workspace, budget: outlive executions.
        record, cast: what the current or last execution has done, and its actors.
        resources: its resources, by name; each execution has its own dictionary.
        context: what runtimes keep for one execution.
        actor, key: the actor that moves, and its choice.
        phase: RUNNING, SETUP, INSPECTING or ENDED.
        polled: whether turns of loops are examined.
        patience: how many steps an execution makes before somebody looks why it is so long.
        failure, error: the first thing that went wrong in the program; the exception that ends the execution and that `run` raises.
        cut, abandoned, over: how the execution was ended, if not by its actors; rehearsed: it is thrown away.
    """

    def __init__(self, max_steps: int = 20_000, max_delay: int = 5_000_000_000, plain: bool = False, faults: Faults | None = None) -> None:
        self.plain = plain
        self.max_steps = max_steps
        self.faults = faults
        self.names, self.learned, self.clock = Names(), Learned(), Clock(max_delay)
        self.movers = Movers(faults, self.names, self.clock, self.learned)
        self._time_seen = self.movers.seen.known
        self.workspace = Workspace()
        self.budget = Budget()
        self.polling = Polling(self)
        self.open()
        self.modes: set[Mode] = set()
        self.on_log: Callable[[Any], None] | None = None
        self.phase = ENDED
        self._begin(Plan(), False)

    def open(self) -> None:
        """Make what `close` releases."""
        self.greenlets = Greenlets(self)
        self.loop = Loop(self)
        self.polling.open(self)

    def _begin(self, plan: Plan, tracing: bool) -> None:
        self.thread = get_ident()
        self.plan, self.tracing = plan, tracing
        self.record, self.cast = Record(tracing), Cast()
        self.workspace.begin()
        self.movers.begin(self.record, self.cast)
        self.polled = self.polling.begin() and not any(mode.profiled for mode in self.modes)
        self.patience = self.polling.first_search
        self.actor: Actor | None = None
        self.key = self.inspected = 0
        self.resources: dict[str, Resource] = {}
        self.labels = Labels()
        self.context: dict[Any, Any] = {}
        self.when_set_up: list[Callable[[], None]] = []
        self.when_over: list[Callable[[], None]] = []
        self.observe(None)
        self.failure: Failure | None = None
        self.error: BaseException | None = None
        self.abandoned = self.cut = self.over = self.dying = self.buried = self.rehearsed = False
        self.handlers: Handlers | None = None
        self.turn = self.polling.turn if self.polled else self.loop.turn
        self.timed = self.concurrent = self.fair = self.watched = self.checking = self.touched = False

    def run(
        self,
        prepare: Callable[[], Any],
        plan: Sequence[int] = (),
        choose: Chooser = first,
        expected: tuple[Sequence[int], Sequence[int]] = ((), ()),
        tracing: bool = False,
        between: Callable[[], None] = lambda: None,
    ) -> None:
        """Run one execution: set it up by calling `prepare`, follow `plan`, then ask `choose`; the attributes hold the result.

        Args:
            expected: the footprints (reads, writes) of the steps of `plan` except the last, where they are known.
            tracing: also keep what a timeline needs.
            between: called when the last execution has been released and this one has not begun.

        Raises:
            Nondeterminism: a step of the plan has another footprint than expected.
            TokenError: a choice of the plan is not possible.
        """
        self.bury()
        self._begin(Plan(plan, choose, expected), tracing)
        between()
        self.greenlets.hub, self.phase = getcurrent(), SETUP
        if _active:
            raise Misuse("an exploration inside an exploration: explore from outside of actors, scenarios and checks")
        _active.append((self, get_ident()))
        try:
            self.labels.reserve(ROOT)
            self.greenlets.launch(Actor(self.names, self.greenlets.hub, ROOT, prepare, False, "main"))
            self.leave_set_up()
            for actor in self.cast.waiting:
                if self.error is None:
                    self.register(actor)
                    self.greenlets.launch(actor)
            if self.error is None and (key := self.loop.next_choice()) >= 0:
                self.loop.mover(key).switch()
        finally:
            self.phase = ENDED
            _active.clear()
            self.movers.seen.learn(self.timed)
            for actor in self.cast.stuck:
                if actor.greenlet is not None:
                    self.cast.stuck_at[actor.name] = actor.place()
            self.actor = None
        for call in self.when_over:
            call()
        if self.error is not None:
            raise self.error

    # Steps

    def step(self, operation: Operation, deadline: int | None = None) -> int:
        """Declare the next operation of the current actor and return when it is its turn to do it.

        Args:
            deadline: virtual time from which the operation can be done even if its resource does not allow it (a timeout).

        Returns:
            The alternative taken, for a data choice; else 0.
        """
        if self.phase != RUNNING or self.dying or get_ident() != self.thread:
            return self.loop.step_aside(operation)
        actor = self.actor
        assert actor is not None
        if actor.absorbs is not None and actor.absorbs(operation):
            return 0
        actor.pending = operation
        actor.deadline = deadline
        if deadline is not None or self._time_seen:
            self.timed |= self.movers.seen.declare(actor)
        if self.tracing:
            actor.calls = callers()
        return self.turn(actor)

    # Actors

    def add_actor(self, name: str, work: Callable[[], Any], daemon: bool = False, process: str = "main") -> Actor:
        """Declare an actor; it is launched when set-up is over. Names are unique within an execution."""
        if not self.labels.reserve(name):
            raise Misuse(f"two actors are called {name!r}: give each a name of its own")
        actor = Actor(self.names, self.greenlets.hub, name, work, daemon, process)
        if daemon:
            self.learned.learn(Daemons())
        if self.phase == SETUP:
            self.cast.waiting.append(actor)
        return actor

    def start(self, actor: Actor, operation: Operation, admit: Callable[[], None], others: Sequence[Actor] = ()) -> None:
        """Launch a thread's actor with this step of the current one, unless `admit`, called at its turn, raises; set-up becomes root.

        Args:
            others: further actors that the same step launches.
        """
        if self.phase == SETUP:
            for waiting in (actor, *others):
                self.cast.waiting.remove(waiting)
            self.move_root()
        self.step(operation)
        admit()
        born = self.record.n - 1
        for new in (actor, *others):
            self.bring_up(new, born)

    def bring_up(self, actor: Actor, born: int) -> None:
        """Add an actor as an effect of this step, the last, and run it to its first scheduling point."""
        actor.born = born
        self.register(actor)
        self.greenlets.launch(actor)

    def move_root(self) -> None:
        """Make the scenario function, which moves during set-up, an actor."""
        root = self.actor
        assert root is not None
        self.leave_set_up()
        self.register(root)

    def register(self, actor: Actor) -> None:
        """Add an actor to those that can move."""
        actor.base = CLOCK | self.movers.process_bit(actor.process)
        self.cast.enter(actor)

    def make_daemon(self, actor: Actor) -> None:
        """Make an actor a daemon."""
        actor.daemon = True
        self.cast.unfinished -= 1
        self.learned.learn(Daemons())

    def end(self, actor: Actor) -> None:
        """Note that an actor has ended, with the last step if that was its own."""
        actor.finished = True
        self.cast.leave(actor)
        actor.done.put(self.record.n - 1, True)
        if not actor.daemon and self.learned.daemons and self.record.n and self.record.keys[-1] >> SHIFT == actor.index:
            self.record.amend(ENDING)

    def root_may_move(self) -> bool:
        """Whether this is the set-up of a plain function, which becomes an actor as soon as it waits or fails."""
        return self.plain and self.phase == SETUP and not self.cast.waiting

    def bury(self) -> None:
        """End the remaining actors, whose `finally` blocks then have no effects. Call when the execution has been judged."""
        left = [*self.cast.live, *self.cast.dead]
        if not left or self.buried:
            return
        self.buried = self.dying = True
        before = self.error
        _active.append((self, get_ident()))
        try:
            self.greenlets.kill(left)
        finally:
            self.dying = False
            self.actor = None
            _active.clear()
        if self.error is not None and self.error is not before:
            raise self.error

    def inspect(self, check: Callable[[], Any]) -> int:
        """Call a check, during or after an execution; its operations happen at once. Return the mask of what it read."""
        before, self.phase, self.inspected = self.phase, INSPECTING, 0
        self.checking, outside = before != ENDED, not _active
        if outside:
            _active.append((self, get_ident()))
        exchange = self.movers.exchange
        entered = "" if exchange is None else exchange("main")
        try:
            check()
        finally:
            self.phase = before
            if outside:
                _active.clear()
            if exchange is not None:
                exchange(entered)
        return self.inspected

    @property
    def setting_up(self) -> bool:
        """Whether the scenario function is still setting up."""
        return self.phase == SETUP

    def leave_set_up(self) -> None:
        """End set-up: from here on actors move."""
        if self.phase == SETUP:
            for call in self.when_set_up:
                call()
        self.phase = RUNNING

    def close(self) -> None:
        """Release what outlives executions: the temporary folder and the pooled greenlets."""
        try:
            self.clear()
        finally:
            self.workspace.close()
            self.greenlets.close()
            self.loop.close()
            self.polling.close()

    def clear(self) -> None:
        """Release the record of the last execution."""
        self.bury()
        self._begin(Plan(), False)

    def observe(self, after_step: Callable[[], None] | None, when_asked: Callable[[list[int]], None] | None = None) -> None:
        """Have `after_step` called before each choice, and `when_asked` with what is possible there."""
        self.after_step, self.when_asked = after_step, when_asked

    def watch(self, check: Callable[[], None], fair: bool = False) -> None:
        """Have `check` called after each step, unless an observer calls it; `fair`: have long executions scheduled fairly."""
        self.watched, self.fair = True, self.fair or fair
        if self.after_step is None:
            self.after_step = check

    def fail(self, error: BaseException, actor: str | None = None, check: str | None = None, step: int | None = None) -> None:
        """Note the first failure of this execution; it continues, so that the other actors reach their ends.

        Args:
            step: the index of the step after which it shows; default: the last one.
        """
        if self.failure is None:
            self.failure = Failure(self.record.n - 1 if step is None else step, actor, check, error)

    def give_up(self, error: BaseException) -> None:
        """End the execution, which cannot continue: `run` will raise `error`."""
        if self.error is None and not self.dying:
            self.error = error

    def resource(self, name: str, state: Any = None, label: str | None = None, lock: bool = False) -> Resource:
        """Return this execution's resource of this name, created with this state if it does not exist.

        Args:
            label: its name in timelines and messages.
            lock: its state is the name of the actor that holds it, or None; a crash of that actor's process frees it.
        """
        resource = self.resources.get(name)
        if resource is None:
            resource = self.resources[name] = Resource(label or name, self.names.bit(name), state)
            resource.lock = lock
        return resource

    def put(self, resource: Resource, state: Any) -> None:
        """Set the state of a resource as an effect of the step that has just been recorded."""
        resource.state = state
        if self.phase != INSPECTING:
            resource.history.append((self.record.n - 1, state))

    def abandon(self) -> None:
        """Give up this execution: its results may be wrong."""
        self.abandoned = self.over = True

    def interrupt(self, error: BaseException) -> None:
        """End the execution, even a dying one; called by the watchdog."""
        if self.error is None:
            self.error = error

    def notice(self, concurrent: bool = False, timed: bool = False, touched: bool = False) -> None:
        """Note that two actors could move at once, that an operation has a deadline, or that memory was touched without a step."""
        self.concurrent |= concurrent
        self.timed |= timed
        self.touched |= touched

    def turn_on(self, *modes: Mode) -> None:
        """Turn on modes for all executions; call it before the first of them."""
        self.modes.update(modes)

    def route_log_lines(self, to: Callable[[Any], None] | None) -> None:
        """Pass the log records of actors to this function, which makes steps of them; None: they are not steps."""
        self.on_log = to

    def new_name(self, kind: str) -> str:
        """Return a name for something that the current actor makes; it does not depend on what other actors do."""
        maker = self.actor.name if self.actor is not None and self.phase == RUNNING else ""
        base = f"{maker}'s {kind}" if maker else kind
        return f"{base} {self.labels.count(base)}"

    def note(self, text: str) -> None:
        """Note in words, for the timeline, what the last recorded step did."""
        if self.tracing and self.phase == RUNNING:
            self.record.note(text)

    def monotonic(self) -> int:
        """Return the monotonic clock of the current actor's process, in nanoseconds; it stands still during a suspension."""
        return BOOT + self.clock.now - self.movers.behind(self.actor.process if self.actor is not None else "")

    def mover(self, key: int) -> str:
        """Return the name of the mover of a key, for messages."""
        return next(iter(self.names.of(1 << (key >> SHIFT))), "an unknown actor")

    def canonical(self, text: str) -> str:
        """Return the text without what differs between equal processes: addresses and the names of temporary folders."""
        return self.workspace.canonical(text, self.context.get("temporary folder", ("",))[1:])
