"""Scenarios that wait by looking again and again, correct (`right`) and with a planted bug: in each, `finish` and `look` meet."""

import collections
import concurrent.futures
import functools
import itertools
import os
import queue
import sqlite3
import sys
import threading
import time

import simharness


class State:
    done = False
    value = None


def ready(state):
    return state.done and state.value is not None


def wait_until(predicate, pause=0.01):
    while not predicate():
        time.sleep(pause)


class Flag:
    def __init__(self, right):
        self.state, self.right = State(), right

    def finish(self):
        if self.right:
            self.state.value = 1
        self.state.done = True
        self.state.value = 1

    def look(self):
        while not self.state.done:
            time.sleep(0.01)
        assert self.state.value == 1


class Spin(Flag):
    def look(self):
        while not self.state.done:
            pass
        assert self.state.value == 1


class Helper(Flag):
    def look(self):
        wait_until(lambda: self.state.done)
        assert self.state.value == 1


class Late(Flag):
    def finish(self):
        time.sleep(0.105)
        super().finish()


class Several(Flag):
    def look(self):
        event, items = threading.Event(), queue.Queue()
        while not (self.state.done or event.is_set()) and items.empty():
            time.sleep(0.01)
        assert self.state.value == 1


class Contents(Flag):
    def __init__(self, right):
        super().__init__(right)
        self.items, self.table = [], {}

    def finish(self):
        if self.right:
            self.table["x"] = 1
        self.items.append(1)
        self.table["x"] = 1

    def look(self):
        while not self.items:
            time.sleep(0.01)
        while len(self.items) < 1:
            time.sleep(0.01)
        assert "x" in self.table


class Key(Flag):
    def __init__(self, right):
        super().__init__(right)
        self.table = {"state": "new"}

    def finish(self):
        if self.right:
            self.state.value = 1
        self.table["state"] = "ready"
        self.state.value = 1

    def look(self):
        while self.table.get("state") != "ready":
            time.sleep(0.01)
        assert self.state.value == 1


class Tries(Flag):
    def finish(self):
        self.state.done = self.right
        self.state.value = {"x": 1}
        self.state.done = True

    def look(self):
        while True:
            try:
                self.state.value["x"]
                break
            except TypeError:
                time.sleep(0.01)
        assert self.state.done


class OneOf(Flag):
    def look(self):
        states = [self.state]
        while not any(state.done for state in states):
            time.sleep(0.01)
        assert self.state.value == 1


class NoneLeft(Flag):
    def look(self):
        states = [self.state]
        while [state for state in states if not state.done]:
            time.sleep(0.01)
        assert self.state.value == 1


class Sum(Contents):
    def look(self):
        while sum(self.items) < 1 or not all(self.items):
            time.sleep(0.01)
        assert "x" in self.table


class ByName(Flag):
    def look(self):
        while not (hasattr(self.state, "done") and getattr(self.state, "done", False)):
            os.sched_yield() if hasattr(os, "sched_yield") else time.sleep(0)
        assert self.state.value == 1


class Event(Flag):
    def __init__(self, right):
        super().__init__(right)
        self.event = threading.Event()

    def finish(self):
        if self.right:
            self.state.value = 1
        self.event.set()
        self.state.value = 1

    def look(self):
        while not self.event.is_set():
            time.sleep(0.01)
        while not self.event.wait(0.1):
            pass
        assert self.state.value == 1


class Queue(Event):
    def __init__(self, right):
        super().__init__(right)
        self.items = queue.Queue()

    def finish(self):
        if self.right:
            self.state.value = 1
        self.items.put(1)
        self.state.value = 1

    def look(self):
        while self.items.empty():
            time.sleep(0.01)
        assert self.state.value == 1


class UnderLock(Flag):
    def __init__(self, right):
        super().__init__(right)
        self.lock = threading.Lock()

    def finish(self):
        with self.lock:
            self.state.done = True
            if self.right:
                self.state.value = 1
        self.state.value = 1

    def look(self):
        while True:
            with self.lock:
                if self.state.done:
                    break
            time.sleep(0.01)
        assert self.state.value == 1


class Row(Flag):
    def __init__(self, right):
        super().__init__(right)
        self.path = None

    def connect(self):
        return sqlite3.connect(self.path, isolation_level=None)

    def finish(self):
        if self.right:
            self.state.value = 1
        self.connect().execute("UPDATE jobs SET done = 1")
        self.state.value = 1

    def look(self):
        database = self.connect()
        while True:
            row = database.execute("SELECT done FROM jobs").fetchone()
            if row[0]:
                break
            time.sleep(0.01)
        assert self.state.value == 1


class Thread(Flag):
    def finish(self):
        if self.right:
            self.state.value = 1

    def look(self):
        thread = threading.Thread(target=self.finish)
        thread.start()
        while thread.is_alive():
            time.sleep(0.01)
        assert self.state.value == 1


class Future(Flag):
    def finish(self):
        return 5

    def look(self):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            future = pool.submit(self.finish)
            while not future.done():
                time.sleep(0.01)
            assert future.result() == (5 if self.right else 6)


KINDS = (
    Flag,
    Spin,
    Helper,
    Late,
    Several,
    Contents,
    Key,
    Tries,
    OneOf,
    *((NoneLeft,) if sys.version_info < (3, 12) else ()),  # later versions compile a comprehension into the function
    Sum,
    ByName,
    Event,
    Queue,
    UnderLock,
    Row,
    Thread,
    Future,
)
ALONE = (Thread, Future)
"""Their actors start the others."""


@simharness.scenario(kind=[kind.__name__ for kind in KINDS], right=[True, False])
def poll(world, kind, right):
    made = globals()[kind](right)
    if kind == "Row":
        made.path = world.path("jobs.db")
        database = made.connect()
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE jobs (done INTEGER)")
        database.execute("INSERT INTO jobs VALUES (0)")
    if globals()[kind] not in ALONE:
        world.actor("finisher", made.finish)
    world.actor("poller", made.look)


class Box:
    looks = 0


def counts_in_a_dictionary(cell):
    counts = {"looks": 0}
    while not cell.get():
        counts["looks"] += 1
        assert counts["looks"] < 50, "gave up"


def counts_by_another_name(cell):
    box = Box()
    box.looks = 0
    attributes = box.__dict__
    while not cell.get():
        attributes["looks"] += 1
        assert box.looks < 50, "gave up"


def repeats(cell):
    for _ in itertools.repeat(None, 50):
        if cell.get():
            return
    raise AssertionError("gave up")


def counts_down(cell):
    for _ in [None] * 50:
        if cell.get():
            return
    raise AssertionError("gave up")


def takes_the_next(cell):
    steps = itertools.repeat(None, 50)
    while not cell.get():
        assert next(steps, "end") is None, "gave up"


def takes_the_next_unseen(cell):
    more = functools.partial(next, itertools.repeat(None, 50), "end")
    while not cell.get():
        assert more() is None, "gave up"


def searches_an_iterator(cell):
    steps = iter([0] * 50)
    while not cell.get():
        assert 0 in steps, "gave up"


def is_suspected(cell):
    for _ in range(30):
        cell.get()


def takes_the_least_of_an_iterator(cell):
    is_suspected(cell)
    steps = iter([0] * 9)
    while True:
        if cell.get():
            return
        assert min(steps, default=None) is not None, "gave up"


def joins_an_iterator(cell):
    is_suspected(cell)
    steps = iter(["a"] * 9)
    while True:
        if cell.get():
            return
        assert "".join(steps), "gave up"


def compares_with_an_iterator(cell):
    is_suspected(cell)
    steps = iter([0] * 9)
    while True:
        if cell.get():
            return
        assert not {0}.isdisjoint(steps), "gave up"


def asks_an_iterator_whether_any_is_true(cell):
    is_suspected(cell)
    steps = iter([0, 1])
    while True:
        if cell.get():
            return
        assert any(steps), "gave up"


def asks_a_generator_whether_any_is_true(cell):
    is_suspected(cell)
    steps = (step for step in [0, 1])
    while True:
        if cell.get():
            return
        assert any(steps), "gave up"


def asks_an_expression_of_an_iterator(cell):
    is_suspected(cell)
    steps = iter([0, 1])
    while True:
        if cell.get():
            return
        assert any(step for step in steps), "gave up"


def lists_an_iterator(cell):
    is_suspected(cell)
    steps = iter([0] * 9)
    while True:
        if cell.get():
            return
        assert [step for step in steps] != [], "gave up"  # noqa: C416


def asks_an_expression_that_counts(cell):
    box = Box()
    box.looks = 0

    def more():
        box.looks += 1
        return box.looks < 50

    while not cell.get():
        assert any(more() for _ in (1,)), "gave up"


def is_asked_between_the_elements(cell):
    looks = []
    steps = (cell.get() for _ in range(20))
    while not any(steps):
        looks.append(1)
        assert len(looks) < 2, "gave up"


def looks_once_for_each_element(cell):
    assert any(cell.get() for _ in [0] * 50), "gave up"


def looks_once_for_each_element_of_a_list(cell):
    assert [cell.get() for _ in [0] * 50] != [0] * 50, "gave up"


def runs_a_generator(cell):
    def generator():
        yield from range(50)
        raise AssertionError("gave up")

    for _ in generator():
        if cell.get():
            return


def fills_a_dictionary(cell):
    made = collections.defaultdict(int)
    while not cell.get():
        made[len(made)]
        assert len(made) < 50, "gave up"


def empties_a_list(cell):
    left = [0] * 50
    while not cell.get():
        assert left.pop() == 0
        assert left, "gave up"


def counts_in_a_property(cell):
    class Counting:
        looks = 0

        @property
        def more(self):
            self.__dict__["looks"] = self.looks + 1
            return self.looks < 50

    counting = Counting()
    while not cell.get():
        assert counting.more, "gave up"


def has_a_deadline(cell):
    end = time.monotonic() + 1
    while not cell.get():
        assert time.monotonic() < end, "gave up"
        time.sleep(0.02)


def leaves_a_reentrant_lock(cell):
    lock = threading.RLock()
    for _ in range(40):
        lock.acquire()
    while not cell.get():
        lock.release()
        assert lock._is_owned(), "gave up"


def fetches_the_next_row(cell):
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE jobs (done INTEGER)")
    database.executemany("INSERT INTO jobs VALUES (?)", [(0,)] * 40)
    rows = database.execute("SELECT done FROM jobs")
    while not cell.get():
        assert rows.fetchone() is not None, "gave up"


LIMITED = (
    counts_in_a_dictionary,
    counts_by_another_name,
    repeats,
    counts_down,
    takes_the_next,
    takes_the_next_unseen,
    searches_an_iterator,
    takes_the_least_of_an_iterator,
    joins_an_iterator,
    compares_with_an_iterator,
    asks_an_iterator_whether_any_is_true,
    asks_a_generator_whether_any_is_true,
    asks_an_expression_of_an_iterator,
    lists_an_iterator,
    asks_an_expression_that_counts,
    is_asked_between_the_elements,
    looks_once_for_each_element,
    looks_once_for_each_element_of_a_list,
    runs_a_generator,
    fills_a_dictionary,
    empties_a_list,
    counts_in_a_property,
    has_a_deadline,
    leaves_a_reentrant_lock,
    fetches_the_next_row,
)


@simharness.scenario(how=[function.__name__ for function in LIMITED], expect="violated")
def gives_up(world, how):
    """A loop that ends by itself, by a change that no step shows."""
    world.actor("poller", globals()[how], world.shared(0, "never"))


@simharness.scenario(expect="violated: livelock")
def livelock(world):
    """If the finisher comes second, it finds the value taken and finishes nothing."""
    state = State()

    def finish():
        if state.value is None:
            state.done = True

    def spoil():
        state.value = 2

    def look():
        while not state.done:
            time.sleep(0.01)
        assert state.done

    world.actor("finisher", finish)
    world.actor("spoiler", spoil)
    world.actor("poller", look)


@simharness.scenario(expect="violated: livelock")
def looks_under_the_lock_that_the_finisher_needs(world):
    lock, state = threading.Lock(), State()

    def finish():
        with lock:
            state.done = True

    def look():
        with lock:
            while not state.done:
                time.sleep(0.01)
        assert state.done

    world.actor("finisher", finish)
    world.actor("poller", look)


@simharness.scenario(pause=[0.01, None])
def gives_the_lock_back_between_looks(world, pause):
    lock, state = threading.Lock(), State()

    def finish():
        with lock:
            state.done = True

    def look():
        lock.acquire()
        while not state.done:
            lock.release()
            if pause is not None:
                time.sleep(pause)
            lock.acquire()
        lock.release()
        assert state.done

    world.actor("finisher", finish)
    world.actor("poller", look)


@simharness.scenario(which=[0, 1])
def looks_at_each_after_another_look(world, which):
    stop = world.shared(0, "stop")
    cells = (world.shared(0, "a"), world.shared(0, "b"))

    def look():
        while not stop.get():
            for cell in cells:
                if cell.get():
                    world.outcome("found")
                    return

    world.actor("poller", look)
    world.actor("setter", cells[which].set, 1)
