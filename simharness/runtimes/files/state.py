"""What one execution has done with files: the locations that it has touched, its open files, the names of what it has met.

A *location* is an entry of a folder (a name in it), the contents of a file, the number of its names, an open file (its offset), or a
setting of a process. As with memory, it is a scheduling point only once two actors have touched it and one has written it, which is
learned; what one actor touches, or nobody writes, costs no steps. Names of locations do not depend on the schedule: a file is called by the
path at which it was made, an open file after the actor that opened it.

What a call touches may depend on what it finds (the entry decides which file is read). So a call may take several steps: each touches what
the steps before it have shown to matter, the last touches all of it and does it. Whether an entry is there decides whether a call writes
it; that is the state of its resource.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from simharness.engine.actors import Actor
from simharness.engine.clock_steps import sees_time
from simharness.engine.kernel import Kernel
from simharness.engine.kinds import Kind
from simharness.engine.operations import Operation, Resource
from simharness.engine.phases import INSPECTING, RUNNING, SETUP
from simharness.runtimes.files.kinds import SharedFile
from simharness.runtimes.files.parts import Folder, Inode, Location, OpenFile, Plan, status_of

_getcwd = os.getcwd
_SESSION = re.compile(r"^.*/pytest-of-[^/]+/pytest-\d+/")
"""The folder of one session of pytest, which has another number each time."""
FILES = "files"
"""In a kernel's context: the `Files` of the execution."""
TURN = "turns outside"
"""In a kernel's context: is called when an execution first uses a path outside its own folders."""
REPORTS = "reports of files"
"""In a kernel's context: is called with each path that is used."""
TEMPORARY = "temporary folder"
"""In a kernel's context: the folder for temporary files, before and in the execution."""
MANY = Actor.__new__(Actor)
CHECK = Actor.__new__(Actor)
"""These stand for more than one actor, and for the checks."""


class Files:
    """The file system as one execution uses it."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._shared = kernel.learned.of(SharedFile)
        self._always = kernel.movers.may_crash  # what a crash leaves is seen by checks, too
        self._locations: dict[str, Location] = {}
        self.folders: dict[str, Folder] = {}
        self.inodes: dict[tuple[int, int], Inode] = {}
        self.open: dict[int, OpenFile] = {}
        self.streams: dict[int, Any] = {}
        self.busy: dict[int, Actor | None] = {}
        self.silent: set[Actor | None] = set()
        self.hidden: set[Actor | None] = set()
        self.covered: dict[Actor | None, int] = {}
        self.lasting: set[int] = set()
        self.outside = False
        self.changed_settings: set[str] = set()
        self.when_over: list[Callable[[], None]] = []

    # Names

    def roots(self) -> Iterable[tuple[str, str]]:
        """Yield the folders that are empty when an execution begins, and what stands for them in names."""
        if self.kernel.workspace.path is not None:
            yield self.kernel.workspace.path, ""
        if TEMPORARY in self.kernel.context:
            yield self.kernel.context[TEMPORARY][1], "temporary/"

    def inside(self, path: str) -> bool:
        """Whether a path is in a folder that is empty when an execution begins."""
        return any(path == root or path.startswith(root + os.sep) for root, _ in self.roots())

    def uses(self, path: str) -> None:
        """A path is used, which may be relative: what others do outside must not be seen half done."""
        if not self.outside and not self.inside(path if path.startswith("/") else os.path.join(_getcwd(), path)):
            self.outside = True
            turn = self.kernel.context.get(TURN)
            if turn is not None:
                turn()

    def label(self, path: str) -> str:
        """Return what a path is called, which is the same in every execution."""
        for root, word in self.roots():
            if path == root:
                return word.rstrip("/") or "the world's folder"
            if path.startswith(root + os.sep):
                return word + path[len(root) + 1 :]
        return _SESSION.sub("pytest/", path)

    def location(self, name: str, folder: Folder | None = None, path: str = "") -> Location:
        """Return the location of this name."""
        place = self._locations.get(name)
        if place is None:
            bit = self.kernel.names.bit(name) if self._always or name in self._shared else 0
            place = self._locations[name] = Location(name, bit, folder, path)
        return place

    def folder(self, path: str) -> Folder:
        """Return the folder at a canonical path."""
        folder = self.folders.get(path)
        if folder is None:
            label = self.label(path)
            own = any(path == root for root, _ in self.roots())
            prefix = f"{label}/" if not own else label + "/" if label.startswith("temporary") else ""
            folder = self.folders[path] = Folder(f"entry {prefix}".replace("//", "/"))
        return folder

    def entry(self, path: str, name: str) -> Location:
        """Return the location of a name in the folder at a canonical path."""
        folder = self.folder(path)
        place = folder.entries.get(name)
        if place is None:
            place = folder.entries[name] = self.location(folder.prefix + name, folder, os.path.join(path, name))
        return place

    def setting(self, group: str, prefix: str, name: str) -> Location:
        """Return the location of a setting of the process, one of a group that can be listed as a folder can."""
        folder = self.folders.get(group)
        if folder is None:
            folder = self.folders[group] = Folder(prefix)
        place = folder.entries.get(name)
        if place is None:
            place = folder.entries[name] = self.location(prefix + name, folder)
        return place

    def inode(self, path: str, status: os.stat_result) -> Inode:
        """Return the file with this status, met at a canonical path."""
        key = status.st_dev, status.st_ino
        inode = self.inodes.get(key)
        if inode is None:
            several = status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode)
            inode = self.inodes[key] = self._new_inode("a file with several names" if several else self.label(path))
        return inode

    def made(self, path: str) -> None:
        """Something was made at a canonical path; its number may have been that of a file that is gone."""
        status = status_of(path)
        if status is not None:
            self.inodes[status.st_dev, status.st_ino] = inode = self._new_inode(self.label(path))
            inode.made = True
            self.changed(inode)

    def _new_inode(self, name: str) -> Inode:
        number = self.kernel.labels.count(f"files called {name}")
        return Inode(name, number, self.location(f"contents of {name}"), self.location(f"links to {name}"))

    def changed(self, inode: Inode) -> None:
        """A file was written now."""
        sees_time(self.kernel)
        now = self.kernel.movers.wall()
        inode.times = now, now

    def moved(self, before: str, after: str) -> None:
        """A folder was moved: what is in it is known by other paths now, which the entry of the folder decides."""
        for path in [path for path in self.folders if path == before or path.startswith(before + os.sep)]:
            for entry in self.folders[path].entries.values():
                self.settle(entry)
        for path in [path for path in self.folders if path == after or path.startswith(after + os.sep)]:
            for entry in self.folders[path].entries.values():
                self.settle(entry)

    def report(self, text: str, looks: bool = False) -> None:
        """A path is about to be used: the runtime of databases has to know. `looks`: only to see whether something is there."""
        reports = self.kernel.context.get(REPORTS)
        if reports is not None:
            reports(self.kernel, text, looks)

    # Steps

    @contextmanager
    def quiet(self, actor: Actor | None) -> Iterator[None]:
        """A block in which an actor's calls are not looked at: they are parts of one that was."""
        before = actor in self.hidden
        self.hidden.add(actor)
        try:
            yield
        finally:
            if not before:
                self.hidden.discard(actor)

    def turn(self, kind: Kind, plan: Callable[[int], Plan], detail: str) -> None:
        """Make the steps of a call; the last touches all that the call touches, which is done when this returns.

        Args:
            plan: returns what the call touches, given the mask of the points whose states the steps so far have read.
        """
        kernel = self.kernel
        actor = kernel.actor
        if kernel.dying or (kernel.phase == RUNNING and actor is None):
            kernel.step(Operation(kind, detail=detail))
            return
        if kernel.phase != RUNNING:
            self._aside(kind, plan, detail)
            return
        if actor in self.silent:
            self._covered(plan(-1))
            return
        seen = written = 0
        stepped = False
        while True:
            now = plan(seen | written)
            if stepped:
                reads, writes, _ = self._masks(now, settled=True)
                if not reads & ~(seen | written) and not writes & ~written:
                    break
            reads, writes, maybe = self._masks(now)
            if not stepped and not reads | writes | maybe:
                break
            kernel.step(self._operation(kind, now, reads, writes, detail))
            seen, written, stepped = kernel.record.reads[-1], kernel.record.writes[-1], True
        self._meet(now, actor)

    def _masks(self, plan: Plan, settled: bool = False) -> tuple[int, int, int]:
        """Return what a call reads and writes, and what it writes perhaps; `settled`: whether it writes that is decided now."""
        reads = writes = maybe = 0
        for place, write in plan.touched:
            if write:
                writes |= place.bit
            else:
                reads |= place.bit
        if plan.decides is not None:
            also = 0
            for place in plan.decides.also:
                also |= place.bit
            maybe = plan.decides.entry.bit | also
            if settled or not plan.decides.entry.bit:
                if (status_of(plan.decides.entry.path) is not None) is plan.decides.present:
                    writes |= maybe
                else:
                    reads |= plan.decides.entry.bit
        return reads, writes, maybe

    def _operation(self, kind: Kind, plan: Plan, reads: int, writes: int, detail: str) -> Operation:
        decides = plan.decides
        if decides is None or not decides.entry.bit:
            return Operation(kind, reads=reads, writes=writes, detail=detail)
        also = 0
        for place in decides.also:
            also |= place.bit
        writes_when = bool if decides.present else _not
        return Operation(kind, self.presence(decides.entry), reads, writes, writes_when=writes_when, also=also, detail=detail)

    def presence(self, entry: Location) -> Resource:
        """Return the resource of an entry, whose state is whether it is there."""
        resource = self.kernel.resources.get(entry.name)
        if resource is None:
            resource = self.kernel.resource(entry.name, status_of(entry.path) is not None)
        return resource

    def buffer_of(self, file: OpenFile) -> Resource:
        """Return the lock of the buffer of an open file: its state is whether an actor is in a call on the raw file."""
        return self.kernel.resource(file.place.name)

    def settle(self, *entries: Location | None) -> None:
        """A call may have changed these entries: note whether they are there."""
        for entry in entries:
            if entry is not None:
                resource = self.kernel.resources.get(entry.name)
                there = status_of(entry.path) is not None
                if resource is not None and resource.state is not there:
                    self.kernel.put(resource, there)

    def _aside(self, kind: Kind, plan: Callable[[int], Plan], detail: str) -> None:
        """Outside the actors' run nothing is a step; a check of the states declares what it reads."""
        kernel = self.kernel
        if kernel.phase == SETUP:
            now = plan(-1)
            if now.decides is not None and now.decides.entry.bit:
                self.presence(now.decides.entry)
            return
        if kernel.phase != INSPECTING or not kernel.checking:
            return
        now = plan(-1)
        reads, writes, maybe = self._masks(now)
        if not kernel.tracing:
            self._meet(now, CHECK)
        if reads | writes | maybe:
            kernel.step(Operation(kind, reads=reads | writes | maybe, detail=detail))

    def _meet(self, plan: Plan, actor: Actor | None) -> None:
        """Record that an actor, or the checks, touch locations that are not scheduling points yet."""
        self.kernel.notice(touched=actor is not CHECK)
        for place, write in plan.touched:
            if not place.bit:
                self._meets(place, actor, write and actor is not CHECK)
        if plan.decides is not None:
            entry = plan.decides.entry
            active = (status_of(entry.path) is not None) is plan.decides.present
            for place in (entry, *(plan.decides.also if active else ())):
                if not place.bit:
                    self._meets(place, actor, active and actor is not CHECK)

    def _meets(self, place: Location, actor: Actor | None, write: bool) -> None:
        listed = place.folder.listed if place.folder is not None and write else None
        if listed not in (None, actor):
            self.learn(place)
        if place.actor is None or place.actor is actor:
            place.actor = actor
            place.written |= write
            return
        if write or place.written:
            self.learn(place)
        place.actor = MANY

    def learn(self, place: Location) -> None:
        """Several actors touch a location, and one writes it."""
        self.kernel.learned.learn(SharedFile(place.name))

    def listing(self, path: str, actor: Actor | None) -> list[tuple[Location, bool]]:
        """Return the entries of a folder that listing it reads: those that are points; others become points if they are written, too."""
        folder = self.folder(path)
        if self.kernel.phase != RUNNING:
            actor = CHECK
        if self.kernel.phase != SETUP:
            for place in folder.entries.values():
                if not place.bit and place.written and place.actor is not actor:
                    self.learn(place)
            folder.listed = actor if folder.listed in (None, actor) else MANY
        known = [name for name in self._shared if name.startswith(folder.prefix) and "/" not in name[len(folder.prefix) :]]
        return [(self._known(folder, path, name), False) for name in known]

    def _known(self, folder: Folder, path: str, location: str) -> Location:
        name = location[len(folder.prefix) :]
        place = folder.entries.get(name)
        if place is None:
            place = folder.entries[name] = self.location(location, folder, os.path.join(path, name))
        return place

    def _covered(self, plan: Plan) -> None:
        """A call under a lock that no runtime controls makes no step: what the step before it did not cover is named."""
        reads, writes, _ = self._masks(plan, settled=True)
        actor = self.kernel.actor
        if (reads | writes) & ~self.covered.get(actor, 0):
            self.kernel.learned.leaves_out("logging handlers that do more than write a line")
        self._meet(plan, actor)


def _not(state: Any) -> bool:
    return not state


def files_of(kernel: Kernel) -> Files:
    """Return the file system of the execution under way."""
    files: Files | None = kernel.context.get(FILES)
    if files is None:
        files = kernel.context[FILES] = Files(kernel)
    return files
