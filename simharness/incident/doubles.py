"""Lines that were logged once and written several times: by the handlers of several files, or by two handlers of one.

The lines of a file are taken for the work of several handlers if all of them are there equally often, to the millisecond; those of one
logger (which has a handler of its own) if all of its lines are, and there are at least two different ones. A line
that is repeated among others that are not stays: the program has logged it twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from simharness.incident.templates import Line

Content = tuple[object, ...]
LEAST = 2
"""Different lines of a logger that must be repeated."""


def without_doubles(lines: Sequence[Line]) -> tuple[list[Line], int]:
    """Drop lines that were written several times; return the others, and how many were dropped."""
    kept = _once_per_log(_once_per_handler(lines))
    return kept, len(lines) - len(kept)


def _once_per_handler(lines: Sequence[Line]) -> list[Line]:
    """Drop what further handlers of one file have written."""
    counts: dict[str, dict[Content, int]] = {}
    for line in lines:
        per_source = counts.setdefault(line.source, {})
        content = (line.logger, line.time, line.level, line.message, line.process, line.thread)
        per_source[content] = per_source.get(content, 0) + 1
    times = {source: _handlers(found) for source, found in counts.items()}
    seen: dict[Content, int] = {}
    kept: list[Line] = []
    for line in lines:
        written = (line.source, line.logger, line.time, line.level, line.message, line.process, line.thread)
        count = seen[written] = seen.get(written, 0) + 1
        if (count - 1) % times[line.source].get(line.logger, 1) == 0:
            kept.append(line)
    return kept


def _once_per_log(lines: Sequence[Line]) -> list[Line]:
    """Drop what another file has as well (`errors.log` repeats `agent.log`)."""
    kept: list[Line] = []
    most: dict[Content, int] = {}
    seen: dict[Content, int] = {}
    for line in lines:
        content = (line.time, line.level, line.logger, line.message)
        count = seen[line.source, *content] = seen.get((line.source, *content), 0) + 1
        if count > most.get(content, 0):
            most[content] = count
            kept.append(line)
    return kept


def _handlers(counts: dict[Content, int]) -> dict[str, int]:
    """Return for each logger of a file how many handlers wrote its lines, if more than one."""
    loggers: dict[str, list[int]] = {}
    for content, count in counts.items():
        loggers.setdefault(str(content[0]), []).append(count)
    fewest = min(counts.values(), default=1)
    if fewest > 1 and all(count % fewest == 0 for count in counts.values()):
        return dict.fromkeys(loggers, fewest)
    found = {}
    for logger, numbers in loggers.items():
        if min(numbers) > 1 and len(numbers) >= LEAST and all(number % min(numbers) == 0 for number in numbers):
            found[logger] = min(numbers)
    return found
