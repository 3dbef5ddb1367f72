"""Runs the command line in a child process, so that nothing in it can hang or crash without a word.

The parent only waits and passes signals on. When C code holds the child's interpreter, `faulthandler` writes the lines to a pipe (see
`simulation/held.py`); the parent names the line, ends the child, and exits with status 3. It does the same for a child that crashes. On
systems without `fork` the command line runs in this process.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
from collections.abc import Callable

from simharness.cli.signals import INCONCLUSIVE, INTERRUPTING, interruptible, say
from simharness.endings import end_with_parent
from simharness.engine.folders import sweep
from simharness.simulation.held import HELD, Reports

NAP = 0.1
"""Real seconds between two looks at what the child writes; its end is noticed at once."""
ABORTED = 130
"""What typer makes of Ctrl-C."""
FROM_TERMINAL = 128
"""`si_code` of a signal that the terminal sends to all processes in its foreground (SI_KERNEL)."""


def supervised(run: Callable[[], None]) -> None:
    """Call `run`, which ends in an exit, in a child; end as it ends."""
    if not hasattr(os, "fork") or not hasattr(signal, "sigtimedwait"):
        _interruptibly(run, None)
        return
    parent = os.getpid()
    wanted = {signal.SIGCHLD, *INTERRUPTING}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    try:
        reading, writing = os.pipe()
        child = os.fork()
    except OSError:  # few descriptors or processes
        _interruptibly(run, before)
        return
    if child:
        os.close(writing)
        os._exit(_Parent(child, Reports(reading)).wait(wanted))
    os.close(reading)
    end_with_parent(parent)
    HELD.file, HELD.supervised = writing, True
    if not faulthandler.is_enabled():
        faulthandler.enable(writing, all_threads=False)
    _interruptibly(run, before)


def _interruptibly(run: Callable[[], None], mask: set[int] | set[signal.Signals] | set[int | signal.Signals] | None) -> None:
    """Call `run`; SIGTERM and SIGHUP do what Ctrl-C does. `mask`: the signals to block once they have handlers."""
    try:
        with interruptible():
            if mask is not None:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            run()
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(INCONCLUSIVE)
    except SystemExit as ending:
        if ending.code != ABORTED:
            raise
        sys.exit(INCONCLUSIVE)


class _Parent:
    """The process that waits."""

    def __init__(self, child: int, reports: Reports) -> None:
        self._child = child
        self._reports = reports

    def wait(self, wanted: set[signal.Signals]) -> int:
        """Wait for the child; return the exit status."""
        while True:
            info = signal.sigtimedwait(wanted, NAP)
            if self._reports.held():
                os.kill(self._child, signal.SIGKILL)
                os.waitpid(self._child, 0)
                return self._ended(f"C code holds the interpreter{self._reports.where()}, so nothing else can run: it was ended")
            if info is None or info.si_signo == signal.SIGCHLD:
                ended, status = os.waitpid(self._child, os.WNOHANG)
                if ended:
                    return self._status(os.waitstatus_to_exitcode(status))
            elif not (info.si_signo == signal.SIGINT and info.si_code == FROM_TERMINAL):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._child, info.si_signo)

    def _status(self, code: int) -> int:
        if code >= 0:
            sweep()
            return code
        if -code in INTERRUPTING:
            return self._ended("interrupted")
        name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
        return self._ended(f"the process that explored was ended by {name}{self._reports.where()}: nothing is proved")

    def _ended(self, text: str) -> int:
        sweep()
        with contextlib.suppress(OSError):
            say(text)
            sys.stderr.flush()
        return INCONCLUSIVE
