"""Templates: expensive set-up that is done once, and whose result each execution gets as it was when it was made.

The first execution that asks for a template makes it, under virtual time and with random numbers of its own, and begins again: so every
execution finds the template made, in a fresh process too. What hangs on the result, and on instrumented modules, is then put back in place
(`heap`), the files of the execution's folder are written anew, and connections are opened again under their old identity, with the pragmas
that were set. Locks begin free in each execution; events, semaphores and queues begin as the template leaves them.

Threads that the template starts run to their ends before anything is kept (`rehearsal`): no actor meets them.
"""

from __future__ import annotations

import io
import os
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from types import AsyncGeneratorType, CoroutineType, FunctionType, GeneratorType
from typing import Any

from simharness.engine.kernel import Kernel
from simharness.engine.rehearsal import finish, rehearse
from simharness.errors import Misuse, SimharnessError
from simharness.places import caller
from simharness.runtimes import identities
from simharness.runtimes.heap.functions import Function
from simharness.runtimes.heap.records import Record
from simharness.runtimes.heap.walk import Walk
from simharness.runtimes.identities import DRAWER
from simharness.runtimes.sqlite.made import MADE
from simharness.runtimes.sqlite.registry import registry_of
from simharness.runtimes.threads import settled
from simharness.runtimes.threads.thread import JOIN

TEMPLATES = "templates"
_Connection = sqlite3.Connection
_TRANSIENT = ("-wal", "-shm", "-journal")


class Again(SimharnessError):
    """A template has been made: the execution begins again, and finds it."""


class Templates:
    """The templates of one simulation, in the order in which set-up asks for them."""

    def __init__(self) -> None:
        self._made: list[Template] = []
        self._asked = 0
        self._making = ""

    def begin(self) -> None:
        """An execution begins."""
        self._asked = 0
        self._making = ""

    def clear(self) -> None:
        """Forget all, so that they are made again."""
        self._made.clear()

    def give(self, kernel: Kernel, build: Callable[[], Any]) -> Any:
        """Return what `build` makes, as it was when it was made.

        Raises:
            Misuse: the scenario is not setting up, or something cannot be put back. Again: it has just been made.
        """
        place = caller()
        if not kernel.setting_up:
            raise Misuse(f"{place}: a template is made in set-up, before any actor runs")
        number = self._asked
        self._asked += 1
        if number < len(self._made):
            return self._made[number].put_back(kernel)
        self._making, self._mark = str(place), kernel.learned.mark()
        template = _make(kernel, build, f"template {number}", self._making)
        self._making = ""
        if template is not None:
            self._made.append(template)
        again = Again("a template has been made")
        kernel.give_up(again)
        raise again

    def check(self, kernel: Kernel) -> None:
        """Refuse a template whose making has not come to its end, though the execution has.

        Raises:
            Misuse: a thread that it starts does not end. Again: it may be different with what its making has taught.
        """
        if self._making and kernel.failure is not None:
            raise kernel.failure.error  # as it would in set-up
        if self._making and not self._mark.holds:
            raise Again("making a template has taught something")
        if self._making:
            raise Misuse(f"{self._making}: {settled.unending(kernel)}: start it in set-up, after the template, or in an actor")

    def in_words(self) -> str:
        """Say which threads no actor meets; empty if there are none."""
        names = dict.fromkeys(name for template in self._made for name in template.threads)
        return f"threads of templates have ended before actors begin: {', '.join(names)}" if names else ""


def give(kernel: Kernel, build: Callable[[], Any]) -> Any:
    """Return what a template of the simulation of this execution makes; see `Templates.give`."""
    templates: Templates = kernel.context[TEMPLATES]
    return templates.give(kernel, build)


def _make(kernel: Kernel, build: Callable[[], Any], name: str, place: str) -> Template | None:
    """Make a template; None if it has to be made again, because an `id` was asked for: it is to be a number."""
    known = identities.Identified() in kernel.learned
    kernel.context[DRAWER] = name
    opened = kernel.context[MADE] = []
    began = kernel.clock.now
    rehearse(kernel)
    try:
        result = build()
        finish(kernel, JOIN)
        settled.check(kernel, place)
        return None if not known and identities.Identified() in kernel.learned else Template(kernel, result, opened, began, place)
    finally:
        del kernel.context[DRAWER], kernel.context[MADE]


class Template:
    """The result of a set-up, and what it takes to put it back."""

    def __init__(self, kernel: Kernel, result: Any, opened: Iterable[Any], began: int, place: str) -> None:
        self.result = result
        self._lasted = kernel.clock.now - began
        self.threads = settled.threads(kernel)
        self._numbers = identities.numbers_of(kernel).all()
        self._connections = [made for made in opened if not made.closed]
        for made in self._connections:
            made.keep(place)
        folder = kernel.workspace.path
        for database in registry_of(kernel).databases.values():
            if not database.private:
                _checkpoint(database.path, folder, place)
        self._folder = folder
        self._files = [] if folder is None else list(_files(folder))
        walk = _Walk(kernel, place)
        walk.visit([("the template", result)])
        self._records: list[Record] = list(walk.records.values())
        self._spaces = list(walk.spaces.values())
        self._held = walk.held

    def put_back(self, kernel: Kernel) -> Any:
        """Give everything the state that it had when the template was made."""
        for _ in range(2):  # once more: finalisers of what is replaced may have changed something
            lost = [record.put_back() for record in self._records if not record.same()]
            lost += [space.among(names).put_back() for space in self._spaces if (names := space.changed())]
            if not lost:
                break
            del lost
        if self._folder is not None:
            kernel.workspace.empty(again=True)
            _write(self._folder, self._files)
        identities.numbers_of(kernel).adopt(self._numbers)
        for made in self._connections:
            made.open_again(kernel)
        kernel.clock.skip(self._lasted)
        return self.result


class _Walk(Walk):
    """Finds what hangs on a template: functions with closures, too, whichever module they are from."""

    def __init__(self, kernel: Kernel, place: str) -> None:
        super().__init__()
        self._kernel, self._place = kernel, place

    def _records_of(self, thing: Any, path: str) -> Iterable[Record]:
        what = _transient(thing)
        if what:
            raise Misuse(f"{self._place}: {path} is {what}, which cannot be given to another execution: make it outside the template")
        settled.keep(self._kernel, thing)
        if type(thing) is FunctionType and thing.__closure__ is not None:
            return (Function(thing, path),)
        return super()._records_of(thing, path)


def _transient(thing: Any) -> str:
    """Return what a thing is if it cannot be put back, else nothing."""
    if isinstance(thing, socket.socket):
        return "an open socket" if thing.fileno() >= 0 else ""
    if isinstance(thing, io.IOBase) and not isinstance(thing, io.StringIO | io.BytesIO):
        return "" if thing.closed or getattr(thing, "name", None) in (0, 1, 2, "<stdin>", "<stdout>", "<stderr>") else "an open file"
    if isinstance(thing, threading.Thread) and thing.is_alive():
        return "a running thread"
    if isinstance(thing, GeneratorType | CoroutineType | AsyncGeneratorType):
        return f"a running {type(thing).__name__}"
    return "an open cursor" if isinstance(thing, sqlite3.Cursor) else ""


# Files


def _checkpoint(path: str, folder: str | None, place: str) -> None:
    """Write what is in a database's log into its file."""
    if folder is None or not os.path.realpath(path).startswith(os.path.realpath(folder) + os.sep):
        raise Misuse(f"{place}: the template's database {path} is outside the execution's folder: use world.path or tmp_path")
    connection = _Connection(path, timeout=0, isolation_level=None)
    try:
        [busy, _, _] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise Misuse(f"{place}: the template leaves a transaction open in {os.path.basename(path)}: end it")
    finally:
        connection.close()


def _files(folder: str) -> Iterator[tuple[str, bytes | None]]:
    """Yield the folders (None) and the files below a folder, with what they contain."""
    for inner, folders, files in os.walk(folder):
        for name in sorted(folders):
            yield os.path.relpath(os.path.join(inner, name), folder), None
        for name in sorted(files):
            if not name.endswith(_TRANSIENT):
                with open(os.path.join(inner, name), "rb") as file:
                    yield os.path.relpath(os.path.join(inner, name), folder), file.read()


def _write(folder: str, files: Iterable[tuple[str, bytes | None]]) -> None:
    for name, content in files:
        path = os.path.join(folder, name)
        if content is None:
            os.mkdir(path, 0o700)
        else:
            with open(path, "wb") as file:
                file.write(content)
