"""From a path to the entries that decide what it leads to: links are followed here, since others may change them."""

from __future__ import annotations

import os
import stat
from typing import Any, NamedTuple

from simharness.runtimes.files.parts import Location, status_of
from simharness.runtimes.files.state import Files

MOST_LINKS = 40
CURRENT, UMASK = "working folder", "umask"
"""Locations of a process."""
_EXEMPT = ("/dev/", "/proc/", "/sys/")
_NOT_EXEMPT = "/dev/shm/"
_readlink, _getcwd, _fspath = os.readlink, os.getcwd, os.fspath


class Found(NamedTuple):
    """What a path leads to.

    `read`: the entries on the way. `entry`: the last one; None if the way to it is not known, or not there. `path`: canonical, of `entry`.
    """

    read: list[tuple[Location, bool]]
    entry: Location | None
    path: str
    status: os.stat_result | None


def text_of(path: Any) -> str | None:
    """Return a path as text; None if it is none."""
    try:
        return os.fsdecode(_fspath(path))
    except (TypeError, ValueError, UnicodeError):
        return None


def absolute(files: Files, path: Any, folder: int | None = None) -> str | None:
    """Return the path as a text, relative only to the current folder; None if it is none, or exempt: a device, or the kernel's own.

    Args:
        folder: a descriptor of the folder that it is relative to.
    """
    text = text_of(path)
    if text is None or "\0" in text or not text:
        return None
    if folder is not None and not text.startswith("/"):
        text = f"{base_of(files, folder)}/{text}"
    if text.startswith(_EXEMPT) and not text.startswith(_NOT_EXEMPT):
        return None
    if not files.outside:
        files.uses(text)
    return text


def base_of(files: Files, descriptor: int) -> str:
    """Return the folder of a descriptor."""
    known = files.open.get(descriptor)
    return known.path if known is not None else _readlink(f"/proc/self/fd/{descriptor}")


def find(files: Files, text: str, follow: bool, seen: int) -> Found:
    """Walk a path from the root, or from a folder of the execution's own, which has no links above it.

    Args:
        follow: whether the last part is followed if it is a link.
        seen: the mask of the entries that are known to be as they are now; the walk ends at an entry that it does not contain.
    """
    read: list[tuple[Location, bool]] = []
    if not text.startswith("/"):
        current = files.location(CURRENT)
        read.append((current, False))
        if current.bit & ~seen:
            return Found(read, None, "", None)
        text = f"{_getcwd()}/{text}"
    here = next((root for root, _ in files.roots() if text.startswith(root + "/")), "")
    parts = text[len(here) :].split("/")[::-1]
    here = here or "/"
    links = 0
    while parts:
        name = parts.pop()
        if name in ("", "."):
            continue
        if name == "..":
            here = os.path.dirname(here)
            continue
        entry = files.entry(here, name)
        last = not any(part not in ("", ".") for part in parts)
        unknown = bool(entry.bit & ~seen)
        if unknown and not last:
            return Found([*read, (entry, False)], None, "", None)
        status = status_of(entry.path)
        if last and (unknown or not follow):
            return Found(read, entry, entry.path, status)
        if status is not None and stat.S_ISLNK(status.st_mode) and links < MOST_LINKS:
            links += 1
            read.append((entry, False))
            target = _readlink(entry.path)
            here = "/" if target.startswith("/") else here
            parts += target.split("/")[::-1]
            continue
        if last:
            return Found(read, entry, entry.path, status)
        read.append((entry, False))
        if status is None or not stat.S_ISDIR(status.st_mode):
            return Found(read, None, "", None)
        here = entry.path
    return Found(read, None, here, status_of(here))
