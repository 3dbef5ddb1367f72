"""The ways in which a run can go wrong that are not a counterexample.

Four families, never mixed: a *violation* is a result, not an exception; `Misuse` is for the user to fix; `Nondeterminism` says
that the same choices gave different runs; `HarnessBug` is ours. Each exception carries the exit status of the command line.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from opcode import opmap
from typing import Any


class SimharnessError(Exception):
    """Base of all errors that simharness raises about itself or its use."""

    exit_status = 2


class Misuse(SimharnessError):
    """The scenario, an option or a file is wrong; the message says what to do."""


class Refused(Misuse):
    """The code under test uses something that no runtime controls (an asyncio loop, a socket, a subprocess)."""


class TokenError(Misuse):
    """A replay token belongs to another scenario, or no longer fits this one."""


class OutOfTime(SimharnessError):
    """The time that the user allowed was over before there was anything to say."""

    exit_status = 3


class Nondeterminism(SimharnessError):
    """The same choices gave two different runs; the message names the first difference; `difference`, if known, holds both runs."""

    exit_status = 4

    def __init__(self, message: str, difference: Any = None) -> None:
        super().__init__(message)
        self.difference = difference


class HarnessBug(SimharnessError):
    """The harness broke one of its own promises."""

    exit_status = 5

    def __init__(self, message: str) -> None:
        super().__init__(f"{message} [bug in simharness: please report this]")


class Lacking(SimharnessError):
    """The machine lacks what an exploration needs: space on a disk, memory, file descriptors. It proves nothing about the program."""

    exit_status = 3


class Ended(SimharnessError):
    """The process that explored had to be ended, or crashed: C code did not return, or is broken. It proves nothing about the program."""

    exit_status = 3


_SCARCE = frozenset(getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EMFILE", "ENFILE", "ENOMEM", "EROFS") if hasattr(errno, name))
_dup, _close = os.dup, os.close
SPARE_DESCRIPTORS = 16
_SCARCE_CODES = frozenset(f"SQLITE_IOERR_{name}" for name in ("WRITE", "FSYNC", "TRUNCATE", "SHMSIZE", "SHMOPEN", "SHMMAP"))
_SCARCE_TEXTS = ("database or disk is full", "out of memory", "can't start new thread")


def scarcity(error: BaseException) -> str | None:
    """Return in words what the machine lacks, if that is why this was raised; None if it is not, or if Python code raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is not None and trace.tb_frame.f_code.co_code[trace.tb_lasti] == opmap["RAISE_VARARGS"]:
        return None
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError):
        return f"{error.strerror}{f': {error.filename}' if error.filename else ''}" if error.errno in _SCARCE else None
    if getattr(error, "sqlite_errorname", None) in _SCARCE_CODES:
        return f"{error}: is the disk full?"
    if type(error).__name__ in ("OperationalError", "RuntimeError"):
        if "unable to open database file" in str(error) and _few_descriptors():
            return "too few file descriptors"
        return next((text for text in _SCARCE_TEXTS if text in str(error)), None)
    return None


def _few_descriptors() -> bool:
    """Whether this process can hardly open anything: SQLite does not say why it cannot open a file."""
    opened: list[int] = []
    try:
        opened.extend(_dup(2) for _ in range(SPARE_DESCRIPTORS))
    except OSError as error:
        return error.errno in _SCARCE
    finally:
        for descriptor in opened:
            _close(descriptor)
    return False


class Stuck(BaseException):
    """Raised by the watchdog inside code that blocks the one OS thread. A BaseException, so that `except Exception` lets it through."""


def root_cause(error: BaseException) -> BaseException:
    """Return the decisive error of an exception group: one of the harness, else an assertion, else the first. Other errors: themselves."""
    inner = list(leaves(error))
    for kind in (SimharnessError, Stuck, KeyboardInterrupt, AssertionError, BaseException):
        for leaf in inner:
            if isinstance(leaf, kind):
                return leaf
    return error


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions in a group, at any depth; of another error, the error itself."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error
