"""Places for worker processes, shared by the cases of one command line.

A place is a byte in a pipe, as in the job server of GNU make: a process that wants one more worker reads it, without waiting, and writes it
back when the worker has ended. A process that explores a case holds one place anyway, which its first worker uses: it only waits then.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

_read, _write, _pipe, _set_blocking = os.read, os.write, os.pipe, os.set_blocking


class Places:
    """The places of this process; `shared`: they are those of a command line, otherwise there are as many as wanted."""

    def __init__(self) -> None:
        self._ends: tuple[int, int] | None = None

    @property
    def shared(self) -> bool:
        """Whether other processes take places, too."""
        return self._ends is not None

    @contextlib.contextmanager
    def opened(self, free: int) -> Iterator[None]:
        """A block in which there are so many places, for this process and those that it forks."""
        before, self._ends = self._ends, _pipe()
        reading, writing = self._ends
        _set_blocking(reading, False)
        _set_blocking(writing, False)
        try:
            self.give(free)
            yield
        finally:
            self._ends = before
            os.close(reading)
            os.close(writing)

    def take(self) -> bool:
        """Take a place if one is free."""
        if self._ends is None:
            return True
        try:
            return bool(_read(self._ends[0], 1))
        except OSError:
            return False

    def give(self, number: int = 1) -> None:
        """Give places back."""
        if self._ends is not None and number:
            with contextlib.suppress(OSError):
                _write(self._ends[1], b"." * number)


PLACES = Places()
"""Those of this process."""
