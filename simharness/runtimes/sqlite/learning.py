"""Learns what a statement does, once for each schema; and ends the keeping of a database where a program could notice it (`kept`)."""

from __future__ import annotations

from simharness.runtimes.sqlite import statements
from simharness.runtimes.sqlite.database import Link
from simharness.runtimes.sqlite.kept.playing import settle
from simharness.runtimes.sqlite.kept.tape import BECOMES_OTHER, LASTS, LEAVES_WAL
from simharness.runtimes.sqlite.statements import Shape


def learn(link: Link, sql: str) -> Shape:
    """Return the shape of a statement; learn it if it is new."""
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
    """Stop keeping: the program reads what a connection, or its database's file, may remember from an earlier execution."""
    if link.kept is not None or (file and any(peer.kept is not None for peer in link.database.links)):
        link.remembered.keeper.stop(link.kernel)


def end_tape(link: Link) -> None:
    """End the tape: a cursor is used in a way that the tape does not record."""
    connection = link.reference()
    if connection is not None:
        settle(connection)


def end_keeping_if_seen(link: Link, sql: str) -> None:
    """Stop keeping if this SQL, which is not on the tape, can reveal that a database was kept."""
    if LASTS.search(sql) or (BECOMES_OTHER.search(sql) if link.database.private else LEAVES_WAL.search(sql)):
        end_keeping(link, file=True)
