"""Hooks that announce nothing, for modules that were instrumented for another simulation of this process."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from simharness.instrument.loader import is_wanted
from simharness.instrument.marks import announces
from simharness.instrument.project import silenced

ANNOUNCING = False


def attr(owner: Any, name: str) -> Any:
    """Return the owner."""
    return owner


def update(value: Any) -> Any:
    """Return the value."""
    return value


def walk(value: Any, *variables: Any) -> Any:
    """Return the value."""
    return value


def made(value: Any, hint: str = "") -> Any:
    """Return the value."""
    return value


# Each takes just what rewritten code gives it: Python calls such functions much faster.
store, assigned = attr, walk
on = compared = contents = function = whole = truth = iterator = managed = passing = executed = update


def variable(name: str, place: Any) -> None:
    """Do nothing."""


def entered() -> None:
    """Do nothing."""


def augmented(now: Any, value: Any, *variables: Any) -> Any:
    """Return the value."""
    return value


@contextlib.contextmanager
def only(own: str, names: Sequence[str]) -> Iterator[None]:
    """Silence all other modules, so that a test does not depend on which tests ran before it."""
    others = [
        vars(module)
        for name, module in list(sys.modules.items())
        if name != own and not is_wanted(name, names) and announces(getattr(module, "__dict__", {}))
    ]
    with silenced(others):
        yield
