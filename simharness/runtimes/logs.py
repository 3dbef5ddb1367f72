"""Logging while exploring: the log lines of the code under test go to its trace, not to the terminal.

Handlers that existed before the exploration are not called for records of a simulation, or each line would be printed once for every
ordering. Handlers that the code under test adds itself work as always; records that only the recorder of a trace wants do not reach them,
and code that asks whether a level is enabled hears what it would without a recorder.

In the mode `LOG_LINES` (searching for an incident, and replaying the result), each line is a scheduling point that
conflicts with nothing: between an actor's action and the line that reports it, other actors may move. `Record.on_log`, if set, makes
the step.
"""

from __future__ import annotations

import logging
import sys
import weakref

from simharness.engine.actors import Actor
from simharness.engine.kernel import current
from simharness.engine.kinds import ALONE, Kind, Role
from simharness.engine.modes import Mode
from simharness.engine.operations import Operation
from simharness.engine.phases import RUNNING
from simharness.runtimes.files.lines import one_line
from simharness.runtimes.memory.output import logged
from simharness.runtimes.memory.shared import of
from simharness.runtimes.memory.wide import LEVELS, touch
from simharness.runtimes.patching import Patches
from simharness.runtimes.workers import identity_seen
from simharness.trace.log_lines import LogLines, keepers

LOG = Kind(ALONE, "log", Role.LOGS)
LOG_LINES = Mode("log", "points")
"""The mode in which every log line that is emitted is a point, of level INFO and above also where the root logger has none such emitted."""

HANDLING = "handling"
"""In a kernel's context: the actors that are inside a handler."""
_PLAIN = frozenset({logging.StreamHandler, logging.FileHandler, logging.NullHandler, LogLines})
"""Handlers that do nothing with a record except format it, if anything."""


def _follows_the_root(logger: logging.Logger | None) -> bool:
    """Whether it is the root logger's level that keeps a logger from logging."""
    while logger is not None and logger.parent is not None and not logger.level:
        logger = logger.parent
    return logger is not None and logger.parent is None


def _asked_in_order_to_log() -> bool:
    """Whether the caller's caller is a method of `logging` that logs, and not code that may do something else if nobody logs."""
    frame = sys._getframe(2)
    return frame.f_globals.get("__name__") == "logging" and frame.f_code.co_name != "isEnabledFor"


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
        if kernel is not None and self in silenced:
            return False
        if kernel is not None and not kernel.tracing and _shows_threads(self):
            identity_seen(kernel)
        if kernel is None:
            return genuine(self, record)
        under_way: set[Actor | None] = kernel.context.setdefault(HANDLING, set())
        actor = kernel.actor
        inside = kernel.phase != RUNNING or actor in under_way  # then the handler that hands the record on has its lock
        if not inside:
            if not isinstance(self, LogLines):
                logged(of(kernel), self)
            under_way.add(actor)
        try:
            with one_line(kernel, self):
                return genuine(self, record)
        finally:
            if not inside:
                under_way.discard(actor)

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
        if kernel is not None and not genuine_enabled(self, record.levelno) and sys._getframe(2).f_code.co_name == "_log":
            for keeper in keepers()[:1]:
                keeper.handle(record)
            return
        genuine_call(self, record)

    genuine_call, genuine_enabled = logging.Logger.callHandlers, logging.Logger.isEnabledFor
    patches.attribute(logging.Handler, "handle", handle)
    patches.attribute(logging.Logger, "callHandlers", call_handlers)
    _install_levels(patches)


def _install_levels(patches: Patches) -> None:
    """Plan that levels are read and written, and that a recorder of a trace gets its lines."""
    genuine_enabled, genuine_set, genuine_set_handler = logging.Logger.isEnabledFor, logging.Logger.setLevel, logging.Handler.setLevel

    def set_level(self: logging.Logger | logging.Handler, level: int | str) -> None:
        kernel = current()
        if kernel is not None and kernel.phase == RUNNING:
            touch(of(kernel), LEVELS, True)
        (genuine_set if isinstance(self, logging.Logger) else genuine_set_handler)(self, level)  # type: ignore[arg-type]  # either

    def is_enabled(self: logging.Logger, level: int) -> bool:
        kernel = current()
        if kernel is not None and kernel.phase == RUNNING:
            touch(of(kernel), LEVELS, False)
        if genuine_enabled(self, level):
            return True
        if kernel is None or level < logging.INFO or self.disabled or self.manager.disable >= level:
            return False
        wanted = LOG_LINES in kernel.modes or bool(keepers())
        return wanted and _follows_the_root(self) and _asked_in_order_to_log()

    for cls in (logging.Logger, logging.Handler):
        patches.attribute(cls, "setLevel", set_level)
    patches.attribute(logging.Logger, "isEnabledFor", is_enabled)
