"""State of databases that is remembered from one execution to the next."""

from __future__ import annotations

import weakref
from typing import Any

from simharness.engine.kernel import Kernel
from simharness.runtimes.sqlite.kept.keeper import Keeper
from simharness.runtimes.sqlite.statements import Shape

_explorations: weakref.WeakKeyDictionary[Kernel, Remembered] = weakref.WeakKeyDictionary()


class Remembered:
    """State that outlives executions: shapes of statements, locksets, the identity of schemas."""

    def __init__(self) -> None:
        self.books: dict[Any, dict[str, Shape]] = {}
        self.locksets: dict[str, frozenset[str]] = {}
        self.shared: set[str] = set()
        self.schemas: dict[Any, int] = {}
        self.scripts: dict[str, list[str]] = {}
        self.keeper = Keeper()
        self._others: list[Keeper] = []

    def forked(self) -> None:
        """Keep databases anew, and leave those of the process from which this one was forked alone."""
        others, self.keeper = self.keeper, Keeper()
        self.keeper.policy.wanted = others.policy.wanted
        self._others.append(others)  # nothing of them is closed

    def schema(self, *history: Any) -> int:
        """Return a small number for a schema that is identified by the statements that made it."""
        return self.schemas.setdefault(history, len(self.schemas) + 1)


def remembered_of(kernel: Kernel) -> Remembered:
    """Return the state remembered for this kernel's exploration."""
    remembered = _explorations.get(kernel)
    if remembered is None:
        remembered = _explorations[kernel] = Remembered()
    return remembered


def forget(kernel: Kernel) -> None:
    """Close everything kept for an exploration that is over."""
    remembered = _explorations.pop(kernel, None)
    if remembered is not None:
        remembered.keeper.close()


def forked(kernel: Kernel) -> None:
    """This process was forked during the exploration."""
    remembered_of(kernel).forked()
