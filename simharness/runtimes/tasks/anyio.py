"""AnyIO loads its parts at their first use. They are loaded before an exploration, so that a first execution does what later ones do."""

from __future__ import annotations

import contextlib
import importlib
import sys


def load(backend: str) -> bool:
    """Load what the program can ask AnyIO for on a back end ("asyncio" or "trio"); return whether it has imported AnyIO at all."""
    if "anyio" not in sys.modules:
        return False
    importlib.import_module("anyio._core._eventloop").get_async_backend(backend)
    for package in ("anyio", "anyio.abc"):
        module = importlib.import_module(package)
        for name in dir(module):
            with contextlib.suppress(AttributeError, ImportError):
                getattr(module, name)
    return True
