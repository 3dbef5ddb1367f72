"""What a search for data races needs to know of shared memory beside the record of steps: kept only where data races are failures.

Accesses to attributes and variables can race. Operations on containers and on objects of the standard library are atomic, except that a
loop over a container takes several steps, which a change of it can come between.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from simharness.places import Place, callers

_NUMBERED = re.compile(r"(?:.*'s )?(.*?)(?: #\d+)?(\.[^.]*|)")


class Watched:
    """The accesses of one execution.

    Attributes:
        variables: the mask of the locations that can race: attributes and variables.
        labels: what each location is called, by its bit.
        walks: the indices of the steps of loops over containers.
        places: the user's lines that led to each step that touches memory, by its index, innermost first.
    """

    def __init__(self) -> None:
        self.variables = 0
        self.labels: dict[int, str] = {}
        self.walks: set[int] = set()
        self.places: dict[int, tuple[Place, ...]] = {}
        self._walking = False

    def location(self, bit: int, label: str, variable: bool) -> None:
        """A location has this bit; `label` is that of its object and its own part, such as "a's Counter #2.n"."""
        found = _NUMBERED.fullmatch(label)
        self.labels[bit] = label if found is None else found[1] + found[2]
        if variable:
            self.variables |= bit

    def stepped(self, step: int) -> None:
        """A step has touched memory."""
        self.places[step] = callers()
        if self._walking:
            self.walks.add(step)

    def walking(self, access: Callable[[], bool]) -> bool:
        """Make an access that a loop over a container makes."""
        self._walking = True
        try:
            return access()
        finally:
            self._walking = False
