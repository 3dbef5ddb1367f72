"""A task as an actor, and what an actor does before it runs a loop of tasks."""

from __future__ import annotations

from simharness.engine.actors import ROOT, Actor, ended
from simharness.engine.clock import BOOT, SECOND, nanoseconds
from simharness.engine.kernel import Kernel
from simharness.engine.phases import INSPECTING
from simharness.errors import Misuse
from simharness.places import caller


class TaskActor(Actor):
    """A task of a run, or the run's loop."""

    fresh = False

    def __init__(self, kernel: Kernel, name: str, host: Actor) -> None:
        super().__init__(kernel.names, kernel.greenlets.hub, name, ended, host.daemon, host.process)
        self.greenlet = host.greenlet
        self.locals = host.locals
        self._host = host
        self.base = host.base

    @property
    def host(self) -> Actor:
        """The actor that runs the loop."""
        return self._host


def become_host(kernel: Kernel, call: str) -> Actor:
    """Return the current actor, which is about to run a loop by calling `call`; end set-up.

    Raises:
        Misuse: no actor can run a loop here.
    """
    if kernel.phase == INSPECTING:
        raise Misuse(f"{caller() or '?'}: a check cannot call {call}: look at what the tasks have left behind")
    if kernel.handlers is not None and kernel.actor is not None and kernel.handlers.strike(kernel.actor):
        library = call.partition(".")[0].replace("trio", "Trio")
        raise Misuse(f"{caller() or '?'}: world.handler cannot strike inside {library}: declare it on an actor that does not call {call}")
    if kernel.setting_up:
        kernel.move_root()
    host = kernel.actor
    assert host is not None
    if not isinstance(host, TaskActor):
        host.locals.setdefault("thread", host.index)
    return host


def spawn(kernel: Kernel, base: str, host: Actor, spawner: Actor | None) -> TaskActor:
    """Return a new actor for a task with this name, which the current step starts; its name contains that of its spawner."""
    if spawner is not None and spawner.name != ROOT:
        base = f"{spawner.name}/{base}"
    name = kernel.labels.free(base)
    kernel.labels.reserve(name)
    actor = TaskActor(kernel, name, host)
    actor.born = kernel.record.n - 1
    return actor


class ExactTimes:
    """The monotonic clock in seconds, as a loop sees it. A time that was rounded to the kernel's nanoseconds reads as before rounding."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._exact: dict[int, float] = {}

    def now(self) -> float:
        """Return the time in seconds."""
        now = self._kernel.monotonic()
        seconds = now / SECOND
        return max(seconds, self._exact.get(now, seconds))

    def instant(self, deadline: float) -> int:
        """Convert a time of this clock to the kernel's."""
        since = nanoseconds(deadline - BOOT / SECOND)
        monotonic = BOOT + since
        self._exact[monotonic] = max(deadline, self._exact.get(monotonic, deadline))
        return since + self._kernel.clock.now + BOOT - self._kernel.monotonic()
