"""The views of `Thread` objects: what each is in one execution."""

from __future__ import annotations

from threading import Thread

from simharness.engine.actors import Actor
from simharness.engine.kernel import Kernel, current
from simharness.runtimes.primitives import VIEW

_genuine_init = Thread.__init__


class _View:
    """A thread in one execution. `actor` is None until it is started."""

    def __init__(self, kernel: Kernel) -> None:
        self.execution = kernel.resources
        self.actor: Actor | None = None


def _view(kernel: Kernel, thread: Thread) -> _View:
    view: _View | None = thread.__dict__.get(VIEW)
    if view is None or view.execution is not kernel.resources:
        view = thread.__dict__[VIEW] = _View(kernel)
    return view


def adopt(kernel: Kernel, actor: Actor, name: str) -> Thread:
    """Return a Thread object for an actor that was not started as a thread."""
    thread = Thread.__new__(Thread)
    _genuine_init(thread, name=name, daemon=actor.daemon)
    view = thread.__dict__[VIEW] = _View(kernel)
    view.actor = actor
    return thread


def actor_of(thread: Thread) -> Actor | None:
    """Return the actor that a thread is in this execution, if it has been started."""
    kernel = current()
    return None if kernel is None else _view(kernel, thread).actor
