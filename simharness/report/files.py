"""Files that the command line writes: checked before the work begins, and written whole or not at all.

Only regular files are written, never one that the command reads. A symbolic link to a regular file stays: the file is replaced.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Sequence

from simharness.errors import Misuse
from simharness.regular import kind_of

_OF_THE_SYSTEM = re.compile(r"/(dev(?!/shm/)|proc|sys)/")
"""Where a name can lead to what another process has open: `/dev/stdout` is a file that the shell is writing."""
LONGEST_NAME = 255
"""Bytes of a file's name."""


def check_writable(*wanted: tuple[str, str | None], inputs: Sequence[str | None] = ()) -> None:
    """Check before the work begins that its files can be written.

    Args:
        wanted: options of the command line, for messages, each with the file that it names, if it was given.
        inputs: files that the command reads, so none of them can be written.

    Raises:
        Misuse: a file cannot be written.
    """
    named = {}
    for path in inputs:
        with contextlib.suppress(ValueError):  # no file has such a name: whoever reads it says so
            named[os.path.realpath(path or "")] = "this file is read, too"
    for option, path in wanted:
        if path is not None:
            _check_writable(option, path)
            where = os.path.realpath(path)
            if where in named:
                raise Misuse(f"{option} {path}: {named[where]}; give another path")
            named[where] = f"{option} writes this file"


def _check_writable(option: str, path: str) -> None:
    folder = os.path.dirname(_target(option, path))
    if not os.path.isdir(folder):
        raise Misuse(f"{option} {path}: there is no folder {folder}; make it, or give another path")
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise Misuse(f"{option} {path}: cannot write in {folder} ({error.strerror}); give another path") from error


def _target(option: str, path: str) -> str:
    """Return where the file is, behind symbolic links.

    Raises:
        Misuse: it is something that is not a regular file, or the name cannot be that of one.
    """
    if _OF_THE_SYSTEM.match(os.path.abspath(path)):
        raise Misuse(f"{option} {path}: this is no regular file, and nothing else is written; give another path")
    try:
        where = os.path.realpath(path)
        if not os.path.basename(path) or os.path.isdir(where):
            raise Misuse(f"{option} {path}: this is a folder; give the name of a file")
        if len(os.fsencode(os.path.basename(where))) > LONGEST_NAME:
            raise Misuse(f"{option} {path}: the name is longer than {LONGEST_NAME} bytes; give a shorter one")
        kind = kind_of(os.lstat(where).st_mode)
    except FileNotFoundError:
        return where
    except ValueError:
        raise Misuse(f"{option} {path}: no file has such a name; give another path") from None
    except OSError as error:
        raise Misuse(f"{option} {path}: cannot be written ({error.strerror}); give another path") from None
    if kind:
        raise Misuse(f"{option} {path}: this is {kind}, and only regular files are written; give another path")
    return where


def write(path: str, text: str, option: str) -> None:
    """Write the text, replacing the file atomically; its mode stays.

    Raises:
        Misuse: the file cannot be written.
    """
    target = _target(option, path)
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", errors="backslashreplace", dir=os.path.dirname(target), prefix=".simharness-", delete=False
        ) as file:
            temporary = file.name
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode(target))
        os.replace(temporary, target)
    except OSError as error:
        raise Misuse(f"{option} {path}: cannot be written ({error.strerror})") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):  # it has replaced the file
                os.unlink(temporary)


def _mode(target: str) -> int:
    try:
        return stat.S_IMODE(os.lstat(target).st_mode) & 0o777
    except FileNotFoundError:
        return 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
