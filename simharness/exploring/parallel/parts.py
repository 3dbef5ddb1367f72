"""One exploration in parts, each of which is explored ahead of time, and put together in the order of the sequential search.

The reduction walks a tree depth first, and what it finds below a point depends only on the choices that lead there and on the sleep sets
along them. Both are known as soon as a branch is planned, long before the search gets there. So a *part*, what lies below such a branch,
can be explored anywhere beforehand. When the search stands at that branch, with equal sleep sets, it takes over what the part has come to:
its counts, its reversals that belong further up, and where it stands, from where the search goes on. A part has branches of its own, which
can be parts again.

So the outcome is that of the sequential search, execution for execution, whatever was explored where and when. What does not fit any more,
is lost, or arrives twice is only work in vain.

Branches beside daemons and late steps wait: what an earlier sibling's first step does, which belongs to the sleep set, is foreseen exactly
only elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from simharness.engine.kernel import Kernel
from simharness.exploring.parallel.border import Border, Table, flat
from simharness.exploring.parallel.log import Log
from simharness.exploring.parallel.part import Part, Path, standing, take_place, unpacked
from simharness.exploring.parallel.slices import FAILS, LEARNS, OTHERWISE, RAISES, Piece, Task
from simharness.search.dpor import Dpor, WakeupNode, add

TWICE = 2
PIECES = 64
"""Parts for each of those who share an exploration: they differ in size."""
LOST = "lost"
"""The trouble with a part on which workers end."""


class Parts:
    """The parts of one exploration; `main` is the search itself.

    Args:
        admit: called with the log of executions that come next in the order of the search; returns whether they are taken over.

    Attributes:
        wrong: how many parts had other sleep sets than the search when it came there.
    """

    def __init__(self, kernel: Kernel, admit: Callable[[Log], bool]) -> None:
        self._kernel = kernel
        self._admit = admit
        self._all: dict[Path, Part] = {}
        self._under_way: dict[int, Part] = {}
        self._number = 0
        self.main = Part((), [], [], [], 0, [], [], done=True)
        self.wrong = 0

    def begin(self, search: Dpor) -> None:
        """Let the main part stand where the search stands, which has run at least one execution."""
        before = self.main
        self.main = standing(search)
        self.main.children, self.main.mine, self.main.within = before.children, before.mine, before.within
        self._all[()] = self.main
        self.settle()

    def end(self, search: Dpor) -> None:
        """Let the search stand where the main part stands."""
        take_place(search, self.main)

    @property
    def ahead(self) -> int:
        """How many executions have been run ahead of the search."""
        return sum(part.log.runs for part in self._all.values())

    def standing(self) -> tuple[int, list[int]]:
        """Return the depth of the search's next branch, and how many branches are left at each depth up to it."""
        main = self.main
        length = len(main.keys) if main.base is None else main.base[0]
        lines = zip(main.left[:length], main.sleep, strict=False)
        return length - 1, [sum(branch.key not in asleep for branch in left) for left, asleep in lines]

    def task(self, seconds: float, most: int | None, tolerant: bool, others: int) -> Task | None:
        """Return something to do, or None.

        Args:
            others: how many parts are to be left for other workers, if possible.
        """
        part = next((part for part in self._all.values() if self._is_free(part, tolerant)), None) or self._new_part()
        if part is None:
            return None
        part.trouble = ""
        self._number += 1
        part.busy, part.floor = self._number, self._floor_of(part, others)
        self._under_way[self._number] = part
        return self.task_of(part, seconds, most, tolerant)

    def task_of(self, part: Part, seconds: float = 0.0, most: int | None = 1, tolerant: bool = False) -> Task:
        """Return the task to go on with a part."""
        return Task(
            Table.of(self._kernel),
            part.busy or 0,
            part.floor,
            list(part.keys),
            part.reads[: part.sure],
            part.writes[: part.sure],
            list(zip(part.reads[part.sure :], part.writes[part.sure :], strict=True)),
            [dict(sleep) for sleep in part.sleep],
            list(map(flat, part.left[part.floor :])),
            flat(part.ahead),
            seconds,
            most,
            tolerant,
        )

    # Some of it here, the rest elsewhere

    def others(self) -> list[Part]:
        """Return all parts but the main one."""
        return [part for part in self._all.values() if part.path]

    def place(self, parts: Sequence[Part]) -> None:
        """Go on from these parts; the first is the main one."""
        self.main = parts[0]
        self._all = {part.path: part for part in parts}

    def share(self, number: int, of: int) -> None:
        """From now on, go on with one share of the parts, of which there are to be some for each; `number` is 0 for none of them."""
        while number and sum(not part.done for part in self._all.values()) < PIECES * of and self._new_part() is not None:
            pass
        going_on = [part for _, part in sorted(self._all.items()) if not part.done]
        for position, part in enumerate(going_on):
            part.mine = position % of == number - 1
        self.main.within = tuple(self.main.keys[: self._floor_of(self.main, 0)])

    def leaves(self) -> int:
        """Return how many branches are known that nothing has explored, and where parts stand that go on."""
        left = 0
        for part in self._all.values():
            if not part.done:
                left += not part.waits
                for branches, asleep in zip(part.left, part.sleep, strict=False):
                    left += sum(_ends(branch) for branch in branches if branch.key not in asleep)
        return left

    def troubled(self) -> Part | None:
        """Return a part whose next execution this process has to run."""
        return next((part for part in self.others() if part.here and part.trouble in (FAILS, LEARNS, RAISES)), None)

    @staticmethod
    def _is_free(part: Part, tolerant: bool) -> bool:
        may = not part.trouble or (part.trouble == FAILS and tolerant)
        return part.here and part.busy is None and not part.done and may and not part.waits

    @property
    def _exact(self) -> bool:
        learned = self._kernel.learned
        return not (learned.daemons or learned.late)

    def _new_part(self) -> Part | None:
        """Make a part of the shallowest branch that is none yet."""
        depths = sorted(
            (depth, number)
            for number, part in enumerate(self._all.values())
            if part.here and not part.done and not part.trouble
            for depth in range(max(part.root, len(part.within)), len(part.keys) if part.busy is None else part.floor)
            if part.left[depth]
        )
        holders = list(self._all.values())
        for depth, number in depths:
            made = holders[number].new(depth, self._exact)
            for new in made:
                new.mine = holders[number].mine
                holders[number].children[new.path] = self._all[new.path] = new
            if made:
                return made[0]
        return None

    @staticmethod
    def _floor_of(part: Part, others: int) -> int:
        """Return the depth from which a task may go on by itself: above it are other parts, and some branches for those to come."""
        floor = part.root
        given = [0] * len(part.keys)
        for path in part.children:
            depth = next((d for d, (one, other) in enumerate(zip(path, part.keys, strict=False)) if one != other), None)
            if depth is not None:
                given[depth] += 1
                floor = max(floor, depth + 1)
        for depth in range(part.root, len(part.keys)):
            if others <= 0:
                break
            free = len(part.left[depth]) - given[depth]
            if free > 0:
                others -= free
                floor = max(floor, depth + 1)
        return floor

    def lost(self, number: int) -> None:
        """A task will not be answered: it can be done again."""
        part = self._under_way.pop(number, None)
        if part is not None:
            part.busy = None
            part.deaths += 1
            if part.deaths == TWICE:
                part.trouble, part.deaths = LOST, 0
                self.settle()

    def take(self, piece: Piece) -> None:
        """Take over what a task came to, unless that is known or out of date."""
        border = Border(self._kernel, piece.table) if piece.table.names else None
        part = self._under_way.pop(piece.number, None)
        if part is None:
            return
        part.busy, part.deaths = None, 0
        if border is not None and piece.log.runs:
            self._absorb(part, unpacked(piece, border, part))
        else:
            part.trouble, part.error = piece.trouble, piece.error
        if part.trouble == OTHERWISE and not part.ascend() and part is not self.main:
            self._drop(part)
        self.settle()

    def settle(self) -> None:
        """Let parts take over those at which they stand, until none can."""
        while any(self._settle(part) for part in list(self._all.values()) if part.path in self._all):
            pass

    def _settle(self, part: Part) -> bool:
        """Let a part take over those at which it stands; return whether it moved."""
        moved = False
        while part.busy is None and not part.done and not part.trouble:
            child = None if part.ahead else part.children.get(tuple(part.keys))
            if child is None:
                here = len(part.keys)
                below = [path for path in part.children if len(path) > here and list(path[:here]) == part.keys]
                if not below or not part.descend():
                    for path in below:
                        self._drop(part.children[path])
                    return moved
                continue
            if child.sleep[: child.root] != part.sleep:
                self.wrong += 1
                self._drop(child)
            elif child.busy is not None or not self._absorb(part, child):
                return moved
            moved = True
        return moved

    def _drop(self, part: Part) -> None:
        """Forget a part: something about it was foreseen wrongly, or there must be less than it holds."""
        if part.busy is not None:
            self._under_way.pop(part.busy, None)
        self._all.pop(part.path, None)
        for child in list(part.children.values()):
            self._drop(child)
        for other in self._all.values():
            other.children.pop(part.path, None)

    def _absorb(self, part: Part, below: Part) -> bool:
        """Let a part take over what was explored from where it stands; return False if that is not admitted."""
        below.log.first = (len(part.keys) if part.base is None else part.base[0]) - 1
        if part is self.main and below.log.runs and not self._admit(below.log):
            if below.path in part.children:
                self._drop(below)
            return False
        floor = below.root
        if below.log.runs:
            if part is not self.main:
                part.log.join(below.log)
            part.reads[:floor], part.writes[:floor] = below.reads[:floor], below.writes[:floor]
            part.base = None
        for i, events in below.outbox:
            if i >= part.root:
                add(self._kernel, part.sleep[i], part.left[i], events)
            else:
                part.send(i, events)
        if below.done:
            part.sure = max(part.sure, floor)
            part.pop(floor)
        else:
            part.keys, part.reads, part.writes, part.ahead = below.keys, below.reads, below.writes, below.ahead
            part.sleep[floor:], part.left[floor:] = below.sleep[floor:], below.left[floor:]
            if below.log.runs:
                part.sure = below.sure
            part.base = below.base or part.base
        part.trouble, part.error = below.trouble, below.error
        if part.children.pop(below.path, None) is not None:
            self._all.pop(below.path, None)
        part.children.update(below.children)
        return True


def _ends(top: WakeupNode) -> int:
    """Return how many ends of a branch's wakeup tree are not taken."""
    ends, todo = 0, [top]
    while todo:
        node = todo.pop()
        ends += not node.branches and not node.taken
        todo += node.branches
    return ends
