"""Which tests are to be explored: all that the plugin needs until the first of them is run."""

from __future__ import annotations

import importlib.util
import inspect
import sys

import pytest

MARKER = "interleave"
INI = "interleave"
CORPUS_INI = "interleave_corpus"
CORPUS_FOLDER = ".simharness"
_OTHERS = ("asyncio", "anyio", "twisted", "tornado")
"""Markers of tests that a library other than Trio runs."""
_RUN_BY = {"asyncio": "asyncio", "anyio": "anyio"}
"""For libraries that have a runtime, the plugins of pytest that run their tests."""


def wanted(item: pytest.Item) -> bool:
    """Whether a test is to be run under every ordering."""
    if not isinstance(item, pytest.Function):
        return False
    if item.get_closest_marker(MARKER) is not None:
        return True
    asked = item.config.getoption("interleave") or item.config.getoption("interleave_replay")
    if not asked or not is_async(item) or runs_itself(item):
        return bool(asked)
    return another_library(item) is None and importlib.util.find_spec("trio") is not None


def why_not(item: pytest.Item) -> str | None:
    """Return the kind of test that is not explored although `--interleave` asks for it ("of asyncio"); None if this test is explored."""
    if not item.config.getoption("interleave") or wanted(item):
        return None
    if not isinstance(item, pytest.Function):
        return f"without a test function ({type(item).__name__})"
    return f"of {another_library(item) or 'Trio, which is not installed'}"


def is_async(item: pytest.Function) -> bool:
    """Whether a test is an `async def`."""
    return inspect.iscoroutinefunction(item.function)


def runs_itself(item: pytest.Function) -> bool:
    """Whether an `async def` is run as without a simulation: by a TestCase, or by the plugin of a library that has a runtime."""
    if _of_test_case(item) or any(kind.__name__ == "PytestAsyncioFunction" for kind in type(item).__mro__):
        return True
    plugin = _RUN_BY.get(another_library(item) or "")
    return plugin is not None and item.config.pluginmanager.hasplugin(plugin)


def _of_test_case(item: pytest.Function) -> bool:
    unittest = sys.modules.get("unittest")
    return item.cls is not None and unittest is not None and issubclass(item.cls, unittest.TestCase)


def another_library(item: pytest.Function) -> str | None:
    """Return the library that runs an `async def` instead of Trio, if the test names one."""
    if _of_test_case(item):
        return "asyncio"
    return next((name for name in _OTHERS if item.get_closest_marker(name) is not None), None)


def on_trio(item: pytest.Function) -> bool:
    """Whether AnyIO's plugin runs a test with Trio."""
    backend = getattr(getattr(item, "callspec", None), "params", {}).get("anyio_backend")
    return "trio" in (backend, *(backend if isinstance(backend, tuple) else ()))
