"""What can be known of Trio without importing it: the order of its tasks as a fact, and whether it is installed."""

from __future__ import annotations

import importlib
import sys

from simharness.errors import Misuse

BATCHES = "trio batches"
"""The fact, kept in tokens, that Trio's order is that of its batches."""


def require() -> None:
    """Import Trio, which somebody is going to need.

    Raises:
        Misuse: it is not installed.
    """
    try:
        importlib.import_module("trio")
    except ImportError as error:
        raise Misuse("an async def is run with Trio, which is not installed: pip install 'simharness[trio]'") from error


def used() -> str:
    """Return the runtime's name as verdicts show it."""
    return f"trio {sys.modules['trio'].__version__}"
