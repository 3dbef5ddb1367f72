"""Tasks that look again and again: `while not done: await sleep(0)`.

As long as nothing else happens in the loop, such a task could pause and resume forever. After many pauses at one place each further one
takes time, more and more of it, so that timers and threads get their turn.
"""

from __future__ import annotations

from typing import Any

from simharness.engine.clock import SECOND

POLLS = 32
"""How often a task pauses at one place, while nothing else happens in its loop, before each further pause takes time."""
NAP = SECOND // 1000
MOST_NAP = SECOND


class Polls:
    """How often the tasks of a loop have paused in vain."""

    def __init__(self) -> None:
        self._pauses: dict[int, tuple[Any, int, int]] = {}

    def nap(self, task: int, place: Any, events: int) -> int:
        """Return how long the pause of a task at a place takes, in nanoseconds.

        Args:
            events: how much has happened in the loop so far.
        """
        last, before, times = self._pauses.get(task, (None, -1, 0))
        times = times + 1 if last == place and before == events else 1
        self._pauses[task] = place, events, times
        return min(NAP << min(times - POLLS - 1, 10), MOST_NAP) if times > POLLS else 0
