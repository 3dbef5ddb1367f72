"""Joins the pieces in which a collector has written a long line.

The container runtime of Kubernetes marks them with `P`, the last one with `F`; docker's JSON has a line break at the end of the last one
alone. The pieces of the two streams may alternate. The time of a line is that of its first piece.
"""

from __future__ import annotations

import re

from simharness.errors import Misuse
from simharness.incident.files import LONGEST_LINE

_RUNTIME = re.compile(r"(?P<head>\S{1,40} )(?P<stream>stdout|stderr) (?P<mark>[PF])(?::\S{1,100})? (?P<text>.*)", re.ASCII | re.DOTALL)
_DOCKER = re.compile(r'(?P<head>\{"log": ?")(?P<text>.*)(?P<tail>", ?"stream": ?"(?P<stream>stdout|stderr)".*)', re.DOTALL)


class Pieces:
    """The lines of one file, each whole.

    Args:
        path: the file, for errors.
        prefixes: whether what the container runtime puts before a line is recognised.
    """

    def __init__(self, path: str, prefixes: bool) -> None:
        self._path = path
        self._prefixes = prefixes
        self._held: dict[str, tuple[re.Match[str], list[str]]] = {}
        self._size = 0

    @property
    def held(self) -> int:
        """How many lines lack their last piece."""
        return len(self._held)

    def whole(self, text: str) -> str | None:
        """Return a line, with the pieces before it if it is the last one of several; None if further pieces follow.

        Raises:
            Misuse: the pieces make a line that is too long.
        """
        docker = text.startswith('{"log":')
        found = _DOCKER.fullmatch(text) if docker else _RUNTIME.fullmatch(text) if self._prefixes and text[:1].isdigit() else None
        if found is None:
            return text
        follows = not _ends_in_a_break(found["text"]) if docker else found["mark"] == "P"
        stream = found["stream"]
        if follows:
            self._size += len(text)
            if self._size > LONGEST_LINE:
                raise Misuse(
                    f"{self._path} has a line in pieces that is longer than {LONGEST_LINE:,} characters: shorten it, or leave it out"
                )
            self._held.setdefault(stream, (found, []))[1].append(found["text"])
            return None
        if stream not in self._held:
            return text
        first, pieces = self._held.pop(stream)
        self._size = sum(len(piece) for _, others in self._held.values() for piece in others)
        joined = "".join([*pieces, found["text"]])
        return f"{first['head']}{joined}{first['tail']}" if docker else f"{first['head']}{stream} F {joined}"


def _ends_in_a_break(text: str) -> bool:
    """Whether a text of JSON ends in a line break, and not in a backslash and an n."""
    if not text.endswith("\\n"):
        return False
    before = text[:-1]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1
