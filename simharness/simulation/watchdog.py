"""Ends an exploration that cannot continue: an actor waits for a real lock or real I/O, or computes forever.

Actors share one OS thread, so one that blocks it blocks all of them, and the kernel. A real thread watches the kernel's count of
steps and of imported modules, and between executions whether code of the user's runs (a finaliser, the `__str__` of a value). If nothing
changes for a while, the simulation's thread is made to raise `Stuck`, which names the stuck actor and its line. On the main OS thread a
signal does this, which also interrupts calls that block in C, and SQLite is told to interrupt its statements; on other threads Python
offers only an exception that is raised when the call returns. Where that is not enough, the message goes to stderr, and a supervised
process ends (`held.py`; also where C code holds the interpreter). Code that catches `Stuck` ends with its next step, or gets it again.

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

from simharness.engine.active import under_way
from simharness.engine.actors import Actor
from simharness.engine.kernel import Kernel
from simharness.errors import Stuck
from simharness.places import Place, is_foreign, is_ours, place_of
from simharness.runtimes import control
from simharness.simulation.held import HELD, free_signal

NAPS = 4
"""After this many naps without a step a simulation is stuck; detection is late by at most one nap."""
MOST = 3
"""How often `Stuck` is raised in code that catches it before a supervised process ends."""
STUCK_STATUS = 3
"""The exit status of a supervised process that cannot be freed: nothing is proved."""
_ADVICE = (
    "it waits for a real lock that no runtime controls, or for real I/O, or loops without a scheduling point: "
    "make the lock inside the scenario, put a stub in place of the I/O, or give the loop a time.sleep(0)"
)
_pthread_kill: Any = getattr(signal, "pthread_kill", None)
_set_signal: Any = getattr(sys.modules.get("_signal", signal), "signal", signal.signal)
_write_stderr = os.write
_exit = os._exit

Progress = tuple[int, object, FrameType | None, int]


class Watchdog:
    """Use as `with Watchdog(kernel, seconds):` around an exploration.

    Args:
        kernel: whose steps are counted.
        seconds: real time without a step after which the simulation is stuck; 0 or less: never (for debugging).
        forked: this process was forked within such a block, whose thread it does not have.

    The `Stuck` that is raised has the attributes `actor` (a name or None), `place` (a `Place` or None) and `line` (its text). The first one
    is kept in `stuck`, as Python lets nothing out of some places.
    """

    def __init__(self, kernel: Kernel, seconds: float = 10.0, forked: bool = False) -> None:
        if forked:
            HELD.forked()
        self.kernel = kernel
        self.seconds = seconds
        self.stuck: Stuck | None = None
        self._stop = allocate_lock()
        self._stopped = allocate_lock()
        self._thread = 0
        self._signal: int | None = None
        self._handler: Any = None
        self._suspect: Progress | None = None
        self._named: Stuck | None = None
        self._barks = 0
        self._active = False

    def __enter__(self) -> Watchdog:
        if self.seconds > 0:
            self._thread = get_ident()
            self._choose_signal()
            HELD.watch(self.seconds)
            self._stop.acquire()
            self._stopped.acquire()
            self._active = True
            start_new_thread(self._watch, ())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._active:
            return
        self._active = False
        self._suspect = None
        self._stop.release()
        with self._stopped:
            self._stop = allocate_lock()
        HELD.end()
        if self._signal is not None:
            _set_signal(self._signal, self._handler)
            self._signal = None

    def _choose_signal(self) -> None:
        """Take a signal that nobody uses, if there is one and this is the thread that handles signals."""
        if _pthread_kill is None or threading.main_thread().ident != self._thread:
            return
        self._signal = free_signal()
        if self._signal is not None:
            self._handler = _set_signal(self._signal, self._bark)

    # In the watching thread

    def _watch(self) -> None:
        seen: Progress | None = None
        naps = 0
        while not self._stop.acquire(timeout=self.seconds / NAPS):
            HELD.beat()
            now = self._progress(sys._current_frames().get(self._thread))
            if now is None or not _same(now, seen):
                seen, naps = now, 0
                self._barks = 0
                continue
            naps += 1
            if naps % NAPS == 0:
                self._suspect = seen
                self._alarm(naps == NAPS)
            elif naps == NAPS + 1 and not self._barks:
                self._give_up(sys._current_frames().get(self._thread))
        self._stopped.release()

    def _progress(self, frame: FrameType | None) -> Progress | None:
        """Return what changes whenever the simulation moves (each execution has its own `context`); None while only the harness works.

        Args:
            frame: the innermost of the simulation's thread.
        """
        if under_way() is self.kernel and not self.kernel.rehearsed:  # to look at what hangs on a template may take long
            return self.kernel.record.n, self.kernel.context, None, len(sys.modules)
        entered = _entered(frame)
        return None if entered is None else (self.kernel.record.n, self.kernel.context, entered, len(sys.modules))

    def _alarm(self, first: bool) -> None:
        if self._barks >= MOST:
            self._give_up(sys._current_frames().get(self._thread))
        self._named = error = self._stuck(sys._current_frames().get(self._thread))
        if self._signal is not None:
            _pthread_kill(self._thread, self._signal)
            control.interrupt(self.kernel)
            return
        if first:
            _write_stderr(HELD.stderr, f"simharness: {error}\n".encode(errors="backslashreplace"))
        self._interrupt(error)
        raised = type("Stuck", (Stuck,), {"__str__": lambda _: str(error)})
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), ctypes.py_object(raised))
        control.interrupt(self.kernel)

    def _give_up(self, frame: FrameType | None) -> None:
        """C code does not return, or Python code catches everything: name the line, and end the process if another supervises it."""
        if self._signal is None and not HELD.supervised:
            return  # it has been named
        error = self._stuck(frame)
        _write_stderr(HELD.stderr, f"simharness: {error}\n".encode(errors="backslashreplace"))
        if HELD.supervised or HELD.ends:
            _exit(STUCK_STATUS)

    def _interrupt(self, error: Stuck) -> None:
        self.kernel.interrupt(error)
        if self.stuck is None:
            self.stuck = error

    # In the simulation's thread

    def _bark(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal: raise `Stuck`, unless something has moved since it was sent."""
        now = self._progress(frame)
        if now is None or not _same(now, self._suspect):
            return
        self._barks += 1
        error = self._stuck(frame)
        if error.__dict__["place"] is None and self._named is not None:
            error = self._named  # the statement that was interrupted has ended before the signal was handled
        self._interrupt(error)
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


def _same(one: Progress, other: Progress | None) -> bool:
    return other is not None and one[0] == other[0] and one[1] is other[1] and one[2] is other[2] and one[3] == other[3]


def _entered(frame: FrameType | None) -> FrameType | None:
    """Return the frame of the user's that the harness has called last; None if the harness itself works."""
    entered = None
    while frame is not None and not is_ours(frame.f_code.co_filename):
        if not is_foreign(frame.f_code.co_filename):
            entered = frame
        frame = frame.f_back
    return entered if frame is not None else None
