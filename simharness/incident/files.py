"""The lines of log files, piece by piece: regular files only, unpacked and decoded, within bounds on time, sizes and line lengths.

A file is never held whole, so what it costs does not depend on what it claims to be.
"""

from __future__ import annotations

import codecs
import time
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

from simharness.errors import Misuse, OutOfTime
from simharness.regular import chunks

MOST_BYTES = 512 << 20
"""Bytes of all logs together, unpacked."""
LONGEST_LINE = 4_000_000
"""Characters of a line."""
HEAD = 65_536
"""Bytes in which binary data shows."""
PIECE = 1 << 18
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_monotonic = time.monotonic


class Budget:
    """What reading may cost: `seconds` of real time, `MOST_BYTES` of text.

    Args:
        seconds: None sets no limit.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = seconds
        self._began = _monotonic()
        self._left = MOST_BYTES

    def spend(self, path: str, size: int) -> None:
        """Account for bytes of a file.

        Raises:
            Misuse, OutOfTime: the budget is used up.
        """
        self._left -= size
        if self._left < 0:
            raise Misuse(f"{path}: the logs are larger than {MOST_BYTES:,} bytes, unpacked; give the parts that matter")
        self.check(path)

    def check(self, path: str) -> None:
        """Raise OutOfTime if the time is over."""
        if self._seconds is not None and _monotonic() - self._began > self._seconds:
            raise OutOfTime(f"{path}: reading the logs took longer than --max-seconds {self._seconds:g}; give the parts that matter")


class NotUtf8(ValueError):
    """A file is not UTF-8; `byte` is the first that cannot be."""

    def __init__(self, byte: int) -> None:
        super().__init__(byte)
        self.byte = byte


def lines(path: str, budget: Budget, notes: list[str], latin_1: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield a file's lines, and of each whether a line break ends it (the last one may have none).

    Args:
        notes: gets a sentence on what is odd about the file.
        latin_1: read a file without a byte order mark as Latin-1, not as UTF-8.

    Raises:
        Misuse: it cannot be read, or is no text, or is too large. NotUtf8: it is not UTF-8 after all.
    """
    rest: list[str] = []
    size = number = 0
    for text in _texts(path, budget, notes, latin_1):
        head, *others = text.split("\n")
        rest.append(head)
        size += len(head)
        for following in others:
            _require_short(path, number + 1, size)
            yield "".join(rest), True
            number += 1
            rest, size = [following], len(following)
        _require_short(path, number + 1, size)
    if size:
        yield "".join(rest), False


def _require_short(path: str, number: int, size: int) -> None:
    if size > LONGEST_LINE:
        raise Misuse(f"{path}:{number} is longer than {LONGEST_LINE:,} characters: shorten it, or leave it out")


def _texts(path: str, budget: Budget, notes: list[str], latin_1: bool) -> Iterator[str]:
    """Yield the text of a file in pieces."""
    pieces = _data(path, budget, notes)
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= HEAD:
            break
    encoding = next((name for mark, name in _MARKS if head.startswith(mark)), "latin-1" if latin_1 else "utf-8")
    if encoding in ("utf-8", "latin-1") and b"\0" in head[:HEAD]:
        raise Misuse(f"{path} is not a log: it holds binary data")
    decoder = codecs.getincrementaldecoder(encoding)("strict" if encoding == "utf-8" else "replace")
    read = 0
    for piece in chain([head], pieces):
        held = len(decoder.getstate()[0])
        try:
            yield decoder.decode(piece)
        except UnicodeDecodeError as error:
            raise NotUtf8(read - held + error.start) from None
        read += len(piece)
    if encoding != "utf-8":  # of UTF-8, a character that is cut off at the end was still being written
        yield decoder.decode(b"", True)


def _data(path: str, budget: Budget, notes: list[str]) -> Iterator[bytes]:
    """Yield the bytes of a file, unpacked, in pieces."""
    try:
        packed = chunks(path, MOST_BYTES)
        first = next(packed, b"")
        pieces: Iterable[bytes] = chain([first], packed)
        for piece in _unpacked(pieces, path, notes) if first.startswith(b"\x1f\x8b") else pieces:
            budget.spend(path, len(piece))
            yield piece
    except OSError as error:
        raise Misuse(f"{path} cannot be read: {error.strerror or error}; give log files") from None


def _unpacked(pieces: Iterable[bytes], path: str, notes: list[str]) -> Iterator[bytes]:
    """Unpack gzip data, of one member or several, as far as possible, in pieces of at most `PIECE` bytes."""
    unpacker, whole = zlib.decompressobj(31), False
    try:
        for piece in pieces:
            data = piece
            while data:
                if unpacker.eof:
                    data = data.lstrip(b"\0")
                    if not data:
                        break
                    unpacker, whole = zlib.decompressobj(31), False
                yield unpacker.decompress(data, PIECE)
                while unpacker.unconsumed_tail:
                    yield unpacker.decompress(unpacker.unconsumed_tail, PIECE)
                data, whole = unpacker.unused_data, unpacker.eof
        if not unpacker.eof:
            yield unpacker.flush()
            whole = unpacker.eof
    except zlib.error:
        whole = False
    if not whole:
        notes.append(f"{path}: the compressed data is damaged or truncated; what could be unpacked is used")
