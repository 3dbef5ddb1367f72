"""Runs schedules that resemble each other, and none twice: reversals of different races often end in one execution.

What is possible at a step depends only on the choices before it. So the executions that were run, kept as a tree of their choices, show
which choices a new schedule would make, until it diverges from all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from simharness.simulation.execution import Execution
from simharness.simulation.simulation import Simulation
from simharness.verdicts.shrink import kind_of, next_of


class Known(NamedTuple):
    """What is kept of an execution: its choices, how it ended, and the kind of its failure (None: it passed)."""

    keys: Sequence[int]
    status: str
    failed: tuple[Any, ...] | None


class _Step:
    """A step of an execution that was run: what was possible, the key of the actor that had moved, and the steps after each choice."""

    __slots__ = ("current", "enabled", "then")

    def __init__(self, enabled: list[int], current: int | None) -> None:
        self.enabled = enabled
        self.current = current
        self.then: dict[int, _Step | Known] = {}


class Followed:
    """The executions of one simulation that were run to follow a schedule."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._tree: _Step | None = None

    def known(self, order: Sequence[int]) -> Known | None:
        """Return what following a schedule comes to, if an equal execution has been run."""
        waiting = list(order)
        at: _Step | Known | None = self._tree
        while isinstance(at, _Step):
            at = at.then.get(next_of(waiting, at.enabled, at.current))
        return at

    def follow(self, order: Sequence[int]) -> tuple[Known, Execution]:
        """Run a schedule as close to `order` as possible; return what it comes to, which is remembered, and the execution, which is not."""
        kernel = self._simulation.kernel
        waiting = list(order)
        path: list[tuple[list[int], int | None, int]] = []

        def choose(enabled: list[int]) -> int:
            current = None if kernel.actor is None else kernel.actor.key
            key = next_of(waiting, enabled, current)
            path.append((list(enabled), current, key))
            return key

        execution = self._simulation.execute((), choose)
        known = Known(list(execution.keys), execution.status, kind_of(execution.failure))
        self._remember(path, known)
        return known, execution

    def _remember(self, path: Sequence[tuple[list[int], int | None, int]], known: Known) -> None:
        above: dict[int, _Step | Known] = {}
        key = 0
        if self._tree is not None:
            above[key] = self._tree
        for enabled, current, following in path:
            step = above.get(key)
            if not isinstance(step, _Step):
                step = above[key] = _Step(enabled, current)
            if self._tree is None:
                self._tree = step
            above, key = step.then, following
        above[key] = known
