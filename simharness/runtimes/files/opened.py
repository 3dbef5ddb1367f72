"""Open files: which descriptors an execution has opened, what calls on them touch, and what becomes of them at its end."""

from __future__ import annotations

import contextlib
import io
import os
import stat

from simharness.engine.kinds import Kind
from simharness.runtimes.files import locks, undo
from simharness.runtimes.files.kinds import CLOSE
from simharness.runtimes.files.parts import Inode, Location, OpenFile, Plan
from simharness.runtimes.files.paths import Found
from simharness.runtimes.files.state import Files

_fstat, _close, _dup2, _open, _readlink, _lseek = os.fstat, os.close, os.dup2, os.open, os.readlink, os.lseek


def opened(files: Files, descriptor: int, path: str) -> OpenFile | None:
    """A file was opened at a canonical path."""
    status = _fstat(descriptor)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return None
    return _register(files, descriptor, path, files.inode(path, status))


def _register(files: Files, descriptor: int, path: str, inode: Inode, name: str = "") -> OpenFile:
    kernel = files.kernel
    name = name or kernel.new_name(f"open {inode.name}")
    process = kernel.actor.process if kernel.actor is not None else "main"
    file = OpenFile(inode, name, path, files.location(f"offset of {name}"), process)
    file.descriptors.add(descriptor)
    files.open[descriptor] = file
    return file


def _is_stream(descriptor: int, status: os.stat_result) -> bool:
    """Whether a status is that of a standard stream, which may have several descriptors and be redirected to a file."""
    try:
        return os.path.samestat(_fstat(descriptor), status)
    except OSError:
        return False


def known(files: Files, descriptor: int) -> OpenFile | None:
    """Return the open file of a descriptor, also one that was opened before the execution; None if it is no file, or a standard stream."""
    file = files.open.get(descriptor)
    if file is not None or descriptor <= 2:
        return file
    try:
        status = _fstat(descriptor)
        path = _readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode) or not os.path.isabs(path) or path.endswith(" (deleted)"):
        return None
    if any(_is_stream(standard, status) for standard in range(3)):
        return None
    offset = _lseek(descriptor, 0, os.SEEK_CUR)

    def put_back() -> None:
        with contextlib.suppress(OSError):
            _lseek(descriptor, offset, os.SEEK_SET)

    files.when_over.append(put_back)
    inode = files.inode(path, status)
    # Which actor uses it first depends on the schedule, so all that were open before have one name.
    file = _register(files, descriptor, path, inode, f"{inode.name}, opened before")
    file.process, file.owner = "main", f"{file.name} #{files.kernel.labels.count(file.name)}"
    files.lasting.add(descriptor)
    return file


def using(files: Files, kind: Kind, file: OpenFile, read: bool = False, write: bool = False, moves: bool = True) -> None:
    """Make the step of a call on an open file.

    Args:
        read, write: whether it reads or writes the file's contents.
        moves: whether it changes the offset.
    """
    touched: list[tuple[Location, bool]] = [(file.place, moves)]
    if read or write:
        touched.append((file.inode.contents, write))
    files.turn(kind, lambda _: Plan(touched), file.inode.name)
    if write:
        undo.save(files, file.path, "a write")
        files.changed(file.inode)


def duplicated(files: Files, descriptor: int, new: int) -> None:
    """A descriptor has got another one of the same open file."""
    file = known(files, descriptor)
    if file is not None:
        file.descriptors.add(new)
        files.open[new] = file


def closing(files: Files, descriptor: int) -> None:
    """A descriptor is about to be closed: that gives back locks."""
    file = files.open.get(descriptor)
    if file is None:
        return
    last = len(file.descriptors) == 1
    if locks.holds(files, file, last):
        touched: list[tuple[Location, bool]] = [(place, True) for place in locks.places(files, file)]
        files.turn(CLOSE, lambda _: Plan(touched), file.inode.name)
        locks.closed(files, file, last)
    file.descriptors.discard(descriptor)
    files.open.pop(descriptor, None)
    files.streams.pop(descriptor, None)


def _warn_nobody(source: object) -> None:
    """A file is released that the execution has left open."""


def end(files: Files) -> None:
    """The execution is over: what it has left open is closed, or leads nowhere while a buffer has it, which will close it.

    Nobody is warned of that: an actor that was stopped half-way has no way to close a file.
    """
    for descriptor in list(files.open):
        if descriptor in files.lasting:
            continue
        reference, bare = files.streams.get(descriptor, (None, False))
        raw = None if reference is None else reference()
        with contextlib.suppress(OSError):
            if raw is None:
                _close(descriptor)
            elif bare:
                io.FileIO.close(raw)
            else:
                raw._dealloc_warn = _warn_nobody
                nowhere = _open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
                _dup2(nowhere, descriptor, False)
                _close(nowhere)
    files.open.clear()
    for call in files.when_over:
        call()


def contents_of(files: Files, found: Found) -> Inode | None:
    """Return the file that a path leads to."""
    return None if found.status is None else files.inode(found.path, found.status)
