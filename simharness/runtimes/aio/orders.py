"""Which entries of a loop may run next, in each order.

The run queue is first in, first out; `arrivals` are pauses, and timers whose time has come. In the order *arrivals* an arrival may come
between two callbacks of the queue if other steps registered them, the second of them after the arrival became possible: then its
completion can have been registered in between. In *loop* a timer enters the queue between two iterations of the loop. Iterations matter
once the loop is to stop, since the one under way is completed; where an arrival lies between two iterations, it may be in either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from simharness.runtimes.aio.order import OVERTAKEN
from simharness.runtimes.aio.state import Entry


class Queue:
    """The entries of one loop, and which of them may run next; *arrivals* is this order, the others extend it.

    Attributes:
        ready: in the order of registration.
        pauses: tasks that have yielded and may go on; empty in orders in which they are in `ready`.
        timers: that have not fired.
        turn: counts the callbacks that have run, and the calls from other threads.
        last: the stamp of the callback of `ready` that ran last.
        low, high: bounds of the number of the iteration under way.
        stopped: the turn in which the loop was told to stop; -1 before.
    """

    apart = True
    """Whether pauses are apart from `ready`."""
    enters = False
    """Whether a timer that fires enters `ready`, instead of running at once."""

    def __init__(self) -> None:
        self.ready: deque[Entry] = deque()
        self.pauses: list[Entry] = []
        self.timers: dict[int, Entry] = {}
        self.turn = self.low = self.high = 0
        self.last = -1
        self.stopped = -1
        self.stopped_low = self.stopped_high = 0

    # What happens

    def begin(self, stops: bool) -> None:
        """The loop begins to run; `stops`: it was told to stop before, and makes one iteration."""
        self.stopped = -1
        if stops:
            self.stopped, self.stopped_low, self.stopped_high = self.turn + 1, self.low + 1, self.high + 1

    def look_at(self, timer: Entry, now: int) -> bool:
        """Note whether the time of a timer has come, and whether it is past; return whether it has just come."""
        comes = not timer.due and timer.instant <= now
        timer.late = timer.instant < now
        if comes:
            timer.due = True
            timer.stamp, timer.low, timer.high = self.turn, self.low + 1, self.high + 1
        return comes

    def register(self, entry: Entry) -> None:
        """A callback is registered."""
        entry.stamp, entry.low, entry.high = self.turn, self.low + 1, self.high + 1
        if entry.pause and self.apart:
            self.pauses.append(entry)
        else:
            self.ready.append(entry)

    def stop(self) -> None:
        """The loop is told to stop."""
        if self.stopped < 0:
            self.stopped, self.stopped_low, self.stopped_high = self.turn, self.low, self.high

    def take(self, entry: Entry) -> None:
        """An entry is about to run, or a timer to fire."""
        self.low, self.high = self._iterations(entry)
        self.count(entry)
        self.turn += 1
        if id(entry.handle) in self.timers:
            del self.timers[id(entry.handle)]
        elif entry.pause and self.apart:
            self.pauses.remove(entry)
        else:
            self.ready.remove(entry)
            self.last = entry.stamp

    def count(self, taken: Entry) -> None:
        """Count for the other arrivals that a pause overtakes them."""
        if taken.pause:
            key = id(taken.actor), taken.place
            for other in self._in_order():
                if other is not taken:
                    other.overtaken[key] = other.overtaken.get(key, 0) + 1

    def drop_cancelled(self) -> None:
        """Remove the entries whose callbacks were cancelled."""
        for entry in [entry for entry in self.timers.values() if entry.cancelled]:
            del self.timers[id(entry.handle)]
        for entry in [entry for entry in self.pauses if entry.cancelled]:
            self.pauses.remove(entry)
        while self.ready and self.ready[0].cancelled:
            self.skip()

    def skip(self) -> None:
        """Remove the first entry of `ready`, which does nothing."""
        self.ready.popleft()

    # What may happen

    def candidates(self) -> list[Entry]:
        """Return the entries that may run next."""
        found = [entry for entry in self._in_order() if self._runs(entry)[0]]
        return [entry for entry in found if not (entry.pause and self._yields(entry, found))] or found

    def returns(self) -> bool:
        """Whether the loop may return now."""
        if self.stopped < 0:
            return False
        return not self.ready or not self._runs(self.ready[0])[1]

    def may_arrive(self, entry: Entry) -> bool:
        """Whether the completion of an arrival can have been registered before the first of `ready`."""
        if not self.ready:
            return True
        head = self.ready[0]
        return head.stamp > entry.stamp and head.stamp != self.last

    def arrivals(self) -> Iterator[Entry]:
        """Yield the arrivals that are possible, as far as `ready` lets them."""
        yield from self.pauses
        yield from (timer for timer in self.timers.values() if timer.due)

    def _in_order(self) -> Iterable[Entry]:
        return [*list(self.ready)[:1], *(entry for entry in self.arrivals() if self.may_arrive(entry))]

    def _yields(self, entry: Entry, among: list[Entry]) -> bool:
        """Whether a pause has overtaken another arrival so often that it has to let that go first."""
        key = id(entry.actor), entry.place
        return any(other is not entry and other.overtaken.get(key, 0) >= OVERTAKEN for other in among)

    def _iterations(self, entry: Entry) -> tuple[int, int]:
        """Return bounds of the iteration in which an entry would run now."""
        if self.ready and entry is self.ready[0]:
            return max(self.low, entry.low), entry.high
        high = self.ready[0].high if self.ready else self.high + 1
        return max(self.low, entry.low), high

    def _runs(self, entry: Entry) -> tuple[bool, bool]:
        """Return whether an entry may run before the loop returns, and whether it has to."""
        if self.stopped < 0:
            return True, False
        low, high = self._iterations(entry)
        return low <= self.stopped_high, high <= self.stopped_low


class LoopOrder(Queue):
    """Exactly what `_run_once` does; `left` counts the callbacks of the iteration under way that have not run."""

    apart = False
    enters = True

    def __init__(self) -> None:
        super().__init__()
        self.left = 0

    def begin(self, stops: bool) -> None:
        """The loop begins to run."""
        super().begin(stops)
        self.left = len(self.ready) if stops else 0

    def take(self, entry: Entry) -> None:
        """An entry is about to run, or a timer to enter."""
        if id(entry.handle) in self.timers:
            self.count(entry)
            self.turn += 1
            del self.timers[id(entry.handle)]
            return
        if self.left == 0:
            self.left = len(self.ready)
        super().take(entry)
        self.left -= 1

    def skip(self) -> None:
        """Remove the first entry of `ready`, which does nothing."""
        super().skip()
        self.left -= self.left > 0

    def may_arrive(self, entry: Entry) -> bool:
        """Whether a timer may enter: between two iterations, in the order of the timers' times."""
        first = min(timer.instant for timer in self.timers.values() if timer.due)
        return self.left == 0 and self.stopped < 0 and entry.instant == first

    def candidates(self) -> list[Entry]:
        """Return the entries that may run next, and the timers that may enter."""
        if self.stopped >= 0 and self.left == 0:
            return []
        timers = [entry for entry in self.arrivals() if self.may_arrive(entry)]
        if any(timer.late or max(timer.overtaken.values(), default=0) >= OVERTAKEN for timer in timers):
            return timers
        return [*list(self.ready)[:1], *timers]

    def returns(self) -> bool:
        """Whether the loop returns now."""
        return self.stopped >= 0 and self.left == 0


class AnyOrder(Queue):
    """Any runnable task; callbacks in the order of registration among themselves; timers enter at any time."""

    apart = False
    enters = True

    def take(self, entry: Entry) -> None:
        """An entry is about to run, or a timer to enter."""
        self.count(entry)
        self.turn += 1
        if id(entry.handle) in self.timers:
            del self.timers[id(entry.handle)]
        else:
            self.ready.remove(entry)

    def skip(self) -> None:
        """Remove the first entry of `ready`, which does nothing."""
        self.ready.popleft()

    def drop_cancelled(self) -> None:
        """Remove the entries whose callbacks were cancelled."""
        super().drop_cancelled()
        for entry in [entry for entry in self.ready if entry.cancelled]:
            self.ready.remove(entry)

    def may_arrive(self, entry: Entry) -> bool:
        """Whether a timer may enter: always."""
        return True

    def returns(self) -> bool:
        """Whether the loop may return now."""
        return self.stopped >= 0

    def _in_order(self) -> Iterable[Entry]:
        tasks = [entry for entry in self.ready if entry.task]
        return [*[entry for entry in self.ready if not entry.task][:1], *tasks, *self.arrivals()]

    def _runs(self, entry: Entry) -> tuple[bool, bool]:
        return self.stopped < 0 or entry.stamp < self.stopped, False
