"""A slice of work: continue with one part of the tree for a while, and report what that came to and where it stands.

A task is a position of the search below a depth, its *floor*: the choices above stay the same, and so do the sleep sets there. What is
found below is a function of these alone, so it makes no difference which process explores it, when, or how often. Reversals that belong
above the floor are sent back, in order.

A slice ends before an execution that it must not decide about: one that fails, teaches something about what conflicts, or raises an error.
The process that owns the exploration runs that one itself, where it comes in the order of the sequential search.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from simharness.engine.facts import Mark
from simharness.engine.kernel import Kernel
from simharness.errors import SimharnessError
from simharness.exploring.parallel.border import Border, Sleep, Table, flat
from simharness.exploring.parallel.log import Log
from simharness.exploring.waits import shorter, shortest_waits
from simharness.search.dpor import Dpor, Event, WakeupNode
from simharness.search.estimate import movers_beyond
from simharness.simulation.execution import Execution
from simharness.simulation.repeating import Repeats
from simharness.simulation.simulation import Simulation

_processor_time = time.process_time
FAILS, LEARNS, RAISES, OTHERWISE, UNSENDABLE = "fails", "learns", "raises", "otherwise", "cannot be sent"
"""Why a slice ended early. OTHERWISE: a step of the path has another footprint than foreseen."""


@dataclass(frozen=True)
class Task:
    """What to go on with.

    Attributes:
        table: the names behind all bits.
        number: names the task to its owner.
        keys: the choices that come first; exploring goes on below them, then above, down to the floor.
        reads, writes: the footprints of the steps that have been made; of the others, those foreseen are in `foreseen`.
        sleep: the sleep sets at each depth.
        left: the branches to come at each depth from the floor on, as `flat` lists.
        ahead: the wakeup tree below the last choice.
        seconds, most: the length of the slice: processor time, and executions.
        tolerant: executions that fail are counted like others.
    """

    table: Table
    number: int
    floor: int
    keys: Sequence[int]
    reads: Sequence[int]
    writes: Sequence[int]
    foreseen: Sequence[tuple[int, int]]
    sleep: Sequence[Sleep]
    left: Sequence[Sequence[int]]
    ahead: Sequence[int]
    seconds: float
    most: int | None
    tolerant: bool


@dataclass
class Piece:
    """What a slice came to: the attributes of a `Task` for where it stands now, and what happened on the way.

    Attributes:
        done: nothing is left down to the floor.
        last: the footprint foreseen for the last choice.
        outbox: (depth, sequence) of the reversals that belong above the floor.
        trouble, error: why the slice ended early, and what was raised then.
    """

    table: Table
    number: int
    floor: int
    done: bool = False
    keys: list[int] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)
    writes: list[int] = field(default_factory=list)
    last: tuple[int, int] = (0, 0)
    sleep: list[Sleep] = field(default_factory=list)
    left: list[list[int]] = field(default_factory=list)
    ahead: list[int] = field(default_factory=list)
    outbox: list[tuple[int, list[Event]]] = field(default_factory=list)
    log: Log = field(default_factory=Log)
    trouble: str = ""
    error: SimharnessError | None = None


class Below(Dpor):
    """The search below the floor of a task."""

    def __init__(self, kernel: Kernel, task: Task) -> None:
        super().__init__(kernel)
        border = Border(kernel, task.table)
        self.root = task.floor
        self.plan = border.keys(task.keys)
        self.known = border.masks(task.reads), border.masks(task.writes)
        self.foreseen = [(border.mask(reads), border.mask(writes)) for reads, writes in task.foreseen]
        self.last = self.foreseen[-1]
        self.sleep = [border.sleep(sleep) for sleep in task.sleep]
        self.left = [*([] for _ in range(task.floor)), *map(border.tree, task.left)]
        self.ahead = border.tree(task.ahead)
        self.outbox: list[tuple[int, list[Event]]] = []
        self.made = self.known
        self.fresh = True
        self._sent: set[tuple[int, tuple[Event, ...]]] = set()

    def end(self) -> None:
        """As for the whole search; keep what the steps have done, as the execution may be repeated now."""
        super().end()
        self.made = self.kernel.record.reads, self.kernel.record.writes

    def reverse(self, i: int, events: list[Event]) -> None:
        """Plan a reversal, or put it into the outbox, unless it is there: planning a sequence again below one step changes nothing."""
        if i >= self.root:
            super().reverse(i, events)
            return
        sequence = i, tuple(events)
        if sequence not in self._sent:
            self._sent.add(sequence)
            self.outbox.append((i, events))

    def as_foreseen(self) -> bool:
        """Whether the steps of the path before its last one that nobody had made have the footprints foreseen for them."""
        record, sure = self.kernel.record, len(self.known[0])
        made = zip(record.reads[sure:], record.writes[sure:], strict=True)
        return all(one == other for one, other in zip(self.foreseen[:-1], made, strict=False))

    def undo(self, ahead: list[WakeupNode]) -> None:
        """Go back to before the last execution, which began with this wakeup tree ahead."""
        assert self.plan is not None
        del self.left[len(self.plan) :], self.sleep[len(self.plan) :]
        self.ahead = ahead


class Slices:
    """Does tasks for one simulation, one after the other."""

    def __init__(self, simulation: Simulation, repeats: Repeats | None = None) -> None:
        self._simulation = simulation
        self._repeats = repeats or Repeats(simulation)
        self._number = 0

    def work(self, task: Task) -> Piece:
        """Do a task."""
        simulation = self._simulation
        kernel = simulation.kernel
        search = Below(kernel, task)
        piece = Piece(Table((), ()), task.number, task.floor)
        mark = kernel.learned.mark()
        began, checked = _processor_time(), simulation.checked
        while search.plan is not None:
            self._execute(search, piece, task, mark)
            if not mark.holds and not piece.trouble:  # by its races: the search has moved on, so the whole slice is given up
                return Piece(Table.of(kernel), task.number, task.floor, trouble=LEARNS)
            if piece.trouble or piece.log.runs == task.most or _processor_time() - began >= task.seconds:
                break
        if simulation.settings.checkpoint is not None:
            simulation.settle()  # what is kept must not rest on changes that only another process could find
            if not mark.holds:
                return Piece(Table.of(kernel), task.number, task.floor, trouble=LEARNS)
        log = piece.log
        log.checked, log.checks = simulation.checked - checked, simulation.checks
        log.kept = {name: getattr(simulation.scenario.function, name) for name in simulation.scenario.keeps}
        piece.done = search.plan is None
        length = task.floor if search.plan is None else len(search.plan) - 1
        piece.reads, piece.writes = (list(line[:length]) for line in search.made)
        if search.plan is not None:
            piece.keys, piece.last = list(search.plan), search.last
            piece.sleep = search.sleep[task.floor :]
            piece.left = list(map(flat, search.left[task.floor :]))
            piece.ahead = flat(search.ahead)
        piece.outbox = search.outbox
        piece.table = Table.of(kernel)
        return piece

    def settle(self) -> bool:
        """Exploring is over: return whether all that executions have changed here was announced."""
        mark = self._simulation.kernel.learned.mark()
        self._simulation.settle()
        return mark.holds

    def _execute(self, search: Below, piece: Piece, task: Task, mark: Mark) -> None:
        """Run the next execution and take it in, unless the owner has to."""
        assert search.plan is not None
        plan, ahead = search.plan, search.ahead
        self._number += 1
        polling = self._simulation.kernel.polling
        try:
            polling.look_for(True)
            execution = self._repeats.execute(self._number, plan, search.choose, search.known)
            polling.settle()
            if not mark.holds:
                piece.trouble = LEARNS
            elif execution.failure is not None and not task.tolerant:
                piece.trouble = FAILS
            elif search.fresh and not search.as_foreseen():
                piece.trouble = OTHERWISE
            else:
                search.end()
        except SimharnessError as error:
            piece.trouble, piece.error = RAISES, error
        finally:
            polling.look_for(False)
        if piece.trouble:
            search.undo(ahead)
            return
        self._note(piece.log, execution, len(plan) - 1)
        try:
            if self._repeats.due(execution, False):
                self._repeats.check(execution)
        except SimharnessError as error:
            piece.trouble, piece.error = RAISES, error

    def _note(self, log: Log, execution: Execution, branch: int) -> None:
        """Count an execution that left the one before it at depth `branch`."""
        kernel = self._simulation.kernel
        if log.runs:
            log.closes.append((branch, movers_beyond(log.keys, branch)))
        else:
            log.first = branch
        log.tally.add(execution, kernel)
        log.keys = list(execution.keys)
        if not log.longest or kernel.record.n > log.longest[-1][1]:
            log.longest.append((log.runs, kernel.record.n))
        if kernel.timed:
            log.timeouts = shorter(log.timeouts, shortest_waits(kernel))


def packed(piece: Piece) -> bytes:
    """Return a piece as bytes; one whose contents would not be the same elsewhere becomes one without them."""
    try:
        data = pickle.dumps(piece, pickle.HIGHEST_PROTOCOL)
        if pickle.loads(pickle.dumps(piece.log.tally.outcomes)) == piece.log.tally.outcomes:
            return data
    except Exception:
        pass
    error = piece.error
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = None if error is None else SimharnessError(str(error))
    trouble = piece.trouble if error is not None else UNSENDABLE
    return pickle.dumps(Piece(Table((), ()), piece.number, piece.floor, trouble=trouble, error=error))
