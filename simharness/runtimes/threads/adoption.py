"""Stand-ins for the genuine locks and thread-locals that the code under test made before the simulation began.

A module-level `lock = threading.Lock()` of a module imported earlier is a C object that cannot be patched, and a genuine
RLock or local would silently do nothing between actors, which share one OS thread. So while the patches last, references to it in the
user's code (in a module, class, instance, default argument or closure) are replaced by a stand-in, which outside a simulation uses the
genuine object. References only from a list, a tuple, a slot or C code are not replaced.
"""

from __future__ import annotations

import _thread
import gc
import sys
import threading
from collections.abc import Mapping
from types import CellType, FrameType, FunctionType
from typing import Any

from simharness.runtimes.patching import Patches
from simharness.runtimes.threads.locals import Local
from simharness.runtimes.threads.locks import Lock, RLock

_LOCK, _RLOCK, _LOCAL = _thread.LockType, _thread.RLock, _thread._local
_LEFT_ALONE = frozenset(
    {"simharness", "_pytest", "pytest", "pluggy", "greenlet", "coverage", "pytest_cov", "xdist", "execnet", "pydevd", "debugpy"}
)


def install(patches: Patches) -> None:
    """Plan the stand-ins."""
    _Adoption(patches).plan()


class _Adoption:
    """Finds references to genuine objects. An object has the same stand-in everywhere."""

    def __init__(self, patches: Patches) -> None:
        self._patches = patches
        self._stand_ins: dict[int, Any] = {}
        self._targets: dict[int, Any] = {}

    def plan(self) -> None:
        """Ask the garbage collector for references to genuine objects, and for owners of namespaces and tuples with one. It is slow."""
        kinds = (_LOCK, _RLOCK, _LOCAL)
        genuine = [thing for thing in gc.get_referrers(*kinds) if type(thing) in kinds]
        if not genuine:
            return
        targets = self._targets = {id(thing): thing for thing in genuine}
        indirect: dict[int, Any] = {}
        for holder in gc.get_referrers(*genuine):
            if type(holder) not in (dict, tuple):
                self._in_holder(holder)
            elif "__spec__" not in holder:
                if holder is not targets:
                    indirect[id(holder)] = holder
            elif _is_users(holder["__name__"]):
                self._in_namespace(holder, holder["__name__"])
        for owner in gc.get_referrers(*indirect.values()) if indirect else ():
            if type(owner) is FunctionType:
                if id(owner.__defaults__) in indirect:
                    self._in_defaults(owner, dict(enumerate(owner.__defaults__ or ())))
                if id(owner.__dict__) in indirect and _is_users(owner.__module__):
                    self._in_namespace(owner.__dict__, owner.__name__)
            elif not isinstance(owner, (dict, list, tuple, FrameType)):
                self._in_owner(owner)

    def _in_holder(self, holder: Any) -> None:
        if type(holder) is CellType:
            self._everywhere(holder.cell_contents, "of a closure")
        elif type(holder) is FunctionType:
            self._in_defaults(holder, holder.__kwdefaults__ or {})
        elif not isinstance(holder, (list, FrameType)):
            self._in_owner(holder)

    def _stand_in(self, genuine: Any, label: str) -> Any:
        made = self._stand_ins.get(id(genuine))
        if made is None:
            if type(genuine) is _LOCK:
                made = Lock.around(genuine, f"lock {label}")
            elif type(genuine) is _RLOCK:
                made = RLock.around(genuine, f"rlock {label}")
            else:
                made = Local.around(genuine)
            self._stand_ins[id(genuine)] = made
        return made

    def _everywhere(self, genuine: Any, label: str) -> None:
        if id(genuine) not in self._stand_ins:
            self._patches.everywhere(genuine, self._stand_in(genuine, label))

    def _in_namespace(self, namespace: Mapping[str, Any], owner: str) -> None:
        for name, value in list(namespace.items()):
            if id(value) in self._targets:
                self._everywhere(value, f"{owner}.{name}")

    def _in_owner(self, owner: Any) -> None:
        """A class or an instance refers to genuine objects: adopt them if it is the user's."""
        if isinstance(owner, threading.Condition):
            self._in_condition(owner)
        cls = owner if isinstance(owner, type) else type(owner)
        if _is_users(cls.__module__) and hasattr(owner, "__dict__"):
            self._in_namespace(vars(owner), cls.__name__)

    def _in_defaults(self, function: FunctionType, defaults: dict[Any, Any]) -> None:
        if _is_users(function.__module__):
            for value in defaults.values():
                if id(value) in self._targets:
                    self._everywhere(value, f"of {function.__name__}")

    def _in_condition(self, condition: threading.Condition) -> None:
        """Give a stand-in to the lock of a condition made before: the condition has bound methods of the lock."""
        lock = vars(condition).get("_lock")
        if id(lock) not in self._targets:
            return
        substitute = self._stand_in(lock, "of a condition")
        self._patches.attribute(condition, "_lock", substitute)
        for name in ("acquire", "release", "_release_save", "_acquire_restore", "_is_owned"):
            if name in vars(condition) and hasattr(substitute, name):
                self._patches.attribute(condition, name, getattr(substitute, name))


def _is_users(module: Any) -> bool:
    root = str(module).partition(".")[0]
    return root == "__main__" or (root not in _LEFT_ALONE and root not in sys.stdlib_module_names)
