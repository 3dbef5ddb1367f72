"""The configuration of `logging`: which loggers there are, their levels, handlers and filters.

A logger that an execution has made, and that was not there at the baseline, is forgotten, as in a new process; those that a module makes
while it is imported are there from then on. What a handler does with lines is not put back.
"""

from __future__ import annotations

import logging
from typing import Any

from simharness.runtimes.heap.records import Part, Record

_Kept = tuple[int, bool, bool, Any]


class Loggers(Record):
    """The loggers that there are, and what is set in each; handlers and filters are lists with records of their own."""

    path = "logging"

    def __init__(self) -> None:
        self.thing: Any = logging.Logger.manager.loggerDict
        self.saved: dict[str, Any] = {}
        self._kept: dict[logging.Logger, tuple[_Kept, list[Any], list[Any]]] = {}

    def adopt(self) -> list[tuple[str, list[Any]]]:
        """Loggers that nobody has configured are there from now on; return the lists of new ones, each with its path."""
        first = not self._kept
        lists: list[tuple[str, list[Any]]] = []
        for name, logger in [("root", logging.getLogger()), *self.thing.items()]:
            if not issubclass(type(logger), logging.Logger):
                if first:
                    self.saved[name] = logger
            elif logger not in self._kept and (first or not (logger.handlers or logger.filters or logger.level)):
                self._kept[logger] = _kept(logger), logger.handlers, logger.filters
                if logger is not logging.getLogger():
                    self.saved[name] = logger
                lists += [(f"the handlers of {name}", logger.handlers), (f"the filters of {name}", logger.filters)]
        return lists

    @property
    def number(self) -> Record:
        """A record that compares only how many there are."""
        return Part(self, lambda loggers: len(loggers) == len(self.saved))

    def same(self) -> bool:
        """Whether there are the same loggers, with the same settings; lists are compared by identity."""
        return self.number.same() and all(
            _kept(logger) == kept and logger.handlers is handlers and logger.filters is filters
            for logger, (kept, handlers, filters) in self._kept.items()
        )

    def put_back(self) -> Any:
        """Forget new loggers and set what the others had."""
        lost = dict(self.thing)
        self.thing.clear()
        self.thing.update(self.saved)
        for logger, (kept, handlers, filters) in self._kept.items():
            logger.handlers, logger.filters = handlers, filters
            logger.level, logger.propagate, logger.disabled, logger.parent = kept
            vars(logger).get("_cache", {}).clear()
        return lost


def _kept(logger: logging.Logger) -> _Kept:
    return logger.level, logger.propagate, logger.disabled, logger.parent
