"""What is known of Trio without importing it: the mode of its order, facts about its tasks, and whether it is installed."""

from __future__ import annotations

import importlib
import re
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


FIRST, BEFORE = (0, 33), (0, 36)
"""The releases of Trio whose insides are known, as the extra `trio` in pyproject.toml has them."""


def require() -> None:
    """Import Trio, which is about to be used.

    Raises:
        Misuse: it is not installed, or another release.
    """
    try:
        importlib.import_module("trio")
    except ImportError as error:
        raise Misuse("an async def is run with Trio, which is not installed: pip install 'simharness[trio]'") from error
    if not is_known():
        raise unknown()


def is_known() -> bool:
    """Whether the release of Trio that the program has imported is one whose insides are known."""
    found = re.match(r"(\d+)\.(\d+)", sys.modules["trio"].__version__)
    return found is not None and FIRST <= (int(found[1]), int(found[2])) < BEFORE


def unknown() -> Misuse:
    """Return what is raised where a program runs another release of Trio."""
    first, last = (f"{major}.{minor}" for major, minor in (FIRST, (BEFORE[0], BEFORE[1] - 1)))
    return Misuse(f"trio {sys.modules['trio'].__version__} is not supported, but {first} to {last}: pip install 'simharness[trio]'")


def used() -> str:
    """Return the runtime's name as verdicts show it."""
    return f"trio {sys.modules['trio'].__version__}"
