"""The loop that decides which actor moves: collect what is enabled, ask the strategy, switch, record.

It has no greenlet of its own: each round runs in the greenlet of the actor that has just stopped, so that continuing with the same
actor costs no switch. The clock and the faults that are movers are not actors: they move within a round.
"""

from __future__ import annotations

from _thread import get_ident
from typing import TYPE_CHECKING

from greenlet import GreenletExit, greenlet

from simharness.engine.actors import ALTERNATIVES, SHIFT, Actor
from simharness.engine.crashes import crash
from simharness.engine.daemons import Daemons, judge
from simharness.engine.operations import CHECKED, ENDING, TIME, Operation
from simharness.engine.phases import ENDED, INSPECTING
from simharness.engine.plan import ABANDON
from simharness.errors import HarnessBug, Misuse, Nondeterminism, TokenError
from simharness.places import caller

if TYPE_CHECKING:
    from simharness.engine.kernel import Kernel  # the loop is a part of the kernel that reads and sets its state; a circle of types only

NO_ACTOR = "start the thread in the scenario, or let an actor do it"


class Loop:
    """The loop of a kernel."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def close(self) -> None:
        """Release the kernel, which refers back, when the exploration is over."""
        del self._kernel

    def turn(self, actor: Actor) -> int:
        """Make one round; it returns in the greenlet of the actor whose turn it is: usually this actor's, but Trio's tasks share one."""
        kernel = self._kernel
        if actor.fresh:
            actor.fresh = False
            actor.starter.switch()
        else:
            key = self.next_choice()
            if key < 0:
                kernel.greenlets.hub.switch()
            elif key >> SHIFT == actor.index:
                kernel.key = key
            else:
                self.mover(key).switch()
        if kernel.dying:
            raise GreenletExit
        mover = kernel.actor
        assert mover is not None
        if not self._record(mover):
            kernel.greenlets.hub.switch()
        return kernel.key & ALTERNATIVES

    def next_choice(self) -> int:
        """Return the choice of the actor that moves next, or a negative number when the execution is over."""
        kernel = self._kernel
        record, plan, cast = kernel.record, kernel.plan, kernel.cast
        try:
            if kernel.after_step is not None:
                kernel.after_step()
            while True:
                if cast.unfinished == 0 or kernel.over or kernel.error is not None:
                    return ABANDON
                if record.n >= kernel.patience and kernel.polling.too_long():
                    return ABANDON
                if record.n < plan.length:
                    if kernel.when_asked is not None:
                        self.enabled()
                    key = plan.keys[record.n]
                    self._check_possible(key)
                else:
                    enabled = self.enabled()
                    if not enabled:
                        return ABANDON
                    key = plan.choose(enabled)
                    if key < 0:
                        kernel.abandoned = True
                        return ABANDON
                if key >> SHIFT in cast.actors or key >> SHIFT in cast.strikers:
                    return key
                crashed = kernel.movers.move(key)
                if crashed is not None:
                    crash(kernel, crashed)
        except BaseException as error:
            kernel.give_up(error)
            return ABANDON

    def enabled(self) -> list[int]:
        """Return the choices that are possible now; empty when the execution is over."""
        kernel = self._kernel
        now = kernel.clock.now
        keys: list[int] = []
        movers = 0
        workers = False
        for actor in kernel.cast.live:
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
            kernel.concurrent = True
        if not workers and kernel.learned.daemons and self._daemons_repeat():
            keys = []
        elif (kernel.timed or kernel.clock.timescales) and kernel.movers.next_instant(not keys) is not None:
            keys.append(kernel.movers.clock_key)
        if kernel.faults is not None and not kernel.cut:
            keys = kernel.movers.with_faults(keys)
        if kernel.when_asked is not None:
            kernel.when_asked(keys)
        return keys

    def mover(self, key: int) -> greenlet:
        """Make the actor of a choice the current one; return its greenlet, to switch to."""
        kernel = self._kernel
        index, actors = key >> SHIFT, kernel.cast.actors
        actor = actors[index] if index in actors else kernel.cast.strikers[index]
        kernel.actor, kernel.key = actor, key
        exchange = kernel.movers.exchange
        if exchange is not None:
            exchange(actor.process)
        assert actor.greenlet is not None
        return actor.greenlet

    def _record(self, actor: Actor) -> bool:
        """Record an actor's step, which is about to be made; return whether it is the same as before under the same choices."""
        kernel, operation = self._kernel, actor.pending
        assert operation is not None
        resource = operation.resource
        reads, writes = operation.reads | actor.base, operation.writes | actor.mark
        if operation.writes_when is not None:
            assert resource is not None
            if operation.writes_when(resource.state):
                writes |= resource.bit | operation.also
            else:
                reads |= resource.bit
        if operation.faults:
            writes |= kernel.movers.strike_at(operation, kernel.key & ALTERNATIVES)
        if actor.deadline is not None and actor.in_time(kernel.clock.now):
            reads |= TIME
        if actor.daemon:
            writes |= ENDING
        if writes & kernel.learned.checked:
            writes |= CHECKED
        record = kernel.record
        # `Record.append`, written out: a call here would cost each step of each execution two per cent.
        record.keys.append(kernel.key)
        record.reads.append(reads)
        record.writes.append(writes)
        record.operations.append(operation)
        record.times.append(kernel.clock.now)
        record.deadlines.append(actor.deadline)
        if record.tracing:
            record.calls.append(actor.calls)
        record.n += 1
        return record.n > kernel.plan.known or actor.absorbs is not None or self.as_before()

    def as_before(self) -> bool:
        """Whether the last step has the same footprint as before under the same choices; if not, give up the execution."""
        kernel = self._kernel
        plan, record = kernel.plan, kernel.record
        if record.n > plan.known:
            return True
        n = record.n - 1
        reads, writes, expected, written = record.reads[n], record.writes[n], plan.reads[n], plan.writes[n]
        # Whether a step is its actor's last shows only when it is over, so the bit of the ending may be added later.
        same = writes == written and (reads == expected or reads | ENDING == expected | ENDING)
        if not same:
            was, is_now = kernel.names.footprint(expected, written), kernel.names.footprint(reads, writes)
            text = f"step {n + 1} ({kernel.mover(record.keys[n])}) is not what it was under the same choices: it was {was}, it is {is_now}"
            kernel.give_up(Nondeterminism(text))
        return same

    def _check_possible(self, key: int) -> None:
        """Refuse a planned choice that cannot be taken here.

        Raises:
            Nondeterminism: it was possible before. TokenError: the plan is that of a token, and does not fit.
        """
        kernel = self._kernel
        actor = kernel.cast.actors.get(key >> SHIFT)
        if actor is not None and not actor.finished:
            operation = actor.pending
            assert operation is not None
            if key & ALTERNATIVES < operation.options and actor.ready(kernel.clock.now):
                return
        if (actor is None or key & ALTERNATIVES) and key in self.enabled():
            return
        step = kernel.record.n + 1
        if step <= len(kernel.plan.reads):
            raise Nondeterminism(f"step {step} of a repeated execution: {kernel.mover(key)} cannot move, though it did before")
        raise TokenError(f"does not fit: at step {step} {kernel.mover(key)} is to move and cannot")

    def _daemons_repeat(self) -> bool:
        """Whether daemons, when only they can move, repeat a round that changes nothing; cut the execution if that starves an actor."""
        kernel = self._kernel
        activity = judge(kernel.cast, kernel.record, kernel.resources.values(), kernel.clock.now, kernel.movers.clock_key)
        if activity is Daemons.WORK:
            return False
        kernel.cut = activity is Daemons.STARVE
        return True

    def step_aside(self, operation: Operation) -> int:
        """Handle an operation outside the actors' run: in set-up and checks it happens at once, in a dying execution it does not happen."""
        if not hasattr(self, "_kernel"):
            raise Misuse(f"{caller() or '?'}: {operation!r} after the exploration that it belongs to")
        kernel = self._kernel
        if get_ident() != kernel.thread:
            kernel.give_up(Misuse(f"{caller() or '?'}: {operation!r} by a real thread from outside the simulation: {NO_ACTOR}"))
            raise Misuse(str(kernel.error))
        if kernel.dying:
            kernel.greenlets.die(kernel.actor)
        if kernel.phase == ENDED:
            raise HarnessBug(f"{operation!r} outside an execution")
        resource = operation.resource
        if kernel.phase == INSPECTING:
            kernel.inspected |= operation.reads | operation.writes
            if resource is not None:
                kernel.inspected |= resource.bit
        if operation.enabled is not None and resource is not None and not operation.enabled(resource.state):
            if kernel.root_may_move():
                kernel.move_root()
                return kernel.step(operation)
            where = "a check" if kernel.phase == INSPECTING else "the set-up"
            raise Misuse(f"{caller() or '?'}: {where} would wait forever: {operation!r}; no actor can move there")
        return 0
