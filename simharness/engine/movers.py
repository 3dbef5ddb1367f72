"""The movers that are not actors: the clock, and the faults that the fault model allows.

The clock moves to an instant at which an actor can move that cannot move now. A crash of a process, and its stall until an instant, are
possible whenever the budget allows them and the process has not ended; they never have to be taken. If no actor can move, `nothing
strikes` is possible beside them, so that an execution that leaves actors stuck also ends by a choice. Faults that strike at an operation
(`Operation.faults`) are alternatives of it; alternative 0 is no fault. A fault that other actors can disable, such as the cancellation of a
task, is the step of a *striker*: that of an actor, except that it never has to happen.

Conflicts: all faults with each other (they share budgets); a crash with every step of its process, and with what depends on the database
locks that the process holds, as it frees them; a stall with everything, as the pending instants depend on everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from simharness.engine.actors import ALTERNATIVES, SHIFT, Actor
from simharness.engine.advances import EVERYTHING, Seen, TimeSeenByAll, footprint, wait_of
from simharness.engine.cast import Cast
from simharness.engine.clock import CLOCK_STEPS, EPOCH, Clock, nanoseconds
from simharness.engine.facts import Learned
from simharness.engine.faults import Faults
from simharness.engine.kinds import Family, Kind, Role
from simharness.engine.looks import PollsInTime
from simharness.engine.operations import CLOCK, ENDING, TIME, Names, Operation, Resource, State
from simharness.engine.record import Record

NOTHING = "nothing strikes"
CRASH = "crash"
CANCEL = "cancel"
STALLS = ("stall", "suspend")
ADVANCE = Kind(CLOCK_STEPS, "advance", Role.MOVES_CLOCK)
_FAULT = Family("fault")
STRIKES = {
    CRASH: Kind(_FAULT, "crash", Role.STRIKES, done="{detail} crashes"),
    "stall": Kind(_FAULT, "stall", Role.STRIKES, done="{detail}: stalled"),
    "suspend": Kind(_FAULT, "suspend", Role.STRIKES, done="{detail}: suspended"),
    CANCEL: Kind(_FAULT, "cancel", Role.STRIKES, done="{detail} is cancelled"),
    NOTHING: Kind(_FAULT, "nothing", Role.STRIKES, done="nothing more strikes"),
}
"""For each fault that is a mover, the kind of its steps."""


def _now(lock: Resource) -> State:
    return lock.state


class Movers:
    """The clock and the faults of a kernel; `model` is None where no faults are allowed.

    Attributes:
        clock_key: the choice that the clock moves.
        nothing_key: the choice that nothing strikes.
        faults: by index, the (kind, process) of each fault that is a mover.
        fault_bit, wall_bit: masks of what every fault, and a jump of the wall clock, write.
        peaceful: how many of the last offered choices are not faults; they come first.
        offered: the faults that were offered beside `nothing strikes`.
        exchange: called with the process that moves, if each has memory of its own; returns which one did until then.
        when_crashed, when_suspended: called with the process (and for how long) after such a fault.
        when_advanced: called after the clock has moved, as an effect of its step.
    """

    def __init__(self, model: Faults | None, names: Names, clock: Clock, learned: Learned) -> None:
        self.model = model
        self.clock = clock
        self._names = names
        self._learned = learned
        self.clock_key = names.index("clock") << SHIFT
        self.faults: dict[int, tuple[str, str]] = {}
        self.fault_bit = names.bit("faults")
        self.wall_bit = names.bit("wall clock")
        self.nothing_key = self.fault_key(NOTHING, "")
        self.may_stall = model is not None and any(model.limit(kind) for kind in STALLS)
        self.may_crash = model is not None and model.limit(CRASH) > 0
        self.begin(Record(), Cast())

    def begin(self, record: Record, cast: Cast) -> None:
        """Begin an execution with this record and these actors."""
        self._record = record
        self._cast = cast
        self._behind: dict[str, int] = {}
        self._may_be_held: dict[str, list[tuple[Resource | None, str, int]]] = {}
        self.peaceful = 0
        self.offered: list[int] = []
        self.exchange: Callable[[str], str] | None = None
        self.when_crashed: list[Callable[[str], None]] = []
        self.when_advanced: list[Callable[[], None]] = []
        self.when_suspended: list[Callable[[str, int], None]] = []
        self.seen = Seen(self._learned, record, cast)
        self.clock.reset()

    def exchange_with(self, exchange: Callable[[str], str] | None) -> None:
        """Have this function called whenever another process moves."""
        self.exchange = exchange

    # The clock

    @property
    def narrow(self) -> bool:
        """Whether advances of the clock conflict only with what depends on the time, wherever actors may be late for them."""
        if self.model is not None or self.clock.timescales or self.seen.by_all:
            return False
        return not self._learned.of(TimeSeenByAll)

    def lateness_after(self) -> int:
        """Return the lateness of the execution after an advance that is possible now."""
        idle = self._cast.idle(self.clock.now)
        target = self.next_instant(idle)
        return self.clock.lateness if idle or target is None else self.clock.lateness + target - self.clock.now

    def next_instant(self, idle: bool) -> int | None:
        """Return the instant to which the clock may move now, or None; `idle`: no actor can move."""
        return self.clock.target(self.deadlines(), idle, self._readings())

    def instants(self) -> list[int]:
        """Return the instants that are pending, the earliest first; alternative k of a stall lasts until the k-th of them."""
        return self.clock.instants(self.deadlines(), self._readings())

    def _readings(self) -> Sequence[int]:
        """Return what was read from the clock, where something may expire that long after it."""
        return self._record.readings() if self.clock.timescales else ()

    def deadlines(self) -> list[int]:
        """Return the times from which actors that cannot move now can; for actors of a stalled process, when the stall ends."""
        now, deadlines = self.clock.now, []
        for actor in self._cast.live:
            if now < actor.wakes:
                deadlines.append(actor.wakes)
            elif actor.deadline is not None and not actor.ready(now):
                deadlines.append(actor.deadline)
        return deadlines

    def clock_may_move(self, now: int, lateness: int) -> bool:
        """Whether the execution has an instant that the clock, in this state, can reach past actors that could move."""
        if self.may_stall or self.clock.timescales:
            return True
        actors = self._cast.actors.values()
        waiting = (actor.pending for actor in actors if actor.pending is not None)
        if any(operation.due is not None for operation in (*self._record.operations, *waiting)):
            return True  # its deadlines depend on states, and other actors may have postponed them
        latest = now + self.clock.max_delay - lateness
        coming = [
            deadline
            for deadline in (*self._record.deadlines, *(actor.deadline for actor in actors))
            if deadline is not None and now < deadline
        ]
        return bool(coming) and (min(coming) < latest or PollsInTime() in self._learned)  # what is refused matters there

    def wall(self) -> int:
        """Return the wall clock, in nanoseconds since 1970."""
        return EPOCH + self.clock.now + sum(size for _, size in self._record.jumps)

    def behind(self, process: str) -> int:
        """Return how long the monotonic clock of a process has stood still, in nanoseconds."""
        return self._behind.get(process, 0)

    def jump(self, alternative: int) -> None:
        """Make the wall clock jump, as an effect of the last step, which reads it: forwards (1) or backwards (2)."""
        assert self.model is not None
        size = nanoseconds(self.model.jump)
        self._record.jumps.append((self._record.n - 1, size if alternative == 1 else -size))
        self._record.note(f"the wall clock has jumped {'forwards' if alternative == 1 else 'backwards'} by {self.model.jump:g} s")

    # What can strike

    def process_bit(self, process: str) -> int:
        """Return the mask of what every step of a process reads and its crash writes; 0 if there are no crashes."""
        return self._names.bit(f"process {process}") if self.may_crash else 0

    def may_hold(self, process: str, lock: Resource | None, holder: str, mask: int) -> None:
        """Declare what a crash of this process writes while this holder has the lock; without a lock, always."""
        self._may_be_held.setdefault(process, []).append((lock, holder, mask))

    def may_strike(self, kind: str, configuration: int = -1) -> bool:
        """Whether the budget allows one more fault of this kind after the steps whose indices are set in the mask."""
        left = 0 if self.model is None else self.model.limit(kind)
        for step, struck in self._record.struck:
            if struck == kind and configuration >> step & 1:
                left -= 1
        return left > 0

    def fault_key(self, kind: str, process: str) -> int:
        """Return the key of a fault that is a mover."""
        index = self._names.index(f"{kind} of {process}" if process else kind)
        self.faults[index] = kind, process
        return index << SHIFT

    def kind_of(self, key: int) -> str | None:
        """Return the kind of fault of a mover's key; None for actors and for the clock."""
        fault = self.faults.get(key >> SHIFT)
        return fault[0] if fault is not None else None

    def is_fault(self, key: int) -> bool:
        """Whether a key is that of a fault that is a mover, or of `nothing strikes`."""
        return key >> SHIFT in self.faults

    def add_striker(self, kind: str, what: str, striker: Actor) -> None:
        """Have an actor make the step of a fault that strikes this, where its operation and the budgets allow it."""
        striker.key = self.fault_key(kind, what)
        striker.index = striker.key >> SHIFT
        self._cast.strikers[striker.index] = striker

    def has_struck(self, kind: str) -> None:
        """Count the fault that the last step was, a striker's."""
        self._record.struck.append((self._record.n - 1, kind))

    def may_stay_out(self, key: int) -> bool:
        """Whether a step never has to happen: a fault; or a late advance, as the clock moves for free when no actor can."""
        return key == self.clock_key or key >> SHIFT in self.faults

    def strikes(self, key: int) -> str | None:
        """Return the kind of fault that strikes with a choice that is possible now; None if none does."""
        actor = self._cast.actors.get(key >> SHIFT)
        if actor is None:
            kind = self.kind_of(key)
            return None if kind == NOTHING else kind
        operation = actor.pending
        return operation.faults[(key & ALTERNATIVES) - 1] if operation is not None and operation.faults and key & ALTERNATIVES else None

    def footprint(self, key: int) -> tuple[int, int]:
        """Return (reads, writes) of a choice that is possible now."""
        actor, kind = self._cast.actors.get(key >> SHIFT), self.strikes(key)
        striker = self._cast.strikers.get(key >> SHIFT)
        if striker is not None:
            return striker.footprint(self._learned.checked)
        if actor is not None:
            reads, writes = actor.footprint(self._learned.checked)
            if actor.in_time(self.clock.now):
                reads |= TIME
            return reads, writes | self.writes_of(kind) if kind else writes
        if kind == CRASH:
            return self.crash_footprint(self.faults[key >> SHIFT][1])
        if key == self.clock_key:
            target = self.next_instant(self._cast.idle(self.clock.now))
            return EVERYTHING if target is None else self._of_advance(target)
        return 0, CLOCK | self.fault_bit if kind else CLOCK

    def _of_advance(self, target: int) -> tuple[int, int]:
        """Return (reads, writes) of an advance to this instant."""
        now = self.clock.now
        if not self.narrow or not self.clock.may_be_late(target):
            return EVERYTHING
        waits = [
            wait_of(actor, actor.pending, actor.deadline)
            for actor in self._cast.live
            if actor.deadline is not None and actor.pending is not None and actor.deadline > now
        ]
        return footprint(waits, now, target, self._learned)

    def writes_of(self, kind: str) -> int:
        """Return the mask of what a fault of this kind adds to the writes of the operation at which it strikes."""
        return self.fault_bit | (self.wall_bit if kind == "clock_jump" else 0)

    def crash_footprint(self, process: str, state: Callable[[Resource], State] = _now) -> tuple[int, int]:
        """Return (reads, writes) of a crash of this process, with locks in these states."""
        writes = self.fault_bit | self.process_bit(process) | (ENDING if self._learned.daemons else 0)
        for lock, holder, mask in self._may_be_held.get(process, ()):
            if lock is None or state(lock) == holder:
                writes |= mask
        return CLOCK, writes

    def footprint_without(self, i: int, j: int, before: Sequence[int]) -> tuple[int, int]:
        """Return the footprint that the fault at step j has without step i and what happens after that."""
        kind, process = self.faults[self._record.keys[j] >> SHIFT]
        if kind != CRASH:
            return self._record.reads[j], self._record.writes[j]
        return self.crash_footprint(process, lambda lock: lock.state_without(i, before, j))

    def crash_key(self, process: str) -> int | None:
        """Return the key of the crash of this process; None if it cannot crash."""
        if self.model is None or not self.may_crash or not self.model.concerns(CRASH, process):
            return None
        return self.fault_key(CRASH, process)

    def _crash_keys(self) -> list[int]:
        """Return the crashes that the fault model allows, apart from budgets, of processes that have not ended."""
        keys = map(self.crash_key, dict.fromkeys(actor.process for actor in self._cast.live))
        return [key for key in keys if key is not None]

    def with_faults(self, keys: list[int]) -> list[int]:
        """Return these choices, which are not faults, followed by the faults that can strike now."""
        self.peaceful = len(keys)
        if not keys:
            return self._at_the_end()
        now = self.clock.now
        possible: dict[str, bool] = {}
        for actor in self._cast.live:
            operation = actor.pending
            if operation is not None and operation.faults and actor.ready(now):
                for k, kind in enumerate(operation.faults, 1):
                    if kind not in possible:
                        possible[kind] = self.may_strike(kind)
                    if possible[kind]:
                        keys.append(actor.key + k)
        if self.may_crash and self.may_strike(CRASH):
            keys += self._crash_keys()
        keys += self._striker_keys()
        keys += self._stall_keys()
        return keys

    def _at_the_end(self) -> list[int]:
        """Return the choices when no actor can move: the faults that may set one free, if any, and `nothing strikes`."""
        stuck, record = self._cast.stuck, self._record
        if not stuck or (record.n and record.keys[-1] == self.nothing_key):
            return []
        if any(actor.pending is not None and actor.pending.kind.role is Role.ASSUMES for actor in (*stuck, *self._cast.dead)):
            return []
        faults = [*(self._crash_keys() if self.may_strike(CRASH) else ()), *self._striker_keys()]
        self.peaceful = 1 if faults else 0
        self.offered = faults
        return [self.nothing_key, *faults] if faults else []

    def _striker_keys(self) -> list[int]:
        """Return the faults that are possible now and whose steps actors make."""
        now = self.clock.now
        ready = [index for index, striker in self._cast.strikers.items() if not striker.finished and striker.ready(now)]
        return [index << SHIFT for index in ready if self.may_strike(self.faults[index][0])]

    def _stall_keys(self) -> list[int]:
        if not self.may_stall or not any(self.may_strike(kind) for kind in STALLS):
            return []
        ready = dict.fromkeys(actor.process for actor in self._cast.live if actor.ready(self.clock.now))
        keys = self.stalls(ready, self.instants(), self.clock.now, self.clock.lateness)
        return [key for key in keys if self.may_strike(self.faults[key >> SHIFT][0])]

    def stalls(self, processes: Iterable[str], instants: list[int], now: int, lateness: int) -> list[int]:
        """Return the stalls of these processes until those of these instants that lateness alone does not allow.

        An actor of each process could move: otherwise a stall makes no difference until one can.
        """
        model = self.model
        assert model is not None
        keys = []
        for kind in STALLS:
            if model.limit(kind):
                late = [k for k, instant in enumerate(instants) if lateness + instant - now >= self.clock.max_delay]
                keys += [self.fault_key(kind, process) + k for process in processes if model.concerns(kind, process) for k in late]
        return keys

    # What happens when one moves

    def move(self, key: int) -> str | None:
        """Record a choice that is not an actor's, and move the clock or stall a process; return the process that crashes, if one does."""
        if key == self.clock_key:
            self._advance()
            return None
        kind, process = self.faults[key >> SHIFT]
        if kind == NOTHING:
            self._record.append(key, 0, CLOCK, Operation(STRIKES[NOTHING]), self.clock.now)
            self._record.advances.append((self.clock.now, self.clock.lateness))
        elif kind == CRASH:
            self._record.struck.append((self._record.n, kind))
            self._record.append(key, *self.crash_footprint(process), Operation(STRIKES[CRASH], detail=process), self.clock.now)
            return process
        else:
            self._stall(key, kind, process)
        return None

    def _advance(self) -> None:
        now = self.clock.now
        idle = self._cast.idle(now)
        target = self.next_instant(idle)
        assert target is not None
        reads, writes = self._of_advance(target)
        self._record.append(self.clock_key, reads, writes, Operation(ADVANCE, detail=f"{target}"), now)
        self.clock.advance(target, free=idle)
        self._record.advances.append((target, self.clock.lateness))
        for hook in self.when_advanced:
            hook()

    def _stall(self, key: int, kind: str, process: str) -> None:
        record, now = self._record, self.clock.now
        until = self.instants()[key & ALTERNATIVES]
        length = until - now
        record.struck.append((record.n, kind))
        operation = Operation(STRIKES[kind], detail=f"{process} for {length / 1e9:g} s")
        record.append(key, 0, CLOCK | self.fault_bit, operation, now)
        record.advances.append((now, self.clock.lateness))
        record.stalled.append((record.n - 1, process, until, length if kind == "suspend" else 0, length))
        for actor in self._cast.live:
            if actor.process == process:
                actor.wakes = until
                naps = actor.pending is not None and actor.pending.kind.family.naps
                if actor.deadline is not None and (naps or kind == "suspend"):
                    actor.deadline += length
        if kind == "suspend":
            self._behind[process] = self.behind(process) + length
            for hook in self.when_suspended:
                hook(process, length)

    def strike_at(self, operation: Operation, alternative: int) -> int:
        """Count the fault that strikes at the operation about to be recorded; return the mask of what it writes."""
        if not operation.faults or not alternative:
            return 0
        kind = operation.faults[alternative - 1]
        self._record.struck.append((self._record.n, kind))
        return self.writes_of(kind)
