"""The kinds of steps that tasks of every library make."""

from __future__ import annotations

from simharness.engine.kinds import ALONE, Kind

TURN = "its turn"

STARTS = Kind(ALONE, "starts", awaited=TURN)
RESUMES = Kind(ALONE, "resumes", awaited=TURN)
IS_CANCELLED = Kind(ALONE, "is cancelled", awaited=TURN)
CANCELS = Kind(ALONE, "cancels", awaited=TURN)
"""The step of a loop that cancels a task, after such a fault."""
