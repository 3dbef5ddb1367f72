"""The kernel: actors are greenlets on one OS thread, and one loop decides who moves.

An actor *declares* its next operation (`Kernel.step`) before it does it. So the kernel knows what every actor wants and whether
it can have it. The rule of the loop: collect what is enabled, ask the strategy, record, switch. The next actor is chosen inside the
greenlet of the actor that has just stopped, so going on with the same actor costs no switch; the greenlet that called `run` is
entered again only when the execution is over.

What is recorded (`keys`, `reads`, `writes`, `operations`, `times`, `deadlines`) are parallel lists with one entry per step. A *key*
is a choice: the index of the actor that moved, shifted, plus the alternative taken where its operation is a data choice.
"""

from __future__ import annotations

import contextvars
import os
import shutil
import tempfile
from _thread import get_ident
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from greenlet import GreenletExit, getcurrent, greenlet

from simharness.clock import Clock
from simharness.errors import HarnessBug, Misuse, Nondeterminism, SimharnessError, Stuck, TokenError
from simharness.operations import CHECKED, CLOCK, ENDING, Names, Operation, Resource
from simharness.places import Place, caller, place_of

SHIFT = 16
ALTERNATIVES = (1 << SHIFT) - 1
RUNNING, SETUP, INSPECTING, ENDED = range(4)
ABANDON = -1
"""What a strategy's `choose` returns to give an execution up."""
MAX_KILLS = 20
ROOT = "MainThread"
"""Name of the scenario function's own actor, which it becomes by starting a thread."""

_active: list[tuple[Kernel, int]] = []
"""The current world: the kernel whose execution is under way and the OS thread it runs on; at most one."""

Chooser = Callable[[list[int]], int]


def current() -> Kernel | None:
    """Return the kernel whose simulation the running code is part of; None outside a simulation and on other OS threads."""
    if _active:
        kernel, thread = _active[0]
        if thread == get_ident():
            return kernel
    return None


class Actor:
    """One flow of control. `key` is its name for choices, `bit` what its own steps write and a join of it reads."""

    def __init__(self, kernel: Kernel, name: str, work: Callable[[], Any], daemon: bool, process: str) -> None:
        self.name = name
        self.work = work
        self.daemon = daemon
        self.process = process
        self.bit = kernel.names.bit(f"actor {name}")
        self.index = self.bit.bit_length() - 1
        self.key = self.index << SHIFT
        self.done = Resource(f"end of {name}", self.bit, False)
        self.greenlet: greenlet | None = None
        self.starter: greenlet = kernel.hub
        self.fresh = True
        self.born = -1
        self.finished = False
        self.kills = 0
        self.steps = 0
        self.pending: Operation | None = None
        self.deadline: int | None = None
        self.place: Place | None = None
        self.failure: BaseException | None = None
        self.locals: dict[Any, Any] = {}
        self.children = 0
        self.created = 0

    def __repr__(self) -> str:
        return f"<actor {self.name}>"

    def ready(self, now: int) -> bool:
        """Whether the pending operation can be done now."""
        operation = self.pending
        assert operation is not None
        enabled = operation.enabled
        if enabled is None or enabled(operation.resource.state):  # type: ignore[union-attr]  # enabled implies a resource
            return True
        return self.deadline is not None and now >= self.deadline


class Learned:
    """Facts about a scenario that change what conflicts; when exploring teaches a new one, it starts over."""

    def __init__(self) -> None:
        self.checked = 0
        self.daemons = False
        self.shared: set[str] = set()
        self.version = 0

    def check_reads(self, mask: int) -> None:
        """An `always` check reads the resources in `mask`."""
        if mask & ~self.checked:
            self.checked |= mask
            self.version += 1

    def daemon(self) -> None:
        """There is a daemon actor."""
        if not self.daemons:
            self.daemons = True
            self.version += 1

    def share(self, name: str) -> None:
        """The resource `name`, private to one actor so far, is used by several."""
        if name not in self.shared:
            self.shared.add(name)
            self.version += 1


class Failure:
    """What went wrong in an execution: the step after which it showed, whose it was, and the exception."""

    def __init__(self, step: int, actor: str | None, check: str | None, error: BaseException) -> None:
        self.step = step
        self.actor = actor
        self.check = check
        self.error = error


class Kernel:
    """Runs executions of one scenario, one after the other; the record of the last one is in its attributes.

    Args:
        max_steps: an execution that makes more is cut.
        max_delay: of the clock, in nanoseconds.
    """

    def __init__(self, max_steps: int = 20_000, max_delay: int = 5_000_000_000) -> None:
        self.names = Names()
        self.learned = Learned()
        self.clock = Clock(max_delay)
        self.clock_key = self.names.index("clock") << SHIFT
        self.max_steps = max_steps
        self.hub = getcurrent()
        self.pool: list[greenlet] = []
        self.graveyard: list[greenlet] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.tracing = False
        self.total_steps = 0
        self.mode = ENDED
        self.context: dict[Any, Any] = {}
        self._reset((), lambda enabled: enabled[0], (), ())

    # An execution, seen from outside

    def _reset(self, plan: Sequence[int], choose: Chooser, reads: Sequence[int], writes: Sequence[int]) -> None:
        self.plan = plan
        self.planned = len(plan)
        self.expected_reads, self.expected_writes = reads, writes
        self.choose = choose
        self.n = 0
        self.keys: list[int] = []
        self.reads: list[int] = []
        self.writes: list[int] = []
        self.operations: list[Operation] = []
        self.times: list[int] = []
        self.deadlines: list[int | None] = []
        self.places: list[Place | None] = []
        self.widths: list[int] = []
        self.notes: dict[int, list[str]] = {}
        self.actors: dict[int, Actor] = {}
        self.live: list[Actor] = []
        self.waiting: list[Actor] = []
        self.unfinished = 0
        self.actor: Actor | None = None
        self.key = 0
        self.resources: dict[str, Resource] = {}
        self.created: dict[str, int] = {}
        self.after_step: Callable[[], None] | None = None
        self.failure: Failure | None = None
        self.error: BaseException | None = None
        self.abandoned = self.cut = self.timed = self.dying = False
        self.concurrent = False
        self.stuck_at: dict[str, Place | None] = {}
        self.advances: list[tuple[int, int]] = []
        self.clock_readings: list[tuple[int, int]] = []
        self.inspected = 0
        self.context = {}
        self.clock.reset()

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
        self._reset(plan, choose, *expected)
        self.hub = getcurrent()
        self.mode = SETUP
        if _active:
            raise Misuse("an exploration inside an exploration: explore from outside of actors, scenarios and checks")
        _active.append((self, get_ident()))
        try:
            self.created[f"actor {ROOT}"] = 1
            self._launch(Actor(self, ROOT, prepare, False, "main"))
            self.mode = RUNNING
            for actor in self.waiting:
                if self.error is None:
                    self._register(actor)
                    self._launch(actor)
            if self.error is None:
                key = self._pick()
                if key >= 0:
                    self._switch_to(key)
        finally:
            self.mode = ENDED
            for actor in self.live:
                if actor.greenlet is not None and not actor.daemon:
                    self.stuck_at[actor.name] = place_of(actor.greenlet.gr_frame)
            self._bury()
            _active.clear()
        if self.error is not None:
            raise self.error

    def inspect(self, check: Callable[[], Any]) -> int:
        """Call a check, during or after an execution; its operations are done at once. Return the mask of what it read."""
        before, self.mode, self.inspected = self.mode, INSPECTING, 0
        outside = not _active
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
        """Let go of what outlives executions: the temporary folder and the pooled greenlets."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
        self.pool.clear()

    @property
    def stuck(self) -> list[Actor]:
        """The actors, other than daemons, that had not ended when the execution did."""
        return [actor for actor in self.live if not actor.daemon]

    @property
    def setting_up(self) -> bool:
        """Whether the scenario function is still declaring its world."""
        return self.mode == SETUP

    # Resources

    def resource(self, name: str, state: Any = None, label: str | None = None) -> Resource:
        """Return this execution's resource of this name, made with this state if there is none yet."""
        found = self.resources.get(name)
        if found is None:
            found = self.resources[name] = Resource(label or name, self.names.bit(name), state)
        return found

    def new_name(self, kind: str) -> str:
        """Return a name for something the current actor makes, which does not depend on what other actors do."""
        maker = self.actor.name if self.actor is not None and self.mode == RUNNING else ""
        base = f"{maker}'s {kind}" if maker else kind
        number = self.created[base] = self.created.get(base, 0) + 1
        return f"{base} {number}"

    def fresh_directory(self) -> str:
        """Return an empty folder, the same path in each execution; it goes with the kernel."""
        if self._folder is None:
            memory = "/dev/shm"
            self._folder = tempfile.TemporaryDirectory(prefix="simharness-", dir=memory if os.path.isdir(memory) else None)
        for name in os.listdir(self._folder.name):
            path = os.path.join(self._folder.name, name)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        return self._folder.name

    # Actors

    def add_actor(self, name: str, work: Callable[[], Any], daemon: bool = False, process: str = "main") -> Actor:
        """Declare an actor; it is launched when set-up is over. Names are unique within an execution."""
        if f"actor {name}" in self.created:
            raise Misuse(f"two actors are called {name!r}: give each a name of its own")
        self.created[f"actor {name}"] = 1
        actor = Actor(self, name, work, daemon, process)
        if daemon:
            self.learned.daemon()
        if self.mode == SETUP:
            self.waiting.append(actor)
        return actor

    def start(self, actor: Actor) -> None:
        """Launch a thread's actor as a step of the current one; in set-up this makes the scenario function the root actor."""
        if self.mode == SETUP:
            root = self.actor
            assert root is not None
            self.mode = RUNNING
            self.waiting.remove(actor)
            self._register(root)
        self.step(Operation("thread.start", writes=actor.bit, detail=actor.name))
        actor.born = self.n - 1
        self._register(actor)
        self._launch(actor)

    def _register(self, actor: Actor) -> None:
        self.actors[actor.index] = actor
        self.live.append(actor)
        if not actor.daemon:
            self.unfinished += 1

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
        while True:
            actor = self.actor
            assert actor is not None
            try:
                actor.work()
            except (GreenletExit, SystemExit):
                pass
            except (SimharnessError, Stuck, KeyboardInterrupt) as error:
                self._give_up(error)
            except BaseException as error:
                if self.mode == SETUP:
                    self._give_up(error)
                elif not self.dying:
                    actor.failure = error
                    self.fail(error, actor=actor.name)
            self._leave(actor)

    def _leave(self, actor: Actor) -> None:
        """The actor has ended: go where control belongs now. Returns when the greenlet has been given another actor."""
        body = getcurrent()
        assert isinstance(body, greenlet)
        if self.dying or self.error is not None:
            self.pool.append(body)
            self.hub.switch()
            return
        if self.mode == SETUP:
            self.pool.append(body)
            actor.starter.switch()
            return
        actor.finished = True
        self.live.remove(actor)
        actor.done.put(self.n - 1, True)
        if not actor.daemon:
            self.unfinished -= 1
            if self.learned.daemons and self.n and self.keys[-1] >> SHIFT == actor.index:
                self.reads[-1] |= ENDING
        self.pool.append(body)
        if actor.fresh:
            actor.starter.switch()
            return
        key = self._pick()
        if key < 0:
            self.hub.switch()
        else:
            self._switch_to(key)

    def _switch_to(self, key: int) -> None:
        actor = self.actors[key >> SHIFT]
        self.actor, self.key = actor, key
        assert actor.greenlet is not None
        actor.greenlet.switch()

    def _bury(self) -> None:
        """End what is left of the greenlets, without letting their `finally` blocks have effects."""
        self.dying = True
        for actor in self.live:
            body = actor.greenlet
            if body is not None and not body.dead and not actor.finished:
                self.actor = actor
                body.throw(GreenletExit)
        self.dying = False
        self.actor = None

    def fail(self, error: BaseException, actor: str | None = None, check: str | None = None) -> None:
        """Note the first failure of this execution; it goes on, so that the other actors reach their ends."""
        if self.failure is None:
            self.failure = Failure(self.n - 1, actor, check, error)

    def _give_up(self, error: BaseException) -> None:
        """The execution cannot go on: `run` will raise `error`."""
        if self.error is None and not self.dying:
            self.error = error

    # A step, seen from the actor

    def step(self, operation: Operation, deadline: int | None = None) -> int:
        """Declare the next operation of the current actor and return when it is its turn to do it.

        Args:
            deadline: virtual time at which the operation can be done though its resource does not allow it (a timeout).

        Returns:
            The alternative taken, for a data choice; else 0.
        """
        if self.mode != RUNNING or self.dying:
            return self._step_aside(operation)
        actor = self.actor
        assert actor is not None
        actor.pending = operation
        actor.deadline = deadline
        if deadline is not None:
            self.timed = True
        if self.tracing:
            actor.place = caller()
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
        return self._record(actor, operation)

    def _record(self, actor: Actor, operation: Operation) -> int:
        resource = operation.resource
        if operation.writes_when is None:
            reads, writes = operation.reads | CLOCK, operation.writes | actor.bit
        else:
            assert resource is not None
            if operation.writes_when(resource.state):
                reads, writes = operation.reads | CLOCK, operation.writes | actor.bit | resource.bit
            else:
                reads, writes = operation.reads | CLOCK | resource.bit, operation.writes | actor.bit
        learned = self.learned
        if actor.daemon:
            writes |= ENDING
        if writes & learned.checked:
            writes |= CHECKED
        n = self.n
        if n < self.planned - 1 and n < len(self.expected_reads):
            self._compare(n, reads, writes)
        self.keys.append(self.key)
        self.reads.append(reads)
        self.writes.append(writes)
        self.operations.append(operation)
        self.times.append(self.clock.now)
        self.deadlines.append(actor.deadline)
        if self.tracing:
            self.places.append(actor.place)
        self.n = n + 1
        self.total_steps += 1
        return self.key & ALTERNATIVES

    def put(self, resource: Resource, state: Any) -> None:
        """Set the state of a resource as an effect of the step that has just been recorded."""
        resource.state = state
        if self.mode != INSPECTING:
            resource.history.append((self.n - 1, state))

    def note(self, text: str) -> None:
        """Say, for people, what the step that has just been recorded did."""
        if self.tracing and self.mode == RUNNING:
            self.notes.setdefault(self.n - 1, []).append(text)

    def _step_aside(self, operation: Operation) -> int:
        """Outside the actors' run (set-up, checks) operations are done at once; in a dying execution they are not done."""
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
                if self.unfinished == 0 or self.error is not None:
                    return ABANDON
                if self.n >= self.max_steps:
                    self.cut = True
                    return ABANDON
                if self.n < self.planned:
                    if self.tracing:
                        self.enabled()
                    key = self.plan[self.n]
                    self._check_possible(key)
                else:
                    enabled = self.enabled()
                    if not enabled:
                        return ABANDON
                    key = self.choose(enabled)
                    if key < 0:
                        self.abandoned = True
                        return ABANDON
                if key != self.clock_key:
                    return key
                self._advance()
        except BaseException as error:
            self._give_up(error)
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
        if not workers and self._only_daemons_for_ever():
            return []
        if (self.timed or self.clock.timescales) and self._next_instant(not keys) is not None:
            keys.append(self.clock_key)
        if self.tracing:
            while len(self.widths) < self.n:
                self.widths.append(1)
            self.widths.append(len(keys))
        return keys

    def _next_instant(self, idle: bool) -> int | None:
        now = self.clock.now
        return self.clock.target([a.deadline for a in self.live if a.deadline is not None and not a.ready(now)], idle, [v for _, v in self.clock_readings])

    def _advance(self) -> None:
        now = self.clock.now
        idle = not any(actor.ready(now) for actor in self.live)
        target = self._next_instant(idle)
        assert target is not None
        if not idle:
            self.clock.lateness += target - now
        self.keys.append(self.clock_key)
        self.reads.append(0)
        self.writes.append(CLOCK)
        self.operations.append(Operation("clock.advance", detail=f"{target}"))
        self.times.append(now)
        self.deadlines.append(None)
        if self.tracing:
            self.places.append(None)
        self.n += 1
        self.total_steps += 1
        self.clock.now = target
        self.advances.append((target, self.clock.lateness))

    def _only_daemons_for_ever(self) -> bool:
        """Whether every daemon that moves has come round twice since another actor could last move."""
        if not self.learned.daemons or any(a.deadline is not None for a in self.live if not a.daemon):
            return False
        seen: dict[int, list[tuple[str, int]]] = {}
        daemons = {actor.index: actor for actor in self.live if actor.daemon}
        for position in range(self.n - 1, -1, -1):
            index = self.keys[position] >> SHIFT
            if index in daemons:
                operation = self.operations[position]
                seen.setdefault(index, []).append((operation.kind, id(operation.resource)))
            elif self.keys[position] != self.clock_key:
                break
        movers = [index for index, actor in daemons.items() if actor.deadline is not None or actor.ready(self.clock.now)]
        return all(seen.get(index, []).count(seen[index][-1]) > 2 if index in seen else False for index in movers)

    def _check_possible(self, key: int) -> None:
        """Refuse a planned choice that cannot be taken here."""
        if key == self.clock_key:
            idle = not any(actor.ready(self.clock.now) for actor in self.live)
            if self._next_instant(idle) is not None:
                return
        actor = self.actors.get(key >> SHIFT)
        if actor is not None and not actor.finished and actor.ready(self.clock.now):
            assert actor.pending is not None
            if key & ALTERNATIVES < actor.pending.options:
                return
        if self.n < len(self.expected_reads):
            raise Nondeterminism(f"step {self.n + 1} of a repeated execution: {self._mover(key)} cannot move, though it did before")
        raise TokenError(f"does not fit: at step {self.n + 1} {self._mover(key)} is to move and cannot")

    def _mover(self, key: int) -> str:
        for name in self.names.of(1 << (key >> SHIFT)):
            return name
        return "an unknown actor"

    def _compare(self, n: int, reads: int, writes: int) -> None:
        if (reads | ENDING) != (self.expected_reads[n] | ENDING) or writes != self.expected_writes[n]:
            self._give_up(Nondeterminism(
                f"step {n + 1} ({self._mover(self.key)}) is not what it was under the same choices: it was "
                f"{self._footprint(self.expected_reads[n], self.expected_writes[n])}, it is {self._footprint(reads, writes)}"
            ))
            self.hub.switch()

    def _footprint(self, reads: int, writes: int) -> str:
        return f"reads {{{', '.join(self.names.of(reads))}}} writes {{{', '.join(self.names.of(writes))}}}"
