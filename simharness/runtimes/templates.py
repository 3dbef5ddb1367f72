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
from collections.abc import Callable, Iterable
from types import AsyncGeneratorType, CoroutineType, FunctionType, GeneratorType
from typing import Any

from simharness.engine.kernel import Kernel
from simharness.engine.rehearsal import finish, rehearse
from simharness.errors import Misuse, SimharnessError
from simharness.places import caller
from simharness.runtimes import identities
from simharness.runtimes.files.undo import Saved, restore, saved_of
from simharness.runtimes.heap.functions import Function
from simharness.runtimes.heap.heap import turns
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
        while self._made:
            self._made.pop().close()

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
    """The result of a set-up, and the records of what it takes to put it back: objects, files, numbers, connections, in this order."""

    def __init__(self, kernel: Kernel, result: Any, opened: Iterable[Any], began: int, place: str) -> None:
        self.result = result
        self._lasted = kernel.clock.now - began
        self.threads = settled.threads(kernel)
        connections = [made for made in opened if not made.closed]
        for made in connections:
            made.keep(place)
        folder = kernel.workspace.path
        for database in registry_of(kernel).databases.values():
            if not database.private:
                _checkpoint(database.path, folder, place)
        files = [] if folder is None else [_Files(kernel, folder)]
        walk = _Walk(kernel, place)
        walk.visit([("the template", result)])
        self._objects = walk.records
        self._others: list[Record] = [*files, _Numbers(kernel), *connections]
        self._held = walk.held

    def put_back(self, kernel: Kernel) -> Any:
        """Give everything the state that it had when the template was made."""
        turns(list(self._objects.values()))
        for record in self._others:
            record.put_back()
        kernel.clock.skip(self._lasted)
        return self.result

    def close(self) -> None:
        """Let go of everything: records of iterators refer to the others."""
        self._objects.clear()


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
    kind = type(thing)
    if issubclass(kind, socket.socket):
        return "an open socket" if thing.fileno() >= 0 else ""
    if issubclass(kind, io.IOBase) and not issubclass(kind, io.StringIO | io.BytesIO):
        return "" if thing.closed or getattr(thing, "name", None) in (0, 1, 2, "<stdin>", "<stdout>", "<stderr>") else "an open file"
    if issubclass(kind, threading.Thread) and thing.is_alive():
        return "a running thread"
    if issubclass(kind, GeneratorType | CoroutineType | AsyncGeneratorType):
        return f"a running {kind.__name__}"
    return "an open cursor" if issubclass(kind, sqlite3.Cursor) else ""


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


class _Files(Record):
    """The files and folders below the execution's folder."""

    def __init__(self, kernel: Kernel, folder: str) -> None:
        self.thing, self.path = kernel, folder
        self.saved: dict[str, Saved] = self.take()

    def take(self) -> dict[str, Saved]:
        """Return what is at each path."""
        below = (os.path.join(inner, name) for inner, folders, files in os.walk(self.path) for name in (*folders, *files))
        return {path: saved_of(path) for path in below if not path.endswith(_TRANSIENT)}

    def give(self, state: dict[str, Saved]) -> None:
        """Have only these below the folder."""
        self.thing.workspace.empty(again=True)
        restore(state)


class _Numbers(Record):
    """The numbers that objects have as their `id`."""

    def __init__(self, kernel: Kernel) -> None:
        self.thing, self.path = kernel, "ids"
        self.saved: list[tuple[Any, int]] = self.take()

    def take(self) -> list[tuple[Any, int]]:
        """Return the objects that have numbers, and these."""
        return identities.numbers_of(self.thing).all()

    def give(self, state: list[tuple[Any, int]]) -> None:
        """Give objects the numbers that they have."""
        identities.numbers_of(self.thing).adopt(state)
