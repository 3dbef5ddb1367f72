"""Accesses to attributes, however they are written: `o.x`, `getattr(o, "x")`, `setattr`, `object.__setattr__`, an augmented assignment.

What is assigned and is no location is named beside the verdict: calling a function reads its defaults and its code, and looking up an
attribute reads the bases of a class, without announcing it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CellType, FunctionType
from typing import Any

from simharness.engine.phases import RUNNING
from simharness.runtimes.memory.accesses import BULK
from simharness.runtimes.memory.allowed import PROXIES, is_internal
from simharness.runtimes.memory.kinds import DICT, EXEMPT, MODULE, OBJECT, ClassRules, instance_of, own_attributes, referent_of
from simharness.runtimes.memory.on_opaque import enters
from simharness.runtimes.memory.opaque import parts
from simharness.runtimes.memory.shared import Memory
from simharness.runtimes.memory.wide import LEVELS, of_a_logger, touch

_READ_BY_CALLS = frozenset({"__code__", "__defaults__", "__kwdefaults__"})
_DESCRIPTIVE = frozenset({"__traceback__", "__suppress_context__"})
"""What the interpreter itself assigns where an exception is raised; no location."""
CHANGING = frozenset({"add_note", "__setstate__"})


def touch_attribute(memory: Memory, owner: Any, name: str, write: bool, slot: bool = False) -> bool:
    """Announce an access to an attribute, unless it only runs code; return whether that was a scheduling point.

    `slot`: by `object`'s own method, past a `__setattr__` or `__getattribute__` of the class.
    """
    rules = memory.known_rules.get(type(owner)) or memory.rules(type(owner))
    if rules.exempt and of_a_logger(owner, name):
        return touch(memory, LEVELS, write)
    if rules.kind != EXEMPT and (rules.slot_touches if slot else rules.touches)(name, write):
        return _touch(memory, rules, owner, name, write)
    if rules.kind == OBJECT and name in ("__dict__", "__class__"):
        memory.as_a_whole(owner, name, write)
    elif type(owner) is super:
        return touch_attribute(memory, instance_of(owner), name, write)
    elif rules.thread_local and not write and name in memory.classes:
        memory.read_class(owner, name)
    elif type(owner) in PROXIES and (stands_for := referent_of(owner)) is not owner:
        return touch_attribute(memory, stands_for, name, write, slot)
    elif write and type(owner) is CellType:
        _leave_out(memory, owner, name)
    return False


def _touch(memory: Memory, rules: ClassRules, owner: Any, name: str, write: bool) -> bool:
    if rules.kind == MODULE:
        memory.objects.setdefault(id(owner), memory.globals_of(owner.__name__))
        return memory.touch(memory.global_spot(owner.__name__, name), write)
    if rules.controlled and is_internal(name):
        memory.kernel.learned.leaves_out(f"{rules.cls.__name__}.{name}")
    elif write and ((name in _READ_BY_CALLS and rules.cls is FunctionType) or (name == "__bases__" and issubclass(rules.cls, type))):
        _leave_out(memory, owner, name)
    elif rules.opaque and rules.computes(name):
        enters(memory, rules.cls)
        return memory.access(parts(owner, write or bool(rules.steps)))
    elif write and name == "default_factory" and rules.kind == DICT:
        memory.access([(owner, BULK, None)])
    elif name in _DESCRIPTIVE and issubclass(rules.cls, BaseException):
        return False
    return memory.attribute(owner, name, write, rules.opaque)


def changing(memory: Memory, function: Callable[..., Any], owner: Any) -> Callable[..., Any]:
    """Return what to call in place of a method in C that changes attributes: `add_note` of an exception, `__setstate__`."""

    def call(*arguments: Any) -> Any:
        if issubclass(type(owner), BaseException):
            touch_attribute(memory, owner, "__notes__", True)
            notes = own_attributes(owner).get("__notes__")
            if type(notes) is list:
                memory.access([(notes, BULK, None)])
        else:
            _leave_out(memory, owner, function.__name__)
        return function(*arguments)

    return call


def _leave_out(memory: Memory, owner: Any, name: str) -> None:
    if memory.kernel.phase == RUNNING:
        memory.kernel.learned.leaves_out(f"{type(owner).__name__}.{name}")
