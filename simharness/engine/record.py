"""The record of one execution: its steps as parallel lists, its resources, and how it ended.

`keys`, `reads`, `writes`, `operations`, `times` and `deadlines` have one entry per step. A *key* is a choice: the index of the actor that
moved, shifted, plus the alternative taken where its operation is a data choice.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from _thread import get_ident
from collections.abc import Callable, Sequence
from typing import Any

from simharness.engine.actors import SHIFT, Actor, Failure
from simharness.engine.clock import Clock
from simharness.engine.facts import Learned
from simharness.engine.modes import Mode
from simharness.engine.operations import CHECKED, ENDING, Names, Operation, Resource
from simharness.errors import Nondeterminism
from simharness.places import Place, without_addresses

VERSIONED = "version"
"""In a kernel's context: what the execution rests on that another version of Python may do otherwise."""
LOG = "log"
"""The kind of the operations that log lines are, where they are points."""
RUNNING, SETUP, INSPECTING, ENDED = range(4)
Chooser = Callable[[list[int]], int]


class Record:
    """What the kernel keeps of the execution that is under way, or was the last."""

    def __init__(self, max_delay: int) -> None:
        self.names = Names()
        self.learned = Learned()
        self.modes: set[Mode] = set()
        self.clock = Clock(max_delay)
        self.clock_key = self.names.index("clock") << SHIFT
        self.tracing = False
        self.on_log: Callable[[logging.LogRecord], None] | None = None
        self.mode = ENDED
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._reset((), lambda enabled: enabled[0], (), ())

    def turn_on(self, *modes: Mode) -> None:
        """Have all executions be made in these modes; before the first of them."""
        self.modes.update(modes)

    def _reset(self, plan: Sequence[int], choose: Chooser, reads: Sequence[int], writes: Sequence[int]) -> None:
        self.plan = plan
        self.thread = get_ident()
        self.planned = len(plan)
        self.expected_reads, self.expected_writes = reads, writes
        self.known = min(len(plan) - 1, len(reads))
        self.choose = choose
        self.n = 0
        self.keys: list[int] = []
        self.reads: list[int] = []
        self.writes: list[int] = []
        self.operations: list[Operation] = []
        self.times: list[int] = []
        self.deadlines: list[int | None] = []
        self.calls: list[tuple[Place, ...]] = []
        self.notes: dict[int, list[str]] = {}
        self.actors: dict[int, Actor] = {}
        self.live: list[Actor] = []
        self.dead: list[Actor] = []
        self.waiting: list[Actor] = []
        self.unfinished = 0
        self.actor: Actor | None = None
        self.key = 0
        self.resources: dict[str, Resource] = {}
        self.created: dict[str, int] = {}
        self.after_step: Callable[[], None] | None = None
        self.when_asked: Callable[[list[int]], None] | None = None
        self.failure: Failure | None = None
        self.error: BaseException | None = None
        self.abandoned = self.cut = self.timed = self.dying = self.buried = False
        self.concurrent = self.over = self.fair = self.watched = False
        self.stuck_at: dict[str, Place | None] = {}
        self.advances: list[tuple[int, int]] = []
        self.struck: list[tuple[int, str]] = []
        self.stalled: list[tuple[int, str, int, int]] = []
        self.behind: dict[str, int] = {}
        self.may_be_held: dict[str, list[tuple[Resource | None, str, int]]] = {}
        self.when_crashed: list[Callable[[str], None]] = []
        self.when_suspended: list[Callable[[str, int], None]] = []
        self.peaceful = 0
        self.clock_readings: list[tuple[int, int]] = []
        self.jumps: list[tuple[int, int]] = []
        self.inspected = 0
        self.checking = self.touched = False
        self.context: dict[Any, Any] = {}
        self.when_set_up: list[Callable[[], None]] = []
        self.clock.reset()

    @property
    def stuck(self) -> list[Actor]:
        """The actors, other than daemons, that had not ended when the execution did."""
        return [actor for actor in self.live if not actor.daemon]

    @property
    def left_out(self) -> bool:
        """Whether an actor is stuck in a false `assume`, or died in one; or in a log line that is not wanted."""
        stuck = {actor.pending.kind for actor in self.stuck if actor.pending is not None}
        died = {actor.pending.kind for actor in self.dead if actor.pending is not None}
        return "assume" in stuck | died or LOG in stuck

    def close(self) -> None:
        """Let go of what outlives executions: the temporary folder."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def resource(self, name: str, state: Any = None, label: str | None = None) -> Resource:
        """Return this execution's resource of this name, made with this state if there is none yet."""
        found = self.resources.get(name)
        if found is None:
            found = self.resources[name] = Resource(label or name, self.names.bit(name), state)
        return found

    def held_by(self, holder: str) -> list[Resource]:
        """Return the program's locks whose state says that they are held by the actor of this name."""
        return [
            resource
            for name, resource in self.resources.items()
            if type(resource.state) is str
            and resource.state == holder
            and "lock" in name
            and not name.startswith(("cell ", "write lock of "))
        ]

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

    @property
    def fresh_folder(self) -> str | None:
        """The path of the folder that the last execution was given, or None if it asked for none."""
        return None if self._folder is None else self._folder.name

    def canonical(self, text: str) -> str:
        """Return the text without what differs between processes that do the same: addresses and the names of temporary folders."""
        folders = [self._folder.name] if self._folder is not None else []
        folders += self.context.get("temporary folder", ("",))[1:]
        for folder in folders:
            text = text.replace(folder, "<temporary>")
        return without_addresses(text)

    @property
    def setting_up(self) -> bool:
        """Whether the scenario function is still declaring its world."""
        return self.mode == SETUP

    def leave_set_up(self) -> None:
        """The scenario function has declared its world: from here on actors move."""
        if self.mode == SETUP:
            for call in self.when_set_up:
                call()
        self.mode = RUNNING

    def fail(self, error: BaseException, actor: str | None = None, check: str | None = None) -> None:
        """Note the first failure of this execution; it goes on, so that the other actors reach their ends."""
        if self.failure is None:
            self.failure = Failure(self.n - 1, actor, check, error)

    def put(self, resource: Resource, state: Any) -> None:
        """Set the state of a resource as an effect of the step that has just been recorded."""
        resource.state = state
        if self.mode != INSPECTING:
            resource.history.append((self.n - 1, state))

    def note(self, text: str) -> None:
        """Say, for people, what the step that has just been recorded did."""
        if self.tracing and self.mode == RUNNING:
            self.notes.setdefault(self.n - 1, []).append(text)

    def next_instant(self, idle: bool) -> int | None:
        """Return the instant to which the clock may move now, or None; `idle`: no actor can move."""
        return self.clock.target(self.deadlines_now(), idle, self.readings())

    def deadlines_now(self) -> list[int]:
        """Return when actors that cannot move now can; those of a stalled process when the stall ends."""
        now = self.clock.now
        found = [actor.wakes for actor in self.live if now < actor.wakes] if self.stalled else []
        ready = (actor for actor in self.live if actor.deadline is not None and now >= actor.wakes and not actor.ready(now))
        return [*found, *(actor.deadline for actor in ready if actor.deadline is not None)]

    def readings(self, configuration: int = -1) -> list[int]:
        """Return when clocks showed what was read from them by the steps whose indices are set in the mask.

        What was read from the wall clock before it jumped counts twice: it was then, and it is when the wall clock says that it was.
        Step -1 is set-up.
        """
        read = [(step, value) for step, value in self.clock_readings if step < 0 or configuration >> step & 1]
        moved = [(step, size) for step, size in self.jumps if configuration >> step & 1]
        found = [value for _, value in read]
        return [*found, *(value - sum(size for other, size in moved if other > step) for step, value in read)] if moved else found

    def declared(self, actor: Actor) -> tuple[int, int]:
        """Return (reads, writes) that the actor's pending operation has if it is done now.

        Exact, but that a last step beside daemons reads the ending, too, which shows only when it has been done.
        """
        operation = actor.pending
        assert operation is not None
        reads, writes = operation.footprint(operation.resource.state if operation.resource is not None else None)
        reads |= actor.base
        writes |= actor.mark | (ENDING if actor.daemon else 0)
        if writes & self.learned.checked:
            writes |= CHECKED
        return reads, writes

    def give_up(self, error: BaseException) -> None:
        """The execution cannot go on: `run` will raise `error`."""
        if self.error is None and not self.dying:
            self.error = error

    def as_before(self, n: int) -> bool:
        """Whether the footprint of a step is the one that it had before under the same choices; give the execution up where it is not."""
        reads, writes, expected, written = self.reads[n], self.writes[n], self.expected_reads[n], self.expected_writes[n]
        same = writes == written and (reads == expected or reads | ENDING == expected | ENDING)
        if not same:
            self.give_up(
                Nondeterminism(
                    f"step {n + 1} ({self.mover(self.keys[n])}) is not what it was under the same choices: it was "
                    f"{self.footprint(expected, written)}, it is {self.footprint(reads, writes)}"
                )
            )
        return same

    def mover(self, key: int) -> str:
        """Return whose choice a key is, for messages."""
        for name in self.names.of(1 << (key >> SHIFT)):
            return name
        return "an unknown actor"

    def footprint(self, reads: int, writes: int) -> str:
        """Return a footprint in words, for messages."""
        return f"reads {{{', '.join(self.names.of(reads))}}} writes {{{', '.join(self.names.of(writes))}}}"
