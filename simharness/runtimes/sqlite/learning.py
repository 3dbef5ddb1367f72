"""What a statement does, learned once on a connection; and what a program does that ends keeping its database (`kept`)."""

from __future__ import annotations

from simharness.runtimes.sqlite import statements
from simharness.runtimes.sqlite.database import Link
from simharness.runtimes.sqlite.kept.playing import settle
from simharness.runtimes.sqlite.kept.tape import BECOMES_OTHER, LASTS, LEAVES_WAL
from simharness.runtimes.sqlite.statements import Shape


def learn(link: Link, sql: str) -> Shape:
    """Return the shape of a statement, learning it if need be."""
    database, remembered = link.database, link.remembered
    book = link.book
    if book is None:
        key = (database.label, database.schema, link.flags)
        book = link.book = {} if database.volatile else remembered.books.setdefault(key, {})
    shape = book.get(sql)
    if shape is None:
        if link.tape is None or LASTS.search(sql):
            end_keeping_if_seen(link, sql)
        shape, lasting = statements.learn(link.connection, sql, database.table, link.authorizer)
        if lasting and not database.volatile:
            book[sql] = shape
    return shape


def end_keeping(link: Link, *, file: bool = False) -> None:
    """Somebody asks for what a connection, or its database's file, would remember of the execution before: keep none from now on."""
    if link.kept is not None or (file and any(other.kept is not None for other in link.database.links)):
        link.remembered.keeper.stop(link.kernel)


def end_tape(link: Link) -> None:
    """Something is done on a cursor, not as the tape tells: it has ended."""
    connection = link.reference()
    if connection is not None:
        settle(connection)


def end_keeping_if_seen(link: Link, sql: str) -> None:
    """SQL is about to be done, not as the tape tells: keep nothing if it can tell that something was kept."""
    if LASTS.search(sql) or (BECOMES_OTHER.search(sql) if link.database.private else LEAVES_WAL.search(sql)):
        end_keeping(link, file=True)
