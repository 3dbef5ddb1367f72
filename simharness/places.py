"""Places in the user's source: of the innermost frame that is neither ours nor the standard library's."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import sysconfig
from functools import lru_cache
from types import FrameType
from typing import NamedTuple

_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep
_FOR_THE_USER = (
    *(os.path.join(_OURS, "runtimes", "memory", f"{name}.py") for name in ("hooks", "guards", "calls", "kinds", "reach", "silent")),
    os.path.join(_OURS, "check", "running.py"),
)
"""Modules of ours that act on behalf of the user's code: an exception there is the user's."""
_LIBRARY = tuple(
    {os.path.realpath(sysconfig.get_paths()[key]) + os.sep for key in ("stdlib", "platstdlib")}
    | {sysconfig.get_paths()[key] + os.sep for key in ("stdlib", "platstdlib")}
)
_RUNNER = (os.sep + "_pytest" + os.sep, os.sep + "pluggy" + os.sep)
_SITE = ("site-packages" + os.sep, "dist-packages" + os.sep)
_DRIVEN = tuple(f"{site}{name}{os.sep}" for site in _SITE for name in ("anyio", "outcome", "pytest_trio", "sniffio", "trio")) + tuple(
    f"{site}typing_extensions.py" for site in _SITE
)
"""Packages whose lines say nothing about the user's code, like those of the standard library."""


class Place(NamedTuple):
    """A line of the user's source."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.short}:{self.line}"

    @property
    def short(self) -> str:
        """The file, relative to the working directory if it lies below that."""
        with contextlib.suppress(ValueError, OSError):
            relative = os.path.relpath(self.file)
            if not relative.startswith(".."):
                return relative
        return self.file

    @property
    def within_packages(self) -> str:
        """The line, the file relative to the folder that packages are installed in."""
        for site in _SITE:
            if site in self.file:
                return f"{self.file.partition(site)[2]}:{self.line}"
        return str(self)


def is_ours(file: str) -> bool:
    """Whether a file belongs to the harness."""
    return file.startswith(_OURS)


@lru_cache(maxsize=4096)
def is_foreign(file: str) -> bool:
    """Whether a file belongs to the harness, pytest, Trio, the standard library or the interpreter itself."""
    if file.startswith((_OURS, "<")) or any(part in file for part in (*_RUNNER, *_DRIVEN)):
        return True
    return is_library(file)


def is_library(file: str) -> bool:
    """Whether a file belongs to the standard library."""
    return file.startswith(_LIBRARY) and not is_installed(file)


def is_installed(file: str | None) -> bool:
    """Whether a file belongs to a package that was installed."""
    return file is not None and any(part in file for part in _SITE)


def is_our_bug(error: BaseException) -> bool:
    """Whether an exception comes from a bug of the harness, not from an impossible request of the code under test."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    if frame is None or not frame.tb_frame.f_code.co_filename.startswith(_OURS):
        return False
    if frame.tb_frame.f_code.co_filename.startswith(_FOR_THE_USER):
        return False
    if isinstance(error, NameError | AssertionError):
        return True
    in_runtime = frame.tb_frame.f_code.co_filename.startswith(_OURS + "runtimes" + os.sep)
    return not in_runtime and isinstance(error, AttributeError | LookupError)


def place_of(frame: FrameType | None) -> Place | None:
    """Return the user's innermost line at `frame` or outwards from it; None if there is none."""
    while frame is not None:
        code = frame.f_code
        if not is_foreign(code.co_filename):
            return Place(code.co_filename, frame.f_lineno, code.co_name)
        frame = frame.f_back
    return None


def asker(frame: FrameType | None) -> FrameType | None:
    """Return the innermost frame, from this one outwards, that is not the harness's."""
    while frame is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    return frame


def caller() -> Place | None:
    """Return the user's innermost line of the running code."""
    return place_of(sys._getframe(1))


def last_place(error: BaseException) -> Place | None:
    """Return the user's innermost line of an exception's traceback."""
    last = None
    frame = error.__traceback__
    while frame is not None:
        place = place_of(frame.tb_frame)
        if place is not None and place.file == frame.tb_frame.f_code.co_filename:
            last = Place(place.file, frame.tb_lineno, place.function)
        frame = frame.tb_next
    return last


def callers(frame: FrameType | None = None) -> tuple[Place, ...]:
    """Return the user's lines of the running code, or from this frame outwards, innermost first."""
    frame = frame or sys._getframe(1)
    places: list[Place] = []
    while frame is not None:
        code = frame.f_code
        if not is_foreign(code.co_filename):
            places.append(Place(code.co_filename, frame.f_lineno, code.co_name))
        frame = frame.f_back
    return tuple(places)


def words_of(error: BaseException) -> str:
    """Return an exception's text; where its `__str__` raises, say so."""
    try:
        return str(error)
    except Exception as raised:
        return f"<its __str__ raises {type(raised).__name__}>"


def repr_of(value: object) -> str:
    """Return a value's repr; where that raises, say so."""
    try:
        return repr(value)
    except Exception as raised:
        return f"<{type(value).__name__}: its __repr__ raises {type(raised).__name__}>"


_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}")


def without_addresses(text: str) -> str:
    """Return the text without memory addresses, which differ between equal runs (`<object at 0x…>`)."""
    return _ADDRESS.sub("0x…", text) if "0x" in text else text
