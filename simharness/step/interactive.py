"""The strategy for picking moves by hand: it follows the choices made so far and stops there."""

from __future__ import annotations

from collections.abc import Sequence

from simharness.engine.plan import ABANDON
from simharness.search.strategy import Expected
from simharness.search.tokens import Replay


class Interactive:
    """Runs the first `position` of its `keys`; the caller edits both. It never claims that everything has been explored."""

    exhausts = False
    grows = False

    def __init__(self) -> None:
        self.keys: list[int] = []
        self.position = 0

    def begin(self) -> Sequence[int]:
        """Return the choices up to the position."""
        return self.keys[: self.position]

    def expected(self) -> Expected:
        """Nothing is known about footprints: nothing was explored."""
        return (), ()

    def choose(self, enabled: list[int]) -> int:
        """Stop: the user chooses here."""
        return ABANDON

    def end(self) -> None:
        """Nothing is learned from an execution."""

    def pending(self) -> None:
        """This is not a walk of a tree."""

    def words(self, executions: int, verified: bool) -> Sequence[str]:
        """Say what was covered."""
        return (f"{executions} executions chosen by hand",)

    def pick(self, key: int) -> None:
        """Take this choice next; the choices beyond the position are kept only if they begin with it."""
        if self.keys[self.position : self.position + 1] != [key]:
            self.keys[self.position :] = [key]
        self.position += 1


class Beginning(Replay):
    """Follows a token as replaying does, and stops where it ends: the token may be that of a beginning."""

    def choose(self, enabled: list[int]) -> int:
        """Return the token's next choice."""
        return ABANDON if self.taken == len(self.queue) else super().choose(enabled)
