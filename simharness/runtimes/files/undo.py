"""Files outside the execution's own folders are put back after each execution: as they were before it first wrote them.

What an execution writes, makes, moves or removes there is saved before. The folders that are made anew for each execution need none of it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
from dataclasses import dataclass

from simharness.engine.kernel import Kernel
from simharness.runtimes.files.parts import status_of
from simharness.runtimes.files.state import Files
from simharness.runtimes.refused import refuse

LARGEST = 64 << 20
"""The bytes of a file that is saved."""
SAVED = "saved files"
"""In a kernel's context: what the execution has saved."""
_TOO_LARGE = f"it is outside the world's folder and has more than {LARGEST >> 20} MiB: use world.path, tmp_path or tempfile"
_FULL = "what is outside the world's folder is put back after each execution, whole folders are not: use world.path, tmp_path or tempfile"
_open, _read, _write, _close, _ftruncate = os.open, os.read, os.write, os.close, os.ftruncate
_unlink, _rmdir, _mkdir, _chmod, _utime, _symlink, _readlink = os.unlink, os.rmdir, os.mkdir, os.chmod, os.utime, os.symlink, os.readlink
_rmtree, _listdir = shutil.rmtree, os.listdir


@dataclass
class Saved:
    """What was at a path: its status, and its bytes or its target."""

    status: os.stat_result | None
    data: bytes


def save(files: Files, path: str, called: str, moved: bool = False) -> None:
    """Something at a canonical path is about to be changed; `moved`: with all that is in it.

    Raises:
        Refused: it cannot be saved.
    """
    if files.inside(path):
        return
    saved: dict[str, Saved] = files.kernel.context.setdefault(SAVED, {})
    if path in saved:
        return
    status = status_of(path)
    if status is None:
        saved[path] = Saved(None, b"")
    elif stat.S_ISLNK(status.st_mode):
        saved[path] = Saved(status, os.fsencode(_readlink(path)))
    elif stat.S_ISREG(status.st_mode):
        if status.st_size > LARGEST:
            refuse(files.kernel, f"{called} on {path}", _TOO_LARGE, sys._getframe(1))
        saved[path] = Saved(status, _contents(path))
    elif moved and _listdir(path):
        refuse(files.kernel, f"{called} on {path}", _FULL, sys._getframe(1))
    else:
        saved[path] = Saved(status, b"")


def put_back(kernel: Kernel) -> None:
    """The execution is over: put back what it has changed outside."""
    saved: dict[str, Saved] = kernel.context.pop(SAVED, {})
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
