"""The kinds of a loop's steps. asyncio is not imported here."""

from __future__ import annotations

from simharness.engine.kinds import ALONE, Family, Kind
from simharness.runtimes.tasks.kinds import CANCELS, IS_CANCELLED, RESUMES, STARTS, TURN

__all__ = ["CANCELS", "IS_CANCELLED", "RESUMES", "STARTS"]

_ASYNCIO = Family("asyncio")

RUN = Kind(_ASYNCIO, "loop runs", awaited=TURN)
RETURNS = Kind(_ASYNCIO, "loop returns", awaited=TURN)
REGISTERS = Kind(_ASYNCIO, "call_soon")
CALL = Kind(_ASYNCIO, "call_soon_threadsafe")

WAITS = Kind(ALONE, "asyncio", awaited="{detail}")
"""A task that is not runnable; the detail is the call in which it waits."""
CALLBACK = Kind(ALONE, "runs callback", awaited=TURN)
TIMER = Kind(ALONE, "timer is due", awaited=TURN)
