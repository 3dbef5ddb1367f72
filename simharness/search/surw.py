"""Selectively uniform random walk: Zhao, Wolff, Mathur, Roychoudhury: Selectively uniform concurrency testing (ASPLOS 2025).

A walk that gives each actor a chance in proportion to the steps that it has left draws all interleavings with the same probability.
There are too many of those, so each execution selects the steps on one resource, drawn among those that several actors use and one
writes, and is uniform in their order only. Which actor makes the next selected step is drawn by how many of them each has left; another
one that is about to make a selected step waits. All other steps are drawn evenly.

How many selected steps an actor has is not known beforehand: it is the most seen in an execution so far. Departures from the paper: steps
of an actor that is not yet there count as its own, not as its parent's; where every mover would have to wait, one is drawn by what it has
left.

`Roles` is another walk of this kind: where twenty writers are alike, the one reader is seldom first in a uniform order. So it draws first
among the *roles* that have selected steps left, evenly, then an actor of that role. Actors have the same role if they read and write the
same resources and were first seen waiting at the same line to make a selected step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from simharness.engine.actors import SHIFT
from simharness.engine.kernel import Kernel
from simharness.engine.operations import CHECKED, CLOCK, ENDING, TIME
from simharness.places import Place
from simharness.search.sampling import ByMover

UNSEEN = 0.5
"""What counts as left where no execution has shown as many steps as this one."""


class Profile:
    """What the executions so far have shown of each actor's steps.

    Attributes:
        steps_on: for each resource's bit, by actor, the most steps on it in one execution.
        read, written: by actor, the masks of what it has read and written, in some execution.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.steps_on: dict[int, dict[int, int]] = {}
        self.read: dict[int, int] = {}
        self.written: dict[int, int] = {}

    def observe(self) -> None:
        """Add the kernel's last execution, whichever strategy made it."""
        record, actors = self._kernel.record, self._kernel.cast.actors
        counts: dict[tuple[int, int], int] = {}
        for key, reads, writes in zip(record.keys, record.reads, record.writes, strict=True):
            actor = actors.get(key >> SHIFT)
            if actor is None:
                continue
            index, own = actor.index, actor.mark | CLOCK | ENDING | CHECKED | TIME
            self.read[index] = self.read.get(index, 0) | reads & ~own
            self.written[index] = self.written.get(index, 0) | writes & ~own
            for bit in _bits((reads | writes) & ~own):
                counts[bit, index] = counts.get((bit, index), 0) + 1
        for (bit, index), count in counts.items():
            most = self.steps_on.setdefault(bit, {})
            most[index] = max(most.get(index, 0), count)

    def shared(self) -> list[int]:
        """Return the bits of the resources that several actors use and one writes."""
        written = 0
        for mask in self.written.values():
            written |= mask
        return [bit for bit, actors in self.steps_on.items() if bit & written and len(actors) > 1]


class Surw(ByMover):
    """Draws uniformly in the order of the steps on one resource.

    Args:
        profile: if given, it is shared with other strategies.
    """

    name = "surw"

    def __init__(self, kernel: Kernel, seed: int, profile: Profile | None = None) -> None:
        super().__init__(kernel, seed)
        self.profile = profile or Profile(kernel)
        self._selected = self._taken = 0
        self._left: dict[int, int] = {}
        self._intended: int | None = None

    def begin(self) -> Sequence[int] | None:
        """Draw the resource."""
        shared = self.profile.shared()
        self._selected = shared[self.below(len(shared))] if shared else 0
        self._left = dict(self.profile.steps_on.get(self._selected, ()))
        self._intended, self._taken = None, 0
        return super().begin()

    def pick(self, movers: list[int]) -> int:
        """Return any mover that makes no selected step, or the one that is to make the next of them."""
        self._take()
        if not self._selected:
            return movers[self.below(len(movers))]
        if self._intended is None:
            self._intended = self.next_of({index: left for index, left in self._left.items() if left})
        free = [mover for mover in movers if mover == self._intended or not self.touches(mover)]
        if free:
            return free[self.below(len(free))]
        return self.weighted({mover: self._left.get(mover, 0) or UNSEEN for mover in movers})

    def next_of(self, left: dict[int, int]) -> int | None:
        """Draw the actor that makes the next selected step, by how many each has left; None if there are none."""
        return self.weighted(left) if left else None

    def weighted(self, weights: dict[int, int] | dict[int, float]) -> int:
        """Draw a key, each with a probability in proportion to its weight."""
        point = self.random() * sum(weights.values())
        for key, weight in weights.items():
            point -= weight
            if point < 0:
                return key
        return next(reversed(weights))

    def _take(self) -> None:
        """Take the steps made since the last choice off what is left."""
        record = self.kernel.record
        for n in range(self._taken, record.n):
            if (record.reads[n] | record.writes[n]) & self._selected:
                index = record.keys[n] >> SHIFT
                if self._left.get(index):
                    self._left[index] -= 1
                if index == self._intended:
                    self._intended = None
        self._taken = record.n

    def touches(self, mover: int) -> bool:
        """Whether the mover's next step is a selected one."""
        reads, writes = self.kernel.movers.footprint(mover << SHIFT)
        return bool((reads | writes) & self._selected)

    def end(self) -> None:
        """Count the steps."""
        self.profile.observe()
        super().end()

    def guarantee(self) -> str:
        """The orders of the steps on one resource are equally likely, as far as their numbers are known."""
        return (
            "surw draws each order of the steps on one resource, which is drawn first, with about the same probability "
            f"if each actor makes equally many of them in every execution ({self.size()})"
        )


class Roles(Surw):
    """Draws evenly among the roles of the actors that have selected steps left."""

    name = "roles"

    def __init__(self, kernel: Kernel, seed: int, profile: Profile | None = None) -> None:
        super().__init__(kernel, seed, profile)
        self._shared = 0
        self.places: dict[tuple[int, int], Place] = {}

    def begin(self) -> Sequence[int] | None:
        """Draw the resource."""
        self._shared = sum(self.profile.shared())
        return super().begin()

    def next_of(self, left: dict[int, int]) -> int | None:
        """Draw a role, then one of its actors, by how many selected steps each has left."""
        roles: dict[tuple[int, int, Place | None], dict[int, int]] = {}
        for index, steps in left.items():
            read, written = self.profile.read[index] & self._shared, self.profile.written[index] & self._shared
            roles.setdefault((read, written, self.places.get((self._selected, index))), {})[index] = steps
        return self.weighted(list(roles.values())[self.below(len(roles))]) if roles else None

    def touches(self, mover: int) -> bool:
        """Whether the mover's next step is a selected one; where it waits is its place."""
        touches = super().touches(mover)
        if touches and (self._selected, mover) not in self.places:
            actor = self.kernel.cast.actors.get(mover)
            if actor is not None and (place := actor.place()) is not None:
                self.places[self._selected, mover] = place
        return touches

    def guarantee(self) -> str:
        """Nothing."""
        return f"no guarantee ({self.size()})"


def _bits(mask: int) -> Iterator[int]:
    while mask:
        bit = mask & -mask
        mask ^= bit
        yield bit
