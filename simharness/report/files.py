"""Files that the command line writes: checked before the work begins, and written whole or not at all."""

from __future__ import annotations

import os
import tempfile

from simharness.errors import Misuse


def check_writable(*wanted: tuple[str, str | None]) -> None:
    """Check before the work begins that its files can be written.

    Args:
        wanted: options of the command line, for messages, each with the file that it names, if it was given.

    Raises:
        Misuse: a file cannot be written.
    """
    for option, path in wanted:
        if path is not None:
            _check_writable(option, path)


def _check_writable(option: str, path: str) -> None:
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        raise Misuse(f"{option} {path}: this is a folder; give the name of a file")
    if not os.path.isdir(folder):
        raise Misuse(f"{option} {path}: there is no folder {folder}; make it, or give another path")
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise Misuse(f"{option} {path}: cannot write in {folder} ({error.strerror}); give another path") from error


def write(path: str, text: str, option: str) -> None:
    """Write the text, replacing the file atomically.

    Raises:
        Misuse: the file cannot be written.
    """
    folder = os.path.dirname(os.path.abspath(path))
    temporary = None
    try:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", errors="replace", dir=folder, prefix=".simharness-", delete=False) as file:
            temporary = file.name
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        raise Misuse(f"{option} {path}: cannot be written ({error.strerror})") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
