"""What an attribute is, found without running any code."""

from __future__ import annotations

from collections import deque
from types import FunctionType, MemberDescriptorType
from typing import Any

from simharness.engine.turns import ATOMS

UNKNOWN = object()
"""Instead of a value: there is none, or it is not known."""
_KNOWN: tuple[type, ...] = (FunctionType, property, staticmethod, classmethod, type, MemberDescriptorType)


def found(owner: Any, name: str) -> tuple[Any, Any]:
    """Return what an object or its class has under this name, and the value that it has as data, without running any code."""
    own = _own(owner)
    if own is not None and name in own:
        return own[name], own[name]
    for base in type(owner).__mro__ if not isinstance(owner, type) else owner.__mro__:
        if name in base.__dict__:
            held = base.__dict__[name]
            if type(held) is MemberDescriptorType:
                try:
                    return held, held.__get__(owner)
                except AttributeError:
                    return held, UNKNOWN
            return held, UNKNOWN if callable(held) or hasattr(type(held), "__get__") else held
    return UNKNOWN, UNKNOWN


def runs_unseen_code(held: Any) -> bool:
    """Whether loading what a class has under a name runs code in C that may do anything."""
    return hasattr(type(held), "__get__") and not isinstance(held, _KNOWN) and not hasattr(held, "__objclass__")


def _own(owner: Any) -> dict[str, Any] | None:
    """Return the attributes of an object itself, without running any code."""
    try:
        own = object.__getattribute__(owner, "__dict__")
    except AttributeError:
        return None
    return own if type(own) is dict else None


def is_still(value: Any, before: Any) -> bool:
    """Whether what was read has not changed."""
    return value is before or (type(value) is type(before) and type(value) in ATOMS and value == before)


def says_itself(value: Any) -> bool:
    """Whether truth and comparisons of a value depend on nothing but which value it is, or run Python code, which is examined."""
    kind = type(value)
    return kind in ATOMS or not hasattr(kind, "__len__") or not isinstance(value, list | dict | set | deque | bytearray | tuple | frozenset)
