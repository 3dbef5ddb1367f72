"""Opening, moving and removing files is no scheduling point; doing that to a database's file disables its cache (`kept`).

So does listing the file's folder, which shows files beside it that outlast an execution.
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
    """Plan the replacement of the functions that open, move, remove and list files."""
    patches.attribute(builtins, "open", _reporting(builtins.open))
    patches.attribute(io, "open", _reporting(io.open))
    for name in ("open", "rename", "replace", "unlink", "remove", "link", "symlink", "truncate", "listdir", "scandir"):
        patches.attribute(os, name, _reporting(getattr(os, name)))


def _reporting(genuine: Any) -> Any:
    """Return a function that first reports its paths to the keeper of databases, then calls the genuine one."""

    @wraps(genuine)
    def does(*arguments: Any, **options: Any) -> Any:
        kernel = current()
        if kernel is not None:
            for path in (*arguments[:2], *options.values()) or (".",):
                remembered_of(kernel).keeper.looked_at(kernel, path)
        return genuine(*arguments, **options)

    return does
