"""A test as a scenario function: each call is one execution, with fixtures of function scope, an instance and a `tmp_path` of its own.

Pytest's own machinery sets up and tears down fixtures of function scope inside the simulation, in the root actor: what they create is
controlled like what the test creates. Wider fixtures are set up once, before and outside the simulation. An execution that ends early (a
deadlock, or one that the strategy abandons) tears down what can be torn down without another step.

An `async def` is run by pytest-trio, pytest-asyncio, AnyIO or its TestCase if the test is one of theirs, so that its fixtures work as
usual; otherwise as by `trio.testing.trio_test`.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from _pytest.debugging import post_mortem
from _pytest.fixtures import FixtureDef, SubRequest
from _pytest.fixtures import pytest_fixture_setup as genuine_setup
from _pytest.logging import LogCaptureHandler, caplog_handler_key, caplog_records_key
from _pytest.unittest import TestCaseFunction
from greenlet import GreenletExit

from simharness.engine.clock import nanoseconds
from simharness.engine.kernel import Kernel, current, outside
from simharness.engine.phases import SETUP
from simharness.errors import HarnessBug, SimharnessError, Stuck, leaves
from simharness.places import last_place
from simharness.pytest_plugin.asked import is_async, runs_itself
from simharness.runtimes.asynchronous import async_test
from simharness.runtimes.memory import output
from simharness.runtimes.threads.thread import IGNORES

FUNCTION = "function"
RAISED = "_excinfo"
"""The attribute of a test in which pytest stores what a unittest.TestCase raised."""
MOST_WARNINGS = 100
"""How many warnings are kept while executions run: most occur again in each."""
_INTERRUPTING = (GreenletExit, SimharnessError, Stuck, KeyboardInterrupt)


class Ended(SimharnessError):
    """The test ended the exploration: it skipped or called `xfail` before anything was concurrent, lacks a fixture, or ended all."""

    def __init__(self, outcome: BaseException) -> None:
        super().__init__(str(outcome))
        self.outcome = outcome


class Executions:
    """The executions of one test.

    Attributes:
        steps: the most steps that an execution had made when the test's body ended.
        passed: whether an execution ended without failing or skipping.
        given_up: the last `pytest.skip` or `pytest.xfail` of an execution.
        output: what the last execution printed.
        debugging: stop where the next failing execution of the root actor fails.
        replaying: this is one execution, repeated.
        live: the next execution prints where the test would, and stops at its breakpoints.
        stopped: whether the debugger has stopped in an execution.
        ignored: kinds of exceptions that ended a thread and that the test's filters of warnings ignore.
    """

    KEEPS = ("steps", "passed", "given_up", "ignored")
    """The attributes that executions change and exploring reads."""

    def __init__(self, item: pytest.Function, timescales: Sequence[float] = ()) -> None:
        self.item = item
        self._timescales = tuple(nanoseconds(seconds) for seconds in timescales)
        self.__globals__: dict[str, Any] = getattr(
            item.function, "__globals__", {}
        )  # as a function has: `error` faults are looked up there
        self.steps = 0
        self.passed = False
        self.given_up: BaseException | None = None
        self.output = io.StringIO()
        self.debugging = False
        self.stopped = False
        self.replaying = self.live = False
        self._streams = sys.stdout, sys.stderr
        self._grown: Sequence[list[Any]] = (item.user_properties, item._report_sections, item.own_markers)
        self._sizes = [len(grown) for grown in self._grown]
        self._heard: list[warnings.WarningMessage] = []
        self._stack = item.session._setupstate
        self._open = False
        self._folder: Path | None = None
        self._handler: LogCaptureHandler | None = None
        self._wider: dict[FixtureDef[Any], int] = {}
        self._filters: list[Any] = []
        self.ignored: set[str] = set()

    @contextlib.contextmanager
    def prepared(self) -> Iterator[None]:
        """A block in which pytest is ready for executions: each has its own directories, and its output is kept apart."""
        factory = self.item.config._tmp_path_factory  # type: ignore[attr-defined]  # pytest's own plugin sets it
        made = factory.mktemp
        factory.mktemp = lambda name, numbered=True: made(name, numbered) if current() is None else self.directory(name, numbered)
        self._streams, stops = (sys.stdout, sys.stderr), sys.breakpointhook
        self._sizes = [len(grown) for grown in self._grown]
        self._filters = list(warnings.filters)
        self._settle()
        function = vars(self.item).get("_obj")
        if isinstance(self.item, TestCaseFunction):
            vars(self.item)["addSubTest"] = self._sub_test
        try:
            with warnings.catch_warnings(record=True) as self._heard:
                yield
        finally:
            self.release()
            sys.stdout, sys.stderr, sys.breakpointhook = *self._streams, stops
            vars(self.item).pop("addSubTest", None)
            vars(self.item)["_obj"] = function
            del factory.mktemp
            for warning in {(str(each.message), each.category, each.filename, each.lineno): each for each in self._heard}.values():
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)

    def _settle(self) -> None:
        """Have the item compute what it would compute once, in its first execution only."""
        for base in type(self.item).__mro__:
            for name, member in vars(base).items():
                if isinstance(member, functools.cached_property):
                    with contextlib.suppress(Exception):  # it will be raised where it is asked for
                        getattr(self.item, name)

    def __call__(self) -> None:
        """Run the test once."""
        kernel = current()
        assert kernel is not None
        kernel.clock.expires_after(*self._timescales)
        kernel.context[IGNORES] = self._ignores
        self._begin(kernel)
        outcome = self._run(kernel)
        trouble = self._tear_down()
        if outcome is None or isinstance(trouble, _INTERRUPTING):
            outcome = trouble
        self.steps = max(self.steps, kernel.record.n)
        if isinstance(outcome, GreenletExit) and not kernel.dying:
            raise HarnessBug("an execution of a test ended as if it had been killed")
        self._judge(kernel, outcome)

    def _begin(self, kernel: Kernel) -> None:
        item = self.item
        self.output = io.StringIO()
        if self.live:
            self.live = False
        else:
            sys.stdout = sys.stderr = self.output
            if self.replaying:
                sys.breakpointhook = _ignored
        for grown, size in zip(self._grown, self._sizes, strict=True):
            del grown[size:]
        del self._heard[MOST_WARNINGS:]
        output.begin(kernel)
        if item.cls is not None:
            vars(item).pop("_instance", None)
            vars(item).pop("_obj", None)
        vars(item).pop(RAISED, None)  # left by an execution that was killed
        item._initrequest()
        self._folder = None
        self._open = True

    def _run(self, kernel: Kernel) -> BaseException | None:
        """Set up and run the test's body; return what it raised."""
        item = self.item
        try:
            self._stack.setup(item)
            if is_async(item) and not runs_itself(item):
                self._have_it_run()
            type(item).runtest(item)
            raised = vars(item).pop(RAISED, None)
            outcome: BaseException | None = raised[0].value if raised else None
        except BaseException as error:
            outcome = _ending(error)
        if self.debugging and outcome is not None and not isinstance(outcome, (*_INTERRUPTING, *_left_out())):
            self.debugging, self.stopped = False, True
            failure = outcome
            try:
                kernel.inspect(lambda: self._stop(failure))
            except BaseException as error:  # such as `q` in the debugger, which ends the whole session
                outcome = error
        return outcome

    def _have_it_run(self) -> None:
        """Replace the `async def` by a function that runs it, for this execution."""
        item = self.item
        driver: Any = item.config.pluginmanager.getplugin("trio")
        if driver is not None and item.get_closest_marker("trio") is not None:
            next(driver.pytest_runtest_call(item))
        else:
            item.obj = async_test(item.obj)

    def _sub_test(self, case: Any, sub_test: Any, trouble: Any) -> None:
        """A `subTest` has ended: its failure is the test's; pytest would report each, in every execution."""
        if trouble is not None:
            self.item._addexcinfo(trouble)  # type: ignore[attr-defined]  # only a TestCaseFunction gets here

    def _judge(self, kernel: Kernel, outcome: BaseException | None) -> None:
        """Raise what makes the execution fail or ends the exploration; note a skip."""
        if outcome is None:
            self.passed = True
        elif isinstance(outcome, (pytest.exit.Exception, pytest.FixtureLookupError)):
            raise Ended(outcome)
        elif isinstance(outcome, _left_out()):
            self.given_up = outcome
            if kernel.phase == SETUP:
                raise Ended(outcome)
        elif isinstance(outcome, SystemExit):
            raise pytest.fail.Exception(f"SystemExit: {outcome.code} at {last_place(outcome)}", pytrace=False) from None
        else:
            raise outcome

    def _ignores(self, thread: str, error: BaseException) -> bool:
        """Whether the test ignores pytest's warning of an exception that ends a thread; one that ignores all warnings does not."""
        warning = pytest.PytestUnhandledThreadExceptionWarning
        text = f"Exception in thread {thread}\n\n{''.join(traceback.format_exception(error))}"
        for action, message, category, *_ in self._filters:
            if not issubclass(warning, category) or (message is not None and not re.match(message, text)):
                continue
            if category is warning:
                if action == "ignore":
                    self.ignored.add(type(error).__name__)
                return bool(action == "ignore")
            if action != "ignore":
                return False
        return False

    # Putting things back

    def _tear_down(self) -> BaseException | None:
        """Tear down everything that this execution has set up; return the first exception, or one that interrupts."""
        item, stack = self.item, self._stack.stack
        finalizers = stack[item][0] if item in stack else []
        trouble: BaseException | None = None
        while finalizers:
            try:
                finalizers.pop()()
            except BaseException as error:
                if trouble is None or isinstance(error, _INTERRUPTING):
                    trouble = error
        stack.pop(item, None)
        self._end()
        return trouble

    def release(self) -> None:
        """Release an execution that could not tear down: pytest's own fixtures are torn down, no code of others is run."""
        if not self._open:
            return
        request = self.item._request
        for definition in reversed(list(request._fixture_defs.values())):
            if definition.scope == FUNCTION and definition.cached_result is not None:
                if not _module(definition).startswith("_pytest."):
                    definition._finalizers.clear()
                with contextlib.suppress(Exception):
                    definition.finish(request)
        self._stack.stack.pop(self.item, None)
        self._end()

    def _end(self) -> None:
        if self._handler is not None:
            logging.getLogger().removeHandler(self._handler)
            self._handler = None
        for definition in self.item._request._fixture_defs.values():
            if definition.scope != FUNCTION:
                known = self._wider.setdefault(definition, len(definition._finalizers))
                del definition._finalizers[known:]  # those of fixtures that this execution made
        self._open = False

    # Fixtures

    def fixture(self, definition: FixtureDef[Any], request: SubRequest) -> Any:
        """Return the value of a fixture that is created differently inside an execution; None if this one is not."""
        if not self._open or current() is None:
            return None
        name, module = definition.argname, _module(definition)
        if definition.scope != FUNCTION:
            with outside():
                return genuine_setup(definition, request)
        if name == "tmp_path" and module == "_pytest.tmpdir":
            path = self.directory("".join(c if c.isalnum() else "_" for c in self.item.name)[:30], True)
            definition.cached_result = (path, definition.cache_key(request), None)
            return path
        if name == "caplog" and module == "_pytest.logging":
            self._listen()
        return None

    def directory(self, name: str, numbered: bool) -> Path:
        """Make a directory in the execution's own temporary folder, which is empty at its beginning."""
        if self._folder is None:
            kernel = current()
            assert kernel is not None
            self._folder = Path(kernel.workspace.empty())
        number = 0
        while True:
            path = self._folder / (f"{name}{number}" if numbered else name)
            if not (numbered and path.exists()):
                path.mkdir(0o700)
                return path
            number += 1

    def _listen(self) -> None:
        """Give `caplog` a handler of its own, so that it captures this execution only; pytest's earlier handlers capture none."""
        item = self.item
        before = item.stash[caplog_handler_key]
        self._handler = handler = LogCaptureHandler()
        handler.setFormatter(before.formatter)
        handler.setLevel(before.level)
        logging.getLogger().addHandler(handler)
        item.stash[caplog_handler_key] = handler
        item.stash[caplog_records_key]["call"] = handler.records

    # Debugging

    def _stop(self, error: BaseException) -> None:
        """Open the debugger where the execution fails, before anything is torn down."""
        config = self.item.config
        capture: Any = config.pluginmanager.getplugin("capturemanager")
        if capture is not None:
            capture.suspend(in_=True)
        writer = config.get_terminal_writer()
        writer.line()
        writer.sep(">", "entering PDB in the failing execution")
        writer.line(f"{type(error).__name__}: {error}")
        assert error.__traceback__ is not None
        try:
            post_mortem(error.__traceback__)
        finally:
            if capture is not None:
                capture.resume()


def set_up_wider(item: pytest.Function) -> Callable[[], None]:
    """Return a replacement of a test's `setup`, which sets up only its fixtures of a scope wider than the function."""

    def set_up() -> None:
        for name in item.fixturenames:
            definitions = item._fixtureinfo.name2fixturedefs.get(name)
            if definitions and definitions[-1].scope != FUNCTION and name not in item.funcargs:
                item.funcargs[name] = item._request.getfixturevalue(name)

    return set_up


def _module(definition: FixtureDef[Any]) -> str:
    return str(getattr(definition.func, "__module__", ""))


def _ignored(*arguments: Any, **options: Any) -> None:
    """A breakpoint while the failing execution is repeated for its timeline."""


def _ending(error: BaseException) -> BaseException:
    """Return the exception that ends an execution, out of the group in which a nursery may have raised it; other groups unchanged."""
    inner = list(leaves(error))
    first = next((leaf for leaf in inner if isinstance(leaf, _INTERRUPTING)), None)
    if first is not None:
        return first
    return inner[0] if inner and all(isinstance(leaf, _left_out()) for leaf in inner) else error


def _left_out() -> tuple[type[BaseException], ...]:
    """Return the exceptions with which a test says that this execution proves nothing."""
    unittest = sys.modules.get("unittest")
    return (pytest.skip.Exception, pytest.xfail.Exception, *([unittest.SkipTest] if unittest is not None else []))
