"""Instruments test modules: reads and writes in the test's own module are steps, as in a scenario's file; those in other tests' are not."""

from __future__ import annotations

import contextlib
from types import ModuleType

import pytest

from simharness.instrument.loader import convert

_TESTS = pytest.StashKey[frozenset[str]]()
"""The modules of all tests that were collected."""


def instrument(item: pytest.Function) -> str:
    """Instrument the test's own module if it has source, and return its name; otherwise the verdict says that it is not instrumented."""
    own: ModuleType = item.module
    with contextlib.suppress(OSError, SyntaxError, ValueError):
        convert(own)
    return own.__name__


def others(item: pytest.Function) -> frozenset[str]:
    """Return the modules of other tests, without those that this test's module uses."""
    known: frozenset[str] | None = item.session.stash.get(_TESTS, None)
    if known is None:
        known = frozenset(other.module.__name__ for other in item.session.items if isinstance(other, pytest.Function))
        item.session.stash[_TESTS] = known
    used = {getattr(value, "__name__" if isinstance(value, ModuleType) else "__module__", None) for value in vars(item.module).values()}
    return known - used - {item.module.__name__}
