"""Hooks that announce nothing: those of modules that have been instrumented for another simulation of this process than the one at hand."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from simharness.instrument.loader import is_wanted
from simharness.instrument.marks import HOOKS, announces
from simharness.runtimes.memory import hooks


def attr(value: Any, *rest: Any, **options: Any) -> Any:
    """Return what was given."""
    return value


store = update = on = compared = told = function = whole = truth = made = iterator = walk = assigned = attr


def variable(name: str, place: Any) -> None:
    """Nothing is told."""


def augmented(now: Any, value: Any, *variables: Any) -> Any:
    """Return the value."""
    return value


@contextlib.contextmanager
def only(own: str, names: Sequence[str]) -> Iterator[None]:
    """Have no other module announce anything, so that a test does not depend on which tests were run before it."""
    others = [
        vars(module)
        for name, module in list(sys.modules.items())
        if name != own and not is_wanted(name, names) and announces(getattr(module, "__dict__", {}))
    ]
    for space in others:
        space[HOOKS] = sys.modules[__name__]
    try:
        yield
    finally:
        for space in others:
            space[HOOKS] = hooks
