"""Shows where C code holds the interpreter: no thread of Python runs then, and no handler of a signal, until that code returns.

A timer of the operating system sends a signal for which `faulthandler` writes the lines, without the interpreter. As long as the
interpreter is free, the watchdog's thread sets the timer anew. On systems without such timers nothing is written.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import re
import signal
import sys
import threading
from typing import Any

from simharness.places import is_foreign

_SIGEV_THREAD_ID = 4
_MONOTONIC = 1
_HEADING = "(most recent call first)"
_LINE = re.compile(r'File "(.*)", line (\d+) in (.*)')
_LAST = int(getattr(signal, "SIGRTMAX", 0))
_OTHERS = tuple(int(number) for name in ("SIGUSR2", "SIGUSR1", "SIGURG") if (number := getattr(signal, name, None)) is not None)
_CANDIDATES = (*([_LAST, _LAST - 1] if _LAST else []), *_OTHERS)
_signal = sys.modules.get("_signal", signal)
_mask: Any = getattr(_signal, "pthread_sigmask", None)
_get_handler: Any = getattr(_signal, "getsignal", signal.getsignal)  # makes no enumerations
_register = faulthandler.register if hasattr(faulthandler, "register") else None
_write = os.write


_LIBC: Any = ctypes.CDLL(None) if sys.platform != "win32" else None


class _Event(ctypes.Structure):
    """`struct sigevent` of Linux."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("thread", ctypes.c_int),
        ("rest", ctypes.c_char * 64),
    )


class _Times(ctypes.Structure):
    """`struct itimerspec`: two pairs of seconds and nanoseconds."""

    _fields_ = (
        ("interval", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Held:
    """What is written where, for the explorations of this process.

    Attributes:
        file: the file descriptor for `faulthandler`'s lines; the default is stderr.
        ends: this process ends, with status 1, where the interpreter is held.
        supervised: another process reads them: they are written again and again while the interpreter is held, and the watchdog writes
            a full stop whenever it is free. That process ends this one.
    """

    def __init__(self) -> None:
        self.file = 2
        self.supervised = self.ends = False
        self._timer: ctypes.c_void_p | None = None
        self._signal = 0
        self._seconds = 0.0

    @property
    def stderr(self) -> int:
        """The file descriptor for a person."""
        return 2 if self.supervised else self.file

    def watch(self, seconds: float) -> None:
        """Begin: have lines written when `beat` has not been called for this long; call in the thread whose lines are wanted."""
        self._seconds = seconds
        if _register is None or sys.platform != "linux" or self._timer is not None:
            return
        number = free_signal()
        if number is None:
            return
        try:
            _register(number, file=self.file, all_threads=False, chain=False)
        except (OSError, ValueError, RuntimeError):
            return
        timer = ctypes.c_void_p()
        event = _Event(None, number, _SIGEV_THREAD_ID, threading.get_native_id(), b"")
        if _libc().timer_create(_MONOTONIC, ctypes.byref(event), ctypes.byref(timer)):
            faulthandler.unregister(number)
            return
        self._timer, self._signal = timer, number
        self.beat()

    def beat(self) -> None:
        """The interpreter is free."""
        if self.ends:
            faulthandler.dump_traceback_later(self._seconds, file=self.file, exit=True)
        timer = self._timer
        if timer is None:
            return
        first = self._seconds * (0.75 if self.supervised else 1.0)
        again = self._seconds / 4 if self.supervised else 0.0
        times = _Times(int(again), int(again % 1 * 1e9), int(first), int(first % 1 * 1e9))
        _libc().timer_settime(timer, 0, ctypes.byref(times), None)
        if self.supervised:
            with contextlib.suppress(OSError):
                _write(self.file, b".\n")

    def end(self) -> None:
        """Stop watching."""
        if self.ends:
            faulthandler.cancel_dump_traceback_later()
        timer, self._timer = self._timer, None
        if timer is not None:
            _libc().timer_delete(timer)
            faulthandler.unregister(self._signal)


HELD = Held()
"""That of this process."""


class Reports:
    """What a supervised process writes, read by the process that supervises it from a pipe."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._text = ""
        os.set_blocking(pipe, False)

    def held(self) -> bool:
        """Whether C code holds the interpreter: lines have come twice since it was free. Once, and the process may have been stopped."""
        self._read()
        return self._text.count(_HEADING) > 1

    def where(self) -> str:
        """Return the user's innermost line in what was written last, for the middle of a sentence."""
        self._read()
        for file, line, function in _LINE.findall(self._text):
            if not is_foreign(file):
                return f" at {os.path.relpath(file)}:{line} in {function}"
        return ""

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._pipe)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._pipe, 65536):
                self._text = f"{self._text}{data.decode(errors='replace')}".rpartition("\n.\n")[2].removeprefix(".\n")


def free_signal() -> int | None:
    """Return a signal that nobody uses: it has no handler, of Python or of C, and is neither ignored nor blocked."""
    blocked = _mask(signal.SIG_BLOCK, ()) if _mask is not None else ()
    return next((number for number in _CANDIDATES if number not in blocked and _is_default(number)), None)


def _is_default(number: int) -> bool:
    """Whether a signal has its default action: `signal.getsignal` does not know what C code has installed, such as `faulthandler`."""
    if _get_handler(number) != signal.SIG_DFL:
        return False
    action = (ctypes.c_void_p * 64)()  # more than a `struct sigaction`, whose first member is the handler
    if not hasattr(_libc(), "sigaction") or _libc().sigaction(int(number), None, ctypes.byref(action)):
        return True
    return not action[0]


def _libc() -> Any:
    return _LIBC
