"""One connection in one execution: which actors use it, under which locks, and whether a SELECT on it is unfinished.

A database with only one connection needs no points, nor does a connection that a lock of the program protects (the lockset
of Savage et al.: Eraser, 1997). Both are assumed until an execution shows otherwise; then `kernel.learned` restarts exploring.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from simharness.engine.actors import Actor
from simharness.engine.crashes import held_by
from simharness.engine.kernel import Kernel
from simharness.engine.operations import Operation
from simharness.engine.phases import RUNNING, SETUP
from simharness.errors import Misuse
from simharness.places import caller
from simharness.runtimes.sqlite import kinds
from simharness.runtimes.sqlite.database import Link
from simharness.runtimes.sqlite.facts import MovedCursors, OpenCursors, Unprotected
from simharness.runtimes.sqlite.kept.playing import closed
from simharness.runtimes.workers import compared

_create_function = sqlite3.Connection.create_function


def enter(link: Link) -> None:
    """Refuse a use in a dying execution, in a later execution, or from another thread."""
    kernel = link.kernel
    if kernel.dying:
        kernel.step(Operation(kinds.STATEMENT))
    if link.closed:
        if not link.over and kernel.phase == RUNNING:
            note_access(link)
        raise closed()
    if link.over:
        raise elsewhere(link)
    if link.maker is not None and kernel.phase == RUNNING and kernel.actor is not link.maker:
        _check_thread(link)


def note_access(link: Link) -> None:
    """Note a use of the connection that is no statement: a step where several actors use it unprotected."""
    kernel = link.kernel
    if kernel.phase == RUNNING and not kernel.dying and kernel.actor is not None:
        note_use(link, kernel.actor)
        if link.exposed:
            kernel.step(Operation(kinds.STATEMENT, reads=link.bit | link.database.every))


def _check_thread(link: Link) -> None:
    """Raise what `check_same_thread` makes the library raise; tasks of one thread have the same `locals["thread"]`."""
    maker, actor = link.maker, link.kernel.actor
    assert maker is not None
    assert actor is not None
    compared(link.kernel, maker, actor)
    made, used = maker.locals.get("thread", maker.index), actor.locals.get("thread", actor.index)
    if made != used:
        raise sqlite3.ProgrammingError(
            "SQLite objects created in a thread can only be used in that same thread. The object was created in thread id"
            f" {made} and this is thread id {used}."
        )


# Cursors


def note_mover(link: Link, cursor: Any) -> None:
    """Note the actor that starts a statement on a cursor, or fetches from it, and whether several actors do."""
    actor = link.kernel.actor
    if cursor.mover is not actor and link.kernel.phase == RUNNING:
        if cursor.mover is not None and not link.moves_cursors:
            link.kernel.learned.learn(MovedCursors(link.name))
        cursor.mover = actor


# Which points


def note_use(link: Link, actor: Actor) -> None:
    """Note a use by an actor: which actors share this connection, under which locks, and whether others use the database."""
    kernel, remembered, database = link.kernel, link.remembered, link.database
    if link.user is not actor:
        _of_one_process(link, actor)
        if link.user is not None and not _ordered(link, actor):
            remembered.shared.add(link.name)
            _unprotected(link)
        link.user = actor
    if database.user is not link:
        if database.user is not None and not database.private:
            kernel.learned.learn(database.several)
        database.user = link
    lockset = remembered.locksets.get(link.name)
    if lockset is not None and not lockset:
        return
    resources, me = kernel.resources, actor.host.name
    if lockset is None:
        held = remembered.locksets[link.name] = frozenset(_held(kernel, me))
    else:
        for lock in lockset:
            if lock not in resources or resources[lock].state != me:
                break
        else:
            return
        if _ordered(link, actor):
            return
        held = frozenset(lock for lock in lockset if lock in resources and resources[lock].state == me)
        remembered.locksets[link.name] = held
    if not held:
        _unprotected(link)


def _of_one_process(link: Link, actor: Actor) -> None:
    """Refuse a connection that two processes use: it cannot leave the memory of the one that opened it."""
    if link.process is None:
        link.process, link.place = actor.process, caller()
        link.report_held()
    elif link.process != actor.process:
        raise Misuse(
            f"{caller() or '?'}: process {actor.process} uses {link.name} to {link.database.label}, which process {link.process} uses"
            f" at {link.place or '?'}; have each process open its own"
        )


def quick(link: Link) -> bool:
    """Whether a statement of an actor needs no point: no other actor can meet this connection's locks.

    Then `passed` is the number of the step, and the actor's further statements in it need no new check: no lock is taken or
    released within a step.
    """
    kernel, database = link.kernel, link.database
    if not database.alone or link.exposed or kernel.tracing:
        return False
    actor = kernel.actor
    if kernel.phase != RUNNING:
        return database.private and (kernel.phase == SETUP or not kernel.checking)
    assert actor is not None
    note_use(link, actor)
    if database.lock.state is None or database.lock.state == link.name:
        link.passed = kernel.record.n
        return True
    return False


def passing(link: Link) -> bool:
    """Whether `quick` has already said in this step that the current actor needs no point."""
    kernel = link.kernel
    return link.passed == kernel.record.n and link.user is kernel.actor and kernel.phase == RUNNING and not link.closed


def _unprotected(link: Link) -> None:
    if link.name in link.remembered.shared and not link.remembered.locksets.get(link.name, frozenset()):
        link.kernel.learned.learn(Unprotected(link.name))


def _ordered(link: Link, actor: Actor) -> bool:
    """Whether all other actors have ended and the current one has joined each of them: they take no further step."""
    kernel = link.kernel
    if len(kernel.cast.live) > 1:
        return False
    for other in kernel.cast.actors.values():
        if other is not actor:
            end = other.done.history[-1][0] if other.done.history else kernel.record.n
            steps = range(end + 1, kernel.record.n)
            if not any(kernel.record.reads[n] & other.bit and kernel.record.keys[n] == actor.key for n in steps):
                return False
    return True


def reading(link: Link) -> bool:
    """Whether an unfinished SELECT keeps a read transaction open."""
    if not link.open:
        return False
    link.open = [reference for reference in link.open if reference() is not None]
    if all(reference == link.executing for reference in link.open):
        return False
    if not active(link):
        link.open.clear()
        return False
    if not link.keeps_cursors:
        link.kernel.learned.learn(OpenCursors(link.name))
    return True


def active(link: Link) -> bool:
    """Ask SQLite whether a statement is unfinished: it refuses to replace a function then."""
    connection = link.connection
    if not link.probed:
        link.probed = link.spoilt = True
        _create_function(connection, "simharness_probe", 0, _nothing)
    try:
        _create_function(connection, "simharness_probe", 0, _nothing)
    except sqlite3.OperationalError:
        return True
    return False


def _held(kernel: Kernel, holder: str) -> list[str]:
    """Return the names of the program's locks that this actor holds."""
    held = held_by(kernel, holder)
    return [name for name, resource in kernel.resources.items() if resource in held] if held else []


def _nothing() -> None:
    return None


def elsewhere(link: Link) -> Misuse:
    """Return the error for a connection that is used in another execution than the one that made it."""
    return Misuse(
        f"{caller() or '?'}: {link.name} to {link.database.label} was made in an execution that is over; open it in the scenario"
        " function or in an actor, not in a module"
    )
