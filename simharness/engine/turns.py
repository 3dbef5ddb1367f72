"""The turns of one actor's loop: which of them changed nothing, so that the actor waits instead of taking another.

A turn leads from a step back to the same step. It counts if its byte code is proved harmless (`Proof`), if the actor's local state is the
same again, and if its steps wrote nothing but locks that they took and gave back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import CodeType, FrameType, FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from simharness.engine.actors import Actor
from simharness.engine.kinds import Role
from simharness.engine.looks import LockInTurn, LockSeen, PollsInTime, TimeMatters, UnseenChange, Writes, awaiting
from simharness.engine.obstacles import Obstacle
from simharness.engine.operations import CHECKED, CLOCK, ENDING, TIME, Operation
from simharness.engine.record import VERSIONED
from simharness.places import is_ours, place_of

if TYPE_CHECKING:
    from simharness.engine.kernel import Kernel  # turns are a part of the kernel; a circle of types only

PATIENCE = 600
"""Own steps without a turn that counts, after which an actor's turns are no longer examined in an execution."""
ATOMS = frozenset({int, str, float, bytes, bool, type(None), complex})
_TAKES = {Role.OPENS: 1, Role.CLOSES: -1}


class Proof(Protocol):
    """What examines the byte code that an actor runs between its steps."""

    def start(self, frame: FrameType) -> None:
        """Examine what the frame, and those that called it, do from here on."""

    def on_harm(self, release: Callable[[], None]) -> None:
        """Have this called when the code may have changed something, and when the outermost function ends."""

    def stop(self) -> None:
        """Stop examining, until the next start."""

    def segment(self) -> Segment:
        """Return what has been seen since the last call of this method."""

    def below(self, code: CodeType, offset: int) -> Sequence[bool]:
        """For each value on the stack below the operands of an instruction, return whether it is the same whenever that is reached."""

    def forget(self) -> None:
        """Release the frames."""


class Segment(NamedTuple):
    """What was seen of the code between two steps.

    Attributes:
        number: how many segments there have been, with this one.
        harmless: it can only have changed local variables.
        since: a turn that begins after a later segment than this one advances an iterator that is older than the turn.
        lowest: for each frame, the least number of values on its stack.
        unseen: what was read without a step, and whether it is still the same.
        harm: what it does that may change something, if that is known.
    """

    number: int
    harmless: bool
    since: int | None
    lowest: Mapping[FrameType, int]
    unseen: Sequence[Callable[[], bool]]
    harm: Obstacle | None = None


class _Visit(NamedTuple):
    """An actor's step, before it is made: where its code stands, and what its local state is; and whether a turn can begin there."""

    key: tuple[object, ...]
    frames: Sequence[FrameType]
    states: Sequence[Mapping[str, Any]]
    arguments: Sequence[Any]
    position: int
    duration: int
    segment: Segment
    starts: bool = True


class _Turn(NamedTuple):
    """A turn that counts.

    Attributes:
        reads: what its steps read, with the first step that read each.
        period: how long it takes.
        sleep: the step that takes this time, if that is its last one; otherwise it is its first one.
        ended: the number of the segment that ended it.
    """

    reads: Mapping[int, int]
    period: int
    sleep: Operation | None
    ended: int


class Turns:
    """The turns of one actor in one execution."""

    def __init__(self, kernel: Kernel, actor: Actor, proof: Proof) -> None:
        self._kernel = kernel
        self._actor = actor
        self._proof = proof
        self._visits: list[_Visit] = []
        proof.on_harm(self._visits.clear)  # at once: nothing may live longer than in the program
        self._idle = 0
        self._unseen: Sequence[Callable[[], bool]] = ()
        self._harm: Obstacle | None = None

    def step(self) -> int:
        """Make the actor's pending step; before it an `await`, if the turn that ends here counts."""
        kernel, actor = self._kernel, self._actor
        self._proof.stop()
        ended = self._ended_turn()
        if ended is not None:
            self._wait(ended)
        result = kernel.loop.turn(actor)
        if kernel.actor is not actor:
            self._visits.clear()  # the task that moves now shares the actor's thread
            return result
        if self._visits:
            self._visits[-1] = self._visits[-1]._replace(position=kernel.record.n - 1)
        if self._idle <= PATIENCE - 1:
            self._proof.start(sys._getframe(1))
        return result

    def begin(self) -> None:
        """The actor begins its work."""
        self._proof.segment()
        self._proof.start(sys._getframe(1))

    def pause(self) -> None:
        """Other code runs in the middle of the actor's: what follows until its next step is not examined."""
        self._proof.stop()

    def end(self) -> None:
        """The actor has ended."""
        self._idle = PATIENCE
        self._proof.stop()
        self._proof.forget()

    # Finding a turn

    def _ended_turn(self) -> _Turn | None:
        """Note the step about to be made; return the turn that it ends, if that counts."""
        self._idle += 1
        segment = self._proof.segment()
        if self._idle == PATIENCE:
            self._harm = self.obstacle()
        elif self._idle < PATIENCE:
            self._harm = segment.harm or self._harm
        if not segment.harmless or self._idle > PATIENCE:
            self._visits.clear()
        elif segment.since is not None:
            since = segment.since
            self._visits[:] = [visit._replace(starts=visit.starts and visit.segment.number <= since) for visit in self._visits]
        now = self._visit(segment)
        if now is None:
            self._visits.clear()
            return None
        self._visits.append(now)
        for position in range(len(self._visits) - 2, -1, -1):
            before = self._visits[position]
            if before.starts and before.key == now.key and self._same_state(before, now, self._visits[position + 1 :]):
                counts = self._counts(self._visits[position:-1])
                if counts is not None:
                    self._unseen = [look for visit in self._visits[position:] for look in visit.segment.unseen]
                return counts
        return None

    def obstacle(self) -> Obstacle | None:
        """Return what keeps the actor's last turn from counting, where that is known."""
        now = self._visits[-1] if self._visits else None
        same = [] if now is None else [number for number, visit in enumerate(self._visits[:-1]) if visit.key == now.key]
        if now is None or not same:
            return self._harm
        before, since = self._visits[same[-1]], self._visits[same[-1] : -1]
        for frame, state, again in zip(now.frames, before.states, now.states, strict=False):
            changed = [name for name in again if name not in state or not _same(state[name], again[name])]
            if changed:
                return Obstacle(f"its variable {changed[0]} changes", place_of(frame))
        if not before.starts:
            return Obstacle("it advances an iterator that is older than the turn", place_of(now.frames[0]))
        learned, record = self._kernel.learned, self._kernel.record
        made = [record.operations[visit.position] for visit in since if visit.position < record.n]
        if any(visit.duration for visit in since) and TimeMatters() in learned:
            return Obstacle("it takes time, and something depends on exact times", place_of(now.frames[0]))
        seen = [operation.resource.name for operation in made if operation.resource is not None and operation.resource.lock]
        if seen and self._harm is None:
            return Obstacle(f"it looks while it holds {seen[0]}, or others can see that it does", place_of(now.frames[0]))
        return self._harm

    def _visit(self, segment: Segment) -> _Visit | None:
        kernel, operation = self._kernel, self._actor.pending
        assert operation is not None
        if operation.options > 1 or operation.faults or operation.due is not None or operation.kind.role in (Role.LOGS, Role.ASSUMES):
            return None
        frames: list[FrameType] = []
        arguments: list[Any] = []
        ours: FrameType | None = None
        frame: FrameType | None = sys._getframe(3)
        while frame is not None:
            if is_ours(frame.f_code.co_filename):
                ours = frame
            else:
                if ours is not None:
                    arguments += _arguments_of(ours)
                    ours = None
                frames.append(frame)
            frame = frame.f_back
        deadline = self._actor.deadline
        duration = max(0, deadline - kernel.clock.now) if deadline is not None else 0
        bits = operation.resource.bit if operation.resource is not None else 0
        places = tuple((id(frame.f_code), frame.f_lasti) for frame in frames)
        key = (operation.kind, bits | operation.reads, operation.writes, duration, places)
        states = [dict(frame.f_locals) if frame.f_locals is not frame.f_globals else {} for frame in frames]
        return _Visit(key, frames, states, arguments, kernel.record.n, duration, segment)

    def _same_state(self, before: _Visit, now: _Visit, since: Sequence[_Visit]) -> bool:
        """Whether the actor's local state is the same at two visits of one step."""
        if not all(map(_same, before.arguments, now.arguments)) or len(before.arguments) != len(now.arguments):
            return False
        for then, frame, state, again in zip(before.frames, now.frames, before.states, now.states, strict=True):
            if state.keys() != again.keys() or not all(_same(value, again[name]) for name, value in state.items()):
                return False
            below = self._proof.below(frame.f_code, frame.f_lasti)
            lowest = min((visit.segment.lowest[frame] for visit in since if frame in visit.segment.lowest), default=len(below))
            if not all(below[lowest if then is frame else 0 :]) and not (_rebuilt(before, then, lowest) and _rebuilt(now, frame, lowest)):
                return False
        return True

    def _counts(self, visits: Sequence[_Visit]) -> _Turn | None:
        """Return the turn that consists of the steps at these visits; None if it does not count."""
        kernel = self._kernel
        record, actor = kernel.record, self._actor
        reads: dict[int, int] = {}
        taken: dict[int, int] = {}
        period = 0
        sleep: Operation | None = None
        for number, visit in enumerate(visits):
            m = visit.position
            operation = record.operations[m]
            touched = record.reads[m] & ~(actor.base | CLOCK | ENDING | TIME)  # that time passes ends no wait
            written = record.writes[m] & ~(actor.mark | CHECKED | ENDING)
            if operation.kind.role is Role.READS_CLOCK:
                return None
            if written:
                if not self._takes(operation, written):
                    return None
                taken[written] = taken.get(written, 0) + _TAKES[operation.kind.role]
                if taken[written] < 0:
                    return None
                touched |= written
            if visit.duration and _time_was_over(operation, m):
                # Time must not pass between two looks of one turn, as others could write there: only before the first or after the last.
                if number:
                    if number < len(visits) - 1 or operation.kind.role is not Role.SLEEPS or period:
                        return None
                    sleep = operation
                period = visit.duration
            while touched:
                bit = touched & -touched
                touched ^= bit
                reads.setdefault(bit, m)
        if any(taken.values()) or not reads or (period and not self._time_may_pass()):
            return None
        return _Turn(reads, period, sleep, self._visits[-1].segment.number)

    def _takes(self, operation: Operation, written: int) -> bool:
        """Whether a step takes or gives back a lock, and nobody can see without waiting whether that is held."""
        learned = self._kernel.learned
        if not takes_lock(operation, written):
            return False
        lock = self._kernel.names.of(written)[0]
        if lock in learned.of(LockSeen):
            return False
        if lock not in learned.of(LockInTurn):
            learned.learn(LockInTurn(lock))
            return False
        return True

    def _time_may_pass(self) -> bool:
        """Whether turns that take time can be left out."""
        kernel = self._kernel
        if TimeMatters() in kernel.learned or kernel.clock.timescales or kernel.fair or kernel.movers.may_stall:
            return False
        if PollsInTime() not in kernel.learned:
            kernel.learned.learn(PollsInTime())
            return False
        return True

    # Waiting

    def _wait(self, turn: _Turn) -> None:
        """Make a step `await`. The actor then stands where it would if it had taken the turns that are left out."""
        kernel, actor = self._kernel, self._actor
        operation, deadline, now = actor.pending, actor.deadline, kernel.clock.now
        resource = Writes(kernel, actor.index, turn.reads, self._named(turn.reads), self._look)
        period = turn.period
        kernel.context.setdefault(VERSIONED, "the byte code of a loop")
        kernel.polling.periods += period
        self._visits.clear()
        actor.pending, actor.deadline = awaiting(resource, deadline is not None or period > 0), None
        kernel.loop.turn(actor)
        # With time between its looks, an actor looks at instants a period apart, whatever others do.
        waited = kernel.clock.now - now
        if turn.sleep is not None:
            if waited % period:
                actor.pending, actor.deadline = turn.sleep, kernel.clock.now + period - waited % period
                kernel.loop.turn(actor)
            waited, period = kernel.clock.now - now, 0
        if deadline is not None:
            deadline += -(-max(0, waited - period) // period) * period if period else waited
        actor.pending, actor.deadline = operation, deadline
        self._unseen = ()
        self._idle = 0
        now_here = self._visit(Segment(turn.ended, True, None, {}, ()))
        if now_here is not None:
            self._visits.append(now_here)

    def _look(self) -> None:
        """Learn that memory which the turn read without a step has changed, if it has."""
        if not all(same() for same in self._unseen):
            self._kernel.learned.learn(UnseenChange(self._actor.name))

    def _named(self, reads: Mapping[int, int]) -> str:
        """Return the names of what was read."""
        operations = [self._kernel.record.operations[step] for step in sorted(set(reads.values()))]
        objects = [operation.detail if operation.resource is None else operation.resource.name for operation in operations]
        return " or ".join(dict.fromkeys(objects))


def takes_lock(operation: Operation, written: int) -> bool:
    """Whether a step that writes this takes a lock, or gives one back, and nothing else."""
    resource = operation.resource
    return resource is not None and resource.lock and written == resource.bit and operation.kind.role in _TAKES


def _rebuilt(visit: _Visit, frame: FrameType, lowest: int) -> bool:
    """Whether all that lies on the stack at a visit was computed since the step before, so from the local state alone."""
    return visit.segment.harmless and visit.segment.lowest.get(frame, lowest + 1) <= lowest


def _time_was_over(operation: Operation, step: int) -> bool:
    """Whether a step was made because its time was over, and not because its resource allowed it."""
    resource = operation.resource
    return operation.enabled is not None and resource is not None and not operation.enabled(resource.state_in((1 << step) - 1))


def _arguments_of(frame: FrameType) -> Iterator[Any]:
    """Yield what a function of ours was called with; a stand-in for an object counts as that object."""
    code = frame.f_code
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    for name in names:
        value = frame.f_locals.get(name)
        yield getattr(value, "owner", value) if is_ours(getattr(sys.modules.get(type(value).__module__), "__file__", "") or "") else value


def _same(value: Any, again: Any) -> bool:
    """Whether two values cannot be told apart."""
    kind = type(value)
    if value is again:
        return True
    if kind is not type(again):
        return False
    if kind in ATOMS:
        return bool(value == again)
    if kind is FunctionType:
        cells = zip(value.__closure__ or (), again.__closure__ or (), strict=False)
        return value.__code__ is again.__code__ and value.__defaults__ is again.__defaults__ and all(one is other for one, other in cells)
    return kind is tuple and len(value) == len(again) and all(map(_same, value, again))
