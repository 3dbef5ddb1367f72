"""What pytest-trio keeps in sets, whose order depends on addresses: in a simulation it depends on the order of insertion.

Its fixtures are tasks that wait for one another by events; in which order they are started, waited for and cancelled is that of three
sets of its own. `tests/test_trio_internals.py` fails when a release of pytest-trio has others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from simharness.engine.kernel import current
from simharness.runtimes.patching import Patches

REACHED = {"TrioFixture": ("user_done_events",), "TrioTestContext": ("active_cancel_scopes",)}
"""Classes of pytest-trio and the attributes in which their objects keep sets."""


class InOrder:
    """A set that is gone through in the order of insertion."""

    def __init__(self) -> None:
        self._members: dict[int, Any] = {}

    def add(self, member: Any) -> None:
        """Have a member."""
        self._members[id(member)] = member

    def remove(self, member: Any) -> None:
        """Have it no more."""
        del self._members[id(member)]

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._members.values()))

    def __len__(self) -> int:
        return len(self._members)


def trio_test(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs an `async def` with Trio, as `trio.testing.trio_test` does."""
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
