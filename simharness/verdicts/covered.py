"""The outcome of a round of executions: its counts, why it may prove nothing, and what it covers, in words."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from simharness.engine.actors import SHIFT
from simharness.engine.kernel import Kernel
from simharness.runtimes import control
from simharness.search.strategy import Strategy
from simharness.simulation.execution import Execution
from simharness.simulation.simulation import Simulation
from simharness.verdicts.results import Verdict


class Tally:
    """The counts of a round."""

    def __init__(self) -> None:
        self.executions = self.deadlocks = self.blocked = self.redundant = self.cut = 0
        self.outcomes: set[Hashable] = set()
        self.steps = 0
        self.concurrent = self.touched = False
        self.first_failure: Execution | None = None
        self.moved: set[int] = set()
        self.stuck: dict[str, int] = {}

    @property
    def runs(self) -> int:
        """Executions of every kind."""
        return self.executions + self.blocked + self.redundant + self.cut

    def add(self, execution: Execution, kernel: Kernel) -> None:
        """Count the kernel's last execution."""
        status = execution.status
        self.steps += kernel.record.n
        self.concurrent = self.concurrent or kernel.concurrent
        self.touched = self.touched or kernel.touched
        if status == "abandoned":
            self.redundant += 1
        elif status == "blocked":
            self.blocked += 1
        elif status == "cut":
            self.cut += 1
        else:
            self.executions += 1
            if status == "deadlock":
                self.deadlocks += 1
                self.stuck.update((actor.name, actor.index) for actor in kernel.cast.stuck)
            self.moved.update(kernel.record.keys)
            self.outcomes |= execution.outcomes


def reasons(tally: Tally, simulation: Simulation, gave_up: str | None, exhausted: bool) -> list[str]:
    """Say why the absence of a failure proves nothing, if it does not.

    Args:
        gave_up: the limit that was reached, in words, or None.
        exhausted: whether the strategy has explored everything that it promises.
    """
    why = []
    if gave_up:
        why.append(gave_up)
    elif not exhausted:
        why.append("the space was not exhausted")
    if tally.cut:
        kernel = simulation.kernel
        tail = ", ".join(dict.fromkeys(str(operation.kind) for operation in kernel.record.operations[-20:]))
        where = f"at max_steps={simulation.settings.max_steps}, or where daemons kept others from moving"
        why.append(f"{tally.cut} executions were cut {where if kernel.learned.daemons else where.partition(',')[0]} (repeating: {tail})")
    if not tally.executions:
        why.append("every execution was left out" if tally.blocked else "no execution ended")
    elif not tally.steps and not tally.touched:
        why.append("no actor ever made a step")
    elif simulation.checks and not simulation.checked:
        why.append("no at_end check was ever evaluated")
    movers = {key >> SHIFT for key in tally.moved}
    idle = [name for name, index in tally.stuck.items() if index not in movers]
    if idle:
        why.append(f"{' and '.join(idle)} never made a step")
    return why


def bounds(tally: Tally, simulation: Simulation, strategy: Strategy, verdict: Verdict, why: Sequence[str], stopped: bool) -> str:
    """Say in words what was explored.

    Args:
        why: the `reasons`.
        stopped: whether the first violation ended the exploration.
    """
    kernel = simulation.kernel
    parts = list(strategy.words(tally.executions, verdict is Verdict.VERIFIED))
    if verdict is Verdict.VIOLATED and stopped:
        parts[0] = f"stopped at the first violation, after {tally.executions} {'execution' if tally.executions == 1 else 'executions'}"
    if verdict is not Verdict.VIOLATED:
        parts[1:1] = why
    if tally.blocked:
        parts.append(f"{tally.blocked} left out by assume")
    if not tally.concurrent:
        parts.append("nothing ran concurrently")
    parts.append(f"late by less than {kernel.clock.max_delay / 1e9:g} s of virtual time")
    scales = ", ".join(f"{scale / 1e9:g} s" for scale in kernel.clock.timescales)
    if scales:
        parts.append(f"timescales {scales}")
    parts.append(control.in_words(kernel, simulation.instrumented))
    parts.append("no faults" if kernel.faults is None else kernel.faults.in_words())
    return "; ".join(parts)
