"""Deep reads of what others change meanwhile, and calls in C that run instrumented code half-way: no ordering is lost or impossible."""

from __future__ import annotations

import textwrap
import threading
from typing import Any

import pytest

import simharness
from simharness import Settings
from simharness.authoring.loading import load
from simharness.instrument.loader import compiled
from simharness.runtimes.control import installed

HEAD = """
import copy, json
from functools import reduce

class Box:
    def __init__(self, x):
        self.x = x

class Weight:
    def __init__(self, heavy):
        self.heavy = heavy

    def __eq__(self, other):
        return self.heavy == other.heavy

    def __lt__(self, other):
        return self.heavy < other.heavy

    def __hash__(self):
        return hash(self.heavy)

    def __repr__(self):
        return f"<{self.heavy}>"

"""


@pytest.fixture(scope="module", autouse=True)
def _runtimes_in_place():
    with installed():
        yield


def explored(source: str) -> simharness.Result:
    """Explore `program` of a source with reduction; brute force must come to the same."""
    space: dict[str, Any] = {"__name__": "halfway_program", "threading": threading}
    exec(compiled(HEAD + textwrap.dedent(source), "halfway_program.py"), space)
    settings = Settings(max_executions=3_000, shrink=0)
    reduced = simharness.explore(space["program"], stop_on_first=False, settings=settings)
    brute = simharness.explore(space["program"], stop_on_first=False, settings=settings, strategy="exhaustive")
    assert "stopped at" not in brute.bounds
    assert (reduced.outcomes, reduced.verdict) == (brute.outcomes, brute.verdict)
    assert reduced.redundant == 0
    assert reduced.executions <= brute.executions
    return reduced


def two(set_up: str, first: str, second: str, show: str = "None") -> set[str]:
    """Explore two actors; return each outcome, as the text of what they saw and of what `show` is in the end."""
    program = "def program(world):\n    seen = []\n" + textwrap.indent(textwrap.dedent(set_up), "    ")
    for name, body in (("first", first), ("second", second)):
        program += f"\n    def {name}():\n" + textwrap.indent(textwrap.dedent(body), "        ")
        program += f"\n    world.actor({name!r}, {name})\n"
    return {
        str(one)
        for one in explored(program + f"\n    @world.at_end\n    def left():\n        world.outcome(repr((seen, {show})))\n").outcomes
    }


@pytest.mark.parametrize("reading", ["json.dumps(state)", "repr(copy.deepcopy(state))", "f'{state}'", "str((state,))"])
def test_a_deep_read_sees_what_has_been_filled_in_since_it_was_announced(reading):
    outcomes = two(
        "state = {}", "job = {}; state['job'] = job; job['id'] = 7", f"seen.append({reading}.replace(chr(34), chr(39)).strip('(,)'))"
    )
    assert outcomes == {repr(([text], None)) for text in ("{}", "{'job': {}}", "{'job': {'id': 7}}")}


def test_a_comparison_reads_what_a_shared_list_holds_when_it_has_its_turn():
    outcomes = two("rows, inner = [[1]], [2]", "rows[0] = inner; inner.append(3)", "seen.append(rows == [[2]])")
    assert outcomes == {"([True], None)", "([False], None)"}


def test_copying_an_object_reads_the_attributes_that_it_has_when_the_copy_has_its_turn():
    outcomes = two("box = Box(0)", "box.new = 1; box.x = 2", "seen.append(sorted(vars(copy.copy(box)).items()))")
    assert outcomes == {repr(([items], None)) for items in ([("x", 0)], [("new", 1), ("x", 0)], [("new", 1), ("x", 2)])}


def test_a_reader_of_nested_containers_and_a_writer_of_private_ones_have_one_ordering():
    program = """
    def program(world):
        mine, yours = {"a": [1]}, {"a": [1]}
        world.actor("first", lambda: json.dumps(mine))
        world.actor("second", lambda: yours["a"].append(2))
    """
    assert explored(program).executions == 1


def test_what_a_deep_read_is_announced_with_does_not_depend_on_what_moved_first():
    program = """
    def program(world):
        outer, items, count, seen = {"k": [0, 1]}, [0, 1], 0, []

        def publish():
            nonlocal count
            count += 1
            outer["k"] = items

        def fill():
            nonlocal count
            count += 1
            items.append(3)

        def read():
            seen.append(count)
            seen.append(json.dumps(outer))

        world.actor("publisher", publish)
        world.actor("filler", fill)
        world.actor("reader", read)
        world.at_end(lambda: world.outcome(repr((seen, count))))
    """
    assert len(explored(program).outcomes) > 4


def test_a_reduction_over_a_list_sees_what_is_appended_while_its_function_runs():
    set_up = "box, items = Box(0), [1, 2]"
    body = "seen.append(reduce(lambda total, item: total + item + box.x, items, 0))"
    assert "([93], None)" in two(set_up, body, "items.append(90)")
    outcomes = two(set_up, body, "items.append(90); box.x = 100")
    assert outcomes == {f"([{total}], None)" for total in (3, 93, 103, 193, 203, 293, 393)} - {"([103], None)", "([203], None)"}


def test_a_list_that_is_sorted_is_empty_for_others_until_the_sort_is_over():
    outcomes = two("items = [2, 1]", "items.sort(key=lambda item: item)", "seen.append(list(items))", "items")
    assert outcomes == {"([[2, 1]], [1, 2])", "([[]], [1, 2])", "([[1, 2]], [1, 2])"}
    outcomes = two("weights = [Weight(2), Weight(1)]", "weights.sort()", "seen.append(list(weights))")
    assert outcomes == {"([[<2>, <1>]], None)", "([[<1>, <2>]], None)", "([[]], None)"}


def test_what_a_key_returns_is_read_by_the_sort():
    outcomes = two(
        "parts = {1: [1], 2: [2]}", "seen.append(sorted([1, 2], key=lambda name: parts[name]))", "parts[1].append(0); parts[1].insert(0, 9)"
    )
    assert outcomes == {"([[1, 2]], None)", "([[2, 1]], None)"}
    outcomes = two("look = {1: 1, 2: 2}", "seen.append(max([1, 2], key=look.get))", "look[1] = 3")
    assert outcomes == {"([2], None)", "([1], None)"}


@pytest.mark.parametrize(
    ("made", "change", "left"),
    [
        ("{}", "things.update((name, 1) for name in 'ab')", {"([0], 2)", "([1], 2)", "([2], 2)"}),
        ("[]", "things.extend(number for number in (1, 2))", {"([0], 2)", "([1], 2)", "([2], 2)"}),
        ("[]", "things.box += (number for number in (1, 2))", {"([0], 2)", "([1], 2)", "([2], 2)"}),
        ("set()", "things.update(number for number in (1, 2))", {"([0], 2)", "([1], 2)", "([2], 2)"}),
        ("[7]", "things[:] = (number for number in (1, 2))", {"([1], 2)", "([2], 2)"}),
    ],
)
def test_others_see_what_a_generator_has_filled_in_so_far(made, change, left):
    if "box" in change:
        assert two(f"box = Box({made})", change.replace("things.box", "box.x"), "seen.append(len(box.x))", "len(box.x)") == left
    else:
        assert two(f"things = {made}", change, "seen.append(len(things))", "len(things)") == left


@pytest.mark.parametrize(
    "search", ["Weight(9) in weights", "weights.count(Weight(9))", "max(weights).heavy == 9", "weights == [Weight(0), Weight(9)]"]
)
def test_a_search_with_an_eq_or_lt_of_the_users_sees_an_item_that_is_put_in_meanwhile(search):
    outcomes = two("weights = [Weight(0), Weight(1)]", f"seen.append(bool({search}))", "weights[1] = Weight(9)")
    assert outcomes == {"([True], None)", "([False], None)"}


def test_a_key_with_a_hash_and_an_eq_of_the_users_is_found_in_each_state_of_the_dictionary():
    outcomes = two("keyed = {Weight(1): 'one'}", "seen.append(keyed.get(Weight(1)))", "del keyed[Weight(1)]")
    assert outcomes == {"(['one'], None)", "([None], None)"}


def test_a_locked_twin_of_a_sort_has_the_two_orders_of_its_lock():
    program = """
    def program(world):
        lock, weights = threading.Lock(), [Weight(2), Weight(1)]

        def sort():
            with lock:
                weights.sort()

        def look():
            with lock:
                world.outcome(len(weights))

        world.actor("sorter", sort)
        world.actor("looker", look)
    """
    result = explored(program)
    assert (result.executions, result.outcomes) == (2, {2})


def test_a_sort_by_attributes_that_others_change_ends_in_every_ordering():
    program = """
    def program(world):
        jobs = [Weight(1), Weight(2)]

        def change():
            for job in jobs:
                job.heavy = -job.heavy

        world.actor("sorter", lambda: jobs.sort(key=lambda job: job.heavy))
        world.actor("changer", change)
    """
    assert explored(program).verdict == "verified"


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
