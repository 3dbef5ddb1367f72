"""The kinds of steps on connections: one for each verb of SQL, and those that are not statements of the program."""

from __future__ import annotations

from functools import cache

from simharness.engine.kinds import Border, Family, Kind, Role, Sends

_SQLITE = Family("sqlite", statements=True, naps=True, held="{name} is held by {holder}")
_BORDERS = {
    "begin": Border.BEGINS,
    "commit": Border.COMMITS,
    "end": Border.COMMITS,
    "rollback": Border.UNDOES,
    "savepoint": Border.INSIDE,
    "release": Border.INSIDE,
}
_CALLS = {"commit": ("commit",), "rollback": ("rollback",), "statement": ("execute", "executemany", "executescript")}


@cache
def of_verb(verb: str) -> Kind:
    """Return the kind of the statements that begin with this word, or of the connection's method with this name."""
    name = verb.lower() or "statement"
    role = Role.CLOSES if name == "release" else Role.ORDINARY
    return Kind(_SQLITE, name, role, _BORDERS.get(name), enabled_by=Sends.HAND_OVER, calls=_CALLS.get(name, ()))


@cache
def waiting(verb: str) -> Kind:
    """Return the kind of the step that waits to try a refused statement with this verb again."""
    border = _BORDERS.get(verb.lower())
    return Kind(_SQLITE, "wait", border=border, enabled_by=Sends.HAND_OVER, blocked="the database is locked")


READ = of_verb("read")
"""A SELECT outside a transaction."""
SNAPSHOT = of_verb("snapshot")
"""The first SELECT of a transaction, which fixes what it sees."""
STATEMENT, COMMIT, ROLLBACK = map(of_verb, ("statement", "commit", "rollback"))
FETCH, CHECK, CONNECT, CLOSE = map(of_verb, ("fetch", "check", "connect", "close"))
