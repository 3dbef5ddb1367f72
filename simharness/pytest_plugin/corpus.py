"""Tokens of executions that failed, kept in `.simharness/` below pytest's rootdir: one file for each test, tried first next time.

A file holds the test's node id and a token a line, the newest first. The folder stays small (`MOST_TOKENS`, `MOST_FILES`) and may be
deleted at any time; its `.gitignore` makes git ignore it. If it cannot be written, nothing is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

MOST_TOKENS = 5
MOST_FILES = 200
LONGEST = 20_000
"""Characters of a token; longer ones are not kept."""


class Corpus:
    """The tokens of one test, in a folder that is created when there is a token to keep."""

    def __init__(self, folder: Path, nodeid: str) -> None:
        self.nodeid = nodeid
        self._folder = folder
        readable = re.sub(r"[^\w.-]+", "_", nodeid.rpartition("/")[2])[:60]
        self._file = self._folder / f"{readable}-{hashlib.sha256(nodeid.encode()).hexdigest()[:8]}.txt"

    def tokens(self) -> list[str]:
        """Return the kept tokens, the newest first."""
        try:
            lines = self._file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return []
        return [line for line in lines[1:] if line] if lines[:1] == [self.nodeid] else []

    def remember(self, token: str) -> None:
        """Keep a token, before the others."""
        if len(token) <= LONGEST:
            self._write([token, *(kept for kept in self.tokens() if kept != token)][:MOST_TOKENS])

    def forget(self, token: str) -> None:
        """Drop a token."""
        self._write([kept for kept in self.tokens() if kept != token])

    def _write(self, tokens: Sequence[str]) -> None:
        with contextlib.suppress(OSError):
            if not tokens:
                self._file.unlink(missing_ok=True)
                return
            if not self._folder.is_dir():
                self._folder.mkdir(parents=True)
                (self._folder / ".gitignore").write_text("*\n", encoding="utf-8")
            new = self._file.with_suffix(".new")
            new.write_text("\n".join([self.nodeid, *tokens, ""]), encoding="utf-8")
            new.replace(self._file)
            files = sorted(self._folder.glob("*.txt"), key=lambda file: file.stat().st_mtime)
            for file in files[:-MOST_FILES]:
                file.unlink(missing_ok=True)
