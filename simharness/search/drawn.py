"""The schedules that Hypothesis draws: at each choice an index into what is possible, 0 being the simplest.

The simplest is that the actor goes on that moved last; then come the others, the clock, and faults at the end. So what Hypothesis does to
make an example smaller makes a schedule one with fewer context switches. Hypothesis runs the executions (`exploring.examples`), and its
part of a choice is done outside of the simulation: its clocks, locks and random numbers are the real ones. It gives no probability for what
it draws, so it is a sampler that promises nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from simharness.engine.actors import ALTERNATIVES, SHIFT
from simharness.engine.kernel import Kernel, outside
from simharness.engine.plan import ABANDON
from simharness.search.sampling import Sampler


class Schedule:
    """A schedule that is drawn while an execution runs; made by `simharness.hypothesis.schedules`.

    Args:
        below: draws an integer from 0 to its argument - 1. It may raise, to end the example.
    """

    def __init__(self, below: Callable[[int], int]) -> None:
        self._below = below
        self._stopped: BaseException | None = None

    def __repr__(self) -> str:
        return "<schedule, drawn as it goes>"

    def choose(self, kernel: Kernel, enabled: list[int]) -> int:
        """Return one of the enabled choices, or give the execution up if the example has ended."""
        if len(enabled) == 1:
            return enabled[0]
        try:
            with outside():
                index = self._below(len(enabled))
        except BaseException as stop:
            self._stopped = stop
            return ABANDON
        return simplest_first(kernel, enabled)[index]

    def finish(self) -> None:
        """The execution is over: raise what ended the example in the middle of it, if something did."""
        if self._stopped is not None:
            raise self._stopped


class Drawn(Sampler):
    """Takes its choices from `schedule`, which is another one for each execution."""

    name = "hypothesis"
    schedule = Schedule(lambda limit: 0)

    def choose(self, enabled: list[int]) -> int:
        """Return what the schedule draws."""
        self.movers.update(key >> SHIFT for key in enabled)
        self._options = max(self._options, 1 + max(key & ALTERNATIVES for key in enabled))
        return self.schedule.choose(self.kernel, enabled)

    def guarantee(self) -> str:
        """There is none."""
        return "Hypothesis draws what may show a failure, and gives no probability of finding one"

    def _about_choices(self) -> list[str]:
        return []


def simplest_first(kernel: Kernel, enabled: list[int]) -> list[int]:
    """Return the choices in the order in which they are to be preferred: whoever moved last, the others, the clock, faults."""
    last = next((key >> SHIFT for key in reversed(kernel.record.keys) if key >> SHIFT in kernel.cast.actors), -1)
    return sorted(enabled, key=lambda key: (kernel.movers.strikes(key) is not None, key == kernel.movers.clock_key, key >> SHIFT != last))
