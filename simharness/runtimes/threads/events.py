"""`threading.Event`, `Semaphore` and `BoundedSemaphore`: their methods, replaced in place on the classes.

The state of an event is its flag, that of a semaphore its count. Every operation that may block is one step, enabled
when the flag is set or the count is positive. One step is enough for `Event.wait`: a thread that a pulse (set, clear) leaves
waiting is one that had not called it yet. Where a handler may strike, the mutex inside is taken, too (`mutexes.py`).
"""

from __future__ import annotations

import sys
import threading
from threading import BoundedSemaphore, Event, Semaphore, Thread
from typing import Any

from simharness.engine.kernel import Kernel, current
from simharness.engine.kinds import Family, Kind, Role, Sends
from simharness.engine.operations import Operation
from simharness.runtimes.patching import Patches
from simharness.runtimes.primitives import View, Views, replace, step_until
from simharness.runtimes.threads.mutexes import mutex_of

_genuine_event_init = Event.__init__
_genuine_is_set = Event.is_set
_genuine_set = Event.set
_genuine_clear = Event.clear
_genuine_wait = Event.wait
_thread_init = Thread.__init__.__code__
"""The code of `Thread.__init__`: its event never gets a view, as the replaced methods do not use it."""
_genuine_semaphore_init = Semaphore.__init__
_genuine_acquire = Semaphore.acquire
_genuine_release = Semaphore.release
_genuine_bounded_release = BoundedSemaphore.release

EVENT = Family("event", in_memory=True)
SET = Kind(EVENT, "set", Role.SIGNALS, calls=("set",))
CLEAR = Kind(EVENT, "clear")
IS_SET = Kind(EVENT, "is_set", calls=("is_set",))
WAIT = Kind(EVENT, "wait", Role.AWAITS, blocked="{name} is not set", calls=("wait",))

SEMAPHORE = Family("semaphore", in_memory=True)
ACQUIRE = Kind(SEMAPHORE, "acquire", Role.OPENS, enabled_by=Sends.HAND_OVER, blocked="{name} is at 0", calls=("acquire",))
TRY_ACQUIRE = Kind(SEMAPHORE, "try_acquire")
RELEASE = Kind(SEMAPHORE, "release", Role.CLOSES, calls=("release",))


class _Flag(View):
    """An event in one execution."""

    family = EVENT

    def __init__(self, kernel: Kernel, owner: Any, name: str, label: str) -> None:
        super().__init__(kernel, owner, name, label)
        self.mutex = mutex_of(kernel, name, label)
        resource = self.resource = kernel.resource(name, bool(owner._flag), label)
        self.set = Operation(SET, resource, writes=resource.bit)
        self.clear = Operation(CLEAR, resource, writes=resource.bit)
        self.look = Operation(IS_SET, resource, reads=resource.bit)
        self.wait = Operation(WAIT, resource, reads=resource.bit, enabled=bool)


class _Count(View):
    """A semaphore in one execution."""

    family = SEMAPHORE

    def __init__(self, kernel: Kernel, owner: Any, name: str, label: str) -> None:
        super().__init__(kernel, owner, name, label)
        self.mutex = mutex_of(kernel, name, label)
        resource = self.resource = kernel.resource(name, int(owner._value), label)
        self.acquire = Operation(ACQUIRE, resource, writes=resource.bit, enabled=bool)
        self.attempt = Operation(TRY_ACQUIRE, resource, writes_when=bool)
        self.release = Operation(RELEASE, resource, writes=resource.bit)


_flags = Views(_Flag)
_counts = Views(_Count)


def _event_init(self: Event) -> None:
    _genuine_event_init(self)
    kernel = current()
    if kernel is not None and sys._getframe(1).f_code is not _thread_init:
        _flags.born(kernel, self)


def _is_set(self: Event) -> bool:
    kernel = current()
    if kernel is None:
        return _genuine_is_set(self)
    view = _flags.of(kernel, self)
    kernel.step(view.look)
    return bool(view.resource.state)


def _set(self: Event) -> None:
    kernel = current()
    if kernel is None:
        _genuine_set(self)
        return
    view = _flags.of(kernel, self)
    with view.mutex:
        kernel.step(view.set)
        kernel.put(view.resource, True)


def _clear(self: Event) -> None:
    kernel = current()
    if kernel is None:
        _genuine_clear(self)
        return
    view = _flags.of(kernel, self)
    with view.mutex:
        kernel.step(view.clear)
        kernel.put(view.resource, False)


def _wait(self: Event, timeout: float | None = None) -> bool:
    kernel = current()
    if kernel is None:
        return _genuine_wait(self, timeout)
    view = _flags.of(kernel, self)
    resource = view.resource
    with view.mutex:
        pass
    if timeout is None:
        kernel.step(view.wait)
    elif timeout > 0:
        detail = f"{resource.name} for {timeout:g} s"
        step_until(kernel, Operation(WAIT, resource, resource.bit, enabled=bool, detail=detail), timeout)
    else:
        kernel.step(view.look)
    with view.mutex:
        pass
    if kernel.tracing and timeout is not None:
        kernel.note("set" if resource.state else "time is over")
    return bool(resource.state)


def _semaphore_init(self: Semaphore, value: int = 1) -> None:
    _genuine_semaphore_init(self, value)
    kernel = current()
    if kernel is not None:
        _counts.born(kernel, self)


def _acquire(self: Semaphore, blocking: bool = True, timeout: float | None = None) -> bool:
    kernel = current()
    if kernel is None:
        return _genuine_acquire(self, blocking, timeout)
    if not blocking and timeout is not None:
        raise ValueError("can't specify timeout for non-blocking acquire")
    view = _counts.of(kernel, self)
    resource = view.resource
    with view.mutex:
        pass
    if not blocking or (timeout is not None and timeout <= 0):
        kernel.step(view.attempt)
    elif timeout is None:
        kernel.step(view.acquire)
    else:
        detail = f"{resource.name} for {timeout:g} s"
        step_until(kernel, Operation(ACQUIRE, resource, enabled=bool, writes_when=bool, detail=detail), timeout)
    if not resource.state:
        if kernel.tracing:
            kernel.note("none left")
        return False
    kernel.put(resource, resource.state - 1)
    with view.mutex:
        pass
    return True


def _release(self: Semaphore, n: int = 1) -> None:
    kernel = current()
    if kernel is None:
        _genuine_release(self, n)
        return
    _give(kernel, self, n, None)


def _bounded_release(self: BoundedSemaphore, n: int = 1) -> None:
    kernel = current()
    if kernel is None:
        _genuine_bounded_release(self, n)
        return
    _give(kernel, self, n, self._initial_value)  # type: ignore[attr-defined]  # not in the stubs


def _give(kernel: Kernel, semaphore: Semaphore, n: int, most: int | None) -> None:
    if n < 1:
        raise ValueError("n must be one or more")
    view = _counts.of(kernel, semaphore)
    with view.mutex:
        kernel.step(view.release)
        if most is not None and view.resource.state + n > most:
            raise ValueError("Semaphore released too many times")
        kernel.put(view.resource, view.resource.state + n)


def keep(owner: Any, view: View) -> None:
    """Give the genuine event or semaphore the state that it has in an execution."""
    if isinstance(view, _Flag):
        owner._flag = view.resource.state
    elif isinstance(view, _Count):
        owner._value = view.resource.state


def install(patches: Patches) -> None:
    """Plan the replacements."""
    events = {"__init__": _event_init, "is_set": _is_set, "set": _set, "clear": _clear, "wait": _wait}
    replace(patches, threading.Event, events)
    semaphores = {"__init__": _semaphore_init, "acquire": _acquire, "__enter__": _acquire, "release": _release}
    replace(patches, threading.Semaphore, semaphores)
    replace(patches, threading.BoundedSemaphore, {"release": _bounded_release})
