"""The heap of a simulation: its state at a baseline, put back before each execution, so that each begins like the first.

The baseline is the state after imports and wider fixtures. What an execution may have changed is known from the accesses that
instrumented code has announced (`memory/locations.py` records each object that is touched): only that is compared, and put back in place
where it differs. What other code has changed is found by samples: after the 1st, 2nd, 4th, 8th, … execution, and at the end, everything is
compared. An object that a sample finds is put back, compared after every execution from then on, and exploring starts over.

Of a large container that an execution has touched, only the length and the items that it has touched are compared.

Each record can be read and written by itself, so a heap may also be taken after a set-up that is done once, and a process's own globals
can be exchanged for another's.
"""

from __future__ import annotations

from simharness.runtimes.heap.iterators import Position
from simharness.runtimes.heap.loggers import Loggers
from simharness.runtimes.heap.records import Entries, Items, Record
from simharness.runtimes.heap.walk import Walk
from simharness.runtimes.memory.locations import Locations
from simharness.trace.log_lines import set_aside

AGAIN = 10
"""How often what finalisers have changed is put back."""
LARGE = 200
"""Elements or entries of a container that is not compared whole."""


class Heap:
    """What outlives the executions of one simulation.

    Attributes:
        lasting: paths of what executions have changed and cannot be put back.
    """

    def __init__(self) -> None:
        self._walk = Walk()
        self._loggers = Loggers()
        self._loggers_are_watched = False
        self._records, self._spaces = self._walk.records, self._walk.spaces
        self._dictionaries: dict[int, str] = {}
        self._touched: dict[int, Record] = {}
        self._watched: dict[int, Record] = {}
        self._names: dict[str, set[str]] = {}
        self._watched_names: dict[str, set[str]] = {}
        self._moved: list[Position] = []
        self._watched_positions: list[Position] = []
        self._executions = 0
        self._next = 1
        self.lasting: set[str] = set()
        self.adopt()

    def adopt(self) -> None:
        """Modules have been imported: the state that instrumented ones have now is their baseline."""
        self._walk.visit(self._loggers.adopt())
        self._dictionaries = {id(space.space): module for module, space in self._spaces.items()}

    def note(self, touched: Locations) -> None:
        """An execution is over: note which objects and variables it has touched."""
        if not self._spaces:
            return
        records, objects = self._records, touched.objects
        for key in records.keys() & objects.keys():
            record = records[key]
            if isinstance(record, Items | Entries) and record.size > LARGE:
                self._touched[key] = record.among(objects[key].items)
            else:
                self._touched[key] = record
        self._moved += [position for key, position in self._walk.positions.items() if key in objects]
        for key in self._dictionaries.keys() & objects.keys():
            module = self._dictionaries[key]
            self._names.setdefault(module, set()).update(self._spaces[module].changed())
        for module in self._spaces.keys() & touched.named.keys():
            self._names.setdefault(module, set()).update(touched.named[module].spots)

    @set_aside()
    def put_back(self) -> bool:
        """Give what executions have changed its state at the baseline; return whether a sample has found what they have not announced."""
        if not self._spaces:
            return False
        found = self._executions == self._next and self.sample()
        if self._executions == self._next:
            self._next *= 2
        self._executions += 1
        held = self._replace()
        names = ((module, known) for known_names in (self._names, self._watched_names) for module, known in known_names.items())
        suspects = [*held, *self._touched.values(), *self._watched.values()]
        suspects += [self._spaces[module].among(known) for module, known in names]
        self._touched.clear()
        self._names.clear()
        if self._loggers_are_watched or self._loggers.has_new():
            suspects.append(self._loggers)
        changed = [record for record in suspects if not record.same()]
        for _ in range(AGAIN):
            if not changed:
                return found
            lost = [self._put_back(record) for record in changed]
            del lost  # finalisers run now: what they change is put back in the next turn
            changed = [record for record in suspects if not record.same()]
        for record in changed:
            self._give_up(record)
        return found

    def _replace(self) -> list[Record]:
        """Have others stand in place of iterators that have moved; return the records of what holds them."""
        held: list[Record] = []
        for position in [*self._moved, *self._watched_positions]:
            if position.same() or position.path in self.lasting:
                continue
            records = self._walk.replace(position)
            if not records:
                self.lasting.add(position.path)
            for record in records:
                self._touched.pop(id(record.thing), None)
            held += records
        self._moved.clear()
        return held

    def _put_back(self, record: Record) -> object:
        try:
            return record.put_back()
        except Exception:  # C code holds it, such as a view of a bytearray; or the `__hash__` of a key raises
            return None

    def _give_up(self, record: Record) -> None:
        self.lasting.add(record.path)
        for known in (self._records, self._watched):
            known.pop(id(record.thing), None)

    @set_aside()
    def sample(self) -> bool:
        """Compare everything; return whether something has changed that was not announced. It is watched from now on."""
        found = False
        for key, record in self._records.items():
            if key in self._watched or record.same():
                continue
            if key not in self._touched or self._touched[key].same():
                self._watched[key] = record
                found = True
        for position in self._walk.positions.values():
            if not position.same() and not any(position is known for known in (*self._moved, *self._watched_positions)):
                self._watched_positions.append(position)
                found = True
        if not self._loggers_are_watched and not self._loggers.has_new() and not self._loggers.same():
            self._loggers_are_watched = found = True
        for module, space in self._spaces.items():
            new = space.changed() - self._names.get(module, set()) - self._watched_names.get(module, set())
            if new:
                self._watched_names.setdefault(module, set()).update(new)
                found = True
        return found
