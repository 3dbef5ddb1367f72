"""The actors of one execution: which can move, which have ended, which are dead."""

from __future__ import annotations

from simharness.engine.actors import SHIFT, Actor
from simharness.engine.kinds import Role
from simharness.places import Place


class Cast:
    """The actors of one execution.

    Attributes:
        actors: by index, in the order in which they were created.
        live: those that have not ended.
        dead: those whose process has crashed.
        waiting: those declared in set-up, until the first of them moves.
        attending: those that the execution does not wait for, such as Trio's loop.
        strikers: by index, those that make the step of a fault; they are not in `actors`, as their steps never have to happen.
        unfinished: how many live ones the execution waits for, which excludes daemons; it is over when there are none.
        stuck_at: where the stuck ones were when the execution ended, by name.
    """

    __slots__ = ("actors", "attending", "dead", "live", "strikers", "stuck_at", "unfinished", "waiting")

    def __init__(self) -> None:
        self.actors: dict[int, Actor] = {}
        self.live: list[Actor] = []
        self.dead: list[Actor] = []
        self.waiting: list[Actor] = []
        self.attending: set[Actor] = set()
        self.strikers: dict[int, Actor] = {}
        self.unfinished = 0
        self.stuck_at: dict[str, Place | None] = {}

    def maker_of(self, key: int) -> Actor | None:
        """Return who makes the step of a choice; None for the clock, and for faults that the kernel makes itself."""
        index = key >> SHIFT
        return self.actors.get(index) or self.strikers.get(index)

    def enter(self, actor: Actor) -> None:
        """Add an actor to those that can move."""
        self.actors[actor.index] = actor
        self.live.append(actor)
        if not actor.daemon:
            self.unfinished += 1

    def leave(self, actor: Actor) -> None:
        """Remove an actor, which has ended or died, from those that can move."""
        self.live.remove(actor)
        if not actor.daemon and actor not in self.attending:
            self.unfinished -= 1

    def attend(self, actor: Actor, needed: bool) -> None:
        """Add an actor that the execution does not wait for, such as Trio's loop, to those that can move, or remove it."""
        if needed and actor not in self.live:
            self.actors[actor.index] = actor
            self.attending.add(actor)
            self.live.append(actor)
        elif not needed and actor in self.live:
            self.live.remove(actor)

    def crash(self, process: str, step: int) -> list[Actor]:
        """End the actors of a process; return them."""
        crashed = [actor for actor in self.live if actor.process == process]
        for actor in crashed:
            actor.finished, actor.crashed = True, step
            self.leave(actor)
            self.dead.append(actor)
        return crashed

    @property
    def stuck(self) -> list[Actor]:
        """The actors that had not ended when the execution did, except daemons, and those that attend or only wait for work.

        Beside daemons, the end of those that wait for work would be a step that ends the daemons, too, so there they have to end.
        """
        if not self.live:
            return []
        left = [actor for actor in self.live if not actor.daemon and actor not in self.attending]
        if any(actor.daemon for actor in self.live):
            return left
        return [actor for actor in left if actor.pending is None or actor.pending.kind.role is not Role.SERVES]

    @property
    def left_out(self) -> bool:
        """Whether an actor is stuck in a false `assume`, or died in one, or is stuck in a log line that the incident lacks."""
        if not (self.live or self.dead):
            return False
        stuck = {actor.pending.kind.role for actor in self.stuck if actor.pending is not None}
        died = {actor.pending.kind.role for actor in self.dead if actor.pending is not None}
        return Role.ASSUMES in stuck | died or Role.LOGS in stuck

    def idle(self, now: int) -> bool:
        """Whether no actor can move."""
        return not any(actor.ready(now) for actor in self.live)
