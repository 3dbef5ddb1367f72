"""The temporary folder of an exploration, and texts without what differs between equal processes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable

from simharness.engine.folders import Folder
from simharness.places import without_addresses

_listdir = os.listdir


class Workspace:
    """A folder that is empty at the beginning of each execution that uses it, always at the same path."""

    def __init__(self) -> None:
        self._folder: Folder | None = None
        self._emptied = False

    def begin(self) -> None:
        """An execution begins."""
        self._emptied = False

    @property
    def path(self) -> str | None:
        """The path of the folder, or None if no execution has used it."""
        return None if self._folder is None else self._folder.path

    def empty(self, again: bool = False) -> str:
        """Empty the folder, or create it, if the execution has not done so, or `again`; return its path."""
        if self._folder is None:
            self._folder = Folder()
        if self._emptied and not again:
            return self._folder.path
        self._emptied = True
        for name in _listdir(self._folder.path):
            path = os.path.join(self._folder.path, name)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        return self._folder.path

    def forked(self) -> None:
        """This process was forked from the one whose folder it is: use another one."""
        self._folder = None

    def canonical(self, text: str, others: Iterable[str] = ()) -> str:
        """Return the text without addresses and without the names of this temporary folder and of the others."""
        own = [] if self._folder is None else [self._folder.path]
        for folder in (*own, *others):
            text = text.replace(folder, "<temporary>")
        return without_addresses(text)

    def close(self) -> None:
        """Remove the folder."""
        if self._folder is not None:
            folder, self._folder = self._folder, None
            folder.remove()
