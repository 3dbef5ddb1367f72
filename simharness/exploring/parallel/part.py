"""A part of an exploration: what lies below a path, as far as it is explored; `parts` says what that is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from simharness.engine.operations import conflict
from simharness.errors import SimharnessError
from simharness.exploring.parallel.border import Border, Sleep
from simharness.exploring.parallel.log import Log
from simharness.exploring.parallel.slices import Piece
from simharness.search.dpor import Dpor, Event, WakeupNode

Path = tuple[int, ...]
AT_ONCE = 8
"""Parts that are made of a wakeup tree at once."""


@dataclass
class Part:
    """What lies below a path, and how far it is explored.

    Attributes:
        keys, reads, writes, sleep, left: have an entry for each choice that leads to where it stands. The footprint of the last choice, and
            of those after the first `sure`, are foreseen.
        ahead: the wakeup tree below.
        base: how many choices there were, and what lay ahead, before it followed what is foreseen.
        busy: the number of the task under way, which goes down to `floor`.
        deaths: how many workers ended in a task on it since it moved.
        trouble, error: why the owner has to go on.
        log, outbox: as of a `Piece`, since the beginning.
        children: the parts below, by path.
        mine: it is explored here, not elsewhere.
        within: what lies below these choices is explored here, and nothing above.
    """

    path: Path
    keys: list[int]
    reads: list[int]
    writes: list[int]
    sure: int
    sleep: list[Sleep]
    left: list[list[WakeupNode]]
    ahead: list[WakeupNode] = field(default_factory=list)
    base: tuple[int, list[WakeupNode]] | None = None
    done: bool = False
    busy: int | None = None
    floor: int = 0
    deaths: int = 0
    trouble: str = ""
    error: SimharnessError | None = None
    log: Log = field(default_factory=Log)
    outbox: list[tuple[int, list[Event]]] = field(default_factory=list)
    sent: set[tuple[int, tuple[Event, ...]]] = field(default_factory=set)
    children: dict[Path, Part] = field(default_factory=dict)
    mine: bool = True
    within: Path = ()

    @property
    def root(self) -> int:
        """The depth at which it begins."""
        return len(self.path)

    @property
    def waits(self) -> bool:
        """Whether it stands where another part begins."""
        return not self.ahead and tuple(self.keys) in self.children

    @property
    def here(self) -> bool:
        """Whether its next execution is one that is run here."""
        return self.mine and tuple(self.keys[: len(self.within)]) == self.within

    def pop(self, floor: int) -> None:
        """What lies below the first `floor` choices is explored: go to the next branch."""
        depth = floor
        self.base = None
        while depth > self.root:
            depth -= 1
            self.sleep[depth][self.keys[depth]] = self.reads[depth], self.writes[depth]
            while self.left[depth]:
                node = self.left[depth].pop(0)
                if node.key in self.sleep[depth]:
                    continue
                for line in (self.keys, self.reads, self.writes):
                    del line[depth:]
                del self.left[depth + 1 :], self.sleep[depth + 1 :]
                self._step(node)
                self.sure = min(self.sure, depth)
                return
        self.done = True

    def descend(self) -> bool:
        """Follow what is ahead by one choice, as an execution would, if it would."""
        reads, writes = self.reads[-1], self.writes[-1]
        asleep = {key: footprint for key, footprint in self.sleep[-1].items() if not conflict(*footprint, reads, writes)}
        branches = [branch for branch in self.ahead if branch.key not in asleep]
        if not branches:
            return False
        if self.base is None:
            self.base = len(self.keys), self.ahead
        self.sleep.append(asleep)
        self.left.append(branches[1:])
        self._step(branches[0])
        return True

    def _step(self, node: WakeupNode) -> None:
        self.keys.append(node.key)
        self.reads.append(node.reads)
        self.writes.append(node.writes)
        self.ahead = node.branches

    def ascend(self) -> bool:
        """Go back to where it was before it followed what is foreseen; return whether it did."""
        if self.base is None:
            return False
        length, self.ahead = self.base
        for line in (self.keys, self.reads, self.writes, self.sleep, self.left):
            del line[length:]
        self.base = None
        return True

    def send(self, i: int, events: list[Event]) -> None:
        """Put a reversal that belongs above it into the outbox."""
        sequence = i, tuple(events)
        if sequence not in self.sent:
            self.sent.add(sequence)
            self.outbox.append((i, events))

    def new(self, depth: int, exact: bool) -> list[Part]:
        """Return parts that a branch at this depth makes, the first in the order of the search that are not taken; none if all are.

        Args:
            exact: whether footprints are foreseen exactly; otherwise a branch makes a part once the first steps of all before it were made.
        """
        if not self.left[depth] or (not exact and depth >= self.sure):
            return []
        sleep = {**self.sleep[depth], self.keys[depth]: (self.reads[depth], self.writes[depth])}
        for node in self.left[depth]:
            if node.key in sleep:
                continue
            new = self._below(node, depth, sleep)
            if new:
                return new
            sleep[node.key] = node.reads, node.writes
            if not exact:
                explored = self.children.get((*self.keys[:depth], node.key))
                if explored is None or explored.sure <= depth:
                    return []
                sleep[node.key] = explored.reads[depth], explored.writes[depth]
        return []

    def _below(self, top: WakeupNode, depth: int, sleep: Sleep) -> list[Part]:
        """Take the first ends of a branch's wakeup tree that are not taken, return the parts that they make."""
        found: list[Part] = []
        if not _has_ends(top):
            return found
        trail: list[tuple[WakeupNode, Sleep]] = []
        todo = [(top, 0, sleep)]
        while todo:
            node, level, sleep = todo.pop()
            trail[level:] = [(node, sleep)]
            if not node.branches:
                if node.taken:
                    continue
                node.taken = True
                found.append(self._at(depth, trail))
                if len(found) == AT_ONCE:
                    break
                continue
            asleep = {key: footprint for key, footprint in sleep.items() if not conflict(*footprint, node.reads, node.writes)}
            further = []
            for branch in node.branches:
                if branch.key in asleep:
                    branch.taken = True
                elif not branch.taken or branch.branches:
                    further.append((branch, level + 1, dict(asleep)))
                asleep.setdefault(branch.key, (branch.reads, branch.writes))
            todo += reversed(further)
        return found

    def _at(self, depth: int, trail: Sequence[tuple[WakeupNode, Sleep]]) -> Part:
        """Return the part to which these steps lead from a depth on; each has the sleep set there."""
        keys, reads, writes = list(self.keys[:depth]), list(self.reads[:depth]), list(self.writes[:depth])
        for node, _ in trail:
            keys.append(node.key)
            reads.append(node.reads)
            writes.append(node.writes)
        sleep = [*self.sleep[:depth], dict(trail[0][1]), *(asleep for _, asleep in trail[1:])]
        return Part(tuple(keys), keys, reads, writes, min(self.sure, depth), sleep, [[] for _ in keys])


def standing(search: Dpor) -> Part:
    """Return a search that has run at least one execution as a part."""
    if search.plan is None:
        return Part((), [], [], [], 0, [], [], done=True)
    keys = list(search.plan)
    sure = len(keys) - 1
    reads, writes = ([*line[:sure], last] for line, last in zip(search.known, search.last, strict=True))
    return Part((), keys, reads, writes, sure, search.sleep, search.left, search.ahead)


def take_place(search: Dpor, main: Part) -> None:
    """Let a search stand where a part stands."""
    main.ascend()
    search.fresh = True
    search.sleep, search.left, search.ahead = main.sleep, main.left, main.ahead
    search.plan = None if main.done else list(main.keys)
    if not main.done:
        search.known = main.reads[: main.sure], main.writes[: main.sure]
        search.last = main.reads[-1], main.writes[-1]
    else:
        search.sleep, search.left = [], []


def _has_ends(top: WakeupNode) -> bool:
    """Whether an end of a wakeup tree is not taken."""
    todo = [top]
    while todo:
        node = todo.pop()
        if not node.branches and not node.taken:
            return True
        todo += node.branches
    return False


def unpacked(piece: Piece, border: Border, part: Part) -> Part:
    """Return what a task on this part came to as the part that begins at its floor."""
    piece.log.move(border)
    floor = piece.floor
    keys, reads, writes = border.keys(piece.keys), border.masks(piece.reads), border.masks(piece.writes)
    sure = len(reads)
    if not piece.done:
        reads.append(border.mask(piece.last[0]))
        writes.append(border.mask(piece.last[1]))
    return Part(
        tuple(part.keys[:floor]),
        keys,
        reads,
        writes,
        sure,
        [*part.sleep[:floor], *map(border.sleep, piece.sleep)],
        [*([] for _ in range(floor)), *map(border.tree, piece.left)],
        border.tree(piece.ahead) if not piece.done else [],
        done=piece.done,
        trouble=piece.trouble,
        error=piece.error,
        log=piece.log,
        outbox=[(i, border.events(events)) for i, events in piece.outbox],
    )
