"""The hooks that rewritten code calls around its accesses. Outside a simulation, and on other OS threads, each returns its argument.

`simharness.instrument.rewriting` says which hook stands where. A hook that returns its argument has announced the access that follows;
one that returns a stand-in leaves that to the stand-in (`simharness.runtimes.memory.guards`).
"""

from __future__ import annotations

from collections.abc import Iterable
from sys import getrefcount, modules
from types import FunctionType, MethodType
from typing import Any

from simharness.engine.kernel import Kernel, _active, os_thread
from simharness.engine.phases import RUNNING
from simharness.instrument.marks import HOOKS
from simharness.runtimes.defaults import made as made_class
from simharness.runtimes.memory import guards
from simharness.runtimes.memory import shared as runtime
from simharness.runtimes.memory.accesses import ALL, BULK, IN_C, WALK
from simharness.runtimes.memory.attributes import touch_attribute
from simharness.runtimes.memory.calls import called
from simharness.runtimes.memory.halfway import Held
from simharness.runtimes.memory.kinds import EXEMPT, LIST, OUTSIDE, SIMPLE, referent_of
from simharness.runtimes.memory.on_opaque import Managed, stepped
from simharness.runtimes.memory.opaque import is_iterator
from simharness.runtimes.memory.reach import SHOWING, all_of, source_of
from simharness.runtimes.memory.shared import MEMORY, Memory
from simharness.runtimes.memory.stateless import STATELESS, keeps_state
from simharness.runtimes.memory.tracked import MANY, Spot
from simharness.runtimes.memory.wide import assigning

_EXECUTED = "code that eval or exec runs"
_THESE = modules[__name__]
ANNOUNCING = True
"""Distinguishes these hooks from silent ones."""


def _here() -> Memory | None:
    """Return the shared memory of the simulation that the running code is part of."""
    if _active:
        kernel, thread = _active[0]
        if thread == os_thread():
            memory: Memory | None = kernel.context.get(MEMORY)
            return memory if memory is not None else runtime.of(kernel)
    return None


def attr(owner: Any, name: str) -> Any:
    """`owner.name` is read next."""
    if _active:
        kernel, thread = _active[0]
        if thread == os_thread():
            memory = kernel.context.get(MEMORY)
            if memory is not None:
                tracked = memory.objects.get(id(owner))
                if tracked is not None:
                    spot = tracked.spots.get(name)
                    if spot is not None and kernel.phase == RUNNING and not memory.halfway:
                        private = spot.private
                        if private is kernel.actor or private is MANY:
                            return owner
            _read(runtime.of(kernel), owner, name)
    return owner


def _read(memory: Memory, owner: Any, name: str) -> None:
    if touch_attribute(memory, owner, name, False) and memory.kernel.tracing:
        guards.note_read(memory.kernel, owner, name)


def store(owner: Any, name: str) -> Any:
    """`owner.name` is written or deleted next."""
    if _active:
        kernel, thread = _active[0]
        if thread == os_thread():
            memory = kernel.context.get(MEMORY)
            if memory is not None:
                tracked = memory.objects.get(id(owner))
                if tracked is not None:
                    spot = tracked.spots.get(name)
                    private = spot is not None and spot.written and spot.private is kernel.actor
                    if private and kernel.phase == RUNNING and not memory.halfway:
                        return owner
            return _write(runtime.of(kernel), owner, name)
    return owner


def _write(memory: Memory, owner: Any, name: str) -> Any:
    if touch_attribute(memory, owner, name, True) and memory.kernel.tracing:
        return guards.Store(memory.kernel, owner)
    return owner


def update(owner: Any) -> Any:
    """An attribute or an item of `owner` is read and then written next."""
    if _active:
        memory = _here()
        if memory is not None:
            owner = referent_of(owner)
            if memory.rules(type(owner)).kind != EXEMPT:
                return guards.Update(memory, owner)
    return owner


def on(owner: Any) -> Any:
    """`owner` is subscripted next; that is an access if it is a container."""
    if _active:
        memory = _here()
        if memory is not None:
            owner = referent_of(owner)
            rules = memory.known_rules.get(type(owner)) or memory.rules(type(owner))
            if rules.kind >= LIST or rules.opaque or type(owner) in SHOWING:
                return guards.Guard(memory, owner)
    return owner


def compared(owner: Any) -> Any:
    """`owner` is compared, combined or searched (`in`) next."""
    if _active:
        memory = _here()
        if memory is not None:
            owner = referent_of(owner)
            kind = type(owner)
            rules = memory.rules(kind)
            if rules.kind >= LIST or rules.generated or rules.opaque or kind in SHOWING or issubclass(kind, frozenset):
                return guards.Guard(memory, owner)
            if issubclass(kind, tuple) and not SIMPLE.issuperset(map(type, tuple.__iter__(owner))):
                return guards.Guard(memory, owner)
    return owner


def contents(value: Any) -> Any:
    """`value` is formatted or matched next: its contents are read, too."""
    if _active:
        memory = _here()
        if memory is not None and type(value) not in SIMPLE:
            parts = all_of(memory, (value,))
            if parts:
                memory.access(parts)
    return value


def function(called_next: Any) -> Any:
    """`called_next` is called next."""
    if _active:
        kind = type(called_next)
        defined = called_next if kind is FunctionType else called_next.__func__ if kind is MethodType else None
        if type(defined) is FunctionType and defined.__globals__.get(HOOKS) is _THESE:
            return called_next
        memory = _here()
        if memory is not None:
            if called_next is type or called_next is isinstance:
                return guards.class_read(memory, called_next)
            if type(defined) is FunctionType:
                _meet(memory, defined.__code__.co_filename, defined.__module__, defined.__name__)
            elif kind in IN_C[:2] and called_next.__module__ not in STATELESS and called_next.__module__:
                _meet(memory, "", called_next.__module__, called_next.__name__)
            return called(memory, called_next, kind)
    return called_next


def _meet(memory: Memory, file: str, module: Any, name: str) -> None:
    """Code that is not instrumented is called; `file` is empty for code in C."""
    root = str(module).partition(".")[0]
    if root in OUTSIDE or keeps_state(root, name):
        memory.meets(root)
    elif file:
        memory.meets(file)


def whole(value: Any) -> Any:
    """All of `value` is read next, in order, if it is a container."""
    if _active:
        memory = _here()
        guards.look(memory, value, WALK)
        if memory is not None and memory.rules(type(value)).opaque:
            return stepped(memory, value)
    return value


def truth(value: Any) -> Any:
    """Whether `value` is empty is asked next, if it is a container."""
    if _active:
        guards.look(_here(), value, ALL)
    return value


def made(value: Any, hint: str = "") -> Any:
    """`value` has just been made; `hint` is what it is assigned to."""
    if _active:
        memory = _here()
        if memory is not None:
            memory.made(value, hint)
    return value


def managed(value: Any) -> Any:
    """`value` is entered as a context manager next."""
    if _active:
        memory = _here()
        if memory is not None:
            rules = memory.known_rules.get(type(value)) or memory.rules(type(value))
            if rules.opaque and (rules.foreign("__enter__") or rules.foreign("__exit__")):
                return assigning(memory, value) or Managed(memory, value)
            if rules.exempt:
                return assigning(memory, value) or value
    return value


def executed(code: Any) -> Any:
    """`eval` or `exec` runs this code next, which is not instrumented: if several actors do that, the verdict names it."""
    if _active:
        memory = _here()
        if memory is not None:
            memory.enters(_EXECUTED)
    return code


def passing(value: Any) -> Any:
    """`value` is passed on by code that a call in C may have called: others may move before the call is over."""
    if _active:
        memory = _here()
        if memory is not None and memory.halfway and memory.kernel.phase == RUNNING and not memory.kernel.dying:
            memory.pause("")
    return value


def hashed(cls: Any) -> Any:
    """A class has been made: its objects have hashes and texts that are not made of addresses."""
    if _active and _here() is not None and issubclass(type(cls), type):
        made_class(cls)
    return cls


def iterator(value: Any) -> Any:
    """An iterator over `value` is made next, for use later."""
    return walk(value, looping=False)


def walk(value: Any, *variables: Any, looping: bool = True) -> Any:
    """About to iterate over `value`, assigning each element to these variables."""
    if _active:
        memory = _here()
        if memory is not None:
            source = source_of(value)
            rules = memory.known_rules.get(type(source)) or memory.rules(type(source))
            if rules.kind >= LIST and rules.native("__iter__"):
                return _walking(memory, guards.Walk(memory, source, value, looping, own=not looping), variables)
            if rules.opaque and rules.foreign("__iter__") and getrefcount(value) > _FRESH + memory.holds(value):
                return _walking(memory, stepped(memory, value), variables)
            if variables:
                return _walking(memory, iter(value), variables)
    return value


def _references(value: Any, *variables: Any, looping: bool = True) -> int:
    source = value
    return getrefcount(value) if source is value else 0


_FRESH: int = _references(iter(()))
"""The references to a value that only the expression which calls a hook holds: no other actor can have it."""


def _walking(memory: Memory, steps: Iterable[Any], variables: tuple[Any, ...]) -> Iterable[Any]:
    if not variables:
        return steps
    return (assigned(element, *variables) for element in steps)


def _spots(memory: Memory, variables: tuple[Any, ...]) -> list[Spot]:
    """Return the locations of variables, each given by its name and either its module or a function with its cell."""
    spots = []
    for position in range(0, len(variables), 2):
        name, place = variables[position], variables[position + 1]
        if type(place) is str:
            spots.append(memory.global_spot(place, name))
        else:
            spots.append(memory.cell_spot(place.__closure__[0], name))
    return spots


def variable(name: str, place: Any) -> None:
    """A variable is read next."""
    if _active:
        memory = _here()
        if memory is not None:
            (spot,) = _spots(memory, (name, place))
            if spot.private in (memory.kernel.actor, MANY) and memory.kernel.phase == RUNNING and not memory.halfway:
                return
            if memory.touch(spot, False) and memory.kernel.tracing:
                _note_variable(memory.kernel, name, place)


def _note_variable(kernel: Kernel, name: str, place: Any) -> None:
    if type(place) is str:
        import sys

        module = sys.modules.get(place)
        if name in vars(module or guards):
            kernel.note(guards.shown(vars(module or guards)[name]))
    else:
        try:
            kernel.note(guards.shown(place.__closure__[0].cell_contents))
        except ValueError:
            kernel.note("not assigned yet")


def assigned(value: Any, *variables: Any) -> Any:
    """Variables are written next, with `value` or parts of it."""
    if _active:
        memory = _here()
        if memory is not None:
            spots = _spots(memory, variables)
            if len(spots) == 1:
                point = memory.touch(spots[0], True)
            else:
                point = memory.touch_all([(spot, True) for spot in spots], ", ".join(spot.tracked.label + spot.key for spot in spots))
            if point and memory.kernel.tracing and len(spots) == 1:
                memory.kernel.note(guards.shown(value))
    return value


def augmented(now: Any, value: Any, *variables: Any) -> Any:
    """`now`, the value of a variable, is combined with `value` in place, and the variable is written; return `value`."""
    if _active and (variables or type(now) not in SIMPLE):
        memory = _here()
        if memory is not None:
            if guards.combine(memory, now, value, BULK) and is_iterator(value):
                value = Held(memory, value)
            if variables:
                (spot,) = _spots(memory, variables)
                memory.touch(spot, True)
    return value


def entered() -> None:
    """A function whose results a cache keeps begins: between its look and its entry other actors can move."""
    memory = _here()
    if memory is not None:
        memory.touch_all((), "the cached function")
