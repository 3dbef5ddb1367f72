"""The outcome of a round of executions: its counts, why it may prove nothing, and what it covers, in words."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import starmap

from simharness.authoring.properties import asserts_something
from simharness.engine.actors import ROOT, SHIFT
from simharness.engine.handlers import Handled
from simharness.engine.kernel import Kernel
from simharness.engine.looks import Polls
from simharness.engine.obstacles import Obstacle, in_words
from simharness.engine.operations import CHECKED, CLOCK, ENDING, TIME, conflict
from simharness.runtimes import control
from simharness.runtimes.aio.order import RUNTIME
from simharness.runtimes.memory.eval_loop import GIL, version
from simharness.runtimes.memory.facts import RacesFail
from simharness.runtimes.trio.order import BATCHES
from simharness.search.strategy import Strategy
from simharness.simulation.execution import Execution
from simharness.simulation.simulation import Simulation
from simharness.verdicts.results import EXCEPT, Verdict

NOTHING_CHECKED = "nothing is checked: no assert, no check, no expect"
FEW = 3
"""How many actors are named at most."""


class Tally:
    """The counts of a round; samples, which cover nothing, are in `sampled` only, and their outcomes nowhere."""

    def __init__(self) -> None:
        self.executions = self.deadlocks = self.blocked = self.redundant = self.cut = self.sampled = 0
        self.outcomes: set[Hashable] = set()
        self.steps = 0
        self.concurrent = self.touched = False
        self.first_failure: Execution | None = None
        self.moved: set[int] = set()
        self.stuck: dict[str, int] = {}
        self.obstacles: dict[str, Obstacle] = {}

    @property
    def runs(self) -> int:
        """Executions of every kind, without samples."""
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
            self.obstacles = {**kernel.polling.obstacles, **self.obstacles}
        else:
            self.executions += 1
            if status == "deadlock":
                self.deadlocks += 1
                self.stuck.update((actor.name, actor.index) for actor in kernel.cast.stuck)
            self.moved.update(kernel.record.keys)
            self.outcomes |= execution.outcomes

    def join(self, other: Tally) -> None:
        """Add the counts of other executions of the same round."""
        for name in ("executions", "deadlocks", "blocked", "redundant", "cut", "sampled", "steps"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.concurrent = self.concurrent or other.concurrent
        self.touched = self.touched or other.touched
        self.outcomes |= other.outcomes
        self.moved |= other.moved
        self.stuck.update(other.stuck)
        self.obstacles = {**other.obstacles, **self.obstacles}


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
        why += starmap(in_words, tally.obstacles.items())
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


def remarks(tally: Tally, simulation: Simulation, verdict: Verdict) -> tuple[str, ...]:
    """Say where "verified" means less than its reader may think: nothing is checked, or no two steps could change their order."""
    if verdict is not Verdict.VERIFIED:
        return ()
    kernel, scenario = simulation.kernel, simulation.scenario
    said = []
    checked = simulation.checks or kernel.watched or scenario.says_expect or bool(tally.outcomes) or kernel.learned.of(RacesFail)
    if not checked and not asserts_something(scenario.roots):
        said.append(NOTHING_CHECKED)
    bounded = simulation.settings.preemptions is not None or simulation.settings.delays is not None or BATCHES in kernel.modes
    bounded = bounded or RUNTIME in kernel.learned.runtimes
    if tally.runs == 1 and not bounded and not tally.deadlocks and (apart := _never_met(kernel)):
        said.append(f"{apart} never met: one ordering")
    unseen = sorted(kernel.learned.unseen)
    if unseen:
        innermost = [name for name in unseen if not any(other.startswith(f"{name}.") for other in unseen)]
        said.append(f"{EXCEPT} the memory of {_listed(innermost)}")
    return tuple(said)


def _numbered(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _never_met(kernel: Kernel) -> str:
    """Return the names of the actors of the last execution if there are several and no two touched the same thing; nothing else."""
    cast, record = kernel.cast, kernel.record
    actors = [actor for actor in cast.actors.values() if actor not in cast.attending]
    others = [actor for actor in actors if actor.name != ROOT]
    if len(others) < 2 and not kernel.concurrent:
        return ""
    own = CLOCK | ENDING | CHECKED | TIME
    for actor in cast.actors.values():
        own |= actor.bit | actor.mark | actor.base
    touched: dict[int, tuple[int, int]] = {}
    for key, reads, writes in zip(record.keys, record.reads, record.writes, strict=True):
        before = touched.get(key >> SHIFT, (0, 0))
        touched[key >> SHIFT] = before[0] | reads & ~own, before[1] | writes & ~own
    if any(conflict(*touched[first], *touched[second]) for first in touched for second in touched if first < second):
        return ""
    names = [actor.name for actor in (others if len(others) > 1 else actors)]
    return _listed(names) if len(names) <= FEW else f"{len(names)} actors"


def bounds(tally: Tally, simulation: Simulation, strategy: Strategy, verdict: Verdict, why: Sequence[str], stopped: bool) -> str:
    """Say in words what was explored.

    Args:
        why: the `reasons`.
        stopped: whether the first violation ended the exploration.
    """
    kernel = simulation.kernel
    parts = list(strategy.words(tally.executions, verdict is Verdict.VERIFIED))
    if verdict is Verdict.VIOLATED and stopped:
        parts[0] = f"stopped at the first violation, after {_numbered(tally.executions, 'execution')}"
    if tally.sampled and verdict is not Verdict.VERIFIED:
        parts[0] += f" and {_numbered(tally.sampled, 'sample')}"
    if verdict is not Verdict.VIOLATED:
        parts[1:1] = why
    if tally.blocked:
        parts.append(f"{tally.blocked} left out by assume")
    if not tally.concurrent:
        parts.append("nothing ran concurrently")
    parts.append(f"late by less than {kernel.clock.max_delay / 1e9:g} s of virtual time")
    if kernel.learned.of(Polls):
        parts.append("loops that only look are waiting, and are scheduled again")
    scales = ", ".join(f"{scale / 1e9:g} s" for scale in kernel.clock.timescales)
    if scales:
        parts.append(f"timescales {scales}")
    parts.append(control.in_words(kernel, simulation.instrumented))
    if GIL in kernel.modes:
        parts.append(f"memory accesses atomic as in the eval loop of {version()}")
    if kernel.learned.of(RacesFail):
        allowed = simulation.settings.allowed_races
        parts.append(f"data races fail{f', but not on {_listed(allowed)}' if allowed else ''}")
    parts += [handled.in_words() for handled in kernel.learned.of(Handled).values() if handled.times != "0"]
    if simulation.outside.in_words():
        parts.append(simulation.outside.in_words())
    if simulation.templates_in_words:
        parts.append(simulation.templates_in_words)
    parts.append("no faults" if kernel.faults is None else kernel.faults.in_words())
    return "; ".join(parts)
