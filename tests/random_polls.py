"""Random programs whose actors wait by looking again and again, and what becomes of them with and without waiting in its place.

A program is a list of instructions for each actor, drawn from a seed. Its state when an execution ends, or is cut, is what its actors have
seen and what is in its cells.
"""

import itertools
import queue
import random
import threading
import time

WRITES = ("set", "set", "add", "put", "raise", "read", "try")
PLAIN = (
    "poll",
    "either",
    "twice",
    "any",
    "all",
    "helper",
    "event",
    "try lock",
    "under lock",
    "compare",
    "drain",
    "timed drain",
    "timed event",
    "any",
    "all",
)
WAITS = ("nap", "timed wait", "timed lock", "timed get", "hold")
"""Instructions that wait in time beside loops that do."""
LIMITED = ("counted", "iterated", "hidden", "nested", "each")
ENDS = {
    **dict.fromkeys(("poll", "either", "twice", "any", "all", "helper", "compare", "timed drain"), "set"),
    **dict.fromkeys(("event", "timed event"), "raise"),
    "drain": "put",
}
"""What ends a loop."""
MOST = 3
"""Instructions of an actor that others are added to."""


def draw(seed, timed, waits=False):
    """Draw a program; `timed`: with sleeps between looks, and others; `waits`: and with other waits for some time."""
    rng = random.Random(seed)
    pauses = (None, 0, 0.5, 1.0, 1.0) if timed else (None, None, 0)

    def instruction():
        kinds = WRITES + WRITES + PLAIN + (LIMITED if rng.random() < 0.4 else ()) + (("clock",) if timed and seed % 4 == 0 else ())
        kinds += WAITS * 2 if waits else ()
        return rng.choice(kinds), rng.randrange(2), rng.choice((1, 1, 2)), rng.choice(pauses)

    actors = [[instruction() for _ in range(rng.choice((1, 2, 2, 3)))] for _ in range(2)]
    if timed and rng.random() < 0.5:
        actors[rng.randrange(2)].insert(0, ("nap", 0, rng.choice((0.5, 1.0, 1.5, 2.0)), None))
    for me, todo in enumerate(actors):
        other = actors[1 - me]
        for kind, which, value, _ in list(todo):
            if kind in ENDS and len(other) < MOST and rng.random() < 0.7:
                other.insert(rng.randint(0, len(other)), (ENDS[kind], which, 1 if kind == "event" else value, None))
    if not any(kind in PLAIN for todo in actors for kind, *_ in todo):
        actors[0][0] = ("poll", 0, 1, rng.choice(pauses))
    return actors


class Program:
    """One execution of a program."""

    def __init__(self, world, actors):
        self.actors = actors
        self.cells = [world.shared(0, "x"), world.shared(0, "y")]
        self.lock = threading.Lock()
        self.event = threading.Event()
        self.queue = queue.Queue()
        self.seen = [[] for _ in actors]
        for me in range(len(actors)):
            world.actor(f"a{me}", self.run, me)

    def state(self):
        """Return what can be told of the execution so far."""
        return tuple(map(tuple, self.seen)), tuple(cell._resource.state for cell in self.cells)

    def run(self, me):
        for kind, which, value, pause in self.actors[me]:
            method = getattr(self, f"do_{kind.replace(' ', '_')}")
            method(self.seen[me], self.cells[which], self.cells[1 - which], value, pause)

    def do_set(self, seen, cell, other, value, pause):
        cell.set(value)

    def do_add(self, seen, cell, other, value, pause):
        cell.set(cell.get() + value)

    def do_put(self, seen, cell, other, value, pause):
        self.queue.put(value)

    def do_read(self, seen, cell, other, value, pause):
        seen.append(cell.get())

    def do_clock(self, seen, cell, other, value, pause):
        seen.append(round(time.monotonic(), 3))

    def do_nap(self, seen, cell, other, value, pause):
        time.sleep(value)

    def do_timed_wait(self, seen, cell, other, value, pause):
        seen.append(self.event.wait(pause or value))

    def do_timed_lock(self, seen, cell, other, value, pause):
        if self.lock.acquire(timeout=pause or value):
            seen.append(cell.get())
            self.lock.release()
        else:
            seen.append("too late")

    def do_timed_get(self, seen, cell, other, value, pause):
        try:
            seen.append(self.queue.get(timeout=pause or value))
        except queue.Empty:
            seen.append("nothing")

    def do_hold(self, seen, cell, other, value, pause):
        with self.lock:
            time.sleep(pause or value)
            cell.set(value)

    def do_try(self, seen, cell, other, value, pause):
        if self.lock.acquire(blocking=False):
            self.lock.release()
        else:
            seen.append("held")

    def do_raise(self, seen, cell, other, value, pause):
        self.event.set() if value == 1 else self.event.clear()

    def do_poll(self, seen, cell, other, value, pause):
        while not cell.get():
            if pause is not None:
                time.sleep(pause)
        seen.append("p")

    def do_either(self, seen, cell, other, value, pause):
        while True:
            if cell.get() == value:
                seen.append("one")
                break
            if other.get() == 2:
                seen.append("other")
                break
            if pause is not None:
                time.sleep(pause)

    def do_twice(self, seen, cell, other, value, pause):
        while not (cell.get() == value or cell.get() == 2):
            if pause is not None:
                time.sleep(pause)
        seen.append("twice")

    def do_helper(self, seen, cell, other, value, pause):
        while not ready(cell, value):
            if pause is not None:
                time.sleep(pause)
        seen.append(other.get())

    def do_event(self, seen, cell, other, value, pause):
        while not self.event.is_set():
            if pause is not None:
                time.sleep(pause)
        seen.append(cell.get())

    def do_try_lock(self, seen, cell, other, value, pause):
        while not self.lock.acquire(blocking=False):
            if pause is not None:
                time.sleep(pause)
        seen.append(other.get())
        cell.set(value)
        self.lock.release()

    def do_under_lock(self, seen, cell, other, value, pause):
        while True:
            with self.lock:
                if cell.get() == 0:
                    cell.set(value)
                    break
            if pause is not None:
                time.sleep(pause)
        seen.append("got")

    def do_compare(self, seen, cell, other, value, pause):
        while not cell.compare_and_set(value, 0):
            if pause is not None:
                time.sleep(pause)
        seen.append("swapped")

    def do_drain(self, seen, cell, other, value, pause):
        while True:
            try:
                seen.append(self.queue.get_nowait())
                break
            except queue.Empty:
                if cell.get() == value:
                    break
            if pause is not None:
                time.sleep(pause)

    def do_timed_drain(self, seen, cell, other, value, pause):
        while not cell.get():
            try:
                seen.append(self.queue.get(timeout=pause or 1.0))
            except queue.Empty:
                continue

    def do_timed_event(self, seen, cell, other, value, pause):
        while not self.event.wait(pause or 0.5):
            if cell.get() == value:
                break
        seen.append("raised")

    def do_any(self, seen, cell, other, value, pause):
        while not any(each.get() == value for each in (cell, other)):
            if pause is not None:
                time.sleep(pause)
        seen.append(cell.get())

    def do_all(self, seen, cell, other, value, pause):
        while [each for each in (cell, cell) if not each.get()]:
            if pause is not None:
                time.sleep(pause)
        seen.append("all")

    def do_each(self, seen, cell, other, value, pause):
        if not any(cell.get() for _ in range(3)):
            seen.append("gave up")

    def do_counted(self, seen, cell, other, value, pause):
        looks = 0
        while not cell.get():
            looks += 1
            if looks == 3:
                seen.append("gave up")
                break
            if pause is not None:
                time.sleep(pause)

    def do_iterated(self, seen, cell, other, value, pause):
        for _ in itertools.repeat(None, 3):
            if cell.get():
                return
            if pause is not None:
                time.sleep(pause)
        seen.append("gave up")

    def do_nested(self, seen, cell, other, value, pause):
        lock = threading.RLock()
        for _ in range(3):
            lock.acquire()
        while not cell.get():
            lock.release()
            if not lock._is_owned():
                seen.append("gave up")
                break

    def do_hidden(self, seen, cell, other, value, pause):
        box = Box()
        counts = box.__dict__
        while not cell.get():
            counts["looks"] += 1
            if box.looks == 3:
                seen.append("gave up")
                break


class Box:
    def __init__(self):
        self.looks = 0


def ready(cell, value):
    return cell.get() == value
