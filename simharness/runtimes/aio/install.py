"""asyncio: imported when the replacements are made, not with the project, since a program may import it later."""

from __future__ import annotations

import sys

from simharness.engine.kernel import Kernel
from simharness.runtimes.aio.order import LOOPS
from simharness.runtimes.patching import Patches


def install(patches: Patches) -> None:
    """Plan the replacements."""
    from simharness.runtimes.aio import patches as replacements

    replacements.install(patches)


def begin_execution() -> None:
    """An execution begins."""
    if "anyio" in sys.modules:
        from simharness.runtimes.aio import anyio

        anyio.begin_execution()


def end_execution(kernel: Kernel) -> None:
    """Release the loops of an execution."""
    if LOOPS in kernel.context:
        from simharness.runtimes.aio import patches as replacements

        replacements.end_execution(kernel)
