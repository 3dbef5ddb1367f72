"""Draws executions that follow the incident's log: a search that goes for the next line that is expected.

Where the space is large, most of it is the business of actors that log nothing (heartbeats, refreshers, pollers). A draw prefers, at each
step, the line that the log has next, then the actors that have been seen to log such a line, then those that log at all; each with a
probability below one, drawn anew for each execution, so every execution stays possible. Faults strike at a step drawn beforehand. This is
a directed random walk, as in directed greybox fuzzing (Böhme et al., CCS 2017), whose distance is the rest of the log.

It finds explanations, and proves nothing: that no execution fits is only known from an exhausted search.
"""

from __future__ import annotations

from collections.abc import Sequence

from simharness.engine.actors import SHIFT
from simharness.engine.kernel import Kernel
from simharness.incident.gate import Gate, LogLine
from simharness.search.sampling import ByMover

EAGER = (0.6, 0.8, 0.9, 0.97)
"""With which probability a draw follows the log, and an actor continues."""
NEXT, TALKS, SILENT = 12, 4, 1
"""How likely actors are to be picked: those that log what comes next, those that log anything, and the others."""


class Guided(ByMover):
    """Draws towards the end of the incident's log."""

    name = "guided"

    def __init__(self, kernel: Kernel, seed: int, gate: Gate) -> None:
        super().__init__(kernel, seed)
        self._gate = gate
        self._eager = EAGER[0]
        self._strike = 0
        self._last = -1

    def begin(self) -> Sequence[int] | None:
        """Draw how closely this execution follows the log, and when a fault strikes."""
        self._eager = EAGER[self.below(len(EAGER))]
        self._strike = self.below(self.steps + 1)
        self._last = -1
        return super().begin()

    def choose(self, enabled: list[int]) -> int:
        """Return a choice; faults strike when their time has come, and not before unless nothing else is possible."""
        movers = self.kernel.movers
        faults = [key for key in enabled if key >> SHIFT in movers.faults and key != movers.nothing_key]
        others = [key for key in enabled if key not in faults] if faults else enabled
        if faults and (not others or self.kernel.record.n >= self._strike):
            self._strike = self.kernel.record.n + 1 + self.below(self.steps + 1)
            return faults[self.below(len(faults))]
        if movers.nothing_key in others:
            return movers.nothing_key
        key = super().choose(others)
        actor = self.kernel.cast.actors.get(key >> SHIFT)
        if actor is not None and actor.pending is not None and actor.pending.faults:
            if self.kernel.record.n < self._strike:
                return min(other for other in others if other >> SHIFT == key >> SHIFT)
            self._strike = self.kernel.record.n + 1 + self.below(self.steps + 1)
        return key

    def pick(self, movers: list[int]) -> int:
        """Return the mover that the log asks for, or another one."""
        actors = self.kernel.cast.actors
        moving = [mover for mover in movers if mover in actors] or movers
        if len(moving) < len(movers) and self.random() > self._eager:
            moving = movers
        expected = self._gate.expected()
        if self.random() < self._eager:
            for mover in moving:
                pending = actors[mover].pending if mover in actors else None
                if isinstance(pending, LogLine) and pending.event in expected:
                    self._last = mover
                    return mover
            if self._last in moving and self._weight(self._last, expected) > SILENT:
                return self._last
        weights = [self._weight(mover, expected) for mover in moving]
        drawn = self.below(sum(weights))
        for mover, weight in zip(moving, weights, strict=True):
            drawn -= weight
            if drawn < 0:
                self._last = mover
                break
        return self._last

    def _weight(self, mover: int, expected: frozenset[str]) -> int:
        actor = self.kernel.cast.actors.get(mover)
        said = self._gate.said.get(actor.name, frozenset[str]()) if actor is not None else frozenset[str]()
        return NEXT if said & expected else TALKS if said else SILENT

    def guarantee(self) -> str:
        """Promise nothing."""
        return f"no guarantee ({self.size()})"
