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
from simharness.exploring import widened
from simharness.exploring.examples import Examples
from simharness.exploring.forked import Children
from simharness.exploring.parallel.crew import Crew
from simharness.exploring.parallel.log import Log, together
from simharness.exploring.parallel.part import Part, standing, take_place
from simharness.exploring.parallel.parts import Parts
from simharness.exploring.watching import Keeping, Watcher
from simharness.search import named
from simharness.search.auto import Auto
from simharness.search.dpor import Dpor
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


class Rounds:
    """Explores one case.

    Args:
        strategy: its name, or what makes it.
        parameters: the case, with Hypothesis's strategies for what is drawn.
        settings: limits; default: those of the simulation.
        began: when the time of `max_seconds` begins, in seconds of the monotonic clock; default: now.
        keeping: keeps where the exploration stands.

    Attributes:
        strategy, tally, repeats, branching: those of the last round.
        execution: the last one that counts (`Strategy.counted`), None at the beginning of a round.
        gave_up: why the exploration stopped before its end; None if it did not.
        share: of `max_seconds`, after which it stops.
        number: how often exploring has begun.
        left: how many leaves are left, where the tree is explored in parts.
        announced: the watcher knows of the search's next execution already.
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
        keeping: Keeping | None = None,
    ) -> None:
        self.simulation = simulation
        self.stop_on_first = stop_on_first
        self.settings = settings or simulation.settings
        self.gave_up: str | None = None
        self.share = 1.0
        self._made = partial(named.made, strategy, simulation.kernel, self.settings) if isinstance(strategy, str) else strategy
        self._reduces = strategy != "exhaustive"
        self.watcher = watcher
        self._parameters = parameters
        self.began = _monotonic() if began is None else began
        self.number = 0
        self._children = Children(self, watcher) if self.settings.isolation == "fork" else None
        self._crew: Crew | None = None
        self._keeping = keeping
        self.shard = None if keeping is None else keeping.shard
        self._start()
        self._mark = simulation.kernel.learned.mark()
        apart = self.settings.workers > 1 or self.settings.cluster is not None
        if self.shard is not None or (apart and watcher.spreads and not self.why_one_core):
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
        self.announced = False
        self.left: int | None = None
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

    # Where it stands

    @property
    def search(self) -> Dpor | None:
        """The reduction; None if another search explores."""
        search = self.strategy.search if isinstance(self.strategy, Auto) else self.strategy
        return search if isinstance(search, Dpor) else None

    def parts(self, search: Dpor) -> list[Part]:
        """Return the parts of which the exploration consists now; the first is the search itself."""
        return [standing(search)] if self._crew is None else self._crew.parts(search)

    def place(self, search: Dpor, parts: Sequence[Part]) -> None:
        """Go on from these parts."""
        if len(parts) > 1 and self._crew is None:
            self._crew = Crew(self, self.settings.workers)
        take_place(search, parts[0])
        if self._crew is not None:
            self._crew.place(parts)

    def run_first(self) -> None:
        """Run the first execution."""
        self._execute(self.strategy.begin() or ())

    def keep(self, now: bool = False) -> None:
        """Keep where the search stands, unless what was explored is out of date, or it stands in the middle of an execution that fails."""
        if self._keeping is None or self.search is None or self.tally.runs == 0 or not self._mark.holds or self.failed:
            return
        self._keeping.keep(self) if now else self._keeping.look(self)

    @contextmanager
    def _workers(self) -> Iterator[None]:
        """A block at whose end no worker is left."""
        try:
            yield
        finally:
            if self._crew is not None:
                self._crew.close()

    def _round(self, mark: Mark) -> bool:
        self.number += 1
        self._start()
        self.watcher.begin(self)
        if self._keeping is not None and (not self._keeping.restore(self, mark) or self.failed):
            return False
        self._mark = self.simulation.kernel.learned.mark()
        exhausted = self._draw(self.strategy, mark) if isinstance(self.strategy, Drawn) else self._walk(mark)
        if self.failed and self.shard is not None and self._keeping is not None:
            self._keeping.keep_failure(self)
        if self.gave_up is not None:
            mark.renew()  # what was learned cannot be acted on any more
            if self.number > _MANY_ROUNDS:
                self.gave_up += f"; exploring started over {self.number} times, each time since something else was shared: {_ENDLESS}"
        return exhausted

    def _walk(self, mark: Mark) -> bool:
        """Run the executions that the strategy plans; return whether that was all of its space."""
        while True:
            if self._plan is None:
                if self._crew is not None and self._crew.ready(mark):
                    self._crew.advance(mark)
                    if not mark.holds or self.failed:
                        return False
                    if self.gave_up == "":  # the rest is explored elsewhere
                        self.keep(now=True)
                        return False
                if self._stops_here():
                    return False
                self.keep()
                self._plan = self.strategy.begin()
                if self._plan is None:
                    self.keep(now=True)
                    return self.strategy.exhausts
                self._announce(self._plan)
            if (self.execution is None or self.search is None) and self.limit_reached():
                return False
            plan, self._plan = self._plan, None
            self._execute(plan)
            if not mark.holds or self.failed or (self._overdue and self.limit_reached()):
                return False

    def _stops_here(self) -> bool:
        """Whether the reduction stops before its next execution, or a sample that comes before that."""
        search = self.search
        if search is None or not search.plan or not self.limit_reached():
            return False
        self.keep(now=True)
        if not self.announced:
            self._tell(search.plan)
            self.announced = True
        return True

    @property
    def failed(self) -> bool:
        """Whether a failure ends the exploration."""
        return self.tally.first_failure is not None and self.stop_on_first

    def _announce(self, plan: Sequence[int]) -> None:
        """Say which execution comes next."""
        if not self.strategy.counted:
            self.watcher.before(self, None)
        elif self.announced:
            self.announced = False
        else:
            try:
                self._tell(plan)
            except KeyboardInterrupt:
                self.announced = True
                if isinstance(self.strategy, Auto):
                    self.strategy.take_back()
                self.keep(now=True)
                raise

    def _tell(self, plan: Sequence[int]) -> None:
        branch = None if self.branching is None or self.execution is None else len(plan) - 1
        if self.branching is not None and branch is not None:
            self.branching.branch(branch)
        self.watcher.before(self, branch)

    def _draw(self, strategy: Drawn, mark: Mark) -> bool:
        """Let Hypothesis explore; the failure that it has shrunk counts as the first. It never exhausts its space."""

        def execute() -> Execution | None:
            self.watcher.before(self, None)
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
            self.again(self._last)  # the verdict will say something of it

    def failing(self) -> Execution | None:
        """Return the first failure, as an execution of this process."""
        failing = self.tally.first_failure
        return failing if failing is None or self._children is None else self.again(failing)

    # Executions of other processes

    @property
    def why_one_core(self) -> str:
        """Why one process explored alone, if several were wanted."""
        wanted = self.settings.workers > 1 or self.settings.cluster is not None
        if wanted and self._children is not None:
            return "on one core: isolation='fork' uses no workers"
        if wanted and self.settings.reached:
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
        announced, self.announced = self.announced, False
        if self.branching is not None:
            for depth in ([] if announced else [log.first]) + [depth for depth, _ in log.closes]:
                self.branching.branch(depth)
        self.watcher.passed(self, log, announced)
        self.tally.join(log.tally)
        self.execution = self._last = Execution("", None, log.keys, frozenset())
        simulation.checked += log.checked
        simulation.checks = simulation.checks or log.checks
        function = simulation.scenario.function
        vars(function).update({name: together(getattr(function, name), value) for name, value in log.kept.items()})
        self.repeats.skip(self.tally.runs)

    def waiting(self, parts: Parts) -> None:
        """Other processes are at work on these parts."""
        self.watcher.waiting(self, parts)

    def repeat_last(self) -> None:
        """Run the last execution of the search here: verdicts, and proofs within bounds, look at the kernel's last one."""
        if self._last is not None:
            self.again(self._last)

    def come_to(self, execution: Execution) -> None:
        """Run the last execution of the search again, which another process has run."""
        self._last = self.again(execution)

    def again(self, execution: Execution) -> Execution:
        """Run an execution of a child here."""
        return self.simulation.execute((), following(self.simulation.kernel, execution.keys, lambda wanted, enabled: ABANDON))

    def _run(self, plan: Sequence[int]) -> None:
        seconds = self.settings.max_seconds
        left = None if seconds is None else seconds * self.share - (_monotonic() - self.began)
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
        widened.judge(self, execution)
        if mark.holds:
            failing = execution.failure is not None and tally.first_failure is None
            if failing:
                tally.first_failure = execution
            self._due = self.repeats.due(execution, failing)
        self.watcher.after(self, execution)

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
        self.gave_up = self.watcher.enough() or self.gave_up
        if limit is not None and self.tally.runs >= limit:
            default = f"{limit:,} executions, since neither max_executions nor max_seconds says otherwise"
            self.gave_up = f"stopped at {default if settings.max_executions is None else f'max_executions={limit}'}"
        elif settings.max_seconds is not None and _monotonic() - self.began >= settings.max_seconds * self.share:
            obstacles = self.simulation.kernel.polling.obstacles if self._overdue else {}
            self.gave_up = "; ".join([f"stopped at max_seconds={settings.max_seconds:g}", *starmap(in_words, obstacles.items())])
        return self.gave_up is not None
