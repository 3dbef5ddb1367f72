"""`threading.Lock` and `threading.RLock` whose operations are scheduling points inside a simulation.

A lock's state is the name of the actor that holds it, or None. Acquiring writes it and is enabled when it is free; trying is
a write if it succeeds and a read if it fails. An actor that enters an RLock it holds makes no step: no other actor can see
it. Outside a simulation, and on other OS threads, a genuine lock does the work. A lock made before the simulation begins each
execution in the state of its genuine lock: free, or held by code that ran before. If that state changes while an exploration lasts, an OS
thread that no runtime controls uses the lock, and exploring is refused.
"""

from __future__ import annotations

import sys
import weakref
from _thread import RLock as _GenuineRLock
from _thread import allocate_lock as _genuine_lock
from collections.abc import Callable
from operator import not_
from typing import Any, NamedTuple, Self

from simharness.engine.actors import ROOT
from simharness.engine.kernel import Kernel, current
from simharness.engine.kinds import Family, Kind, Role, Sends
from simharness.engine.operations import Operation, Resource
from simharness.errors import Refused
from simharness.places import caller
from simharness.runtimes.primitives import BINDINGS, attachable, gave_back, made_here, me, step_until, took

INTERNAL = frozenset({"logging", "logging.handlers", "logging.config", "queue", "importlib._bootstrap", "_frozen_importlib", "warnings"})
"""Modules whose own locks stay genuine: they must make no steps, and no actor is switched away while it holds one."""
BEFORE = "code that ran before the simulation"
"""The holder of a lock that was held already when the simulation began."""
PATIENCE = 0.2
"""Real seconds for which a lock that another OS thread may hold must stay held to count as held."""


def shared(name: str, holder: str) -> Refused:
    """Return the error for a lock that an OS thread from outside the simulation uses too."""
    where = f"{caller() or 'code without a file'}: the {name}"
    return Refused(
        f"{where} is used by {holder} too, which no runtime controls: end that thread before exploring, or start it in the scenario"
    )


class _Kinds(NamedTuple):
    """The kinds of steps of one family of locks."""

    family: Family
    acquire: Kind
    release: Kind
    try_acquire: Kind
    locked: Kind


def _kinds(name: str) -> _Kinds:
    family = Family(name, in_memory=True, held="{name} is held by {holder}")
    return _Kinds(
        family,
        Kind(family, "acquire", Role.OPENS, enabled_by=Sends.HAND_OVER, calls=("acquire",)),
        Kind(family, "release", Role.CLOSES, calls=("release",)),
        Kind(family, "try_acquire"),
        Kind(family, "locked"),
    )


_making = _genuine_lock()


class _Base:
    """What the two classes of locks share: the resource and operations of the execution under way, and the genuine lock."""

    __slots__ = (
        "__weakref__",
        "_acquire",
        "_began",
        "_execution",
        "_genuine",
        "_rare",
        "_release",
        "_resource",
    )

    _kinds = _kinds("lock")
    _new_genuine: Callable[[], Any] = staticmethod(_genuine_lock)
    _execution: dict[str, Resource] | None
    _resource: Resource
    _acquire: Operation
    _release: Operation

    def __init__(self, *_: Any, **__: Any) -> None:
        self._execution = None
        self._began: tuple[weakref.ref[Kernel], bool] | None = None
        kernel = current()
        if kernel is None:
            self._genuine = type(self)._new_genuine()
        else:
            self._genuine = None
            self._attach(kernel, *made_here(kernel, self._kinds.family.name))

    @classmethod
    def around(cls, genuine: Any) -> Self:
        """Return a stand-in for a genuine lock; outside a simulation it uses that lock."""
        self = object.__new__(cls)
        self._execution = None
        self._began = None
        self._genuine = genuine
        return self

    def _attach(self, kernel: Kernel, name: str, label: str, holder: str | None = None) -> None:
        self._execution = kernel.resources
        resource = self._resource = kernel.resource(name, holder, label, lock=True)
        self._acquire = Operation(self._kinds.acquire, resource, writes=resource.bit, enabled=not_)
        self._release = Operation(self._kinds.release, resource, writes=resource.bit)
        self._rare: dict[str, Operation] = {}

    def _attached(self, kernel: Kernel) -> Resource:
        """Return the lock's resource in this execution; a lock made before starts as its genuine lock is."""
        if self._execution is not kernel.resources:
            holder = BEFORE if self._genuine is not None and self._begins_held(kernel) else None
            name = self._name(kernel)
            self._attach(kernel, name, name, holder)
            attachable(kernel, self)
        return self._resource

    def _name(self, kernel: Kernel) -> str:
        return BINDINGS.name(kernel, self if self._genuine is None else self._genuine, self._kinds.family.name)

    def _begins_held(self, kernel: Kernel) -> bool:
        """Whether the genuine lock is held, by code that ran before the simulation.

        Raises:
            Refused: it is not in each execution, or not for long: an OS thread from outside uses it.
        """
        genuine, began = self._genuine, self._began
        held = self._is_taken(genuine)
        if began is None or began[0]() is not kernel:
            changes = held and not self._is_taken_here(genuine) and genuine.acquire(True, PATIENCE)
            if changes:
                genuine.release()
            self._began = weakref.ref(kernel), held
        else:
            changes = held is not began[1]
        if changes:
            error = shared(self._name(kernel), "an OS thread")
            kernel.give_up(error)
            raise error
        return held

    def _is_taken(self, genuine: Any) -> bool:
        return bool(genuine.locked())

    def _is_taken_here(self, genuine: Any) -> bool:
        """Whether only this OS thread can give it back."""
        return False

    def _try(self) -> Operation:
        attempt = self._rare.get("try")
        if attempt is None:
            attempt = self._rare["try"] = Operation(self._kinds.try_acquire, self._resource, writes_when=not_)
        return attempt

    def _timed(self, seconds: float) -> Operation:
        detail = f"{self._resource.name} for {seconds:g} s"
        return Operation(self._kinds.acquire, self._resource, enabled=not_, writes_when=not_, detail=detail)

    def _look(self) -> Operation:
        look = self._rare.get("look")
        if look is None:
            look = self._rare["look"] = Operation(self._kinds.locked, self._resource, reads=self._resource.bit)
        return look

    def _take(self, kernel: Kernel, blocking: bool, timeout: float) -> bool:
        """Acquire the lock in one step."""
        resource = self._attached(kernel)
        if blocking and timeout == -1:
            kernel.step(self._acquire)
        else:
            if not blocking or timeout < 0:
                if timeout != -1:
                    _genuine_lock().acquire(blocking, timeout)
                kernel.step(self._try())
            elif timeout == 0:
                kernel.step(self._try())
            else:
                step_until(kernel, self._timed(timeout), timeout)
            if resource.state:
                if kernel.tracing:
                    kernel.note(f"held by {resource.state}")
                return False
        kernel.put(resource, me(kernel))
        if kernel.tracing:
            took(kernel, resource)
        return True

    def release(self) -> None:
        """Give the lock back."""
        raise NotImplementedError

    def __exit__(self, *_: object) -> None:
        try:
            self.release()
        except BaseException as error:
            kernel = current()
            if kernel is not None and kernel.handlers is not None and kernel.handlers.raised is error:
                self.release()  # a block of `with` ends in C: what a handler raises there comes before, or when the lock is free
            raise

    def _native(self) -> Any:
        """Return the genuine lock behind the stand-in."""
        if self._genuine is None:
            with _making:
                if self._genuine is None:
                    self._genuine = type(self)._new_genuine()
        return self._genuine

    def _at_fork_reinit(self) -> None:
        self._execution = None
        self._genuine = type(self)._new_genuine()

    def __reduce__(self) -> Any:
        raise TypeError(f"cannot pickle '{type(self._native()).__module__}.{type(self._native()).__name__}' object")

    def __repr__(self) -> str:
        kernel = current()
        if kernel is None:
            return repr(self._native())
        state = self._attached(kernel).state
        return f"<{'locked' if state else 'unlocked'} {self._resource.name}>"

    def _is_held(self) -> bool:
        kernel = current()
        if kernel is None:
            return bool(self._native().locked())
        resource = self._attached(kernel)
        kernel.step(self._look())
        return bool(resource.state)


class Lock(_Base):
    """Stands in for the lock that `threading.Lock` makes."""

    __slots__ = ()

    def __new__(cls, *_: Any, **__: Any) -> Lock:
        """Make a lock; the standard library's own are genuine, and so are all that are made outside a simulation."""
        module = sys._getframe(1).f_globals.get("__name__")
        if current() is None or module in INTERNAL or module == "threading":
            return _genuine_lock()  # type: ignore[return-value]  # as a factory function would
        return object.__new__(cls)

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock, as `threading.Lock.acquire` does."""
        kernel = current()
        if kernel is None:
            return bool(self._native().acquire(blocking, timeout))
        if blocking and timeout == -1 and self._execution is kernel.resources:
            kernel.step(self._acquire)
            kernel.put(self._resource, me(kernel))
            if kernel.tracing:
                took(kernel, self._resource)
            return True
        return self._take(kernel, blocking, timeout)

    def release(self) -> None:
        """Release the lock; any actor may."""
        kernel = current()
        if kernel is None:
            self._native().release()
            return
        resource = self._resource if self._execution is kernel.resources else self._attached(kernel)
        kernel.step(self._release)
        if not resource.state:
            raise RuntimeError("release unlocked lock")
        kernel.put(resource, None)
        if kernel.tracing:
            gave_back(kernel, resource)

    def locked(self) -> bool:
        """Whether an actor holds it."""
        return self._is_held()

    __enter__ = acquire

    acquire_lock = acquire
    release_lock = release
    locked_lock = locked


class RLock(_Base):
    """Stands in for `threading.RLock`. `_depth` counts entries, 0 when free; only the owner looks at it.

    The main actor runs where the OS thread that explores would: one that this thread has entered before is the main actor's.
    """

    __slots__ = ("_depth", "_entered_here")

    _kinds = _kinds("rlock")
    _new_genuine = staticmethod(_GenuineRLock)

    def __new__(cls, *_: Any, **__: Any) -> RLock:
        """Make a lock; the standard library's own are genuine, and so are all that are made outside a simulation."""
        if current() is None or sys._getframe(1).f_globals.get("__name__") in INTERNAL:
            return _GenuineRLock()  # type: ignore[return-value]  # as a factory function would
        return object.__new__(cls)

    def _attach(self, kernel: Kernel, name: str, label: str, holder: str | None = None) -> None:
        super()._attach(kernel, name, label, holder)
        self._depth = 0
        self._entered_here = False
        if holder == BEFORE and self._genuine._is_owned():
            self._entered_here = True
            self._depth, _ = saved = self._genuine._release_save()
            self._genuine._acquire_restore(saved)

    def _is_taken(self, genuine: Any) -> bool:
        if genuine._is_owned():
            return True
        if genuine.acquire(False):
            genuine.release()
            return False
        return True

    def _is_taken_here(self, genuine: Any) -> bool:
        return bool(genuine._is_owned())

    def _is_mine(self, kernel: Kernel) -> bool:
        """Whether the running code holds it."""
        state = self._attached(kernel).state
        return bool(state == me(kernel) or (state == BEFORE and self._entered_here and me(kernel) == ROOT))

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock, or enter it once more."""
        kernel = current()
        if kernel is None:
            return bool(self._native().acquire(blocking, timeout))
        if self._is_mine(kernel):
            self._depth += 1
            return True
        if not self._take(kernel, blocking, timeout):
            return False
        self._depth = 1
        return True

    def release(self) -> None:
        """Leave the lock; it is free when left as often as entered."""
        kernel = current()
        if kernel is None:
            self._native().release()
            return
        if not self._is_mine(kernel):
            raise RuntimeError("cannot release un-acquired lock")
        if self._depth > 1:
            self._depth -= 1
            return
        kernel.step(self._release)
        self._freed(kernel)

    def _freed(self, kernel: Kernel) -> None:
        self._depth = 0
        kernel.put(self._resource, None)
        if kernel.tracing:
            gave_back(kernel, self._resource)

    __enter__ = acquire

    def _is_owned(self) -> bool:
        kernel = current()
        if kernel is None:
            return bool(self._native()._is_owned())
        return self._is_mine(kernel)

    def _recursion_count(self) -> int:
        kernel = current()
        if kernel is None:
            return int(self._native()._recursion_count())
        return self._depth if self._is_mine(kernel) else 0

    def _release_save(self) -> Any:
        kernel = current()
        if kernel is None:
            return self._native()._release_save()
        if not self._is_mine(kernel):
            raise RuntimeError("cannot release un-acquired lock")
        kernel.step(self._release)
        depth = self._depth
        self._freed(kernel)
        return depth

    def _acquire_restore(self, saved: Any) -> None:
        kernel = current()
        if kernel is None:
            self._native()._acquire_restore(saved)
            return
        self._take(kernel, True, -1)
        self._depth = saved

    if hasattr(_GenuineRLock(), "locked"):

        def locked(self) -> bool:
            """Whether an actor holds it."""
            return self._is_held()
