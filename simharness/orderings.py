"""Names for orderings: two beginnings of executions have the same name just when they are equal up to swapping independent neighbours.

An event is named by its choice, the event of the same mover before it and the events directly before it in happens-before; so its
name tells its whole past (the events of an unfolding: Nielsen, Plotkin, Winskel: Petri nets, event structures and domains, TCS
1981). A beginning of an execution is named by the last event of each mover. Names are interned, not hashed: equal names mean equal
orderings. In the same ordering the world is in the same state.
"""

from __future__ import annotations

from simharness.actors import SHIFT
from simharness.kernel import Kernel
from simharness.operations import CLOCK
from simharness.races import Races

Name = tuple[tuple[int, int], ...]


class Orderings:
    """Names the orderings of one kernel's executions, each as far as it has got."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._known: dict[tuple[int, int, frozenset[int]], int] = {}
        self.begin()

    def begin(self) -> None:
        """Another execution is about to run."""
        self._races = Races(self._kernel)
        self._events: list[int] = []
        self._last: dict[int, int] = {}

    def now(self) -> Name:
        """Return the name of what the execution has done so far."""
        kernel, races = self._kernel, self._races
        for j in range(len(self._events), kernel.n):
            key = kernel.keys[j]
            past, event = self._event(j, key, kernel.reads[j], kernel.writes[j])
            races.before.append(past)
            self._events.append(event)
            self._last[key >> SHIFT] = event
        return tuple(sorted(self._last.items()))

    def after(self, key: int) -> Name:
        """Return the name of what the execution has done once it has taken this choice, which is possible now."""
        self.now()
        kernel = self._kernel
        index = key >> SHIFT
        footprint = (0, CLOCK) if key == kernel.clock_key else self._races.pending_footprint(kernel.actors[index])
        return tuple(sorted({**self._last, index: self._event(kernel.n, key, *footprint)[1]}.items()))

    def _event(self, j: int, key: int, reads: int, writes: int) -> tuple[int, int]:
        index = key >> SHIFT
        past, direct = self._races.past(j, index, reads, writes)
        told = key, self._last.get(index, -1), frozenset(self._events[i] for i in direct)
        return past, self._known.setdefault(told, len(self._known))
