"""The views of `Thread` objects: what each is in one execution, and which of its parts are scheduling points.

The parts of a thread are its lifetime (made, started, over) and its attributes. Like other shared memory, a part is private until an
execution shows that two actors touch it, one of them writes it, and neither touch is ordered before the other by a start or a join.
Then that is learned, and exploring starts over: every touch of the part is a point, also before the start and after the end.
Starting a thread writes its lifetime and reads its attributes; its end writes its lifetime where that is a point.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from threading import Thread
from typing import Any

from simharness.engine.actors import Actor
from simharness.engine.facts import Fact
from simharness.engine.kernel import Kernel, current
from simharness.engine.kinds import Kind, Role
from simharness.engine.lifetimes import MADE, STARTED, THREAD, LifetimeSeen, lifetime
from simharness.engine.operations import Operation, Resource
from simharness.engine.phases import INSPECTING, RUNNING
from simharness.runtimes.primitives import BINDINGS, VIEW

LOOK = Kind(THREAD, "has_started", Role.ABOUT_ACTORS, blocked="{actor} has not started")
LIFETIME, NAME, DAEMON, TARGET, TIMER = "lifetime", "name", "daemon", "target", "timer"
_READ_AT_START = frozenset({LIFETIME, NAME, DAEMON, TARGET})
PATIENCE = 1_000
"""An actor that looks so often at what nobody else has touched yet waits for somebody to do that: then others must be able to move."""
_JOINED = "threads joined"
_STARTER = "thread's starter"
_CHECK = Actor.__new__(Actor)
"""Stands for the checks of an execution, which touch threads as actors do."""

_genuine_init = Thread.__init__


@dataclass(frozen=True)
class SharedAttribute(Fact, word="thread-attribute"):
    """Several actors touch this attribute of a thread, and one of them writes it."""

    thread: str
    attribute: str


class View:
    """A thread in one execution.

    Attributes:
        actor: None until it is started.
        starter, started: the actor that started it, and the step.
        first_name: the name that it was made with.
        life: its lifetime, if that is a point.
    """

    def __init__(self, kernel: Kernel, first_name: str, name: str, actor: Actor | None = None) -> None:
        self.kernel = kernel
        self.execution = kernel.resources
        self.name = name
        self.first_name = first_name
        self.actor = actor
        self.starter: Actor | None = None
        self.started = -1
        self.life: Resource | None = None
        if name in kernel.learned.of(LifetimeSeen):
            self.life = lifetime(kernel, name, self.first_name, MADE if actor is None else STARTED)
        self._shared = kernel.learned.of(SharedAttribute)
        self._private = 0
        self._touched: dict[str, dict[Actor, tuple[int, int]]] = {}

    def touch(self, part: str, write: bool = False, step: int | None = None) -> int:
        """Record that the current actor, or a check, touches a part before its next step, or with this one; return the part's bit, if any.

        Until a part is known to be a point its bit is 0.
        """
        kernel = self.kernel
        bit = self.point(part)
        if bit or not is_watching(kernel):
            return bit
        actor = kernel.actor if kernel.phase == RUNNING else _CHECK
        assert actor is not None
        touched = self._touched.setdefault(part, {})
        for other, (last, last_written) in (*touched.items(), *self._by_start(part)):
            at = last if write else last_written
            if other is not actor and at >= 0 and not precedes(other, at, actor):
                self.learn(part)
        now = kernel.record.n if step is None else step
        touched[actor] = now, now if write else touched.get(actor, (-1, -1))[1]
        self._private += 1
        if self._private > PATIENCE and step is None:
            self.learn(part)
            kernel.step(Operation(LOOK, detail=self.first_name))
        return 0

    def point(self, part: str) -> int:
        """Return the bit of a part; 0 if it is no point."""
        if part == LIFETIME:
            return self.life.bit if self.life is not None else 0
        if self._shared and (self.name, part) in self._shared:
            return self.kernel.names.bit(f"{part} of {self.name}")
        return 0

    def learn(self, part: str) -> None:
        """Note that a part is a point."""
        self.kernel.learned.learn(LifetimeSeen(self.name) if part == LIFETIME else SharedAttribute(self.name, part))

    def begun(self) -> bool:
        """Whether the running code has come after the thread's start in every ordering of what it has done: then that is no race."""
        actor, me = self.actor, self.kernel.actor
        if actor is None or self.kernel.phase != RUNNING or me is None:
            return False
        return me in (actor, self.starter) or self.starter is None or precedes(self.starter, self.started, me)

    def _by_start(self, part: str) -> Iterable[tuple[Actor, tuple[int, int]]]:
        """Yield who has touched a part by starting or being started, and when: a start writes the lifetime and reads the attributes."""
        if self.actor is not None and self.starter is not None and part in _READ_AT_START:
            yield self.actor if part == TARGET else self.starter, (self.started, self.started if part == LIFETIME else -1)

    def settled(self) -> bool:
        """Whether the running actor is the thread itself, or has joined it: then whether it is alive is no race."""
        me = self.kernel.actor
        return self.kernel.phase == RUNNING and me is not None and (me is self.actor or self.actor in me.locals.get(_JOINED, ()))

    def is_touched(self, part: str) -> bool:
        """Whether a part is a point or anybody has touched it otherwise than by a start."""
        return part in self._touched or bool(self.point(part))

    def start(self, actor: Actor) -> None:
        """Note that the current actor has started the thread, with the last step."""
        for part in (NAME, DAEMON, LIFETIME):
            if part in self._touched:
                self.touch(part, write=part == LIFETIME, step=self.kernel.record.n - 1)
        self.actor, self.starter, self.started = actor, self.kernel.actor, self.kernel.record.n - 1
        actor.thread = self.name
        actor.locals[_STARTER] = self.starter

    def join(self) -> None:
        """Note that the current actor has joined the thread."""
        if self.kernel.actor is not None:
            self.kernel.actor.locals.setdefault(_JOINED, set()).add(self.actor)


def is_watching(kernel: Kernel) -> bool:
    """Whether it matters who touches what now: actors move, or a check is asked after a step, which is more than a part of a timeline."""
    if kernel.phase == INSPECTING:
        return kernel.checking and not kernel.tracing
    return kernel.phase == RUNNING and not kernel.dying and kernel.actor is not None


def precedes(other: Actor, at: int, actor: Actor) -> bool:
    """Whether what another actor did before or with step `at` comes before all that this one does now: by joins and starts alone."""
    if actor is _CHECK:
        return False
    if other in actor.locals.get(_JOINED, ()):
        return True
    while True:
        starter: Actor | None = actor.locals.get(_STARTER)
        if starter is None or starter is other:
            return starter is other and at <= actor.born
        actor = starter


def view_of(kernel: Kernel, thread: Thread) -> View:
    """Return the view of a thread in the execution under way."""
    view: View | None = vars(thread).get(VIEW)
    if view is None or view.execution is not kernel.resources:
        view = vars(thread)[VIEW] = View(kernel, str(plain(thread, "_name")), BINDINGS.name(kernel, thread, "thread"))
    return view


def adopt(kernel: Kernel, actor: Actor, name: str) -> Thread:
    """Return a Thread object for an actor that was not started as a thread."""
    thread = Thread.__new__(Thread)
    _genuine_init(thread, name=name, daemon=actor.daemon)
    vars(thread)[VIEW] = View(kernel, name, actor.name, actor)
    return thread


def actor_of(thread: Thread) -> Actor | None:
    """Return the actor that a thread is in this execution, if it has been started."""
    kernel = current()
    return None if kernel is None else view_of(kernel, thread).actor


def plain(thread: Thread, attribute: str) -> Any:
    """Return an attribute as it is, without touching it."""
    return vars(thread)[attribute]
