"""A test's options: the marker's override those of pytest's configuration, which override the plugin's defaults."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import pytest

from simharness.engine.faults import Faults
from simharness.errors import Misuse
from simharness.pytest_plugin.asked import INI, MARKER, another_library, is_async, on_trio, runs_itself
from simharness.runtimes.asynchronous import prepare
from simharness.runtimes.trio.order import require
from simharness.search import named
from simharness.settings import Settings, is_number

MOST_SECONDS = 60.0
"""The default limit of a test, in real seconds: a test run has to end."""
_SETTINGS = frozenset(field.name for field in fields(Settings)) - {"confirm", "shard", "cluster"}
_OWN = frozenset({"strategy", "faults", "inconclusive", "max_delay", "allow_deadlock", "timescales"})
LATE = 5.0
"""The default of `max_delay`: virtual seconds by which actors may be late."""


@dataclass(frozen=True)
class Options:
    """How one test is explored.

    Attributes:
        strategy, faults: as for `simharness.explore`.
        inconclusive: "fail", or "pass" if the test passes when its exploration has no verdict.
        max_delay, allow_deadlock: as for `simharness.scenario`.
        timescales: as for `world.timescale`, one or more.
        settings: limits.
        marked: whether the test has the marker; otherwise `--interleave` was given.
    """

    strategy: str
    faults: Faults | None
    inconclusive: str
    max_delay: float | None
    allow_deadlock: bool
    timescales: tuple[float, ...]
    settings: Settings
    marked: bool


def options_of(item: pytest.Function) -> Options:
    """Return a test's options; the closest marker wins.

    Raises:
        Misuse: an unknown option, or an invalid value.
    """
    given: dict[str, Any] = {"max_seconds": MOST_SECONDS, **_from_ini(item.config)}
    markers = list(item.iter_markers(MARKER))
    for marker in reversed(markers):
        if marker.args:
            raise Misuse(f"{_place(item)}: @pytest.mark.{MARKER} takes keywords only, such as strategy='auto'; got {marker.args[0]!r}")
        given.update(marker.kwargs)
    for name in given:
        if name not in _SETTINGS | _OWN:
            raise Misuse(f"{_place(item)}: {MARKER} has no option {name!r}; it has: {', '.join(sorted(_SETTINGS | _OWN))}")
    inconclusive = given.get("inconclusive", "fail")
    if inconclusive not in ("fail", "pass"):
        raise Misuse(f"{_place(item)}: inconclusive={inconclusive!r}; it is 'fail' or 'pass'")
    strategy = given.get("strategy", named.DEFAULT)
    late = given.get("max_delay")
    if late is not None and not (is_number(late) and late >= 0):
        raise Misuse(f"{_place(item)}: max_delay={late!r}: it must be a number of seconds, at least 0")
    try:
        settings = Settings(**{name: value for name, value in given.items() if name in _SETTINGS}, confirm=False)
        faults = Faults.of(given.get("faults"))
        named.check(strategy, settings)
    except Misuse as error:
        raise Misuse(f"{_place(item)}: {error}") from None
    return Options(
        strategy=strategy,
        faults=faults,
        inconclusive=inconclusive,
        max_delay=given.get("max_delay"),
        allow_deadlock=given.get("allow_deadlock", False),
        timescales=_timescales(item, given),
        settings=settings,
        marked=bool(markers),
    )


def _timescales(item: pytest.Function, given: Mapping[str, Any]) -> tuple[float, ...]:
    asked, late = given.get("timescales", ()), given.get("max_delay")
    scales = asked if isinstance(asked, tuple | list) else (asked,)
    most = LATE if late is None else late
    for scale in scales:
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < most:
            need = f"each must be a positive number of seconds, less than max_delay={most:g}"
            raise Misuse(f"{_place(item)}: timescales={asked!r}: {need}")
    return tuple(scales)


def name_of(item: pytest.Item) -> str:
    """Return a test's name as a scenario: its node id without the file."""
    return item.nodeid.partition("::")[2].replace("::", ".")


def check_runnable(item: pytest.Function) -> None:
    """Refuse an `async def` that nothing can run.

    Raises:
        Misuse: it is for a library without a runtime or whose plugin is not installed, or Trio is not installed.
    """
    if on_trio(item):
        require()
    if is_async(item) and not runs_itself(item):
        library = another_library(item)
        if library is not None:
            has = "its plugin of pytest is not installed" if library in ("asyncio", "anyio") else "there are runtimes for Trio and asyncio"
            raise Misuse(f"{_place(item)}: {item.name} is an async def for {library}: {has}")
        prepare(item.function)


def _from_ini(config: pytest.Config) -> Mapping[str, Any]:
    options: dict[str, Any] = {}
    for pair in config.getini(INI):
        name, equals, text = pair.partition("=")
        if not equals:
            raise Misuse(f"the option {INI} of pytest's configuration says {pair!r}: write name=value")
        try:
            options[name] = ast.literal_eval(text)
        except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
            options[name] = text
    return options


def _place(item: pytest.Item) -> str:
    path, line, _ = item.location
    return f"{path}:{(line or 0) + 1}"
