"""Regular files only: what comes from outside, or is written, is never a device, a FIFO, a socket or a folder, and never larger than said.

Errors are `OSError`s whose `strerror` says what the file is, for the caller to put into a sentence.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

CHUNK = 1 << 18
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a symbolic link",
}


def kind_of(mode: int) -> str:
    """Return in words what a file is, from its mode; "" for a regular file."""
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "not a regular file")


@contextmanager
def opened(path: str) -> Iterator[int]:
    """Open a regular file for reading, without waiting for anybody; yield its descriptor.

    Raises:
        OSError: it cannot be opened, or is something else. Opening a device can do something, so it is looked at before, too.
    """
    try:
        _require_regular(os.stat(path))
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except ValueError:
        raise OSError(errno.EINVAL, "no file has such a name") from None
    try:
        _require_regular(os.fstat(descriptor))
        yield descriptor
    finally:
        os.close(descriptor)


def chunks(path: str, most: int) -> Iterator[bytes]:
    """Yield a regular file's bytes, in pieces.

    Raises:
        OSError: it cannot be read, is something else, or has more than `most` bytes.
    """
    with opened(path) as descriptor:
        left = most
        while piece := os.read(descriptor, CHUNK):
            left -= len(piece)
            if left < 0:
                raise OSError(errno.EFBIG, f"it is larger than {most:,} bytes")
            yield piece


def read(path: str, most: int) -> bytes:
    """Return a regular file's bytes; see `chunks`."""
    return b"".join(chunks(path, most))


def _require_regular(status: os.stat_result) -> None:
    kind = kind_of(status.st_mode)
    if kind:
        raise OSError(errno.EINVAL, f"it is {kind}")
