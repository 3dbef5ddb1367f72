"""The parts of the file system, as an execution touches them: entries, folders, files, open files, and what a call touches of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

from simharness.engine.actors import Actor
from simharness.engine.operations import Resource

_lstat = os.lstat


class Location:
    """A part of the file system: its bit if it is a scheduling point, else which actor has touched it and whether it was written."""

    __slots__ = ("actor", "bit", "folder", "name", "path", "written")

    def __init__(self, name: str, bit: int, folder: Folder | None = None, path: str = "") -> None:
        self.name = name
        self.bit = bit
        self.folder = folder
        self.path = path
        self.actor: Actor | None = None
        self.written = False


class Folder:
    """The entries of a folder that were touched; `listed`: the actor that has listed it, or MANY."""

    __slots__ = ("entries", "listed", "prefix")

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.entries: dict[str, Location] = {}
        self.listed: Actor | None = None


class Inode:
    """A file or folder, whatever its names are, the `number`-th that is called so.

    `times`: when it was read and written, in nanoseconds, once it has been changed. `made`: the execution has made it, so its real number
    says nothing.
    """

    __slots__ = ("contents", "links", "locks", "made", "name", "number", "times")

    def __init__(self, name: str, number: int, contents: Location, links: Location) -> None:
        self.name = name
        self.number = number
        self.made = False
        self.contents = contents
        self.links = links
        self.times: tuple[int, int] | None = None
        self.locks: dict[str, Resource] = {}

    @property
    def identity(self) -> int:
        """The number by which a status identifies it, which is the same in every execution."""
        return 1 << 33 | crc32(f"{self.name} {self.number}".encode("utf-8", "surrogatepass"))


class OpenFile:
    """An open file description: several descriptors may share it; `owner`: of its locks."""

    __slots__ = ("descriptors", "inode", "name", "owner", "path", "place", "process")

    def __init__(self, inode: Inode, name: str, path: str, place: Location, process: str) -> None:
        self.inode = inode
        self.name = self.owner = name
        self.path = path
        self.place = place
        self.process = process
        self.descriptors: set[int] = set()


class If(NamedTuple):
    """An entry that a call writes only if it is there, or only if it is not, and what it then writes besides; else it reads the entry."""

    entry: Location
    present: bool
    also: Sequence[Location] = ()


class Plan(NamedTuple):
    """What a call touches, as far as that is known: (location, whether it is written)."""

    touched: list[tuple[Location, bool]]
    decides: If | None = None


def status_of(path: str) -> os.stat_result | None:
    """Return the status of what is at a path, without following it; None if nothing is."""
    try:
        return _lstat(path)
    except (OSError, ValueError):
        return None
