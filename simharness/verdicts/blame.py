"""Finds the races that cause a failure, by reversing them.

The happens-before relation of the failing execution says which conflicting pairs of steps could have come in the other order. They are
reversed one at a time: the schedule is run again with the second step, and what it needs, moved before the first, and with everything
else in its old order as far as possible. A pair whose reversal passes is to blame, unless another reversal that passes changes less; a
pair whose reversal still fails is not. Where no single reversal passes, failing ones are reversed further, which finds sets of two and
more races, the smallest first. A data choice is reversed by taking another alternative, a crash or a stall by leaving it out.

The method comes from delta debugging between a failing and a passing run (Choi, Zeller: Isolating failure-inducing thread schedules,
ISSTA 2002); here the differences are races, and an ordering is examined only once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from simharness.engine.actors import ALTERNATIVES, SHIFT
from simharness.engine.kernel import Kernel
from simharness.engine.kinds import Role
from simharness.engine.operations import conflict
from simharness.search import tokens
from simharness.search.orderings import Exactly, Ordering, Orderings
from simharness.search.races import Races, Reversal
from simharness.simulation.execution import Execution
from simharness.simulation.simulation import Simulation
from simharness.trace.data import Blame, Passing, Race, Why
from simharness.verdicts.followed import Followed
from simharness.verdicts.shrink import Shrinker

MOST = 40
"""The largest number of executions that are spent on finding the races."""
ENOUGH = 3
"""Single races to blame after which the search ends: each shows where the failure can be prevented."""
DEEPEST = 3
"""The largest number of races that are reversed together."""
WITHOUT = -1
"""Instead of a choice: the fault does not strike."""
NO_FAULT = "no fault"

Event = tuple[int, int]
"""A step by its mover and the number of steps that the mover made before: the same in every execution."""
Flip = tuple[Event, Event]
"""The first and the second event of a reversed race; equal for a data choice."""


class _Run(NamedTuple):
    """What is kept of an execution: all its steps, their order, what can be reversed, and the reversals that led to it."""

    keys: Sequence[int]
    events: Sequence[Event]
    footprints: Sequence[tuple[int, int]]
    before: Sequence[int]
    reversals: Sequence[Reversal]
    flips: tuple[tuple[Flip, Race], ...]


class _Passed(NamedTuple):
    """A passing execution, nearest first when sorted."""

    flips: int
    reversed: int
    late: int
    number: int
    keys: Sequence[int]
    races: tuple[Race, ...]
    pairs: frozenset[tuple[int, int]]


def explain(simulation: Simulation, shrinker: Shrinker, budget: int) -> Why:
    """Return what causes the failure of the shrinker's best execution, spending at most `budget` executions."""
    return _Explainer(simulation, shrinker, min(budget, MOST)).run()


class _Explainer:
    def __init__(self, simulation: Simulation, shrinker: Shrinker, budget: int) -> None:
        self._simulation = simulation
        self._kernel: Kernel = simulation.kernel
        self._shrinker = shrinker
        self._wanted = shrinker.wanted
        self._left = budget
        self._mark = self._kernel.learned.mark()
        self._orderings = Orderings(self._kernel, Exactly())
        self._met: set[Ordering] = set()
        self._planned: set[tuple[int, ...]] = set()
        self._followed = Followed(simulation)
        self._looked: set[tuple[int, ...]] = set()
        self._passed: list[_Passed] = []
        self._singles = 0
        self._tried = 0

    def run(self) -> Why:
        """Search by the number of races reversed together."""
        simulation = self._simulation
        execution = simulation.execute(self._shrinker.best, _first)
        self._titles = {name: resource.name for name, resource in self._kernel.resources.items()}
        self._failing = self._look((), execution)
        frontier, all_singles = [self._failing], True
        for depth in range(1, DEEPEST + 1):
            frontier, whole = self._widen(frontier, depth)
            if depth == 1:
                all_singles = whole
            if self._passed or self._left <= 0:
                break
        if not self._mark.holds:
            return Why((), None, self._singles, False, self._tried + self._shrinker.ran)
        least: list[_Passed] = []
        for passed in sorted(self._passed):
            if not any(passed.pairs >= smaller.pairs for smaller in least):
                least.append(passed)
        blame = tuple(Blame(passed.races, self._token(passed.keys)) for passed in least)
        return Why(blame, self._passing(), self._singles, all_singles, self._tried + self._shrinker.ran)

    def _widen(self, frontier: Sequence[_Run], depth: int) -> tuple[list[_Run], bool]:
        """Reverse one more race of each execution; return those that still fail the same way, and whether all races were tried."""
        failing: list[_Run] = []
        for run, reversal, order in sorted(self._candidates(frontier), key=lambda candidate: self._disorder(*candidate)):
            if len(self._passed) >= (ENOUGH if depth == 1 else 1):
                return failing, False
            if tuple(order) in self._planned:
                continue
            if self._left <= 0 or not self._mark.holds:
                return failing, False
            self._planned.add(tuple(order))
            self._left -= 1
            self._tried += 1
            self._singles += depth == 1
            still_failing = self._try(run, reversal, order)
            if still_failing is not None:
                failing.append(still_failing)
        return failing, True

    def _candidates(self, frontier: Sequence[_Run]) -> Iterator[tuple[_Run, Reversal, list[int]]]:
        for run in frontier:
            undone = {(second, first) for (first, second), _ in run.flips}
            for reversal in run.reversals:
                if self._flip(run, reversal) not in undone and not (run.flips and self._race(run, reversal) is None):
                    yield run, reversal, _order(run, reversal)

    def _try(self, run: _Run, reversal: Reversal, order: Sequence[int]) -> _Run | None:
        """Run a reversal; note it if it passes; return it if it fails as the counterexample does and its ordering is new."""
        known, execution = self._followed.known(order), None
        if known is None:
            known, execution = self._followed.follow(order)
        flip = self._flip(run, reversal)
        if not _is_reversed(flip, reversal.key, known.keys) or known.status not in ("complete", "deadlock"):
            return None
        race = self._race(run, reversal)
        assert race is not None
        flips = (*run.flips, (flip, race))
        if known.failed is None:
            self._note(flips, known.keys)
            return None
        if known.failed != self._wanted or tuple(known.keys) in self._looked:
            return None
        run_again = self._look(flips, execution or self._followed.follow(order)[1])
        return run_again if len(run_again.events) else None

    def _look(self, flips: tuple[tuple[Flip, Race], ...], execution: Execution) -> _Run:
        """Return the kernel's last execution, which failed; without steps if its ordering was met before."""
        kernel = self._kernel
        self._looked.add(tuple(execution.keys))
        self._orderings.begin()
        name = self._orderings.so_far()
        if name in self._met:
            return _Run((), (), (), (), (), flips)
        self._met.add(name)
        races = Races(kernel)
        races.update(0)
        footprints = list(zip(kernel.record.reads, kernel.record.writes, strict=True))
        assert execution.failure is not None
        without_fault = [
            Reversal(i, i, WITHOUT, 0, 0) for i, _ in kernel.record.struck if kernel.record.keys[i] >> SHIFT in kernel.movers.faults
        ]
        reversals = [reversal for reversal in [*without_fault, *races.reversals()] if reversal.i <= execution.failure.step]
        return _Run(list(kernel.record.keys), _events(kernel.record.keys), footprints, races.before, reversals, flips)

    def _flip(self, run: _Run, reversal: Reversal) -> Flip:
        first = run.events[reversal.i]
        if reversal.j == reversal.i:
            return first, first
        if reversal.j < len(run.events):
            return first, run.events[reversal.j]
        index = reversal.key >> SHIFT
        return first, (index, sum(1 for mover, _ in run.events if mover == index))

    def _race(self, run: _Run, reversal: Reversal) -> Race | None:
        """Return a race as one of the counterexample's, or None if it is not one there."""
        failing = self._failing
        first, second = self._flip(run, reversal)
        if first not in failing.events:
            return None
        i = failing.events.index(first)
        j = failing.events.index(second) if second in failing.events else len(failing.events)
        if j < i:
            return None
        names = [name for name in self._kernel.names.of(reversal.shared) if not name.startswith("actor ")]
        resources = tuple(self._titles.get(name, name.removeprefix("user ")) for name in names)
        if reversal.key == WITHOUT:
            return Race(i + 1, i + 1, "", (), NO_FAULT)
        instead = str(reversal.key & ALTERNATIVES) if first == second else ""
        second_step = j + 1 if j < len(failing.events) else None
        return Race(i + 1, second_step, self._mover(reversal.key), resources, instead)

    def _note(self, flips: tuple[tuple[Flip, Race], ...], keys: Sequence[int]) -> None:
        races = [self._with_words(race, keys) for _, race in flips]
        self._passed.append(self._measured(len(flips), keys, tuple(sorted(races, key=lambda race: race.first))))

    def _with_words(self, race: Race, keys: Sequence[int]) -> Race:
        """Say for a data choice what the other alternative is."""
        if race.instead in ("", NO_FAULT):
            return race
        failing = self._failing
        event = failing.events[race.first - 1]
        trace = self._simulation.record(keys, None, None)
        position = _events(keys).index(event)
        operation = self._kernel.record.operations[position]
        notes = (NO_FAULT,) if operation.faults else trace.steps[position].notes
        if operation.kind.role is Role.OFFERS and not notes:
            notes = ("nothing",)
        return Race(race.first, race.second, race.actor, (), notes[0] if notes else f"alternative {race.instead}")

    def _measured(self, flips: int, keys: Sequence[int], races: tuple[Race, ...]) -> _Passed:
        """Measure how far a passing execution is from the failing one: conflicting steps in another order, or missing."""
        failing = self._failing
        events = _events(keys)
        at = {event: position for position, event in enumerate(events)}
        beyond = len(events)
        pairs: set[tuple[int, int]] = set()
        for y, second in enumerate(failing.events):
            for x in range(y):
                if conflict(*failing.footprints[x], *failing.footprints[y]) and at.get(failing.events[x], beyond) > at.get(second, beyond):
                    pairs.add((x, y))
        return _Passed(flips, len(pairs), -_divergence(failing.keys, keys), len(self._passed), list(keys), races, frozenset(pairs))

    def _passing(self) -> Passing | None:
        """Return the nearest passing execution: from the reversals, or else from shrinking."""
        passed = self._passed or [self._measured(0, keys, ()) for keys in self._shrinker.passing[-MOST:]]
        if not passed:
            return None
        nearest = min(passed)
        token = self._token(nearest.keys)
        step = -nearest.late
        key = nearest.keys[step] if step < len(nearest.keys) else -1
        trace = self._simulation.record(nearest.keys, None, None)
        return Passing(token, step + 1, self._mover(key), nearest.reversed, trace)

    def _mover(self, key: int) -> str:
        return self._kernel.mover(key).removeprefix("actor ")

    def _token(self, keys: Sequence[int]) -> str:
        simulation = self._simulation
        simulation.execute(keys, _first)
        return tokens.write(simulation.scenario.name, simulation.parameters, self._kernel)

    @staticmethod
    def _disorder(run: _Run, reversal: Reversal, order: Sequence[int]) -> tuple[int, int, int]:
        """How much a reversal changes, as far as is known beforehand: conflicting pairs that it reverses; later races first."""
        moved = _needed(run, reversal) + ([reversal.j] if reversal.j < len(run.keys) else [])
        pairs = 0
        for y in moved:
            for x in range(reversal.i, y):
                pairs += x not in moved and conflict(*run.footprints[x], *run.footprints[y])
        return pairs, -reversal.i, reversal.key


def _needed(run: _Run, reversal: Reversal) -> list[int]:
    """The steps between the two of a race that the second one needs."""
    i = reversal.i
    end = min(reversal.j, len(run.keys))
    return [k for k in range(i + 1, end) if reversal.past >> k & 1 and not run.before[k] >> i & 1]


def _order(run: _Run, reversal: Reversal) -> list[int]:
    """Return the schedule that reverses the race and changes as little else as possible."""
    keys, i, j = run.keys, reversal.i, reversal.j
    first = _needed(run, reversal)
    moved = {*first, j}
    return [*keys[:i], *(keys[k] for k in first), reversal.key, *(keys[k] for k in range(i, len(keys)) if k not in moved)]


def _is_reversed(flip: Flip, key: int, keys: Sequence[int]) -> bool:
    """Whether the race is reversed in the execution with these choices."""
    at = {event: position for position, event in enumerate(_events(keys))}
    first, second = flip
    if key == WITHOUT:
        return first not in at
    if first == second:
        return first in at and keys[at[first]] == key
    return second in at and (first not in at or at[second] < at[first])


def _events(keys: Sequence[int]) -> list[Event]:
    made: dict[int, int] = {}
    events: list[Event] = []
    for key in keys:
        index = key >> SHIFT
        events.append((index, made.get(index, 0)))
        made[index] = made.get(index, 0) + 1
    return events


def _divergence(keys: Sequence[int], other: Sequence[int]) -> int:
    """Return the position at which two schedules diverge."""
    for position, (mine, yours) in enumerate(zip(keys, other, strict=False)):
        if mine != yours:
            return position
    return min(len(keys), len(other))


def _first(enabled: list[int]) -> int:
    return enabled[0]
