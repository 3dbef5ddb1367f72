"""The run-loop of an exploration: the next execution, run it, count it, check it, until nothing is left or there is enough.

A *round* rests on what was learned before it about what conflicts; when an execution teaches something new, the next round starts over.
What is made of the executions is a watcher's: `explore` reports progress and stops at a failure, an incident collects those that fit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import starmap

from simharness.authoring.scenario import Parameters
from simharness.engine.budget import Overdue
from simharness.engine.facts import Mark, until_settled
from simharness.engine.obstacles import in_words
from simharness.engine.plan import ABANDON
from simharness.exploring.examples import Examples
from simharness.exploring.forked import Children
from simharness.exploring.parallel.crew import Crew
from simharness.exploring.parallel.log import Log, together
from simharness.exploring.parallel.parts import Parts
from simharness.search import named
from simharness.search.drawn import Drawn
from simharness.search.estimate import Branching
from simharness.search.sampling import DEFAULT_EXECUTIONS
from simharness.search.strategy import Strategy
from simharness.settings import Settings
from simharness.simulation.execution import Execution
from simharness.simulation.repeating import Repeats
from simharness.simulation.simulation import Simulation
from simharness.simulation.transcript import following
from simharness.verdicts.covered import Tally

_monotonic = time.monotonic
_MANY_ROUNDS = 50
_ENDLESS = "look for keys made of addresses (id, hash or repr of an object) or of random values"


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

    def passed(self, rounds: Rounds, log: Log) -> None:
        """Other processes have run the next executions of the search; `rounds.execution` is the one before them."""

    def waiting(self, rounds: Rounds, parts: Parts) -> None:
        """Other processes are at work on these parts."""

    def enough(self) -> str | None:
        """Return why the exploration stops here, if it does."""


class Rounds:
    """Explores one case.

    Args:
        strategy: its name, or what makes it.
        parameters: the case, with Hypothesis's strategies for what is drawn.
        settings: limits; default: those of the simulation.
        began: when the time of `max_seconds` begins, in seconds of the monotonic clock; default: now.

    Attributes:
        strategy, tally, repeats, branching: those of the last round.
        execution: the last one that counts (`Strategy.counted`), None at the beginning of a round.
        gave_up: why the exploration stopped before its end; None if it did not.
        share: of `max_seconds`, after which it stops.
    """

    def __init__(
        self,
        simulation: Simulation,
        strategy: str | Callable[[], Strategy],
        stop_on_first: bool,
        watcher: Watcher,
        parameters: Parameters,
        settings: Settings | None = None,
        began: float | None = None,
    ) -> None:
        self.simulation = simulation
        self.stop_on_first = stop_on_first
        self.settings = settings or simulation.settings
        self.gave_up: str | None = None
        self.share = 1.0
        self._made = partial(named.made, strategy, simulation.kernel, self.settings) if isinstance(strategy, str) else strategy
        self._reduces = strategy != "exhaustive"
        self._watcher = watcher
        self._parameters = parameters
        self._began = _monotonic() if began is None else began
        self._number = 0
        self._children = Children(self, watcher) if self.settings.isolation == "fork" else None
        self._crew: Crew | None = None
        self._start()
        if self.settings.workers > 1 and watcher.spreads and not self.why_one_core:
            self._crew = Crew(self, self.settings.workers)

    def _start(self) -> None:
        simulation = self.simulation
        self.tally = Tally()
        self.strategy: Strategy = self._made()
        self.repeats = Repeats(simulation)
        self.branching = Branching() if self.strategy.pending() is not None else None
        self.execution: Execution | None = None
        self._last: Execution | None = None
        self._due = self._overdue = False
        self._plan: Sequence[int] | None = None
        if self._crew is not None:
            self._crew.begin()

    def run(self) -> bool:
        """Explore until a round teaches nothing new about what conflicts, or a limit is reached; return whether it was exhausted."""
        with self._workers():
            return until_settled(self.simulation.kernel.learned, self._round)

    def resume(self, mark: Mark) -> bool:
        """Continue after a limit that has been raised since, if nothing was learned after the mark; return whether all was explored."""
        if self._overdue:
            return False
        self.gave_up = None
        with self._workers():
            return self._walk(mark)

    @contextmanager
    def _workers(self) -> Iterator[None]:
        """A block at whose end no worker is left."""
        try:
            yield
        finally:
            if self._crew is not None:
                self._crew.close()

    def _round(self, mark: Mark) -> bool:
        self._number += 1
        self._start()
        self._watcher.begin(self)
        exhausted = self._draw(self.strategy, mark) if isinstance(self.strategy, Drawn) else self._walk(mark)
        if self.gave_up is not None:
            mark.renew()  # what was learned cannot be acted on any more
            if self._number > _MANY_ROUNDS:
                self.gave_up += f"; exploring started over {self._number} times, each time since something else was shared: {_ENDLESS}"
        return exhausted

    def _walk(self, mark: Mark) -> bool:
        """Run the executions that the strategy plans; return whether that was all of its space."""
        while True:
            if self._plan is None:
                if self._crew is not None and self._crew.ready(mark):
                    self._crew.advance(mark)
                    if not mark.holds or self.failed:
                        return False
                self._plan = self.strategy.begin()
                if self._plan is None:
                    return self.strategy.exhausts
                self._announce(self._plan)
            if self.limit_reached():
                if self.strategy.counted:
                    return False
                self._plan, self.gave_up = None, None  # a sample is not drawn; the search has to be at a plan of its own
                continue
            plan, self._plan = self._plan, None
            self._execute(plan)
            if not mark.holds or self.failed or (self._overdue and self.limit_reached()):
                return False

    @property
    def failed(self) -> bool:
        """Whether a failure ends the exploration."""
        return self.tally.first_failure is not None and self.stop_on_first

    def _announce(self, plan: Sequence[int]) -> None:
        """Say which execution comes next."""
        branch = None if self.branching is None or self.execution is None or not self.strategy.counted else len(plan) - 1
        if self.branching is not None and branch is not None:
            self.branching.branch(branch)
        self._watcher.before(self, branch)

    def _draw(self, strategy: Drawn, mark: Mark) -> bool:
        """Let Hypothesis explore; the failure that it has shrunk counts as the first. It never exhausts its space."""

        def execute() -> Execution | None:
            self._watcher.before(self, None)
            return self._execute(strategy.begin() or ())

        examples = Examples(self.simulation, strategy, self._parameters, execute, self.limit_reached)
        examples.run(self.most_executions, self.stop_on_first)
        if examples.failing is not None:
            self.tally.first_failure = examples.failing[0]
        elif mark.holds and not self.limit_reached():
            self.gave_up = "Hypothesis drew nothing new"
        return False

    def _execute(self, plan: Sequence[int]) -> Execution | None:
        """Run one execution, count it, and check it unless something new was learned from it about what conflicts.

        Returns:
            It; None if its time was over before.
        """
        self._in_turn(lambda: self._run(plan))
        execution = self._last
        if execution is not None and self._due:
            self._in_turn(lambda: self.repeats.check(execution))
        return None if self._overdue else execution

    def _in_turn(self, work: Callable[[], None]) -> None:
        """Do work here or, if each execution has a process of its own, in a child; here, too, if it raised an error there."""
        if self._children is None or not self._children.run(work):
            work()

    def finish(self) -> None:
        """Exploring is over without a failure: run the first execution again, and compare.

        Raises:
            Nondeterminism: it differs from the first time.
        """
        self._in_turn(lambda: self.repeats.finish(self.tally.runs))
        if self._children is not None and self._last is not None and (self.tally.runs == 1 or self.tally.cut):
            self._again(self._last)  # the verdict will say something of it

    def failing(self) -> Execution | None:
        """Return the first failure, as an execution of this process."""
        failing = self.tally.first_failure
        return failing if failing is None or self._children is None else self._again(failing)

    # Executions of other processes

    @property
    def why_one_core(self) -> str:
        """Why one process explored alone, if several were wanted."""
        if self.settings.workers > 1 and self._children is not None:
            return "on one core: isolation='fork' uses no workers"
        if self.settings.workers > 1 and self.settings.reached:
            return "on one core: one process records which lines run"
        return "" if self._crew is None else self._crew.why_not

    def draw(self) -> bool:
        """Run a sample that is due; return whether exploring goes on."""
        mark = self.simulation.kernel.learned.mark()
        plan = self.strategy.begin()
        assert plan is not None
        self._execute(plan)
        return mark.holds and not self.failed

    def take_over(self, log: Log) -> None:
        """Count executions that other processes have run, and that come next in the search."""
        simulation = self.simulation
        if self.branching is not None:
            self.branching.branch(log.first)
            for depth, _ in log.closes:
                self.branching.branch(depth)
        self._watcher.passed(self, log)
        self.tally.join(log.tally)
        self.execution = self._last = Execution("", None, log.keys, frozenset())
        simulation.checked += log.checked
        simulation.checks = simulation.checks or log.checks
        function = simulation.scenario.function
        vars(function).update({name: together(getattr(function, name), value) for name, value in log.kept.items()})
        self.repeats.skip(self.tally.runs)

    def waiting(self, parts: Parts) -> None:
        """Other processes are at work on these parts."""
        self._watcher.waiting(self, parts)

    def repeat_last(self) -> None:
        """Run the last execution of the search here: verdicts, and proofs within bounds, look at the kernel's last one."""
        if self._last is not None:
            self._again(self._last)

    def _again(self, execution: Execution) -> Execution:
        """Run an execution of a child here."""
        return self.simulation.execute((), following(self.simulation.kernel, execution.keys, lambda wanted, enabled: ABANDON))

    def _run(self, plan: Sequence[int]) -> None:
        seconds = self.settings.max_seconds
        left = None if seconds is None else seconds * self.share - (_monotonic() - self._began)
        try:
            with self.simulation.kernel.budget.for_one(left):
                self._run_one(plan)
        except Overdue:
            self._overdue = True

    def _run_one(self, plan: Sequence[int]) -> None:
        kernel, strategy, tally = self.simulation.kernel, self.strategy, self.tally
        mark = kernel.learned.mark()
        kernel.polling.look_for(self._reduces)
        self._due = False
        try:
            number = tally.runs + 1 if strategy.counted else 0
            execution = self._last = self.repeats.execute(number, plan, strategy.choose, strategy.expected())
        finally:
            kernel.polling.look_for(False)
        if strategy.counted:
            self.execution = execution
        if execution.failure is None or not self.stop_on_first or not strategy.exhausts:
            strategy.end()  # skipped for the last execution: finding the races of a livelock takes long
        kernel.polling.settle()
        if not strategy.counted:
            tally.sampled += 1
        elif strategy.exhausts or execution.status != "abandoned":
            tally.add(execution, kernel)
        if mark.holds:
            failing = execution.failure is not None and tally.first_failure is None
            if failing:
                tally.first_failure = execution
            self._due = self.repeats.due(execution, failing)
        self._watcher.after(self, execution)

    @property
    def most_executions(self) -> int | None:
        """How many executions there may be; None: as many as there are."""
        settings = self.settings
        if self.strategy.exhausts or settings.max_executions is not None or settings.max_seconds is not None:
            return settings.max_executions
        return DEFAULT_EXECUTIONS

    def limit_reached(self) -> bool:
        """Whether there is enough, or a limit is reached; `gave_up` then says which."""
        settings, limit = self.settings, self.most_executions
        self.gave_up = self._watcher.enough() or self.gave_up
        if limit is not None and self.tally.runs >= limit:
            default = f"{limit:,} executions, since neither max_executions nor max_seconds says otherwise"
            self.gave_up = f"stopped at {default if settings.max_executions is None else f'max_executions={limit}'}"
        elif settings.max_seconds is not None and _monotonic() - self._began >= settings.max_seconds * self.share:
            obstacles = self.simulation.kernel.polling.obstacles if self._overdue else {}
            self.gave_up = "; ".join([f"stopped at max_seconds={settings.max_seconds:g}", *starmap(in_words, obstacles.items())])
        return self.gave_up is not None
