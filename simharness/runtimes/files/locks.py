"""`fcntl.flock` and `fcntl.lockf`: locks on files, for which actors wait in virtual time.

`flock` belongs to an open file: descriptors that were duplicated share it, two that were opened separately exclude each other. A record
lock (`lockf`, `F_SETLK`) belongs to a process: it does not exclude the process's own threads, and goes when the process closes any
descriptor of the file. Both go when the process ends. A lock that is changed from shared to exclusive, or back, is given back first if
others hold locks; others may take it in between, as the manual says.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from simharness.engine.operations import Operation, Resource
from simharness.runtimes.files.kinds import LOCK, TRY_LOCK, UNLOCK
from simharness.runtimes.files.parts import Inode, Location, OpenFile
from simharness.runtimes.files.state import Files
from simharness.runtimes.primitives import gave_back, me, took
from simharness.runtimes.refused import refuse

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]  # the other possibility

EVERYTHING = sys.maxsize


class Held(NamedTuple):
    """A lock: by whom (an open file's name, or a process), who waits for it when asked (an actor), and on which bytes."""

    owner: str
    holder: str
    exclusive: bool
    start: int = 0
    end: int = EVERYTHING


State = tuple[Any, ...]
"""The name of the actor to name in messages, or None, and the locks."""


def _resource(files: Files, inode: Inode, word: str) -> Resource:
    """Return the locks of a file; a later file of the same name has others."""
    resource = inode.locks.get(word)
    if resource is None:
        name = f"{word} of {inode.name}" + (f" #{inode.number}" if inode.number > 1 else "")
        resource = inode.locks[word] = files.kernel.resource(name, (None, ()))
    return resource


def _state(locks: tuple[Held, ...]) -> State:
    return (locks[0].holder if len(locks) == 1 else None, locks)


def _free(wanted: Held) -> Callable[[State], bool]:
    """Return whether nobody else's lock stands against this one."""

    def free(state: State) -> bool:
        return not any(
            held.owner != wanted.owner and (held.exclusive or wanted.exclusive) and held.start < wanted.end and wanted.start < held.end
            for held in state[1]
        )

    return free


def _without(state: State, owner: str, start: int = 0, end: int = EVERYTHING) -> tuple[Held, ...]:
    """Return the locks without this owner's on these bytes."""
    left: list[Held] = []
    for held in state[1]:
        if held.owner != owner or held.end <= start or end <= held.start:
            left.append(held)
            continue
        if held.start < start:
            left.append(held._replace(end=start))
        if end < held.end:
            left.append(held._replace(start=end))
    return tuple(left)


def flock(files: Files, file: OpenFile, operation: int) -> None:
    """Do as `fcntl.flock`."""
    resource = _resource(files, file.inode, "flock")
    if operation & fcntl.LOCK_UN:
        _give_back(files, resource, file.owner, 0, EVERYTHING)
        return
    wanted = Held(file.owner, me(files.kernel), bool(operation & fcntl.LOCK_EX))
    mine = next((held for held in resource.state[1] if held.owner == file.owner), None)
    if mine is not None and mine.exclusive == wanted.exclusive:
        return
    if mine is not None and not _free(wanted)(resource.state):
        _give_back(files, resource, file.owner, 0, EVERYTHING)
    _crash_frees(files, file, resource)
    _take(files, resource, wanted, not operation & fcntl.LOCK_NB)


def record_lock(files: Files, file: OpenFile, kind: int, start: int, end: int, waits: bool) -> None:
    """Lock bytes of a file for the process."""
    resource = _resource(files, file.inode, "record locks")
    process = _process(files)
    if kind == fcntl.F_UNLCK:
        _give_back(files, resource, process, start, end)
        return
    _crash_frees(files, file, resource)
    _take(files, resource, Held(process, me(files.kernel), kind == fcntl.F_WRLCK, start, end), waits)


def conflicting(files: Files, file: OpenFile, wanted: tuple[int, int, int]) -> Held | None:
    """Return a record lock of another process that stands against this one (type, start, end)."""
    resource = _resource(files, file.inode, "record locks")
    kind, start, end = wanted
    files.kernel.step(Operation(TRY_LOCK, resource, reads=resource.bit, detail=resource.name))
    lock = Held(_process(files), "", kind == fcntl.F_WRLCK, start, end)
    return next((held for held in resource.state[1] if not _free(lock)((None, (held,)))), None)


def _process(files: Files) -> str:
    actor = files.kernel.actor
    return "main" if actor is None else actor.process


def _take(files: Files, resource: Resource, wanted: Held, waits: bool) -> None:
    kernel, free = files.kernel, _free(wanted)
    if waits:
        kernel.step(Operation(LOCK, resource, writes=resource.bit, enabled=free, detail=resource.name))
    else:
        kernel.step(Operation(TRY_LOCK, resource, writes_when=free, detail=resource.name))
        if not free(resource.state):
            kernel.note(f"held by {resource.state[0] or 'others'}")
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    left = _without(resource.state, wanted.owner, wanted.start, wanted.end)
    kernel.put(resource, _state((*left, wanted)))
    if kernel.tracing:
        took(kernel, resource)


def _give_back(files: Files, resource: Resource, owner: str, start: int, end: int) -> None:
    if any(held.owner == owner for held in resource.state[1]):
        files.kernel.step(Operation(UNLOCK, resource, writes=resource.bit, detail=resource.name))
        _drop(files, resource, owner, start, end)


def _crash_frees(files: Files, file: OpenFile, resource: Resource) -> None:
    kernel = files.kernel
    if kernel.movers.may_crash:
        kernel.movers.may_hold(file.process, None, "", resource.bit)


def holds(files: Files, file: OpenFile, last: bool) -> bool:
    """Whether closing a descriptor of an open file gives back a lock; `last`: it has no other."""
    if not file.inode.locks:
        return False
    flocks, records = (_resource(files, file.inode, word).state[1] for word in ("flock", "record locks"))
    return (last and any(held.owner == file.owner for held in flocks)) or any(held.owner == file.process for held in records)


def places(files: Files, file: OpenFile) -> list[Location]:
    """Return the locks of a file as locations."""
    resources = (_resource(files, file.inode, word) for word in ("flock", "record locks"))
    return [Location(resource.name, resource.bit) for resource in resources]


def closed(files: Files, file: OpenFile, last: bool) -> None:
    """A descriptor of an open file is closed: the process gives back its record locks, the last descriptor also the flock."""
    if last:
        _drop(files, _resource(files, file.inode, "flock"), file.owner)
    _drop(files, _resource(files, file.inode, "record locks"), file.process)


def _drop(files: Files, resource: Resource, owner: str, start: int = 0, end: int = EVERYTHING) -> None:
    if any(held.owner == owner for held in resource.state[1]):
        files.kernel.put(resource, _state(_without(resource.state, owner, start, end)))
        if files.kernel.tracing:
            gave_back(files.kernel, resource)


def crashed(files: Files, process: str) -> None:
    """A process has died: its open files are closed."""
    for file in {id(file): file for file in files.open.values()}.values():
        if file.process == process:
            closed(files, file, True)


# The doors


def span(file: OpenFile, descriptor: int, start: int, length: int, whence: int) -> tuple[int, int]:
    """Return the bytes (from, to) that a record lock is on."""
    if whence == os.SEEK_CUR:
        start += _lseek(descriptor, 0, os.SEEK_CUR)
    elif whence == os.SEEK_END:
        start += _fstat(descriptor).st_size
    if length < 0:
        return start + length, start
    return start, start + length if length else EVERYTHING


_lseek, _fstat = os.lseek, os.fstat
_FLOCK = "hhqqi"
"""The C structure of `fcntl`: type, whence, start, length, process."""


def by_fcntl(files: Files, file: OpenFile, descriptor: int, command: int, argument: Any) -> Any:
    """Do as `fcntl.fcntl` with a command for record locks."""
    if not isinstance(argument, bytes | bytearray) or len(argument) < struct.calcsize(_FLOCK):
        refuse(files.kernel, "fcntl.fcntl", "lock with fcntl.lockf", sys._getframe(1))
    kind, whence, start, length, _ = struct.unpack_from(_FLOCK, argument)
    first, end = span(file, descriptor, start, length, whence)
    if command == fcntl.F_GETLK:
        other = conflicting(files, file, (kind, first, end))
        found = fcntl.F_UNLCK if other is None else fcntl.F_WRLCK if other.exclusive else fcntl.F_RDLCK
        packed = bytearray(argument)
        struct.pack_into("h", packed, 0, found)
        return bytes(packed)
    record_lock(files, file, kind, first, end, command == fcntl.F_SETLKW)
    return bytes(argument)
