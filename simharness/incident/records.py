"""Takes a line of a log apart: text in a layout, JSON of several kinds, and what collectors of logs put around them.

What a line is wrapped in is found out from a file's first record: the prefix of syslog, journald, docker compose or Kubernetes, docker's
JSON, or nothing. The text within is in the layout, or in the layout without its time, which then is that of the collector.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from simharness.errors import Misuse
from simharness.incident.layouts import Layout

MOST_NESTING = 100
"""Levels of lists and objects in a JSON line."""
MOST_DIGITS = 30
_MARK_OF_JSON = re.compile(r'\\.|["\[\]{}]', re.DOTALL)
KEYS: Mapping[str, Sequence[str]] = {
    "time": ("asctime", "timestamp", "@timestamp", "time", "ts", "created", "Timestamp", "timeUnixNano", "record.time.timestamp"),
    "message": ("message", "msg", "event", "body", "Body", "textPayload", "record.message"),
    "level": ("levelname", "level", "severity", "log.level", "severityText", "severity_text", "SeverityText", "record.level.name"),
    "logger": (
        "name",
        "logger",
        "logger_name",
        "log.logger",
        "loggerName",
        "logger.name",
        "scope.name",
        "InstrumentationScope.name",
        "record.name",
    ),
    "process": ("process", "pid", "process.pid", "record.process.id"),
    "thread": (
        "thread",
        "tid",
        "thread_id",
        "threadName",
        "thread_name",
        "thread.id",
        "thread.name",
        "process.thread.id",
        "process.thread.name",
        "record.thread.id",
    ),
}
"""By what they mean, the keys of JSON that are looked for; a key with dots may also lead into objects."""
_SPLIT = {what: [(name, name.split(".")) for name in names] for what, names in KEYS.items()}
Record = tuple[str, str, str, str, str, str, dict[str, str]]
"""Time, logger, level, message, process, thread, other attributes."""
Parser = Callable[[str, str], list[Record]]
"""Returns the records of a line, given its place."""

_ISO = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?(?:Z|[+-]\d\d:?\d\d))?"
_DAY = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d \d\d:\d\d:\d\d(?:\.\d{1,9})?"
_PREFIXES = tuple(
    re.compile(pattern, re.ASCII)
    for pattern in (
        rf"(?P<time>{_ISO}) (?:stdout|stderr) [FP] ",  # the container runtime of Kubernetes
        rf"<\d{{1,3}}>1 (?P<time>{_ISO}) \S{{1,255}} \S{{1,255}} \S{{1,255}} \S{{1,255}} (?:-|\[[^\]]{{0,1000}}\]) ?(?:\ufeff|BOM)?",
        rf"(?:<\d{{1,3}}>)?(?P<time>{_DAY}|{_ISO}) \S{{1,255}} [^\s:\[]{{1,255}}(?:\[\d{{1,20}}\])?: ",  # syslog, journalctl
        rf"\S{{1,255}} {{1,80}}\| (?:(?P<time>{_ISO}) )?",  # docker compose
        rf"\[[^\s\]]{{1,500}}\] (?:(?P<time>{_ISO}) )?",  # kubectl logs --prefix
        rf"(?P<time>{_ISO}) ",  # docker logs --timestamps
    )
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Parsers:
    """The ways to read the lines of one file.

    Args:
        layout: of text.
        exactly: whether the user has given it, so that nothing else is tried.
        year: that of times without one.
    """

    def __init__(self, layout: str, exactly: bool, year: int) -> None:
        self._text = _text_record(Layout(layout))
        self._exactly = exactly
        self._year = year
        timeless = _without_time(layout)
        self._timeless = None if timeless is None else _text_record(timeless)

    def ways(self) -> Iterator[Parser]:
        """Yield the ways to read a line, the plain ones first."""
        yield lambda text, place: self._inner(text, place, "")
        if not self._exactly:
            for prefix in _PREFIXES:
                yield self._prefixed(prefix)

    def _prefixed(self, prefix: re.Pattern[str]) -> Parser:
        def parse(text: str, place: str) -> list[Record]:
            match = prefix.match(text)
            return [] if match is None else self._inner(text[match.end() :], place, self._with_year(match["time"] or ""))

        return parse

    def _with_year(self, time: str) -> str:
        if time[:3] not in _MONTHS:
            return time
        return f"{self._year:04}-{_MONTHS.index(time[:3]) + 1:02}-{time[4:6].replace(' ', '0')} {time[7:]}"

    def _inner(self, text: str, place: str, time: str) -> list[Record]:
        if text.lstrip().startswith("{"):
            return self._json(text, place, time)
        record = self._text(text)
        if record is None and time and self._timeless is not None:
            record = self._timeless(f"{time} {text}")
        return [] if record is None else [record]

    def _json(self, text: str, place: str, time: str) -> list[Record]:
        fields = _object(text, place)
        if fields is None:
            return []
        if isinstance(fields.get("log"), str) and "stream" in fields:  # docker's own
            return self._inner(fields["log"].rstrip("\n"), place, str(fields.get("time") or time))
        if "resourceLogs" in fields or "resourceSpans" in fields:
            return list(_telemetry(fields))
        record = _json_record(fields)
        return [record if record[0] else (time, *record[1:])]


def _without_time(layout: str) -> Layout | None:
    """Return a layout without its time; None if it has no time that can be left out."""
    for stamp in ("%(asctime)s", "{asctime}"):
        before, found, after = layout.partition(stamp)
        if found:
            return Layout(" ".join(filter(None, (stamp, before.strip(" [("), after.lstrip(" ,-])")))))
    return None


def _text_record(layout: Layout) -> Callable[[str], Record | None]:
    names = set(layout.names)
    known = {"asctime", "created", "msecs", "levelname", "name", "process", "thread", "levelno", "lineno", "message", "threadName"}
    others = sorted(names - known)
    milliseconds = "msecs" in names

    def record(text: str) -> Record | None:
        values = layout.match(text)
        if values is None:
            return None
        get = values.get
        stamp = get("asctime") or get("created") or ""
        if milliseconds and "," not in stamp and "." not in stamp:
            stamp += f".{min(999, int(float(get('msecs') or 0))):03}"
        thread = get("thread") or (get("threadName") or "").strip()
        tags = {name: (get(name) or "").strip().strip("[]") for name in others}
        return stamp, get("name") or "", get("levelname") or "", get("message") or "", get("process") or "", thread, tags

    return record


def _object(text: str, place: str) -> dict[str, Any] | None:
    """Return the object that a line of JSON is, or None."""
    if text.count("[") + text.count("{") > MOST_NESTING and _nesting(text) > MOST_NESTING:
        raise Misuse(f"{place}: its JSON is nested more than {MOST_NESTING} levels deep: shorten the line, or leave it out")
    try:
        fields = json.loads(text, parse_int=_integer)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _json_record(fields: Mapping[str, Any]) -> Record:
    def pick(what: str) -> str:
        for name, path in _SPLIT[what]:
            value = fields.get(name)
            if value is None and len(path) > 1:
                value = _within(fields, path)
            if value is not None and not (isinstance(value, dict) and what != "message"):
                return _plain(value)
        return ""

    known = {name for names in KEYS.values() for name in names}
    tags = {name: str(value) for name, value in fields.items() if name not in known and isinstance(value, str | int)}
    message = pick("message").partition("\n")[0]
    return pick("time"), pick("logger"), pick("level").upper(), message, pick("process"), pick("thread"), tags


def _within(fields: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = fields
    for position, name in enumerate(path):
        if not isinstance(value, dict):
            return None
        rest = ".".join(path[position:])
        if rest in value:
            return value[rest]
        value = value.get(name)
    return value


def _plain(value: object) -> str:
    """Return a value as text; those of OpenTelemetry are in objects such as {"stringValue": …}."""
    if isinstance(value, dict) and len(value) == 1:
        [(of_what, inner)] = value.items()
        if str(of_what).endswith("Value"):
            return str(inner)
    return str(value)


def _telemetry(fields: Mapping[str, Any]) -> Iterator[Record]:
    """Yield the records of OpenTelemetry's JSON: its log records; of a span its name, at its beginning, and its events."""
    for outer, scopes, inner in (("resourceLogs", "scopeLogs", "logRecords"), ("resourceSpans", "scopeSpans", "spans")):
        for resource in _dicts(fields.get(outer)):
            common = _attributes(resource.get("resource"))
            for scope in _dicts(resource.get(scopes)):
                about = scope.get("scope")
                logger = str(about.get("name") or "") if isinstance(about, dict) else ""
                for record in _dicts(scope.get(inner)):
                    yield _of_telemetry(record, logger, common)
                    for event in _dicts(record.get("events")):
                        yield _of_telemetry(event, logger, {**common, **_attributes(record)})


def _of_telemetry(record: Mapping[str, Any], logger: str, common: Mapping[str, str]) -> Record:
    attributes = {**common, **_attributes(record)}
    pick = attributes.get
    times = (record.get(name) for name in ("timeUnixNano", "startTimeUnixNano", "observedTimeUnixNano"))
    time = next((str(value) for value in times if value not in (None, 0, "0", "")), "")
    body = record.get("body")
    message = _plain(body) if body is not None else pick("message") or pick("log.message") or str(record.get("name") or "")
    thread = pick("thread.id") or pick("thread.name") or ""
    named = logger or pick("logger.name") or pick("logger") or ""
    level = str(record.get("severityText") or "").upper()
    return time, named, level, message.partition("\n")[0], pick("process.pid") or "", thread, dict(attributes)


def _attributes(holder: object) -> dict[str, str]:
    found = holder.get("attributes") if isinstance(holder, dict) else None
    return {str(entry.get("key")): _plain(entry.get("value")) for entry in _dicts(found)}


def _dicts(values: object) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= MOST_DIGITS else digits


def _nesting(text: str) -> int:
    """Return how deep lists and objects in a text of JSON are nested."""
    deepest = depth = 0
    in_text = False
    for mark in _MARK_OF_JSON.findall(text):
        if mark == '"':
            in_text = not in_text
        elif not in_text and len(mark) == 1:
            depth += 1 if mark in "[{" else -1
            deepest = max(deepest, depth)
    return deepest
