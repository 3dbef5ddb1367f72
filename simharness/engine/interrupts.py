"""Interrupts: what the handler of a signal raises (Ctrl-C, an alarm) ends the exploration, and never in the middle of the harness's work.

While an exploration holds them, handlers that somebody has installed are called where code under test runs, and between two executions.
Elsewhere they wait: half-made or half-undone replacements would stay. What a handler raises is kept, so that code under test which catches
it, or a place from which Python lets nothing out (a finaliser), cannot lose it. A second signal that comes while one waits is handled at
once, unless replacements are being made or undone. SIGTERM and SIGHUP, where they have no handler, end the process when everything has been
undone and removed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from _thread import get_ident
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from simharness.engine.active import under_way

_signal = sys.modules.get("_signal", signal)
_get_handler: Any = getattr(_signal, "getsignal", signal.getsignal)  # makes no enumerations
_set_handler: Any = getattr(_signal, "signal", signal.signal)
_NUMBERS = tuple(map(int, signal.valid_signals()))
_main_thread = threading.main_thread
_kill, _getpid = os.kill, os.getpid
_DEFAULT = int(signal.SIG_DFL)
ATTEMPTS = 100
"""How often a handler that raises may interrupt the restoration of each handler before that is given up."""
_ENDING = tuple(number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None)


class Interrupts:
    """The handlers of this process's signals, which its main thread runs; on other threads all methods do nothing.

    Attributes:
        raised: what a handler has raised since the outermost block of `held` began, or None.
    """

    def __init__(self) -> None:
        self.raised: BaseException | None = None
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._waiting: list[tuple[int, FrameType | None]] = []
        self._blocks = self._closed = self._expected = self._ended_by = 0

    @contextmanager
    def held(self, closed: bool = False) -> Iterator[None]:
        """Hold interrupts for the length of a block, which may contain executions; `closed`: all wait until the block ends."""
        if get_ident() != _main_thread().ident:
            yield
            return
        self._closed += closed
        self._blocks += 1
        try:
            self._take()
            yield
        finally:
            self._closed -= closed
            self._blocks -= 1
            if not self._blocks:
                self._give_back()

    def check(self) -> None:
        """Handle the signals that wait; raise what a handler raised, now or earlier. Call between executions."""
        if (not self._waiting and self.raised is None) or get_ident() != _main_thread().ident:
            return
        if not self._closed:
            while self._waiting:
                self._deliver(*self._waiting.pop(0))
        if self.raised is not None:
            raise self.raised

    @contextmanager
    def expected(self) -> Iterator[None]:
        """A block in which the code under test sends itself a signal: what the handler raises is its own business."""
        self._expected += 1
        try:
            yield
        finally:
            self._expected -= 1

    def _take(self) -> None:
        if self._handlers or self._blocks > 1:
            return
        for number in _NUMBERS:
            handler = _get_handler(number)
            if callable(handler):
                self._handlers[number] = handler
                _set_handler(number, self._handle)
            elif number in _ENDING and handler == _DEFAULT:
                self._handlers[number] = self._end
                _set_handler(number, self._handle)
        self.raised, self._ended_by = None, 0  # now, as this may release objects with callbacks

    def _end(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal that ends the process: what the exploration has made is removed first."""
        self._ended_by = number
        raise KeyboardInterrupt

    def _give_back(self) -> None:
        """Restore the handlers, but for those that somebody has replaced since; then handle what waits."""
        handlers, raised = dict(self._handlers), None
        attempts = ATTEMPTS * len(handlers)
        while self._handlers:
            number = next(iter(self._handlers))
            attempts -= 1
            try:
                if _get_handler(number) == self._handle:
                    _set_handler(number, _DEFAULT if handlers[number] == self._end else handlers[number])
                self._handlers.pop(number, None)
            except BaseException as error:  # by a handler that has been restored
                raised = error
                if not attempts:
                    self._handlers.clear()
        while self._waiting:
            number, frame = self._waiting.pop(0)
            try:
                handlers[number](number, frame)
            except BaseException as error:
                raised = error
        if self._ended_by:
            _kill(_getpid(), self._ended_by)
        if raised is not None:
            raise raised

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._closed and (under_way() is not None or self._waiting):
            self._deliver(number, frame)
        else:
            self._waiting.append((number, frame))

    def _deliver(self, number: int, frame: FrameType | None) -> None:
        handler = self._handlers.get(number)
        if handler is None:
            return
        try:
            handler(number, frame)
        except BaseException as error:
            if not self._expected:
                self.raised = error
                kernel = under_way()
                if kernel is not None:
                    kernel.interrupt(error)
            raise


INTERRUPTS = Interrupts()
"""Those of this process."""
