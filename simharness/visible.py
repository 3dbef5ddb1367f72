"""Text from outside as it may be shown: `visible` is the one function that every way out uses.

A name, an id, a value or a log line can hold what a terminal, a browser or another program obeys: control characters, escape sequences,
marks that reorder text, line breaks that fake a line of ours. `visible` writes each of these the way Python's `repr` does (`\\x1b`, `\\n`,
`\\u202e`), and leaves everything else as it is. Its result is one line, can be encoded, and stays the same when it is made visible again.
"""

from __future__ import annotations

import json

LONGEST = 200
"""Characters of a text from outside in a sentence of ours."""
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols that show nothing, and that Python counts as printable."""
_SELECTORS = range(0xE0100, 0xE01F0)
"""Selectors of variants, which show nothing either and can carry text."""


def visible(text: str) -> str:
    """Return the text with everything that cannot be seen, or that a terminal would obey, written as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if _is_seen(character) else _escape(character) for character in text)


def visible_lines(text: str) -> str:
    """Return a text whose line breaks are ours, with each line visible."""
    return "\n".join(visible(line) for line in text.split("\n"))


def shortened(text: str, longest: int = LONGEST) -> str:
    """Return a text for a sentence: visible, and of a long one the beginning."""
    return visible(text) if len(text) <= longest else f"{visible(text[:longest])}…"


def escaped(text: str) -> str:
    """Return the text of JSON, on one line, with what is not visible in it escaped as JSON has it: it stands for the same object."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if _is_seen(character) else json.dumps(character)[1:-1] for character in text)


def _is_seen(character: str) -> bool:
    return character.isprintable() and character not in _BLANK and ord(character) not in _SELECTORS


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
