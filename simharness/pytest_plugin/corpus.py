"""Tokens of executions that failed, kept in `.simharness/` below pytest's rootdir: one file for each test, tried first next time.

A file holds the test's node id and a token a line, the newest first. The folder stays small (`MOST_TOKENS`, `MOST_FILES`) and may be
deleted at any time; its `.gitignore` makes git ignore it. If it cannot be written, nothing is kept.

The folder may come with a checkout, so it is not trusted: only its own regular files are read, up to a size, and no symbolic link is
followed where something is written or deleted, the folder itself included. Only files with a name like those of `Corpus` are deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from simharness.regular import read
from simharness.visible import visible

MOST_TOKENS = 5
MOST_FILES = 200
LONGEST = 20_000
"""Characters of a token; longer ones are not kept."""
LARGEST = MOST_TOKENS * LONGEST + 10_000
"""Bytes of a file."""
_NAME = re.compile(r"[\w.-]{0,60}-[0-9a-f]{8}\.txt")


class Corpus:
    """The tokens of one test, in a folder that is created when there is a token to keep."""

    def __init__(self, folder: Path, nodeid: str) -> None:
        self.nodeid = visible(nodeid)
        self._folder = folder
        readable = re.sub(r"[^\w.-]+", "_", nodeid.rpartition("/")[2], flags=re.ASCII)[:60]
        digest = hashlib.sha256(nodeid.encode(errors="surrogatepass")).hexdigest()[:8]
        self._name = f"{readable}-{digest}.txt"

    def tokens(self) -> list[str]:
        """Return the kept tokens, the newest first."""
        try:
            with self._opened() as folder:
                if not _is_own(folder, self._name):
                    return []
                lines = read(os.path.join(self._folder, self._name), LARGEST).decode().split("\n")
        except (OSError, ValueError):
            return []
        if lines[:1] != [self.nodeid]:
            return []
        return [line for line in lines[1:] if line and len(line) <= LONGEST][:MOST_TOKENS]

    def remember(self, token: str) -> None:
        """Keep a token, before the others."""
        if len(token) <= LONGEST:
            self._write([token, *(kept for kept in self.tokens() if kept != token)][:MOST_TOKENS])

    def forget(self, token: str) -> None:
        """Drop a token."""
        self._write([kept for kept in self.tokens() if kept != token])

    def _write(self, tokens: Sequence[str]) -> None:
        with contextlib.suppress(OSError, ValueError):
            if not tokens:
                with self._opened() as folder, contextlib.suppress(FileNotFoundError):
                    os.unlink(self._name, dir_fd=folder)
                return
            with self._made() as folder:
                new = f"{self._name[:-4]}.new"
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(new, dir_fd=folder)
                _put(folder, new, "\n".join([self.nodeid, *tokens, ""]))
                os.replace(new, self._name, src_dir_fd=folder, dst_dir_fd=folder)
                _thin_out(folder)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        """Open the folder, which must not be a symbolic link."""
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            yield folder
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _made(self) -> Iterator[int]:
        """Open the folder; make it if there is none."""
        new = not os.path.lexists(self._folder)
        if new:
            self._folder.mkdir(parents=True)
        with self._opened() as folder:
            if new:
                _put(folder, ".gitignore", "*\n")
            yield folder


def _put(folder: int, name: str, text: str) -> None:
    """Make a file, which must not exist."""
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=folder)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _is_own(folder: int, name: str) -> bool:
    """Whether a name in the folder is that of a regular file of ours, not of a symbolic link or another thing."""
    return _NAME.fullmatch(name) is not None and stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def _thin_out(folder: int) -> None:
    """Delete the oldest files of ours beyond `MOST_FILES`."""
    own = []
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            if _is_own(folder, name):
                own.append((os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime_ns, name))
    for _, name in sorted(own)[:-MOST_FILES]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
