"""What a step is: the kind of its operation, declared once, beside the primitive that makes such steps.

A *family* is what steps work on (a lock, a queue, a database), a *kind* what is done to it (`lock.acquire`). Timelines, folding, wait-for
graphs, processes and the search for points that were never reached ask these objects and know no primitive by name, so a new primitive
needs no change anywhere else. Texts are templates (`str.format`), so that kinds are plain values, which compare by value and can be
pickled. `str(kind)` stands in tokens, JSON and messages; it must not change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any


class Role(Enum):
    """What a step is for code that folds a timeline, judges an ending or offers moves; most kinds are ordinary."""

    ORDINARY = "ordinary"
    OPENS = "opens"
    """It takes something that a step of the same family gives back; if no other actor moves between the two, a timeline folds them."""
    CLOSES = "closes"
    AWAITS = "awaits"
    """It waits for other actors and does nothing else."""
    SIGNALS = "signals"
    """It matters only to actors that await the same thing."""
    ABOUT_ACTORS = "about actors"
    """It starts an actor, joins it or checks whether it is alive; its detail is the actor's name."""
    SLEEPS = "sleeps"
    READS_CLOCK = "reads the clock"
    MOVES_CLOCK = "moves the clock"
    OFFERS = "offers"
    """It is the choice whether something happens before the actor's next operation; alternative 0 is that nothing does."""
    STRIKES = "strikes"
    """It is a fault that is no actor's step, or the decision that none strikes."""
    LOGS = "logs"
    """An execution in which an actor is stuck there is left out: the incident lacks the line."""
    SERVES = "serves"
    """It waits for work; an actor that is there when nothing can move is not stuck: it ends with the program."""
    ASSUMES = "assumes"
    """It can never be done; an execution in which an actor is stuck there is left out, even if its process crashes there."""


class Border(Enum):
    """What a step does to a transaction."""

    BEGINS = "begins"
    COMMITS = "commits"
    UNDOES = "undoes"
    INSIDE = "inside"
    """A savepoint, or the end of one."""


class Sends(Enum):
    """What a step sends to the step that it enables; the values are the kinds of messages."""

    SIGNAL = "signal"
    HAND_OVER = "hand-over"
    END = "end"


@dataclass(frozen=True)
class Family:
    """What steps work on.

    Attributes:
        name: such as `lock`; empty for kinds that stand alone, such as `sleep`.
        said: whether sentences name it before the object; not if the object's own name says what it is.
        in_memory: whether it is memory of one process, which others cannot use.
        statements: whether the detail of its steps is SQL.
        naps: whether its timed waits add up the naps that they take, not the time that passes: a stall then postpones their deadlines.
        held: set if the state of the resource is the name of its holder: why other actors cannot have it, with `{name}` and `{holder}`.
    """

    name: str = ""
    said: bool = True
    in_memory: bool = False
    statements: bool = False
    naps: bool = False
    held: str = ""


@dataclass(frozen=True)
class Kind:
    """What is done to a member of a family. Templates that are empty have the defaults below.

    Attributes:
        name: such as `acquire`.
        role: see `Role`.
        border: what it does to a transaction.
        enabled_by: what the step that enables it sends to it.
        blocked: why it cannot be done, with `{name}` (the resource), `{state}`, `{until}` and, for ends of actors, `{actor}`;
            by default that the resource does not allow it.
        held: as the family's, for a kind whose resource's state is a tuple that begins with a holder's name.
        awaited: what an actor that is stuck there waits for, with `{detail}`; by default the kind and the object.
        done, next: what the step did, and what it would do; `next` defaults to `done`, and `done` to `phrase`. With `{detail}`,
            in `done` also `{result}` (the result, else the detail), in `next` `{choice}` (the alternative).
        noun: its name after the actor's name and 's; by default as `phrase`.
        calls: the methods by which source code makes such steps; `get()` counts only where it is called without arguments.
    """

    family: Family
    name: str
    role: Role = Role.ORDINARY
    border: Border | None = None
    enabled_by: Sends = Sends.SIGNAL
    blocked: str = ""
    held: str = ""
    awaited: str = ""
    done: str = ""
    next: str = ""
    noun: str = ""
    calls: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _declared.setdefault(str(self), self)

    def __str__(self) -> str:
        return f"{self.family.name}.{self.name}" if self.family.name else self.name

    def __repr__(self) -> str:
        return f"<{self}>"

    @property
    def verb(self) -> str:
        """The name in a sentence."""
        return self.name.replace("_", "-")

    def phrase(self, detail: str, verb: str = "") -> str:
        """Return a step in words: `acquire lock store.py:55`.

        Args:
            detail: the object and other details.
            verb: replaces the kind's own verb.
        """
        verb, family = verb or self.verb, self.family.name
        if not detail:
            return f"{verb} {family}".strip()
        if not family or not self.family.said or detail.startswith(family):
            return f"{verb} {detail}"
        return f"{verb} {family} {detail}"

    def wanted(self, detail: str) -> str:
        """Return what an actor that is stuck there waits for, in words; `detail`: that of the step, else the object."""
        return self.awaited.format(detail=detail) if self.awaited else self.phrase(detail)

    def holder(self, state: Any) -> str | None:
        """Return the holder of the resource, if its state is a holder's name."""
        return state if self.family.held and isinstance(state, str) else None

    def why_not(self, name: str, state: Any, until: str = "") -> str:
        """Return why such a step cannot be done now.

        Args:
            name, state: of its resource.
            until: when its time is over.
        """
        holder = state[0] if self.held and isinstance(state, tuple) and state else state
        held = self.held or self.family.held
        if held and isinstance(holder, str):
            return held.format(name=name, holder=holder)
        blocked = self.blocked or "{name} does not allow it"
        return blocked.format(
            name=name or self.name, state=state, until=until, actor=name.removeprefix("end of ").removeprefix("lifetime of ")
        )


_declared: dict[str, Kind] = {}
"""Every declared kind, by its text. Modules declare kinds when they are imported, so it is complete once the runtimes are in place."""


def declared() -> Mapping[str, Kind]:
    """Return the declared kinds, by their texts."""
    return MappingProxyType(_declared)


def called() -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of methods that make steps: those of any call, and those of calls without arguments."""
    names = {name for kind in _declared.values() for name in kind.calls}
    bare = {name for name in names if name.endswith("()")}
    return frozenset(names - bare), frozenset(name.removesuffix("()") for name in bare)


ALONE = Family()
"""The family of kinds without one: `sleep`, `step`, `choose`, the operations on a cell."""
