"""Races on plain Python objects: no cells, no declared steps; attributes, dictionaries and variables are the scheduling points.

Each scenario has a parameter `guard`: "none" is an everyday bug, "lock" the same code with the lock that it needs. Loaded from its path
(`simharness explore scenarios/plain_objects.py`), this module is instrumented: its reads and writes are scheduling points, which are
explored.
"""

import threading
from contextlib import nullcontext

import simharness

GUARDS = {"guard": ["none", "lock"], "expect": {"none": "violated"}}


def _guard(guard):
    return threading.Lock() if guard == "lock" else nullcontext()


class Counter:
    """Counts bumps."""

    def __init__(self, guard):
        self.n = 0
        self.guard = guard

    def bump(self):
        with self.guard:
            self.n += 1


@simharness.scenario(**GUARDS)
def lost_update(world, guard):
    """`self.n += 1` reads, and then writes."""
    counter = Counter(_guard(guard))
    world.actor("a", counter.bump)
    world.actor("b", counter.bump)

    @world.at_end
    def both_counted():
        assert counter.n == 2, f"two bumps, n = {counter.n}"


class Account:
    """A balance and what its history adds up to."""

    def __init__(self, guard):
        self.balance = 100
        self.history = 100
        self.guard = guard

    def pay(self, amount):
        with self.guard:
            self.balance -= amount
            self.history -= amount

    def both(self):
        with self.guard:
            return self.balance, self.history


@simharness.scenario(**GUARDS)
def torn_update(world, guard):
    """Two fields that belong together are seen when one of them has changed."""
    account = Account(_guard(guard))

    def audit():
        balance, history = account.both()
        assert balance == history, f"balance {balance}, history {history}"

    world.actor("payer", account.pay, 30)
    world.actor("auditor", audit)


@simharness.scenario(**GUARDS)
def check_then_act(world, guard):
    """A seat is looked for, found free, and taken: by both."""
    seats, sold, lock = {"1A": None}, [], _guard(guard)

    def book(who):
        with lock:
            if seats["1A"] is None:
                seats["1A"] = who
                sold.append(who)

    world.actor("alice", book, "alice")
    world.actor("bob", book, "bob")

    @world.at_end
    def sold_once():
        assert len(sold) == 1, f"1A was sold to {' and '.join(sold)}"


class Service:
    """Makes its connection when it is first needed."""

    def __init__(self, guard):
        self.connection = None
        self.opened = 0
        self.guard = guard

    def connect(self):
        with self.guard:
            if self.connection is None:
                self.opened += 1
                self.connection = object()
            return self.connection


@simharness.scenario(**GUARDS)
def lazy_initialisation(world, guard):
    """Whoever comes first makes the connection; two can come first."""
    service, got = Service(_guard(guard)), {}

    def use(who):
        got[who] = service.connect()

    world.actor("a", use, "a")
    world.actor("b", use, "b")

    @world.at_end
    def same_connection():
        assert got["a"] is got["b"], "each has a connection of his own"


class Config:
    """Double-checked locking; `none` publishes the object before it is complete."""

    def __init__(self, guard):
        self.values = None
        self.lock = threading.Lock()
        self.careful = guard == "lock"

    def get(self):
        if self.values is None:
            with self.lock:
                if self.values is None:
                    values = {}
                    if not self.careful:
                        self.values = values
                    values["timeout"] = 30
                    self.values = values
        return self.values["timeout"]


@simharness.scenario(**GUARDS)
def double_checked_locking(world, guard):
    """The check outside the lock sees what is being made inside it."""
    config = Config(guard)
    world.actor("a", config.get)
    world.actor("b", config.get)


@simharness.scenario(**GUARDS)
def changed_while_iterated(world, guard):
    """A dictionary grows while somebody goes through it: RuntimeError."""
    listeners, lock = {"log": 1, "mail": 2}, _guard(guard)

    def publish():
        with lock:
            for _ in listeners:
                pass

    def subscribe():
        with lock:
            listeners["page"] = 3

    world.actor("publisher", publish)
    world.actor("subscriber", subscribe)


class Item:
    """Holds a value."""

    def __init__(self):
        self.value = 0


@simharness.scenario(**GUARDS)
def element_of_a_container(world, guard):
    """The object that is raced for is reached through a list of another object."""
    shared, lock = Item(), _guard(guard)
    shared.items = [Item()]

    def add():
        with lock:
            shared.items[0].value += 1

    world.actor("a", add)
    world.actor("b", add)

    @world.at_end
    def both_added():
        assert shared.items[0].value == 2, f"value = {shared.items[0].value}"


@simharness.scenario
def first_wins(world):
    """No bug: under the lock the first who comes stays; which one that is, both orders tell."""
    lock, first = threading.Lock(), None

    def come(who):
        nonlocal first
        with lock:
            first = first or who

    world.actor("a", come, "a")
    world.actor("b", come, "b")

    @world.at_end
    def somebody():
        world.outcome(first)
        assert first in ("a", "b")
