"""What is remembered of databases from one execution to the next."""

from __future__ import annotations

import weakref
from typing import Any

from simharness.engine.kernel import Kernel
from simharness.runtimes.sqlite.kept.keeper import Keeper
from simharness.runtimes.sqlite.statements import Shape

_memories: weakref.WeakKeyDictionary[Kernel, Memory] = weakref.WeakKeyDictionary()


class Memory:
    """What outlives executions: shapes of statements, locksets, the identity of schemas."""

    def __init__(self) -> None:
        self.books: dict[Any, dict[str, Shape]] = {}
        self.locksets: dict[str, frozenset[str]] = {}
        self.shared: set[str] = set()
        self.schemas: dict[Any, int] = {}
        self.scripts: dict[str, list[str]] = {}
        self.keeper = Keeper()

    def schema(self, *history: Any) -> int:
        """Return a small number for a schema that is told by the statements that made it."""
        return self.schemas.setdefault(history, len(self.schemas) + 1)


def memory_of(kernel: Kernel) -> Memory:
    """Return what is remembered for this kernel's exploration."""
    found = _memories.get(kernel)
    if found is None:
        found = _memories[kernel] = Memory()
    return found


def forget(kernel: Kernel) -> None:
    """The exploration is over: close what was kept for it."""
    found = _memories.pop(kernel, None)
    if found is not None:
        found.keeper.close()
