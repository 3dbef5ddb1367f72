"""The kinds of steps that tasks of every library make."""

from __future__ import annotations

from simharness.engine.kinds import ALONE, Kind

TURN = "its turn"

STARTS = Kind(ALONE, "starts", awaited=TURN)
RESUMES = Kind(ALONE, "resumes", awaited=TURN)
IS_CANCELLED = Kind(ALONE, "is cancelled", awaited=TURN)
