"""The execution under way in this process: at most one, on one OS thread.

It is under way while code of the program under test may run. A block `outside` suspends it for what is no part of it, such as an import.
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simharness.engine.kernel import Kernel  # which enters itself here; a circle of types only

_active: list[tuple[Kernel, int]] = []
"""The kernel whose execution is under way, and the OS thread that it runs on; at most one."""
_suspended: list[tuple[Kernel, int]] = []


def current() -> Kernel | None:
    """Return the kernel whose simulation the running code is part of; None outside a simulation and on other OS threads."""
    if _active:
        kernel, thread = _active[0]
        if thread == get_ident():
            return kernel
    return None


def under_way() -> Kernel | None:
    """Return the kernel whose execution is under way, suspended or not, on whichever OS thread."""
    for kernel, _ in (*_active, *_suspended):
        return kernel
    return None


@contextmanager
def outside() -> Iterator[None]:
    """A block outside the simulation; it must not wait for actors."""
    active = _active[:]
    _suspended.extend(active)
    _active.clear()
    try:
        yield
    finally:
        _active[:] = active
        del _suspended[len(_suspended) - len(active) :]
