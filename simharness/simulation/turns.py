"""Explorations of one process take turns: they replace the same standard library, and their executions the same kernel.

A second thread waits for the first. An exploration inside another one, which would wait for itself, is refused.
"""

from __future__ import annotations

import threading
from _thread import LockType, allocate_lock, get_ident
from collections.abc import Iterator
from contextlib import contextmanager

from simharness.engine.interrupts import INTERRUPTS
from simharness.errors import Misuse

_acquire, _release = LockType.acquire, LockType.release  # an exploration replaces them
NAP = 0.05
"""Real seconds between two looks for interrupts."""


class Turns:
    """Whose turn it is: an OS thread's, and what it explores."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._owner: int | None = None
        self._thread = self._explored = ""

    @contextmanager
    def taken(self, explores: str, patience: float) -> Iterator[None]:
        """Have the turn for the length of a block.

        Args:
            explores: the name of the scenario, for the others.
            patience: real seconds to wait; 0 or less: without end.

        Raises:
            Misuse: this thread has the turn, or another one keeps it.
        """
        if self._owner == get_ident():
            raise Misuse(
                f"an exploration inside an exploration: {explores} inside {self._explored}; "
                "explore from outside of actors, scenarios and checks"
            )
        self._wait(explores, patience)
        try:
            self._owner, self._thread, self._explored = get_ident(), threading.current_thread().name, explores
            yield
        finally:
            self._owner = None
            _release(self._lock)

    def _wait(self, explores: str, patience: float) -> None:
        waited = 0.0
        while not _acquire(self._lock, timeout=NAP):
            INTERRUPTS.check()
            waited += NAP
            if 0 < patience <= waited:
                raise Misuse(
                    f"{explores} has waited {patience:g} real seconds for its turn: the thread {self._thread!r} explores {self._explored}; "
                    "explore in one thread, or in processes"
                )


TURNS = Turns()
"""Those of this process."""
