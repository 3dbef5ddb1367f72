"""Installs all runtimes: makes their replacements, undoes them, and closes what an execution has opened."""

from __future__ import annotations

import gc
from _thread import LockType, allocate_lock
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from simharness.engine.folders import sweep
from simharness.engine.interrupts import INTERRUPTS
from simharness.engine.kernel import Kernel
from simharness.runtimes import identities, imports, logs, printing, queue_insides, randomness, refused, time
from simharness.runtimes.aio import install as asyncio_install
from simharness.runtimes.aio import order as asyncio_order
from simharness.runtimes.files import install as files
from simharness.runtimes.files.state import REPORTS
from simharness.runtimes.memory import deaths, output, shared, wide
from simharness.runtimes.patching import Patches
from simharness.runtimes.primitives import BINDINGS
from simharness.runtimes.sqlite import install as sqlite
from simharness.runtimes.sqlite.files import used
from simharness.runtimes.threads import install as primitives
from simharness.runtimes.threads import queue_contents, queues, thread
from simharness.runtimes.trio import patches as tasks
from simharness.runtimes.trio.order import BATCHES
from simharness.runtimes.turns.proof import Examined
from simharness.trace.tables import Tables

NAMES = ("threads", "sqlite", "files", "time", "explicit")
"""The runtimes whose operations are scheduling points, as verdicts name them."""

_MODULES = (
    primitives,
    thread,
    queues,
    queue_insides,
    sqlite,
    files,
    time,
    randomness,
    identities,
    refused,
    logs,
    printing,
    imports,
    tasks,
    asyncio_install,
)
_acquire, _release = LockType.acquire, LockType.release  # replaced, too
COLLECT_ALL_EVERY = 20
"""Installing looks through all objects, so garbage is collected first; old garbage, which takes longer, not each time."""


class _Installed:
    """The replacements that are in place, for the active blocks of `installed` on all OS threads."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._patches: Patches | None = None
        self._blocks = self._number = 0

    def enter(self) -> None:
        """A block begins: the first makes the replacements."""
        _acquire(self._lock)
        try:
            if self._patches is None:
                self._number += 1
                if self._number == 1:
                    sweep()
                gc.collect(1 if self._number % COLLECT_ALL_EVERY else 2)
                patches = Patches()
                for module in _MODULES:
                    module.install(patches)
                patches.apply()
                self._patches = patches
            self._blocks += 1
        finally:
            _release(self._lock)

    def leave(self) -> None:
        """A block ends: the last undoes the replacements, whichever began first."""
        _acquire(self._lock)
        try:
            self._blocks -= 1
            if not self._blocks and self._patches is not None:
                patches, self._patches = self._patches, None
                patches.undo()
        finally:
            _release(self._lock)

    def afterwards(self, restore: Callable[[], None]) -> None:
        """Have a function called when the replacements are undone; at once if there are none."""
        _acquire(self._lock)
        try:
            if self._patches is not None:
                self._patches.afterwards(restore)
                return
        finally:
            _release(self._lock)
        restore()


_installed = _Installed()


@contextmanager
def installed() -> Iterator[None]:
    """Have the replacements in place for the length of a block.

    Every exploration does this itself; a block around many small ones saves each the search for everything to replace. Blocks may
    overlap, on one OS thread or on several.
    """
    with INTERRUPTS.held(closed=True):
        _installed.enter()
    try:
        yield
    finally:
        with INTERRUPTS.held(closed=True):
            _installed.leave()


def afterwards(restore: Callable[[], None]) -> None:
    """Have a function called when the replacements are undone; at once if there are none."""
    _installed.afterwards(restore)


def in_words(kernel: Kernel, instrumented: Sequence[str]) -> str:
    """Return a sentence on the scheduling points: the runtimes (Trio only if it was used), and the instrumented modules."""
    order = "one batch" if BATCHES in kernel.modes else "one task"
    conflicts = "steps reduced by what they touch" if kernel.learned.late else "all steps of a run conflict"
    words = {"trio": f"{order} at a time; {conflicts}", asyncio_order.RUNTIME: asyncio_order.in_words(kernel.modes, kernel.learned)}
    used = (f"{name} ({words[name]})" for name in sorted(kernel.learned.runtimes))
    points = f"scheduling points: {', '.join((*NAMES[:-1], *used, NAMES[-1]))}"
    if instrumented:
        return f"{points}, memory of {', '.join(instrumented)}; memory of other modules is not explored"
    return f"{points}; no module was instrumented: between them, unsynchronised memory is not explored"


def begin(kernel: Kernel, roots: Mapping[str, Any]) -> None:
    """An exploration begins; `roots` lead to what the scenario knows, besides the variables of modules."""
    BINDINGS.begin(kernel, roots)
    kernel.polling.prove_with(Examined)


def begin_execution(kernel: Kernel) -> None:
    """An execution begins."""
    kernel.context[REPORTS] = used
    asyncio_install.begin_execution()
    files.begin(kernel)
    output.begin(kernel)


def end_execution(kernel: Kernel) -> None:
    """Close what an execution has opened."""
    asyncio_install.end_execution(kernel)
    files.end_execution(kernel)
    sqlite.end_execution(kernel)
    shared.end_execution(kernel)
    wide.end_execution(kernel)
    deaths.end_execution(kernel)
    queue_contents.end_execution()
    identities.end_execution()


def collects(kernel: Kernel) -> bool:
    """Whether the next execution can reuse what this one keeps only after a garbage collection."""
    return sqlite.collects(kernel)


def where(kernel: Kernel, path: str) -> str:
    """Return where the file is now that the last execution, which is over, had at this path."""
    return sqlite.where(kernel, path)


def forget(kernel: Kernel) -> None:
    """The exploration is over: release what was kept between executions."""
    sqlite.forget(kernel)
    files.forget(kernel)
    randomness.forget(kernel)


def forked(kernel: Kernel) -> None:
    """This process was forked during the exploration: it keeps nothing that it shares with the other."""
    sqlite.forked(kernel)


def interrupt(kernel: Kernel) -> None:
    """Have the statements end that the execution's connections run; any OS thread may call this."""
    sqlite.interrupt(kernel)


def snapshot(kernel: Kernel) -> Tables:
    """Return the committed rows of every database of the execution: label, table, columns and rows."""
    return sqlite.snapshot(kernel)
