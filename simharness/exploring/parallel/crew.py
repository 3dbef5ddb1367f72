"""The owner of an exploration on several processes: it hands out tasks, and moves the search on by what comes back.

What it explores for about a second it explores alone: most cases end within that. Then workers are forked. Where their answers end at an
execution that fails, teaches something or raises an error, the owner runs that execution itself, as a search on one process would, so
what follows from it is the same. Samples are the owner's: it runs those that are due before it takes over the executions after them. At
first they learn from each execution of the reduction, which are the owner's for so long.

A worker that is killed costs what it was doing. A task that two workers do not survive is left to the owner.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from simharness.engine.facts import Mark
from simharness.engine.interrupts import INTERRUPTS
from simharness.errors import Nondeterminism, SimharnessError
from simharness.exploring.parallel.log import Log
from simharness.exploring.parallel.part import Part, standing
from simharness.exploring.parallel.parts import LOST, Parts
from simharness.exploring.parallel.places import PLACES
from simharness.exploring.parallel.processes import Here, Processes
from simharness.exploring.parallel.slices import FAILS, LEARNS, UNSENDABLE, Below
from simharness.search.auto import Auto
from simharness.search.dpor import Dpor
from simharness.simulation.execution import Execution
from simharness.simulation.forks import possible
from simharness.simulation.repeating import WHAT_TO_DO

if TYPE_CHECKING:
    from simharness.exploring.rounds import Rounds  # these run a part of its executions; a circle of types only

_monotonic = time.monotonic
ALONE = 1.0
"""Seconds for which a round is explored by its owner alone."""
ALONE_RUNS = 500
"""Executions that all those who share an exploration run alone."""
SLICE = 0.5
"""Seconds of processor time of a task; an eighth of it while workers have nothing to do."""
SHORT = 8
LOOK = 0.2
"""Seconds between two looks for places."""
TOO_MANY = 20
"""After so many workers that have ended one after the other, none with an answer, the owner goes on alone."""
PATIENCE = 0.1
"""Seconds for which the owner waits for answers at a time."""


class Crew:
    """The workers of one `Rounds`, and what they have explored of its present round."""

    def __init__(self, rounds: Rounds, workers: int) -> None:
        self._rounds = rounds
        self._wanted = workers
        self._shard = rounds.shard
        self._placed = False
        self._processes = self._made(workers)
        self._taken = 0
        self._forbidden = type(self._processes) is Processes and not possible()
        self._deaths = 0
        self.begin()

    def _made(self, workers: int) -> Processes:
        simulation, cluster = self._rounds.simulation, self._rounds.settings.cluster
        if cluster is not None:
            from simharness.exploring.parallel.cluster import Cluster

            return Cluster(simulation, cluster, workers)
        return Processes(simulation) if workers > 1 else Here(simulation)

    def begin(self) -> None:
        """A round begins: what was explored rests on outdated facts."""
        self.close()
        self._parts = Parts(self._rounds.simulation.kernel, self._admit)
        self._placed = self._shared = self._advancing = False
        self._began = _monotonic()
        self._next_look = 0.0
        self._limit: int | None = None
        self._passed = 0
        self._trouble = ""
        self._error: SimharnessError | None = None
        self._ran = -1

    def close(self) -> None:
        """End the workers."""
        self._processes.close()
        if self._processes.share_places:
            PLACES.give(self._taken)
        self._taken = 0

    @property
    def why_not(self) -> str:
        """Why workers would not help, though the case takes long; empty if they would, or it does not."""
        if _monotonic() - self._began < ALONE or PLACES.shared:
            return ""
        if self._rounds.search is None:
            return "on one core: only auto and dpor without a bound use several"
        return "on one core: this platform has no forks" if not possible() else ""

    def ready(self, mark: Mark) -> bool:
        """Whether to go on with workers: after some time, and after the owner has run what was left to it."""
        rounds, search = self._rounds, self._rounds.search
        if self._forbidden or search is None or not search.plan or rounds.execution is None or not self._is_time():
            return False
        if self._trouble and rounds.tally.runs > self._ran:
            self._not_the_same(mark)
        return not self._trouble and not self._forbidden and self._has_places()

    def _is_time(self) -> bool:
        """Whether it has explored alone for long enough. Where it explores one of several parts, all do the same before."""
        rounds = self._rounds
        if self._shard is not None:
            return not self._shard.number or self._shared or rounds.tally.runs >= ALONE_RUNS
        if isinstance(rounds.strategy, Auto) and not (rounds.strategy.settled or rounds.strategy.silent):
            return False
        return self._placed or _monotonic() - self._began >= ALONE

    def _has_places(self) -> bool:
        """Whether there is a place for a second worker, without which the first would not help; look for more at times."""
        own = self._processes.places
        if own is not None:
            self._taken = own - 1
            return own > 0
        now = _monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK
            while self._taken < self._wanted - 1 and PLACES.take():
                self._taken += 1
        return self._taken > 0

    def _not_the_same(self, mark: Mark) -> None:
        """The owner has run the execution that troubled a worker, without failure or error."""
        trouble, self._trouble, error, self._error = self._trouble, "", self._error, None
        if error is not None:
            raise error
        if trouble == FAILS and self._rounds.tally.first_failure is None:
            raise Nondeterminism(f"not deterministic: a failing schedule did not fail when it was repeated; {WHAT_TO_DO}")
        if trouble == LEARNS and mark.holds:
            self._start_over()

    def _start_over(self) -> None:
        """A worker has seen a change that this process cannot see: go on alone."""
        self._alone()
        self._rounds.simulation.kernel.learned.start_over()

    def _alone(self) -> None:
        """From now on, explore without workers."""
        self._forbidden = self._shard is None and not self._placed
        if not self._forbidden:
            self.close()
            self._processes = Here(self._rounds.simulation)

    def parts(self, search: Dpor) -> list[Part]:
        """Return the parts of which the exploration consists; the first is the search itself."""
        return [self._parts.main if self._advancing else standing(search), *self._parts.others()]

    def place(self, parts: Sequence[Part]) -> None:
        """Go on from these parts."""
        self._parts.place(parts)
        self._placed = len(parts) > 1

    def advance(self, mark: Mark) -> None:
        """Move the search on, until it has ended, a limit is reached or this process has to run the next execution."""
        rounds, parts, search = self._rounds, self._parts, self._rounds.search
        assert search is not None
        before = rounds.tally.runs
        self._limit = rounds.most_executions
        try:
            parts.begin(search)
            self._advancing = True
            self._share()
            while not self._over(mark):
                rounds.keep()
                self._hand_out()
                if self._shard is not None and self._is_idle():
                    if self._run_troubled() and not rounds.failed:
                        continue
                    rounds.gave_up = None if rounds.failed else ""
                    break
                for number, piece in self._processes.pieces(PATIENCE):
                    if piece is None:
                        parts.lost(number)
                        self._deaths += 1
                    else:
                        parts.take(piece)
                        self._deaths = 0
                INTERRUPTS.check()
                if not parts.main.done:
                    rounds.waiting(parts)
        except KeyboardInterrupt:
            rounds.keep(now=True)
            raise
        finally:
            self._advancing = False
            parts.end(search)
            rounds.left = parts.leaves()
        main = parts.main
        self._trouble, self._error, self._ran = main.trouble, main.error, rounds.tally.runs
        main.trouble = ""
        if main.done and not self._processes.settled():
            self._start_over()
        elif self._trouble == UNSENDABLE:
            self._trouble = ""
            self._alone()
        elif not self._trouble and rounds.tally.runs > before:
            rounds.repeat_last()

    def _over(self, mark: Mark) -> bool:
        rounds, main = self._rounds, self._parts.main
        if main.done or main.trouble or not mark.holds:
            return True
        if self._deaths > TOO_MANY:
            self._alone()
            self._deaths = 0
            return True
        if rounds.failed:
            return rounds.tally.runs == self._limit
        return rounds.limit_reached()

    def _share(self) -> None:
        """Choose the parts that are explored here, if others explore the rest. From now on no samples are drawn."""
        if self._shard is not None and not self._shared:
            self._shared = True
            self._parts.share(self._shard.number, self._shard.of)
            if isinstance(self._rounds.strategy, Auto):
                self._rounds.strategy.silent = True

    def _is_idle(self) -> bool:
        return all(worker.task is None for worker in self._processes.workers)

    def _run_troubled(self) -> bool:
        """Run an execution about which a worker must not decide, in a part that is no search's here; return whether there was one."""
        parts, rounds = self._parts, self._rounds
        part = parts.troubled()
        if part is None:
            return False
        mark, trouble, part.trouble = rounds.simulation.kernel.learned.mark(), part.trouble, LOST
        execution = self._run_apart(Below(rounds.simulation.kernel, parts.task_of(part)))
        if trouble == FAILS and mark.holds:
            if execution.failure is None:
                raise Nondeterminism(f"not deterministic: a failing schedule did not fail when it was repeated; {WHAT_TO_DO}")
            part.trouble = FAILS if rounds.stop_on_first else ""
        elif trouble == LEARNS and mark.holds:
            self._start_over()
        elif part.error is not None:
            raise part.error
        return True

    def _run_apart(self, search: Below) -> Execution:
        """Run the next execution of a search in another part of the tree, for what it teaches or raises; if it fails, that counts."""
        rounds, kernel = self._rounds, self._rounds.simulation.kernel
        mark = kernel.learned.mark()
        assert search.plan is not None
        kernel.polling.look_for(True)
        execution = rounds.repeats.execute(0, search.plan, search.choose, search.known)
        kernel.polling.look_for(False)
        if mark.holds and execution.failure is not None and rounds.tally.first_failure is None:
            rounds.tally.first_failure = execution
            if rounds.repeats.due(execution, True):
                rounds.repeats.check(execution)
        return execution

    def _hand_out(self) -> None:
        processes, parts, rounds = self._processes, self._parts, self._rounds
        tolerant = rounds.tally.first_failure is not None and not rounds.stop_on_first
        idle = processes.idle
        self._has_places()
        missing = 1 + self._taken - len(processes.workers)
        number = len(idle) + missing
        while number:
            number -= 1
            left = None if self._limit is None else self._limit - rounds.tally.runs
            others = max(number, 1)
            task = parts.task(SLICE / SHORT if number else SLICE, left, tolerant, others)
            if task is None:
                return
            processes.give(idle.pop() if idle else processes.start(), task)

    def _admit(self, log: Log) -> bool:
        """Take over executions that come next, and draw the samples that are due among them; False if they are too many."""
        rounds = self._rounds
        tally, strategy = rounds.tally, rounds.strategy
        if self._limit is not None and tally.runs + log.runs > self._limit:
            return False
        if isinstance(strategy, Auto):
            steps = dict(log.longest)
            while self._passed < log.runs:
                if strategy.due:
                    if not rounds.draw():
                        self._limit = tally.runs + self._passed
                        return False
                    continue
                self._passed += 1
                strategy.passed(steps.get(self._passed, 0))
        self._passed -= min(self._passed, log.runs)
        rounds.take_over(log)
        return True
