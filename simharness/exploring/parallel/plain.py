"""Plain values as JSON, so that a value read back equals the one written: texts, numbers, tuples, sets and what they hold.

Nothing else is written: what a reader would have to run code for is refused.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from typing import Any

from simharness.places import repr_of
from simharness.visible import shortened

_SAME = (type(None), bool, str)
_NAMES: dict[str, Any] = {"tuple": tuple, "list": list, "set": set, "frozenset": frozenset}
HUGE = 1 << 4_000
"""Integers from here on are written as texts: Python converts decimal numbers of some thousand digits only."""


class NotPlain(Exception):
    """A value cannot be written; the message shows it."""


def number(value: int) -> int | str:
    """Return an integer as JSON."""
    return value if -HUGE < value < HUGE else hex(value)


def numbers(values: Iterable[int]) -> list[int | str]:
    """Return integers as JSON."""
    return [value if value < HUGE else hex(value) for value in values]


def integer(written: int | str) -> int:
    """Return what `number` has written."""
    return written if type(written) is int else int(str(written), 16)


def integers(written: Iterable[int | str]) -> list[int]:
    """Return what `numbers` has written."""
    return [value if type(value) is int else int(str(value), 16) for value in written]


def to_json(value: Any) -> Any:
    """Return a value as JSON.

    Raises:
        NotPlain: it, or something in it, is of another kind.
    """
    kind = type(value)
    if kind in _SAME:
        return value
    if kind is int:
        return number(value) if -HUGE < value < HUGE else {"int": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if kind is bytes:
        return {"bytes": value.hex()}
    if kind is dict:
        return {"dict": [[to_json(key), to_json(one)] for key, one in value.items()]}
    if kind in (tuple, list):
        return {kind.__name__: [to_json(one) for one in value]}
    if kind in (set, frozenset):
        return {kind.__name__: [to_json(one) for one in sorted(value, key=repr_of)]}
    if isinstance(value, BaseException):
        homes = kind.__module__, str(getattr(kind.__init__, "__globals__", {}).get("__name__"))  # pytest's say that they are built in
        home = next((home for home in homes if getattr(sys.modules.get(home), kind.__name__, None) is kind), None)
        if home is not None:
            return {"exception": [home, kind.__name__, to_json(tuple(value.args))]}
    raise NotPlain(f"{shortened(repr_of(value))} ({kind.__name__})")


def from_json(written: Any) -> Any:
    """Return the value that `to_json` has written."""
    if type(written) is not dict:
        return written
    [(word, content)] = written.items()
    if word in _NAMES:
        return _NAMES[word](map(from_json, content))
    if word == "int":
        return int(content, 16)
    if word == "float":
        return float(content)
    if word == "bytes":
        return bytes.fromhex(content)
    if word == "dict":
        return {from_json(key): from_json(one) for key, one in content}
    if word == "exception":
        module, name, arguments = content
        kind = getattr(sys.modules.get(module), name, None)
        known: Any = kind if isinstance(kind, type) and issubclass(kind, BaseException) else Exception
        return known(*from_json(arguments))
    raise ValueError(f"{shortened(word)} is no kind of value")
