"""Python's file objects: `open`, the raw files beneath them, and the buffers between.

Each call on a raw file is a system call, thus a step; what a buffer or a text object keeps is memory of the process, which a crash loses.
`read()` of all that is left makes several, as it does in reality. The buffered objects have a lock, which a thread holds while one of its
calls on the raw file is under way: others wait for it.
"""

from __future__ import annotations

import _io
import os
import weakref
from collections.abc import Callable
from typing import Any

from simharness.engine.kernel import current
from simharness.engine.operations import Operation
from simharness.engine.phases import RUNNING
from simharness.runtimes.files import kinds
from simharness.runtimes.files.asking import asked
from simharness.runtimes.files.calls import open_path
from simharness.runtimes.files.kept import genuine
from simharness.runtimes.files.opened import closing, known, opened, using
from simharness.runtimes.files.parts import OpenFile
from simharness.runtimes.files.paths import absolute
from simharness.runtimes.files.state import Files
from simharness.runtimes.patching import Patches

_Raw = _io.FileIO
_genuine_open = _io.open
_raw = {name: vars(_Raw)[name] for name in ("read", "readall", "readinto", "write", "seek", "tell", "truncate", "close", "_dealloc_warn")}
_fileno = vars(_Raw)["fileno"]
_BUFFERED = (_io.BufferedReader, _io.BufferedWriter, _io.BufferedRandom)
_CALLS = ("read", "read1", "readinto", "readinto1", "readline", "peek", "write", "flush", "seek", "tell", "truncate", "close", "detach")
_SMALL = 8192
_address = id
_FLAGS = {"r": 0, "w": os.O_CREAT | os.O_TRUNC, "a": os.O_CREAT | os.O_APPEND, "x": os.O_CREAT | os.O_EXCL}


def virtual_open(
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Any = None,
) -> Any:
    """Open a file, as `open` does."""

    def call() -> Any:
        return _genuine_open(file, mode, buffering, encoding, errors, newline, closefd, opener)

    files = asked()
    if files is None:
        return call()
    text = absolute(files, file) if not isinstance(file, int) and opener is None else None
    kind = next((letter for letter in mode if letter in _FLAGS), "") if isinstance(mode, str) else ""
    if text is None or not kind:
        stream = _quietly(files, call) if opener is None else call()
        return _register(files, stream, "" if isinstance(file, int) else _text(files, file))
    stream, path = open_path(files, text, _FLAGS[kind], lambda: _quietly(files, call))
    return _register(files, stream, path)


def _quietly(files: Files, call: Callable[[], Any]) -> Any:
    """Make a call that consists of system calls which are part of a step that was made."""
    with files.quiet(files.kernel.actor):
        return call()


def _text(files: Files, path: Any) -> str:
    text = absolute(files, path)
    return "" if text is None else os.path.normpath(text)


def _register(files: Files, stream: Any, path: str) -> Any:
    raw = stream
    for name in ("buffer", "raw"):
        raw = getattr(raw, name, raw)
    if type(raw) is _Raw or isinstance(raw, _Raw):
        descriptor = _fileno(raw)
        if descriptor not in files.open:
            opened(files, descriptor, path)
        if raw.closefd:
            files.streams[descriptor] = weakref.ref(raw), raw is stream
    return stream


# Raw files


def _file(raw: Any) -> tuple[Files, OpenFile] | None:
    """Return the open file of a raw one, if the running code is part of a simulation."""
    files = asked(3)
    if files is None or raw.closed:
        return None
    file = known(files, _fileno(raw))
    return None if file is None else (files, file)


def _step(files: Files, raw: Any, kind: Any, file: OpenFile, **does: Any) -> None:
    """Make the step of a call on a raw file; meanwhile its buffer is locked."""
    kernel, actor = files.kernel, files.kernel.actor
    if kernel.phase != RUNNING:
        using(files, kind, file, **does)
        return
    key = _address(raw)
    files.busy[key] = actor
    if file.place.bit:
        kernel.put(files.buffer_of(file), True)
    try:
        using(files, kind, file, **does)
    finally:
        files.busy.pop(key, None)
        resource = kernel.resources.get(file.place.name)
        if resource is not None and resource.state and not kernel.dying:
            kernel.put(resource, None)


def _read(self: Any, size: int = -1) -> Any:
    if size is None or size < 0:
        return _readall(self)
    found = _file(self)
    if found is not None:
        _step(found[0], self, kinds.READ, found[1], read=True)
    return _raw["read"](self, size)


def _readall(self: Any) -> Any:
    found = _file(self)
    if found is None or not self.readable():
        return _raw["readall"](self)
    files, file = found
    descriptor = _fileno(self)
    pieces: list[bytes] = []
    room = 0
    while True:
        _step(files, self, kinds.READ, file, read=True)
        if not pieces:
            left = genuine["fstat"](descriptor).st_size - genuine["lseek"](descriptor, 0, os.SEEK_CUR)
            room = left + 1 if left > 0 else _SMALL
        piece = genuine["read"](descriptor, room)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        room = max(room - len(piece), 1) if room > len(piece) else _SMALL


def _readinto(self: Any, buffer: Any) -> Any:
    found = _file(self)
    if found is not None:
        _step(found[0], self, kinds.READ, found[1], read=True)
    return _raw["readinto"](self, buffer)


def _write(self: Any, data: Any) -> Any:
    found = _file(self)
    if found is not None:
        if found[0].kernel.dying:
            return memoryview(data).nbytes  # its process is dead, or its execution over: what was not written is lost
        _step(found[0], self, kinds.WRITE, found[1], write=True)
    return _raw["write"](self, data)


def _seek(self: Any, position: int, whence: int = 0) -> Any:
    found = _file(self)
    if found is not None and not found[0].kernel.dying:
        _step(found[0], self, kinds.SEEK, found[1], read=whence == os.SEEK_END)
    return _raw["seek"](self, position, whence)


def _tell(self: Any) -> Any:
    found = _file(self)
    if found is not None and not found[0].kernel.dying:
        _step(found[0], self, kinds.SEEK, found[1], moves=False)
    return _raw["tell"](self)


def _truncate(self: Any, size: Any = None) -> Any:
    found = _file(self)
    if found is not None:
        _step(found[0], self, kinds.TRUNCATE, found[1], write=True)
    return _raw["truncate"](self, size)


def _close(self: Any) -> Any:
    found = _file(self) if not self.closed and self.closefd else None
    if found is not None:
        if found[0].kernel.dying:
            found[0].open.pop(_fileno(self), None)
            self._finalizing = False
        else:
            try:
                closing(found[0], _fileno(self))
            except BaseException:  # its actor is stopped; a buffer counts as closed from here on
                found[0].open.pop(_fileno(self), None)
                _raw["close"](self)
                raise
    return _raw["close"](self)


def _warn(self: Any, source: Any) -> Any:
    kernel = current()
    if kernel is not None and kernel.dying:
        return None  # the program has not forgotten to close it: its execution is over
    return _raw["_dealloc_warn"](self, source)


_RAW_METHODS = {
    "_dealloc_warn": _warn,
    "read": _read,
    "readall": _readall,
    "readinto": _readinto,
    "write": _write,
    "seek": _seek,
    "tell": _tell,
    "truncate": _truncate,
    "close": _close,
}


# Buffers


def _waiting(method: Any) -> Callable[..., Any]:
    """Return a method of a buffered object that first waits for the object's lock."""

    def does(self: Any, *arguments: Any, **options: Any) -> Any:
        files = asked()
        if files is not None and files.busy:
            _wait(files, self)
        return method(self, *arguments, **options)

    does.__name__ = method.__name__
    return does


def _wait(files: Files, buffered: Any) -> None:
    try:
        key = _address(buffered.raw)
    except ValueError:  # detached
        return
    kernel = files.kernel
    while files.busy.get(key, kernel.actor) is not kernel.actor and kernel.phase == RUNNING:
        file = known(files, _fileno(buffered.raw))
        if file is None:
            return
        resource = files.buffer_of(file)
        if not file.place.bit:
            files.learn(file.place)
            kernel.put(resource, True)
        kernel.step(Operation(kinds.BUFFER, resource, writes=resource.bit, enabled=_free, detail=file.inode.name))


def _free(busy: Any) -> bool:
    return not busy


def install(patches: Patches) -> None:
    """Plan the replacement of `open`, and of methods of raw and buffered files, for all their objects."""
    patches.everywhere(_genuine_open, virtual_open)
    for name, function in _RAW_METHODS.items():
        patches.method(_Raw, name, function)
    for cls in _BUFFERED:
        for name in _CALLS:
            if name in vars(cls):
                patches.method(cls, name, _waiting(vars(cls)[name]))
