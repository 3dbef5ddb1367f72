"""Small classes with one planted bug each, and their repaired twins; and classes that do a little of everything, for checks of checks."""

import sqlite3
import threading
from collections import OrderedDict


class Counter:
    def __init__(self):
        self.value = 0

    def increment(self):
        self.value += 1

    def get(self):
        return self.value


class LockedCounter(Counter):
    def __init__(self):
        super().__init__()
        self._lock = threading.Lock()

    def increment(self):
        with self._lock:
            self.value += 1


class Node:
    def __init__(self, value):
        self.value = value
        self.below = None


class AbaStack:
    """Compares the top with what it was, and takes its nodes from a list of free ones: the same node may be another top."""

    def __init__(self):
        self._lock = threading.Lock()
        self._free = []
        self._top = None
        for value in (1, 2):
            self.push(value)

    def _replace(self, expected, new):
        with self._lock:
            if self._top is not expected:
                return False
            self._top = new
            return True

    def _node(self, value):
        with self._lock:
            node = self._free.pop() if self._free else Node(value)
        node.value = value
        return node

    def push(self, value: int):
        node = self._node(value)
        while True:
            node.below = top = self._top
            if self._replace(top, node):
                return

    def pop(self):
        while True:
            top = self._top
            if top is None:
                return None
            below, value = top.below, top.value
            if self._replace(top, below):
                self._recycle(top)
                return value

    def _recycle(self, node):
        with self._lock:
            self._free.append(node)

    def state(self):
        found, node = [], self._top
        while node is not None and len(found) < 10:
            found.append(node.value)
            node = node.below
        return found


class Stack(AbaStack):
    """Never uses a node again."""

    def _recycle(self, node):
        pass


class LazyCache:
    def __init__(self):
        self._value = None

    def get(self):
        if self._value is None:
            self._value = self._load()
        return self._value

    def _load(self):
        return [1]


class LockedLazyCache(LazyCache):
    def __init__(self):
        super().__init__()
        self._lock = threading.Lock()

    def get(self):
        with self._lock:
            return super().get()


class TornPair:
    def __init__(self):
        self._left = self._right = 0

    def set(self, value: int):
        self._left = value
        self._right = value

    def get(self):
        return self._left, self._right


class Pair:
    def __init__(self):
        self._pair = (0, 0)

    def set(self, value: int):
        self._pair = (value, value)

    def get(self):
        return self._pair


class Registry:
    """Looks, and then writes."""

    def __init__(self):
        self._items = {}

    def setdefault(self, key: str, value: int):
        if key not in self._items:
            self._items[key] = value
        return self._items[key]


class AtomicRegistry(Registry):
    def setdefault(self, key: str, value: int):
        return self._items.setdefault(key, value)


class BoundedQueue:
    """Looks whether it is full before it takes its lock: one item too many."""

    def __init__(self, capacity: int):
        self._capacity = capacity
        self._items = []
        self._lock = threading.Lock()

    def offer(self, item: int):
        if len(self._items) >= self._capacity:
            return False
        with self._lock:
            self._items.append(item)
            return True

    def poll(self):
        with self._lock:
            return self._items.pop(0) if self._items else None


class LockedBoundedQueue(BoundedQueue):
    def offer(self, item: int):
        with self._lock:
            if len(self._items) >= self._capacity:
                return False
            self._items.append(item)
            return True


class Listeners:
    """Calls listeners while others come and go."""

    def __init__(self):
        self._listeners = {"a": 1}

    def add(self, name: str):
        self._listeners[name] = 1

    def remove(self, name: str):
        self._listeners.pop(name, None)

    def total(self):
        return sum(self._listeners[name] for name in self._names())

    def _names(self):
        return self._listeners


class CopiedListeners(Listeners):
    def __init__(self):
        super().__init__()
        self._lock = threading.Lock()

    def add(self, name: str):
        with self._lock:
            super().add(name)

    def remove(self, name: str):
        with self._lock:
            super().remove(name)

    def total(self):
        with self._lock:
            return super().total()


class Connection:
    """Closes twice when two close it."""

    def __init__(self):
        self._open = True
        self.closed = 0

    def close(self):
        if self._open:
            self.closed += 1
            self._open = False


class LockedConnection(Connection):
    def __init__(self):
        super().__init__()
        self._lock = threading.Lock()

    def close(self):
        with self._lock:
            super().close()


class Inbox:
    """Takes the messages out, and then makes the box empty: what arrives in between is lost."""

    def __init__(self):
        self._messages = ()
        self._lock = threading.Lock()

    def send(self, message: str):
        with self._lock:
            self._messages = (*self._messages, message)

    def drain(self):
        messages = self._messages
        self._messages = ()
        return messages


class LockedInbox(Inbox):
    def drain(self):
        with self._lock:
            return super().drain()


class Till:
    """Reads a balance from a database, and writes it back in another statement."""

    def __init__(self):
        self._db = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._db.execute("CREATE TABLE till (money INTEGER)")
        self._db.execute("INSERT INTO till VALUES (0)")

    def pay(self, money: int):
        (before,) = self._db.execute("SELECT money FROM till").fetchone()
        self._db.execute("UPDATE till SET money = ?", (before + money + 1,))

    def total(self):
        return self._db.execute("SELECT money FROM till").fetchone()[0]


class AtomicTill(Till):
    def pay(self, money: int):
        self._db.execute("UPDATE till SET money = money + ?", (money + 1,))


class LostWakeUp:
    """Looks, lets go of the lock, and only then waits."""

    def __init__(self):
        self._ready = False
        self._changed = threading.Condition()

    def open(self):
        with self._changed:
            self._ready = True
            self._changed.notify_all()

    def wait(self):
        if not self._ready:
            with self._changed:
                self._changed.wait()


class Gate(LostWakeUp):
    def wait(self):
        with self._changed:
            while not self._ready:
                self._changed.wait()


class WokenOnce:
    """Waits once, and does not look again."""

    def __init__(self):
        self._items = []
        self._changed = threading.Condition()

    def put(self, item: int):
        with self._changed:
            self._items.append(item)
            self._changed.notify()

    def take(self):
        with self._changed:
            if not self._items:
                self._changed.wait()
            return self._items.pop()


class WokenAgain(WokenOnce):
    def take(self):
        with self._changed:
            while not self._items:
                self._changed.wait()
            return self._items.pop()


class Account:
    """Locks two accounts in the order in which they are given."""

    def __init__(self):
        self._locks = {"a": threading.Lock(), "b": threading.Lock()}
        self._money = {"a": 2, "b": 2}

    def _order(self, source, target):
        return source, target

    def transfer(self, source: str, target: str):
        if source == target:
            return
        first, second = self._order(source, target)
        with self._locks[first], self._locks[second]:
            self._money[source] -= 1
            self._money[target] += 1


class SortedAccount(Account):
    def _order(self, source, target):
        return sorted((source, target))


class LruCache:
    """Moves a key to the end without a lock: another thread may have thrown it away."""

    def __init__(self, capacity: int):
        self._capacity = 1
        self._items = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str):
        if key in self._items:
            self._items.move_to_end(key)
            return self._items[key]
        return None

    def put(self, key: str, value: int):
        with self._lock:
            self._items[key] = value
            self._items.move_to_end(key)
            while len(self._items) > self._capacity:
                self._items.popitem(last=False)


class LockedLruCache(LruCache):
    def get(self, key: str):
        with self._lock:
            return super().get(key)


class Ids:
    """Gives the same number twice."""

    def __init__(self):
        self._next = 0

    def take(self):
        self._next += 1
        return self._next


class LockedIds(Ids):
    def __init__(self):
        super().__init__()
        self._lock = threading.Lock()

    def take(self):
        with self._lock:
            return super().take()


class Limiter:
    """Lets through one call more."""

    def __init__(self):
        self._left = 1

    def allow(self):
        if self._left > 0:
            self._left -= 1
            return True
        return False


class LockedLimiter(Limiter):
    def __init__(self):
        super().__init__()
        self._lock = threading.Lock()

    def allow(self):
        with self._lock:
            return super().allow()


class ReadersWriter:
    """Counts its readers without a lock."""

    def __init__(self):
        self._readers = 0
        self._lock = threading.Lock()

    def enter(self):
        self._readers += 1
        return

    def leave(self):
        with self._lock:
            self._readers = max(0, self._readers - 1)


class LockedReadersWriter(ReadersWriter):
    def enter(self):
        with self._lock:
            self._readers += 1


class Histogram:
    """Adds to the sum under the lock, and to the count outside."""

    def __init__(self):
        self._lock = threading.Lock()
        self._sum = self._count = 0

    def observe(self, value: int):
        with self._lock:
            self._sum += value
        self._count += 1

    def mean(self):
        with self._lock:
            return self._sum, self._count


class LockedHistogram(Histogram):
    def observe(self, value: int):
        with self._lock:
            self._sum += value
            self._count += 1


class Pool:
    """Looks whether there is a free one, and takes it, in two steps."""

    def __init__(self):
        self._free = [1]
        self._lock = threading.Lock()

    def acquire(self):
        if self._free:
            return self._free.pop()
        return None

    def release(self):
        self._free[:] = [1]


class LockedPool(Pool):
    def acquire(self):
        with self._lock:
            return super().acquire()

    def release(self):
        with self._lock:
            super().release()


class Event:
    """A flag and a message, set one after the other: who sees the flag may miss the message."""

    def __init__(self):
        self._set = False
        self._message = None

    def publish(self, message: str):
        self._set = True
        self._message = message

    def read(self):
        return self._message if self._set else "nothing"


class OrderedEvent(Event):
    def publish(self, message: str):
        self._message = message
        self._set = True

    def read(self):
        return (self._message or "nothing") if self._set else "nothing"


PLANTED = [
    (Counter, LockedCounter),
    (AbaStack, Stack),
    (LazyCache, LockedLazyCache),
    (TornPair, Pair),
    (Registry, AtomicRegistry),
    (BoundedQueue, LockedBoundedQueue),
    (Listeners, CopiedListeners),
    (Connection, LockedConnection),
    (Inbox, LockedInbox),
    (Till, AtomicTill),
    (LostWakeUp, Gate),
    (WokenOnce, WokenAgain),
    (Account, SortedAccount),
    (LruCache, LockedLruCache),
    (Ids, LockedIds),
    (Limiter, LockedLimiter),
    (ReadersWriter, LockedReadersWriter),
    (Histogram, LockedHistogram),
    (Pool, LockedPool),
    (Event, OrderedEvent),
]
"""Each class with its twin."""
