"""The pytest plugin: existing tests, as they are, under every ordering of their threads.

`@pytest.mark.interleave(**options)` on a test, or `--interleave` for all, makes the test's body the root actor of a simulation that is run
once for each ordering: threads are actors, sleeps are virtual, asserts are the property. This module has only pytest's hooks; what they
need is imported when the first such test is run.

The mental model: pytest's set-up phase sets up fixtures of wider scope, once and for real. Its call phase is the exploration: each
execution sets up the fixtures of function scope, runs the test, and tears them down (`executions.py`). Its result is a `Summary`
(`exploring.py`), which travels in the test's report, so that the summary is the same under pytest-xdist.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from simharness.pytest_plugin.asked import CORPUS_FOLDER, CORPUS_INI, INI, MARKER, wanted, why_not

if TYPE_CHECKING:
    from simharness.pytest_plugin.exploring import Exploration

_EXPLORATION: pytest.StashKey[Exploration] = pytest.StashKey()
REPORTED = "interleave"
"""The attribute of a report that holds the summary of the test's exploration."""
LEFT = "interleave_left"
"""The attribute of the report of a test that was to be explored and was not: it says why."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("interleave", "every ordering of threads (simharness)")
    group.addoption("--interleave", action="store_true", help="run every test under every ordering of its threads, not only marked ones")
    group.addoption("--interleave-replay", metavar="TOKEN", help="run only the execution that this token of a failing test names")
    group.addoption(
        "--interleave-abort",
        action="store_true",
        help="end the whole run where code of a test blocks in C and cannot be interrupted; otherwise its line is written, and it goes on",
    )
    parser.addini(INI, "options for every test that is run under every ordering, as name=value", type="args", default=[])
    parser.addini(CORPUS_INI, "folder for tokens of failing executions, relative to rootdir", default=CORPUS_FOLDER)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(**options): run the test under every ordering of its threads; options: strategy, max_seconds, inconclusive, …",
    )


def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> pytest.Collector | None:
    """Collect classes whose operations are to be checked."""
    if "simharness.check" not in sys.modules:  # no class is marked
        return None
    from simharness.pytest_plugin.checks import CheckedClass, is_marked

    if not is_marked(obj):
        return None
    node: CheckedClass = CheckedClass.from_parent(collector, name=name)
    node.obj = obj  # type: ignore[assignment]  # a class, as it is marked
    return node


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave only the test that is to be replayed."""
    token = config.getoption("interleave_replay")
    if not token:
        return
    from simharness.errors import Misuse
    from simharness.pytest_plugin.exploring import selected
    from simharness.visible import visible

    try:
        chosen, others = selected(items, token)
    except Misuse as error:
        raise pytest.UsageError(visible(str(error))) from None
    config.hook.pytest_deselected(items=others)
    items[:] = chosen


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Have only wider fixtures set up now, and have the test explored in its call phase."""
    if getattr(item.config.option, "setuponly", False) or not wanted(item):
        return
    from simharness.errors import Misuse
    from simharness.pytest_plugin.executions import set_up_wider
    from simharness.pytest_plugin.exploring import Exploration, Unexplored, hidden
    from simharness.pytest_plugin.options import options_of

    assert isinstance(item, pytest.Function)
    try:
        exploration = Exploration(item, options_of(item))
    except Misuse as error:
        raise Unexplored(f"Misuse: {error}") from None
    item.stash[_EXPLORATION] = exploration

    def explore() -> None:
        __tracebackhide__ = hidden
        del vars(item)["setup"], vars(item)["teardown"]
        stack = item.session._setupstate.stack
        entry = stack.pop(item)
        try:
            exploration.run()
        finally:
            stack[item] = entry

    vars(item).update(setup=set_up_wider(item), teardown=lambda: None, runtest=explore)


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Restore the test's own methods."""
    for name in ("setup", "teardown", "runtest"):
        vars(item).pop(name, None)
    if _EXPLORATION in item.stash:
        item.stash[_EXPLORATION].finished()


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: Any) -> Any:
    """Create some fixtures differently inside an execution."""
    exploration = request._pyfuncitem.stash.get(_EXPLORATION, None)
    return None if exploration is None else exploration.fixture(fixturedef, request)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the exploration's summary to the report; only a violation is a failure that a test may expect (`xfail`)."""
    report = yield
    exploration = item.stash.get(_EXPLORATION, None)
    if call.when == "call" and exploration is None and (why := why_not(item)) is not None:
        setattr(report, LEFT, why)
    if exploration is None or call.when != "call":
        return report
    from simharness.errors import HarnessBug
    from simharness.pytest_plugin.exploring import Unexplored

    if call.excinfo is not None and isinstance(call.excinfo.value, HarnessBug | Unexplored):
        report.outcome = "failed"
        vars(report).pop("wasxfail", None)
        report.longrepr = item.repr_failure(call.excinfo)
    summary = exploration.summary
    if summary.text and report.failed:
        report.sections.append(("the failing ordering", summary.text))
    setattr(report, REPORTED, summary.plain())
    return report


@pytest.fixture
def interleave_template() -> Any:
    """A function that returns what the function it is given makes: made once for all orderings, and in each as it was when it was made."""

    def template(build: Any) -> Any:
        kernels = sys.modules.get("simharness.engine.kernel")
        kernel = None if kernels is None else kernels.current()
        if kernel is None:
            return build()
        from simharness.runtimes.templates import give

        return give(kernel, build)

    return template


def pytest_enter_pdb(config: pytest.Config) -> None:
    """Refuse breakpoints while exploring: they would stop in every execution."""
    if "simharness.engine.kernel" not in sys.modules:  # nothing has been explored
        return
    from simharness.engine.kernel import current
    from simharness.errors import Misuse

    if current() is None or config.option.usepdb or config.getoption("interleave_replay"):
        return
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.resume()
    raise Misuse("a breakpoint would stop in every ordering: stop in one of them with --interleave-replay=TOKEN")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Report how many orderings each test had, and which tests were not explored."""
    every = [report for reports in terminalreporter.stats.values() for report in reports]
    reports = [report for report in every if hasattr(report, REPORTED)]
    left = [getattr(report, LEFT) for report in every if hasattr(report, LEFT)]
    if not reports and not left:
        return
    from simharness.pytest_plugin.reporting import annotate, write_summary

    reports.sort(key=lambda report: (report.location[0], report.location[1] or 0))
    write_summary(terminalreporter, [getattr(report, REPORTED) for report in reports], left)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        annotate(terminalreporter, [getattr(report, REPORTED) for report in reports if report.failed])
