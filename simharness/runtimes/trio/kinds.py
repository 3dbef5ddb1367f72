"""The kinds of a `trio.run`'s steps. Trio is not imported here."""

from __future__ import annotations

from simharness.engine.kinds import ALONE, Family, Kind
from simharness.runtimes.tasks.kinds import CANCELS, IS_CANCELLED, RESUMES, STARTS, TURN

__all__ = ["CANCELS", "IS_CANCELLED", "RESUMES", "STARTS"]

_TRIO = Family("trio")

RUN = Kind(_TRIO, "run", awaited=TURN)
RUN_RETURNS = Kind(_TRIO, "run returns", awaited=TURN)
CHECK_CANCELLED = Kind(_TRIO, "check_cancelled")

WAITS = Kind(ALONE, "trio")
"""A task that is not runnable; the detail is the call in which it waits."""
TAKES_A_BATCH = Kind(ALONE, "takes a batch", awaited=TURN)
RUNS_CALLBACKS = Kind(ALONE, "runs callbacks", awaited=TURN)
WAKES_WHO_WAITS = Kind(ALONE, "wakes who waits", awaited=TURN)
EXPIRES_DEADLINES = Kind(ALONE, "expires deadlines", awaited=TURN)
QUEUES_A_CALLBACK = Kind(ALONE, "queues a callback", awaited=TURN)
