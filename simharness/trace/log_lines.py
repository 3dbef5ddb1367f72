"""Collects the log lines that an execution emits, step by step."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from simharness.engine.kernel import Kernel


class LogLines(logging.Handler):
    """Collects the log lines that an execution emits, as a context around it: `lines` maps the index of a step to its own.

    Lines of level INFO and above reach it also where the root logger's level would keep them back (`runtimes.logs`).
    """

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self._kernel = kernel
        self.lines: dict[int, list[str]] = {}

    def __enter__(self) -> LogLines:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line of the running step."""
        if not self._kernel.dying:
            self.lines.setdefault(self._kernel.record.n - 1, []).append(f"{record.levelname} {record.name}: {record.getMessage()}")


@contextmanager
def set_aside() -> Iterator[None]:
    """Within, logging is configured as it is where no execution is recorded."""
    keepers = [handler for handler in logging.getLogger().handlers if isinstance(handler, LogLines)]
    for keeper in reversed(keepers):
        keeper.__exit__()
    try:
        yield
    finally:
        for keeper in keepers:
            keeper.__enter__()


def part_of_a_logger(thing: object) -> str:
    """Return what a list is if it has the handlers or filters of a logger."""
    for logger in (logging.getLogger(), *logging.Logger.manager.loggerDict.values()):
        for name in ("handlers", "filters"):
            if getattr(logger, name, None) is thing:
                return f"the {name} of {logger.name}" if isinstance(logger, logging.Logger) else ""
    return ""
