"""The mutex inside a primitive of the standard library: it shows only where a handler can strike while it is held.

Events, semaphores and barriers are guarded by a lock that is not reentrant: a handler that uses the primitive which it interrupts waits
forever. Without handlers, their operations are single steps. Queues have theirs (`opened_queues.py`).
"""

from __future__ import annotations

from _thread import allocate_lock
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from simharness.engine.handlers import Handled
from simharness.engine.kernel import Kernel
from simharness.runtimes.threads.locks import Lock

_OPEN = nullcontext()


def mutex_of(kernel: Kernel, name: str, label: str) -> AbstractContextManager[Any]:
    """Return what guards a primitive in this execution: a lock if there are handlers, else nothing."""
    if not kernel.learned.of(Handled):
        return _OPEN
    lock = Lock.around(allocate_lock())
    lock._attach(kernel, f"mutex of {name}", f"mutex of {label}")
    return lock
