"""Whether an exploration keeps databases, and where their files wait between executions."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable

from simharness.engine.folders import Folder

STUBBORN = 20
"""How many more connections may be found held than free, after garbage was collected, before keeping ends."""


class Policy:
    """Decides for all kept databases of one exploration.

    Attributes:
        wanted: whether to keep anything at all.
        collects: whether connections are free for the next execution only after collecting the garbage of the last.
    """

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self.collects = False
        self._held = 0
        self._folder: str | None = None
        self._remove: Callable[[], object] = bool

    def found_held(self, held: bool) -> None:
        """Note whether anything, perhaps only garbage, still refers to a connection of the execution before."""
        if held and not self.collects:
            self.collects = True
        elif self.collects:
            self._held = self._held + 1 if held else max(0, self._held - 1)
            self.wanted = self.collects = self._held < STUBBORN

    def place(self, name: str, folder: str) -> str:
        """Return the path for a kept file: with this name, on the same file system as this folder."""
        if self._folder is None:
            made = Folder(folder)
            self._folder = made.path
            self._remove = weakref.finalize(self, made.remove)
        return os.path.join(self._folder, name)

    def remove(self) -> None:
        """Remove the waiting files."""
        self._remove()
        self._folder = None
