"""A location in one execution, and the object that it belongs to."""

from __future__ import annotations

from typing import Any

from simharness.engine.actors import Actor
from simharness.engine.operations import Operation

MANY = Actor.__new__(Actor)
"""Stands for more than one actor."""
CHECK = Actor.__new__(Actor)
"""Stands for the `always` checks: a location that they read and an actor writes is shared."""


DIRECT = Actor.__new__(Actor)
"""Stands for the use of an object by itself, not through an opaque one."""


class Spot:
    """A location in one execution: its bit if it is a scheduling point, else the actor that has touched it and whether it was written.

    `private`: the actor whose touches of the same kind need not be recorded again, since nobody else has touched it; MANY if all have only
    read it. (Where a touch concerns other locations, too, there is none.)
    """

    __slots__ = ("actor", "bit", "key", "operations", "private", "tracked", "written")

    def __init__(self, tracked: TrackedObject, key: str, bit: int) -> None:
        self.tracked = tracked
        self.key = key
        self.bit = bit
        self.actor: Actor | None = None
        self.private: Actor | None = None
        self.written = False
        self.operations: tuple[Operation, Operation] | None = None


class TrackedObject:
    """An object in one execution: its name, its locations, and the reference that keeps its identity from being reused.

    `coarse`: no name of its own has been looked up yet, which only matters once it is shared. `routes` and `user`: the opaque objects
    through which it was used, or DIRECT, and the actor that has used it, or MANY. `steps`: the name of its class, if that is a package's:
    its calls may have steps of their own.
    """

    __slots__ = (
        "all_by",
        "base",
        "coarse",
        "disorder",
        "items",
        "label",
        "learned",
        "name",
        "observed",
        "order",
        "points",
        "reference",
        "routes",
        "spots",
        "steps",
        "user",
        "whole",
        "written_by",
    )

    def __init__(self, name: str, label: str, reference: Any) -> None:
        self.name = name
        self.label = label
        self.reference = reference
        self.spots: dict[str, Spot] = {}
        self.items: dict[Any, Spot] = {}
        self.base: Spot | None = None
        self.order: Spot | None = None
        self.learned = -1
        self.points: list[Spot] = []
        self.all_by: Actor | None = None
        self.written_by: Actor | None = None
        self.observed = self.disorder = False
        self.whole: Spot | None = None
        self.coarse = False
        self.routes: tuple[Any, ...] = ()
        self.user: Actor | None = None
        self.steps = ""
