"""Names of what an execution makes: numbered by kind, so that they do not depend on what other executions have made."""

from __future__ import annotations


class Labels:
    """What one execution has made so far, counted by description."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def count(self, what: str) -> int:
        """Return how many things of this description have been made, this one included."""
        number = self._counts[what] = self._counts.get(what, 0) + 1
        return number

    def counted(self, what: str) -> int:
        """Return how many things of this description have been made."""
        return self._counts.get(what, 0)

    def reserve(self, actor: str) -> bool:
        """Whether an actor may have this name; from now on no other one may."""
        return self.count(f"actor {actor}") == 1

    def free(self, base: str) -> str:
        """Return the first of `base`, `base 2`, … that no actor has."""
        number, name = 1, base
        while self.counted(f"actor {name}"):
            number += 1
            name = f"{base} {number}"
        return name
