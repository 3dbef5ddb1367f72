"""Ways to choose which actor moves next, behind one protocol.

The explorer calls `begin` for a plan (the choices to start the next execution with; None: nothing is left to explore), then the
kernel calls `choose` at every scheduling point beyond the plan, then the explorer calls `end`. A strategy that has explored everything
when `begin` returns None says so with `exhausts`; `words` says what that everything is, or what a strategy that only samples guarantees
instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

Expected = tuple[Sequence[int], Sequence[int]]


class Strategy(Protocol):
    """What the explorer and the kernel ask of a strategy.

    Attributes:
        exhausts: `begin` returns None when everything has been explored; otherwise it never does.
        grows: branches may be added to a point of the search after others of it have been explored.
        counted: the execution that `begin` has planned is one of the space that `words` speaks of; not so a sample beside a search.
    """

    exhausts: bool
    grows: bool
    counted: bool

    def begin(self) -> Sequence[int] | None:
        """Return the choices with which the next execution starts, or None when there is none."""

    def expected(self) -> Expected:
        """Return the footprints that the steps of the plan, except the last, are known to have."""

    def choose(self, enabled: list[int]) -> int:
        """Return one of the enabled choices, or a negative number to abandon the execution."""

    def end(self) -> None:
        """The execution is over; its record is in the kernel."""

    def pending(self) -> Sequence[int] | None:
        """Return how many branches are known and not begun at each depth of the next plan; None if the search does not walk a tree."""

    def words(self, executions: int, verified: bool) -> Sequence[str]:
        """Say what so many executions that ran to their end cover: everything, if `verified`, or a part of it."""
