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


class Deadlock(Exception):
    """Some actors wait forever; the message says for what, which actor holds it, and where they wait."""


class Livelock(Deadlock):
    """As a deadlock, but an actor looks again and again at what no actor can write any more."""


class DataRace(Exception):
    """Two accesses that nothing orders; the message says which, by whom and where.

    Attributes:
        location: what is accessed, such as "Counter.n".
        step: the index of the later access.
    """

    def __init__(self, location: str, step: int, text: str) -> None:
        super().__init__(text)
        self.location = location
        self.step = step


def describe(failure: Failure | None) -> str | None:
    """Return in one line what went wrong, and where."""
    if failure is None:
        return None
    error = failure.error
    if isinstance(error, Deadlock):
        return f"{type(error).__name__.lower()}: {error}"
    if isinstance(error, DataRace):
        return f"data race on {error}"
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
