"""The result of one execution, and its failure in words."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from simharness.engine.actors import ROOT, Failure
from simharness.places import last_place, without_addresses, words_of

LONGEST = 2_000
"""Characters of an exception's text that a failure in words keeps."""


@dataclass(frozen=True)
class Execution:
    """The result of one execution.

    Attributes:
        status: "complete", "deadlock", "blocked" (in a false `assume`), "abandoned" (by the strategy) or "cut" (at `max_steps`).
        failure: the first thing that went wrong, or None.
        keys: its choices.
        outcomes: the values given to `world.outcome`.
    """

    status: str
    failure: Failure | None
    keys: Sequence[int]
    outcomes: frozenset[Hashable]


class Found(Exception):
    """What the harness finds in an execution; no code of the user's has raised it.

    Attributes:
        names: those by which `expect="violated: NAME"` may call it.
    """

    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return str(self.args[0])

    def in_words(self) -> str:
        """Say what it is, and where."""
        return f"{self.names[0]}: {self}"


class Deadlock(Found):
    """Some actors wait forever; the message says for what, which actor holds it, and where they wait."""

    names: tuple[str, ...] = ("deadlock",)


class Livelock(Deadlock):
    """As a deadlock, but an actor looks again and again at what no actor can write any more."""

    names = ("livelock", "deadlock")


class DataRace(Found):
    """Two accesses that nothing orders; the message says to what, by whom and where.

    Attributes:
        location: what is accessed, such as "Counter.n".
        step: the index of the later access.
    """

    def __init__(self, text: str, location: str, step: int) -> None:
        super().__init__(text, location, step)
        self.location = location
        self.step = step
        self.names = ("data race", f"data race on {location}")

    def in_words(self) -> str:
        """Say what it is, and where."""
        return f"data race on {self}"


def describe(failure: Failure | None) -> str | None:
    """Return in one line what went wrong, and where."""
    if failure is None:
        return None
    error = failure.error
    if isinstance(error, Found):
        return error.in_words()
    place = last_place(error)
    where = f" at {place}" if place else ""
    text = words_of(error).strip().splitlines()
    message = without_addresses(text[0][:LONGEST]) if text else ""
    if isinstance(error, AssertionError):
        said = f": {message}" if message else ""
        actor = f" in {failure.actor}" if failure.actor not in (None, ROOT) else ""
        what = f"{failure.check} does not hold{said}" if failure.check else f"an assertion fails{actor}{said}"
    else:
        what = f"{failure.check or failure.actor} raised {type(error).__name__}: {message}"
    return f"{what}{where}"
