"""What a step is: the kind of its operation, declared once, beside the primitive that makes such steps.

A *family* is what steps work on (a lock, a queue, a database), a *kind* what is done to it (`lock.acquire`). Timelines, folding,
who-waits-for-whom, processes and the search for points that were never reached ask these objects and know no primitive by name,
so a new primitive needs no change anywhere else. Texts are templates (`str.format`): kinds are plain values that compare by
value and can be pickled. `str(kind)` is what tokens, JSON and messages hold; it must not change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any


class Role(Enum):
    """What a step is for those who fold a timeline, judge an ending or offer moves; most kinds are just ordinary."""

    ORDINARY = "ordinary"
    OPENS = "opens"
    """It takes something that a step of the same family gives back; if nobody interrupts the two, a timeline shows what is between."""
    CLOSES = "closes"
    AWAITS = "awaits"
    """It waits to hear from others and does nothing else."""
    SIGNALS = "signals"
    """It is of interest only to those who await the same thing."""
    ABOUT_ACTORS = "about actors"
    """It starts an actor, joins it or asks after it; its detail is the actor's name."""
    SLEEPS = "sleeps"
    READS_CLOCK = "reads the clock"
    MOVES_CLOCK = "moves the clock"
    STRIKES = "strikes"
    """It is a fault that is nobody's step, or the decision that none strikes."""
    LOGS = "logs"
    """An execution that leaves an actor waiting there is left out: the line is not wanted."""
    ASSUMES = "assumes"
    """It can never be done; an execution that leaves an actor there is left out, even if its process crashes there."""


class Border(Enum):
    """What a step does to a transaction."""

    BEGINS = "begins"
    COMMITS = "commits"
    UNDOES = "undoes"
    INSIDE = "inside"
    """A savepoint, or the end of one."""


class Sends(Enum):
    """What the step that lets another one be done sends to it; the values are the kinds of messages."""

    SIGNAL = "signal"
    HAND_OVER = "hand-over"
    END = "end"


@dataclass(frozen=True)
class Family:
    """What steps work on.

    Attributes:
        name: such as `lock`; empty for kinds that stand alone, such as `sleep`.
        said: sentences name it before the object; not where the object's own name says what it is.
        in_memory: it is memory of one process: others cannot use the same one.
        statements: the detail of its steps is SQL.
        naps: its timed waits add up the naps that they take, not the time that passes: a stall postpones their deadlines.
        held: set where the state of the resource is the name of its holder: why others cannot have it, with `{name}` and `{holder}`.
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
        role: what it is for tools; see `Role`.
        border: what it does to a transaction.
        enabled_by: what comes from the step that lets it be done.
        blocked: why it cannot be done, with `{name}` (the resource), `{state}`, `{until}` and, for ends of actors, `{actor}`;
            by default that the resource does not allow it.
        held: as that of the family, for a kind whose resource's state begins with a holder's name.
        awaited: what an actor that is stuck there waits for; by default the kind and the object.
        done, next: what the step did, and what it would do; `next` is by default as `done`, that as `phrase`. With `{detail}`,
            in `done` also `{result}` (what came of it, else the detail), in `next` `{choice}` (the alternative).
        noun: how a sentence that begins with the actor's name and 's calls it; by default as `phrase`.
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
            detail: the object and what else there is to say.
            verb: what to write instead of its own.
        """
        verb, family = verb or self.verb, self.family.name
        if not detail:
            return f"{verb} {family}".strip()
        if not family or not self.family.said or detail.startswith(family):
            return f"{verb} {detail}"
        return f"{verb} {family} {detail}"

    def wanted(self, what: str) -> str:
        """Return what an actor waits for that is stuck there, in words; `what`: the detail, or else the object."""
        return self.awaited or self.phrase(what)

    def holder(self, state: Any) -> str | None:
        """Return who holds the resource, if its state is a holder's name."""
        return state if self.family.held and isinstance(state, str) else None

    def why_not(self, name: str, state: Any, until: str = "") -> str:
        """Say why such a step cannot be done now.

        Args:
            name: of its resource.
            state: of its resource.
            until: when its time is over.
        """
        holder = state[0] if self.held and isinstance(state, tuple) and state else state
        held = self.held or self.family.held
        if held and isinstance(holder, str):
            return held.format(name=name, holder=holder)
        blocked = self.blocked or "{name} does not allow it"
        return blocked.format(name=name or self.name, state=state, until=until, actor=name.removeprefix("end of "))


_declared: dict[str, Kind] = {}
"""Every kind that was declared, by its text: modules declare theirs when they are imported, so it is complete once they are in place."""


def declared() -> Mapping[str, Kind]:
    """Return the kinds that were declared, by their texts."""
    return MappingProxyType(_declared)


def called() -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of methods that make steps: those of any call, and those of calls without arguments."""
    names = {name for kind in _declared.values() for name in kind.calls}
    bare = {name for name in names if name.endswith("()")}
    return frozenset(names - bare), frozenset(name.removesuffix("()") for name in bare)


ALONE = Family()
"""The family of kinds that belong to none: `sleep`, `step`, `choose`, those of a cell."""
