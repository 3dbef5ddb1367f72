"""The contents of queues made before the simulation: restored after every execution."""

from __future__ import annotations

import copy
import sys
from collections import deque
from typing import Any

from simharness.runtimes.primitives import VIEW

_CONTENTS = "_simharness_contents"
_HELD = "_simharness_held"
_CONTAINERS = (list, deque, dict, set)
_changed: list[Any] = []
"""The queues that the simulation has used."""


def keep(owner: Any) -> None:
    """Remember what a queue holds that the simulation has not made, if it has not used it yet."""
    names = owner.__dict__
    if _CONTENTS not in names:
        held = any(_references(names, name) > _ALONE for name in names if isinstance(names[name], _CONTAINERS))
        kept = [(name, value, copy.copy(value)) for name, value in names.items() if isinstance(value, (*_CONTAINERS, int))]
        names[_CONTENTS], names[_HELD] = kept, held
        _changed.append(owner)


def was_there(owner: Any) -> bool:
    """Whether the simulation has not made the queue."""
    return _CONTENTS in owner.__dict__


def is_held(owner: Any) -> bool:
    """Whether other code held the container of a queue that the simulation has not made."""
    return bool(owner.__dict__.get(_HELD))


def _references(names: dict[str, Any], name: str) -> int:
    return sys.getrefcount(names[name])


_ALONE = _references({"": []}, "")
"""The references to a container that nothing but its queue holds."""


def restore(owner: Any) -> None:
    """Give a queue the contents of then, in the containers of then: other code may hold them, too."""
    for name, value, contents in owner.__dict__.get(_CONTENTS, ()):
        owner.__dict__[name] = value
        if isinstance(value, _CONTAINERS):
            value.clear()
            value.extend(contents) if isinstance(value, (list, deque)) else value.update(contents)


def end_execution() -> None:
    """Restore the contents of all of them: other code may use a container before anything uses its queue."""
    for owner in _changed:
        restore(owner)


def forget() -> None:
    """Restore the contents of all of them, and forget the queues."""
    end_execution()
    while _changed:
        owner = _changed.pop()
        for name in (_CONTENTS, _HELD, VIEW):
            owner.__dict__.pop(name, None)
