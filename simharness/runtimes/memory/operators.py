"""The functions of `operator`: they do what an expression does, and touch what that touches."""

from __future__ import annotations

from collections.abc import Callable
from operator import methodcaller
from typing import Any

from simharness.runtimes.memory import guards
from simharness.runtimes.memory.accesses import BULK, WALK
from simharness.runtimes.memory.halfway import during
from simharness.runtimes.memory.kinds import LIST
from simharness.runtimes.memory.reach import all_of
from simharness.runtimes.memory.shared import Memory


def operation(memory: Memory, function: Any, reading: Callable[..., Any]) -> Any:
    """A function of `operator`: what the expression does."""
    name = function.__name__
    if name in ("getitem", "setitem", "delitem", "contains"):

        def subscripted(owner: Any, *rest: Any) -> Any:
            rules = memory.rules(type(owner))
            return function(guards.Guard(memory, owner) if rules.kind >= LIST or rules.opaque else owner, *rest)

        return subscripted
    return reading(memory, function, BULK if name in _IN_PLACE else WALK)


_IN_PLACE = frozenset({f"i{name}" for name in ("add", "and", "concat", "mul", "or", "sub", "xor")})


def getting(memory: Memory, getter: Any, announced: Callable[..., Any]) -> Any:
    """An `attrgetter` or the like: it reads its argument; a `methodcaller` calls a method of it."""
    if type(getter) is methodcaller:
        name, arguments, keywords = _called_by(getter)
        return lambda owner: announced(memory, getattr(owner, name))(*arguments, **keywords)

    def call(owner: Any) -> Any:
        parts = all_of(memory, (owner,), copying=True)
        point = bool(parts) and memory.access(parts)
        return during(memory, point, getter, owner)

    return call


def _called_by(getter: Any) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """Return the name and the arguments of a `methodcaller`."""
    made, given = getter.__reduce__()
    if made is methodcaller:
        return given[0], given[1:], {}
    return made.args[0], given, made.keywords
