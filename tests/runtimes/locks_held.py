"""Locks that are made at import, before any simulation, and held in every way; two of each, to be taken in opposite orders."""
# ruff: noqa: B008, PLW0108

import collections
import dataclasses
import functools
import itertools
import threading
import types
import typing
import weakref
from _thread import RLock as GenuineRLock
from _thread import allocate_lock


class Box:
    def __init__(self, make):
        self.lock = make()


class Slot:
    __slots__ = ("lock",)

    def __init__(self, make):
        self.lock = make()


class Pair(typing.NamedTuple):
    one: typing.Any
    two: typing.Any


@dataclasses.dataclass
class Data:
    lock: typing.Any


def closure(make):
    lock = make()
    return lambda: lock


def default(make):
    def get(lock=make()):  # that is the point
        return lock

    return get


def keyword(make):
    def get(*, lock=make()):  # that is the point
        return lock

    return get


def cached(make, maxsize):
    made = functools.lru_cache(maxsize)(lambda name: make())
    made("a"), made("b")
    return (lambda: made("a"), lambda: made("b"))


def generated(make):
    def give():
        lock = make()
        while True:
            yield lock

    locks = give()
    next(locks)
    return lambda: next(locks)


def bound(cls, make):
    class Own(cls):
        lock = make()

    return lambda: Own.lock


class Taken:
    """Uses the methods that were taken from its lock when it was made."""

    def __init__(self, lock, keep):
        self.enter, self.leave = keep(lock.acquire), keep(lock.release)

    def __enter__(self):
        return self.enter()

    def __exit__(self, *_):
        self.leave()


def kept_in(keep):
    return lambda make: lambda taken=Taken(make(), keep): taken


def _through_tuple(method):
    held = (method,)
    return lambda: held[0]()


def _through_list(method):
    held = [method]
    return lambda: held[0]()


def _through_set(method):
    held = {method}
    return lambda: next(iter(held))()


def _through_static(method):
    class Own:
        call = staticmethod(method)

    return lambda: Own.call()


class Slotted:
    __slots__ = ("call",)


def _through_slot(method):
    held = Slotted()
    held.call = method
    return lambda: held.call()


def both(hold):
    return lambda make: (hold(make), hold(make))


def in_one(make_holder, *gets):
    def hold(make):
        holder = make_holder(make(), make())
        return tuple(lambda get=get: get(holder) for get in gets)

    return hold


HOLDERS = {
    "instance": both(lambda make: lambda box=Box(make): box.lock),
    "slot": both(lambda make: lambda slot=Slot(make): slot.lock),
    "dataclass": both(lambda make: lambda data=Data(make()): data.lock),
    "namespace": in_one(lambda a, b: types.SimpleNamespace(a=a, b=b), lambda held: held.a, lambda held: held.b),
    "dict": in_one(lambda a, b: {"a": a, "b": b}, lambda held: held["a"], lambda held: held["b"]),
    "nested dict": in_one(lambda a, b: {"of": {"a": a, "b": b}}, lambda held: held["of"]["a"], lambda held: held["of"]["b"]),
    "list": in_one(lambda a, b: [a, b], lambda held: held[0], lambda held: held[1]),
    "tuple": in_one(lambda a, b: (a, b), lambda held: held[0], lambda held: held[1]),
    "named tuple": in_one(Pair, lambda held: held.one, lambda held: held.two),
    "deque": in_one(lambda a, b: collections.deque([a, b]), lambda held: held[0], lambda held: held[1]),
    "mapping proxy": in_one(lambda a, b: types.MappingProxyType({1: a, 2: b}), lambda held: held[1], lambda held: held[2]),
    "chain map": in_one(lambda a, b: collections.ChainMap({1: a}, {2: b}), lambda held: held[1], lambda held: held[2]),
    "cycle": both(lambda make: lambda locks=itertools.cycle((make(),)): next(locks)),
    "frozenset": both(lambda make: lambda locks=frozenset((make(),)): next(iter(locks))),
    "closure": both(closure),
    "default argument": both(default),
    "keyword default": both(keyword),
    "partial": both(lambda make: functools.partial(lambda lock: lock, make())),
    "partial keyword": both(lambda make: functools.partial(lambda lock: lock, lock=make())),
    "cache": lambda make: cached(make, None),
    "lru_cache": lambda make: cached(make, 8),
    "generator": both(generated),
    "class": both(lambda make: bound(object, make)),
    "function attribute": both(lambda make: lambda get=types.FunctionType(closure.__code__, {}), lock=make(): lock),
    "weak values": in_one(lambda a, b: (weakref.WeakValueDictionary({1: a, 2: b}), a, b), lambda held: held[0][1], lambda held: held[0][2]),
    "methods": both(kept_in(lambda method: method)),
    "methods in a partial": both(kept_in(functools.partial)),
    "methods in a closure": both(kept_in(lambda method: lambda: method())),
    "methods in a tuple": both(kept_in(_through_tuple)),
    "methods in a list": both(kept_in(_through_list)),
    "methods in a set": both(kept_in(_through_set)),
    "methods in a slot": both(kept_in(_through_slot)),
    "static methods": both(kept_in(_through_static)),
}
MAKERS = {
    "Lock": threading.Lock,
    "RLock": threading.RLock,
    "Condition": threading.Condition,
    "raw": allocate_lock,
    "raw RLock": GenuineRLock,
}
OF = {(how, what): hold(make) for how, hold in HOLDERS.items() for what, make in MAKERS.items()}
