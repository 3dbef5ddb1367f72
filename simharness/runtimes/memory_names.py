"""Names for objects that were there before the actors began and that nobody has touched: the path to each from what has a name.

Looked for when set-up is over, and only if exploring has met an object that nobody could name: then the walk finds the same objects
under the same paths in each execution, whoever touches them first.
"""

from __future__ import annotations

import sys
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from types import CellType, FunctionType, MemberDescriptorType, MethodType
from typing import Any

from simharness.instrument.kinds import CLASS, DICT, EXEMPT, HOOKS, LIST, MODULE, OBJECT, SET
from simharness.runtimes.memory import MADE_BEFORE, Memory

MOST = 20_000
"""Objects looked at; what is further away goes by its class."""


def settle(memory: Memory, works: Iterable[Any]) -> None:
    """Set-up is over: name what the instrumented modules, the named objects and the actors' functions lead to."""
    if MADE_BEFORE not in memory.kernel.learned.shared:
        return
    seen: set[int] = set()
    waiting: deque[tuple[str, str, Any]] = deque()
    for entry in list(memory.entries.values()):
        thing = entry.reference() if isinstance(entry.reference, _WEAK) else entry.reference
        seen.add(id(thing))
        waiting.extend((f"{entry.name}{key}", f"{entry.label}{key}", value) for key, value in _within(memory, thing))
    for name in sorted(sys.modules):
        module = sys.modules[name]
        if module is not None and HOOKS in getattr(module, "__dict__", {}):
            for key, value in list(vars(module).items()):
                if key != HOOKS and not key.startswith("__"):
                    waiting.append((f"{name}.{key}", key, value))
    for number, work in enumerate(works):
        waiting.append((f"work {number}", f"work {number}", work))
    while waiting and len(seen) < MOST:
        name, label, thing = waiting.popleft()
        if id(thing) in seen:
            continue
        kind = memory.plan(type(thing)).kind
        if kind in (MODULE, EXEMPT) and not isinstance(thing, MethodType | CellType | tuple | partial):
            continue
        if kind == CLASS and HOOKS not in getattr(sys.modules.get(thing.__module__), "__dict__", {}):
            continue
        seen.add(id(thing))
        if kind >= LIST or (kind == OBJECT and not isinstance(thing, FunctionType)):
            if id(thing) not in memory.entries:
                memory.register(thing, name, label)
        waiting.extend((f"{name}{key}", f"{label}{key}", value) for key, value in _within(memory, thing))


_WEAK = weakref.ref


def _within(memory: Memory, thing: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a thing leads to, each with the last part of its path. What sets hold goes by its class: their order tells nothing."""
    kind = memory.plan(type(thing)).kind
    if isinstance(thing, FunctionType):
        for name, cell in zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True):
            yield f" {name}", cell
        yield from ((f" default {number}", value) for number, value in enumerate(thing.__defaults__ or ()))
    elif isinstance(thing, MethodType):
        yield from (("", thing.__self__), ("", thing.__func__))
    elif isinstance(thing, CellType):
        try:
            yield "", thing.cell_contents
        except ValueError:
            return
    elif isinstance(thing, partial):
        yield from (("", part) for part in (thing.func, *thing.args, *thing.keywords.values()))
    elif type(thing) is tuple or kind == LIST:
        yield from ((f"[{number}]", value) for number, value in enumerate(thing) if not isinstance(value, int | str))
    elif kind == DICT:
        yield from ((f"[{number}]", value) for number, value in enumerate(dict.values(thing)) if not isinstance(value, int | str))
    if kind != SET and not isinstance(thing, MethodType | CellType):
        yield from ((f".{name}", value) for name, value in list(getattr(thing, "__dict__", {}).items()) if not name.startswith("__"))
        for base in type(thing).__mro__ if kind == OBJECT else ():
            for name, member in vars(base).items():
                if type(member) is MemberDescriptorType:
                    try:
                        yield f".{name}", member.__get__(thing)
                    except AttributeError:
                        continue
