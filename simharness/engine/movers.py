"""Faults as the kernel sees them: movers of their own, like the clock, and alternatives of operations.

A crash of a process, and its stall until an instant, can be taken whenever the budget allows and the process has not ended; they never
have to be. Where nobody else can move, the mover `nothing strikes` stands beside them, so that an execution which leaves actors stuck
ends by a choice as well. Faults that strike at an operation (`Operation.faults`) are alternatives of it; alternative 0 is that none does.

What conflicts: all faults with each other (they share budgets); a crash with every step of its process and with what depends on the locks
of databases that the process holds, which it frees; a stall with everything, since which instants are pending depends on everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from simharness.engine.actors import ALTERNATIVES, SHIFT, Actor
from simharness.engine.clock import BOOT, CLOCK_STEPS, EPOCH, nanoseconds
from simharness.engine.faults import Faults
from simharness.engine.kinds import Family, Kind, Role
from simharness.engine.operations import CHECKED, CLOCK, ENDING, Operation, Resource, State
from simharness.engine.record import Record
from simharness.errors import Nondeterminism, TokenError

NOTHING = "nothing strikes"
CRASH = "crash"
STALLS = ("stall", "suspend")
ADVANCE = Kind(CLOCK_STEPS, "advance", Role.MOVES_CLOCK)
_FAULT = Family("fault")
STRIKES = {
    CRASH: Kind(_FAULT, "crash", Role.STRIKES, done="{detail} crashes"),
    "stall": Kind(_FAULT, "stall", Role.STRIKES, done="{detail}: stalled"),
    "suspend": Kind(_FAULT, "suspend", Role.STRIKES, done="{detail}: suspended"),
    NOTHING: Kind(_FAULT, "nothing", Role.STRIKES, done="nothing more strikes"),
}
"""For each fault that is a mover, the kind of its steps."""


def _now(lock: Resource) -> State:
    return lock.state


class Striking(Record):
    """The part of the kernel that moves the clock and lets faults strike; `faults` is None where none are allowed."""

    def __init__(self, max_delay: int, faults: Faults | None) -> None:
        self.faults = faults
        super().__init__(max_delay)
        self.fault_movers: dict[int, tuple[str, str]] = {}
        self.fault_bit = self.names.bit("faults")
        self.wall_bit = self.names.bit("wall clock")
        self.nothing_key = self.fault_key(NOTHING, "")
        self.offered: list[int] = []

    # What can strike

    def crashes(self) -> bool:
        """Whether processes may crash."""
        return self.faults is not None and self.faults.limit(CRASH) > 0

    def process_bit(self, process: str) -> int:
        """Return the mask of what every step of a process reads and its crash writes; nothing where there are no crashes."""
        return self.names.bit(f"process {process}") if self.crashes() else 0

    def may_hold(self, process: str, lock: Resource | None, holder: str, mask: int) -> None:
        """Say what a crash of this process writes while the state of a lock is this holder; without a lock, always."""
        self.may_be_held.setdefault(process, []).append((lock, holder, mask))

    def may_strike(self, kind: str, configuration: int = -1) -> bool:
        """Whether the budget allows one more fault of this kind after the steps whose indices are set in the mask."""
        faults = self.faults
        if faults is None:
            return False
        limit = faults.limit(kind)
        return limit > 0 and (not self.struck or sum(configuration >> step & 1 for step, other in self.struck if other == kind) < limit)

    def kind_of(self, key: int) -> str | None:
        """Return the kind of fault of a mover's key; None for actors and for the clock."""
        found = self.fault_movers.get(key >> SHIFT)
        return found[0] if found is not None else None

    def strikes(self, key: int) -> str | None:
        """Return the kind of fault that strikes with a choice that is possible now; None where none does."""
        actor = self.actors.get(key >> SHIFT)
        if actor is None:
            kind = self.kind_of(key)
            return None if kind == NOTHING else kind
        operation = actor.pending
        return operation.faults[(key & ALTERNATIVES) - 1] if operation is not None and operation.faults and key & ALTERNATIVES else None

    def footprint_of(self, key: int) -> tuple[int, int]:
        """Return (reads, writes) of a choice that is possible now, as `declared` does for actors."""
        actor, kind = self.actors.get(key >> SHIFT), self.strikes(key)
        if actor is not None:
            reads, writes = self.declared(actor)
            return reads, writes | self.writes_of(kind) if kind else writes
        if kind == CRASH:
            return self.crash_footprint(self.fault_movers[key >> SHIFT][1])
        return 0, CLOCK | self.fault_bit if kind else CLOCK

    def crash_footprint(self, process: str, state: Callable[[Resource], State] = _now) -> tuple[int, int]:
        """Return what a crash of this process reads and writes where locks are in these states."""
        writes = self.fault_bit | self.process_bit(process) | (ENDING if self.learned.daemons else 0)
        for lock, holder, mask in self.may_be_held.get(process, ()):
            if lock is None or state(lock) == holder:
                writes |= mask
        return CLOCK, writes

    def fault_footprint(self, j: int, i: int, before: Sequence[int]) -> tuple[int, int]:
        """Return the footprint of the fault that is step j if it strikes without step i and what happens after that."""
        kind, process = self.fault_movers[self.keys[j] >> SHIFT]
        if kind != CRASH:
            return self.reads[j], self.writes[j]
        return self.crash_footprint(process, lambda lock: lock.state_without(i, before, j))

    def crash_keys(self) -> list[int]:
        """Return the crashes that the fault model names, budgets aside, of processes that have not ended."""
        found = map(self.crash_key, dict.fromkeys(actor.process for actor in self.live))
        return [key for key in found if key is not None]

    def crash_key(self, process: str) -> int | None:
        """Return the key of the crash of this process; None where it cannot crash."""
        faults = self.faults
        if faults is None or not faults.limit(CRASH) or not faults.concerns(CRASH, process):
            return None
        return self.fault_key(CRASH, process)

    def with_faults(self, keys: list[int]) -> list[int]:
        """Return these choices, which are no faults, and after them the faults that can strike now."""
        self.peaceful = len(keys)
        if not keys:
            return self._at_the_end()
        now = self.clock.now
        for actor in self.live:
            operation = actor.pending
            if operation is not None and operation.faults and actor.ready(now):
                keys += [actor.key + k for k, kind in enumerate(operation.faults, 1) if self.may_strike(kind)]
        if self.may_strike(CRASH):
            keys += self.crash_keys()
        keys += self._stall_keys()
        return keys

    def _at_the_end(self) -> list[int]:
        """Nobody can move: what crashes can change."""
        stuck = [actor for actor in self.live if not actor.daemon]
        if not stuck or not self.may_strike(CRASH) or (self.n and self.keys[-1] == self.nothing_key):
            return []
        if any(actor.pending is not None and actor.pending.kind.role is Role.ASSUMES for actor in (*stuck, *self.dead)):
            return []
        crashes = self.crash_keys()
        self.peaceful = 1 if crashes else 0
        self.offered = crashes
        return [self.nothing_key, *crashes] if crashes else []

    def _stall_keys(self) -> list[int]:
        if not any(self.may_strike(kind) for kind in STALLS):
            return []
        instants = self.clock.instants(self.deadlines_now(), self.readings())
        ready = dict.fromkeys(actor.process for actor in self.live if actor.ready(self.clock.now))
        found = self.stalls(ready, instants, self.clock.now, self.clock.lateness)
        return [key for key in found if self.may_strike(self.fault_movers[key >> SHIFT][0])]

    def stalls(self, processes: Any, instants: list[int], now: int, lateness: int) -> list[int]:
        """Return the stalls of these processes until these instants that lateness alone does not allow.

        They are processes of which an actor could move: where none can, a stall makes no difference until one can.
        """
        faults = self.faults
        assert faults is not None
        keys = []
        for kind in STALLS:
            if faults.limit(kind):
                late = [k for k, instant in enumerate(instants) if lateness + instant - now >= self.clock.max_delay]
                keys += [self.fault_key(kind, process) + k for process in processes if faults.concerns(kind, process) for k in late]
        return keys

    def fault_key(self, kind: str, process: str) -> int:
        """Return the key of a fault that is a mover."""
        name = f"{kind} of {process}" if process else kind
        index = self.names.index(name)
        self.fault_movers[index] = kind, process
        return index << SHIFT

    @property
    def may_stall(self) -> bool:
        """Whether the fault model has stalls."""
        return self.faults is not None and any(self.faults.limit(kind) for kind in STALLS)

    def clock_may_move(self, now: int, lateness: int) -> bool:
        """Whether from this state of the clock the execution has an instant that can be reached past actors that could move."""
        if self.may_stall or self.clock.timescales:
            return True
        waiting = (actor.pending for actor in self.actors.values() if actor.pending is not None)
        if any(operation.due is not None for operation in (*self.operations, *waiting)):
            return True  # its deadlines are those of states, which others may have put off
        latest = now + self.clock.max_delay - lateness
        deadlines = (*self.deadlines, *(actor.deadline for actor in self.actors.values()))
        return any(deadline is not None and now < deadline < latest for deadline in deadlines)

    # What happens when one does

    def check_possible(self, key: int) -> None:
        """Refuse a planned choice that cannot be taken here.

        Raises:
            Nondeterminism: it could be taken before. TokenError: nobody has shown that it can.
        """
        actor = self.actors.get(key >> SHIFT)
        if actor is not None and not actor.finished:
            operation = actor.pending
            assert operation is not None
            if key & ALTERNATIVES < operation.options and actor.ready(self.clock.now):
                return
        if (actor is None or key & ALTERNATIVES) and key in self.enabled():
            return
        if self.n < len(self.expected_reads):
            raise Nondeterminism(f"step {self.n + 1} of a repeated execution: {self.mover(key)} cannot move, though it did before")
        raise TokenError(f"does not fit: at step {self.n + 1} {self.mover(key)} is to move and cannot")

    def enabled(self) -> list[int]:
        """Return the choices that are possible now."""
        raise NotImplementedError

    def move(self, key: int) -> None:
        """Take the choice of a mover that is no actor: the clock advances, a fault strikes, or nothing does."""
        if key == self.clock_key:
            self._advance()
            return
        kind, process = self.fault_movers[key >> SHIFT]
        if kind == NOTHING:
            self._moved(key, 0, CLOCK, Operation(STRIKES[NOTHING]))
            self.advances.append((self.clock.now, self.clock.lateness))
        elif kind == CRASH:
            self.struck.append((self.n, kind))
            self._moved(key, *self.crash_footprint(process), Operation(STRIKES[CRASH], detail=process))
            self._crash(process)
        else:
            self._stall(key, kind, process)

    def record(self, actor: Actor, operation: Operation) -> bool:
        """Record an actor's step, which is about to be made; return whether it is what it was before under the same choices."""
        resource = operation.resource
        reads, writes = operation.reads | actor.base, operation.writes | actor.mark
        if operation.writes_when is not None:
            assert resource is not None
            if operation.writes_when(resource.state):
                writes |= resource.bit | operation.also
            else:
                reads |= resource.bit
        if operation.faults:
            writes |= self.strikes_at(operation, self.key & ALTERNATIVES)
        learned = self.learned
        if actor.daemon:
            writes |= ENDING
        if writes & learned.checked:
            writes |= CHECKED
        self.keys.append(self.key)
        self.reads.append(reads)
        self.writes.append(writes)
        self.operations.append(operation)
        self.times.append(self.clock.now)
        self.deadlines.append(actor.deadline)
        if self.tracing:
            self.calls.append(actor.calls)
        self.n += 1
        return self.n > self.known or actor.absorbs is not None or self.as_before(self.n - 1)

    def strikes_at(self, operation: Operation, alternative: int) -> int:
        """Count the fault that strikes at the operation about to be recorded; return the mask of what that writes."""
        if not operation.faults or not alternative:
            return 0
        kind = operation.faults[alternative - 1]
        self.struck.append((self.n, kind))
        return self.writes_of(kind)

    def writes_of(self, kind: str) -> int:
        """Return the mask of what a fault of this kind that strikes at an operation writes besides."""
        return self.fault_bit | (self.wall_bit if kind == "clock_jump" else 0)

    # Clocks

    def wall(self) -> int:
        """Return the wall clock, in nanoseconds since 1970."""
        return EPOCH + self.clock.now + sum(size for _, size in self.jumps)

    def monotonic(self) -> int:
        """Return the monotonic clock of the current actor's process, in nanoseconds; it stood still while that was suspended."""
        process = self.actor.process if self.actor is not None else ""
        return BOOT + self.clock.now - self.behind.get(process, 0)

    def jump(self, alternative: int) -> None:
        """The wall clock jumps as an effect of the last step, a reading of it: forwards (1) or backwards (2)."""
        faults = self.faults
        assert faults is not None
        size = nanoseconds(faults.jump)
        self.jumps.append((self.n - 1, size if alternative == 1 else -size))
        self.note(f"the wall clock has jumped {'forwards' if alternative == 1 else 'backwards'} by {faults.jump:g} s")

    def _moved(self, key: int, reads: int, writes: int, operation: Operation) -> None:
        """Record a step that is no actor's."""
        self.keys.append(key)
        self.reads.append(reads)
        self.writes.append(writes)
        self.operations.append(operation)
        self.times.append(self.clock.now)
        self.deadlines.append(None)
        if self.tracing:
            self.calls.append(())
        self.n += 1

    def _advance(self) -> None:
        now = self.clock.now
        idle = not any(actor.ready(now) for actor in self.live)
        target = self.next_instant(idle)
        assert target is not None
        if not idle:
            self.clock.lateness += target - now
        self._moved(self.clock_key, 0, CLOCK, Operation(ADVANCE, detail=f"{target}"))
        self.clock.now = target
        self.advances.append((target, self.clock.lateness))

    def _stall(self, key: int, kind: str, process: str) -> None:
        instants = self.clock.instants(self.deadlines_now(), self.readings())
        until = instants[key & ALTERNATIVES]
        self.struck.append((self.n, kind))
        length = until - self.clock.now
        self._moved(key, 0, CLOCK | self.fault_bit, Operation(STRIKES[kind], detail=f"{process} for {length / 1e9:g} s"))
        self.advances.append((self.clock.now, self.clock.lateness))
        self.stalled.append((self.n - 1, process, until, length if kind == "suspend" else 0))
        for actor in self.live:
            if actor.process == process:
                actor.wakes = until
                if kind == "suspend" and actor.deadline is not None:
                    actor.deadline += length
        if kind == "suspend":
            self.behind[process] = self.behind.get(process, 0) + length
            for hook in self.when_suspended:
                hook(process, length)

    def _crash(self, process: str) -> None:
        """End a process: none of its code runs again, and what the operating system and SQLite do for it happens."""
        for actor in [actor for actor in self.live if actor.process == process]:
            actor.finished, actor.crashed = True, self.n - 1
            self.live.remove(actor)
            self.dead.append(actor)
            if not actor.daemon:
                self.unfinished -= 1
            for resource in self.held_by(actor.name):
                self.put(resource, None)
        for hook in self.when_crashed:
            hook(process)
        restart: Callable[[], Any] | None = self.context.get("restart", {}).get(process)
        if restart is not None:
            number = self.created[f"restarts of {process}"] = self.created.get(f"restarts of {process}", 0) + 1
            self.begin(f"{process} (restarted{f' {number}' if number > 1 else ''})", restart, process)

    def begin(self, name: str, work: Callable[[], Any], process: str) -> Actor:
        """Declare an actor as an effect of the last step and run it to its first scheduling point."""
        raise NotImplementedError
