"""Gives pytest-trio's sets, whose order depends on addresses, the order of insertion in a simulation.

Its fixtures are tasks that wait for one another by events; the order of three of its sets decides the order in which they are started,
awaited and cancelled. `tests/test_trio_internals.py` fails when a release of pytest-trio has other sets.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from simharness.engine.kernel import current
from simharness.runtimes.patching import Patches

REACHED = {"TrioFixture": ("user_done_events",), "TrioTestContext": ("active_cancel_scopes",)}
"""Classes of pytest-trio and those of their attributes that hold sets."""


class InOrder:
    """A set that iterates in the order of insertion."""

    def __init__(self) -> None:
        self._members: dict[int, Any] = {}

    def add(self, member: Any) -> None:
        """Add a member."""
        self._members[id(member)] = member

    def remove(self, member: Any) -> None:
        """Remove a member."""
        del self._members[id(member)]

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._members.values()))

    def __len__(self) -> int:
        return len(self._members)


def trio_test(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap an `async def` in a function that runs it with Trio, as `trio.testing.trio_test` does."""
    from trio import testing

    return testing.trio_test(function)


def install(patches: Patches, number: Callable[[object], int]) -> None:
    """Plan the replacements, if pytest-trio is loaded; `number` is a hash that does not depend on addresses."""
    plugin = sys.modules.get("pytest_trio.plugin")
    if plugin is None:
        return
    for name, attributes in REACHED.items():
        kind = getattr(plugin, name)
        patches.attribute(kind, "__init__", _with_order(kind.__init__, attributes))
    patches.attribute(plugin.TrioFixture, "__hash__", number)


def _with_order(genuine: Callable[..., None], attributes: tuple[str, ...]) -> Callable[..., None]:
    holder = (genuine,)  # in a closure's cell it would be replaced too

    def make(self: Any, *arguments: Any, **options: Any) -> None:
        holder[0](self, *arguments, **options)
        if current() is not None:
            for name in attributes:
                setattr(self, name, InOrder())

    return make
