"""Instruments test modules: reads and writes in the test's own module are steps, as in a scenario's file."""

from __future__ import annotations

import contextlib
from types import ModuleType

import pytest

from simharness.instrument.loader import convert


def instrument(item: pytest.Function) -> str:
    """Instrument the test's own module if it has source, and return its name; otherwise the verdict says that it is not instrumented."""
    own: ModuleType = item.module
    with contextlib.suppress(OSError, SyntaxError, ValueError):
        convert(own)
    return own.__name__
