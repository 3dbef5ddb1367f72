"""Where an execution's choices come from: those planned, in order, and then whoever is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Chooser = Callable[[list[int]], int]
"""Is given the choices that are possible and returns one of them, or ABANDON."""
ABANDON = -1
"""What a strategy's `choose` returns to give an execution up."""


def first(enabled: list[int]) -> int:
    """Choose what comes first."""
    return enabled[0]


class Plan:
    """The choices of one execution.

    Args:
        keys: those to follow.
        choose: asked for all that come after them.
        expected: the footprints (reads, writes) of the steps of `keys` except the last, as far as they are known.
    """

    __slots__ = ("choose", "keys", "known", "length", "reads", "writes")

    def __init__(self, keys: Sequence[int] = (), choose: Chooser = first, expected: tuple[Sequence[int], Sequence[int]] = ((), ())) -> None:
        self.keys = keys
        self.choose = choose
        self.length = len(keys)
        self.reads, self.writes = expected
        self.known = min(self.length - 1, len(self.reads))
