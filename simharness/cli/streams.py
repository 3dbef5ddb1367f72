"""Standard streams that nobody reads: a closed stdout, `| head`. What is written there is dropped; the exit status stays the result's."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from select import select
from typing import TextIO

from simharness.cli.signals import INCONCLUSIVE, Interrupt, say

PATIENCE = 2.0
"""Seconds for which output waits for a reader once a signal has come."""
CHUNK = 4096
"""Bytes that a pipe takes at once."""


class _Quiet(io.RawIOBase):
    """Writes to a file descriptor, until nobody reads it any more."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.dropping = False
        self.hurried = False
        """Whether to drop what cannot be written at once."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: object) -> int:
        view = memoryview(data)  # type: ignore[arg-type]  # as above
        while not self.dropping:
            if not self._takes_more(0 if self.hurried else PATIENCE):
                if self.hurried or Interrupt.came:
                    break
                continue
            try:
                return os.write(self._descriptor, view[:CHUNK])
            except BrokenPipeError:
                self.dropping = True
            except BlockingIOError:
                continue
            except OSError:
                if self._descriptor != 2:
                    raise
                self.dropping = True  # there is nowhere to report it
        return view.nbytes

    def _takes_more(self, seconds: float) -> bool:
        return bool(select((), (self._descriptor,), (), seconds)[1])


@contextlib.contextmanager
def quiet_when_nobody_reads() -> Iterator[None]:
    """A block in which stdout and stderr drop what nobody reads; what is left in them is written at its end."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # or a file that is opened later would take its place
    before = sys.stdout, sys.stderr
    raw = _Quiet(1), _Quiet(2)
    streams = sys.stdout, sys.stderr = _text(raw[0], before[0]), _text(raw[1], before[1])
    try:
        yield
        _flush(streams, raw)
    except KeyboardInterrupt:
        _hurry(raw)
        raise
    except SystemExit as ending:
        if ending.code == INCONCLUSIVE:
            _hurry(raw)
        _flush(streams, raw, quiet=bool(ending.code))
        raise
    finally:
        for each in raw:
            each.dropping = True
        sys.stdout, sys.stderr = before


def _flush(streams: tuple[TextIO, TextIO], raw: tuple[_Quiet, _Quiet], quiet: bool = False) -> None:
    """Write what is left; what cannot be written is an error, unless there is one already (`quiet`)."""
    try:
        for stream in streams:
            stream.flush()
    except OSError as error:
        raw[0].dropping = True
        if not quiet:
            say(f"stdout cannot be written: {error.strerror}")
            sys.exit(INCONCLUSIVE)


def _hurry(streams: tuple[_Quiet, ...]) -> None:
    for stream in streams:
        stream.hurried = True


def _text(raw: _Quiet, like: TextIO | None) -> TextIO:
    if like is not None:
        with contextlib.suppress(OSError, ValueError):
            like.flush()
    encoding = getattr(like, "encoding", None) or "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors="replace", line_buffering=raw.fileno() == 2 or raw.isatty())
