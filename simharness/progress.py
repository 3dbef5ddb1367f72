"""Being told how far an exploration is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simharness.results import Result
    from simharness.scenario import Parameters, Scenario


class Progress:
    """Called while exploring; override what you need. Give one to `Settings.progress`."""

    def started(self, scenario: Scenario, parameters: Parameters) -> None:
        """A cell begins."""

    def advanced(self, executions: int, seconds: float) -> None:
        """So many executions of the cell have been run in so many seconds; called at most some ten times a second."""

    def finished(self, result: Result) -> None:
        """A cell has ended."""
