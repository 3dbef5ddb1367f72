"""Stand-ins for the genuine locks and thread-locals that the code under test made before the simulation began.

A module-level `lock = threading.Lock()` of a module imported earlier is a C object that cannot be patched, and a genuine RLock or local would
silently do nothing between actors, which share one OS thread. So whoever of the user's refers to it (a module, a class, an
instance, a default argument, a closure) refers to a stand-in while the patches last; outside a simulation it uses the genuine
one. What only a list, a tuple, a slot or C code holds is not reached.
"""

from __future__ import annotations

import _thread
import gc
import sys
import threading
from collections.abc import Iterable
from types import CellType, FunctionType, ModuleType
from typing import Any

from simharness.runtimes.locals import Local
from simharness.runtimes.locks import Lock, RLock
from simharness.runtimes.patching import Patches

_LOCK, _RLOCK, _LOCAL = _thread.LockType, _thread.RLock, _thread._local
_LEFT_ALONE = frozenset({"simharness", "_pytest", "pytest", "pluggy", "greenlet"})


def install(patches: Patches) -> None:
    """Plan the stand-ins."""
    genuine = [found for found in gc.get_referrers(_LOCK, _RLOCK, _LOCAL) if type(found) in (_LOCK, _RLOCK, _LOCAL)]
    mine = {id(genuine)}
    targets = {id(found): found for found in genuine}
    for holder in gc.get_referrers(*genuine) if genuine else ():
        if id(holder) in mine or holder is targets:
            continue
        if type(holder) is dict:
            _adopt_in_dict(patches, holder, targets)
        elif type(holder) is CellType:
            if id(holder.cell_contents) in targets and _cell_is_users(holder):
                _replace(patches, holder.cell_contents, "closure")
        elif type(holder) is not list and _is_users(type(holder).__module__):
            _adopt_in_instance(patches, holder, targets)
    _adopt_conditions(patches)


_stand_ins: dict[int, tuple[Any, Any]] = {}


def stand_in(genuine: Any, label: str) -> Any:
    """Return what stands in for this object: the same for good, so that names stay."""
    known = _stand_ins.get(id(genuine))
    if known is not None and known[0] is genuine:
        return known[1]
    made: Any
    if type(genuine) is _LOCK:
        made = object.__new__(Lock)
        made.__init__(genuine=genuine, label=f"lock {label}")
    elif type(genuine) is _RLOCK:
        made = object.__new__(RLock)
        made.__init__(genuine=genuine, label=f"rlock {label}")
    else:
        made = Local.around(genuine)
    _stand_ins[id(genuine)] = genuine, made
    return made


def _replace(patches: Patches, genuine: Any, label: str) -> None:
    patches.everywhere(genuine, stand_in(genuine, label))


def _is_users(module: Any) -> bool:
    root = str(module).partition(".")[0]
    return root not in _LEFT_ALONE and root not in sys.stdlib_module_names or root == "__main__"


def _cell_is_users(cell: CellType) -> bool:
    for closure in gc.get_referrers(cell):
        if type(closure) is tuple:
            for function in gc.get_referrers(closure):
                if isinstance(function, FunctionType):
                    return _is_users(function.__module__)
    return False


def _adopt_in_dict(patches: Patches, holder: dict[Any, Any], targets: dict[int, Any]) -> None:
    """A dictionary refers to genuine objects: adopt them if it is the namespace of something of the user's."""
    owner = _owner(holder)
    if owner is None:
        return
    for name, value in list(holder.items()):
        if id(value) in targets and isinstance(name, str):
            _replace(patches, value, f"{owner}.{name}")


def _owner(namespace: dict[Any, Any]) -> str | None:
    """Return the name of the user's module, class or instance whose namespace this is, or None."""
    if "__spec__" in namespace and "__name__" in namespace:
        module = sys.modules.get(namespace["__name__"])
        if isinstance(module, ModuleType) and vars(module) is namespace:
            return module.__name__ if _is_users(module.__name__) else None
    for found in gc.get_referrers(namespace):
        if isinstance(found, type):
            if _is_users(found.__module__):
                return found.__name__
        elif not isinstance(found, (dict, list, tuple)) and getattr(found, "__dict__", None) is namespace:
            return type(found).__name__ if _is_users(type(found).__module__) else None
    return None


def _adopt_in_instance(patches: Patches, holder: Any, targets: dict[int, Any]) -> None:
    for name, value in list(getattr(holder, "__dict__", {}).items()):
        if id(value) in targets:
            patches.attribute(holder, name, stand_in(value, f"{type(holder).__name__}.{name}"))


def _adopt_conditions(patches: Patches) -> None:
    """Give a stand-in to the lock of each condition that was made before, whose methods are bound to it."""
    for condition in _instances(threading.Condition):
        lock = vars(condition).get("_lock")
        if type(lock) not in (_LOCK, _RLOCK):
            continue
        substitute = stand_in(lock, "of a condition")
        patches.attribute(condition, "_lock", substitute)
        for name in ("acquire", "release", "_release_save", "_acquire_restore", "_is_owned"):
            if name in vars(condition) and hasattr(substitute, name):
                patches.attribute(condition, name, getattr(substitute, name))


def _instances(cls: type) -> Iterable[Any]:
    classes = [cls, *cls.__subclasses__()]
    return [found for found in gc.get_referrers(*classes) if isinstance(found, cls)]
