"""Opening files, which is no scheduling point: whoever opens the file of a database as a file ends its being kept (`sqlite_kept`)."""

from __future__ import annotations

import builtins
import io
import os
from functools import wraps
from typing import Any

from simharness.kernel import current
from simharness.runtimes.patching import Patches
from simharness.runtimes.sqlite_database import memory_of


def install(patches: Patches) -> None:
    """Plan the replacement of what opens files."""
    patches.attribute(builtins, "open", _telling(builtins.open))
    patches.attribute(io, "open", _telling(io.open))
    patches.attribute(os, "open", _telling(os.open))


def _telling(genuine: Any) -> Any:
    """Return a function that opens files as this one does, and tells the keeper of databases."""

    @wraps(genuine)
    def opens(file: Any, *arguments: Any, **options: Any) -> Any:
        kernel = current()
        if kernel is not None:
            memory_of(kernel).keeper.looked_at(kernel, file)
        return genuine(file, *arguments, **options)

    return opens
