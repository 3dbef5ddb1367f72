"""The kinds of a `trio.run`'s steps. Trio is not imported here."""

from __future__ import annotations

from simharness.engine.kinds import ALONE, Family, Kind

_TURN = "its turn"
_TRIO = Family("trio")

RUN = Kind(_TRIO, "run", awaited=_TURN)
RUN_RETURNS = Kind(_TRIO, "run returns", awaited=_TURN)
CHECK_CANCELLED = Kind(_TRIO, "check_cancelled")

WAITS = Kind(ALONE, "trio")
"""A task that is not runnable; the detail is the call in which it waits."""
STARTS = Kind(ALONE, "starts", awaited=_TURN)
RESUMES = Kind(ALONE, "resumes", awaited=_TURN)
IS_CANCELLED = Kind(ALONE, "is cancelled", awaited=_TURN)

TAKES_A_BATCH = Kind(ALONE, "takes a batch", awaited=_TURN)
RUNS_CALLBACKS = Kind(ALONE, "runs callbacks", awaited=_TURN)
WAKES_WHO_WAITS = Kind(ALONE, "wakes who waits", awaited=_TURN)
EXPIRES_DEADLINES = Kind(ALONE, "expires deadlines", awaited=_TURN)
QUEUES_A_CALLBACK = Kind(ALONE, "queues a callback", awaited=_TURN)
