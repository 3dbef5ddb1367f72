"""Explores the cases of a command line: one after the other in this process, or spread over worker processes.

A worker gets one case at a time and sends back its result; the parent only waits, and starts no thread. Each case has a result, even if
its worker dies. When there are fewer cases left than workers, the others help with those (`exploring/parallel`).
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from simharness.authoring.loading import load
from simharness.authoring.scenario import Scenario, is_drawn
from simharness.endings import end_with_parent
from simharness.engine.folders import sweep
from simharness.errors import Ended, HarnessBug, Lacking, Misuse, SimharnessError, scarcity
from simharness.exploring.explore import explore_case, failed
from simharness.exploring.parallel.places import PLACES
from simharness.exploring.progress import Progress
from simharness.places import words_of
from simharness.runtimes import control
from simharness.settings import Settings
from simharness.simulation.held import HELD, Reports
from simharness.simulation.watchdog import STUCK_STATUS
from simharness.verdicts.results import Result, Verdict

_monotonic = time.monotonic
PATIENCE = 0.5
"""Real seconds that a worker has to end when it is told to."""
_FROM_OUTSIDE = (-signal.SIGTERM, -getattr(signal, "SIGKILL", signal.SIGTERM), -getattr(signal, "SIGHUP", signal.SIGTERM))
"""Exit statuses of workers that somebody has killed: the user, or a system that is short of memory."""


@dataclass(frozen=True)
class Job:
    """A case to explore. Pickled as its scenario's address: a worker that was not forked imports the file itself."""

    scenario: Scenario
    parameters: Mapping[str, Any]

    def __reduce__(self) -> tuple[Any, ...]:
        return _job, (self.scenario.address, dict(self.parameters))


@dataclass(frozen=True)
class How:
    """How to explore: what all cases share."""

    strategy: str
    stop_on_first: bool
    settings: Settings


def _job(address: str, parameters: dict[str, Any]) -> Job:
    return Job(load(address)[0], parameters)


def run(job: Job, how: How, progress: Progress | None = None) -> Result:
    """Explore one case; an error, even a bug of the harness, becomes a result with that error."""
    began = _monotonic()
    try:
        return explore_case(job.scenario, how.strategy, job.parameters, how.stop_on_first, how.settings, progress)
    except Exception as error:
        lacking = scarcity(error)
        if lacking is not None:
            return failed(job.scenario, job.parameters, how.strategy, Lacking(lacking), _monotonic() - began)
        bug = HarnessBug(f"unexpected {type(error).__name__}: {words_of(error)}")
        result = failed(job.scenario, job.parameters, how.strategy, bug, _monotonic() - began)
        return replace(result, bounds="".join(traceback.format_exception(error)))


def one_by_one(jobs: Sequence[Job], how: How, progress: Progress) -> Iterator[tuple[int, Result]]:
    """Yield (index, result) for each job."""
    for index, job in enumerate(jobs):
        yield index, run(job, how, progress)


def interrupted(job: Job, how: How, executions: int, so_far: str) -> Result:
    """Return the result of a case whose exploration was interrupted; `so_far` says how much was explored."""
    result = failed(job.scenario, job.parameters, how.strategy, SimharnessError(""), 0.0)
    return replace(
        result,
        verdict=Verdict.INCONCLUSIVE,
        executions=executions,
        error=None,
        error_status=0,
        bounds=f"interrupted{so_far}",
    )


@dataclass
class _Worker:
    """A process that explores cases; `held`: it was ended, since C code held its interpreter."""

    process: Any
    reports: Reports
    held: bool = False

    def ended(self) -> SimharnessError:
        """Return the error for the case for which the process has not given a result."""
        status, where = self.process.exitcode, self.reports.where()
        self.reports.close()
        if self.held:
            return Ended(f"C code holds the interpreter{where}, so nothing else can run: the worker process was ended")
        if status == STUCK_STATUS:
            return Ended("the worker process was stuck and has ended itself; it has named the line")
        if status >= 0:
            return HarnessBug(f"the worker process that explored this case ended with status {status}")
        case = "the worker process that explored this case"
        name = signal.Signals(-status).name if -status in signal.valid_signals() else f"signal {-status}"
        if status in _FROM_OUTSIDE:
            return Lacking(f"{case} was killed from outside, twice ({name}): is there too little memory?")
        return HarnessBug(f"{case} crashed{where}: it ended with status {status} ({name})")


class Workers:
    """Processes that explore cases. Use as a context; leaving it ends them.

    Args:
        number: how many; they are forked if the platform can, so that the scenarios are already imported.
        show: called with each job that a worker begins.
    """

    def __init__(self, number: int, jobs: Sequence[Job], how: How, show: Callable[[Job], None] = lambda job: None) -> None:
        self._jobs = jobs
        forks = _context().get_start_method() == "fork"  # otherwise processes share no places
        self._how = how if forks else replace(how, settings=replace(how.settings, workers=1))
        self._show = show
        self._next = 0
        self._running: dict[Any, tuple[_Worker, int]] = {}
        self._again: list[int] = []
        self._killed: set[int] = set()
        self._number = min(number, len(jobs))
        self._places = PLACES.opened(number - self._number)

    def __enter__(self) -> Workers:
        self._places.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        for worker, _ in self._running.values():
            worker.process.terminate()
        for worker, _ in self._running.values():
            worker.process.join(PATIENCE)
            if worker.process.is_alive():  # a scenario has installed a handler for the signal
                worker.process.kill()
                worker.process.join()
            worker.reports.close()
        self._running.clear()
        self._places.__exit__(None, None, None)
        sweep()

    def results(self, interrupted: Callable[[], bool]) -> Iterator[tuple[int, Result]]:
        """Yield (index, result) as cases end, in any order; raise KeyboardInterrupt when `interrupted` returns true."""
        for _ in range(self._number):
            self._start()
        while self._running:
            for pipe in multiprocessing.connection.wait(list(self._running), timeout=0.2):
                received = self._receive(pipe)
                if received is not None:
                    yield received
            for worker, _ in list(self._running.values()):
                if worker.reports.held():
                    worker.held = True
                    worker.process.kill()
            if interrupted():
                raise KeyboardInterrupt

    @property
    def unfinished(self) -> list[int]:
        """The indices of the jobs that workers are busy with."""
        return [index for _, index in self._running.values()]

    def _start(self) -> None:
        context = _context()
        ours, theirs = context.Pipe()
        reading, writing = os.pipe()
        inherited = [ours, *self._running] if context.get_start_method() == "fork" else []
        supervised = writing if context.get_start_method() == "fork" else -1
        process = context.Process(target=_work, args=(theirs, self._jobs, self._how, inherited, os.getpid(), supervised), daemon=True)
        process.start()
        theirs.close()
        os.close(writing)
        self._hand_out(ours, _Worker(process, Reports(reading)))

    def _hand_out(self, pipe: Any, worker: _Worker) -> None:
        """Give a worker its next job, or end it."""
        if not self._left():
            self._running.pop(pipe, None)
            pipe.close()
            worker.process.join()
            worker.reports.close()
            PLACES.give()
            return
        if self._again:
            index = self._again.pop()
        else:
            index, self._next = self._next, self._next + 1
        self._running[pipe] = (worker, index)
        self._show(self._jobs[index])
        with contextlib.suppress(OSError):
            pipe.send(index)

    def _left(self) -> bool:
        return bool(self._again) or self._next < len(self._jobs)

    def _receive(self, pipe: Any) -> tuple[int, Result] | None:
        """Receive a case's result; None if its worker was killed, and the case is explored again by another."""
        worker, index = self._running[pipe]
        job = self._jobs[index]
        try:
            result = pickle.loads(pipe.recv_bytes())
        except (EOFError, OSError):
            del self._running[pipe]
            pipe.close()
            worker.process.join()
            if worker.process.exitcode in _FROM_OUTSIDE and not worker.held and index not in self._killed:
                self._killed.add(index)
                self._again.append(index)
                self._start()
                return None
            result = failed(job.scenario, job.parameters, self._how.strategy, worker.ended(), 0.0)
            if self._left():
                self._start()
            else:
                PLACES.give()
        else:
            self._hand_out(pipe, worker)
        case = {name: result.parameters[name] if is_drawn(value) else value for name, value in job.parameters.items()}
        return index, replace(result, parameters=case)


def _context() -> Any:
    methods = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("fork" if "fork" in methods and os.uname().sysname == "Linux" else "spawn")


def _work(pipe: Any, jobs: Sequence[Job], how: How, inherited: Sequence[Any], parent: int, supervised: int) -> None:
    """Receive indices and send back results, until the parent closes the pipe."""
    end_with_parent(parent)
    if supervised >= 0:
        HELD.file, HELD.supervised = supervised, True
        faulthandler.enable(supervised, all_threads=False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, signal.SIG_DFL)
    for other in inherited:
        other.close()
    with control.installed():  # once for all cases: finding what to replace takes longer than exploring a small one
        while True:
            try:
                index = pipe.recv()
            except (EOFError, OSError):
                return
            pipe.send_bytes(_packed(run(jobs[index], how)))


def _packed(result: Result) -> bytes:
    """Pickle a result; values of the scenario that cannot be pickled are replaced by their texts."""
    try:
        return pickle.dumps(result)
    except Exception:
        counterexample = result.counterexample
        words = {name: str(value) for name, value in result.parameters.items()}
        if counterexample is not None:
            counterexample = replace(counterexample, trace=replace(counterexample.trace, parameters=words))
        outcomes = frozenset(map(repr, result.outcomes))
        return pickle.dumps(replace(result, parameters=words, outcomes=outcomes, counterexample=counterexample))


def jobs_of(paths: Sequence[str], selections: Sequence[str], faults: str | None = None, beyond_the_matrix: bool = False) -> list[Job]:
    """Return the cases to explore: those of all scenarios that have the selected values.

    Args:
        paths: addresses as `simharness.load` takes them.
        selections: NAME=VALUE; of several with the same name, one has to hold.
        faults: one fault model for all, instead of the scenarios' own.
        beyond_the_matrix: whether parameters of the scenario's function that are not in the matrix may be given, too, as text.

    Raises:
        Misuse: no such file, scenario, parameter or value, or two scenarios of one name.
    """
    wanted: dict[str, list[str]] = {}
    for selection in selections:
        name, equals, value = selection.partition("=")
        if not equals:
            raise Misuse(f"--parameter {selection}: write NAME=VALUE")
        wanted.setdefault(name.strip(), []).append(value.strip())
    # A mistyped name or value must be an error: it would select fewer cases or none, and the run would exit with 0 without having explored
    # what was asked for. One scenario with that parameter is enough; those without it are left out. Values are compared as text, which is
    # all that a command line has. A scenario that two paths name (file.py and file.py::scenario) is explored once.
    scenarios = [scenario for path in paths for scenario in load(path)]
    _check_names(scenarios)
    extra: dict[str, str] = {}
    if beyond_the_matrix:
        named = {name for scenario in scenarios for name in scenario.optional}
        extra = {name: wanted.pop(name)[-1] for name in list(wanted) if name in named}
    for name, values in wanted.items():
        known = [str(value) for scenario in scenarios for value in scenario.matrix.get(name, ())]
        if not known:
            has = ", ".join(dict.fromkeys(name for scenario in scenarios for name in scenario.matrix)) or "none"
            raise Misuse(f"--parameter {name}: no scenario has a parameter {name!r}; there are: {has}")
        for value in values:
            if value not in known:
                raise Misuse(f"--parameter {name}={value}: {name} must be one of {', '.join(dict.fromkeys(known))}")
    jobs = [
        Job(scenario, {**case, **extra})
        for scenario in dict.fromkeys(scenarios)
        for case in scenario.cases(faults)
        if all(name in case and str(case[name]) in values for name, values in wanted.items())
    ]
    if not jobs:
        raise Misuse(f"no case has {' and '.join(selections)}: leave out one --parameter")
    return jobs


def _check_names(scenarios: Sequence[Scenario]) -> None:
    """Refuse two scenarios of one name: tables, results and tokens would confuse them."""
    addresses: dict[str, str] = {}
    for scenario in scenarios:
        other = addresses.setdefault(scenario.name, scenario.address)
        if other != scenario.address:
            raise Misuse(f"two scenarios are called {scenario.name}, {other} and {scenario.address}: explore one at a time, or rename one")
