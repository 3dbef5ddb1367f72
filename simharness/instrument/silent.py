"""Hooks that announce nothing: those of modules that have been instrumented for another simulation of this process than the one at hand."""

from __future__ import annotations

from typing import Any


def attr(value: Any, *rest: Any, **options: Any) -> Any:
    """Return what was given."""
    return value


store = update = on = compared = told = function = whole = truth = made = iterator = walk = assigned = attr


def variable(name: str, place: Any) -> None:
    """Nothing is told."""


def augmented(now: Any, value: Any, *variables: Any) -> Any:
    """Return the value."""
    return value
