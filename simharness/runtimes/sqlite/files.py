"""Opening, moving and removing files, which is no scheduling point: whoever does that to a database's ends its being kept (`kept`).

So does whoever lists the folder that it is in: files beside it may be there for longer.
"""

from __future__ import annotations

import builtins
import io
import os
from functools import wraps
from typing import Any

from simharness.engine.kernel import current
from simharness.runtimes.patching import Patches
from simharness.runtimes.sqlite.remembered import remembered_of


def install(patches: Patches) -> None:
    """Plan the replacement of what opens files."""
    patches.attribute(builtins, "open", _reporting(builtins.open))
    patches.attribute(io, "open", _reporting(io.open))
    for name in ("open", "rename", "replace", "unlink", "remove", "link", "symlink", "truncate", "listdir", "scandir"):
        patches.attribute(os, name, _reporting(getattr(os, name)))


def _reporting(genuine: Any) -> Any:
    """Return a function that does to files what this one does, and reports it to the keeper of databases."""

    @wraps(genuine)
    def does(*arguments: Any, **options: Any) -> Any:
        kernel = current()
        if kernel is not None:
            for path in (*arguments[:2], *options.values()) or (".",):
                remembered_of(kernel).keeper.looked_at(kernel, path)
        return genuine(*arguments, **options)

    return does
