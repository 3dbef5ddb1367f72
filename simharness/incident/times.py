"""Times in logs: text to nanoseconds since 1970 and back. A text that is no time of the years 1 to 9999 is not a time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from simharness.errors import Misuse
from simharness.visible import shortened

SECOND = 1_000_000_000
_TIME = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))? ?(Z|[+-]\d\d:?\d\d)?", re.ASCII)
_NUMBER = re.compile(r"(\d{1,20})(?:\.(\d{0,30}))?", re.ASCII)
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)", re.ASCII)
_FIRST, _END = -62_135_596_800, 253_402_300_800
"""Seconds: the first of the year 1, and the end of the year 9999."""
MOST_REMEMBERED = 10_000


def zone_of(name: str) -> tzinfo:
    """Return a time zone: "UTC", "+02:00", "Europe/Berlin".

    Raises:
        Misuse: there is no such zone.
    """
    try:
        offset = _OFFSET.fullmatch(name)
        if offset is not None:
            return _fixed(offset)
        return UTC if name.upper() in ("UTC", "Z") else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Misuse(f"--zone {shortened(name)}: no such time zone; write UTC, +02:00 or a name such as Europe/Berlin") from None


def _fixed(offset: re.Match[str]) -> tzinfo:
    if int(offset[3]) > 59:
        raise ValueError(offset[0])
    size = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
    return timezone(size if offset[1] == "+" else -size)


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
                seconds = int(moment.replace(tzinfo=self._zone_in(match[3])).timestamp())
            except (ValueError, OverflowError):
                return None
            if len(self._seconds) > MOST_REMEMBERED:
                self._seconds.clear()
            self._seconds[key] = seconds
        return _checked(seconds, fraction)

    def _zone_in(self, text: str | None) -> tzinfo:
        if not text:
            return self._zone
        offset = _OFFSET.fullmatch(text)
        return UTC if offset is None else _fixed(offset)

    @staticmethod
    def _number(text: str) -> tuple[int, int] | None:
        match = _NUMBER.fullmatch(text)
        if match is None:
            return None
        whole, fraction = match[1], (match[2] or "")[:9]
        digits = 0 if fraction or len(whole) < 13 else {16: 6, 19: 9}.get(len(whole), 3)
        if digits:  # milliseconds, microseconds or nanoseconds
            whole, fraction = whole[:-digits], whole[-digits:]
        return _checked(int(whole), fraction)


def _checked(seconds: int, fraction: str) -> tuple[int, int] | None:
    if not _FIRST <= seconds < _END:
        return None
    return seconds * SECOND + int(fraction.ljust(9, "0") or 0), 10 ** (9 - len(fraction))


def clock_text(time: int) -> str:
    """Return a line's time as text, in UTC, with milliseconds."""
    moment = datetime.fromtimestamp(time // SECOND, UTC)
    return f"{moment:%H:%M:%S}.{time % SECOND // 1_000_000:03}"
