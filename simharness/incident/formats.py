"""Reads log files: text in a `logging` format or JSON lines; rotated, compressed, truncated, in several encodings.

Every line of a file is accounted for: it begins a record, belongs to the record before it (a traceback), or is counted as unreadable. A
last line without a newline was still being written when the file was copied: it is not used, and a note says so.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from simharness.errors import Misuse
from simharness.incident.templates import Line, Log

SECOND = 1_000_000_000
_STAMP = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?(?:Z|[+-]\d\d:?\d\d))?"
_TIME = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))? ?(Z|[+-]\d\d:?\d\d)?")
_PERCENT = re.compile(r"%\((\w+)\)[-#0 +]*\d*(?:\.\d+)?[a-zA-Z]")
_BRACE = re.compile(r"\{(\w+)(?:![rsa])?(?::[^}]*)?\}")
_ROTATED = re.compile(r"(?P<base>.+?)(?:\.(?P<number>\d{1,4})|[.-](?P<date>\d{4}-\d\d-\d\d[\w-]*))?(?:\.gz)?")
_ATTRIBUTES = {
    "asctime": _STAMP,
    "created": r"\d+(?:\.\d+)?",
    "msecs": r"\d+(?:\.\d+)?",
    "levelname": r"[A-Z]\w*",
    "name": r"[^\s:\]]+",
    "process": r"\d+",
    "thread": r"\d+",
    "levelno": r"\d+",
    "lineno": r"\d+",
    "message": r".*",
}
_JSON = {
    "time": ("asctime", "timestamp", "@timestamp", "time", "ts", "created"),
    "message": ("message", "msg", "event"),
    "level": ("levelname", "level", "severity"),
    "logger": ("name", "logger", "logger_name"),
    "process": ("process", "pid"),
    "thread": ("thread", "tid", "thread_id", "threadName", "thread_name"),
}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass
class Reading:
    """The result of reading: the records, in the order of their files, and counts of everything else.

    Attributes:
        lines: the records.
        files, total: how many files were read, and how many lines they have.
        continued: lines that belong to the record before them.
        unreadable: places and texts of lines that are not records.
        notes: what the user should know (a truncated line, a guessed encoding).
    """

    lines: list[Line] = field(default_factory=list)
    files: int = 0
    total: int = 0
    continued: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read(paths: Sequence[str], log: Log, layout: str | None = None, zone: str = "UTC") -> Reading:
    """Read log files.

    Args:
        log: says what the lines mean, and their format unless `layout` does.
        layout: the format of text lines, as for `logging.Formatter` ("%" or "{" style).
        zone: the time zone of times without one: "UTC", "+02:00", "Europe/Berlin".

    Raises:
        Misuse: a file cannot be read, or is not a log.
    """
    times = Times(_zone(zone))
    reading = Reading()
    if layout is not None:
        _pattern(layout)
    for path, source in _in_order(paths):
        _read_file(path, source, log, [layout] if layout else [log.format], times, reading)
    return reading


def _in_order(paths: Sequence[str]) -> list[tuple[str, str]]:
    """Return each file once, with the log that it is a part of; the older parts of a log first."""
    parts: dict[str, tuple[str, tuple[Any, ...]]] = {}
    for path in paths:
        folder, name = os.path.split(path)
        match = _ROTATED.fullmatch(name)
        assert match is not None
        source = os.path.join(folder, match["base"])
        if match["number"]:
            age: tuple[Any, ...] = (1, "", -int(match["number"]))
        else:
            age = (0, match["date"], 0) if match["date"] else (2, "", 0)
        parts.setdefault(os.path.realpath(path), (path, (source, *age)))
    return [(path, key[0]) for path, key in sorted(parts.values(), key=lambda entry: entry[1])]


def _read_file(path: str, source: str, log: Log, layouts: Sequence[str], times: Times, reading: Reading) -> None:
    texts = _text(path, reading.notes).split("\n")
    cut = texts.pop()
    if not texts and not cut:
        reading.notes.append(f"{path} is empty")
        return
    first = next((text for text in texts or [cut] if text.strip()), "")
    record = _json_record if first.lstrip().startswith("{") else _text_record(_pattern(layouts[0]))
    before = len(reading.lines)
    if cut:
        reading.notes.append(f"{path}:{len(texts) + 1} has no newline: it is truncated, and not used")
    last: Line | None = None
    for number, text in enumerate(texts, start=1):
        parsed = record(text.rstrip("\r"))
        stamp = times.of(parsed[0]) if parsed is not None else None
        if parsed is None or stamp is None:
            if last is not None:
                reading.continued += 1
            elif text.strip():
                reading.unreadable.append((f"{path}:{number}", text))
            continue
        _, logger, level, message, process, thread, tags = parsed
        last = Line(source, f"{path}:{number}", *stamp, logger, level, message, process, thread, tags)
        matched = log.match(logger, message)
        if matched is not None:
            last.template, last.fields = matched
        reading.lines.append(last)
    reading.files += 1
    reading.total += len(texts) + bool(cut)
    if len(reading.lines) == before:
        raise Misuse(
            f"{path} is not a log, or has another format: none of its {len(texts) + bool(cut):,} lines matches {layouts[0]!r}; "
            "give its format with --format"
        )


# Bytes and encodings


def _text(path: str, notes: list[str]) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise Misuse(f"{path} cannot be read: {error.strerror or error}; give log files") from None
    if data.startswith(b"\x1f\x8b"):
        data, whole = _unpacked(data)
        if not whole:
            notes.append(f"{path}: the compressed data is damaged or truncated; what could be unpacked is used")
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding, errors="replace").replace("\r\n", "\n")
    if b"\0" in data[:65_536]:
        raise Misuse(f"{path} is not a log: it holds binary data")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        if len(data) - error.start < 4 and error.reason == "unexpected end of data":
            return data.decode("utf-8", errors="ignore")
        notes.append(f"{path} is not UTF-8 (byte {error.start:,}): read as Latin-1")
        return data.decode("latin-1")


def _unpacked(data: bytes) -> tuple[bytes, bool]:
    """Unpack gzip data as far as possible; return whether it was complete."""
    parts: list[bytes] = []
    while data:
        unpacker = zlib.decompressobj(31)
        try:
            parts.append(unpacker.decompress(data) + unpacker.flush())
        except zlib.error:
            return b"".join(parts), False
        if not unpacker.eof:
            return b"".join(parts), False
        data = unpacker.unused_data.lstrip(b"\0")
    return b"".join(parts), True


# Records


_Record = tuple[str, str, str, str, str, str, dict[str, str]]
"""Time, logger, level, message, process, thread, other attributes."""


def _pattern(layout: str) -> re.Pattern[str]:
    """Return a pattern for the lines that a format makes.

    Raises:
        Misuse: it is not a format, or lacks the time or the message.
    """
    style = _PERCENT if _PERCENT.search(layout) else _BRACE
    parts = style.split(layout)
    names = parts[1::2]
    if "message" not in names or not {"asctime", "created"} & set(names):
        raise Misuse(f"--format {layout!r}: it needs a message and a time, such as '%(asctime)s %(levelname)s %(name)s: %(message)s'")
    if len(set(names)) != len(names):
        raise Misuse(f"--format {layout!r}: an attribute occurs twice")
    texts = [re.escape(text.replace("%%", "%") if style is _PERCENT else text) for text in parts[::2]]
    pattern = texts[0]
    for name, text in zip(names, texts[1:], strict=True):
        value = f"(?P<{name}>{_ATTRIBUTES.get(name, '.*?')})"
        pattern += (rf" *?{value} *?" if name in {"levelname", "process", "thread", "name", "threadName"} else value) + text
    return re.compile(pattern)


def _text_record(pattern: re.Pattern[str]) -> Callable[[str], _Record | None]:
    names = set(pattern.groupindex)
    others = names - set(_ATTRIBUTES) - {"threadName"}

    def record(text: str) -> _Record | None:
        match = pattern.fullmatch(text)
        if match is None:
            return None
        get = match.groupdict().get
        stamp = get("asctime") or get("created") or ""
        if "msecs" in names and "," not in stamp and "." not in stamp:
            stamp += f".{float(get('msecs') or 0):03.0f}"
        thread = get("thread") or (get("threadName") or "").strip()
        tags = {name: (get(name) or "").strip().strip("[]") for name in others}
        return stamp, get("name") or "", get("levelname") or "", get("message") or "", get("process") or "", thread, tags

    return record


def _json_record(text: str) -> _Record | None:
    try:
        fields = json.loads(text)
    except ValueError:
        return None
    if not isinstance(fields, dict):
        return None

    def pick(what: str) -> str:
        return next((str(fields[name]) for name in _JSON[what] if fields.get(name) is not None), "")

    known = {name for names in _JSON.values() for name in names}
    tags = {name: str(value) for name, value in fields.items() if name not in known and isinstance(value, str | int)}
    message = pick("message").partition("\n")[0]
    return pick("time"), pick("logger"), pick("level").upper(), message, pick("process"), pick("thread"), tags


# Times


def _zone(name: str) -> tzinfo:
    offset = re.fullmatch(r"([+-])(\d\d):?(\d\d)", name)
    if offset is not None:
        size = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        return timezone(size if offset[1] == "+" else -size)
    try:
        return UTC if name.upper() in ("UTC", "Z") else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Misuse(f"--zone {name}: no such time zone; write UTC, +02:00 or a name such as Europe/Berlin") from None


class Times:
    """Parses times; one without a time zone is in `zone`."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._seconds: dict[tuple[str, str], int] = {}

    def of(self, text: str) -> tuple[int, int] | None:
        """Return a time and its precision, in nanoseconds (since 1970); None if the text is not a time."""
        match = _TIME.fullmatch(text)
        if match is None:
            return self._number(text)
        fraction = match[2] or ""
        key = match[1], match[3] or ""
        seconds = self._seconds.get(key)
        if seconds is None:
            try:
                moment = datetime.fromisoformat(match[1])
            except ValueError:
                return None
            moment = moment.replace(tzinfo=_zone(match[3]) if match[3] else self._zone)
            if len(self._seconds) > 10_000:
                self._seconds.clear()
            seconds = self._seconds[key] = int(moment.timestamp())
        return seconds * SECOND + int(fraction.ljust(9, "0") or 0), 10 ** (9 - len(fraction))

    @staticmethod
    def _number(text: str) -> tuple[int, int] | None:
        whole, _, fraction = text.partition(".")
        if not whole.isdigit() or not (fraction.isdigit() or not fraction):
            return None
        if not fraction and len(whole) >= 13:
            whole, fraction = whole[:-3], whole[-3:]
        return int(whole) * SECOND + int(fraction[:9].ljust(9, "0")), 10 ** (9 - min(9, len(fraction)))


def within(reading: Reading, since: str | None, until: str | None, zone: str) -> None:
    """Keep only the lines from `since` to `until`, both included; None sets no bound.

    Raises:
        Misuse: one of them is not a time.
    """
    times, bounds = Times(_zone(zone)), []
    for option, text in (("--since", since), ("--until", until)):
        bound = None if text is None else times.of(text)
        if text is not None and bound is None:
            raise Misuse(f"{option} {text!r} is not a time: write it as the log does, such as '2026-11-22 22:34:03'")
        bounds.append(bound)
    first = bounds[0][0] if bounds[0] is not None else 0
    last = sum(bounds[1]) if bounds[1] is not None else None
    whole = len(reading.lines)
    reading.lines = [line for line in reading.lines if line.time >= first and (last is None or line.time < last)]
    if whole != len(reading.lines):
        reading.notes.append(f"{whole - len(reading.lines):,} records before --since or after --until are left out")


def clock_text(time: int) -> str:
    """Return a line's time as text, in UTC, with milliseconds."""
    moment = datetime.fromtimestamp(time // SECOND, UTC)
    return f"{moment:%H:%M:%S}.{time % SECOND // 1_000_000:03}"


def unknown(lines: Iterable[Line], log: Log) -> Iterator[tuple[str, Line]]:
    """Yield the lines that no template matches: "another logger", or "another message" of a logger that templates name."""
    loggers: Mapping[str, object] = log.by_logger
    for line in lines:
        if line.template is None:
            yield ("another message" if line.logger in loggers else "another logger"), line
