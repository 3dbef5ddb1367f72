"""What executions show about shared memory, or a user asks of it: facts, which decide what is a scheduling point, and what is a failure."""

from __future__ import annotations

from dataclasses import dataclass

from simharness.engine.facts import Fact


@dataclass(frozen=True)
class SharedLocation(Fact, word="memory"):
    """Several actors touch the location, and one of them writes it: it is a scheduling point."""

    location: str


@dataclass(frozen=True)
class WrittenOnClass(Fact, word="memory-of-classes"):
    """An attribute of this name is written on a class, so reading it on an instance reads the classes, too."""

    attribute: str


@dataclass(frozen=True)
class OneLocation(Fact, word="memory-as-a-whole"):
    """The attributes of the object are also used as a dictionary: it is one location."""

    owner: str


@dataclass(frozen=True)
class MadeBefore(Fact, word="memory-made-before"):
    """The names of objects matter that neither set-up nor an actor has made: they are looked up when set-up is over."""


@dataclass(frozen=True)
class Followed(Fact, word="memory-within"):
    """The object is used through an opaque object, and in another way, too: using the opaque one touches it."""

    inner: str


@dataclass(frozen=True)
class Addresses(Fact, word="memory-at-addresses"):
    """Code that is not instrumented has asked for an `id`, too: all keys that may be addresses share one name."""


@dataclass(frozen=True)
class Stepping(Fact, word="memory-that-steps", in_tokens=False):
    """Calls on objects of this class, a package's, or of functions that receive them, take steps of their own."""

    owner: str


@dataclass(frozen=True)
class Changes(Fact, word="memory-changed-by"):
    """A call of this function has changed a container that it received."""

    function: str


@dataclass(frozen=True)
class RacesFail(Fact, word="data-races-fail"):
    """Two accesses to an attribute or a variable that nothing orders are a failure. It is asked for, not shown by executions."""


@dataclass(frozen=True)
class AllowedRace(Fact, word="data-race-allowed"):
    """Accesses to this location may race: they are on purpose, and order what comes before and after them."""

    location: str
