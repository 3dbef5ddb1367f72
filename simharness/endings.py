"""Ends a process with its parent, however that ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_getppid, _exit = os.getppid, os._exit


def end_with_parent(parent: int) -> None:
    """Have this process killed when its parent, whose id this is, ends; only Linux can. The next run removes folders that it leaves."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if _getppid() != parent:
        _exit(1)
