"""Progress while exploring: a line that is redrawn on a terminal, one plain line for each finished cell elsewhere.

No thread draws: a simulation replaces what threads and clocks are, so the line is redrawn when the explorer, between two
executions, says how far it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from simharness.progress import Progress
from simharness.report.table import cell_name, words_of

if TYPE_CHECKING:
    from types import TracebackType

    from simharness.results import Result
    from simharness.scenario import Parameters, Scenario

_monotonic = time.monotonic


class LiveProgress(Progress):
    """Draws on `stream`; use as a context.

    Args:
        total: how many cells there are.
        interrupted: asked between executions; when it says so, the exploration ends with KeyboardInterrupt.
    """

    def __init__(self, stream: TextIO, total: int, interrupted: Callable[[], bool] = lambda: False) -> None:
        self.console = Console(file=stream, highlight=False)
        self.total = total
        self.done = 0
        self.current = ""
        self.executions = 0
        self._interrupted = interrupted
        self._began = _monotonic()
        self._live = (
            Live(console=self.console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False)
            if self.console.is_terminal
            else None
        )

    def __enter__(self) -> LiveProgress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def started(self, scenario: Scenario, parameters: Parameters) -> None:
        """A cell begins."""
        self.working_on(f"{scenario.name} {words_of(parameters)}".strip())

    def working_on(self, cell: str) -> None:
        """Show what is being explored."""
        self.current, self.executions = cell, 0
        self._draw(0, 0.0)

    def advanced(self, executions: int, seconds: float) -> None:
        """So many executions have been run."""
        self.executions = executions
        if self._interrupted():
            raise KeyboardInterrupt
        self._draw(executions, seconds)

    def finished(self, result: Result) -> None:
        """A cell has ended."""
        self.done += 1
        verdict = f"error: {result.error}" if result.error is not None else str(result.verdict)
        odd = "" if result.as_expected or result.error is not None else f" (expected: {result.expected})"
        if self._live is None:
            effort = f"{result.executions} executions, {result.seconds:.1f} s"
            line = f"[{self.done}/{self.total}] {cell_name(result)}: {verdict}{odd}, {effort}"
            self.console.print(Text(line), soft_wrap=True)
        else:
            self._draw(0, 0.0)

    def _draw(self, executions: int, seconds: float) -> None:
        if self._live is None:
            return
        rate = f", {executions / seconds:,.0f}/s" if seconds > 0.2 and executions else ""
        so_far = f": {executions:,} executions{rate}" if executions else ""
        line = Text(f"[{self.done}/{self.total}] {_monotonic() - self._began:.0f} s  {self.current}{so_far}")
        line.truncate(max(10, self.console.width - 1), overflow="ellipsis")
        self._live.update(line, refresh=True)
