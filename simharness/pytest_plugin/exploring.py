"""One test under every ordering: kept tokens first, then the exploration; the result, as pytest reports it.

A violation raises what the failing execution raised, so that `xfail(raises=…)`, rewritten asserts and tracebacks work as usual.
Everything else that can go wrong (misuse, nondeterminism, no verdict) raises `Unexplored`, which no `xfail` takes for the expected failure.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key
from _pytest.outcomes import Failed
from _pytest.pathlib import bestrelpath

import simharness
from simharness.authoring.scenario import Scenario
from simharness.engine.clock import real_seconds
from simharness.engine.interrupts import INTERRUPTS
from simharness.errors import HarnessBug, Misuse, Nondeterminism, SimharnessError, TokenError
from simharness.places import is_foreign, is_ours, last_place
from simharness.pytest_plugin import memory
from simharness.pytest_plugin.asked import CORPUS_INI
from simharness.pytest_plugin.corpus import Corpus
from simharness.pytest_plugin.executions import Ended, Executions
from simharness.pytest_plugin.options import Options, check_runnable, name_of
from simharness.pytest_plugin.reporting import failing_ordering
from simharness.runtimes import control
from simharness.runtimes.memory.silent import only
from simharness.search import named, tokens
from simharness.settings import Settings
from simharness.simulation.execution import Found
from simharness.simulation.held import HELD
from simharness.simulation.simulation import Simulation
from simharness.verdicts.counterexample import counterexample
from simharness.verdicts.results import Replayed, Verdict
from simharness.visible import visible, visible_lines

ERROR = "error"
NO_THREADS = "no threads"
REPLAYED = "replayed"


class Unexplored(Failed):
    """The orderings of a test were not explored, or not all: the test neither passes nor fails."""

    __module__ = "builtins"  # so that pytest shows the bare name, as it does for its own

    def __init__(self, message: str) -> None:
        super().__init__(visible_lines(message), pytrace=False)


@dataclass
class Summary:
    """The result of a test's exploration, as reports carry it between processes; `nodeid` is relative to the working directory."""

    nodeid: str
    verdict: str = ERROR
    executions: int = 0
    unit: str = "orderings"
    seconds: float = 0.0
    strategy: str = ""
    bounds: str = ""
    failure: str = ""
    token: str = ""
    file: str = ""
    line: int = 0
    text: str = ""
    notes: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """Return the summary as a JSON object."""
        return asdict(self)


class Exploration:
    """Runs one test under every ordering, or under one."""

    def __init__(self, item: pytest.Function, options: Options) -> None:
        self.item = item
        self.options = options
        self.summary = Summary(
            _address(item, item.config.invocation_params.dir),
            strategy=options.strategy,
            unit="orderings" if options.strategy in named.REDUCED else "executions",
        )
        self._next = ""
        self._body = Executions(item, options.timescales)
        self._scenario = Scenario(self._body, max_delay=options.max_delay, allow_deadlock=options.allow_deadlock)
        self._scenario.name = self._scenario.address = name_of(item)
        self._scenario.release, self._scenario.keeps = self._body.release, Executions.KEEPS
        fixtures = [definitions[-1].func for definitions in item._fixtureinfo.name2fixturedefs.values() if definitions]
        self._scenario.roots = (item.function, *fixtures)
        self._scenario.__module__ = memory.instrument(item)
        self._scenario.project = str(item.config.rootpath)
        self._scenario.besides = memory.others(item)
        self._corpus = Corpus(item.config.rootpath / item.config.getini(CORPUS_INI), _address(item, item.config.rootpath))
        self._debugger: Any = item.config.pluginmanager.getplugin("pdbinvoke") if item.config.option.usepdb else None

    def run(self) -> None:
        """Explore the test, or repeat one execution.

        Raises:
            Unexplored: there is no verdict. If the verdict is "violated", what the failing execution raised.
        """
        __tracebackhide__ = hidden
        before, HELD.file = HELD.file, self.item.config.stash.get(fault_handler_stderr_fd_key, 2)
        HELD.ends = self.item.config.getoption("interleave_abort")
        token, began = self.item.config.getoption("interleave_replay"), real_seconds()
        try:
            check_runnable(self.item)
            own, names = self._scenario.__module__, self.options.settings.instrument
            with (
                INTERRUPTS.held(),
                only(own, names),
                control.installed(),
                self._body.prepared(),
            ):  # once for the exploration and the repeated execution
                failing = self._repeat(token) if token else self._explore()
        except Ended as ended:
            self.summary.verdict = ERROR if isinstance(ended.outcome, pytest.FixtureLookupError) else NO_THREADS
            raise ended.outcome from None
        except HarnessBug:
            raise
        except SimharnessError as error:
            self.summary.failure = f"{type(error).__name__}: {error}"
            raise Unexplored("\n".join([self.summary.failure, *getattr(error, "__notes__", ())])) from None
        finally:
            HELD.file = before
            self.summary.seconds = round(real_seconds() - began, 3)
            for name in ("executions", "verdict", "strategy", "bounds", "token"):
                value = getattr(self.summary, name)
                self.item.user_properties.append((f"interleave_{name}", visible(value) if isinstance(value, str) else value))
        if failing is not None:
            if not token:
                sys.stdout.write(self._body.output.getvalue())
            raise self._as_raised(failing)
        if not self._body.passed and self._body.given_up is not None:
            raise self._body.given_up
        self._require_verdict()

    def _require_verdict(self) -> None:
        if self.summary.verdict == Verdict.INCONCLUSIVE and self.options.inconclusive != "pass":
            why = "the test starts no thread and makes no step, so it has one ordering: remove the marker; "
            raise Unexplored(f"inconclusive: {'' if self._body.steps else why}{self.summary.bounds}{self._next}")

    def fixture(self, definition: pytest.FixtureDef[Any], request: Any) -> Any:
        """Return the value of a fixture that is created differently inside an execution; None if this one is not."""
        return self._body.fixture(definition, request)

    # Which executions

    def _explore(self) -> Replayed | None:
        """Explore; return the failing execution."""
        settings, body = self.options.settings, self._body
        for token in self._corpus.tokens():
            failing = self._again(token, settings)
            if failing is not None:
                self._violated(failing, 1, "fails as an earlier run did: stopped at the ordering kept from it", failing.shortness)
                return self._raised_again(failing)
        result = simharness.explore(self._scenario, self.options.strategy, faults=self.options.faults, settings=settings)
        summary = self.summary
        summary.verdict, summary.executions, summary.bounds = str(result.verdict), result.executions, result.bounds
        failing = result.counterexample
        if failing is not None:
            self._violated(failing, result.executions, result.bounds, failing.shortness)
            if self.summary.text:
                self._corpus.remember(failing.token)
            return self._raised_again(failing)
        if not body.steps and body.passed and not self.options.marked:
            summary.verdict = NO_THREADS
        elif result.verdict is Verdict.VERIFIED:
            for token in self._corpus.tokens():
                self._corpus.forget(token)
        summary.notes += [*result.remarks, *result.about_proofs, *self._ignored()]
        if result.proof_to_try:
            self._next = f"\n{self._with_proof(result.proof_to_try)}"
            summary.notes.append(self._with_proof(result.proof_to_try))
        if body.given_up is not None and body.passed:
            summary.notes.append(f"some orderings end in {type(body.given_up).__name__}: {body.given_up}")
        return None

    def _with_proof(self, bound: str) -> str:
        """Return the command that explores this test within a bound."""
        interleave = "" if self.options.marked else " --interleave"
        return f"pytest {shlex.quote(self.summary.nodeid)}{interleave} -o {shlex.quote(f'interleave=proof={bound}')}"

    def _again(self, kept: str, settings: Settings) -> simharness.Counterexample | None:
        """Try a kept token; return the counterexample if it still fails. A token that no longer fits the test is dropped."""
        try:
            case = {} if self.options.faults is None else {"faults": self.options.faults}
            parsed = self._scenario.read_token(kept, case)
            with Simulation(self._scenario, case, settings) as simulation:
                follow = tokens.Replay(simulation.kernel, parsed)
                execution = simulation.execute((), follow.choose)
                follow.finish()
                return None if execution.failure is None else counterexample(simulation, execution)
        except (TokenError, Nondeterminism):
            self._corpus.forget(kept)
            self.summary.notes.append("the ordering kept from an earlier failure no longer fits this test and was dropped")
            return None

    def _repeat(self, token: str) -> Replayed | None:
        """Repeat the requested execution; return it if it fails."""
        replayed = self._in_full(token)
        self.summary.executions, self.summary.verdict = 1, REPLAYED
        if replayed.failure is None:
            self.summary.notes.append("the replayed execution does not fail")
            return None
        self._violated(replayed, 1, "one execution, replayed", "")
        return replayed

    def _ignored(self) -> list[str]:
        kinds = sorted(self._body.ignored)
        return [f"{', '.join(kinds)} in a thread: ignored, as the test's filterwarnings says"] if kinds else []

    def _raised_again(self, failing: Replayed) -> Replayed:
        """Repeat a counterexample to get what it raises; one that cannot be repeated is reported without that."""
        try:
            return self._in_full(failing.token)
        except Ended:
            raise
        except SimharnessError as error:
            self.summary.notes.append(f"the failing ordering could not be repeated: {error}")
            return failing

    def _in_full(self, token: str) -> Replayed:
        """Repeat an execution to get what it raises; with `--pdb` stop where it fails."""
        body, asked = self._body, self.item.config.getoption("interleave_replay")
        body.debugging, body.replaying = self._debugger is not None, True
        body.live = bool(asked) or body.debugging
        settings = replace(self.options.settings, watchdog=0.0) if body.live else self.options.settings
        try:
            return simharness.replay(self._scenario, token, settings=settings)
        finally:
            body.debugging = body.replaying = False
            if body.stopped:
                with contextlib.suppress(ValueError, AssertionError):
                    self.item.config.pluginmanager.unregister(self._debugger, "pdbinvoke")

    def finished(self) -> None:
        """Register the debugger again for the next test, once this one's report has been made."""
        manager = self.item.config.pluginmanager
        if self._body.stopped and not manager.has_plugin("pdbinvoke"):
            manager.register(self._debugger, "pdbinvoke")

    # The report

    def _violated(self, failing: Replayed, executions: int, bounds: str, shortness: str) -> None:
        summary = self.summary
        summary.verdict, summary.executions, summary.bounds = str(Verdict.VIOLATED), executions, bounds
        summary.failure, summary.token = failing.failure or "", failing.token
        if failing.steps or failing.trace.waiting:
            summary.text = failing_ordering(failing, summary.nodeid, shortness)

    def _as_raised(self, failing: Replayed) -> BaseException:
        """Return what the failing execution raised, with the frames of the code under test."""
        error = failing.error
        if error is None or isinstance(error, Found):
            return pytest.fail.Exception(visible(failing.failure or "the failing ordering did not fail again"), pytrace=False)
        place = last_place(error)
        if place is not None:
            self.summary.file, self.summary.line = place.file, place.line
        return error.with_traceback(_of_users(error.__traceback__))


def hidden(raised: pytest.ExceptionInfo[BaseException]) -> bool:
    """Whether tracebacks leave out the plugin's frames: pytest shows no traceback of a `Failed` without one."""
    return not isinstance(raised.value, Failed)


def _address(item: pytest.Item, folder: Path) -> str:
    """Return a test's node id relative to this folder, which may be any folder."""
    return f"{bestrelpath(folder, item.path)}::{item.nodeid.partition('::')[2]}"


def _of_users(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the user's first frame on, without the harness's frames; all of it if there is none."""
    entry = trace
    while entry is not None and is_foreign(entry.tb_frame.f_code.co_filename):
        entry = entry.tb_next
    frames = []
    while entry is not None:
        if not is_ours(entry.tb_frame.f_code.co_filename):
            frames.append(entry)
        entry = entry.tb_next
    shown: TracebackType | None = None
    for frame in reversed(frames):
        shown = TracebackType(shown, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return shown or trace


def selected(items: Sequence[pytest.Item], token: str) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """Return the tests that a token belongs to, and the other tests.

    Raises:
        Misuse: it belongs to none of them.
    """
    name = tokens.scenario_of(token)
    chosen = [item for item in items if name_of(item) == name]
    if items and not chosen:
        raise Misuse(f"--interleave-replay: the token belongs to {name}, which is not among the collected tests")
    return chosen, [item for item in items if name_of(item) != name]
