"""Watches an import of the user's code outside a simulation: slow ones are named with their line, endless ones end a supervised process."""

from __future__ import annotations

import linecache
import os
import sys
from _thread import allocate_lock, get_ident, start_new_thread
from collections.abc import Iterator
from contextlib import contextmanager

from simharness.places import place_of
from simharness.settings import Settings
from simharness.simulation.held import HELD
from simharness.simulation.watchdog import NAPS, STUCK_STATUS

PATIENCE = 6
"""An import may take this many times the watchdog's time: a large package is not stuck."""
_write_stderr, _exit = os.write, os._exit


@contextmanager
def watched_import(seconds: float = Settings.watchdog) -> Iterator[None]:
    """A block that imports code of the user's; `seconds`: real time after which the line is written to stderr."""
    stop, stopped, thread = allocate_lock(), allocate_lock(), get_ident()

    def watch() -> None:
        naps = 0
        while not stop.acquire(timeout=seconds / NAPS):
            HELD.beat()
            naps += 1
            if naps in (NAPS, PATIENCE * NAPS):
                _name(thread, seconds * naps / NAPS)
            if naps == PATIENCE * NAPS and HELD.supervised:
                _exit(STUCK_STATUS)
        stopped.release()

    HELD.watch(seconds)
    stop.acquire()
    stopped.acquire()
    start_new_thread(watch, ())
    try:
        yield
    finally:
        stop.release()
        stopped.acquire()
        HELD.end()


def _name(thread: int, seconds: float) -> None:
    place = place_of(sys._current_frames().get(thread))
    if place is not None:
        line = linecache.getline(place.file, place.line).strip()
        text = f"simharness: importing has taken {seconds:g} real seconds: it is at {place} in {place.function}, at `{line}`\n"
        _write_stderr(2, text.encode(errors="backslashreplace"))
