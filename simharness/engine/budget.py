"""How long one execution, and the search's work on it, may take in real time.

A limit on an exploration is looked at between executions. One that takes long by itself (an actor loops, and the step limit is far away) is
ended here, soon after that limit: nothing is known of what it would have done, so nothing is proved. Replays have no budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from simharness.engine.clock import real_seconds
from simharness.errors import SimharnessError

T = TypeVar("T")

GRACE = 1.0
"""Seconds that each execution has at least: after one that is ended, the search cannot continue."""
STEPS = 100
"""After so many the time is looked at."""


class Overdue(SimharnessError):
    """An execution has used up its time. The run-loop of the exploration handles it."""


class Budget:
    """The time of a kernel's executions; `until`: in real seconds, when the one under way has to end; None: never."""

    def __init__(self) -> None:
        self.until: float | None = None

    @contextmanager
    def for_one(self, seconds: float | None) -> Iterator[None]:
        """A block, an execution and what the search makes of it, that may take so many more seconds; None: as many as it takes."""
        self.until = None if seconds is None else real_seconds() + max(seconds, GRACE)
        try:
            yield
        finally:
            self.until = None

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        return self.until is not None and real_seconds() >= self.until

    def check(self) -> None:
        """Look at the time.

        Raises:
            Overdue: it is over.
        """
        if self.over:
            raise Overdue("the time of this execution is over")

    def checked(self, things: Iterable[T]) -> Iterable[T]:
        """Return these; look at the time now and then while they are iterated.

        Raises:
            Overdue: it is over.
        """
        return things if self.until is None else self._checked(things)

    def _checked(self, things: Iterable[T]) -> Iterator[T]:
        for number, thing in enumerate(things, 1):
            if not number % STEPS:
                self.check()
            yield thing
