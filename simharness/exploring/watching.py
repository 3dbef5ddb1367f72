"""What a run-loop calls: what is made of its executions, and what keeps where it stands, is not its own business."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from simharness.engine.facts import Mark
    from simharness.exploring.parallel.border import Border
    from simharness.exploring.parallel.log import Log
    from simharness.exploring.parallel.parts import Parts
    from simharness.exploring.rounds import Rounds  # which calls these; a circle of types only
    from simharness.settings import Shard
    from simharness.simulation.execution import Execution


class Watcher:
    """What a run-loop calls; override what is needed. `keeps`: the attributes that `after` changes."""

    keeps: Sequence[str] = ()
    spreads = False
    """Whether executions may be run in other processes: it then gets their log instead of each."""

    def begin(self, rounds: Rounds) -> None:
        """A round begins: what was seen in earlier ones is out of date."""

    def before(self, rounds: Rounds, branch: int | None) -> None:
        """An execution is about to be run; `branch` is the depth at which it leaves the one before, in a search that walks a tree."""

    def after(self, rounds: Rounds, execution: Execution) -> None:
        """An execution has ended; it is the kernel's last."""

    def passed(self, rounds: Rounds, log: Log, announced: bool) -> None:
        """Other processes have run the next executions of the search, the first of which may have been announced by `before`.

        `rounds.execution` is the one before them.
        """

    def waiting(self, rounds: Rounds, parts: Parts) -> None:
        """Other processes are at work on these parts."""

    def enough(self) -> str | None:
        """Return why the exploration stops here, if it does."""

    def state(self, rounds: Rounds) -> Any:
        """Return what it has seen of this round, as JSON."""

    def restore(self, state: Any, border: Border) -> None:
        """Go on from such a state of another process."""


class Keeping(Protocol):
    """Keeps where an exploration stands.

    Attributes:
        shard: which part of the tree is explored here, or None for all of it.
    """

    shard: Shard | None

    def restore(self, rounds: Rounds, mark: Mark) -> bool:
        """Let a round that begins go on from where it was kept, if it was; return False if it has to start over before."""

    def look(self, rounds: Rounds) -> None:
        """The search stands between two executions: keep where, if it is time to."""

    def keep(self, rounds: Rounds) -> None:
        """Keep where the search stands."""

    def keep_failure(self, rounds: Rounds) -> None:
        """An execution has failed: keep it with where the search stood before."""
