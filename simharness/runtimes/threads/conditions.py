"""`threading.Condition`: its methods, replaced in place on the class.

The state of a condition is the tuple of the actors that wait for it and have not been notified, first come first served as in
CPython. A wait is two steps: one gives the lock up and queues (it writes both), one takes the lock again, which can be done
when the lock is free and the actor has been notified. With a timeout there is a step between them: the actor is notified or
its time is over. An actor whose time is over stays in the queue until it has its lock back; a notification that reaches it
meanwhile is lost, as it is in CPython.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from operator import not_
from threading import Condition
from typing import Any

from simharness.engine.clock import SECOND, nanoseconds
from simharness.engine.clock_steps import sees_time
from simharness.engine.kernel import Kernel, current
from simharness.engine.kinds import Family, Kind, Role
from simharness.engine.operations import Every, Operation, Resource
from simharness.runtimes.patching import Patches
from simharness.runtimes.primitives import VIEW, View, Views, gave_back, me, replace, step_until, took
from simharness.runtimes.threads import genuine
from simharness.runtimes.threads.locks import INTERNAL, Lock, RLock

_genuine_init = Condition.__init__
_genuine_wait = Condition.wait
_genuine_wait_for = Condition.wait_for
_genuine_notify = Condition.notify
_genuine_notify_all = Condition.notify_all

_LIBRARY = INTERNAL | {"threading"}
"""Modules whose events and queues have conditions of their own, which nothing uses in a simulation."""
CONDITION = Family("condition", in_memory=True)
_NOT_NOTIFIED = "no actor has notified it"
WAIT = Kind(CONDITION, "wait", Role.AWAITS, calls=("wait", "wait_for", "result()"))
NOTIFY = Kind(CONDITION, "notify", calls=("notify", "notify_all"))
POLL = Kind(CONDITION, "poll")
WAKE = Kind(CONDITION, "wake", blocked=_NOT_NOTIFIED, held="its lock is held by {holder}")
NOTIFIED = Kind(CONDITION, "notified", blocked=_NOT_NOTIFIED)
LAPSE = Kind(CONDITION, "lapse")


class _View(View):
    """A condition in one execution; `lock` is the simulated lock that it uses, None for a lock of another class."""

    family = CONDITION

    def __init__(self, kernel: Kernel, owner: Any, name: str, label: str) -> None:
        super().__init__(kernel, owner, name, label)
        resource = self.resource = kernel.resource(name, (), label)
        self.lock: Lock | RLock | None = genuine.controlled(owner._lock)
        self.guard: Resource | None = None if self.lock is None else self.lock._attached(kernel)
        mask = 0 if self.guard is None else self.guard.bit
        self.wait = Operation(WAIT, resource, writes=resource.bit | mask)
        self.notify = Operation(NOTIFY, resource, reads=mask, writes_when=bool)
        self.look = Operation(POLL, resource, reads=resource.bit)
        self._wakes: dict[str, Operation] = {}

    def wake(self, name: str) -> Operation:
        """Return the step in which this actor, notified, takes its lock again."""
        wake = self._wakes.get(name)
        if wake is None:
            assert self.guard is not None
            both = Every(self.resource.name, (self.guard, self.resource))
            reads, writes = self.resource.bit, self.guard.bit
            wake = Operation(WAKE, both, reads, writes, enabled=lambda s: not s[0] and name not in s[1])
            self._wakes[name] = wake
        return wake

    def notified(self, name: str, detail: str = "") -> Operation:
        """Return the step that waits until this actor is notified and leaves the lock alone."""
        resource = self.resource
        return Operation(NOTIFIED, resource, resource.bit, enabled=lambda waiters: name not in waiters, detail=detail)

    def lapse(self) -> Operation:
        """Return the step in which an actor whose time is over takes its lock again and leaves the queue."""
        assert self.guard is not None
        return Operation(LAPSE, self.guard, writes=self.guard.bit | self.resource.bit, enabled=not_)

    def leave(self, kernel: Kernel, name: str) -> None:
        """Take this actor out of the queue, if it is still there."""
        if name in self.resource.state:
            kernel.put(self.resource, tuple(waiter for waiter in self.resource.state if waiter != name))


_views = Views(_View)


def _init(self: Condition, lock: Any = None) -> None:
    _genuine_init(self, lock)
    kernel = current()
    if kernel is not None and not (genuine.is_genuine(vars(self)["_lock"]) and sys._getframe(1).f_globals.get("__name__") in _LIBRARY):
        _views.born(kernel, self)


def with_lock(kernel: Kernel, lock: Lock | RLock, name: str, label: str) -> Condition:
    """Return a condition of this execution, made with a lock under control."""
    condition = Condition.__new__(Condition)
    _genuine_init(condition, lock)  # type: ignore[arg-type]  # a stand-in
    condition.__dict__[VIEW] = _View(kernel, condition, name, label)
    return condition


def _wait(self: Condition, timeout: float | None = None) -> bool:
    kernel = current()
    if kernel is None:
        return _genuine_wait(self, timeout)
    view = _views.of(kernel, self)
    lock, guard = view.lock, view.guard
    if lock is None or guard is None:
        return _wait_on_another_lock(kernel, view, self, timeout)
    name = me(kernel)
    kernel.step(view.wait)
    if guard.state != name and (isinstance(lock, RLock) or not guard.state):
        raise RuntimeError("cannot wait on un-acquired lock")
    depth = lock._depth if isinstance(lock, RLock) else 1
    kernel.put(view.resource, (*view.resource.state, name))
    kernel.put(guard, None)
    if kernel.tracing:
        gave_back(kernel, guard)
    if timeout is None:
        kernel.step(view.wake(name))
        notified = True
    else:
        notified = _await_notification(kernel, view, name, timeout)
        kernel.step(lock._acquire if notified else view.lapse())
        if not notified:
            view.leave(kernel, name)
    kernel.put(guard, name)
    if isinstance(lock, RLock):
        lock._depth = depth
    if kernel.tracing:
        took(kernel, guard)
    return notified


def _await_notification(kernel: Kernel, view: _View, name: str, timeout: float) -> bool:
    """Wait, for a limited time, until notified; return whether the actor was notified."""
    if timeout > 0:
        step_until(kernel, view.notified(name, f"{view.resource.name} for {timeout:g} s"), timeout)
    else:
        kernel.step(view.look)
    notified = name not in view.resource.state
    if kernel.tracing:
        kernel.note("notified" if notified else "time is over")
    return notified


def _wait_on_another_lock(kernel: Kernel, view: _View, condition: Any, timeout: float | None) -> bool:
    """Wait with a lock of another class: it is given up and taken again by calling its methods."""
    if not condition._is_owned():
        raise RuntimeError("cannot wait on un-acquired lock")
    name = me(kernel)
    kernel.step(view.wait)
    kernel.put(view.resource, (*view.resource.state, name))
    saved = condition._release_save()
    if timeout is None:
        kernel.step(view.notified(name))
        notified = True
    else:
        notified = _await_notification(kernel, view, name, timeout)
    condition._acquire_restore(saved)
    if not notified:
        kernel.step(Operation(LAPSE, writes=view.resource.bit, detail=view.resource.name))
        view.leave(kernel, name)
    return notified


def _wait_for(self: Condition, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
    kernel = current()
    if kernel is None:
        return _genuine_wait_for(self, predicate, timeout)
    end: int | None = None
    left = timeout
    result = predicate()
    while not result:
        if left is not None:
            sees_time(kernel)
            now = kernel.clock.now
            if end is None:
                end = now + nanoseconds(left)
            else:
                left = (end - now) / SECOND
                if left <= 0:
                    break
        self.wait(left)
        result = predicate()
    return result


def _notify(self: Condition, n: int = 1) -> None:
    kernel = current()
    if kernel is None:
        _genuine_notify(self, n)
        return
    _notify_some(kernel, _views.of(kernel, self), self, n)


def _notify_all(self: Condition) -> None:
    kernel = current()
    if kernel is None:
        _genuine_notify_all(self)
        return
    _notify_some(kernel, _views.of(kernel, self), self, None)


def _notify_some(kernel: Kernel, view: _View, condition: Any, n: int | None) -> None:
    guard = view.guard
    if guard is None and not condition._is_owned():
        raise RuntimeError("cannot notify on un-acquired lock")
    kernel.step(view.notify)
    if guard is not None and guard.state != me(kernel) and (isinstance(view.lock, RLock) or not guard.state):
        raise RuntimeError("cannot notify on un-acquired lock")
    waiters = view.resource.state
    number = len(waiters) if n is None else max(0, n)
    if waiters and number:
        kernel.put(view.resource, waiters[number:])
        if kernel.tracing:
            kernel.note(f"wakes {', '.join(waiters[:number])}")
    elif kernel.tracing:
        kernel.note("no actor waits")


def install(patches: Patches) -> None:
    """Plan the replacements."""
    replacements = {"__init__": _init, "wait": _wait, "wait_for": _wait_for, "notify": _notify, "notify_all": _notify_all}
    replace(patches, threading.Condition, replacements)
