"""The functions of `os` and `fcntl` that take a descriptor, each as one system call."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from typing import Any

from simharness.runtimes.files import kinds, locks
from simharness.runtimes.files.asking import asked
from simharness.runtimes.files.kept import genuine
from simharness.runtimes.files.opened import closing, duplicated, known, using
from simharness.runtimes.files.state import Files
from simharness.runtimes.refused import refuse

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]  # the other possibility

_READS = ("read", "readv", "pread", "preadv")
_WRITES = ("write", "writev", "pwrite", "pwritev")
_NO_OFFSET = ("pread", "preadv", "pwrite", "pwritev", "ftruncate", "fchmod", "fchown")
_CHANGES = ("ftruncate", "fchmod", "fchown")
_COPIES = ("sendfile", "copy_file_range")
_NAMED = ("setxattr", "removexattr", "mkfifo", "mknod", "posix_fallocate", "chflags", "splice", "chroot")
"""Functions whose effects are not explored: the verdict names them."""


def _on(name: str) -> Callable[..., Any]:
    """Return the replacement of a function that reads or writes through a descriptor."""
    read, write = name in _READS, name in _WRITES or name in _CHANGES
    kind = kinds.READ if read else kinds.TRUNCATE if name == "ftruncate" else kinds.WRITE if name in _WRITES else kinds.CHANGE

    def does(fd: int, *arguments: Any, **options: Any) -> Any:
        files = asked()
        file = None if files is None else known(files, fd)
        if files is not None and file is not None:
            using(files, kind, file, read=read, write=write, moves=name not in _NO_OFFSET)
        return genuine[name](fd, *arguments, **options)

    does.__name__ = name
    return does


def _copying(name: str) -> Callable[..., Any]:
    """Return the replacement of a function that copies from one descriptor to another, in one step."""

    def does(*arguments: Any, **options: Any) -> Any:
        files = asked()
        if files is not None:
            first, second = (known(files, descriptor) for descriptor in arguments[:2])
            source, target = (second, first) if name == "sendfile" else (first, second)
            if source is not None:
                using(files, kinds.READ, source, read=True, moves=True)
            if target is not None:
                using(files, kinds.WRITE, target, write=True)
        return genuine[name](*arguments, **options)

    does.__name__ = name
    return does


def _lseek(descriptor: int, position: int, whence: int, /) -> int:
    files = asked()
    file = None if files is None else known(files, descriptor)
    if files is not None and file is not None:
        using(files, kinds.SEEK, file, read=whence == os.SEEK_END, moves=(position, whence) != (0, os.SEEK_CUR))
    return int(genuine["lseek"](descriptor, position, whence))


def _close(fd: int) -> None:
    files = asked()
    if files is not None and not files.kernel.dying:
        closing(files, fd)
    elif files is not None:
        files.open.pop(fd, None)
    genuine["close"](fd)


def _dup(descriptor: int, /) -> int:
    new = int(genuine["dup"](descriptor))
    files = asked()
    if files is not None:
        duplicated(files, descriptor, new)
    return new


def _dup2(fd: int, fd2: int, inheritable: bool = True) -> int:
    files = asked()
    if files is not None and fd != fd2:
        closing(files, fd2)
    result = int(genuine["dup2"](fd, fd2, inheritable))
    if files is not None and fd != fd2:
        duplicated(files, fd, fd2)
    return result


def _named(name: str) -> Callable[..., Any]:
    def does(*arguments: Any, **options: Any) -> Any:
        files = asked()
        if files is not None:
            files.kernel.learned.leaves_out(f"os.{name}")
        return genuine[name](*arguments, **options)

    does.__name__ = name
    return does


def replacements() -> dict[str, Any]:
    """Return what replaces functions of `os`, by their names."""
    made: dict[str, Any] = {name: _on(name) for name in (*_READS, *_WRITES, *_CHANGES)}
    made |= {name: _copying(name) for name in _COPIES}
    made |= {name: _named(name) for name in _NAMED}
    made |= {"lseek": _lseek, "close": _close, "dup": _dup, "dup2": _dup2}
    return {name: replacement for name, replacement in made.items() if name in genuine}


# fcntl


def _descriptor(thing: Any) -> int:
    return int(thing if isinstance(thing, int) else thing.fileno())


def _file(files: Files, thing: Any, called: str) -> tuple[Any, int]:
    descriptor = _descriptor(thing)
    file = known(files, descriptor)
    if file is None and stat.S_ISREG(genuine["fstat"](descriptor).st_mode):
        refuse(files.kernel, called, "it was opened where no runtime saw it: open it in the scenario", sys._getframe(2))
    return file, descriptor


def virtual_flock(fd: Any, operation: int, /) -> None:
    """Lock an open file, as `fcntl.flock` does."""
    files = asked()
    file, _ = (None, 0) if files is None else _file(files, fd, "fcntl.flock")
    if files is None or file is None:
        _flock(fd, operation)
        return
    locks.flock(files, file, operation)


def virtual_lockf(fd: Any, cmd: int, len: int = 0, start: int = 0, whence: int = 0, /) -> None:
    """Lock bytes of a file for the process, as `fcntl.lockf` does."""
    files = asked()
    file, descriptor = (None, 0) if files is None else _file(files, fd, "fcntl.lockf")
    if files is None or file is None:
        _lockf(fd, cmd, len, start, whence)
        return
    kind = fcntl.F_UNLCK if cmd & fcntl.LOCK_UN else fcntl.F_WRLCK if cmd & fcntl.LOCK_EX else fcntl.F_RDLCK
    first, end = locks.span(file, descriptor, start, len, whence)
    locks.record_lock(files, file, kind, first, end, not cmd & fcntl.LOCK_NB)


def virtual_fcntl(fd: Any, cmd: int, arg: Any = 0, /) -> Any:
    """Do a command on a descriptor, as `fcntl.fcntl` does; record locks wait in virtual time."""
    files = asked()
    if files is None:
        return _fcntl(fd, cmd, arg)
    if cmd in (fcntl.F_SETLK, fcntl.F_SETLKW, fcntl.F_GETLK):
        file, descriptor = _file(files, fd, "fcntl.fcntl")
        if file is not None:
            return locks.by_fcntl(files, file, descriptor, cmd, arg)
    if cmd in (getattr(fcntl, name, None) for name in ("F_OFD_SETLK", "F_OFD_SETLKW", "F_SETLEASE", "F_NOTIFY")):
        refuse(files.kernel, "fcntl.fcntl with this command", "lock with fcntl.flock or fcntl.lockf", sys._getframe(1))
    result = _fcntl(fd, cmd, arg)
    if cmd in (fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC):
        duplicated(files, _descriptor(fd), result)
    return result


_flock: Any = getattr(fcntl, "flock", None)
_lockf: Any = getattr(fcntl, "lockf", None)
_fcntl: Any = getattr(fcntl, "fcntl", None)


def locking() -> dict[Any, Any]:
    """Return what replaces functions of `fcntl`, by the genuine ones."""
    if fcntl is None:
        return {}
    return {_flock: virtual_flock, _lockf: virtual_lockf, _fcntl: virtual_fcntl}
