"""The layout of a text log's lines, as for `logging.Formatter`, and what takes lines apart.

A line is accepted as by a regular expression made of the layout (a logger's name without blanks, a level that begins with a capital, other
attributes as short as possible, the message as long as possible), in time linear in the line, which may be hostile:

- First a pattern is tried in which each attribute takes the first end that the text after it allows, and keeps it (an atomic group). It
  never backtracks from one attribute to another. Where it matches, backtracking would have found the same.
- Where only one attribute has any length, and those after it can end in one place only, it may also take its second end (a tag that begins
  with the text that follows it, as in ` [tag] name:`).
- Otherwise the scanner backtracks, and keeps for each attribute where a value is known not to end, so that no end is tried twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from simharness.errors import Misuse
from simharness.visible import shortened

STAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?(?:Z|[+-]\d\d:?\d\d))?", re.ASCII)
_NUMBER = re.compile(r"\d{1,20}(?:\.\d{1,9})?", re.ASCII)
_DIGITS = re.compile(r"\d{1,20}", re.ASCII)
_NAME = re.compile(r"[^\s:\]]+")
_LEVEL = re.compile(r"\w+")
_CAPITAL = re.compile(r"[A-Z]")
_SHORT = {
    "asctime": STAMP,
    "created": _NUMBER,
    "msecs": _NUMBER,
    "process": _DIGITS,
    "thread": _DIGITS,
    "levelno": _DIGITS,
    "lineno": _DIGITS,
}
"""Attributes whose values are short: every end is tried."""
_RUNS = {"levelname": _LEVEL, "name": _NAME}
"""Attributes whose values are within a run of characters of a class."""
_ANY, _MESSAGE = re.compile(".*?"), re.compile(".*")
_IN_ASCII = re.compile(r"\\d")
_PADDED = frozenset({"levelname", "process", "thread", "name"})
"""Attributes that blanks may surround."""
_PERCENT = re.compile(r"%\((\w+)\)[-#0 +]{0,5}\d{0,3}(?:\.\d{1,3})?[a-zA-Z]", re.ASCII)
_BRACE = re.compile(r"\{(\w+)(?:![rsa])?(?::[^}]{0,30})?\}", re.ASCII)
_BLANK = re.compile(" +")
LONGEST, MOST_ATTRIBUTES = 1_000, 30


class Layout:
    """One layout: attributes, and the texts before, between and after them.

    Raises:
        Misuse: it is not a layout, or lacks the time or the message.
    """

    def __init__(self, layout: str) -> None:
        said = f"--format {shortened(layout)!r}"
        if len(layout) > LONGEST:
            raise Misuse(f"{said}: it is longer than {LONGEST:,} characters")
        style = _PERCENT if _PERCENT.search(layout) else _BRACE
        parts = style.split(layout)
        self.names: Sequence[str] = parts[1::2]
        self.texts = [text.replace("%%", "%") if style is _PERCENT else text for text in parts[::2]]
        if "message" not in self.names or not {"asctime", "created"} & set(self.names):
            raise Misuse(f"{said}: it needs a message and a time, such as '%(asctime)s %(levelname)s %(name)s: %(message)s'")
        if len(set(self.names)) != len(self.names):
            raise Misuse(f"{said}: an attribute occurs twice")
        if len(self.names) > MOST_ATTRIBUTES:
            raise Misuse(f"{said}: it has more than {MOST_ATTRIBUTES} attributes")
        self._at_first = self._pattern(-1)
        second = self._has_second_end()
        self._at_second = None if second is None else self._pattern(second)

    def _pattern(self, second: int) -> re.Pattern[str]:
        return re.compile(re.escape(self.texts[0]) + "".join(self._atom(rank, rank == second) for rank in range(len(self.names))))

    def _has_second_end(self) -> int | None:
        """Return the rank of the one attribute of any length, if what follows it can match in one way only."""
        ranks = [rank for rank, name in enumerate(self.names) if name not in _SHORT and name not in _RUNS and name != "message"]
        if len(ranks) != 1 or not self.texts[ranks[0] + 1]:
            return None
        for rank in range(ranks[0] + 1, len(self.names)):
            name, text = self.names[rank], self.texts[rank + 1]
            last = rank + 1 == len(self.names)
            if not (last and not text if name == "message" else name in _RUNS and text[:1] in (" ", ":", "]")):
                return None
        return ranks[0]

    def _atom(self, rank: int, second: bool) -> str:
        """Return the pattern of an attribute and the text after it; `second`: with its second end."""
        name, blanks = self.names[rank], " *?" if self.names[rank] in _PADDED else ""
        value = (_SHORT | _RUNS).get(name, _MESSAGE if name == "message" else _ANY).pattern
        if second:
            value = f"(?>.*?(?={re.escape(self.texts[rank + 1])}).){value}"
        capital = "(?=[A-Z])" if name == "levelname" else ""
        end = r"\Z" if rank + 1 == len(self.names) else ""
        return f"(?>{blanks}{capital}({_IN_ASCII.sub(r'[0-9]', value)}){blanks}{re.escape(self.texts[rank + 1])}{end})"

    def match(self, line: str) -> dict[str, str] | None:
        """Return a line's values by the names of the attributes; None if it has another layout."""
        match = self._at_first.match(line)
        if match is not None:
            return dict(zip(self.names, match.groups(), strict=True))
        match = None if self._at_second is None else self._at_second.match(line)
        if match is not None:
            return dict(zip(self.names, match.groups(), strict=True))
        first = self.texts[0]
        scan = _Scan(self, line)
        return dict(scan.values) if line.startswith(first) and scan.field(0, len(first)) else None


class _Run(NamedTuple):
    """A run of characters of one class."""

    start: int
    end: int


class _Scan:
    """Takes one line apart."""

    def __init__(self, layout: Layout, line: str) -> None:
        self.names, self.texts = layout.names, layout.texts
        self.line = line
        self.values: dict[str, str] = {}
        self._dead_from = [len(line) + 1] * len(self.names)
        """For attributes of any length: no value ends here or later so that the rest matches."""
        self._dead_ends: list[dict[int, int]] = [{} for _ in self.names]
        """For runs, by their ends: no value ends after this place in the run so that the rest matches."""
        self._tried: list[set[int]] = [set() for _ in self.names]
        """For short values: the starts from which nothing matches."""
        self._runs = [_Run(0, 0)] * len(self.names)
        self._blanks = _Run(0, 0)

    def field(self, rank: int, start: int) -> bool:
        """Whether the attributes from `rank` on match from here to the end of the line; fills `values`."""
        if rank == len(self.names):
            return start == len(self.line)
        name = self.names[rank]
        if name in _PADDED:
            start = self._after_blanks(start)
        ways = self._short if name in _SHORT else self._in_run if name in _RUNS else self._any
        for end, following in ways(rank, start):
            if self.field(rank + 1, following):
                self.values[name] = self.line[start:end]
                return True
        return False

    def _any(self, rank: int, start: int) -> Iterator[tuple[int, int]]:
        """Yield the ends of a value of any length, and where the next attribute begins: the shortest first, of the message the longest."""
        text, limit = self.texts[rank + 1], self._dead_from[rank]
        if start < limit:
            if rank + 1 == len(self.names):
                end = len(self.line) - len(text)
                if start <= end and self.line.endswith(text):
                    yield end, len(self.line)
            elif self.names[rank] == "message":
                end = self.line.rfind(text, start, limit - 1 + len(text))
                while end >= start:
                    yield end, end + len(text)
                    end = self.line.rfind(text, start, end - 1 + len(text)) if end > start else -1
            else:
                end = self.line.find(text, start, limit - 1 + len(text))
                while end >= 0:
                    yield end, end + len(text)
                    end = self.line.find(text, end + 1, limit - 1 + len(text)) if end + 1 < limit else -1
            self._dead_from[rank] = start

    def _in_run(self, rank: int, start: int) -> Iterator[tuple[int, int]]:
        """Yield the ends of a value within a run, the longest first."""
        if self.names[rank] == "levelname" and not _CAPITAL.match(self.line, start):
            return
        end = self._run_end(rank, start)
        highest = self._dead_ends[rank].get(end, end + 1)
        if start + 1 >= highest:
            return
        if highest > end:
            yield from self._after_value(rank, end)
        text = self.texts[rank + 1]
        place = self.line.rfind(text, start + 1, min(end, highest) - 1 + len(text))
        while place > start:
            if rank + 1 < len(self.names) or place + len(text) == len(self.line):
                yield place, place + len(text)
            place = self.line.rfind(text, start + 1, place - 1 + len(text)) if place > start + 1 else -1
        self._dead_ends[rank][end] = start + 1

    def _short(self, rank: int, start: int) -> Iterator[tuple[int, int]]:
        """Yield the ends of a short value, the longest first."""
        pattern = _SHORT[self.names[rank]]
        match = pattern.match(self.line, start) if start not in self._tried[rank] else None
        if match is not None:
            for end in range(match.end(), start, -1):
                if pattern.fullmatch(self.line, start, end):
                    yield from self._after_value(rank, end)
        self._tried[rank].add(start)

    def _after_value(self, rank: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the place after the text that follows a value which ends here; blanks may come first."""
        text = self.texts[rank + 1]
        last = self._after_blanks(end) if self.names[rank] in _PADDED else end
        if rank + 1 == len(self.names):
            place = len(self.line) - len(text)
            if end <= place <= last and self.line.endswith(text):
                yield end, len(self.line)
            return
        for place in range(end, last + 1):
            if self.line.startswith(text, place):
                yield end, place + len(text)

    def _run_end(self, rank: int, start: int) -> int:
        run = self._runs[rank] = self._run(_RUNS[self.names[rank]], self._runs[rank], start)
        return run.end

    def _after_blanks(self, start: int) -> int:
        self._blanks = self._run(_BLANK, self._blanks, start)
        return self._blanks.end

    def _run(self, characters: re.Pattern[str], known: _Run, start: int) -> _Run:
        """Return the run that has this place in it, or begins there; the known one is not scanned again."""
        if known.start <= start < known.end:
            return known
        before = known.start if start < known.start else len(self.line)
        match = characters.match(self.line, start, before)
        end = start if match is None else match.end()
        return _Run(start, known.end if end == known.start > start else end)
