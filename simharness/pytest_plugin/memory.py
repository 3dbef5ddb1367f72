"""The memory of test modules: reads and writes in the test's own module are steps, as in the file of a scenario."""

from __future__ import annotations

import contextlib
from types import ModuleType

import pytest

from simharness.instrument.loader import convert


def instrument(item: pytest.Function) -> str:
    """Have the test's own module instrumented, and return its name; one without source stays as it is: the verdict says so."""
    own: ModuleType = item.module
    with contextlib.suppress(OSError, SyntaxError, ValueError):
        convert(own)
    return own.__name__
