"""Temporary folders, in memory where that is possible; none outlives its process for long.

A folder's name has the id of its process, which holds a lock on the folder: the system frees it however the process ends. The next run
removes the folders of processes that have ended (`sweep`).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator

from simharness.errors import Lacking

MEMORY_FOLDER = "/dev/shm"
"""Where temporary folders are made, if that is possible: it is in memory."""
_NAME = re.compile(r"simharness-(\d+)-[0-9a-f]{12}")
_getpid, _mkdir, _listdir, _open, _kill, _urandom = os.getpid, os.mkdir, os.listdir, os.open, os.kill, os.urandom
_tempdir = tempfile.gettempdir

try:
    from fcntl import LOCK_EX, LOCK_NB, flock
except ImportError:  # not on Windows: there, folders are removed only by the process that made them
    flock = None  # type: ignore[assignment]  # the other possibility


class Folder:
    """A temporary folder of this process.

    Raises:
        Lacking: it cannot be made.
    """

    def __init__(self, beside: str | None = None) -> None:
        """Make a folder in this folder; by default in memory."""
        parents = [beside] if beside is not None else [*_in_memory(), _tempdir()]
        self._lock = -1
        self._maker = _getpid()
        for parent in parents:
            self.path = os.path.join(parent, f"simharness-{self._maker}-{_urandom(6).hex()}")
            try:
                _mkdir(self.path, 0o700)
                break
            except OSError as error:
                if parent == parents[-1]:
                    raise Lacking(f"no temporary folder can be made in {parent}: {error.strerror}; TMPDIR can name another one") from None
        if flock is not None:
            with contextlib.suppress(OSError):  # few descriptors: its process still has its id
                self._lock = _open(self.path, os.O_RDONLY | os.O_CLOEXEC)
                flock(self._lock, LOCK_EX | LOCK_NB)

    def remove(self) -> None:
        """Remove the folder, unless another process made it: this one was forked from it."""
        if self._maker == _getpid():
            shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            lock, self._lock = self._lock, -1
            os.close(lock)


def sweep() -> None:
    """Remove the folders of this user's processes that have ended."""
    for parent in dict.fromkeys([*_in_memory(), _tempdir()]):
        for path in _left_in(parent):
            shutil.rmtree(path, ignore_errors=True)


def _in_memory() -> list[str]:
    return [MEMORY_FOLDER] if os.path.isdir(MEMORY_FOLDER) else []


def _left_in(parent: str) -> Iterator[str]:
    if flock is None:
        return
    with contextlib.suppress(OSError):
        for name in _listdir(parent):
            match = _NAME.fullmatch(name)
            path = os.path.join(parent, name)
            if match is not None and not _alive(int(match[1])) and _is_mine(path) and _is_free(path):
                yield path


def _alive(process: int) -> bool:
    if process == _getpid():  # or the one that had this id before
        return False
    try:
        _kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _is_mine(path: str) -> bool:
    with contextlib.suppress(OSError):
        return os.lstat(path).st_uid == os.geteuid()
    return False


def _is_free(path: str) -> bool:
    """Whether nobody holds the folder's lock: a process of another container does not show by its id."""
    try:
        lock = _open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        flock(lock, LOCK_EX | LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True
