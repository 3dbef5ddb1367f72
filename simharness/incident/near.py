"""Near misses: lines that no template matches, and that may belong to the incident all the same.

A line is one if it says what a template says under another logger, or much of it in other words, or if it names a session of the incident.
While there are such lines, nothing that the logs lack can be concluded from the templates.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from simharness.incident.templates import Line, Log, Template

_WORD = re.compile(r"[^\W\d_]{2,}")
SAME_LOGGER, OTHER_LOGGER = 0.5, 0.75
"""The share of a template's words that a line of its logger, or of another one, must have."""
FEWEST_WORDS = 3
"""Words that a line of another logger must share with a template, unless it matches it."""
SHORTEST_ID = 3
MOST = 1_000


@dataclass(frozen=True, slots=True)
class NearLine:
    """A line that may belong to the incident; `template` is the one that it resembles, if any, and `why` says how."""

    line: Line
    template: Template | None
    why: str


def near_lines(lines: Iterable[Line], log: Log, sessions: Sequence[str]) -> list[NearLine]:
    """Return the first of the near misses.

    Args:
        sessions: the ids of the incident's sessions.
    """
    resemblance = _Resemblance(log)
    ids = [re.escape(name) for name in sessions if len(name) >= SHORTEST_ID]
    named = re.compile(rf"(?<!\w)(?:{'|'.join(ids)})(?!\w)") if ids else None
    found: list[NearLine] = []
    for line in lines:
        if line.template is not None or (log.free and _free(line, log)):
            continue
        template, why = resemblance.of(line)
        if template is None and named is not None and named.search(line.message):
            why = "it names a session of the incident"
        if why:
            found.append(NearLine(line, template, why))
            if len(found) >= MOST:
                break
    return found


def _free(line: Line, log: Log) -> bool:
    return any(template.match(line.message) is not None for template in log.free_by_logger.get(line.logger, ()))


class _Resemblance:
    """Compares lines with templates by their words; lines of equal words are compared once."""

    def __init__(self, log: Log) -> None:
        self._templates = [(template, Counter(_words(" ".join(template.texts)))) for template in log.templates]
        self._known: dict[tuple[str, ...], tuple[Template | None, str]] = {}

    def of(self, line: Line) -> tuple[Template | None, str]:
        """Return the template that a line resembles, and how; None and "" if there is none."""
        words = (line.logger, *_words(line.message))
        known = self._known.get(words)
        if known is None:
            if len(self._known) > MOST:
                self._known.clear()
            known = self._known[words] = self._compared(line, Counter(words[1:]))
        return known

    def _compared(self, line: Line, words: Counter[str]) -> tuple[Template | None, str]:
        best: tuple[float, Template | None, str] = (0.0, None, "")
        for template, wanted in self._templates:
            total, shared = wanted.total(), (wanted & words).total()
            same = line.logger in template.loggers
            if not total:
                continue
            if not same and template.match(line.message) is not None:
                score, why = 2.0, "it matches, but for the logger"
            elif same and shared >= max(SAME_LOGGER * total, min(2, total - 1), 1):
                score, why = shared / total, "it says nearly the same"
            elif shared >= max(OTHER_LOGGER * total, FEWEST_WORDS):
                score, why = shared / total, "it says nearly the same, under another logger"
            else:
                continue
            if score > best[0]:
                best = score, template, why
        return best[1], best[2]


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]
