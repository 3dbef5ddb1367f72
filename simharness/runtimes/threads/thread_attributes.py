"""The attributes of `Thread` and `Timer` objects as parts that actors touch: names, daemon flags, identifiers, and what is behind them.

Code of the standard library that uses an attribute of a thread on behalf of the user touches it too: starting a thread reads its daemon
flag, running it reads its target. The values stay where they are genuinely kept, in the object's `__dict__`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from threading import Thread
from typing import Any

from simharness.engine.kernel import Kernel, current
from simharness.engine.kinds import Kind, Role
from simharness.engine.lifetimes import MADE, STARTED
from simharness.engine.lifetimes import THREAD as THREADS
from simharness.engine.operations import Operation
from simharness.runtimes.patching import Patches
from simharness.runtimes.threads import identity
from simharness.runtimes.threads.thread_views import DAEMON, LIFETIME, LOOK, NAME, TARGET, TIMER, View, is_watching, plain, view_of

READ = Kind(THREADS, "read")
WRITE = Kind(THREADS, "write")
IS_ALIVE = Kind(THREADS, "is_alive", Role.ABOUT_ACTORS)


def is_made(thread: Thread) -> bool:
    """Whether `Thread.__init__` has been called."""
    return bool(vars(thread).get("_initialized"))


def need_init(thread: Thread) -> None:
    """Raise what the genuine properties raise for a thread without `Thread.__init__`."""
    assert is_made(thread), "Thread.__init__() not called"


def is_foreign(view: View, thread: Thread) -> bool:
    """Whether the thread was started outside the simulation, by the genuine `start`."""
    return view.actor is None and bool(plain(thread, "_started")._flag)


def access(kernel: Kernel, thread: Thread, part: str, write: bool = False) -> None:
    """Announce a read or write of an attribute: a step, if it is a point."""
    view = view_of(kernel, thread)
    bit = view.touch(part, write)
    if bit:
        detail = f"{view.first_name}.{part}"
        kernel.step(Operation(WRITE, writes=bit, detail=detail) if write else Operation(READ, reads=bit, detail=detail))


def has_begun(kernel: Kernel, thread: Thread) -> bool:
    """Whether a thread has been started: a step, where its start may be in a race with the question."""
    view = view_of(kernel, thread)
    if view.begun():
        return True
    if view.life is None:
        view.touch(LIFETIME)
    else:
        kernel.step(Operation(LOOK, view.life, reads=view.life.bit, detail=view.first_name))
    return view.actor is not None


def is_alive(kernel: Kernel, thread: Thread, also: int = 0) -> bool:
    """Whether a thread has been started and has not ended: a step, where another actor may start or end it; `also`: what else it reads."""
    view = view_of(kernel, thread)
    if view.life is None:
        if not view.begun():
            view.touch(LIFETIME)
        actor = view.actor
        if actor is None:
            if also:
                kernel.step(Operation(IS_ALIVE, reads=also, detail=view.first_name))
            return False
        if is_watching(kernel) and not view.settled():
            view.learn(LIFETIME)
        kernel.step(Operation(IS_ALIVE, actor.done, reads=actor.bit | also, detail=actor.name))
        return not actor.done.state
    kernel.step(Operation(IS_ALIVE, view.life, reads=view.life.bit | also, detail=view.first_name))
    return bool(view.life.state == STARTED)


class Attribute:
    """One of the attributes in which the standard library keeps what a thread is."""

    def __init__(self, name: str, part: str) -> None:
        self.name = name
        self.part = part

    def __get__(self, thread: Any, owner: Any = None) -> Any:
        """Return the value in the thread's `__dict__`."""
        if thread is None:
            return self
        attributes = thread.__dict__
        if "_initialized" in attributes and (kernel := current()) is not None:
            access(kernel, thread, self.part)
        try:
            return attributes[self.name]
        except KeyError:
            raise AttributeError(f"{type(thread).__name__!r} object has no attribute {self.name!r}", name=self.name, obj=thread) from None

    def __set__(self, thread: Any, value: Any) -> None:
        """Put the value into the thread's `__dict__`."""
        attributes = thread.__dict__
        if "_initialized" in attributes and (kernel := current()) is not None:
            access(kernel, thread, self.part, write=True)
        attributes[self.name] = value

    def __delete__(self, thread: Any) -> None:
        """Remove it from there."""
        attributes = thread.__dict__
        if "_initialized" in attributes and (kernel := current()) is not None:
            access(kernel, thread, self.part, write=True)
        try:
            del attributes[self.name]
        except KeyError:
            raise AttributeError(self.name) from None


class Identifier(Attribute):
    """The identifier of a thread: None until it is started."""

    def __get__(self, thread: Any, owner: Any = None) -> Any:
        """Return the identifier of the thread's actor."""
        kernel = current()
        if thread is None or kernel is None or not is_made(thread) or is_foreign(view_of(kernel, thread), thread):
            return super().__get__(thread, owner)
        return ident(kernel, thread)


class Stopped(Attribute):
    """Whether a thread has ended, as Python up to 3.12 keeps it."""

    def __get__(self, thread: Any, owner: Any = None) -> Any:
        """Return whether the thread's actor has ended."""
        kernel = current()
        if thread is None or kernel is None or not is_made(thread) or is_foreign(view_of(kernel, thread), thread):
            return super().__get__(thread, owner)
        return not is_alive(kernel, thread) and view_of(kernel, thread).actor is not None


class Started(Attribute):
    """The event that says that a thread has started."""

    def __get__(self, thread: Any, owner: Any = None) -> Any:
        """Return what stands for the event."""
        kernel = current()
        if thread is None or kernel is None or not is_made(thread) or is_foreign(view_of(kernel, thread), thread):
            return super().__get__(thread, owner)
        return StartedEvent(kernel, thread)


class StartedEvent(threading.Event):
    """Stands for the event that a thread sets when it starts: nothing but the start of its actor sets it."""

    def __init__(self, kernel: Kernel, thread: Thread) -> None:
        self._kernel = kernel
        self._thread = thread

    def is_set(self) -> bool:
        """Whether the thread has been started."""
        return has_begun(self._kernel, self._thread)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the thread has been started."""
        view = view_of(self._kernel, self._thread)
        if has_begun(self._kernel, self._thread) or (timeout is not None and timeout <= 0):
            return view.actor is not None
        view.learn(LIFETIME)
        if view.life is not None:
            wait = Operation(LOOK, view.life, reads=view.life.bit, enabled=lambda state: state != MADE, detail=view.first_name)
            self._kernel.step(wait, None if timeout is None else self._kernel.clock.now + int(timeout * 1e9))
        return view.actor is not None


def ident(kernel: Kernel, thread: Thread) -> int | None:
    """Return the identifier of a thread; None until it is started."""
    view = view_of(kernel, thread)
    return identity.ident_of(view.actor.name) if has_begun(kernel, thread) and view.actor is not None else None


_genuine: Mapping[str, Any] = dict(vars(Thread))


def _set_daemon(self: Thread, daemonic: bool) -> None:
    kernel = current()
    if kernel is None:
        _genuine["daemon"].__set__(self, daemonic)
        return
    if not is_made(self):
        raise RuntimeError("Thread.__init__() not called")
    view = view_of(kernel, self)
    alive = view.touch(LIFETIME) if not view.begun() else 0
    bit = view.touch(DAEMON, write=True)
    if alive or bit:
        kernel.step(Operation(WRITE, reads=alive, writes=bit, detail=f"{view.first_name}.{DAEMON}"))
    if view.actor is not None or is_foreign(view, self):
        raise RuntimeError("cannot set daemon status of active thread")
    vars(self)["_daemonic"] = daemonic


def _repr(self: Thread) -> str:
    kernel = current()
    if kernel is None:
        return _genuine["__repr__"](self)  # type: ignore[no-any-return]  # a method of the standard library
    need_init(self)
    view = view_of(kernel, self)
    alive = is_alive(kernel, self, view.touch(NAME) | view.touch(DAEMON))
    actor = view.actor
    status = "initial" if actor is None else "started" if alive else "stopped"
    daemon = " daemon" if plain(self, "_daemonic") else ""
    number = f" {identity.ident_of(actor.name)}" if actor is not None else ""
    return f"<{type(self).__name__}({plain(self, '_name')}, {status}{daemon}{number})>"


_IN_THREADS = (
    Attribute("_name", NAME),
    Attribute("_daemonic", DAEMON),
    Attribute("_target", TARGET),
    Attribute("_args", TARGET),
    Attribute("_kwargs", TARGET),
    Identifier("_ident", LIFETIME),
    Identifier("_native_id", LIFETIME),
    Started("_started", LIFETIME),
)
_IN_TIMERS = tuple(Attribute(name, TIMER) for name in ("interval", "function", "args", "kwargs"))


def install(patches: Patches) -> None:
    """Plan the replacements."""
    for attribute in _IN_THREADS:
        patches.attribute(threading.Thread, attribute.name, attribute)
    if "_is_stopped" in Thread.__init__.__code__.co_names:
        patches.attribute(threading.Thread, "_is_stopped", Stopped("_is_stopped", LIFETIME))
    for attribute in _IN_TIMERS:
        patches.attribute(threading.Timer, attribute.name, attribute)
    patches.attribute(threading.Thread, "daemon", property(_genuine["daemon"].fget, _set_daemon))
