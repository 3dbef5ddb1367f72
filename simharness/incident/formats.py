"""Reads log files: text in a `logging` format or JSON lines (`records.py`); rotated, compressed, truncated, in several encodings.

Every line of a file is accounted for: it begins a record, belongs to the record before it (a traceback), or is counted as unreadable. A
last line without a newline was still being written when the file was copied: it is not used, and a note says so. What a stranger's file
can cost is bounded (`files.py`, `layouts.py`, and the limits below). A file beyond a bound is refused: the answer must not rest on a part.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from simharness.errors import Misuse
from simharness.incident.files import Budget, NotUtf8, lines
from simharness.incident.layouts import Layout
from simharness.incident.pieces import Pieces
from simharness.incident.records import KEYS, Parser, Parsers, Record
from simharness.incident.templates import Line, Log
from simharness.incident.times import Times, zone_of
from simharness.visible import shortened

MOST_RECORDS, MOST_TEXT = 1_500_000, 300_000_000
"""Records, and characters of the messages that templates match."""
MOST_WITHOUT_A_RECORD = 100_000
"""Lines at the beginning of a file."""
LONGEST_TIME = 40
MOST_SHOWN, LONGEST_SHOWN = 1_000, 500
"""Lines that are not records, and characters of texts that nothing compares, which are kept to be shown."""
_ROTATED = re.compile(r"(?P<base>.+?)(?:\.(?P<number>\d{1,4})|[.-](?P<date>\d{4}-\d\d-\d\d[\w-]*))?(?:\.gz)?", re.ASCII | re.DOTALL)


@dataclass
class Reading:
    """The result of reading: the records, in the order of their files, and counts of everything else.

    Attributes:
        lines: the records.
        files, total: how many files were read, and how many lines they have.
        continued: lines that belong to the record before them.
        unread: how many lines are not records; `unreadable`: places and texts of the first of them.
        timeless: how many lines would be records if their time were one; `first_timeless`: place and time of the first of them.
        notes: what the user should know (a truncated line, a guessed encoding).
    """

    lines: list[Line] = field(default_factory=list)
    files: int = 0
    total: int = 0
    continued: int = 0
    unread: int = 0
    timeless: int = 0
    first_timeless: str = ""
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, other: Reading) -> None:
        """Add what was read from another file."""
        self.lines += other.lines
        self.files += other.files
        self.total += other.total
        self.continued += other.continued
        self.unread += other.unread
        self.unreadable = (self.unreadable + other.unreadable)[:MOST_SHOWN]
        self.notes += other.notes


@dataclass(frozen=True)
class Window:
    """The times of the records to read, both included, as given with `--since` and `--until`; None sets no bound."""

    since: str | None = None
    until: str | None = None

    def bounds(self, times: Times) -> tuple[float, float]:
        """Return the first time, and the first after the last one.

        Raises:
            Misuse: one of them is not a time.
        """
        found = []
        for option, text in (("--since", self.since), ("--until", self.until)):
            bound = None if text is None else times.of(text)
            if text is not None and bound is None:
                raise Misuse(f"{option} {text!r} is not a time: write it as the log does, such as '2026-11-22 22:34:03'")
            found.append(bound)
        first, last = found
        return float("-inf") if first is None else first[0], float("inf") if last is None else sum(last)


ALWAYS = Window()


def read(
    paths: Sequence[str],
    log: Log,
    layout: str | None = None,
    zone: str | Sequence[str] = "UTC",
    window: Window = ALWAYS,
    seconds: float | None = None,
) -> Reading:
    """Read log files.

    Args:
        log: says what the lines mean, and their format unless `layout` does.
        layout: the format of text lines, as for `logging.Formatter` ("%" or "{" style).
        zone: the time zone of times without one: "UTC", "+02:00", "Europe/Berlin"; of one file "FILE=+02:00".
        window: the records to read.
        seconds: give up after so long.

    Raises:
        Misuse: a file cannot be read, or is not a log, or goes beyond a bound. OutOfTime: the time is over.
    """
    files = _in_order(paths)
    times = _times_of([zone] if isinstance(zone, str) else zone, files)
    reader = _Reader(log, layout, times, window.bounds(times[""]), Budget(seconds))
    reading = Reading()
    for path, source in files:
        reading.add(reader.file(path, source, MOST_RECORDS - len(reading.lines)))
    if reader.outside:
        reading.notes.append(f"{reader.outside:,} records before --since or after --until are left out")
    return reading


def _times_of(zones: Sequence[str], files: Sequence[tuple[str, str]]) -> dict[str, Times]:
    """Return what parses the times of each log that has a zone of its own, and of the others ("").

    Raises:
        Misuse: a zone does not exist, or is given for no log.
    """
    found = {"": Times(zone_of("UTC"))}
    for text in zones:
        name, equals, zone = text.rpartition("=")
        logs = {source for path, source in files if name in (path, source, os.path.basename(path), os.path.basename(source))}
        if equals and not logs:
            raise Misuse(
                f"--zone {shortened(text)}: no log is called {shortened(name)!r}; there are: {', '.join(path for path, _ in files)}"
            )
        found.update(dict.fromkeys(logs if equals else {""}, Times(zone_of(zone))))
    return found


def _in_order(paths: Sequence[str]) -> list[tuple[str, str]]:
    """Return each file once, with the log that it is a part of; the older parts of a log first."""
    parts: dict[str, tuple[str, tuple[Any, ...]]] = {}
    for path in paths:
        folder, name = os.path.split(path)
        match = _ROTATED.fullmatch(name)
        if match is None:
            raise Misuse(f"{path!r} is not the name of a file; give log files")
        source = os.path.join(folder, match["base"])
        if match["number"]:
            age: tuple[Any, ...] = (1, "", -int(match["number"]))
        else:
            age = (0, match["date"], 0) if match["date"] else (2, "", 0)
        try:
            parts.setdefault(os.path.realpath(path), (path, (source, *age)))
        except ValueError:
            raise Misuse(f"{path!r} is not the name of a file; give log files") from None
    return [(path, key[0]) for path, key in sorted(parts.values(), key=lambda entry: entry[1])]


class _Reader:
    """Reads one file after the other; `outside` counts the records outside the window."""

    def __init__(self, log: Log, layout: str | None, times: dict[str, Times], window: tuple[float, float], budget: Budget) -> None:
        self.outside = 0
        self._text = 0
        self._log = log
        self._said = layout or log.format
        self._exactly = layout is not None
        Layout(self._said)
        self._all_times = times
        self._times = times[""]
        self._first, self._end = window
        self._budget = budget

    def file(self, path: str, source: str, most: int) -> Reading:
        """Read a file: as UTF-8, or else as Latin-1."""
        outside = self.outside
        try:
            return self._file(path, source, most, False)
        except NotUtf8 as error:
            self.outside = outside
            reading = self._file(path, source, most, True)
            reading.notes.insert(0, f"{path} is not UTF-8 (byte {error.byte:,}): read as Latin-1")
            return reading

    def _file(self, path: str, source: str, most: int, latin_1: bool) -> Reading:
        reading = Reading()
        self._times = self._all_times.get(source, self._all_times[""])
        ways = [*Parsers(self._said, self._exactly, _year(path)).ways()]
        parse: Parser | None = None
        json = outside = False
        pieces = Pieces(path, not self._exactly)
        for number, (written, ended) in enumerate(lines(path, self._budget, reading.notes, latin_1), start=1):
            reading.total = number
            whole = pieces.whole(written.rstrip("\r"))
            if whole is None:
                reading.continued += 1
                continue
            text = whole
            json = json or (parse is None and text.lstrip().startswith("{"))
            if not ended:
                reading.notes.append(f"{path}:{number} has no newline: it is truncated, and not used")
                continue
            if number % 1_000 == 0:
                self._budget.check(path)
            place = f"{path}:{number}"
            if parse is None:
                parse, parsed, found = self._first_that_fits(ways, text, source, place)
            else:
                parsed = parse(text, place)
                found = self._lines(source, place, parsed)
            if not found:
                self._other(reading, place, text, parsed, (parse is not None, outside))
                if number >= MOST_WITHOUT_A_RECORD and parse is None:
                    break
                continue
            for line in found:
                outside = not self._first <= line.time < self._end
                if outside:
                    self.outside += 1
                    continue
                reading.lines.append(line)
                self._text += len(line.message)
            if len(reading.lines) > most or self._text > MOST_TEXT:
                what = f"{MOST_RECORDS:,} records" if self._text <= MOST_TEXT else f"{MOST_TEXT:,} characters of messages"
                raise Misuse(f"{path}: the logs have more than {what}: narrow them down with --since and --until")
        if pieces.held:
            reading.notes.append(f"{path} ends in a part of a line: it is truncated, and not used")
        self._judge(path, reading, parse is not None, json)
        return reading

    def _first_that_fits(
        self, ways: Sequence[Parser], text: str, source: str, place: str
    ) -> tuple[Parser | None, list[Record], list[Line]]:
        """Return the first way to read a line that gives records, what it gives, and the records; None if there is none."""
        without: list[Record] = []
        for way in ways:
            parsed = way(text, place)
            found = self._lines(source, place, parsed)
            if found:
                return way, parsed, found
            without = without or parsed
        return None, without, []

    def _judge(self, path: str, reading: Reading, began: bool, json: bool) -> None:
        """Say what is odd about a file that was read; refuse it if it has no record."""
        if not reading.total:
            reading.notes.append(f"{path} is empty")
            return
        reading.files = 1
        if reading.timeless and began:
            reading.notes.append(f"{reading.first_timeless} is not a time: not used, as are {reading.timeless:,} such lines in all")
        elif reading.timeless:
            raise Misuse(f"{reading.first_timeless} is not a time of the years 1 to 9999, and no line of this log has one")
        elif not began and json:
            looked = "; ".join(f"{what} in {', '.join(KEYS[what])}" for what in ("time", "message", "logger"))
            raise Misuse(f"{path} is not a log, or has other keys: none of its {reading.total:,} lines has a time; looked for: {looked}")
        elif not began:
            raise Misuse(
                f"{path} is not a log, or has another format: none of its {reading.total:,} lines matches {self._said!r}; "
                "give its format with --format"
            )

    def _lines(self, source: str, place: str, parsed: Sequence[Record]) -> list[Line]:
        """Return the records whose time is one."""
        return [line for record in parsed if (line := self._line(source, place, record)) is not None]

    def _line(self, source: str, place: str, parsed: Record) -> Line | None:
        """Return a record; None if its time is not one."""
        time, logger, level, message, process, thread, tags = parsed
        stamp = self._times.of(time)
        if stamp is None:
            return None
        line = Line(source, place, *stamp, logger, level, message, process, thread, tags)
        matched = self._log.match(logger, message)
        if matched is not None:
            line.template, line.fields = matched
        else:
            line.message, line.tags = message[:LONGEST_SHOWN], {}
        return line

    @staticmethod
    def _other(reading: Reading, place: str, text: str, parsed: Sequence[Record], after: tuple[bool, bool]) -> None:
        """Count a line on which no record begins; `after`: whether one began before it, and whether that is outside the window."""
        if parsed and parsed[0][0]:
            reading.first_timeless = reading.first_timeless or f"{place}: {shortened(parsed[0][0], LONGEST_TIME)!r}"
            reading.timeless += 1
        elif after[0]:
            reading.continued += not after[1]
        elif text.strip():
            reading.unread += 1
            if len(reading.unreadable) < MOST_SHOWN:
                reading.unreadable.append((place, text[:LONGEST_SHOWN]))


def _year(path: str) -> int:
    """Return the year in which a file was changed last: that of times that state none."""
    try:
        return datetime.fromtimestamp(os.stat(path).st_mtime, UTC).year
    except (OSError, ValueError, OverflowError):
        return datetime.now(UTC).year


def unknown(lines: Iterable[Line], log: Log) -> Iterator[tuple[str, Line]]:
    """Yield the lines that no template matches: "another logger", or "another message" of a logger that templates name."""
    loggers: Mapping[str, object] = log.by_logger
    for line in lines:
        if line.template is None:
            yield ("another message" if line.logger in loggers else "another logger"), line
