"""Where a coroutine waits: its user's lines, and the library's call."""

from __future__ import annotations

from collections.abc import Iterator
from types import FrameType
from typing import Any

from simharness.places import Place, is_foreign


def frames(awaitable: Any) -> Iterator[tuple[FrameType, int, int]]:
    """Yield the frames of a suspended coroutine and of what it awaits, outermost first, with their lines and instructions."""
    while awaitable is not None:
        for prefix in ("cr", "gi", "ag"):
            frame = getattr(awaitable, f"{prefix}_frame", None)
            if frame is not None:
                yield frame, frame.f_lineno, frame.f_lasti
                awaitable = getattr(awaitable, "gi_yieldfrom" if prefix == "gi" else f"{prefix}_await")
                break
        else:
            return


def places(coroutine: Any) -> tuple[Place, ...]:
    """Return the user's lines in which a coroutine waits, innermost first."""
    lines = [Place(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line, _ in frames(coroutine)]
    return tuple(place for place in reversed(lines) if not is_foreign(place.file))


def position(coroutine: Any) -> tuple[tuple[object, int], ...]:
    """Return where in its code a coroutine waits."""
    return tuple((frame.f_code, instruction) for frame, _, instruction in frames(coroutine))


def waits_in(coroutine: Any) -> str:
    """Return the outermost call of the standard library in which the user's code waits, such as `Event.wait`."""
    name = ""
    for frame, _, _ in frames(coroutine):
        code = frame.f_code
        if is_foreign(code.co_filename):
            owner = frame.f_locals.get("self")
            name = code.co_name if owner is None else f"{type(owner).__name__}.{code.co_name}"
            if code.co_name != "__aenter__":
                break
    return name
