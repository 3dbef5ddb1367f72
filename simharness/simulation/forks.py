"""Work in a child process that is forked from this one: it begins with this process's state, and what it changes ends with it."""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from simharness.endings import end_with_parent
from simharness.simulation.watchdog import Watchdog

if TYPE_CHECKING:
    from simharness.simulation.simulation import Simulation

_fork, _waitpid, _exit, _pipe, _getpid = getattr(os, "fork", None), getattr(os, "waitpid", None), os._exit, os.pipe, os.getpid
_fdopen, _close = os.fdopen, os.close


def possible() -> bool:
    """Whether the platform has forks."""
    return _fork is not None


def fork() -> int:
    """Fork this process; return the child's id, or 0 in the child."""
    assert _fork is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the user's code may have started threads; the child needs none of them
        child: int = _fork()
    return child


def apart(work: Callable[[], bytes]) -> tuple[bytes, int]:
    """Do work in a child; return what it returns there, empty if it ends without, and the child's exit status."""
    assert _waitpid is not None
    reading, writing = _pipe()
    parent = _getpid()
    child = fork()
    if not child:
        try:
            _close(reading)
            end_with_parent(parent)
            data = work()
            with _fdopen(writing, "wb") as pipe:
                pipe.write(data)
        finally:
            _exit(0)
    _close(writing)
    with _fdopen(reading, "rb") as pipe:
        data = pipe.read()
    _, status = _waitpid(child, 0)
    return data, os.waitstatus_to_exitcode(status)


@contextmanager
def continued(simulation: Simulation) -> Iterator[None]:
    """A block in a child that was forked during an exploration: executions run there as they would in the other process."""
    gc.freeze()  # the other process's objects are not finalised here
    simulation.forked()
    with Watchdog(simulation.kernel, simulation.settings.watchdog, forked=True):
        try:
            yield
        finally:
            simulation.kernel.workspace.close()
