"""Names for what an execution makes: numbered per description, so that they do not depend on other executions."""

from __future__ import annotations


class Labels:
    """Counts what one execution has made so far, by description."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def count(self, description: str) -> int:
        """Return how many things of this description have been made, this one included."""
        number = self._counts[description] = self._counts.get(description, 0) + 1
        return number

    def counted(self, description: str) -> int:
        """Return how many things of this description have been made."""
        return self._counts.get(description, 0)

    def reserve(self, actor: str) -> bool:
        """Reserve a name for an actor; return whether it was free."""
        return self.count(f"actor {actor}") == 1

    def free(self, base: str) -> str:
        """Return the first of `base`, `base 2`, … that is not an actor's name."""
        number, name = 1, base
        while self.counted(f"actor {name}"):
            number += 1
            name = f"{base} {number}"
        return name
