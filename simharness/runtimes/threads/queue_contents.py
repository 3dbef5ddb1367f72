"""The contents of queues made before the simulation: restored at the start of every execution, and when it is over."""

from __future__ import annotations

import copy
from collections import deque
from typing import Any

from simharness.runtimes.primitives import VIEW

_CONTENTS = "_simharness_contents"
_changed: list[Any] = []
"""The queues that the simulation has used."""


def _contents(owner: Any) -> dict[str, Any]:
    """Return copies of the attributes in which a queue keeps its items and counts."""
    kinds = (list, deque, dict, set, int, bool)
    return {name: copy.copy(value) for name, value in vars(owner).items() if isinstance(value, kinds)}


def keep(owner: Any) -> None:
    """Remember what a queue holds that the simulation has not made, if it has not used it yet."""
    if _CONTENTS not in owner.__dict__:
        owner.__dict__[_CONTENTS] = _contents(owner)
        _changed.append(owner)


def restore(owner: Any) -> None:
    """Give a queue the contents of then."""
    for name, value in owner.__dict__.get(_CONTENTS, {}).items():
        owner.__dict__[name] = copy.copy(value)


def forget() -> None:
    """Restore the contents of all of them, and forget the queues."""
    while _changed:
        owner = _changed.pop()
        restore(owner)
        for name in (_CONTENTS, VIEW):
            owner.__dict__.pop(name, None)
