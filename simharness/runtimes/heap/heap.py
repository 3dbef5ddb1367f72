"""The heap of a simulation: its state at a baseline, put back before each execution, so that each begins like the first.

The baseline is the state after imports and wider fixtures. What an execution may have changed is known from the accesses that
instrumented code has announced (`memory/locations.py` records each object that is touched): only that is compared, and put back in place
where it differs. What other code has changed is found by samples: after the 1st, 2nd, 4th, 8th, … execution, and at the end, everything is
compared. An object that a sample finds is put back, compared after every execution from then on, and exploring starts over.

Of a large container that an execution has touched, only the length and the items that it has touched are compared.

What has been put back releases objects of the execution, whose finalisers may change state, at once or when they are collected as garbage.
A sample therefore collects garbage and compares once more. If that shows a change, or if the program collects garbage itself, then what an
execution has left is collected after each one, before the next begins: no object lives on into another execution.
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from simharness.engine.kernel import Kernel
from simharness.runtimes import defaults
from simharness.runtimes.heap.loggers import Loggers
from simharness.runtimes.heap.processes import Exchanged, Globals
from simharness.runtimes.heap.records import Record, Several, Variables
from simharness.runtimes.heap.walk import Walk
from simharness.runtimes.memory.locations import Locations
from simharness.runtimes.memory.shared import of
from simharness.trace.log_lines import SetAside

AGAIN = 10
"""How often what finalisers have changed is put back."""
NEVER, YOUNG, ALL = -1, 0, 2
"""Which garbage is collected: none, that of the last execution, all."""


class Heap:
    """What outlives the executions of one simulation.

    Attributes:
        lasting: paths of what executions have changed and cannot be put back.
    """

    def __init__(self) -> None:
        self._walk = Walk()
        self._records = self._walk.records
        self._loggers = Loggers()
        self._records[id(self._loggers.thing)] = self._loggers
        self._touched: list[Record] = []
        self._kept = Several()
        self._watched: list[Record] = [self._loggers.number, self._kept]
        self._executions = 0
        self._next = 1
        self._garbage = NEVER
        self._collections = _collections()
        self._exchanged: Exchanged | None = None
        self.lasting: set[str] = set()
        self.adopt()

    def adopt(self) -> None:
        """Modules have been imported: the state that instrumented ones have now is their baseline."""
        defaults.adopt()
        self._walk.visit(self._loggers.adopt())
        self._exchanged = None

    def keep(self, path: str, space: dict[str, Any], names: Iterable[str]) -> None:
        """Also put back these variables of a module that is not instrumented, after each execution."""
        self._kept.add(Variables(space, path, frozenset()).among(names))

    def note(self, touched: Locations) -> None:
        """An execution is over: note which objects and variables it has touched."""
        records, objects, spaces = self._records, touched.objects, self._walk.spaces
        self._touched += [records[key].touched(objects[key].items) for key in records.keys() & objects.keys()]
        self._touched += [spaces[name].among(touched.named[name].spots) for name in spaces.keys() & touched.named.keys()]

    def exchanged(self, kernel: Kernel) -> Globals:
        """Set-up is over: from here on each process of the execution under way has globals of its own."""
        memory = of(kernel)
        if self._exchanged is None:
            self._exchanged = Exchanged(self._walk, memory.modules(self._walk.spaces))
        return Globals(kernel, memory, self._walk, self._exchanged, [*self._watched, *self._kept.thing])

    def put_back(self, garbage: int = NEVER) -> bool:
        """Give what executions have changed its state at the baseline; return whether they have changed what they have not announced.

        Args:
            garbage: also collect this.
        """
        with SetAside():
            return self._renew(garbage)

    def _renew(self, garbage: int) -> bool:
        found = self._program_collects()
        sampling = self._executions == self._next
        if sampling:
            self._next *= 2
            found |= self._sample()
        self._executions += 1
        garbage = max(garbage, self._garbage, YOUNG if sampling else NEVER)
        suspects = [*self._touched, *self._watched]
        self._touched.clear()
        for record in turns(suspects, garbage):
            self._give_up(record)
        if (sampling or garbage > YOUNG) and self._sample():
            found = True
            self._garbage = max(self._garbage, YOUNG)
            turns(self._watched)
        if garbage >= YOUNG:
            self._collections = _collections()
        return found

    def _program_collects(self) -> bool:
        """Whether the program itself has collected garbage, for the first time: then the execution has met what others have left."""
        if self._garbage == ALL or _collections() == self._collections:
            return False
        self._garbage = ALL
        return True

    def _give_up(self, record: Record) -> None:
        self.lasting.add(record.path)
        self._watched = [one for one in self._watched if one is not record]
        if self._records.get(id(record.thing)) is record.whole:
            del self._records[id(record.thing)]

    def sample(self) -> bool:
        """Compare everything; return whether something has changed that was not announced. It is watched from now on."""
        with SetAside():
            return self._sample()

    def _sample(self) -> bool:
        known: defaultdict[int, list[Record]] = defaultdict(list)
        for record in (*self._touched, *self._watched, *self._kept.thing):
            known[id(record.thing)].append(record)
        changed = [record for record in self._records.values() if not record.same()]
        found = [more for record in changed if (more := record.besides(known[id(record.thing)])) is not None]
        self._watched += found
        return bool(found)

    def close(self) -> None:
        """Put everything back, for good."""
        self.sample()
        self.put_back(YOUNG)
        self._records.clear()
        self._watched.clear()
        defaults.release()


def turns(records: Sequence[Record], garbage: int = NEVER) -> list[Record]:
    """Put back those that have changed, again if finalisers of what that releases change them; return those that cannot be put back.

    Args:
        garbage: collect this, too, each time.
    """
    for _ in range(AGAIN):
        changed = [record for record in records if not record.same()]
        if changed:
            lost = [_put_back(record) for record in changed]
            del lost
        if garbage >= YOUNG:
            gc.collect(garbage)
            garbage = YOUNG if changed else NEVER
        elif not changed:
            return []
    return [record for record in records if not record.same()]


def _put_back(record: Record) -> object:
    try:
        return record.put_back()
    except Exception:  # C code holds it, such as a view of a bytearray; or the `__hash__` of a key raises
        return None


def _collections() -> int:
    """Return how often all garbage has been collected."""
    return int(gc.get_stats()[-1]["collections"])
