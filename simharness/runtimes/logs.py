"""Logging while exploring: the log lines of the code under test go to its trace, not to the terminal.

Handlers that existed before the exploration are not called for records of a simulation, or each line would be printed once for every
ordering. Handlers that the code under test adds itself work as always; records that only the recorder of a trace wants do not reach them.

In the mode `LOG_LINES` (searching for an incident, and replaying the result), each line is a scheduling point that
conflicts with nothing: between an actor's action and the line that reports it, other actors may move. `Record.on_log`, if set, makes
the step.
"""

from __future__ import annotations

import logging
import weakref

from simharness.engine.kernel import current
from simharness.engine.kinds import ALONE, Kind, Role
from simharness.engine.modes import Mode
from simharness.engine.operations import Operation
from simharness.engine.phases import RUNNING
from simharness.runtimes.files.lines import one_line
from simharness.runtimes.patching import Patches
from simharness.runtimes.workers import identity_seen
from simharness.trace.log_lines import LogLines

LOG = Kind(ALONE, "log", Role.LOGS)
LOG_LINES = Mode("log", "points")
"""The mode in which every log line that is emitted is a point."""

_PLAIN = frozenset({logging.StreamHandler, logging.FileHandler, logging.NullHandler, LogLines})
"""Handlers that do nothing with a record except format it, if anything."""


def _only_for_a_trace(handler: logging.Handler, record: logging.LogRecord) -> bool:
    """Whether the record was made only for the recorder of a trace, which wants more lines than the program does."""
    keeper = next((candidate for candidate in logging.getLogger().handlers if isinstance(candidate, LogLines)), None)
    if keeper is None or keeper is handler or record.levelno >= keeper.wanted:
        return False
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None and logger.parent is not None and not logger.level:
        logger = logger.parent
    return logger is not None and logger.parent is None


def _shows_threads(handler: logging.Handler) -> bool:
    """Whether a handler may show, or let code see, which thread a record is from."""
    formatter = handler.formatter
    plain = formatter is None or (type(formatter) is logging.Formatter and "thread" not in str(formatter._fmt))
    return not plain or bool(handler.filters) or type(handler) not in _PLAIN


def install(patches: Patches) -> None:
    """Plan to silence, inside simulations, the handlers that exist now."""
    genuine = logging.Handler.handle
    references = list(vars(logging)["_handlerList"])  # weak references to every handler there is
    silenced = weakref.WeakSet(handler for handler in (reference() for reference in references) if handler is not None)

    def handle(self: logging.Handler, record: logging.LogRecord) -> bool | logging.LogRecord:
        kernel = current()
        if kernel is not None and (self in silenced or _only_for_a_trace(self, record)):
            return False
        if kernel is not None and not kernel.tracing and _shows_threads(self):
            identity_seen(kernel)
        if kernel is None:
            return genuine(self, record)
        with one_line(kernel, self):
            return genuine(self, record)

    def call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
        kernel = current()
        filtered = self.filters or logging.getLogRecordFactory() is not logging.LogRecord
        if kernel is not None and not kernel.tracing and (filtered or LOG_LINES in kernel.modes):
            identity_seen(kernel)
        if kernel is not None and LOG_LINES in kernel.modes and kernel.phase == RUNNING and not kernel.dying:
            if kernel.on_log is not None:
                kernel.on_log(record)
            else:
                kernel.step(Operation(LOG, detail=record.name))
        genuine_call(self, record)

    genuine_call = logging.Logger.callHandlers
    patches.attribute(logging.Handler, "handle", handle)
    patches.attribute(logging.Logger, "callHandlers", call_handlers)
