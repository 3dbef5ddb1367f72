"""Which actors wait by looking again and again, and whether what is left out of their loops can matter to others.

Whether an actor polls is suspected in executions that become long, and learned; only the turns of such actors are examined, so other
programs pay nothing. What would make leaving turns out wrong (`settle`) is looked for in every execution, and learned, too.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from greenlet import getcurrent

from simharness.engine.actors import SHIFT, Actor
from simharness.engine.budget import STEPS
from simharness.engine.kinds import Role
from simharness.engine.looks import LockInTurn, LockSeen, Polls, PollsInTime, TimeMatters, UnseenChange
from simharness.engine.obstacles import Obstacle, of_steps
from simharness.engine.operations import CHECKED, ENDING, Operation
from simharness.engine.phases import RUNNING
from simharness.engine.turns import Proof, Turns, takes_lock
from simharness.places import Place, place_of

if TYPE_CHECKING:
    from simharness.engine.kernel import Kernel  # a part of the kernel; a circle of types only

LONG = 24
"""After so many steps, and so many more, an execution is searched for actors that repeat themselves."""
REHEARSED = 10
"""How many times `max_steps` set-up may take that is done once: it costs time, but no ordering."""
REPEATED = 3
"""How often an actor makes the same steps, without writing anything, before it is suspected."""
OFTEN = 8
"""How often, if all that it does is to take and give back locks: under a lock it may do what is no step."""
WINDOW = 200


class Polling:
    """The part of a kernel that deals with polling.

    Attributes:
        looked_for: whether long executions are searched; not in the search that serves as an oracle, nor in replays.
        prove: makes what examines byte code; without it no turn counts.
        periods: the sum of the periods of the timed loops in which actors of this execution waited.
        obstacles: by the names of its actors, what keeps their loops from being seen as waiting, if this execution was ended in them.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.open(kernel)
        self._known = kernel.learned.of(Polls)
        self._turns: dict[Actor, Turns | None] = {}
        self.looked_for = False
        self.prove: Callable[[], Proof] | None = None
        self.periods = 0
        self.obstacles: dict[str, Obstacle] = {}
        self._in_time = False

    def open(self, kernel: Kernel) -> None:
        """Serve a kernel."""
        self._kernel = kernel

    def close(self) -> None:
        """Release the kernel, which refers back, when the exploration is over."""
        del self._kernel

    def look_for(self, looked_for: bool) -> None:
        """From now on, search long executions for actors that poll, or do not."""
        self.looked_for = looked_for

    def prove_with(self, prove: Callable[[], Proof]) -> None:
        """Let this make what examines byte code."""
        self.prove = prove

    def begin(self) -> bool:
        """An execution begins; return whether the steps of actors come here."""
        self.periods = 0
        self.obstacles.clear()
        self._in_time = PollsInTime() in self._kernel.learned
        if self._turns:
            self._turns.clear()
        return bool(self._known) and self.prove is not None

    @property
    def first_search(self) -> int:
        """The number of steps after which an execution is searched for the first time."""
        return min(self._stride, self._kernel.max_steps)

    @property
    def _stride(self) -> int:
        """After how many steps to look at an execution next."""
        return LONG if self.looked_for else STEPS if self._kernel.budget.until is not None else self._kernel.max_steps

    def turn(self, actor: Actor) -> int:
        """Make an actor's pending step, perhaps after waiting."""
        turns = self._of(actor)
        return self._kernel.loop.turn(actor) if turns is None else turns.step()

    def _of(self, actor: Actor) -> Turns | None:
        """Return the turns of an actor that is examined."""
        if actor in self._turns:
            return self._turns[actor]
        turns = None
        plain = actor.host is actor and actor.absorbs is None and not self._interrupted(actor)
        if self.prove is not None and plain and actor.name in self._known and UnseenChange(actor.name) not in self._kernel.learned:
            turns = Turns(self._kernel, actor, self.prove())
        self._turns[actor] = turns
        return turns

    def _interrupted(self, actor: Actor) -> bool:
        """Whether a handler can strike an actor, so that each of its points is a choice."""
        handlers = self._kernel.handlers
        return handlers is not None and handlers.strike(actor)

    def started(self, actor: Actor) -> None:
        """An actor begins its work."""
        if self._kernel.phase == RUNNING:
            turns = self._of(actor)
            if turns is not None:
                turns.begin()

    def ended(self, actor: Actor) -> None:
        """An actor has ended."""
        turns = self._turns.get(actor)
        if turns is not None:
            turns.end()

    def pause(self, actor: Actor | None) -> None:
        """Another actor is run, up to its first step, in the middle of this one's code."""
        turns = self._turns.get(actor) if actor is not None else None
        if turns is not None:
            turns.pause()

    # Suspicion

    def too_long(self) -> bool:
        """Search an execution that has become long; return whether it has to end here."""
        kernel = self._kernel
        most = kernel.max_steps * (REHEARSED if kernel.rehearsed else 1)
        if kernel.record.n >= most:
            kernel.cut = True
            self._explain()
            return True
        if kernel.budget.over:
            self._explain()
            kernel.budget.check()
        kernel.patience = min(kernel.patience + self._stride, most)
        for actor in list(kernel.cast.actors.values()):
            if self.looked_for and actor.name not in self._known and not self._interrupted(actor) and self._repeats(actor):
                kernel.learned.learn(Polls(actor.name))
                kernel.abandoned = True
        return kernel.abandoned

    def _explain(self) -> None:
        """Note what keeps the loops of this execution, which ends here, from being seen as waiting."""
        record = self._kernel.record
        moved = Counter(key >> SHIFT for key in record.keys[-WINDOW:])
        for actor in self._kernel.cast.live if self.looked_for else ():
            if moved[actor.index] < REPEATED:
                continue
            turns = self._turns.get(actor)
            found = of_steps(actor, record) if turns is None else turns.obstacle()
            if turns is None and UnseenChange(actor.name) in self._kernel.learned:
                found = Obstacle("memory that it reads is written in a module that is not instrumented", None)
            if found is not None:
                self.obstacles[actor.name] = found if found.place is not None else Obstacle(found.words, _place_of(actor))

    def _repeats(self, actor: Actor) -> bool:
        """Whether an actor has made the same few steps several times, without writing anything."""
        record = self._kernel.record
        made: list[tuple[object, int, int]] = []
        only_locks = True
        for m in range(record.n - 1, max(-1, record.n - WINDOW), -1):
            if record.keys[m] >> SHIFT != actor.index:
                continue
            operation, reads = record.operations[m], record.reads[m]
            written = record.writes[m] & ~(actor.mark | CHECKED | ENDING)
            locks = takes_lock(operation, written)
            if (written and not locks) or operation.kind.role is Role.READS_CLOCK:
                return False
            only_locks = only_locks and locks
            made.append((operation.kind, reads, written))
            for length in range(1, len(made) // REPEATED + 1):
                times = len(made) // length
                if times >= (OFTEN if only_locks else REPEATED) and made == made[:length] * times + made[: len(made) - times * length]:
                    return True
        return False

    # What others can notice

    def settle(self) -> None:
        """An execution is over and its races are known: learn what makes leaving turns out wrong."""
        kernel = self._kernel
        learned = kernel.learned
        if not self._known:
            return
        self._turns.clear()
        if self._in_time and TimeMatters() not in learned and self._time_matters():
            learned.learn(TimeMatters())
        seen = learned.of(LockSeen)
        for lock in learned.of(LockInTurn):
            if lock not in seen and self._is_seen(kernel.names.bit(lock)):
                learned.learn(LockSeen(lock))

    def _time_matters(self) -> bool:
        """Whether anybody reads a clock, or actors could not be late although they could be if loops had taken their turns."""
        kernel = self._kernel
        clock = kernel.clock
        refused = clock.refused
        if clock.asked or any(operation.kind.role is Role.READS_CLOCK for operation in kernel.record.operations):
            return True
        return clock.max_delay > 0 and refused is not None and refused < clock.max_delay + self.periods

    def _is_seen(self, bit: int) -> bool:
        """Whether a step of this execution depends on whether a lock is held, without waiting for it."""
        kernel = self._kernel
        if kernel.learned.checked & bit:
            return True
        waiting = (actor.pending for actor in kernel.cast.actors.values() if actor.pending is not None)
        return any(_sees(operation, bit) for operation in (*kernel.record.operations, *waiting))


def _place_of(actor: Actor) -> Place | None:
    """Return the user's line at which an actor stands, also if it is the one that runs."""
    return actor.place() or (place_of(sys._getframe(1)) if actor.greenlet is getcurrent() else None)


def _sees(operation: Operation, bit: int) -> bool:
    if operation.writes_when is not None and operation.resource is not None and operation.resource.bit & bit:
        return True
    return operation.kind.name == "locked" and bool(operation.reads & bit)
