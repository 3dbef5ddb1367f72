"""Calls that change, or ask for, the handlers and filters of a logger: those are lists that code under test reads, too.

Lines that are logged are for people, so that a logger's handlers are used by each line is no conflict (`allowed.py`).
"""

from __future__ import annotations

import logging
import logging.config
from collections.abc import Callable
from typing import Any

from simharness.runtimes.memory.accesses import ALL, BULK, Part
from simharness.runtimes.memory.halfway import during
from simharness.runtimes.memory.shared import Memory
from simharness.runtimes.memory.wide import LEVELS, touch

_METHODS = {"addHandler": "handlers", "removeHandler": "handlers", "addFilter": "filters", "removeFilter": "filters"}
_LEVEL = {"getEffectiveLevel": False, "setLevel": True}
"""Methods that read, or write, a level."""
_CONFIGURING = frozenset({*_METHODS, "hasHandlers", *_LEVEL})
_OF_ALL = frozenset({logging.basicConfig, logging.config.dictConfig, logging.config.fileConfig})


def configures(function: Any, owner: Any = None) -> bool:
    """Whether a function, or a method of an object, is one that changes or asks for handlers, filters or levels."""
    if owner is None:
        return function in _OF_ALL
    return issubclass(type(owner), logging.Filterer) and function.__module__ == "logging" and function.__name__ in _CONFIGURING


def configuring(memory: Memory, function: Any, owner: Any = None) -> Callable[..., Any]:
    """Wrap such a function so that it announces the lists that it touches."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        if function.__name__ in _LEVEL:
            return during(memory, touch(memory, LEVELS, _LEVEL[function.__name__]), function, *arguments, **keywords)
        point = memory.access(list(_touched(function, owner)))
        return during(memory, point, function, *arguments, **keywords)

    return call


def _touched(function: Any, owner: Any) -> list[Part]:
    if owner is None:
        return [(logging.getLogger().handlers, BULK, None)]
    if function.__name__ in _METHODS:
        return [(getattr(owner, _METHODS[function.__name__]), BULK, None)]
    lists: list[Part] = []
    while owner is not None:
        lists.append((owner.handlers, ALL, None))
        owner = owner.parent if owner.propagate else None
    return lists
