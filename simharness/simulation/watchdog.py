"""Ends an exploration that cannot continue: an actor waits for a real lock or real I/O, or computes forever.

Actors share one OS thread, so one that blocks it blocks all of them, and the kernel. A real thread watches the kernel's count of
steps; if it does not change for a while during an execution, the simulation's thread is made to raise `Stuck`, which names the
stuck actor and its line. On the main OS thread a signal does this, which also interrupts calls that block in C; on other threads
Python offers only an exception that is raised when the call returns, so the message goes to stderr as well. Code that catches
`Stuck` ends with its next step, or gets it again.

The wait is counted in short naps, not by a clock: time in which the whole process was stopped does not count.
"""

from __future__ import annotations

import ctypes
import linecache
import os
import signal
import sys
import threading
from _thread import allocate_lock, get_ident, start_new_thread
from types import FrameType, TracebackType
from typing import Any

from simharness.engine import kernel as _kernel
from simharness.engine.actors import Actor
from simharness.engine.kernel import Kernel
from simharness.errors import Stuck
from simharness.places import Place, place_of

NAPS = 4
"""After this many naps without a step a simulation is stuck; detection is late by at most one nap."""
_ADVICE = (
    "it waits for a real lock that no runtime controls, or for real I/O, or loops without a scheduling point: "
    "make the lock inside the scenario, put a stub in place of the I/O, or give the loop a time.sleep(0)"
)
_SIGNALS = ("SIGUSR2", "SIGUSR1", "SIGURG", "SIGWINCH")
_pthread_kill: Any = getattr(signal, "pthread_kill", None)
_set_signal = signal.signal
_write_stderr = os.write


class Watchdog:
    """Use as `with Watchdog(kernel, seconds):` around an exploration.

    Args:
        kernel: whose steps are counted.
        seconds: real time without a step after which the simulation is stuck; 0 or less: never (for debugging).

    The `Stuck` that is raised has the attributes `actor` (a name or None), `place` (a `Place` or None) and `line` (its text).
    """

    def __init__(self, kernel: Kernel, seconds: float = 10.0) -> None:
        self.kernel = kernel
        self.seconds = seconds
        self._stop = allocate_lock()
        self._stopped = allocate_lock()
        self._thread = 0
        self._signal: int | None = None
        self._handler: Any = None
        self._suspect: tuple[int, dict[Any, Any]] | None = None
        self._active = False

    def __enter__(self) -> Watchdog:
        if self.seconds > 0:
            self._thread = get_ident()
            self._stop.acquire()
            self._stopped.acquire()
            start_new_thread(self._watch, ())
            self._active = True
            self._choose_signal()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._active:
            return
        self._active = False
        self._suspect = None
        self._stop.release()
        with self._stopped:
            self._stop = allocate_lock()
        if self._signal is not None:
            _set_signal(self._signal, self._handler)
            self._signal = None

    def _choose_signal(self) -> None:
        """Take a signal without a handler, if there are signals and this is the thread that gets them."""
        if _pthread_kill is None or threading.main_thread().ident != self._thread:
            return
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.SIG_IGN):
                self._handler = _set_signal(number, self._bark)
                self._signal = number
                return

    # In the watching thread

    def _watch(self) -> None:
        seen: tuple[int, dict[Any, Any]] | None = None
        naps = 0
        while not self._stop.acquire(timeout=self.seconds / NAPS):
            now = self._progress()
            if now is None or seen is None or now[0] != seen[0] or now[1] is not seen[1]:
                seen, naps = now, 0
                continue
            naps += 1
            if naps % NAPS == 0:
                self._suspect = seen
                self._alarm(naps == NAPS)
        self._stopped.release()

    def _progress(self) -> tuple[int, dict[Any, Any]] | None:
        """Return what changes whenever the kernel moves (each execution has its own `context`), or None between executions."""
        active = _kernel._active
        for kernel, _ in active[:1]:
            if kernel is self.kernel:
                return kernel.record.n, kernel.context
        return None

    def _alarm(self, first: bool) -> None:
        if self._signal is not None:
            _pthread_kill(self._thread, self._signal)
            return
        error = self._stuck(sys._current_frames().get(self._thread))
        if first:
            _write_stderr(2, f"simharness: {error}\n".encode(errors="backslashreplace"))
        self.kernel.interrupt(error)
        raised = type("Stuck", (Stuck,), {"__str__": lambda _: str(error)})
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), ctypes.py_object(raised))

    # In the simulation's thread

    def _bark(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal: raise `Stuck`, unless something has moved since it was sent."""
        suspect, now = self._suspect, self._progress()
        if suspect is None or now is None or now[0] != suspect[0] or now[1] is not suspect[1]:
            return
        error = self._stuck(frame)
        self.kernel.interrupt(error)
        raise error

    def _stuck(self, frame: FrameType | None) -> Stuck:
        actor = self.kernel.actor
        place = place_of(frame)
        line = linecache.getline(place.file, place.line).strip() if place is not None else ""
        where = f"at {place} in {place.function}" if place is not None else "outside of the user's code"
        doing = f", at `{line}`" if line else ""
        others = "".join(f"; {other.name} is at {location}" for other, location in self._others(actor))
        name = actor.name if actor is not None else "the exploration"
        error = Stuck(f"{name} is stuck {where}{doing}: no step for {self.seconds:g} real seconds{others}; {_ADVICE}")
        error.__dict__.update(actor=actor.name if actor is not None else None, place=place, line=line)
        return error

    def _others(self, stuck: Actor | None) -> list[tuple[Actor, Place]]:
        """Return where the other actors are: if the stuck one waits for a lock, one of them holds it."""
        locations = []
        for actor in self.kernel.cast.live:
            frame = actor.greenlet.gr_frame if actor is not stuck and actor.greenlet is not None else None
            place = place_of(frame)
            if place is not None:
                locations.append((actor, place))
        return locations
