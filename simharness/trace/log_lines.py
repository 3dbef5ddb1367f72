"""Collects the log lines that an execution emits, step by step."""

from __future__ import annotations

import logging

from simharness.engine.kernel import Kernel


class LogLines(logging.Handler):
    """Collects the log lines that an execution emits, as a context around it: `lines` maps the index of a step to its own.

    Lines of level INFO and above reach it also where the root logger's level would keep them back (`runtimes.logs`).

    Args:
        prints: also keep what is printed.
    """

    def __init__(self, kernel: Kernel, prints: bool = False) -> None:
        super().__init__()
        self._kernel = kernel
        self._prints = prints
        self.lines: dict[int, list[str]] = {}

    def __enter__(self) -> LogLines:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line of the running step."""
        if not (self._kernel.dying or self._kernel.rehearsed):
            self.lines.setdefault(self._kernel.record.n - 1, []).append(f"{record.levelname} {record.name}: {record.getMessage()}")

    def printed(self, line: str) -> None:
        """Keep a line that the running step has printed."""
        if self._prints and not self._kernel.rehearsed:
            self.lines.setdefault(self._kernel.record.n - 1, []).append(line)


def keepers() -> list[LogLines]:
    """Return those that collect lines now."""
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, LogLines)]


class SetAside:
    """A block within which logging is configured as it is where no execution is recorded."""

    __slots__ = ("_aside",)

    def __enter__(self) -> None:
        self._aside = keepers()
        for keeper in reversed(self._aside):
            keeper.__exit__()

    def __exit__(self, *_: object) -> None:
        for keeper in self._aside:
            keeper.__enter__()


def part_of_a_logger(thing: object) -> str:
    """Return what a list is if it has the handlers or filters of a logger."""
    for logger in (logging.getLogger(), *logging.Logger.manager.loggerDict.values()):
        for name in ("handlers", "filters"):
            if getattr(logger, name, None) is thing:
                return f"the {name} of {logger.name}" if isinstance(logger, logging.Logger) else ""
    return ""
