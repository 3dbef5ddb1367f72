"""Logging while exploring: what the code under test logs is part of its trace, not of the terminal.

Handlers that existed before the exploration are not called for records of a simulation, or each line would be printed once for every
ordering. Handlers that the code under test adds itself work as always, and are not shown what only the recorder of a trace wants.

Where the fact `LOG_LINES` is known (searching for an incident, and replaying what was found), each line is a scheduling point which
conflicts with nothing: between what an actor has done and the line that tells of it, others may move. `Record.on_log`, if set, makes
the step.
"""

from __future__ import annotations

import logging
import weakref

from simharness.engine.kernel import current
from simharness.engine.operations import Operation
from simharness.engine.phases import RUNNING
from simharness.engine.record import LOG
from simharness.runtimes.patching import Patches
from simharness.trace.log_lines import LogLines

LOG_LINES = "log lines"
"""In `kernel.learned.shared`, makes every log line that is emitted a point."""


def _only_for_a_trace(handler: logging.Handler, record: logging.LogRecord) -> bool:
    """Whether the record was made only because a trace is kept, which wants more lines than the program does."""
    keeper = next((found for found in logging.getLogger().handlers if isinstance(found, LogLines)), None)
    if keeper is None or keeper is handler or record.levelno >= keeper.wanted:
        return False
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None and logger.parent is not None and not logger.level:
        logger = logger.parent
    return logger is not None and logger.parent is None


def install(patches: Patches) -> None:
    """Plan to keep the handlers that there are now silent inside simulations."""
    genuine = logging.Handler.handle
    references = list(vars(logging)["_handlerList"])  # weak references to every handler there is
    silenced = weakref.WeakSet(handler for handler in (reference() for reference in references) if handler is not None)

    def handle(self: logging.Handler, record: logging.LogRecord) -> bool | logging.LogRecord:
        if current() is not None and (self in silenced or _only_for_a_trace(self, record)):
            return False
        return genuine(self, record)

    def call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
        kernel = current()
        if kernel is not None and LOG_LINES in kernel.learned.shared and kernel.phase == RUNNING and not kernel.dying:
            if kernel.on_log is not None:
                kernel.on_log(record)
            else:
                kernel.step(Operation(LOG, detail=record.name))
        genuine_call(self, record)

    genuine_call = logging.Logger.callHandlers
    patches.attribute(logging.Handler, "handle", handle)
    patches.attribute(logging.Logger, "callHandlers", call_handlers)
