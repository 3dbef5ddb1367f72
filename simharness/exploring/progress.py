"""Callbacks that report how far an exploration is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simharness.authoring.scenario import Parameters, Scenario
    from simharness.search.estimate import Estimate
    from simharness.verdicts.results import Result


class Progress:
    """Called while exploring; override what you need. Give one to `simharness.explore`.

    An exception in a method ends the exploration and reaches its caller; the standard library is restored before.
    """

    def started(self, scenario: Scenario, parameters: Parameters) -> None:
        """A case begins."""

    def advanced(self, executions: int, seconds: float, estimate: Estimate | None) -> None:
        """The exploration of a case has advanced; called about ten times a second at most.

        Args:
            executions: run to their end so far. When exploring learns which steps conflict it starts over, and so does this count.
            seconds: since the case began.
            estimate: of the whole; None where no sensible estimate exists.
        """

    def finished(self, result: Result) -> None:
        """A case has ended."""
