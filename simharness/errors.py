"""The ways in which a run can go wrong that are not a counterexample.

Four families, never mixed: a *violation* is a result, not an exception; `Misuse` is for the user to fix; `Nondeterminism` says
that the same choices gave different runs; `HarnessBug` is ours. Each exception carries the exit status of the command line.
"""

from __future__ import annotations

from collections.abc import Iterator
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
