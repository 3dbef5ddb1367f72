"""What signals do to the command line: Ctrl-C, SIGTERM and SIGHUP end it with what it has, and status 3."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, ClassVar

from simharness.visible import shortened

INCONCLUSIVE = 3
LONGEST = 4_000
"""Characters of an error."""
MOMENT = 0.5
INTERRUPTING = tuple(number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None)
_monotonic = time.monotonic


def say(text: str) -> None:
    """Write one line to stderr."""
    sys.stderr.write(f"simharness: {shortened(' '.join(text.split()), LONGEST)}\n")


class Interrupt:
    """Handles Ctrl-C, SIGTERM and SIGHUP: the first ends the exploration between two executions, a second one, later, at once.

    A signal that comes twice within a moment is one: a terminal, `timeout` and the parent process may each send it.
    """

    came: ClassVar[bool] = False
    """Whether a signal has come to this process."""
    _last: ClassVar[float] = -MOMENT

    def __init__(self) -> None:
        self.pressed = False

    def __call__(self) -> bool:
        """Return whether a signal has come."""
        return self.pressed

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal."""
        if self._is_another():
            if self.pressed:
                raise KeyboardInterrupt
            self.pressed = True

    def at_once(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal where nothing looks at `pressed`."""
        if self._is_another():
            self.pressed = True
            raise KeyboardInterrupt

    @staticmethod
    def _is_another() -> bool:
        Interrupt.came = True
        before, Interrupt._last = Interrupt._last, _monotonic()
        return Interrupt._last - before >= MOMENT


@contextlib.contextmanager
def interruptible(handler: Callable[[int, FrameType | None], Any] | None = None) -> Iterator[None]:
    """A block in which SIGINT, SIGTERM and SIGHUP call this handler, or else raise KeyboardInterrupt; an ignored one stays ignored."""
    before: dict[int, Any] = {}
    handler = handler or Interrupt().at_once
    try:
        for number in INTERRUPTING:
            known = signal.getsignal(number)
            if known not in (signal.SIG_IGN, None):
                before[number] = known
                signal.signal(number, handler)
        yield
    finally:
        for number, known in before.items():
            signal.signal(number, known)
