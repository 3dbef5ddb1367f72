"""The genuine locks that the code under test made before the simulation, put under control where they are used.

A lock is used through the methods of its class, whoever holds it: a variable, a dictionary, a tuple, a slot, a closure, a cache in C. While
the patches last, these methods belong to a stand-in for each lock that is used inside a simulation (see `locks`), and to the genuine lock
everywhere else. So a genuine RLock, which all actors could enter since they share one OS thread, is never entered by the code under test.

Locks that the standard library has for itself, in a variable of the module or an attribute of the object whose code uses them, stay
genuine and make no steps: nothing waits while one is held. So do those of Trio and of the tools around a test. Where something does wait,
and another actor asks for the lock, the exploration ends in an error that names it. Code of the standard library that calls others while
it holds a lock is listed in `_FOR_OTHERS`.

An OS thread that no runtime controls takes the genuine locks. If it takes or gives back one that actors use, exploring ends in an error:
the actors would not exclude it.

A method that was taken from its lock before (`acquire = LOCK.acquire`) is bound to the genuine code. It is replaced in what
holds it, and where that cannot be done exploring is refused.
"""

from __future__ import annotations

import _thread
import gc
import sys
import threading
from collections.abc import Mapping
from types import FrameType
from typing import Any, NamedTuple

from simharness.engine import kernel as _kernel
from simharness.engine.kernel import Kernel, current
from simharness.errors import Refused
from simharness.places import place_of
from simharness.runtimes.bindings import is_users
from simharness.runtimes.patching import Patches
from simharness.runtimes.primitives import BINDINGS, call_alike
from simharness.runtimes.threads import bound
from simharness.runtimes.threads.adoption import ThereBefore
from simharness.runtimes.threads.locks import INTERNAL, Lock, RLock, shared

_LOCK, _RLOCK = _thread.LockType, _thread.RLock
_TAKING = frozenset({"acquire", "acquire_lock", "__enter__"})
_GIVING = frozenset({"release", "release_lock", "__exit__"})
_METHODS = (
    *("acquire", "acquire_lock", "release", "release_lock", "locked", "locked_lock", "__enter__", "__exit__"),
    *("_is_owned", "_recursion_count", "_release_save", "_acquire_restore"),
)
_FOR_OTHERS = ("Condition.", "_RLock.")
"""What the names of functions of `threading` begin with that use others' locks. (An RLock written in Python holds a genuine Lock.)"""
_NEVER = INTERNAL | {"simharness.runtimes.threads.locks", "simharness.simulation.watchdog"}
"""Modules whose use of a lock is never under control."""
_LIBRARIES = frozenset({"trio", "outcome", "sniffio", "pytest_trio", "hypothesis", "sortedcontainers"})
"""Packages around a test, whose own locks are not the code's under test."""


class _Quiet(NamedTuple):
    """A genuine lock that the standard library has taken for itself: by which actor, in which execution, how often."""

    lock: Any
    actor: Any
    execution: Any
    depth: int


class _StandIns:
    """The stand-ins of the genuine locks that were used inside a simulation, for as long as the patches last."""

    def __init__(self) -> None:
        self._of: dict[int, Lock | RLock] = {}
        self._users: dict[str, bool] = {}
        self._quiet: dict[int, _Quiet] = {}

    def of(self, lock: Any) -> Lock | RLock:
        """Return the stand-in of a genuine lock."""
        stand_in = self._of.get(id(lock))
        if stand_in is None:
            kind = RLock if isinstance(lock, _RLOCK) else Lock
            stand_in = self._of[id(lock)] = kind.around(lock)
        return stand_in

    def forget(self) -> None:
        """Let go of everything."""
        self._of.clear()
        self._quiet.clear()

    def controls(self, lock: Any, frame: FrameType) -> bool:
        """Whether a lock that this code uses is under control: all but those that the standard library, Trio or a tool has for itself."""
        module = str(frame.f_globals.get("__name__"))
        if module in _NEVER:
            return False
        if module == "functools":  # cached_property calls a function while it holds its lock, before Python 3.12
            module = str(getattr(getattr(frame.f_locals.get("self"), "func", None), "__module__", module))
        users = self._users.get(module)
        if users is None:
            users = self._users[module] = is_users(module) and module.partition(".")[0] not in _LIBRARIES
        if users or (module == "threading" and frame.f_code.co_qualname.startswith(_FOR_OTHERS)):
            return True
        return not _is_own(lock, frame)

    def met(self, kernel: Kernel, lock: Any) -> None:
        """An OS thread that no runtime controls takes a lock, or gives it back: refuse that if actors use the lock."""
        stand_in = self._of.get(id(lock))
        if stand_in is not None and stand_in._execution is kernel.resources:
            thread = threading._active.get(_thread.get_ident())  # type: ignore[attr-defined]  # not in the stubs
            kernel.interrupt(shared(stand_in._resource.name, f"the OS thread {getattr(thread, 'name', 'without a name')}"))

    def look(self, kernel: Kernel, lock: Any, frame: FrameType) -> None:
        """The standard library takes a lock for itself: refuse that while another actor holds it, which would wait forever."""
        quiet = self._quiet.get(id(lock))
        if quiet is not None and quiet.execution is kernel.context and quiet.actor is not kernel.actor:
            _refuse(kernel, lock, frame)

    def took(self, kernel: Kernel, lock: Any) -> None:
        """The standard library has taken a lock for itself."""
        quiet = self._quiet.get(id(lock))
        depth = quiet.depth if quiet is not None and quiet.execution is kernel.context else 0
        self._quiet[id(lock)] = _Quiet(lock, kernel.actor, kernel.context, depth + 1)

    def gave_back(self, lock: Any) -> None:
        """A lock that the standard library may have taken for itself is given back."""
        quiet = self._quiet.pop(id(lock), None)
        if quiet is not None and quiet.depth > 1:
            self._quiet[id(lock)] = quiet._replace(depth=quiet.depth - 1)


_STAND_INS = _StandIns()


def controlled(lock: Any) -> Lock | RLock | None:
    """Return the lock under control that a lock is, or has as its stand-in; None for one that is neither."""
    if isinstance(lock, (Lock, RLock)):
        return lock
    return _STAND_INS.of(lock) if is_genuine(lock) else None


def is_genuine(lock: Any) -> bool:
    """Whether a lock is the interpreter's."""
    return isinstance(lock, (_LOCK, _RLOCK))


def _is_own(lock: Any, frame: FrameType) -> bool:
    """Whether a lock is a variable of the module, or an attribute of the object, whose code uses it."""
    if any(value is lock for value in list(frame.f_globals.values())):
        return True
    code = frame.f_code
    owner = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
    spaces: list[Mapping[str, Any]] = [vars(base) for base in type(owner).__mro__]
    if isinstance(owner, type):
        spaces += [vars(base) for base in owner.__mro__]
    elif any(held is lock for held in gc.get_referents(owner)):  # in a slot
        return True
    elif type(owner).__dictoffset__:
        spaces.append(vars(owner))
    return any(value is lock for space in spaces for value in list(space.values()))


def _refuse(kernel: Kernel, lock: Any, frame: FrameType) -> None:
    kind = "an RLock" if isinstance(lock, _RLOCK) else "a Lock"
    actor = kernel.actor.name if kernel.actor is not None else "a check"
    error = Refused(
        f"{place_of(frame) or 'code without a file'}: {actor} enters {kind} of the standard library, in {frame.f_globals.get('__name__')}."
        f"{frame.f_code.co_qualname}, that another actor holds: no runtime controls it"
    )
    kernel.give_up(error)
    raise error


def _method(cls: type, name: str) -> Any:
    """Return what stands in for a method of the genuine locks."""
    genuine = vars(cls)[name]
    takes, gives = name in _TAKING, name in _GIVING

    def method(self: Any, /, *arguments: Any, **options: Any) -> Any:
        kernel = current()
        if kernel is None:
            if takes or gives:
                for simulated, _ in _kernel._active[:1]:  # on another OS thread
                    _STAND_INS.met(simulated, self)
            return genuine(self, *arguments, **options)
        frame = sys._getframe(1)
        if _STAND_INS.controls(self, frame):
            return getattr(_STAND_INS.of(self), name)(*arguments, **options)
        watched = (takes or gives) and kernel.actor is not None and _is_watched(frame)
        if watched and takes:
            _STAND_INS.look(kernel, self, frame)
        result = genuine(self, *arguments, **options)
        if watched and takes and result:
            _STAND_INS.took(kernel, self)
        elif watched and gives:
            _STAND_INS.gave_back(self)
        return result

    call_alike(method, genuine)
    return method


def _is_watched(frame: FrameType) -> bool:
    """Whether this is code of the standard library that could be switched away while it holds a lock of its own."""
    module = str(frame.f_globals.get("__name__"))
    return module not in _NEVER and module.partition(".")[0] in sys.stdlib_module_names


_REPLACED: dict[type, dict[str, Any]] = {
    cls: {name: _method(cls, name) for name in _METHODS if name in vars(cls)} for cls in (_LOCK, _RLOCK)
}


def install(patches: Patches, there: ThereBefore) -> None:
    """Plan the replacements."""
    for cls, methods in _REPLACED.items():
        for name, method in methods.items():
            patches.method(cls, name, method)
    patches.afterwards(_STAND_INS.forget)
    patches.afterwards(BINDINGS.forget)
    bound.install(patches, _REPLACED, there)
