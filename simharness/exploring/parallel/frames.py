"""Messages through a pipe: each is preceded by its length."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

_read, _write = os.read, os.write
_LENGTH = struct.Struct("<Q")
_CHUNK = 1 << 20


def send(descriptor: int, data: bytes) -> None:
    """Send a message."""
    message = memoryview(_LENGTH.pack(len(data)) + data)
    while message:
        message = message[_write(descriptor, message) :]


def receive(descriptor: int) -> bytes | None:
    """Return the next message, or None if there will be none; for a pipe whose writer waits for an answer to each."""
    return next(messages(descriptor), None)


def messages(descriptor: int) -> Iterator[bytes]:
    """Yield messages until there will be none."""
    frames = Frames()
    while frames.read(descriptor):
        yield from frames.whole()


class Frames:
    """What has come through a pipe and is not yet taken."""

    def __init__(self) -> None:
        self._said = bytearray()

    def read(self, descriptor: int) -> bool:
        """Read what there is, waiting if there is nothing; return False at the end."""
        data = _read(descriptor, _CHUNK)
        self._said += data
        return bool(data)

    def whole(self) -> Iterator[bytes]:
        """Yield the messages that are complete."""
        while len(self._said) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._said)[0]
            if len(self._said) < end:
                return
            frame = bytes(self._said[_LENGTH.size : end])
            del self._said[:end]
            yield frame
