"""SQL scripts, split into statements. It is here because tapes need it, and `kept/` imports nothing of the runtime around it."""

from __future__ import annotations

import re
import sqlite3

VERB = re.compile(r"(?:[\s;]|--[^\n]*(?:\n|$)|/\*.*?\*/)*([A-Za-z]+)(.*)", re.DOTALL)
"""The first word of a statement, after comments, and what follows it."""


def statements(script: str) -> list[str]:
    """Split a script into statements, as `executescript` would run them."""
    complete: list[str] = []
    pending = ""
    for piece in script.split(";"):
        pending += piece + ";"
        if sqlite3.complete_statement(pending):
            complete.append(pending)
            pending = ""
    if pending.rstrip(";"):
        complete.append(pending[:-1])
    return [statement for statement in complete if VERB.match(statement)]
