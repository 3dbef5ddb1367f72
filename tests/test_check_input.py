"""What checks make of classes as they are: arguments, context managers, classes in C, state that nobody can look into, limits."""

import contextlib
import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass

import pytest

import simharness.check
from simharness import Misuse, Settings
from simharness.check import words
from simharness.check.declared import target_of
from simharness.check.values import frozen
from tests.checked_classes import Counter


def quick(cls, *operations, **options):
    given = {"threads": 2, "calls": 1, "max_seconds": 100_000, **options}
    return simharness.check.run(cls, operations, Settings(shrink=0, confirm=False), **given)


def test_a_state_that_always_raises_is_refused_not_taken_for_equal():
    with pytest.raises(Misuse, match="its state raises AttributeError: 'Counter' object has no attribute 'nope'"):
        quick(Counter, state="self.nope")


def test_what_cannot_be_looked_into_is_named_beside_the_verdict():
    class Holds:
        def __init__(self):
            self.items = (number for number in range(3))

        def look(self):
            return None

    text = words.text(quick(Holds))
    assert "except for what is inside a generator, which cannot be looked into: say" in " ".join(text.split())


def test_an_iterator_is_compared_by_what_is_left_of_it():
    class Skips:
        def __init__(self):
            self.items = iter([1, 2, 3, 4])

        def skip(self):
            items = self.items
            next(items)
            self.items = items if items.__length_hint__() == 2 else iter([1])

    assert quick(Skips).verdict == "violated"
    assert frozen(iter([1, 2])) != frozen(iter([1]))


def test_an_attribute_that_a_class_hides_is_compared_all_the_same():
    class Hides:
        def __init__(self):
            self.value = 0

        def __getattribute__(self, name):
            if name == "__dict__":
                raise AttributeError(name)
            return object.__getattribute__(self, name)

        def increment(self):
            self.value += 1

    assert quick(Hides).verdict == "violated"


class Weak:
    """Takes only what has a name."""

    def __init__(self):
        self.names = {}

    def put(self, key, thing):
        self.names[key] = thing.__name__
        return len(self.names)


def test_arguments_of_which_nothing_is_known_are_changed_until_they_are_not_refused():
    found = quick(Weak)
    assert found.bounds.calls == ("put(0, a_function)", "put(0, another_function)", "put(1, a_function)", "put(1, another_function)")
    assert found.bounds.raising == ()
    assert found.verdict == "violated"
    failing = found.failures[0]
    scenario = simharness.check.checking.scenario_of_token(
        target_of(Weak), failing.counterexample.token, simharness.check.declared.how_of(found.target)
    )
    assert simharness.replay(scenario, failing.counterexample.token).failure


@dataclass
class Rate:
    limit: int


class Bucket:
    def __init__(self, path: str, rates: list[Rate]):
        with open(path, "w"):
            pass
        self.left = rates[0].limit

    def take(self, key: Hashable):
        self.left -= 1


def test_a_class_is_built_from_paths_and_from_objects_of_other_classes():
    found = quick(Bucket)
    assert found.target.options["how"] == "Bucket(path(), [Rate(2)])"
    assert found.verdict == "violated"


class Turns:
    """Two ways to take a turn, one of which forgets to."""

    def __init__(self):
        self.lock = threading.Lock()
        self.inside = self.most = 0

    @contextlib.contextmanager
    def safe(self):
        with self.lock:
            self.inside += 1
            yield self.inside
            self.inside -= 1

    @contextlib.contextmanager
    def unsafe(self):
        self.inside += 1
        yield self.inside
        self.inside -= 1

    def __enter__(self):
        self.inside += 1
        return self.inside

    def __exit__(self, *error):
        self.inside -= 1


def test_context_managers_are_entered_and_left():
    found = quick(Turns)
    assert found.target.operations == ["safe", "unsafe", "with"]
    marks = {(one, other): found.cell(one, other).mark for one in found.target.operations for other in found.target.operations}
    assert marks["safe", "safe"] == "✓"
    assert marks["unsafe", "unsafe"] == marks["with", "with"] == "✗"


def test_operations_of_a_class_in_c_are_called_and_attributes_that_are_set_in_methods_may_be():
    found = quick("queue:SimpleQueue")
    assert {"get", "put"} <= set(found.target.operations)
    assert found.cell("put", "get").mark == "✓"
    assert quick("threading:Condition", "acquire()").cell("acquire", "acquire").mark == "✓"


def test_what_an_object_does_when_it_is_collected_belongs_to_its_own_execution():
    class Collected:
        def __init__(self):
            self.value = 0
            self.lock = threading.Lock()

        def add(self):
            with self.lock:
                self.value += 1

        def __del__(self):
            with self.lock:
                self.value = -1

    assert quick(Collected).verdict == "verified"


def test_a_call_that_ends_its_thread_has_raised():
    class Ends:
        def leave(self, number: int):
            if number:
                raise SystemExit(number)

    assert quick(Ends).verdict == "verified"


def test_only_what_differs_of_the_state_is_shown():
    class Wide(Counter):
        def __init__(self):
            super().__init__()
            self.unchanged = "the same in every order"

    failure = quick(Wide).failures[0].counterexample.failure
    assert "with these results it ends with value=1; in a serial order it ends with value=2" in failure


def test_calls_that_wait_for_one_another_have_no_serial_order_and_the_failure_says_so():
    found = quick("threading:Barrier(2)", "wait()")
    assert "as at a barrier, need a weaker --spec" in found.failures[0].counterexample.failure


def test_one_program_may_not_take_all_the_time():
    class Busy:
        def __init__(self):
            self.values, self.locks = [0] * 12, [threading.Lock() for _ in range(12)]

        def fill(self):
            for at in range(12):
                with self.locks[at]:
                    self.values[at] += 1

        def look(self):
            return None

    began = time.process_time()
    found = quick(Busy, max_seconds=2.0)
    assert time.process_time() - began < 10
    assert found.cell("fill", "fill").mark == "?"
    assert found.cell("look", "look").mark != "✗"
    assert "stopped at max_seconds" in words.text(found)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("functools:lru_cache", r'write a call that makes an object: "functools:lru_cache\(…\)"'),
        ("collections.abc:Sized", "check a class that implements it"),
    ],
)
def test_what_is_no_class_that_can_be_built_is_refused_with_what_to_write(address, said):
    with pytest.raises(Misuse, match=said) as refused:
        quick(address)
    assert "0x" not in str(refused.value).replace("0x…", "")
