"""The memory of test modules: reads and writes in the test's own module are steps, as in the file of a scenario."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType

import pytest

from simharness.instrument import hooks, silent
from simharness.instrument.kinds import HOOKS, announces
from simharness.instrument.loader import convert, is_wanted


def instrument(item: pytest.Function) -> str:
    """Have the test's own module instrumented, and return its name; one without source stays as it is: the verdict says so."""
    own: ModuleType = item.module
    with contextlib.suppress(OSError, SyntaxError, ValueError):
        convert(own)
    return own.__name__


@contextlib.contextmanager
def only(own: str, names: Sequence[str]) -> Iterator[None]:
    """Have no other module announce anything, so that a test does not depend on which tests were run before it."""
    others = [
        vars(module)
        for name, module in list(sys.modules.items())
        if name != own and not is_wanted(name, names) and announces(getattr(module, "__dict__", {}))
    ]
    for space in others:
        space[HOOKS] = silent
    try:
        yield
    finally:
        for space in others:
            space[HOOKS] = hooks
