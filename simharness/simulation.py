"""Runs single executions of one cell of a scenario, with the runtimes in place; exploring, replaying and shrinking build on it."""

from __future__ import annotations

import gc
import hashlib
import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from simharness import runtimes
from simharness.actors import SHIFT, Failure
from simharness.clock import nanoseconds
from simharness.errors import HarnessBug, Misuse, Nondeterminism, SimharnessError, Stuck, TokenError
from simharness.kernel import Kernel
from simharness.places import is_our_bug, last_place, without_addresses
from simharness.progress import Progress
from simharness.runtimes.trio import BATCHES, check_order
from simharness.scenario import Scenario
from simharness.strategies import Expected
from simharness.trace import Recorder, Trace, waiting
from simharness.watchdog import Watchdog
from simharness.world import World, broken_check, name_of

COLLECT_EVERY = 1_000
"""Executions between two collections of what is young; their objects, in cycles through the user's closures, are."""
COLLECT_ALL_EVERY = 20_000


@dataclass(frozen=True)
class Settings:
    """Limits of an exploration, and what they are for.

    Attributes:
        max_executions, max_seconds: give up after so many (real) seconds or executions; the verdict is then inconclusive.
        max_steps: an execution with more steps is cut; the verdict is then inconclusive.
        seed: of the random numbers that the code under test draws, and of samplers.
        watchdog: real seconds without a step after which a blocked simulation is given up.
        shrink: executions spent on making a counterexample shorter.
        progress: is told how far the exploration is.
        trio_order: "any" or "batches", in place of the scenario's.
    """

    max_executions: int | None = None
    max_seconds: float | None = None
    max_steps: int = 20_000
    seed: int = 0
    watchdog: float = 10.0
    shrink: int = 400
    progress: Progress | None = None
    trio_order: str | None = None

    def __post_init__(self) -> None:
        if self.trio_order is not None:
            check_order(self.trio_order)


@dataclass(frozen=True)
class Execution:
    """How one execution ended.

    Attributes:
        status: "complete", "deadlock", "blocked" (in a false `assume`), "abandoned" (by the strategy) or "cut" (at `max_steps`).
        failure: what went wrong first, or None.
        keys: its choices.
        outcomes: the values given to `world.outcome`.
    """

    status: str
    failure: Failure | None
    keys: Sequence[int]
    outcomes: frozenset[Hashable]

    @property
    def switches(self) -> int:
        """How often the mover changed."""
        movers = [key >> SHIFT for key in self.keys]
        return sum(1 for before, after in itertools.pairwise(movers) if before != after)


class Deadlock(Exception):
    """Some actors wait for ever; the message says for what, held by whom, and where."""


class Simulation:
    """A context in which a cell's executions are run; patches the standard library on entry and puts it back on leaving."""

    def __init__(self, scenario: Scenario, parameters: Mapping[str, Any], settings: Settings) -> None:
        self.scenario = scenario
        self.parameters = dict(parameters)
        self.settings = settings
        delay = scenario.max_delay
        self.kernel = Kernel(settings.max_steps, nanoseconds(5.0 if delay is None else delay))
        if (settings.trio_order or scenario.trio_order) == "batches":
            self.kernel.learned.shared.add(BATCHES)
        self.world: World | None = None
        self.executions = 0
        self.checked = 0
        self.checks = False
        self._context = ExitStack()

    def __enter__(self) -> Simulation:
        with ExitStack() as stack:
            stack.callback(self.kernel.close)
            stack.enter_context(runtimes.installed())
            stack.callback(runtimes.forget, self.kernel)
            stack.enter_context(Watchdog(self.kernel, self.settings.watchdog))
            if gc.isenabled():
                gc.disable()
                stack.callback(gc.enable)
            self._context = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._context.__exit__(kind, error, trace)

    def execute(
        self, plan: Sequence[int], choose: Callable[[list[int]], int], expected: Expected = ((), ()), recorder: Recorder | None = None
    ) -> Execution:
        """Run one execution: follow the plan, then ask `choose`.

        Raises:
            Misuse: the scenario is wrong. Nondeterminism: the plan could not be repeated.
        """
        kernel = self.kernel
        self.executions += 1
        if self.executions % COLLECT_EVERY == 0:
            gc.collect(0 if self.executions % COLLECT_ALL_EVERY else 2)
        kernel.tracing = recorder is not None
        try:
            kernel.run(lambda: self._prepare(recorder), plan, choose, expected)
            if not kernel.abandoned and not kernel.cut and kernel.n < len(plan):
                raise Nondeterminism(f"a repeated execution ended after {kernel.n} steps; it had at least {len(plan)}")
            return self._judge()
        except Stuck as stuck:
            raise Misuse(str(stuck)) from None
        except (SimharnessError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise self._blame(error) from error
        finally:
            runtimes.end_execution(kernel)
            kernel.tracing = False

    def _prepare(self, recorder: Recorder | None) -> Any:
        kernel = self.kernel
        if self.world is not None:
            self.world.release()
        kernel.context["seed"] = self.settings.seed
        self.world = world = World(kernel)
        if recorder is not None:

            def watched() -> None:
                world.check_always()
                recorder.observe()

            kernel.after_step = watched
        return self.scenario.prepare(world, self.parameters)

    def _judge(self) -> Execution:
        kernel, world = self.kernel, self.world
        assert world is not None
        status = self._status()
        if status == "deadlock" and not self.scenario.allow_deadlock:
            kernel.fail(Deadlock("; ".join(str(actor) for actor in waiting(kernel))))
        if status == "complete" and kernel.failure is None:
            self._check_at_end(world)
        self.checks = self.checks or bool(world.checks_at_end)
        failure = kernel.failure
        if failure is not None and is_our_bug(failure.error):
            raise HarnessBug(f"{type(failure.error).__name__}: {failure.error}") from failure.error
        if status in ("blocked", "abandoned"):
            failure = None
        return Execution(status, failure, kernel.keys, frozenset(world.outcomes))

    def _status(self) -> str:
        kernel = self.kernel
        if kernel.cut:
            return "cut"
        if kernel.abandoned:
            return "abandoned"
        if not kernel.stuck:
            return "complete"
        if any(actor.pending is not None and actor.pending.kind == "assume" for actor in kernel.stuck):
            return "blocked"
        return "deadlock"

    def _check_at_end(self, world: World) -> None:
        for check in world.checks_at_end:
            self.checked += 1
            try:
                self.kernel.inspect(check)
            except AssertionError as error:
                self.kernel.fail(error, check=name_of(check))
                return
            except (SimharnessError, Stuck, KeyboardInterrupt):
                raise
            except BaseException as error:
                raise broken_check(check, error) from error

    def _blame(self, error: BaseException) -> SimharnessError:
        place = last_place(error)
        if place is None or is_our_bug(error):
            return HarnessBug(f"{type(error).__name__}: {error}")
        return Misuse(f"{place}: scenario {self.scenario.name} raised {type(error).__name__} during set-up: {error}")

    def record(self, keys: Sequence[int], failure: str | None, failed_at: int | None) -> Trace:
        """Run the execution with these choices again, for its trace."""
        with Recorder(self.kernel, runtimes.snapshot) as recorder:
            self.execute(keys, _nothing_left, recorder=recorder)
        return recorder.trace(self.scenario.name, self.parameters, failure, failed_at)

    def fingerprint(self, execution: Execution) -> str:
        """Return a hash of the last execution: its choices, operations, footprints, times and outcomes."""
        kernel = self.kernel
        steps = [
            (key, operation.kind, operation.detail, reads, writes, time)
            for key, operation, reads, writes, time in zip(
                kernel.keys, kernel.operations, kernel.reads, kernel.writes, kernel.times, strict=True
            )
        ]
        outcomes = sorted(without_addresses(repr(outcome)) for outcome in execution.outcomes)
        text = repr((steps, execution.status, outcomes, describe(execution.failure)))
        return hashlib.sha256(without_addresses(text).encode()).hexdigest()


def _nothing_left(enabled: list[int]) -> int:
    raise TokenError("the execution goes on where its choices end")


def describe(failure: Failure | None) -> str | None:
    """Say in one line what went wrong, and where."""
    if failure is None:
        return None
    error = failure.error
    if isinstance(error, Deadlock):
        return f"deadlock: {error}"
    place = last_place(error)
    where = f" at {place}" if place else ""
    text = str(error).strip().splitlines()
    message = without_addresses(text[0]) if text else ""
    if isinstance(error, AssertionError):
        said = f": {message}" if message else ""
        what = f"{failure.check or failure.actor} does not hold{said}"
    else:
        what = f"{failure.check or failure.actor} raised {type(error).__name__}: {message}"
    return f"{what}{where}"


def signature(execution: Execution) -> tuple[Any, ...] | None:
    """Return what makes two failures the same to a shrinker: the check or actor, and the kind of exception."""
    failure = execution.failure
    if failure is None:
        return None
    return failure.check, failure.actor, type(failure.error)
