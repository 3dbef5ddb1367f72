"""One test under every ordering: kept tokens first, then the exploration; what it came to, as pytest tells it.

A violation raises what the failing execution raised, so that `xfail(raises=…)`, rewritten asserts and tracebacks are those of the test.
Whatever else can go wrong (misuse, nondeterminism, no verdict) raises `Unexplored`, which no `xfail` takes for the expected failure.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from _pytest.outcomes import Failed
from _pytest.pathlib import bestrelpath

import simharness
from simharness.authoring.scenario import Scenario
from simharness.engine.clock import real_seconds
from simharness.errors import HarnessBug, Misuse, Nondeterminism, SimharnessError, TokenError
from simharness.places import is_foreign, is_ours, last_place
from simharness.pytest_plugin import memory
from simharness.pytest_plugin.asked import CORPUS_INI
from simharness.pytest_plugin.corpus import Corpus
from simharness.pytest_plugin.executions import Ended, Executions
from simharness.pytest_plugin.options import Options, check_runnable, name_of
from simharness.pytest_plugin.telling import failing_ordering
from simharness.runtimes import control
from simharness.runtimes.memory.silent import only
from simharness.search import tokens
from simharness.settings import Settings
from simharness.simulation.execution import Deadlock
from simharness.simulation.simulation import Simulation
from simharness.verdicts.counterexample import counterexample
from simharness.verdicts.results import Replayed, Verdict

ERROR = "error"
NO_THREADS = "no threads"
REPLAYED = "replayed"


class Unexplored(Failed):
    """The orderings of a test were not explored, or not all: it is neither right nor wrong."""

    __module__ = "builtins"  # so that pytest shows the bare name, as it does for its own

    def __init__(self, message: str) -> None:
        super().__init__(message, pytrace=False)


@dataclass
class Told:
    """What a test's exploration came to, as reports carry it from process to process; `nodeid` is as one types it here."""

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
        """Return it as JSON can hold it."""
        return asdict(self)


class Exploration:
    """Runs one test under every ordering, or under one."""

    def __init__(self, item: pytest.Function, options: Options) -> None:
        self.item = item
        self.options = options
        self.told = Told(
            _address(item, item.config.invocation_params.dir),
            strategy=options.strategy,
            unit="orderings" if options.strategy == "dpor" else "executions",
        )
        self._body = Executions(item, options.timescales)
        self._scenario = Scenario(self._body, max_delay=options.max_delay, allow_deadlock=options.allow_deadlock)
        self._scenario.name = self._scenario.address = name_of(item)
        fixtures = [found[-1].func for found in item._fixtureinfo.name2fixturedefs.values() if found]
        self._scenario.roots = (item.function, *fixtures)
        self._scenario.__module__ = memory.instrument(item)
        self._corpus = Corpus(item.config.rootpath / item.config.getini(CORPUS_INI), _address(item, item.config.rootpath))
        self._debugger: Any = item.config.pluginmanager.getplugin("pdbinvoke") if item.config.option.usepdb else None

    def run(self) -> None:
        """Do it.

        Raises:
            Unexplored: there is no verdict. Whatever the failing execution raised: there is one, and it is "violated".
        """
        __tracebackhide__ = hidden
        token, began = self.item.config.getoption("interleave_replay"), real_seconds()
        try:
            check_runnable(self.item)
            own, names = self._scenario.__module__, self.options.settings.instrument
            with (
                only(own, names),
                control.installed(),
                self._body.prepared(),
            ):  # once for the exploration and the repeated execution
                failing = self._repeat(token) if token else self._explore()
        except Ended as ended:
            self.told.verdict = NO_THREADS
            raise ended.outcome from None
        except HarnessBug:
            raise
        except SimharnessError as error:
            self.told.failure = f"{type(error).__name__}: {error}"
            raise Unexplored("\n".join([self.told.failure, *getattr(error, "__notes__", ())])) from None
        finally:
            self.told.seconds = round(real_seconds() - began, 3)
            for name in ("executions", "verdict", "strategy", "bounds", "token"):
                self.item.user_properties.append((f"interleave_{name}", getattr(self.told, name)))
        if failing is not None:
            if not token:
                sys.stdout.write(self._body.output.getvalue())
            raise self._as_raised(failing)
        if not self._body.passed and self._body.given_up is not None:
            raise self._body.given_up
        self._require_verdict()

    def _require_verdict(self) -> None:
        if self.told.verdict == Verdict.INCONCLUSIVE and self.options.inconclusive != "pass":
            why = "the test starts no thread and makes no step, so there is one ordering of it: take the marker away; "
            raise Unexplored(f"inconclusive: {'' if self._body.steps else why}{self.told.bounds}")

    def fixture(self, definition: pytest.FixtureDef[Any], request: Any) -> Any:
        """Return the value of a fixture that has to be made in another way inside an execution; None if it has not."""
        return self._body.fixture(definition, request)

    # Which executions

    def _explore(self) -> Replayed | None:
        """Explore; return the failing execution."""
        settings, body = self.options.settings, self._body
        for token in self._corpus.tokens():
            found = self._again(token, settings)
            if found is not None:
                self._violated(found, 1, "fails as an earlier run did: stopped at the ordering kept from it", found.shortness)
                return self._raised_again(found)
        result = simharness.explore(self._scenario, self.options.strategy, faults=self.options.faults, settings=settings)
        told = self.told
        told.verdict, told.executions, told.bounds = str(result.verdict), result.executions, result.bounds
        found = result.counterexample
        if found is not None:
            self._violated(found, result.executions, result.bounds, found.shortness)
            if self.told.text:
                self._corpus.remember(found.token)
            return self._raised_again(found)
        if not body.steps and body.passed and not self.options.marked:
            told.verdict = NO_THREADS
        elif result.verdict is Verdict.VERIFIED:
            for token in self._corpus.tokens():
                self._corpus.forget(token)
        told.notes += [*result.remarks, *self._ignored()]
        if body.given_up is not None and body.passed:
            told.notes.append(f"some orderings end in {type(body.given_up).__name__}: {body.given_up}")
        return None

    def _again(self, kept: str, settings: Settings) -> simharness.Counterexample | None:
        """Try a kept token; return the counterexample if it still fails. One that does not fit the test any more is dropped."""
        try:
            case = {} if self.options.faults is None else {"faults": self.options.faults}
            told = self._scenario.read_token(kept, case)
            with Simulation(self._scenario, case, settings) as simulation:
                follow = tokens.Replay(simulation.kernel, told)
                execution = simulation.execute((), follow.choose)
                follow.finish()
                return None if execution.failure is None else counterexample(simulation, execution)
        except (TokenError, Nondeterminism):
            self._corpus.forget(kept)
            self.told.notes.append("the ordering kept from an earlier failure no longer fits this test and was dropped")
            return None

    def _repeat(self, token: str) -> Replayed | None:
        """Run the one execution that was asked for; return it if it fails."""
        replayed = self._in_full(token)
        self.told.executions, self.told.verdict = 1, REPLAYED
        if replayed.failure is None:
            self.told.notes.append("the replayed execution does not fail")
            return None
        self._violated(replayed, 1, "one execution, replayed", "")
        return replayed

    def _ignored(self) -> list[str]:
        kinds = sorted(self._body.ignored)
        return [f"{', '.join(kinds)} in a thread: ignored, as the test's filterwarnings says"] if kinds else []

    def _raised_again(self, found: Replayed) -> Replayed:
        """Repeat a counterexample for what it raises; where it cannot be repeated, it is told without that."""
        try:
            return self._in_full(found.token)
        except Ended:
            raise
        except SimharnessError as error:
            self.told.notes.append(f"the failing ordering could not be repeated: {error}")
            return found

    def _in_full(self, token: str) -> Replayed:
        """Repeat an execution for what it raises; with `--pdb` stop where it fails."""
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
        """The test's report has been made: let the next test have the debugger."""
        manager = self.item.config.pluginmanager
        if self._body.stopped and not manager.has_plugin("pdbinvoke"):
            manager.register(self._debugger, "pdbinvoke")

    # What is told

    def _violated(self, found: Replayed, executions: int, bounds: str, shortness: str) -> None:
        told = self.told
        told.verdict, told.executions, told.bounds = str(Verdict.VIOLATED), executions, bounds
        told.failure, told.token = found.failure or "", found.token
        if found.steps or found.trace.waiting:
            told.text = failing_ordering(found, told.nodeid, shortness)

    def _as_raised(self, failing: Replayed) -> BaseException:
        """Return what the failing execution raised, with the frames of the code under test."""
        error = failing.error
        if error is None or isinstance(error, Deadlock):
            return pytest.fail.Exception(failing.failure or "the failing ordering did not fail again", pytrace=False)
        place = last_place(error)
        if place is not None:
            self.told.file, self.told.line = place.file, place.line
        return error.with_traceback(_of_users(error.__traceback__))


def hidden(found: pytest.ExceptionInfo[BaseException]) -> bool:
    """Whether tracebacks leave the plugin's own frames out: pytest shows no traceback of a `Failed` that asks for none."""
    return not isinstance(found.value, Failed)


def _address(item: pytest.Item, folder: Path) -> str:
    """Return a test's node id as one types it in this folder, which need not be the rootdir, nor hold it."""
    return f"{bestrelpath(folder, item.path)}::{item.nodeid.partition('::')[2]}"


def _of_users(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the first frame that is the user's, without the harness's frames; all of it if none is."""
    found = trace
    while found is not None and is_foreign(found.tb_frame.f_code.co_filename):
        found = found.tb_next
    frames = []
    while found is not None:
        if not is_ours(found.tb_frame.f_code.co_filename):
            frames.append(found)
        found = found.tb_next
    shown: TracebackType | None = None
    for frame in reversed(frames):
        shown = TracebackType(shown, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return shown or trace


def selected(items: Sequence[pytest.Item], token: str) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """Part the tests into those that a token belongs to, and the others.

    Raises:
        Misuse: it belongs to none.
    """
    name = tokens.scenario_of(token)
    chosen = [item for item in items if name_of(item) == name]
    if items and not chosen:
        raise Misuse(f"--interleave-replay: the token belongs to {name}, which is not among the tests that were collected")
    return chosen, [item for item in items if name_of(item) != name]
