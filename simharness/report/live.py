"""Progress while exploring: a line that is redrawn on a terminal, one plain line for each finished case elsewhere.

No thread draws: a simulation replaces what threads and clocks are, so the line is redrawn when the explorer, between two
executions, reports its progress.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from simharness.exploring.progress import Progress
from simharness.report.table import case_name, words_of
from simharness.visible import visible

if TYPE_CHECKING:
    from types import TracebackType

    from simharness.authoring.scenario import Parameters, Scenario
    from simharness.search.estimate import Estimate
    from simharness.verdicts.results import Result

_monotonic = time.monotonic
SHORTEST = 6
"""Columns that a case's name always keeps."""


class LiveProgress(Progress):
    """Draws on `stream`; use as a context.

    Args:
        total: how many cases there are.
        interrupted: called between executions; when it returns True, the exploration ends with KeyboardInterrupt.
    """

    def __init__(self, stream: TextIO, total: int, interrupted: Callable[[], bool] = lambda: False) -> None:
        self.console = Console(file=stream, highlight=False)
        self.total = total
        self.done = 0
        self.current = ""
        self.executions = 0
        self.estimate: Estimate | None = None
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
        """A case begins."""
        self.working_on(f"{scenario.name} {words_of(parameters)}".strip())

    def working_on(self, case: str) -> None:
        """Show what is being explored."""
        self.current, self.executions, self.estimate = visible(case), 0, None
        self._draw(0.0)

    def advanced(self, executions: int, seconds: float, estimate: Estimate | None) -> None:
        """Show the progress of the current case; raise KeyboardInterrupt if the user has interrupted it."""
        self.executions, self.estimate = executions, estimate
        if self._interrupted():
            raise KeyboardInterrupt
        self._draw(seconds)

    def so_far(self) -> str:
        """Say, for the end of a sentence, how far the current case is; nothing where only a worker process knows."""
        if not self.executions:
            return ""
        total = "" if self.estimate is None else f" of {self.estimate}"
        return f" after {self.executions:,}{total} executions"

    def finished(self, result: Result) -> None:
        """A case has ended."""
        self.done += 1
        verdict = f"error: {result.error}" if result.error is not None else str(result.verdict)
        why = f"expected: {result.expected}" if result.unlike.startswith("not ") else result.unlike
        odd = "" if result.as_expected or result.error is not None else f" ({why})"
        remarks = f" ({'; '.join(result.remarks)})" if result.remarks else ""
        if self._live is None:
            effort = f"{result.executions} {'execution' if result.executions == 1 else 'executions'}, {result.seconds:.1f} s"
            line = f"[{self.done}/{self.total}] {case_name(result)}: {verdict}{odd}{remarks}, {effort}"
            self.console.print(Text(visible(line)), soft_wrap=True)
        else:
            self._draw(0.0)

    def _draw(self, seconds: float) -> None:
        """Draw the line; where it is too long for the terminal, the case's name is shortened and the numbers stay."""
        if self._live is None:
            return
        so_far = f": {how_far(self.executions, seconds, self.estimate)}" if self.executions else ""
        began = f"[{self.done}/{self.total}] {_monotonic() - self._began:.0f} s  "
        width = self.console.width - 1
        name = Text(self.current)
        name.truncate(max(SHORTEST, width - len(began) - len(so_far)), overflow="ellipsis")
        line = Text.assemble(began, name, so_far)
        line.truncate(width, overflow="ellipsis")
        self._live.update(line, refresh=True)


def how_far(executions: int, seconds: float, estimate: Estimate | None) -> str:
    """Say how far an exploration is: "1,204 of about 4,000 (3,100–5,600), 6–15 s left"."""
    if estimate is None:
        rate = f", {executions / seconds:,.0f}/s" if seconds > 0.2 else ""
        return f"{executions:,} executions{rate}"
    low, high = duration(estimate.seconds_low), duration(estimate.seconds_high)
    if low.partition(" ")[2] == high.partition(" ")[2]:
        low = low.partition(" ")[0]
    left = high if low in (high, high.partition(" ")[0]) else f"{low}–{high}"
    return f"{executions:,} of {estimate}, {left} left"


def duration(seconds: float) -> str:
    """Write seconds for people, in one unit: "12 s", "3 min", "2 h", "4 days"."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} s"
