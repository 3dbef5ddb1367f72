"""Methods that were taken from their genuine locks before the simulation, as `acquire = LOCK.acquire` does, replaced in what holds them.

Such a method is bound to the genuine code: its class cannot change what it does. A `threading.Condition` holds some of its lock's. What
cannot be changed (an iterator, an object of an extension module) makes exploring refused: who calls it cannot be seen.
"""

from __future__ import annotations

import gc
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial
from types import BuiltinFunctionType, CellType, FrameType, FunctionType, GeneratorType, MemberDescriptorType, MethodType, ModuleType
from typing import Any, NamedTuple

from simharness.errors import Refused
from simharness.runtimes.bindings import is_users
from simharness.runtimes.patching import Patches
from simharness.runtimes.primitives import BINDINGS
from simharness.runtimes.threads.adoption import ThereBefore

Methods = Mapping[type, Mapping[str, Any]]
_DEEPEST = 3
_COVERED = (dict, CellType, FunctionType, type, ModuleType)
"""What `Patches.everywhere` looks into."""


def install(patches: Patches, replaced: Methods, there: ThereBefore) -> None:
    """Plan to replace the bound methods of genuine locks.

    Raises:
        Refused: something holds one that cannot be changed.
    """
    left = {id(method): method for method in there.holders if _is_method(method, replaced)}
    there.holders[:] = [holder for holder in there.holders if id(holder) not in left]
    for condition in there.conditions:
        attributes = vars(condition)
        for name in list(attributes):
            if id(attributes[name]) in left:
                patches.attribute(condition, name, _instead(attributes[name], replaced))
                if sys.getrefcount(attributes[name]) <= _IN_ONE_CONDITION:
                    del left[id(attributes[name])]
    if left:
        library = {id(lock) for lock in _of_the_library(replaced)}
        changes = [
            _Change(method, _instead(method, replaced), (method.__name__, method.__self__))
            for method in left.values()
            if id(method.__self__) not in library
        ]
        left.clear()
        _redirect(patches, changes)


class _Change(NamedTuple):
    """A thing, what is to be in its place, and which method of which lock it is."""

    before: Any
    after: Any
    what: tuple[str, Any]


def _is_method(thing: Any, replaced: Methods) -> bool:
    cls = _class_of(thing, replaced) if isinstance(thing, BuiltinFunctionType) else None
    return cls is not None and thing.__name__ in replaced[cls]


def _class_of(method: Any, replaced: Methods) -> type | None:
    kind = type(method.__self__)
    return kind if kind in replaced else next((cls for cls in replaced if issubclass(kind, cls)), None)


def _instead(method: Any, replaced: Methods) -> MethodType:
    cls = _class_of(method, replaced)
    assert cls is not None
    return MethodType(replaced[cls][method.__name__], method.__self__)


def _count_in_one_condition() -> int:
    """Return the references to a method that only a condition holds, as `install` counts them."""
    attributes: dict[str, Any] = {"acquire": [].append}
    left = {id(method): method for method in attributes.values()}
    return sys.getrefcount(attributes["acquire"]) if left else 0


_IN_ONE_CONDITION = _count_in_one_condition()


def _of_the_library(replaced: Methods) -> Iterator[Any]:
    """Yield the locks that are variables of modules that are not the user's."""
    for name, module in list(sys.modules.items()):
        if not is_users(name):
            yield from (value for value in list(getattr(module, "__dict__", {}).values()) if type(value) in replaced)


def _in_words(name: str, lock: Any) -> str:
    return f"{name}, a method of the lock {BINDINGS.path(lock) or 'that was made before'},"


def _redirect(patches: Patches, changes: list[_Change], depth: int = 0) -> None:
    """Plan to replace every reference to these things. What cannot change its parts is made again, and replaced in its turn."""
    wanted = {id(change.before): change for change in changes}
    for change in changes:
        patches.everywhere(change.before, change.after)
    again: list[_Change] = []
    originals = tuple(change.before for change in changes)  # is a holder itself, from Python 3.13 on
    for holder in gc.get_referrers(*originals) if changes else ():
        kind = type(holder)
        parts = [wanted[id(part)] for part in gc.get_referents(holder) if id(part) in wanted]
        if isinstance(holder, FrameType | GeneratorType | _Change) or holder is originals or patches.holds(holder) or not parts:
            continue
        if isinstance(holder, list | deque):
            for number in [number for number, value in enumerate(holder) if id(value) in wanted]:
                change = wanted[id(holder[number])]
                patches.change(partial(holder.__setitem__, number, change.after), partial(holder.__setitem__, number, change.before))
        elif kind is set:
            for change in parts:
                patches.change(
                    partial(_exchange, holder, change.before, change.after), partial(_exchange, holder, change.after, change.before)
                )
        elif isinstance(holder, partial):
            state = holder.__reduce__()[2]
            patches.change(partial(holder.__setstate__, _changed(state, wanted)), partial(holder.__setstate__, state))  # type: ignore[attr-defined]  # not in the stubs
        elif kind in (tuple, frozenset, staticmethod, classmethod) and depth < _DEEPEST:
            parts_made = parts[0].after if kind in (staticmethod, classmethod) else [_instead_of(part, wanted) for part in holder]
            again.append(_Change(holder, kind(parts_made), parts[0].what))
        elif not isinstance(holder, _COVERED) and not all(_in_object(patches, holder, change) for change in parts):
            where = f"{kind.__module__}.{kind.__qualname__}"
            raise Refused(f"{_in_words(*parts[0].what)} is held by {where}, where it cannot be put under control: hold the lock itself")
    if again:
        _redirect(patches, again, depth + 1)


def _instead_of(part: Any, wanted: dict[int, _Change]) -> Any:
    return wanted[id(part)].after if id(part) in wanted else part


def _exchange(holder: set[Any], before: Any, after: Any) -> None:
    holder.discard(before)
    holder.add(after)


def _changed(state: Any, wanted: dict[int, _Change]) -> Any:
    """Return the state of a partial with the changes made."""
    function, arguments, keywords, attributes = state
    given = tuple(_instead_of(value, wanted) for value in arguments)
    named = {name: _instead_of(value, wanted) for name, value in keywords.items()}
    return _instead_of(function, wanted), given, named, attributes


def _in_object(patches: Patches, holder: Any, change: _Change) -> bool:
    """Plan to change what the slots of an object hold; return whether the thing is in one, or in an attribute, which is planned already."""
    names = [
        name
        for base in type(holder).__mro__
        for name, member in vars(base).items()
        if type(member) is MemberDescriptorType and base.__module__ != "builtins" and getattr(holder, name, None) is change.before
    ]
    for name in names:
        patches.change(partial(setattr, holder, name, change.after), partial(setattr, holder, name, change.before))
    return bool(names) or any(value is change.before for value in getattr(holder, "__dict__", {}).values())
