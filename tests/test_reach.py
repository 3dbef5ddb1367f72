"""What an operation reads of the values it is given is seen: views, what containers hold, fields of dataclasses."""

import copy
import itertools
import json
import operator
import sqlite3
import threading
from collections import Counter, OrderedDict
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType

import pytest

import simharness


@dataclass(order=True)
class Point:
    x: int = 0
    path: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Slotted:
    x: int = 0


def matches(rows):
    match rows:
        case [[1]]:
            return True
    return False


def put(d):
    d["k"] = 1


def grow(rows):
    rows[0].append(1)


def move(thing):
    thing.x = 1


LOOKS = {
    "in keys": (dict, put, lambda d: "k" in d.keys()),  # noqa: SIM118
    "in items": (dict, put, lambda d: ("k", 1) in d.items()),
    "in values": (dict, put, lambda d: 1 in d.values()),
    "keys compared": (dict, put, lambda d: d.keys() == {"k"}),
    "keys combined": (dict, put, lambda d: bool(d.keys() & {"k"})),
    "items compared": (dict, put, lambda d: d.items() >= {("k", 1)}),
    "isdisjoint": (dict, put, lambda d: not d.keys().isdisjoint(["k"])),
    "proxy": (dict, put, lambda d: "k" in MappingProxyType(d)),
    "get of a proxy": (dict, put, lambda d: MappingProxyType(d).get("k") == 1),
    "mapping of a view": (dict, put, lambda d: "k" in d.keys().mapping),
    "keys in order": (OrderedDict, put, lambda d: list(d.keys()) == ["k"]),
    "length of ordered keys": (OrderedDict, put, lambda d: len(d.keys()) == 1),
    "loop over ordered items": (OrderedDict, put, lambda d: [value for _, value in d.items()] == [1]),
    "counted": (Counter, put, lambda d: (d + Counter())["k"] == 1),
    "nested, compared": (lambda: [[]], grow, lambda rows: rows == [[1]]),
    "nested in a dictionary": (lambda: {0: []}, grow, lambda rows: rows == {0: [1]}),
    "nested in a tuple": (lambda: ([],), grow, lambda rows: rows == ([1],)),
    "to the right of a tuple": (lambda: ([],), grow, lambda rows: ([1],) == rows),  # noqa: SIM300
    "nested, looked for": (lambda: [[]], grow, lambda rows: [1] in rows),
    "nested, counted": (lambda: [[]], grow, lambda rows: rows.count([1]) == 1),
    "nested, shown": (lambda: [[]], grow, lambda rows: "1" in repr(rows)),
    "nested, formatted": (lambda: [[]], grow, lambda rows: f"{rows}" == "[[1]]"),
    "nested, with a percent sign": (lambda: [[]], grow, lambda rows: "%s" % rows == "[[1]]"),  # noqa: UP031
    "nested, dumped": (lambda: [[]], grow, lambda rows: json.dumps(rows) == "[[1]]"),
    "nested, copied": (lambda: [[]], grow, lambda rows: copy.deepcopy(rows) == [[1]]),
    "nested, matched": (lambda: [[]], grow, matches),
    "nested, added up": (lambda: [[]], grow, lambda rows: sum(rows, []) == [1]),  # noqa: RUF017
    "frozen set": (set, lambda s: s.add(1), lambda s: frozenset({1}) <= s),
    "a chain of comparisons": (list, lambda items: items.append(1), lambda items: [] < [1] == items),
    "itertools": (list, lambda items: items.append(1), lambda items: list(itertools.chain(items)) == [1]),
    "dataclass compared": (Point, move, lambda point: point == Point(1)),
    "dataclass to the right": (Point, move, lambda point: Point(1) == point),
    "dataclass ordered": (Point, move, lambda point: point > Point(0)),
    "dataclass shown": (Point, move, lambda point: "x=1" in repr(point)),
    "dataclass taken apart": (Point, move, lambda point: asdict(point)["x"] == 1),
    "dataclass replaced": (Point, move, lambda point: replace(point).x == 1),
    "object copied": (Point, move, lambda point: copy.copy(point).x == 1),
    "slots compared": (Slotted, move, lambda point: point == Slotted(1)),
    "handed to map": (lambda: [[]], grow, lambda rows: list(map(len, rows)) == [1]),
    "a method handed to map": (dict, put, lambda d: list(map(d.get, ["k"])) == [1]),
    "handed to filter": (lambda: [[]], grow, lambda rows: [len(row) for row in filter(len, rows)] == [1]),
    "key of max": (
        lambda: [Point(), Point()],
        lambda points: move(points[1]),
        lambda points: max(points, key=operator.attrgetter("x")) is points[1],
    ),
    "attrgetter": (Point, move, lambda point: operator.attrgetter("x")(point) == 1),
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_at_what_another_actor_changes_comes_before_the_change_or_after_it(look):
    make, change, looks = LOOKS[look]

    def scenario(world):
        shared = make()
        world.actor("writer", lambda: change(shared))
        world.actor("reader", lambda: world.outcome(looks(shared)))

    result = simharness.explore(scenario, settings=simharness.Settings(instrument=(__name__,), confirm=False))
    assert result.verdict == "verified"
    assert result.outcomes == {True, False}
    assert result.executions == 2


class Registered:
    """Known by its identity."""


def locked():
    with locked.lock:
        locked.n += 1


locked.lock = threading.Lock()


def explored(scenario, **options):
    return simharness.explore(scenario, settings=simharness.Settings(instrument=(__name__,), confirm=False, **options))


def test_a_dictionary_whose_keys_are_identities_has_the_same_keys_in_each_execution():
    def scenario(world):
        one, other, registry = Registered(), Registered(), {}

        def count(thing):
            registry[id(thing)] = registry.get(id(thing), 0) + 1
            registry[id(thing), "seen"] = True

        world.actor("a", count, one)
        world.actor("b", count, one)
        world.actor("c", count, other)

        @world.at_end
        def counted():
            world.outcome((registry[id(one)], registry[id(other)]))

    result = explored(scenario)
    assert result.verdict == "verified"
    assert result.outcomes == {(1, 1), (2, 1)}


def test_an_identity_that_code_out_of_sight_asked_for_is_the_same_key():
    def scenario(world):
        thing, counts = Registered(), {}
        hidden = operator.call(id, thing)
        asked = world.choose([True, False])

        def here():
            counts[id(thing)] = counts.get(id(thing), 0) + 1

        def there():
            counts[hidden] = counts.get(hidden, 0) + 1

        world.actor("a", there)
        world.actor("b", here if asked else there)

        @world.at_end
        def counted():
            world.outcome(counts[hidden])

    result = explored(scenario)
    assert result.verdict == "verified"
    assert result.outcomes == {1, 2}


def test_a_lock_that_a_function_has_had_since_its_import_is_under_control():
    def scenario(world):
        locked.n = 0
        world.actor("a", locked)
        world.actor("b", locked)

        @world.at_end
        def both():
            assert locked.n == 2

    result = explored(scenario)
    assert result.verdict == "verified"
    assert result.executions == 2


def test_exploring_that_starts_over_for_ever_says_so():
    runs = itertools.count()

    def scenario(world):
        d, key = {}, next(runs)
        world.actor("a", lambda: d.setdefault(key, 1))
        world.actor("b", lambda: d.setdefault(key, 2))

    result = explored(scenario, max_seconds=0.5)
    assert result.verdict == "inconclusive"
    assert "times, each time since something else was shared: look for keys made of addresses" in result.bounds


def test_what_finalisers_of_an_earlier_execution_roll_back_has_been_rolled_back_at_its_end():
    held = []

    def scenario(world):
        held.append(sqlite3.connect(world.path("a.db"), check_same_thread=False))
        held[-1].execute("CREATE TABLE t (n)")
        world.actor("a", held[-1].execute, "INSERT INTO t VALUES (1)")

    simharness.explore(scenario)
    assert held
    for connection in held:
        connection.rollback()
        connection.close()
