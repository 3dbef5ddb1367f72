"""Files outside the execution's own folders are put back after each execution: as they were before it first wrote them.

What an execution writes, makes, moves or removes there is saved before. The folders that are made anew for each execution need none of it.
Such files are the same for all processes that explore at once, so an execution has a lock from its first use of one until it is over. Those
that only read share it; those that change something have it alone, from their beginning, once that is known.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
import tempfile
import weakref
from dataclasses import dataclass
from typing import Any

from simharness.engine.facts import Fact
from simharness.engine.kernel import Kernel, outside
from simharness.runtimes.files.parts import status_of
from simharness.runtimes.files.state import TURN, Files
from simharness.runtimes.refused import refuse

try:
    import fcntl
except ImportError:  # not on Windows: there, processes that explore at once must not change the same files
    fcntl = None  # type: ignore[assignment]  # the other possibility

LARGEST = 64 << 20
"""The bytes of a file that is saved."""
_TOO_LARGE = f"it is outside the world's folder and has more than {LARGEST >> 20} MiB: use world.path, tmp_path or tempfile"
_FULL = "what is outside the world's folder is put back after each execution, whole folders are not: use world.path, tmp_path or tempfile"
_open, _read, _write, _close, _ftruncate = os.open, os.read, os.write, os.close, os.ftruncate
_unlink, _rmdir, _mkdir, _chmod, _utime, _symlink, _readlink = os.unlink, os.rmdir, os.mkdir, os.chmod, os.utime, os.symlink, os.readlink
_rmtree, _listdir, _getpid, _tempdir = shutil.rmtree, os.listdir, os.getpid, tempfile.gettempdir
_flock: Any = getattr(fcntl, "flock", None)


@dataclass
class Saved:
    """What was at a path: its status, and its bytes or its target."""

    status: os.stat_result | None
    data: bytes


@dataclass(frozen=True)
class ChangesOutside(Fact, word="changes-outside"):
    """Executions change files outside their own folders."""


class Changes:
    """What the execution under way has changed outside, and the lock that gives processes their turns."""

    def __init__(self) -> None:
        self.saved: dict[str, Saved] = {}
        self._lock, self._owner = -1, 0

    def take_turn(self, alone: bool = True) -> None:
        """Wait until no other process's execution changes files outside its folders; `alone`: nor reads them."""
        if fcntl is None:
            return
        if self._owner != _getpid():  # a child of a fork shares its parent's lock
            with outside():
                path = os.path.join(_tempdir(), f"simharness-turns-{os.getuid()}")
            self._lock, self._owner = _open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), _getpid()
        _flock(self._lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)

    def end_turn(self) -> None:
        """Let another process have its turn."""
        if self._owner and self._owner == _getpid():
            _flock(self._lock, fcntl.LOCK_UN)

    def close(self) -> None:
        """Release the lock's file."""
        if self._owner == _getpid():
            _close(self._lock)
            self._owner = 0


_changes: weakref.WeakKeyDictionary[Kernel, Changes] = weakref.WeakKeyDictionary()


def save(files: Files, path: str, called: str, moved: bool = False) -> None:
    """Something at a canonical path is about to be changed; `moved`: with all that is in it.

    Raises:
        Refused: it cannot be saved.
    """
    if files.inside(path):
        return
    changes = _changes_of(files.kernel)
    saved = changes.saved
    if path in saved:
        return
    if ChangesOutside() not in files.kernel.learned:
        files.kernel.learned.learn(ChangesOutside())
        files.kernel.abandon()  # another process may change what it has read, while it waits for its turn
    changes.take_turn()
    status = status_of(path)
    if status is not None and stat.S_ISREG(status.st_mode) and status.st_size > LARGEST:
        refuse(files.kernel, f"{called} on {path}", _TOO_LARGE, sys._getframe(1))
    if status is not None and stat.S_ISDIR(status.st_mode) and moved and _listdir(path):
        refuse(files.kernel, f"{called} on {path}", _FULL, sys._getframe(1))
    saved[path] = saved_of(path)


def saved_of(path: str) -> Saved:
    """Return what is at a path."""
    status = status_of(path)
    if status is not None and stat.S_ISLNK(status.st_mode):
        return Saved(status, os.fsencode(_readlink(path)))
    return Saved(status, _contents(path) if status is not None and stat.S_ISREG(status.st_mode) else b"")


def begin(kernel: Kernel) -> None:
    """An execution begins: put back what the last one has changed, if it ended without that, and take a turn."""
    put_back(kernel)
    changes = _changes_of(kernel)
    if ChangesOutside() in kernel.learned:
        changes.take_turn()
    else:
        kernel.context[TURN] = lambda: changes.take_turn(alone=False)


def put_back(kernel: Kernel) -> None:
    """The execution is over: put back what it has changed outside."""
    changes = _changes.get(kernel)
    if changes is not None:
        saved, changes.saved = changes.saved, {}
        try:
            if saved:
                restore(saved)
        finally:
            changes.end_turn()


def forget(kernel: Kernel) -> None:
    """The exploration is over."""
    put_back(kernel)
    changes = _changes.pop(kernel, None)
    if changes is not None:
        changes.close()


def _changes_of(kernel: Kernel) -> Changes:
    changes = _changes.get(kernel)
    if changes is None:
        changes = _changes[kernel] = Changes()
    return changes


def restore(saved: dict[str, Saved]) -> None:
    """Have at these paths what was there."""
    for path in sorted(saved, key=len, reverse=True):
        was, now = saved[path].status, status_of(path)
        if now is not None and (was is None or stat.S_IFMT(was.st_mode) != stat.S_IFMT(now.st_mode)):
            _rmtree(path, ignore_errors=True) if stat.S_ISDIR(now.st_mode) else _unlink(path)
    for path in sorted(saved, key=len):
        status = saved[path].status
        if status is not None:
            _make(path, status, saved[path].data)
    for path in sorted(saved, key=len, reverse=True):
        status = saved[path].status
        if status is not None and not stat.S_ISLNK(status.st_mode):
            with contextlib.suppress(OSError):
                _chmod(path, stat.S_IMODE(status.st_mode))
                _utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _make(path: str, status: os.stat_result, data: bytes) -> None:
    there = status_of(path)
    if stat.S_ISLNK(status.st_mode):
        if there is not None:
            _unlink(path)
        _symlink(os.fsdecode(data), path)
    elif stat.S_ISDIR(status.st_mode):
        if there is None:
            _mkdir(path)
    elif stat.S_ISREG(status.st_mode) and (there is None or _contents(path) != data):
        descriptor = _open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _ftruncate(descriptor, 0)
            rest = memoryview(data)
            while rest:
                rest = rest[_write(descriptor, rest) :]
        finally:
            _close(descriptor)


def _contents(path: str) -> bytes:
    descriptor = _open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = []
        while piece := _read(descriptor, 1 << 20):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        _close(descriptor)
