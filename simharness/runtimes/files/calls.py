"""The functions of `os` that open, look at or change what is at a path, each as one system call."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any

from simharness.engine.kinds import Kind
from simharness.runtimes.files import kinds, undo
from simharness.runtimes.files.asking import asked
from simharness.runtimes.files.kept import genuine, looking_genuinely
from simharness.runtimes.files.opened import contents_of, known, opened, using
from simharness.runtimes.files.parts import If, Inode, Location, Plan, status_of
from simharness.runtimes.files.paths import UMASK, Found, absolute, find
from simharness.runtimes.files.state import Files


def looking(files: Files, kind: Kind, text: str, follow: bool, inside: bool = False) -> None:
    """Look at what a path leads to, in one step; `inside`: also at the file's size, times and number of names."""

    def plan(seen: int) -> Plan:
        found = find(files, text, follow, seen)
        touched = list(found.read)
        if found.entry is not None:
            touched.append((found.entry, False))
            inode = contents_of(files, found) if inside and not found.entry.bit & ~seen else None
            if inode is not None:
                touched += [(inode.contents, False), (inode.links, False)]
        return Plan(touched)

    files.turn(kind, plan, files.label(text))
    files.report(text, looks=True)


def changing(
    files: Files,
    kind: Kind,
    text: str,
    call: Callable[[], Any],
    present: bool,
    follow: bool = False,
    also: Callable[[Found, int], tuple[list[tuple[Location, bool]], list[Location]]] = lambda found, seen: ([], []),
    word: str = "",
) -> Any:
    """Add or remove an entry, in one step: it is written if it is there (`present`) or not, else read.

    Args:
        also: returns what is touched besides, and what is written besides if the entry is.
    """

    def plan(seen: int) -> Plan:
        found = find(files, text, follow, seen)
        if found.entry is None:
            return Plan(found.read)
        touched, written = also(found, seen) if not found.entry.bit & ~seen else ([], [])
        if not present:
            touched = [*touched, (files.location(UMASK), False)]
        return Plan([*found.read, *touched], If(found.entry, present, written))

    files.turn(kind, plan, word or files.label(text))
    files.report(text)
    found = find(files, text, follow, -1)
    if found.entry is not None:
        undo.save(files, found.path, f"os.{kind.name}")
    try:
        result = call()
    finally:
        files.settle(found.entry)
    if found.entry is not None and found.status is None and not present:
        files.made(found.path)
    return result


# Opening


def open_path(files: Files, text: str, flags: int, call: Callable[[], Any]) -> tuple[Any, str]:
    """Open what is at a path, in one step; return what `call` returns, and the canonical path."""
    creates = bool(flags & os.O_CREAT)
    follow = not flags & os.O_NOFOLLOW and not (creates and flags & os.O_EXCL)

    def plan(seen: int) -> Plan:
        found = find(files, text, follow, seen)
        touched = list(found.read)
        if found.entry is None:
            return Plan(touched)
        if not found.entry.bit & ~seen and flags & os.O_TRUNC and found.status is not None and stat.S_ISREG(found.status.st_mode):
            touched.append((files.inode(found.path, found.status).contents, True))
        if creates:
            touched.append((files.location(UMASK), False))
            return Plan(touched, If(found.entry, present=False))
        return Plan([*touched, (found.entry, False)])

    files.turn(kinds.OPEN, plan, files.label(text))
    files.report(text)
    found = find(files, text, follow, -1)
    if flags & (os.O_CREAT | os.O_TRUNC) and found.path:
        undo.save(files, found.path, "open")
    result = call()
    if found.status is None:
        files.settle(found.entry)
        files.made(found.path)
    elif flags & os.O_TRUNC:
        files.changed(files.inode(found.path, found.status))
    return result, found.path


def _open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    files = asked()
    text = None if files is None else absolute(files, path, dir_fd)
    if files is None or text is None:
        return int(genuine["open"](path, flags, mode, dir_fd=dir_fd))
    descriptor, canonical = open_path(files, text, flags, lambda: genuine["open"](path, flags, mode, dir_fd=dir_fd))
    opened(files, descriptor, canonical)
    return int(descriptor)


# Looking


def virtual_times(files: Files, status: os.stat_result) -> os.stat_result:
    """Return a status with the virtual times of a file that the execution has changed."""
    inode = files.inodes.get((status.st_dev, status.st_ino))
    if inode is None or inode.times is None:
        return status
    read, written = inode.times
    fields = [status[0], inode.identity if inode.made else status[1], *status[2:7], read // 10**9, written // 10**9, written // 10**9]
    more = {"st_atime": read / 1e9, "st_mtime": written / 1e9, "st_ctime": written / 1e9}
    more |= {"st_atime_ns": read, "st_mtime_ns": written, "st_ctime_ns": written}
    more |= {name: getattr(status, name) for name in ("st_blksize", "st_blocks", "st_rdev") if hasattr(status, name)}
    return os.stat_result(fields, more)


def _stat(path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
    files = asked()
    if files is not None and isinstance(path, int):
        return _status(files, path)
    text = None if files is None else absolute(files, path, dir_fd)
    if files is not None and text is not None:
        looking(files, kinds.STAT, text, follow_symlinks, True)
    status: os.stat_result = genuine["stat"](path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
    return status if files is None else virtual_times(files, status)


def _lstat(path: Any, *, dir_fd: int | None = None) -> os.stat_result:
    files = asked()
    text = None if files is None else absolute(files, path, dir_fd)
    if files is not None and text is not None:
        looking(files, kinds.STAT, text, False, True)
    status: os.stat_result = genuine["lstat"](path, dir_fd=dir_fd)
    return status if files is None else virtual_times(files, status)


def _fstat(fd: int) -> os.stat_result:
    files = asked()
    if files is None:
        status: os.stat_result = genuine["fstat"](fd)
        return status
    return _status(files, fd)


def _status(files: Files, descriptor: int) -> os.stat_result:
    file = known(files, descriptor)
    if file is not None:
        touched = [(file.inode.contents, False), (file.inode.links, False)]
        files.turn(kinds.STAT, lambda _: Plan(touched), file.inode.name)
    return virtual_times(files, genuine["fstat"](descriptor))


def _access(path: Any, mode: int, **options: Any) -> bool:
    files = asked()
    text = None if files is None else absolute(files, path, options.get("dir_fd"))
    if files is not None and text is not None:
        looking(files, kinds.LOOK, text, options.get("follow_symlinks", True))
    return bool(genuine["access"](path, mode, **options))


def _readlink(path: Any, *, dir_fd: int | None = None) -> Any:
    files = asked()
    text = None if files is None else absolute(files, path, dir_fd)
    if files is not None and text is not None:
        looking(files, kinds.READ_LINK, text, False)
    return genuine["readlink"](path, dir_fd=dir_fd)


def looks(name: str) -> Callable[..., bool]:
    """Return the replacement of a function of `os.path` that asks whether something is there: it reads only entries."""
    follow = name not in ("lexists", "islink")

    def does(path: Any) -> bool:
        files = asked()
        text = None if files is None or isinstance(path, int) else absolute(files, path)
        if files is None or text is None:
            return bool(looking_genuinely[name](path))
        looking(files, kinds.LOOK, text, follow)
        actor = files.kernel.actor
        with files.quiet(actor):
            there = bool(looking_genuinely[name](path))
        files.kernel.note(f"{name}: {there}")
        return there

    does.__name__ = name
    return does


# Attributes and contents


def _attributes(name: str) -> Callable[..., Any]:
    """Return the replacement of a function that changes a file by its path or descriptor: its contents and status are one location."""

    def does(path: Any, *arguments: Any, **options: Any) -> Any:
        def call() -> Any:
            return genuine[name](path, *arguments, **options)

        files = asked()
        if files is None:
            return call()
        kind = kinds.TRUNCATE if name in ("truncate", "ftruncate") else kinds.CHANGE
        if isinstance(path, int):
            file = known(files, path)
            if file is not None:
                using(files, kind, file, write=True, moves=False)
            return call()
        text = absolute(files, path, options.get("dir_fd"))
        if text is None:
            return call()
        same = _has_mode((*arguments, options.get("mode"))[0]) if name == "chmod" else _never
        found, inode = _change(files, kind, text, options.get("follow_symlinks", True), name, same)
        result = call()
        if inode is not None and name == "utime":
            given = any(value is not None for value in (*arguments, options.get("times"), options.get("ns")))
            _set_times(files, inode, found.path, given)
        return result

    does.__name__ = name
    return does


def _never(path: str) -> bool:
    return False


def _has_mode(mode: Any) -> Callable[[str], bool]:
    """Return the function that says whether the file at a path has this mode already, so that setting it only reads."""

    def has(path: str) -> bool:
        status = status_of(path)
        return isinstance(mode, int) and status is not None and not stat.S_ISLNK(status.st_mode) and stat.S_IMODE(status.st_mode) == mode

    return has


def _change(files: Files, kind: Kind, text: str, follow: bool, name: str, same: Callable[[str], bool]) -> tuple[Found, Inode | None]:
    """Take the turn of a call that changes a file, unless it is the same already; return where it is and, if it changes, which it is."""

    def plan(seen: int) -> Plan:
        found = find(files, text, follow, seen)
        touched = list(found.read)
        if found.entry is not None:
            touched.append((found.entry, False))
            inode = contents_of(files, found) if not found.entry.bit & ~seen else None
            if inode is not None:
                touched.append((inode.contents, not same(found.path)))
        return Plan(touched)

    files.turn(kind, plan, files.label(text))
    files.report(text)
    found = find(files, text, follow, -1)
    if found.path and same(found.path):
        return found, None
    inode = contents_of(files, found)
    if found.path:
        undo.save(files, found.path, f"os.{name}")
    if inode is not None and name != "utime":
        files.changed(inode)
    return found, inode


def _set_times(files: Files, inode: Inode, path: str, given: bool) -> None:
    status = status_of(path)
    if given and status is not None:
        inode.times = status.st_atime_ns, status.st_mtime_ns
    else:
        files.changed(inode)


ATTRIBUTES = ("chmod", "chown", "truncate", "utime")


def replacements() -> dict[str, Any]:
    """Return what replaces functions of `os`, by their names."""
    made: dict[str, Any] = {
        "open": _open,
        "stat": _stat,
        "lstat": _lstat,
        "fstat": _fstat,
        "access": _access,
        "readlink": _readlink,
    }
    return made | {name: _attributes(name) for name in ATTRIBUTES}
