"""Which synchronisation primitives of `threading` and `_thread` are replaced, and how.

Factories of locks are replaced wherever they are bound; classes written in Python have their methods replaced in place, so
that subclasses and instances that existed before are covered. Genuine locks that the code under test made before (at import)
have the methods of their classes replaced, genuine thread-locals are given a stand-in, for as long as the patches last.
"""

from __future__ import annotations

import _thread
import threading

from simharness.runtimes.patching import Patches
from simharness.runtimes.threads import adoption, barriers, conditions, events, genuine
from simharness.runtimes.threads.locks import Lock, RLock

_lock_factory = threading.Lock
_allocate_lock = _thread.allocate_lock
_old_allocate = _thread.allocate
_rlock_factory = threading.RLock
_rlock_type = _thread.RLock


def install(patches: Patches) -> None:
    """Plan the replacements."""
    for lock in (_allocate_lock, _old_allocate, *([] if _lock_factory is _allocate_lock else [_lock_factory])):
        patches.everywhere(lock, Lock)
    for rlock in (_rlock_factory, _rlock_type):
        patches.everywhere(rlock, RLock)
    conditions.install(patches)
    events.install(patches)
    barriers.install(patches)
    there = adoption.ThereBefore()
    genuine.install(patches, there)
    adoption.install(patches, there)
