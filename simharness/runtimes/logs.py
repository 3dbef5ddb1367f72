"""Logging while exploring: what the code under test logs is part of its trace, not of the terminal.

Handlers that existed before the exploration are not called for records of a simulation, or each line would be printed once for every
ordering. Handlers that the code under test adds itself work as always; so does the recorder of a trace.
"""

from __future__ import annotations

import logging
import weakref

from simharness.kernel import current
from simharness.runtimes.patching import Patches


def install(patches: Patches) -> None:
    """Plan to keep the handlers that there are now silent inside simulations."""
    genuine = logging.Handler.handle
    references = list(vars(logging)["_handlerList"])  # weak references to every handler there is
    silenced = weakref.WeakSet(handler for handler in (reference() for reference in references) if handler is not None)

    def handle(self: logging.Handler, record: logging.LogRecord) -> bool | logging.LogRecord:
        if self in silenced and current() is not None:
            return False
        return genuine(self, record)

    patches.attribute(logging.Handler, "handle", handle)
