"""Names for objects that existed before the actors began and that no actor has touched: the path to each from an object with a name.

They are looked up when set-up is over, and only if exploring has met such an object that is shared, or whose name matters otherwise. The
walk finds the same objects under the same paths in each execution, whichever actor touches them first.
"""

from __future__ import annotations

import sys
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any

from simharness.engine.kernel import Kernel
from simharness.instrument.marks import HOOKS, is_instrumented
from simharness.runtimes.memory.allowed import leads_on
from simharness.runtimes.memory.facts import MadeBefore
from simharness.runtimes.memory.kinds import CLASS, DICT, EXEMPT, LIST, MODULE, OBJECT, SET, attributes
from simharness.runtimes.memory.shared import Memory, of

MOST = 20_000
"""Objects to visit; those further away are named by their class."""


def _name_all(memory: Memory, works: Iterable[Any]) -> None:
    """Set-up is over: name the objects that instrumented modules, named objects and the actors' functions lead to."""
    seen: set[int] = set()
    waiting = deque(_roots(memory, works, seen))
    while waiting and len(seen) < MOST:
        name, label, thing = waiting.popleft()
        if id(thing) in seen or not _leads_on(memory, thing):
            continue
        seen.add(id(thing))
        kind = memory.rules(type(thing)).kind
        if (kind >= LIST or (kind == OBJECT and type(thing) is not FunctionType)) and id(thing) not in memory.objects:
            memory.register(thing, name, label)
        waiting.extend((f"{name}{key}", f"{label}{key}", value) for key, value in _within(memory, thing))


def _roots(memory: Memory, works: Iterable[Any], seen: set[int]) -> Iterator[tuple[str, str, Any]]:
    """Yield the objects where the walk begins, each with its name and label; add those that need no name to `seen`."""
    for tracked in list(memory.objects.values()):
        thing = tracked.reference() if isinstance(tracked.reference, weakref.ref) else tracked.reference
        seen.add(id(thing))
        yield from ((f"{tracked.name}{key}", f"{tracked.label}{key}", value) for key, value in _within(memory, thing))
    for name in sorted(sys.modules):
        if is_instrumented(name):
            for key, value in list(vars(sys.modules[name]).items()):
                if key != HOOKS and not key.startswith("__"):
                    yield f"{name}.{key}", key, value
    yield from ((f"work {number}", f"work {number}", work) for number, work in enumerate(works))


def _leads_on(memory: Memory, thing: Any) -> bool:
    """Whether a thing can be touched, or leads to others that can."""
    kind = memory.rules(type(thing)).kind
    if kind == CLASS:
        return is_instrumented(thing.__module__)
    return (kind not in (MODULE, EXEMPT) and leads_on(type(thing))) or issubclass(type(thing), MethodType | CellType | tuple | partial)


def _within(memory: Memory, thing: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a thing leads to, each with the last part of its path; not elements of sets, as their order means nothing."""
    kind = memory.rules(type(thing)).kind
    if type(thing) is FunctionType:
        for name, cell in zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True):
            yield f" {name}", cell
        yield from ((f" default {number}", value) for number, value in enumerate(thing.__defaults__ or ()))
    elif type(thing) is MethodType:
        yield from (("", thing.__self__), ("", thing.__func__))
    elif type(thing) is CellType:
        try:
            yield "", thing.cell_contents
        except ValueError:
            return
    elif issubclass(type(thing), partial):
        yield from (("", part) for part in (thing.func, *thing.args, *thing.keywords.values()))
    elif type(thing) is tuple or kind == LIST:
        yield from ((f"[{number}]", value) for number, value in enumerate(thing) if not issubclass(type(value), int | str))
    elif kind == DICT:
        yield from ((f"[{number}]", value) for number, value in enumerate(dict.values(thing)) if not issubclass(type(value), int | str))
    if kind not in (SET, EXEMPT):
        yield from ((f".{name}", value) for name, value in attributes(thing))


def settle(kernel: Kernel) -> None:
    """Set-up is over: name the objects that existed before, if exploring has met one without a name."""
    if kernel.learned.of(MadeBefore):
        _name_all(of(kernel), [actor.work for actor in kernel.cast.waiting])
