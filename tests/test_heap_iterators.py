"""Counters, turns and other iterators of modules begin each execution where they stood, and so does the configuration of logging."""

from __future__ import annotations

import contextvars
import itertools
import logging
import sys
import types

import pytest

import simharness
from simharness import Settings, Verdict
from simharness.instrument.marks import HOOKS
from simharness.runtimes.heap.heap import Heap
from simharness.runtimes.memory import hooks
from tests import kept_state

HERE = Settings(instrument=("tests.kept_state",))


@pytest.fixture
def module():
    made = types.ModuleType("tests_heap_iterators_module")
    vars(made)[HOOKS] = hooks
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]


def back(heap):
    heap.sample()
    heap.put_back()


def drained(iterator):
    for _ in iterator:
        pass


ITERATORS = {
    "count": lambda: itertools.count(5),
    "count in steps": lambda: itertools.count(1.5, -2),
    "cycle": lambda: itertools.cycle("abc"),
    "list": lambda: iter([1, 2, 3]),
    "tuple": lambda: iter((1, 2, 3)),
    "string": lambda: iter("aé"),
    "bytes": lambda: iter(b"ab"),
    "range": lambda: iter(range(7)),
    "long range": lambda: iter(range(1 << 70, (1 << 70) + 3)),
}


@pytest.mark.parametrize("make", ITERATORS.values(), ids=ITERATORS)
@pytest.mark.parametrize("begun", [0, 1])
def test_an_iterator_gives_again_what_it_gave_after_the_baseline(module, make, begun):
    module.them = make()
    for _ in range(begun):
        next(module.them)
    heap = Heap()
    gave = list(itertools.islice(module.them, 2))
    for _ in range(3):
        back(heap)
        assert list(itertools.islice(module.them, 2)) == gave
    assert not heap.lasting


def test_one_that_is_over_gives_again_what_it_gave(module):
    module.them = iter([1, 2])
    heap = Heap()
    drained(module.them)
    back(heap)
    assert list(module.them) == [1, 2]


def test_all_that_hold_one_iterator_hold_one_again(module):
    module.them = itertools.count()
    module.held = {"it": module.them}
    module.listed = [module.them]
    module.next_one = module.them.__next__
    exec("def default(it=them, *, other=them): return it, other", vars(module))
    exec("class Keeper: numbers = them", vars(module))
    module.keeper = module.Keeper()
    module.keeper.mine = module.them
    heap = Heap()
    old = module.them
    for _ in range(3):
        module.next_one()
    back(heap)
    assert module.them is not old
    held = [module.held["it"], module.listed[0], module.next_one.__self__, *module.default(), module.Keeper.numbers, module.keeper.mine]
    assert all(one is module.them for one in held)
    assert module.next_one() == 0
    back(heap)
    assert next(module.them) == 0
    assert not heap.lasting


@pytest.mark.parametrize(
    "hold", [lambda it: (it,), lambda it: map(str, it), lambda it: zip(it, "ab", strict=False), lambda it: (x for x in it)]
)
def test_one_that_something_holds_that_cannot_hold_another_is_named_and_stays(module, hold):
    module.them = itertools.count()
    module.kept = hold(module.them)
    heap = Heap()
    old = module.them
    next(module.them)
    back(heap)
    assert module.them is old
    assert heap.lasting == {"tests_heap_iterators_module.them"}


def test_one_that_a_module_without_instrumentation_has_imported_is_named_and_stays(module, monkeypatch):
    other = types.ModuleType("tests_heap_iterators_other")
    monkeypatch.setitem(sys.modules, other.__name__, other)
    module.them = other.them = itertools.count()
    heap = Heap()
    next(module.them)
    back(heap)
    assert module.them is other.them
    assert heap.lasting == {"tests_heap_iterators_module.them"}


def test_numbers_that_actors_draw_are_the_same_in_each_execution():
    got = []

    def scenario(world):
        for name in "ab":
            world.actor(name, lambda: got.append(kept_state.numbering()))

    simharness.explore(scenario, "dpor", settings=HERE)
    assert len(got) > 2
    assert set(got) == {0, 1}


def both_add_a_handler(logger_of, guard):
    def scenario(world):
        import threading

        lock = threading.Lock() if guard else None

        def add():
            logger = logger_of()
            if guard:
                with lock:
                    kept_state.set_up(logger)
            else:
                kept_state.set_up(logger)

        world.actor("a", add)
        world.actor("b", add)

        @world.at_end
        def once():
            assert len(logger_of().handlers) == 1

    return scenario


LOGGERS = {"there before": lambda: kept_state.log, "made by actors": lambda: logging.getLogger("tests.kept_state.made.by.actors")}


@pytest.mark.parametrize("isolation", ["undo", "fork"])
@pytest.mark.parametrize("logger_of", LOGGERS.values(), ids=LOGGERS)
def test_a_handler_that_two_actors_add_where_there_was_none_is_added_twice(logger_of, isolation):
    settings = Settings(instrument=("tests.kept_state",), isolation=isolation)
    result = simharness.explore(both_add_a_handler(logger_of, False), "dpor", settings=settings)
    assert result.verdict is Verdict.VIOLATED
    assert "the handlers of tests.kept_state" in str(result.counterexample.trace.steps)


@pytest.mark.parametrize("logger_of", LOGGERS.values(), ids=LOGGERS)
def test_a_handler_that_is_added_under_a_lock_is_added_once(logger_of):
    result = simharness.explore(both_add_a_handler(logger_of, True), "dpor", settings=HERE)
    assert result.verdict is Verdict.VERIFIED
    assert result.executions > 1


def test_the_level_of_a_logger_and_loggers_that_are_made_begin_anew():
    seen = set()

    def scenario(world):
        seen.add((kept_state.log.level, "tests.kept_state.new" in logging.Logger.manager.loggerDict))
        world.actor("a", lambda: kept_state.log.setLevel(logging.ERROR))
        world.actor("b", lambda: (logging.getLogger("tests.kept_state.new"), logging.getLogger().setLevel(logging.CRITICAL)))

    before = logging.getLogger().level
    simharness.explore(scenario, "dpor", settings=HERE)
    assert seen == {(0, False)}
    assert logging.getLogger().level == before


def test_lines_that_are_logged_do_not_conflict():
    def scenario(world):
        for name in "ab":
            world.actor(name, lambda: kept_state.log.warning("here"))

    assert simharness.explore(scenario, "dpor", settings=HERE).executions == 1


def test_a_context_variable_that_set_up_or_an_actor_sets_is_not_set_in_the_next_execution():
    current = contextvars.ContextVar("current", default=None)
    seen = []

    def scenario(world):
        seen.append(current.get())
        current.set("set-up")
        cell = world.shared(0, "cell")
        for name in "ab":
            world.actor(name, lambda name=name: (current.set(name), cell.set(name)))

    simharness.explore(scenario, "dpor", settings=HERE)
    assert len(seen) > 1
    assert set(seen) == {None}
    assert current.get() is None
