"""Makes a counterexample short: the same failure with fewer context switches.

Two searches, cheapest first. *Merging* takes the failing schedule and lets, at each switch in turn, the actor go on that was
stopped there; what still fails the same way with fewer switches is kept. *Bounded search* then runs schedules in the order of their
preemptions (Musuvathi, Qadeer: Iterative context bounding, PLDI 2007): at most 0, 1, 2, … switches away from an actor that could
have gone on, until one fails, or the budget ends. The result says which search it came from.
"""

from __future__ import annotations

from collections.abc import Sequence

from simharness.actors import ALTERNATIVES, SHIFT
from simharness.simulation import Execution, Simulation, signature


class Shrinker:
    """Shrinks one failing execution within a budget of executions."""

    def __init__(self, simulation: Simulation, failing: Execution, budget: int) -> None:
        self._simulation = simulation
        self._wanted = signature(failing)
        self.best: Sequence[int] = list(failing.keys)
        self.switches = failing.switches
        self._size = _size(failing)
        self._left = budget
        self._learned = simulation.kernel.learned
        self._version = self._learned.version

    def run(self) -> str:
        """Shrink; afterwards `best` holds the choices. Returns what is known about the result, in words."""
        self._merge()
        bound = self._search(self._preemptions_allowed())
        self._merge()
        if bound is None:
            return f"{self.switches} context switches, not known to be the fewest"
        if not bound:
            return "no actor is interrupted where it could have gone on"
        needs = "one interruption is needed" if bound == 1 else f"{bound} interruptions are needed"
        return f"{needs}: every schedule with fewer passes"

    def _try(self, execution: Execution) -> bool:
        if self._learned.version != self._version:
            self._left = 0  # what is a scheduling point has changed: exploring must start over first
            return False
        if signature(execution) != self._wanted or execution.status not in ("complete", "deadlock"):
            return False
        better = _size(execution) < self._size
        if better:
            self.best, self.switches, self._size = list(execution.keys), execution.switches, _size(execution)
        return better

    def _merge(self) -> None:
        improved = True
        while improved and self._left > 0:
            improved = False
            keys = self.best
            for position in range(1, len(keys)):
                if keys[position] >> SHIFT == keys[position - 1] >> SHIFT or self._left <= 0:
                    continue
                mover = keys[position - 1] >> SHIFT
                again = next((later for later in range(position, len(keys)) if keys[later] >> SHIFT == mover), None)
                if again is None:
                    continue
                end = again
                while end < len(keys) and keys[end] >> SHIFT == mover:
                    end += 1
                order = [*keys[:position], *keys[again:end], *keys[position:again], *keys[end:]]
                if self._try(self._follow(order)):
                    improved = True
                    break

    def _follow(self, order: Sequence[int]) -> Execution:
        """Run a schedule as near to `order` as can be: what cannot move yet is passed over until it can."""
        self._left -= 1
        waiting = list(order)
        kernel = self._simulation.kernel

        def choose(enabled: list[int]) -> int:
            for position, key in enumerate(waiting):
                if key in enabled:
                    del waiting[position]
                    return key
            current = kernel.actor
            return current.key if current is not None and current.key in enabled else enabled[0]

        return self._simulation.execute((), choose)

    def _preemptions_allowed(self) -> int:
        return max(0, min(self.switches - 1, 3))

    def _search(self, most: int) -> int | None:
        """Look for the failure with 0, 1, … `most` preemptions; return the smallest number found, None if the budget ended."""
        kernel = self._simulation.kernel
        levels: list[list[list[int]]] = [[[]]]
        for level in range(most + 1):
            plans = levels[level] if level < len(levels) else []
            found = False
            while plans:
                if self._left <= 0:
                    return level if found else None
                self._left -= 1
                plan = plans.pop()
                points: list[tuple[int, list[int], int]] = []

                def choose(enabled: list[int], points: list[tuple[int, list[int], int]] = points) -> int:
                    current = kernel.actor
                    own = current.key if current is not None else -1
                    taken = own if own in enabled else enabled[0]
                    points.append((kernel.n, enabled, taken))
                    return taken

                execution = self._simulation.execute(plan, choose)
                keys = list(execution.keys)
                self._try(execution)
                if signature(execution) == self._wanted and execution.status in ("complete", "deadlock"):
                    found = True
                for n, enabled, taken in points:
                    for other in enabled:
                        if other == taken:
                            continue
                        current = keys[n - 1] >> SHIFT if n else -1
                        same = other >> SHIFT == taken >> SHIFT and (other | taken) & ALTERNATIVES
                        cost = level + int(not same and taken >> SHIFT == current)
                        while len(levels) <= cost:
                            levels.append([])
                        levels[cost].append([*keys[:n], other])
            if found:
                return level
        return most + 1 if most + 1 <= self.switches else None


def _size(execution: Execution) -> tuple[int, int, int]:
    """Return what makes an execution shorter than another: fewer switches, then fewer faults, then fewer steps."""
    return execution.switches, execution.faults, len(execution.keys)
