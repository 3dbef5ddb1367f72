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


def wanted(item: pytest.Item) -> bool:
    """Whether a test is to be run under every ordering."""
    if not isinstance(item, pytest.Function):
        return False
    if item.get_closest_marker(MARKER) is not None:
        return True
    asked = item.config.getoption("interleave") or item.config.getoption("interleave_replay")
    return bool(asked) and (not is_async(item) or (another_library(item) is None and importlib.util.find_spec("trio") is not None))


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


def another_library(item: pytest.Function) -> str | None:
    """Return the library that runs an `async def` instead of Trio, if the test names one."""
    unittest = sys.modules.get("unittest")
    if item.cls is not None and unittest is not None and issubclass(item.cls, unittest.TestCase):
        return "asyncio"
    return next((name for name in _OTHERS if item.get_closest_marker(name) is not None), None)
