"""Where an execution's choices come from: first those planned, in order, then a chooser."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Chooser = Callable[[list[int]], int]
"""A function that takes the possible choices and returns one of them, or ABANDON."""
ABANDON = -1
"""What a strategy's `choose` returns to give up an execution."""


def first(enabled: list[int]) -> int:
    """Choose the first possible choice."""
    return enabled[0]


class Plan:
    """The choices of one execution.

    Args:
        keys: the choices to follow.
        choose: makes all choices after them.
        expected: the footprints (reads, writes) of the steps of `keys` except the last, if they are known.
    """

    __slots__ = ("choose", "keys", "known", "length", "reads", "writes")

    def __init__(self, keys: Sequence[int] = (), choose: Chooser = first, expected: tuple[Sequence[int], Sequence[int]] = ((), ())) -> None:
        self.keys = keys
        self.choose = choose
        self.length = len(keys)
        self.reads, self.writes = expected
        self.known = min(self.length - 1, len(self.reads))
