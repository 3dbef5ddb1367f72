"""Reads and writes of shared memory are scheduling points in instrumented modules: bugs are found, twins verified, counts exact.

Counting `lost_update`: each of two reads (R) and writes (W). One after the other: 2 orderings. Overlapping: both R before both W, and
the two W in either order: 2. Together 4. A location that one actor writes and another reads once has 2 orderings; locations that are not
shared, or only read, have none of their own.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import simharness
from simharness import Settings, Verdict
from simharness.authoring.loading import load
from simharness.runtimes.control import installed

ROOT = Path(__file__).parent.parent
CLASSICS = ROOT / "scenarios" / "plain_objects.py"
COUNTS = {
    ("lost_update", "none"): 4,
    ("lost_update", "lock"): 2,
    ("torn_update", "none"): 4,
    ("torn_update", "lock"): 2,
    ("check_then_act", "none"): 6,
    ("check_then_act", "lock"): 2,
    ("lazy_initialisation", "none"): 18,
    ("lazy_initialisation", "lock"): 2,
    ("double_checked_locking", "none"): 10,
    ("double_checked_locking", "lock"): 4,
    ("changed_while_iterated", "none"): 4,
    ("changed_while_iterated", "lock"): 2,
    ("element_of_a_container", "none"): 4,
    ("element_of_a_container", "lock"): 2,
}
_names = itertools.count()


@pytest.fixture(scope="module", autouse=True)
def _runtimes_in_place():
    with installed():
        yield


@pytest.fixture
def explore(tmp_path):
    """Explore the scenario `program` of a source by both strategies; return the reduction's result."""

    def explored(source, **options):
        path = tmp_path / f"memory_{next(_names)}.py"
        path.write_text("import threading\nimport simharness\n\n" + textwrap.dedent(source), encoding="utf-8")
        (scenario,) = load(f"{path}::program")
        options.setdefault("stop_on_first", False)
        reduced = simharness.explore(scenario, "dpor", **options)
        brute = simharness.explore(scenario, strategy="exhaustive", **options)
        assert reduced.outcomes == brute.outcomes
        assert reduced.verdict == brute.verdict
        assert reduced.redundant == 0
        assert reduced.executions <= brute.executions
        return reduced

    return explored


@pytest.mark.parametrize(("name", "guard"), COUNTS)
def test_each_classic_bug_is_found_and_its_locked_twin_verified_with_the_number_of_orderings_known(name, guard):
    (scenario,) = load(f"{CLASSICS}::{name}")
    result = simharness.explore(scenario, parameters={"guard": guard}, stop_on_first=False)
    assert result.verdict == ("violated" if guard == "none" else "verified")
    assert (result.executions, result.redundant) == (COUNTS[name, guard], 0)
    assert "memory of plain_objects" in result.bounds
    brute = simharness.explore(scenario, parameters={"guard": guard}, strategy="exhaustive", stop_on_first=False)
    assert brute.verdict == result.verdict
    if result.counterexample is not None:
        replayed = simharness.replay(scenario, result.counterexample.token)
        assert replayed.failure == result.counterexample.failure


def test_whoever_takes_the_lock_first_is_first_and_both_orders_are_explored():
    (scenario,) = load(f"{CLASSICS}::first_wins")
    assert simharness.explore(scenario).outcomes == {"a", "b"}


def test_a_timeline_says_what_was_read_and_written_with_the_values_and_the_lines():
    (scenario,) = load(f"{CLASSICS}::lost_update")
    timeline = simharness.explore(scenario).counterexample.timeline
    assert "read Counter.n: 0" in timeline
    assert "write Counter.n: 1" in timeline
    assert "plain_objects.py:29" in timeline


def test_a_function_of_a_module_that_was_not_rewritten_is_explored_without_its_memory_and_the_verdict_says_so():
    class Counter:
        n = 0

    def program(world):
        counter = Counter()

        def bump():
            counter.n += 1
            world.step("bumped")

        world.actor("a", bump)
        world.actor("b", bump)

    result = simharness.explore(program)
    assert result.verdict is Verdict.VERIFIED
    assert "no module was instrumented" in result.bounds
    assert "unsynchronised memory is not explored" in result.bounds


# What costs no orderings


def test_what_everybody_only_reads_has_one_ordering(explore):
    result = explore("""
        CONFIG = {"timeout": [1, 2]}

        class Point:
            x = 0

        def program(world):
            point, names = Point(), ["a", "b"]

            def work():
                return [CONFIG["timeout"][0] for name in names if name and point.x in CONFIG["timeout"]], len(names)

            for name in "abc":
                world.actor(name, work)
    """)
    assert (result.verdict, result.executions) == (Verdict.VERIFIED, 1)


@pytest.mark.parametrize("made", ["[None] * 3", "{}", "{0: 0, 1: 0, 2: 0}"])
def test_actors_that_fill_their_own_slot_of_a_container_have_one_ordering(explore, made):
    result = explore(f"""
        def program(world):
            results = {made}

            def work(number):
                results[number] = number

            for number in range(3):
                world.actor(f"actor {{number}}", work, number)

            @world.at_end
            def complete():
                assert len(results) == 3 and results[2] == 2
    """)
    assert (result.verdict, result.executions) == (Verdict.VERIFIED, 1)


def test_the_order_in_which_keys_were_added_counts_once_somebody_goes_through_the_dictionary(explore):
    result = explore("""
        def program(world):
            results = {}

            def work(number):
                results[number] = number

            for number in range(3):
                world.actor(f"actor {number}", work, number)

            @world.at_end
            def order():
                world.outcome(tuple(results))
    """)
    assert result.executions == len(result.outcomes) == 6


def test_objects_of_an_actors_own_are_no_points(explore):
    result = explore("""
        class Box:
            def __init__(self):
                self.n = 0

        def program(world):
            def work():
                box, numbers = Box(), []
                for number in range(20):
                    box.n += number
                    numbers.append(box.n)
                world.step("done")

            world.actor("a", work)
            world.actor("b", work)
    """)
    assert result.executions == 1


def test_threads_that_are_joined_have_no_orderings_for_what_is_read_afterwards(explore):
    result = explore("""
        def program():
            results = [0, 0]

            def work(number):
                results[number] += 1

            threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert results == [1, 1]
    """)
    assert (result.verdict, result.executions) == (Verdict.VERIFIED, 1)


# Every kind of location


SHARED = {
    "attribute": ("box.n", "class Box:\n    n = 0", "box = Box()"),
    "slot": ("box.n", "class Box:\n    __slots__ = ('n',)", "box = Box(); box.n = 0"),
    "class attribute": ("Box.n", "class Box:\n    n = 0", "Box.n = 0"),
    "item of a dictionary": ("table['k']", "", "table = {'k': 0}"),
    "item of a list": ("items[0]", "", "items = [0]"),
    "item from the end": ("items[-1]", "", "items = [0]"),
    "object of a foreign class": ("space.n", "import types", "space = types.SimpleNamespace(n=0)"),
    "element of a container": ("items[0]['k'].n", "class Box:\n    n = 0", "items = [{'k': Box()}]"),
    "object made at import": ("BOXES['one'].n", "class Box:\n    n = 0\nBOXES = {'one': Box()}", "BOXES['one'].n = 0"),
    "alias of an object made at import": ("ALIAS.n", "class Box:\n    n = 0\nALIAS = Box()\nBOXES = [ALIAS]", "BOXES[0].n = 0"),
    "private name": ("box._Box__n", "class Box:\n    def __init__(self):\n        self.__n = 0", "box = Box()"),
    "function attribute": ("work.n", "", "work.n = 0"),
}


@pytest.mark.parametrize("kind", SHARED)
def test_an_increment_is_a_read_and_a_write_of(explore, kind):
    place, head, made = SHARED[kind]
    head, made = textwrap.indent(head, " " * 8), made.replace("; ", "\n" + " " * 12)
    result = explore(f"""
{head}

        def program(world):
            def work():
                {place} += 1

            {made}
            world.actor("a", work)
            world.actor("b", work)

            @world.at_end
            def left():
                world.outcome({place})
    """)
    assert (result.executions, result.outcomes) == (4, {1, 2})


@pytest.mark.parametrize("kind", ["nonlocal", "global"])
def test_an_increment_is_a_read_and_a_write_of_a_variable(explore, kind):
    result = explore(f"""
        n = 0

        def program(world):
            {"n = 0" if kind == "nonlocal" else "global n; n = 0"}

            def work():
                {kind} n
                n += 1

            world.actor("a", work)
            world.actor("b", work)

            @world.at_end
            def left():
                world.outcome(n)
    """)
    assert (result.executions, result.outcomes) == (4, {1, 2})


def test_an_object_that_was_there_before_is_not_taken_for_the_one_that_a_constructor_makes_of_it(explore):
    result = explore("""
        class Point:
            def __init__(self, other=None):
                self.x = other.x if other else 0

        TEMPLATE = Point()

        def program(world):
            TEMPLATE.__dict__["x"] = 0
            world.actor("a", lambda: world.outcome(Point(TEMPLATE).x))
            world.actor("b", lambda: world.outcome(Point(TEMPLATE).x))
            world.actor("c", lambda: setattr(TEMPLATE, "x", 1))
    """)
    assert result.outcomes == {0, 1}
    assert result.executions == 4


def test_properties_run_their_code_and_are_no_locations_themselves(explore):
    result = explore("""
        class Box:
            def __init__(self):
                self._n, self._lock = 0, threading.Lock()

            @property
            def n(self):
                with self._lock:
                    return self._n

            @n.setter
            def n(self, value):
                with self._lock:
                    self._n = value

        def program(world):
            box = Box()

            def work(value):
                box.n = value

            world.actor("a", work, 1)
            world.actor("b", work, 2)

            @world.at_end
            def left():
                world.outcome(box.n)
    """)
    assert (result.executions, result.outcomes) == (2, {1, 2})


def test_the_fields_that_a_dataclass_makes_anew_are_containers_of_their_own(explore):
    result = explore("""
        from dataclasses import dataclass, field

        @dataclass
        class Pair:
            left: list = field(default_factory=list)
            right: list = field(default_factory=list)

        def program(world):
            pair = Pair()
            world.actor("a", lambda: pair.left.append(1))
            world.actor("b", lambda: pair.right.append(1))
    """)
    assert result.executions == 1


CONTAINER_RACES = {
    "pop of the last item": ("queue = [1]", "queue.pop() if queue else None", 4),
    "a default that is set once": ("table = {}", "table.setdefault('k', len(table))", 4),
    "appending": ("items = []", "items.append(1)", 2),
    "extending": ("items = []", "items.extend([1])", 2),
    "adding to a set": ("many = set()", "many.add(1)", 2),
    "a defaultdict's new list": ("table = defaultdict(list)", "table['k'].append(1)", None),
    "unpacking": ("items = [1, 2]", "first(*items), items.append(3)", None),
    "a comprehension": ("items = [1]", "[items.append(item) for item in list(items)]", None),
    "a sorted copy": ("items = [1]", "sorted(items), items.append(1)", None),
}


@pytest.mark.parametrize("name", CONTAINER_RACES)
def test_reduction_comes_to_what_brute_force_comes_to_for(explore, name):
    made, does, count = CONTAINER_RACES[name]
    shared = made.split(" ")[0]
    result = explore(f"""
        from collections import defaultdict

        def first(*values):
            return values

        def program(world):
            {made}

            def work(me):
                world.outcome(repr({does}))

            world.actor("a", work, "a")
            world.actor("b", work, "b")

            @world.at_end
            def left():
                world.outcome(repr({shared}))
    """)
    assert count is None or result.executions == count


def test_an_always_check_sees_every_state_of_the_objects_that_it_reads(explore):
    result = explore("""
        class Pair:
            x = y = 0

        def program(world):
            pair = Pair()

            def set_x():
                pair.x = 1

            def set_y():
                pair.y = 1

            world.actor("a", set_x)
            world.actor("b", set_y)

            @world.always
            def never_x_alone():
                world.outcome((pair.x, pair.y))
    """)
    assert result.outcomes == {(0, 0), (1, 0), (0, 1), (1, 1)}


def test_a_half_written_pair_is_seen_by_an_always_check_though_only_one_actor_writes_it(explore):
    result = explore("""
        class Pair:
            x = y = 0

        def program(world):
            pair = Pair()

            def both():
                pair.x = 1
                pair.y = 1

            world.actor("a", both)

            @world.always
            def equal():
                assert pair.x == pair.y
    """)
    assert result.verdict is Verdict.VIOLATED


# Which modules


HELPER = """
class Counter:
    def __init__(self):
        self.n = 0

    def bump(self):
        self.n += 1
"""
USER = """
import simharness
from helper_{number} import Counter

@simharness.scenario({options})
def program(world):
    counter = Counter()
    world.actor("a", counter.bump)
    world.actor("b", counter.bump)

    @world.at_end
    def both():
        assert counter.n == 2
"""


@pytest.mark.parametrize("how", ["scenario", "settings", "command line", "only its own"])
def test_other_modules_are_instrumented_when_they_are_named_also_if_they_have_been_imported(tmp_path, monkeypatch, how):
    number = next(_names)
    helper, user = f"helper_{number}", tmp_path / f"user_{number}.py"
    (tmp_path / f"{helper}.py").write_text(HELPER)
    user.write_text(USER.format(number=number, options=f"instrument=('test', {helper!r})" if how == "scenario" else ""))
    if how == "command line":
        command = [sys.executable, "-m", "simharness", "explore", str(user), "--instrument", helper]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1
        assert "read Counter.n: 0" in done.stdout
        return
    monkeypatch.syspath_prepend(str(tmp_path))
    (scenario,) = load(f"{user}::program")
    settings = Settings(instrument={"settings": ("test", helper), "only its own": ("test",)}.get(how, ()))
    result = simharness.explore(scenario, settings=settings)
    assert result.verdict is (Verdict.VERIFIED if how == "only its own" else Verdict.VIOLATED)
    assert result.remarks == ((f"except for the memory of {helper}",) if how == "only its own" else ())
    assert (f"memory of user_{number}, {helper}" in result.bounds) == (how != "only its own")


def test_a_module_that_does_not_exist_cannot_be_instrumented_and_the_error_says_what_to_write():
    with pytest.raises(simharness.Misuse, match=r"instrument='no\.such': there is no module of this name"):
        simharness.explore(lambda world: None, settings=Settings(instrument=("no.such",)))


def test_a_check_that_somebody_makes_an_own_object_key_of_is_coarse_but_right(explore):
    result = explore("""
        class Key:
            pass

        def program(world):
            table, one, two = {}, Key(), Key()

            def put(key):
                table[key] = len(table)

            world.actor("a", put, one)
            world.actor("b", put, two)

            @world.at_end
            def left():
                world.outcome((table[one], table[two]))
    """)
    assert result.outcomes == {(0, 0), (0, 1), (1, 0)}


def test_numbers_that_python_does_not_write_out_are_values_and_keys_like_others():
    long = 10**6_000

    @simharness.scenario(instrument=(__name__,))
    def scenario(world):
        box = {"n": long, long: 0, (long, 1): 0}

        def work():
            box["n"] += 1
            box[long] += 1
            box[long, 1] += 1

        world.actor("a", work)
        world.actor("b", work)

        @world.at_end
        def both_counted():
            assert box["n"] == long + 2

    result = simharness.explore(scenario)
    assert (str(result.verdict), result.error) == ("violated", None)
    assert "both_counted" in result.counterexample.failure
    assert result.counterexample.trace.steps


def test_a_file_that_is_passed_to_a_function_in_c_stays_a_file(tmp_path):
    file = tmp_path / "pickling.py"
    file.write_text(
        textwrap.dedent("""
            import pickle, threading
            import simharness

            class Log:
                def __init__(self, path):
                    self.count, self.lock, self.file = {"n": 0}, threading.Lock(), open(path, "ab+")

                def put(self):
                    with self.lock:
                        pickle.dump({"x": 1}, self.file)
                        self.file.flush()
                        self.count["n"] += 1

            @simharness.scenario
            def pickling(world):
                log = Log(world.path("log"))
                for name in "ab":
                    world.actor(name, log.put)

                @world.at_end
                def both():
                    assert log.count["n"] == 2
        """)
    )
    (scenario,) = load(str(file))
    assert simharness.explore(scenario).verdict == "verified"
