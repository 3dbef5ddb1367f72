"""Runs single executions of one case of a scenario, with the runtimes in place; the base of exploring, replaying and shrinking."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from simharness.authoring.properties import refuse_without_asserts
from simharness.authoring.scenario import Scenario
from simharness.authoring.world import World, broken_check, name_of
from simharness.engine.clock import nanoseconds
from simharness.engine.facts import Fact
from simharness.engine.faults import Faults
from simharness.engine.interrupts import INTERRUPTS
from simharness.engine.kernel import Kernel
from simharness.engine.looks import AWAIT
from simharness.engine.plan import ABANDON
from simharness.errors import HarnessBug, Lacking, Misuse, Nondeterminism, SimharnessError, Stuck, TokenError, scarcity
from simharness.instrument.loader import importing, is_wanted
from simharness.instrument.marks import is_instrumented
from simharness.instrument.project import WORD, of_root
from simharness.places import is_our_bug, last_place, words_of
from simharness.runtimes import control, refused
from simharness.runtimes.aio.order import MODES as ASYNCIO
from simharness.runtimes.failing import failing
from simharness.runtimes.heap.heap import ALL, NEVER, YOUNG, Heap
from simharness.runtimes.heap.processes import Globals
from simharness.runtimes.identities import BEFORE, Before, Identified
from simharness.runtimes.imports import WHEN_IMPORTED
from simharness.runtimes.memory import eval_loop, names, shared
from simharness.runtimes.memory.locations import shown
from simharness.runtimes.memory.silent import only
from simharness.runtimes.outside import OUTSIDE
from simharness.runtimes.templates import TEMPLATES, Again, Templates
from simharness.runtimes.trio.order import BATCHES
from simharness.search.strategy import Expected
from simharness.settings import Outside, Settings
from simharness.simulation.execution import Deadlock, Execution, Livelock
from simharness.simulation.processes import refuse, several, shared_memory, shared_objects
from simharness.simulation.races import demand, race_in
from simharness.simulation.turns import TURNS
from simharness.simulation.watchdog import Watchdog
from simharness.trace.data import Trace
from simharness.trace.recorder import Recorder, waiting

if TYPE_CHECKING:
    from simharness.simulation.transcript import Watch

COLLECT_EVERY = 100
"""Executions between two collections of young objects, as those of an execution are, in cycles through the user's closures."""
COLLECT_ALL_EVERY = 20_000


@dataclass(frozen=True)
class Narrow(Fact, word="narrow"):
    """The memory of the project's modules that nobody named is left out: with it, exploring does not end."""


class Simulation:
    """A context in which a case's executions run; patches the standard library on entry and restores it on exit."""

    def __init__(self, scenario: Scenario, parameters: Mapping[str, Any], settings: Settings) -> None:
        refuse_without_asserts(scenario.__module__)
        self.scenario = scenario
        self.parameters = dict(parameters)
        self.settings = settings
        delay = scenario.max_delay
        faults = Faults.of(self.parameters.get("faults"))
        self.kernel = Kernel(settings.max_steps, nanoseconds(5.0 if delay is None else delay), not scenario.takes_world, faults)
        if (settings.trio_order or scenario.trio_order) == "batches":
            self.kernel.turn_on(BATCHES)
        order = ASYNCIO[settings.asyncio_order or scenario.asyncio_order]
        if order is not None:
            self.kernel.turn_on(order)
        self.outside = Outside.of(settings.outside, settings.network, settings.programs, otherwise=scenario.outside)
        self.world: World | None = None
        self.executions = 0
        self.checked = 0
        self.checks = False
        names = dict.fromkeys((*scenario.instrument, *settings.instrument))
        self.instrument = tuple(name for name in names if name != WORD)
        self.project = of_root(scenario.project) if scenario.project else None
        self.narrow = WORD in names
        self._narrowed: ExitStack | None = None
        self._before: Before | None = None
        self._templates = Templates()
        self.heap: Heap | None = None
        self._globals: Globals | None = None
        self._watchdog = Watchdog(self.kernel, 0)
        self._context = ExitStack()

    @property
    def templates_in_words(self) -> str:
        """Which threads of templates no actor meets, in words; empty if there are none."""
        return self._templates.in_words()

    @property
    def names(self) -> list[str]:
        """The names of the modules that are to be instrumented, with all below them."""
        return [self.scenario.__module__, *self.instrument, *self.in_project]

    @property
    def instrumented(self) -> list[str]:
        """The modules whose reads and writes of shared memory are scheduling points: the scenario's own, and those that were named."""
        modules = dict.fromkeys((self.scenario.__module__, *self.instrument, *self.in_project))
        return [shown(name) for name in modules if is_instrumented(name)]

    @property
    def in_project(self) -> list[str]:
        """The outermost modules of the project, besides the scenario's own and those that were named, that are instrumented."""
        if self.project is None or WORD in (*self.scenario.instrument, *self.settings.instrument):
            return []
        names = [name for name in self.project.modules() if name != self.scenario.__module__ and not is_wanted(name, self.instrument)]
        return [name for name in names if not any(name.startswith(f"{other}.") for other in names)]

    def __enter__(self) -> Simulation:
        with ExitStack() as stack:
            stack.enter_context(INTERRUPTS.held())
            stack.enter_context(TURNS.taken(self.scenario.name, self.settings.watchdog))
            with INTERRUPTS.held(closed=True):
                self._enter(stack)
            self._context = stack.pop_all()
        return self

    def _enter(self, stack: ExitStack) -> None:
        self.kernel.open()
        stack.callback(self.kernel.close)
        if self.settings.atomicity == "gil":
            eval_loop.demand(self.kernel)
        if self.settings.races == "fail":
            demand(self.kernel, self.settings.allowed_races)
        if self.instrument:
            stack.enter_context(importing(self.instrument))
        if self.project is not None:
            if not self.narrow:
                stack.enter_context(self.project.announcing(self.scenario.besides, control.afterwards))
            stack.callback(self._widen)
        stack.enter_context(only(self.scenario.__module__, [*self.instrument, *self.in_project]))
        stack.enter_context(control.installed())
        stack.enter_context(failing(self.kernel.faults, getattr(self.scenario.function, "__globals__", {})))
        stack.callback(control.forget, self.kernel)
        control.begin(self.kernel, {self.scenario.name: self.scenario.function, **self.parameters})
        self._watchdog = stack.enter_context(Watchdog(self.kernel, self.settings.watchdog))
        stack.callback(self._leave_heap)
        stack.callback(self._collect_last)
        stack.callback(gc.enable if gc.isenabled() else gc.disable)
        gc.disable()
        self.heap = Heap()
        for module, space, known in refused.stubbed():
            self.heap.keep(module, space, known)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with INTERRUPTS.held(closed=True):
            self._context.__exit__(kind, error, trace)
        if error is None or error is not INTERRUPTS.raised:
            INTERRUPTS.check()
        stuck = self._watchdog.stuck
        if stuck is not None and (error is None or isinstance(error, Stuck)):
            raise Misuse(str(stuck)) from None

    def execute(
        self,
        plan: Sequence[int],
        choose: Callable[[list[int]], int],
        expected: Expected = ((), ()),
        recorder: Recorder | None = None,
        watch: Watch | None = None,
    ) -> Execution:
        """Run one execution: follow the plan, then ask `choose`; a watch gets the final rows of databases.

        Raises:
            Misuse: the scenario is wrong. Nondeterminism: the plan could not be repeated.
        """
        INTERRUPTS.check()
        kernel = self.kernel
        if self.project is not None and (self.narrow or Narrow() in kernel.learned) is not (self._narrowed is not None):
            self._narrow() if self._narrowed is None else self._widen()
        self.executions += 1
        mark = kernel.learned.mark()
        try:
            self._run(lambda: kernel.run(lambda: self._prepare(recorder), plan, choose, expected, recorder is not None, self._renew))
            if not kernel.abandoned and not kernel.cut and kernel.record.n < len(plan):
                raise Nondeterminism(f"a repeated execution ended after {kernel.record.n} steps; it had at least {len(plan)}")
            if mark.holds:
                self._refuse_shared_memory()
            execution = self._judge()
            if watch is not None:
                watch.rows = control.snapshot(kernel)
            kernel.bury()
            return execution
        except Stuck as stuck:
            raise Misuse(str(stuck)) from None
        except (SimharnessError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise self._blame(error) from error
        finally:
            self._end_execution()

    def _run(self, run: Callable[[], None]) -> None:
        """Run an execution; again, if it has only made a template."""
        while True:
            try:
                run()
                return self._templates.check(self.kernel)
            except Again:
                self._end_execution()

    def _end_execution(self) -> None:
        kernel = self.kernel
        try:
            kernel.bury()
        finally:
            own, self._globals = self._globals, None
            if self.heap is not None and shared.MEMORY in kernel.context:
                for _ in own.all() if own is not None else (None,):
                    self.heap.note(kernel.context[shared.MEMORY])
            control.end_execution(kernel)
            INTERRUPTS.check()

    def _narrow(self) -> None:
        """Leave out the memory of the project's modules, but for those that were named."""
        assert self.project is not None
        own = {name for name in self.project.modules() if name == self.scenario.__module__ or is_wanted(name, self.instrument)}
        self._narrowed = ExitStack()
        self._narrowed.enter_context(self.project.silent(own))

    def _widen(self) -> None:
        narrowed, self._narrowed = self._narrowed, None
        if narrowed is not None:
            narrowed.close()

    def _garbage(self) -> int:
        """Return what garbage to collect now, between executions."""
        if not self.executions % COLLECT_ALL_EVERY or (self._before is None and Identified() in self.kernel.learned):
            return ALL
        return YOUNG if not self.executions % COLLECT_EVERY or control.collects(self.kernel) else NEVER

    def _renew(self) -> None:
        """Give what outlives executions the state that it had before the first one."""
        if self.world is not None:
            self.world.release()
        self.scenario.release()
        if self.heap is not None:
            found = self.heap.put_back(self._garbage())
            if found and self.settings.isolation != "fork":  # what was explored in other processes has met none of it
                self.kernel.learned.start_over()
            for path in self.heap.lasting:
                self.kernel.learned.leaves_out(path)
        if self._before is None and Identified() in self.kernel.learned:
            self._templates.clear()
            self._before = Before()

    def settle(self) -> None:
        """Exploring is over: if the last executions have changed something that they have not announced, exploring starts over.

        Those in processes of their own cannot have changed anything here.
        """
        if self.heap is not None and self.settings.isolation != "fork" and self.heap.sample():
            self.kernel.learned.start_over()

    def forked(self) -> None:
        """This process was forked from the one that entered the simulation: it does not touch that one's files and connections."""
        self.kernel.workspace.forked()
        control.forked(self.kernel)

    def _leave_heap(self) -> None:
        heap, self.heap = self.heap, None
        self._before = None
        self._templates.clear()
        if heap is not None:
            heap.close()

    def _collect_last(self) -> None:
        """Collect what the exploration leaves: the next one looks through everything that there is, garbage too."""
        if self.world is not None:
            self.world.release()
        self.kernel.clear()
        gc.collect(1)
        self.world = None

    def _prepare(self, recorder: Recorder | None) -> Any:
        kernel = self.kernel
        kernel.context["seed"] = self.settings.seed
        kernel.context[OUTSIDE] = self.outside
        kernel.context[TEMPLATES] = self._templates
        self._templates.begin()
        kernel.context[BEFORE] = self._before
        control.begin_execution(kernel)
        if self.heap is not None:
            kernel.context[WHEN_IMPORTED] = self.heap.adopt
        kernel.when_set_up.append(lambda: names.settle(kernel))
        kernel.when_set_up.append(self._part_processes)
        self.world = world = World(kernel)
        if recorder is not None:

            def watched() -> None:
                world.check_always()
                recorder.observe()

            kernel.observe(watched, recorder.asked)
        return self.scenario.prepare(world, self.parameters)

    def _part_processes(self) -> None:
        """Set-up is over: if there are several processes, or one may start again, each has globals of its own from here on."""
        kernel = self.kernel
        if self.heap is not None and (several(kernel.cast.waiting) or kernel.context.get("restart")):
            self._globals = self.heap.exchanged(kernel)

    def _refuse_shared_memory(self) -> None:
        kernel = self.kernel
        for name in shared_objects(kernel):
            kernel.learned.leaves_out(name)
        steps = shared_memory(kernel)
        if steps is not None:
            kernel.run(lambda: self._prepare(None), list(kernel.record.keys), lambda enabled: ABANDON, tracing=True, between=self._renew)
            raise refuse(kernel, *steps)

    def _judge(self) -> Execution:
        kernel, world = self.kernel, self.world
        assert world is not None
        status = self._status()
        if status in ("complete", "deadlock", "cut"):
            for promise in world.promises:
                self.checked += 1
                promise.judge(kernel, status == "cut")
            if status == "cut" and kernel.failure is not None:
                status = "complete"
        if status == "deadlock" and not self.scenario.allow_deadlock:
            stuck = waiting(kernel)
            looking = " or ".join(dict.fromkeys(actor.detail for actor in stuck if actor.kind == AWAIT))
            who = "; ".join(map(str, stuck))
            kernel.fail(Livelock(f"{who}; no actor can write {looking} any more") if looking else Deadlock(who))
        if status == "complete" and kernel.failure is None:
            self._check_at_end(world)
        self.checks = self.checks or bool(world.checks_at_end)
        if kernel.failure is None and status not in ("blocked", "abandoned") and (race := race_in(kernel)) is not None:
            kernel.fail(race, step=race.step)
        failure = kernel.failure
        if failure is not None and (lacking := scarcity(failure.error)) is not None:
            raise Lacking(f"{last_place(failure.error) or '?'}: {lacking}; this execution proves nothing")
        if failure is not None and is_our_bug(failure.error):
            raise HarnessBug(f"{type(failure.error).__name__}: {words_of(failure.error)}") from failure.error
        if status in ("blocked", "abandoned"):
            failure = None
        return Execution(status, failure, kernel.record.keys, frozenset(world.outcomes))

    def _status(self) -> str:
        kernel = self.kernel
        if kernel.cut:
            return "cut"
        if kernel.abandoned:
            return "abandoned"
        if kernel.over:
            return "complete"
        if kernel.cast.left_out:
            return "blocked"
        return "deadlock" if kernel.cast.stuck else "complete"

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
        if (lacking := scarcity(error)) is not None:
            return Lacking(f"{place or self.scenario.name}: {lacking}")
        if place is None or is_our_bug(error):
            return HarnessBug(f"{type(error).__name__}: {words_of(error)}")
        return Misuse(f"{place}: scenario {self.scenario.name} raised {type(error).__name__} during set-up: {words_of(error)}")

    def record(self, keys: Sequence[int], failure: str | None, failed_at: int | None) -> Trace:
        """Run the execution with these choices again, for its trace.

        Raises:
            Nondeterminism: the execution is another one now.
        """
        with Recorder(self.kernel, control.snapshot) as recorder:
            try:
                self.execute(keys, _nothing_left, recorder=recorder)
            except TokenError as error:
                raise Nondeterminism(f"not deterministic: repeated for its timeline, {error}") from None
        return recorder.trace(self.scenario.name, self.parameters, failure, failed_at)


def _nothing_left(enabled: list[int]) -> int:
    raise TokenError("the execution continues after its last choice")
