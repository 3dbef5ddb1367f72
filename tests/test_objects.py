"""Objects of the standard library and of packages: what two actors share of them is a location, or is named beside the verdict."""

from __future__ import annotations

import array
import collections
import configparser
import contextlib
import copy
import csv
import dataclasses
import email.message
import enum
import functools
import graphlib
import hashlib
import heapq
import http.cookies
import io
import itertools
import json
import logging
import operator
import os
import random
import re
import sys
import textwrap
import threading
import types
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from unittest import mock
from xml.etree import ElementTree

import pytest

import simharness
from simharness import Settings, Verdict
from simharness.authoring.loading import load

OWN = Settings(instrument=(__name__,))


class Thing:
    """Something to refer to weakly."""

    n = 0

    def __init__(self):
        self.kept = []


class Colour(enum.Enum):
    RED = 1


class Base:
    n = 0


class Derived(Base):
    def raise_it(self):
        Base.n = super().n + 1

    def look(self):
        return super().n


class Cache(collections.UserDict):
    """A user's class that inherits its methods."""


THING = Thing()
count = 0


def numbers():
    yield 1
    yield 2


def weak(kind):
    made = kind()
    made[THING] = 0
    return made


def wrapped(owner):
    return functools.partial(owner.append, 1)


def settings():
    made = configparser.ConfigParser()
    made.add_section("s")
    return made


def through_globals(name, value):
    globals()[name] = value


def swap(thing):
    thing.__dict__ = {"kept": [1]}


def turn(thing):
    thing.__class__ = Turned


class Turned(Thing):
    n = 1


def bind(thing):
    thing.total = 1


def over(inner, make):
    return inner, make(inner)


def all_of(things):
    return [thing for thing in things]  # noqa: C416  # a loop in instrumented code


def stacked(log):
    stack = contextlib.ExitStack()
    stack.callback(log.append, 1)
    return stack


def grown(things):
    things += [1]


def leave(log):
    with contextlib.ExitStack() as stack:
        stack.callback(log.append, 1)


def twice(items):
    items *= 2


SHARED = {
    "count": (itertools.count, next, next),
    "list iterator": (lambda: iter([1, 2]), next, next),
    "iterator in a loop": (lambda: iter([1, 2]), next, all_of),
    "iterator and its list": (
        lambda: over([1, 2], iter),
        lambda pair: pair[0].insert(0, 5),
        lambda pair: next(pair[1]),
    ),
    "enumerate": (lambda: enumerate("ab"), next, next),
    "zip": (lambda: zip([1, 2], [3, 4], strict=True), next, list),
    "map": (lambda: map(str, [1, 2]), next, "".join),
    "reversed": (lambda: reversed([1, 2]), next, next),
    "chain": (lambda: itertools.chain([1], [2]), next, sum),
    "tee": (lambda: itertools.tee(iter([1, 2])), lambda pair: next(pair[0]), lambda pair: (next(pair[1]), next(pair[0]))),
    "generator": (numbers, next, lambda it: next(it, None)),
    "generator expression": (lambda: (n for n in [1, 2]), next, lambda it: next(it, None)),
    "generator that is sent to": (numbers, lambda it: it.send(None), lambda it: next(it, None)),
    "unpacking": (lambda: iter([1, 2, 3]), next, lambda it: [*it]),
    "in an iterator": (lambda: iter([1, 2]), next, lambda it: 1 in it),
    "random.Random": (lambda: random.Random(5), lambda r: r.random(), lambda r: r.random()),
    "seed": (lambda: random.Random(5), lambda r: r.seed(1), lambda r: r.random()),
    "array": (lambda: array.array("i", [0]), lambda a: a.append(1), len),
    "item of an array": (lambda: array.array("i", [0]), lambda a: operator.setitem(a, 0, 1), lambda a: a[0]),
    "bytearray": (lambda: bytearray(1), lambda b: b.append(1), bytes),
    "memoryview": (lambda: over(bytearray(1), memoryview), lambda p: operator.setitem(p[1], 0, 1), lambda p: p[0][0]),
    "StringIO": (io.StringIO, lambda b: b.write("a"), lambda b: b.getvalue()),
    "BytesIO": (io.BytesIO, lambda b: b.write(b"a"), lambda b: b.tell()),
    "print to a StringIO": (io.StringIO, lambda b: print("a", file=b), lambda b: b.getvalue()),
    "csv.writer": (lambda: over(io.StringIO(), csv.writer), lambda p: p[1].writerow([1]), lambda p: p[0].getvalue()),
    "WeakKeyDictionary": (lambda: weak(weakref.WeakKeyDictionary), lambda d: operator.setitem(d, THING, 1), lambda d: d[THING]),
    "WeakSet": (weakref.WeakSet, lambda s: s.add(THING), lambda s: THING in s),
    "UserDict": (collections.UserDict, lambda d: operator.setitem(d, "k", 1), lambda d: d.get("k")),
    "UserDict and its dictionary": (collections.UserDict, lambda d: d.data.update(k=1), lambda d: d.get("k")),
    "length of a UserDict": (collections.UserDict, lambda d: d.update(k=1), len),
    "truth of a UserList": (collections.UserList, lambda d: d.append(1), lambda d: "some" if d else "none"),
    "equality of a UserDict": (collections.UserDict, lambda d: d.update(k=1), lambda d: d == {"k": 1}),
    "text of a UserDict": (collections.UserDict, lambda d: d.update(k=1), lambda d: f"{d}"),
    "JSON of what a UserList holds": (lambda: collections.UserList([[1]]), lambda d: d.append(1), lambda d: json.dumps(d.data)),
    "loop over a UserDict": (collections.UserDict, lambda d: d.update(k=1), all_of),
    "ChainMap": (lambda: collections.ChainMap({}), lambda d: operator.setitem(d, "k", 1), lambda d: d.get("k")),
    "ChainMap and its mapping": (lambda: over({}, collections.ChainMap), lambda p: p[0].update(k=1), lambda p: p[1].get("k")),
    "a user's class of a UserDict": (Cache, lambda d: d.update(k=1), lambda d: d.get("k")),
    "partial": (lambda: over([], wrapped), lambda p: p[1](), lambda p: len(p[0])),
    "lru_cache": (lambda: functools.lru_cache(str), lambda f: f(1), lambda f: f.cache_info().currsize),
    "member of an enumeration": (lambda: Colour.RED, bind, lambda m: getattr(m, "total", 0)),
    "class of an enumeration": (lambda: Colour, bind, lambda m: getattr(m, "total", 0)),
    "attribute of a class": (lambda: Thing, bind, lambda m: getattr(m, "total", 0)),
    "attribute of a thread": (lambda: threading.Thread(target=str), bind, lambda m: getattr(m, "total", 0)),
    "attribute of an event": (threading.Event, bind, lambda m: getattr(m, "total", 0)),
    "super": (Derived, lambda d: d.raise_it(), lambda d: d.look()),
    "globals": (lambda: through_globals("count", 0), lambda _: through_globals("count", 1), lambda _: count),
    "vars of a module": (lambda: through_globals("count", 0), lambda _: vars(sys.modules[__name__]).update(count=1), lambda _: count),
    "dict of a module": (lambda: through_globals("count", 0), lambda _: sys.modules[__name__].__dict__.update(count=1), lambda _: count),
    "a global that only globals() binds": (lambda: through_globals("unseen", 0), lambda _: through_globals("unseen", 1), lambda _: unseen),  # noqa: F821
    "__dict__ assigned": (Thing, swap, lambda t: len(t.kept)),
    "__class__ assigned": (Thing, turn, lambda t: t.n),
    "__class__ looked at": (Thing, turn, lambda t: t.__class__.__name__),
    "cycle": (lambda: itertools.cycle([1, 2]), next, next),
    "merge": (lambda: heapq.merge([1], [2]), next, lambda it: next(it, None)),
    "batch of an iterator": (lambda: iter("abc"), lambda it: list(itertools.islice(it, 2)), lambda it: next(it, None)),
    "SimpleNamespace": (types.SimpleNamespace, bind, lambda t: getattr(t, "total", 0)),
    "cookies": (http.cookies.SimpleCookie, lambda c: operator.setitem(c, "k", "1"), lambda c: "k" in c),
    "message": (email.message.Message, lambda m: m.add_header("K", "1"), lambda m: m.get("K")),
    "element": (lambda: ElementTree.Element("a"), lambda e: e.set("k", "1"), lambda e: e.get("k")),
    "sorter": (graphlib.TopologicalSorter, lambda s: s.add(1), lambda s: len(vars(s)["_node2info"])),
    "text wrapper": (textwrap.TextWrapper, lambda w: setattr(w, "width", 2), lambda w: w.wrap("a b")),
    "stack of callbacks": (lambda: over([], stacked), lambda p: p[1].close(), lambda p: len(p[0])),
    "slice of an array": (lambda: array.array("i", [0]), lambda a: a.extend([1]), lambda a: a[:]),
    "attrgetter of a UserDict": (collections.UserDict, lambda d: d.update(k=1), lambda d: operator.attrgetter("data")(d).get("k")),
    "copy of a UserDict": (collections.UserDict, lambda d: d.update(k=1), copy.copy),
    "sorted UserList": (lambda: collections.UserList([2]), lambda d: d.append(1), sorted),
    "attributes swapped": (Thing, swap, lambda t: vars(t)["kept"]),
    "addition of UserLists": (collections.UserList, lambda d: d.append(1), lambda d: d + [2]),  # noqa: RUF005
    "in place": (collections.UserList, grown, len),
    "type of an object": (Thing, turn, lambda t: type(t).__name__),
    "isinstance": (Thing, turn, lambda t: isinstance(t, Turned)),
    "sha256": (hashlib.sha256, lambda h: h.update(b"a"), lambda h: h.hexdigest()),
    "ConfigParser": (settings, lambda c: c.set("s", "o", "1"), lambda c: c.has_option("s", "o")),
    "Mock": (mock.Mock, lambda m: m(), lambda m: m.call_count),
    "ExitStack": (list, leave, len),
    "heap": (list, lambda h: heapq.heappush(h, 1), len),
    "in place by a constant": (lambda: [1], twice, len),
    "operator.methodcaller": (list, operator.methodcaller("append", 1), len),
    "unbound method": (list, lambda items: list.append(items, 1), len),
}


@pytest.fixture
def both_ways():
    """Explore a change and a look at what `make` makes; return the result, whose outcomes brute force has, too."""

    def explored(make, change, look):
        def program(world):
            through_globals("count", 0)
            Base.n = 0
            for owner in (Thing, Colour, Colour.RED):
                if "total" in vars(owner):
                    delattr(owner, "total")
            shared, seen = make(), []
            world.actor("changes", lambda: change(shared) and None)
            world.actor("looks", lambda: seen.append(repr(look(shared))))
            world.at_end(lambda: world.outcome(seen[0]))

        result = simharness.explore(program, settings=OWN, stop_on_first=False)
        brute = simharness.explore(program, "exhaustive", settings=OWN, stop_on_first=False)
        assert result.outcomes == brute.outcomes
        assert result.redundant == 0
        return result

    return explored


@pytest.mark.parametrize("name", SHARED)
def test_an_actor_that_looks_at_an_object_sees_it_before_and_after_the_others_change(both_ways, name):
    result = both_ways(*SHARED[name])
    assert len(result.outcomes) >= 2, result.bounds
    assert not result.remarks


PRIVATE = {
    "iterators": lambda: [a for a, b in zip(iter([1, 2]), enumerate([1, 2]), strict=True) if b],
    "a generator": lambda: sum(n for n in numbers()),
    "a StringIO": lambda: print("a", file=io.StringIO()),
    "a random.Random": lambda: random.Random(5).random(),
    "the module's random": lambda: random.random() < 2,
    "a UserDict": lambda: collections.UserDict(k=1).get("k"),
    "a logger": lambda: logging.getLogger("quiet").debug("a"),
    "a compiled pattern": lambda: PATTERN.match("a"),
    "a decimal": lambda: TEN + TEN,
    "a constant array": lambda: LENGTHS[0] + len(LENGTHS),
    "a shared configuration": lambda: CONFIGURATION.get("k"),
    "an enumeration": lambda: Colour.RED.value,
    "a mapping proxy": lambda: Thing.__dict__["n"],
    "an attrgetter": lambda: GET(THING),
}
PATTERN = re.compile("a")
TEN = __import__("decimal").Decimal(10)
LENGTHS = array.array("i", [1])
CONFIGURATION = collections.UserDict(k=1)
GET = operator.attrgetter("n")


@pytest.mark.parametrize("name", PRIVATE)
def test_what_is_private_or_only_read_or_has_no_state_costs_no_orderings(name):
    def program(world):
        for actor in "abc":
            world.actor(actor, lambda: PRIVATE[name]() and None)

    result = simharness.explore(program, settings=OWN)
    assert (result.verdict, result.executions) == (Verdict.VERIFIED, 1)
    assert not any(remark.startswith("except") for remark in result.remarks)


HANDED_OVER = {
    "Thread": lambda log, n: threading.Thread(target=log.append, args=(n,)).start(),
    "Timer": lambda log, n: threading.Timer(0, log.append, (n,)).start(),
    "partial in a Thread": lambda log, n: threading.Thread(target=functools.partial(log.append, n)).start(),
    "method of a class in a Thread": lambda log, n: threading.Thread(target=list.append, args=(log, n)).start(),
    "operator in a Thread": lambda log, n: threading.Thread(target=operator.iadd, args=(log, [n])).start(),
    "options": lambda log, n: threading.Thread(target=log.append, args=(n,)).start(),
    "callback": lambda log, n: threading.Thread(target=called_back, args=(log, n)).start(),
}


def called_back(log, number):
    future = Future()
    future.add_done_callback(functools.partial(list.append, log))
    future.set_result(number)


@pytest.mark.parametrize("name", HANDED_OVER)
def test_a_method_that_is_handed_to_other_code_touches_its_object_when_it_is_called(name):
    def program(world):
        log = []
        for number in (1, 2):
            HANDED_OVER[name](log, number)
        world.at_end(lambda: world.outcome(str([held.result() if isinstance(held, Future) else abs(held) for held in log])))

    result = simharness.explore(program, settings=OWN, stop_on_first=False)
    assert len(result.outcomes) == 2


def test_functions_that_an_executor_calls_touch_what_they_are_given():
    def program(world):
        def run():
            log, steps = [], iter([1, 2])
            with ThreadPoolExecutor(2) as pool:
                first, second = pool.submit(next, steps), pool.submit(next, steps)
                pool.map(log.append, (1, 2))
            world.outcome((first.result(), second.result(), tuple(log)))

        world.actor("main", run)

    result = simharness.explore(program, settings=Settings(instrument=(__name__,), max_executions=300), stop_on_first=False)
    assert {outcome[:2] for outcome in result.outcomes} == {(1, 2), (2, 1)}
    assert {outcome[2] for outcome in result.outcomes} == {(1, 2), (2, 1)}


def test_an_executing_generator_refuses_a_second_caller_as_in_python():
    def program(world):
        def produce():
            THING.n += 1
            yield 1

        steps, seen = produce(), []

        def take():
            try:
                seen.append(next(steps, None))
            except ValueError as error:
                seen.append(str(error))

        world.actor("a", take)
        world.actor("b", take)
        world.at_end(lambda: world.outcome(tuple(sorted(map(str, seen)))))

    result = simharness.explore(program, settings=OWN, stop_on_first=False)
    assert result.outcomes == {("1", "None"), ("1", "generator already executing")}


def test_another_actor_can_move_between_the_last_access_of_a_generator_and_its_yield():
    def program(world):
        box, seen = Thing(), {}
        steps = (box.n for _ in [1])

        def take(who):
            try:
                seen[who] = next(steps, None)
            except ValueError:
                seen[who] = "executing"

        def change():
            box.n = 2
            take("b")

        world.actor("a", take, "a")
        world.actor("b", change)
        world.at_end(lambda: world.outcome((seen["a"], seen["b"])))

    result = simharness.explore(program, settings=OWN, stop_on_first=False)
    assert (0, "executing") in result.outcomes


def test_a_locked_twin_of_an_object_of_the_library_is_verified():
    def program(world):
        cache, lock = collections.UserDict(k=0), threading.Lock()

        def bump():
            with lock:
                cache["k"] += 1

        world.actor("a", bump)
        world.actor("b", bump)

        @world.at_end
        def both():
            assert cache["k"] == 2

    result = simharness.explore(program, settings=OWN)
    assert (result.verdict, result.executions, result.remarks) == (Verdict.VERIFIED, 2, ())


PACKAGE = """
import threading

class Box:
    def __init__(self):
        self.n = 0
    def bump(self):
        self.n += 1
    def __enter__(self):
        self.n += 1
    def __exit__(self, *error):
        self.n += 1

class Safe(Box):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()
    def bump(self):
        for _ in range(3):
            with self.lock:
                self.n += 1

def add(items, item):
    items.append(item)

def size(items):
    return len(items)
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that is not instrumented."""
    name = f"package_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__(name)
    del sys.modules[name]


def test_an_object_of_a_package_is_a_location_and_the_verdict_names_the_package(package):
    def program(world):
        box, seen = package.Box(), []
        world.actor("bumps", lambda: box.bump() and None)
        world.actor("looks", lambda: seen.append(box.n))
        world.at_end(lambda: world.outcome(seen[0]))

    result = simharness.explore(program, settings=OWN, stop_on_first=False)
    assert (result.outcomes, result.executions) == ({0, 1}, 2)
    assert not result.remarks

    def two(world):
        box = package.Box()
        for name in "ab":
            world.actor(name, lambda: box.bump() and None)

    result = simharness.explore(two, settings=OWN, stop_on_first=False)
    assert (result.verdict, result.executions) == (Verdict.VERIFIED, 2)
    assert f"except for the memory of {package.__name__}" in result.remarks
    assert f"except for the memory of {package.__name__}" in result.bounds


def test_entering_an_object_of_a_package_is_a_call_on_it(package):
    def program(world):
        box, seen = package.Box(), []

        def enter():
            with box:
                pass

        world.actor("enters", enter)
        world.actor("looks", lambda: seen.append(box.n))
        world.at_end(lambda: world.outcome(seen[0]))

    assert simharness.explore(program, settings=OWN, stop_on_first=False).outcomes == {0, 1, 2}


def test_where_calls_on_a_packages_objects_have_steps_of_their_own_those_decide(package):
    def program(world):
        box = package.Safe()
        for name in "ab":
            world.actor(name, lambda: box.bump() and None)

    result = simharness.explore(program, settings=OWN, stop_on_first=False)
    assert (result.verdict, result.executions, result.redundant) == (Verdict.VERIFIED, 20, 0)
    assert f"except for the memory of {package.__name__}" in result.remarks


def test_a_function_of_a_package_that_changes_what_it_receives_is_seen_to_do_so(package):
    def program(world):
        items, seen = [], []
        world.actor("adds", lambda: package.add(items, 1) and None)
        world.actor("looks", lambda: seen.append(package.size(items)))
        world.at_end(lambda: world.outcome(seen[0]))

    assert simharness.explore(program, settings=OWN, stop_on_first=False).outcomes == {0, 1}


def test_functions_of_a_package_that_only_read_what_they_receive_cost_no_orderings(package):
    def program(world):
        items = [1]
        for name in "abc":
            world.actor(name, lambda: package.size(items) and None)

    assert simharness.explore(program, settings=OWN).executions == 1


@pytest.mark.confirms
def test_a_race_on_an_object_of_the_library_replays(tmp_path):
    path = tmp_path / "takes.py"
    path.write_text(TAKES)
    (scenario,) = load(f"{path}::takes")
    found = simharness.explore(scenario).counterexample
    assert "write count" in found.timeline
    assert simharness.replay(scenario, found.token).failure == found.failure


TAKES = """
import collections
import itertools
import simharness

@simharness.scenario
def takes(world):
    ids, got, user = itertools.count(1), {}, collections.UserDict()
    data = user.data
    def take(who):
        got[who] = next(ids)
        user[who] = data.get("a")
    world.actor("a", take, "a")
    world.actor("b", take, "b")
    @world.at_end
    def a_is_first():
        assert got["a"] == 1
"""


@pytest.mark.parametrize("look", [lambda name: os.environ[name], os.environ.get, os.getenv])
def test_the_environment_of_the_process_is_a_location(monkeypatch, look):
    def scenario(world):
        monkeypatch.setenv("SIMHARNESS_N", "0")

        def bump():
            before = look("SIMHARNESS_N")
            os.environ["SIMHARNESS_N"] = str(int(before) + 1)

        world.actor("a", bump)
        world.actor("b", bump)

        @world.at_end
        def both():
            assert os.environ["SIMHARNESS_N"] == "2"

    assert simharness.explore(scenario, settings=OWN).verdict is Verdict.VIOLATED


@functools.cache
def remembered(name):
    return object()


@functools.lru_cache(maxsize=8)
def remembered_a_little(name):
    """Its docstring stays."""
    return object()


@pytest.mark.parametrize("function", [remembered, remembered_a_little])
@pytest.mark.parametrize("locked", [False, True])
def test_two_actors_can_miss_in_a_cache_of_results_at_once(function, locked):
    def scenario(world):
        function.cache_clear()
        got, lock = [], threading.Lock() if locked else contextlib.nullcontext()

        def ask():
            with lock:
                got.append(function("x"))

        world.actor("a", ask)
        world.actor("b", ask)

        @world.at_end
        def the_same():
            assert got[0] is got[1]

    assert simharness.explore(scenario, settings=OWN).verdict is (Verdict.VERIFIED if locked else Verdict.VIOLATED)
    assert remembered_a_little.__doc__ == "Its docstring stays."


class Guarded:
    def __init__(self):
        object.__setattr__(self, "n", 0)

    def __setattr__(self, name, value):
        raise AttributeError(name)

    def bump(self):
        object.__setattr__(self, "n", self.n + 1)


class Passing:
    def __init__(self):
        self.n = 0

    def __setattr__(self, name, value):
        super().__setattr__(name, value)

    def bump(self):
        self.n += 1


class Deleting:
    def __init__(self):
        self.n = 1

    def __delattr__(self, name):
        object.__delattr__(self, name)

    def bump(self):
        if hasattr(self, "n"):
            del self.n


@dataclasses.dataclass(frozen=True)
class Frozen:
    n: int = 0

    def bump(self):
        object.__setattr__(self, "n", self.n + 1)


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    n: int = 0

    def bump(self):
        object.__setattr__(self, "n", self.n + 1)


@pytest.mark.parametrize("cls", [Guarded, Passing, Deleting, Frozen, Slotted])
@pytest.mark.parametrize("locked", [False, True])
def test_what_is_written_past_a_class_s_own_setattr_is_seen(cls, locked):
    @simharness.scenario(instrument=(__name__,))
    def scenario(world):
        thing, lock = cls(), threading.Lock()

        def work():
            with lock if locked else contextlib.nullcontext():
                thing.bump()

        world.actor("a", work)
        world.actor("b", work)

        @world.at_end
        def both_counted():
            assert getattr(thing, "n", 2) == 2

    result = simharness.explore(scenario)
    assert result.verdict is (simharness.Verdict.VERIFIED if locked else simharness.Verdict.VIOLATED), result.error


def test_the_code_of_a_function_that_is_assigned_is_named():
    def first(value=0):
        return value

    @simharness.scenario(instrument=(__name__,))
    def scenario(world):
        cell = world.shared(0, "calls")

        def work():
            cell.set(cell.get() + 1)
            first.__defaults__ = (first() + 1,)

        world.actor("a", work)
        world.actor("b", work)

    result = simharness.explore(scenario)
    first.__defaults__ = (0,)
    assert "function.__defaults__" in " ".join(result.remarks)
