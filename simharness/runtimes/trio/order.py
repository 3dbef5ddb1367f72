"""What is known of Trio without importing it: the mode of its order, facts about its tasks, and whether it is installed."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass

from simharness.engine.facts import Fact
from simharness.engine.modes import Mode
from simharness.errors import Misuse

BATCHES = Mode("trio", "batches")
"""The mode in which Trio's order is that of its batches."""


@dataclass(frozen=True)
class StepsGrow(Fact, word="trio-steps-grow"):
    """Steps of tasks grow: their footprints are what they touch."""


@dataclass(frozen=True)
class StepsCannotGrow(Fact, word="trio-steps-cannot-grow"):
    """Something happens whose footprint is not known, so all steps of a run conflict."""


def require() -> None:
    """Import Trio, which is about to be used.

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
