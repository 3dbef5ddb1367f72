"""Stand-ins for the genuine thread-locals that the code under test made before the simulation began.

All actors would silently share a genuine local, since they share one OS thread. So while the patches last, references to it in the
user's code (in a module, class, instance, default argument or closure) are replaced by a stand-in, which outside a simulation uses the
genuine object. References only from a list, a tuple, a slot or C code are not replaced. Locks are put under control elsewhere
(`simharness.runtimes.threads.genuine`).
"""

from __future__ import annotations

import _thread
import gc
import threading
from collections.abc import Mapping
from types import CellType, FrameType, FunctionType
from typing import Any

from simharness.runtimes.bindings import is_users
from simharness.runtimes.patching import Patches
from simharness.runtimes.threads.locals import Local

_LOCAL = _thread._local


class ThereBefore:
    """What there is before a simulation: genuine locks and thread-locals, who refers to them, and the conditions. Finding it is slow."""

    def __init__(self) -> None:
        conditions = _all_of(threading.Condition)
        kinds = {kind for base in (_thread.LockType, _thread.RLock, _LOCAL) for kind in _all_of(base)}
        things = gc.get_referrers(*kinds, *conditions)
        self.genuine = tuple(thing for thing in things if type(thing) in kinds)
        self.conditions: list[threading.Condition] = [thing for thing in things if type(thing) in conditions]
        self.holders = [holder for holder in gc.get_referrers(*self.genuine) if holder is not things and holder is not self.genuine]


def _all_of(base: type) -> set[type]:
    return {base}.union(*map(_all_of, base.__subclasses__()))


def install(patches: Patches, there: ThereBefore) -> None:
    """Plan the stand-ins."""
    _Adoption(patches).plan(there)


class _Adoption:
    """Finds references to genuine objects. An object has the same stand-in everywhere."""

    def __init__(self, patches: Patches) -> None:
        self._patches = patches
        self._stand_ins: dict[int, Any] = {}
        self._targets: dict[int, Any] = {}

    def plan(self, there: ThereBefore) -> None:
        """Ask the garbage collector for owners of namespaces and tuples with a reference to a genuine local. It is slow."""
        targets = self._targets = {id(thing): thing for thing in there.genuine if type(thing) is _LOCAL}
        indirect: dict[int, Any] = {}
        for holder in there.holders:
            if type(holder) not in (dict, tuple):
                self._in_holder(holder)
            elif "__spec__" not in holder:
                if holder is not targets and self._holds_one(holder):
                    indirect[id(holder)] = holder
            elif is_users(holder["__name__"]):
                self._in_namespace(holder)
        for owner in gc.get_referrers(*indirect.values()) if indirect else ():
            if type(owner) is FunctionType:
                if id(owner.__defaults__) in indirect:
                    self._in_defaults(owner, dict(enumerate(owner.__defaults__ or ())))
                if id(owner.__dict__) in indirect and is_users(owner.__module__):
                    self._in_namespace(owner.__dict__)
            elif not isinstance(owner, (dict, list, tuple, FrameType)):
                self._in_owner(owner)

    def _holds_one(self, holder: Any) -> bool:
        return any(id(value) in self._targets for value in list(holder.values() if type(holder) is dict else holder))

    def _in_holder(self, holder: Any) -> None:
        if type(holder) is CellType:
            if id(holder.cell_contents) in self._targets:
                self._everywhere(holder.cell_contents)
        elif type(holder) is FunctionType:
            self._in_defaults(holder, holder.__kwdefaults__ or {})
        elif not isinstance(holder, (list, FrameType)):
            self._in_owner(holder)

    def _everywhere(self, genuine: Any) -> None:
        if id(genuine) not in self._stand_ins:
            stand_in = self._stand_ins[id(genuine)] = Local.around(genuine)
            self._patches.everywhere(genuine, stand_in)

    def _in_namespace(self, namespace: Mapping[str, Any]) -> None:
        for value in list(namespace.values()):
            if id(value) in self._targets:
                self._everywhere(value)

    def _in_owner(self, owner: Any) -> None:
        """A class or an instance refers to genuine objects: adopt them if it is the user's."""
        cls = owner if isinstance(owner, type) else type(owner)
        if is_users(cls.__module__) and hasattr(owner, "__dict__"):
            self._in_namespace(vars(owner))

    def _in_defaults(self, function: FunctionType, defaults: dict[Any, Any]) -> None:
        if is_users(function.__module__):
            for value in defaults.values():
                if id(value) in self._targets:
                    self._everywhere(value)
