"""The ways in which a run can go wrong that are not a counterexample.

Four families, never one dressed as another: a *violation* is a result, not an exception; `Misuse` is the user's to mend;
`Nondeterminism` says that the same choices did not give the same run; `HarnessBug` is ours. Each carries the exit status that
the command line gives it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class SimharnessError(Exception):
    """Base of everything that simharness raises on its own account."""

    exit_status = 2


class Misuse(SimharnessError):
    """The scenario, an option or a file is wrong; the message says what to do."""


class Refused(Misuse):
    """The code under test reached for something that no runtime controls (an asyncio loop, a socket, a subprocess)."""


class TokenError(Misuse):
    """A replay token belongs to another scenario, or no longer fits this one."""


class Nondeterminism(SimharnessError):
    """The same choices gave two different runs; the message names the first difference, and `difference`, if known, holds both runs."""

    exit_status = 4

    def __init__(self, message: str, difference: Any = None) -> None:
        super().__init__(message)
        self.difference = difference


class HarnessBug(SimharnessError):
    """A promise of the harness was broken by the harness itself."""

    exit_status = 5

    def __init__(self, message: str) -> None:
        super().__init__(f"{message} [bug in simharness: please report this]")


class Stuck(BaseException):
    """Raised by the watchdog inside code that blocks the one OS thread. A BaseException, so that `except Exception` lets it through."""


def told(error: BaseException) -> BaseException:
    """Return what an exception group is about: an error of the harness, else an assertion, else the first; other errors as they are."""
    found = list(leaves(error))
    for kind in (SimharnessError, Stuck, KeyboardInterrupt, AssertionError, BaseException):
        for leaf in found:
            if isinstance(leaf, kind):
                return leaf
    return error


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions in a group, however deep; another error as it is."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error
