"""A line of a log file: writing it is one step, since the handler's lock is the standard library's own, under which nothing may wait."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from simharness.engine.kernel import Kernel
from simharness.engine.phases import RUNNING
from simharness.runtimes.files import kinds
from simharness.runtimes.files.opened import known
from simharness.runtimes.files.parts import If, OpenFile, Plan
from simharness.runtimes.files.paths import absolute, find
from simharness.runtimes.files.state import Files, files_of


@contextmanager
def one_line(kernel: Kernel, handler: logging.Handler) -> Iterator[None]:
    """A block in which a handler writes a record; what it does to files is one step, made before."""
    if kernel.phase != RUNNING or kernel.dying:
        yield
        return
    files, actor = files_of(kernel), kernel.actor
    if actor in files.silent:
        yield
        return
    file, path = _written(files, handler), getattr(handler, "baseFilename", None)
    before = kernel.record.n
    if file is not None:
        touched = [(file.place, True), (file.inode.contents, True)]
        files.turn(kinds.LOG_LINE, lambda _: Plan(touched), file.inode.name)
    elif isinstance(path, str):
        files.turn(kinds.LOG_LINE, lambda seen: _opening(files, path, seen), files.label(path))
    stepped = kernel.record.n > before
    files.silent.add(actor)
    files.covered[actor] = kernel.record.reads[-1] | kernel.record.writes[-1] if stepped else 0
    try:
        yield
    finally:
        files.silent.discard(actor)


def _opening(files: Files, path: str, seen: int) -> Plan:
    """Return what a handler touches that opens its file and writes to it."""
    text = absolute(files, path)
    found = None if text is None else find(files, text, True, seen)
    if found is None or found.entry is None:
        return Plan([] if found is None else found.read)
    name = files.label(os.path.normpath(path))
    inode = files.inode(found.path, found.status) if found.status is not None and not found.entry.bit & ~seen else None
    contents = inode.contents if inode is not None else files.location(f"contents of {name}")
    return Plan([*found.read, (contents, True)], If(found.entry, False))


def _written(files: Files, handler: Any) -> OpenFile | None:
    """Return the open file that a handler writes to."""
    stream = getattr(handler, "stream", None)
    raw: Any = getattr(getattr(stream, "buffer", None), "raw", None)
    try:
        return None if raw is None else known(files, raw.fileno())
    except (AttributeError, OSError, ValueError, TypeError):
        return None
