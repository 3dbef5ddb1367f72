"""Where data of one process becomes data of another: keys and masks, whose bits mean the names of the process that gave them.

Each process gives names bits in the order in which it meets them, so the tables of two differ. What is sent has its sender's table beside
it; the receiver gives bits to the names that it lacks, and moves all keys and masks, unless the tables are alike. The movers that are
faults travel too: whether a step has to happen decides what a reversal may leave out.

A wakeup tree is sent as one flat list, since its chains are longer than what can be nested in a pickle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from simharness.engine.actors import ALTERNATIVES, SHIFT
from simharness.engine.kernel import Kernel
from simharness.search.dpor import Event, WakeupNode

Sleep = dict[int, tuple[int, int]]
"""A sleep set: keys and their footprints."""


@dataclass(frozen=True)
class Table:
    """The names of a process in the order of their bits, and which of its movers are faults."""

    names: Sequence[str]
    faults: Sequence[tuple[str, str]]

    @staticmethod
    def of(kernel: Kernel) -> Table:
        """Return the table of this process."""
        return Table(kernel.names.all(), list(kernel.movers.faults.values()))


class Border:
    """Moves keys and masks of a sender to this process's, after adding the sender's names and faults here."""

    def __init__(self, kernel: Kernel, theirs: Table) -> None:
        self._indices = [kernel.names.index(name) for name in theirs.names]
        self._first = kernel.names.index(kernel.names.all()[0])
        self.same = self._indices == list(range(self._first, self._first + len(self._indices)))
        self._masks: dict[int, int] = {}
        for fault in theirs.faults:
            kernel.movers.fault_key(*fault)

    def key(self, key: int) -> int:
        """Return a key of the sender as one of this process."""
        return key if self.same else self._indices[(key >> SHIFT) - self._first] << SHIFT | key & ALTERNATIVES

    def mask(self, mask: int) -> int:
        """Return a mask of the sender as one of this process."""
        if self.same:
            return mask
        moved = self._masks.get(mask)
        if moved is None:
            moved = mask & ((1 << self._first) - 1)
            rest = mask >> self._first
            while rest:
                moved |= 1 << self._indices[(rest & -rest).bit_length() - 1]
                rest &= rest - 1
            self._masks[mask] = moved
        return moved

    def keys(self, keys: Iterable[int]) -> list[int]:
        """Return these keys as this process's."""
        return list(keys) if self.same else list(map(self.key, keys))

    def masks(self, masks: Iterable[int]) -> list[int]:
        """Return these masks as this process's."""
        return list(masks) if self.same else list(map(self.mask, masks))

    def sleep(self, sleep: Sleep) -> Sleep:
        """Return this sleep set as this process's."""
        if self.same:
            return dict(sleep)
        return {self.key(key): (self.mask(reads), self.mask(writes)) for key, (reads, writes) in sleep.items()}

    def events(self, events: Iterable[Event]) -> list[Event]:
        """Return this sequence as this process's."""
        if self.same:
            return list(events)
        return [(self.key(key), self.mask(reads), self.mask(writes)) for key, reads, writes in events]

    def tree(self, numbers: Sequence[int]) -> list[WakeupNode]:
        """Return the wakeup tree that `flat` has made a list of."""
        if not self.same:
            numbers = [*numbers[:1], *(self._moved(number, place % 4) for place, number in enumerate(numbers[1:]))]
        roots: list[WakeupNode] = []
        branches, missing = roots, numbers[0]
        above: list[tuple[list[WakeupNode], int]] = []
        for at in range(1, len(numbers), 4):
            while not missing:
                branches, missing = above.pop()
            node = WakeupNode(numbers[at], numbers[at + 1], numbers[at + 2])
            branches.append(node)
            missing -= 1
            if numbers[at + 3]:
                above.append((branches, missing))
                branches, missing = node.branches, numbers[at + 3]
        return roots

    def _moved(self, number: int, place: int) -> int:
        """Return a number of a flat node: its key, its two masks, or how many branches it has."""
        return self.key(number) if not place else number if place == 3 else self.mask(number)


def flat(branches: Sequence[WakeupNode]) -> list[int]:
    """Return a wakeup tree as a list: the number of its branches, then for each node its key, footprint and number of branches."""
    numbers = [len(branches)]
    left = list(reversed(branches))
    while left:
        node = left.pop()
        numbers += (node.key, node.reads, node.writes, len(node.branches))
        left += reversed(node.branches)
    return numbers
