"""SQL scripts, split into statements. They are here because tapes need it, and `kept/` imports nothing of the runtime around it."""

from __future__ import annotations

import re
import sqlite3

VERB = re.compile(r"(?:[\s;]|--[^\n]*(?:\n|$)|/\*.*?\*/)*([A-Za-z]+)(.*)", re.DOTALL)
"""The first word of a statement, after comments, and what follows it."""


def statements(script: str) -> list[str]:
    """Split a script into statements, as `executescript` would run them."""
    found: list[str] = []
    pending = ""
    for piece in script.split(";"):
        pending += piece + ";"
        if sqlite3.complete_statement(pending):
            found.append(pending)
            pending = ""
    if pending.rstrip(";"):
        found.append(pending[:-1])
    return [statement for statement in found if VERB.match(statement)]
