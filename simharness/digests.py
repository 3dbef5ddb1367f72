"""Which code this process runs, as digests of its files, to compare with what another process or an earlier one has run."""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Mapping

from simharness.places import is_installed, is_library
from simharness.visible import shortened

_open = open


def own_code() -> dict[str, str]:
    """Return a digest for each file of Python that was imported, but those of the standard library."""
    files = {file for module in list(sys.modules.values()) if isinstance(file := getattr(module, "__file__", None), str)}
    return {
        _portable(file): _digest(os.path.realpath(file))
        for file in sorted(files)
        if file.endswith(".py") and not is_library(file) and os.path.isfile(file)
    }


def _portable(file: str) -> str:
    """Return a path that names the file on other machines, too: relative to the folder of packages, or to the working directory."""
    real = os.path.realpath(file)
    if is_installed(real):
        return max((real[len(folder) + 1 :] for folder in sys.path if folder and real.startswith(folder + os.sep)), key=len, default=real)
    relative = os.path.relpath(real)
    return real if relative.startswith("..") else relative


def _find(file: str) -> str | None:
    """Return where a file is that `_portable` has named."""
    return next((found for folder in ("", *sys.path) if os.path.isfile(found := os.path.join(folder, file))), None)


@functools.cache
def _digest(file: str) -> str:
    """Return the digest of a file, as it was when it was first asked for."""
    with _open(file, "rb") as content:
        return hashlib.sha256(content.read()).hexdigest()[:16]


def other_code(code: Mapping[str, str]) -> str:
    """Say which file is another one than in what `own_code` has returned elsewhere; empty if none is."""
    for file, digest in code.items():
        found = _find(file)
        if found is None:
            return f"{shortened(file)} is not here, and was"
        if _digest(os.path.realpath(found)) != digest:
            return f"{shortened(file)} has changed"
    return ""
