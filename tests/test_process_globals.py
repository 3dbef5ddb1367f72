"""Each simulated process has the globals of instrumented modules for itself; the oracle has a copy of the module for each process."""

from __future__ import annotations

import importlib
import random
import shutil
import sys
import threading

import pytest

import simharness
from simharness import Settings, Verdict
from tests import process_state, process_state_elsewhere
from tests.process_state import ACTIONS

NAMES = [action.__name__ for action in ACTIONS]
PROCESSES = ("main", "p", "q")


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copies")
    for process in PROCESSES:
        shutil.copy(process_state.__file__, folder / f"process_state_of_{process}.py")
    sys.path.insert(0, str(folder))
    yield {process: importlib.import_module(f"process_state_of_{process}") for process in PROCESSES}
    sys.path.remove(str(folder))
    for process in PROCESSES:
        del sys.modules[f"process_state_of_{process}"]


def program(seed, modules):
    """Return a scenario; `modules` gives the module that each process uses, and `None` the only one, which they have for themselves."""
    draw = random.Random(seed)
    actions = draw.sample(NAMES, draw.choice((2, 3, 4)))
    before = [draw.choice(actions) for _ in range(draw.choice((0, 1, 2)))]
    actors = [(process, [draw.choice(actions) for _ in range(draw.choice((1, 2)))]) for process in draw.choices(PROCESSES, k=3)]
    tells = draw.random() < 0.5

    def scenario(world):
        got = {}
        told = world.shared((), "told")

        def do(number, process, chosen):
            module = process_state if modules is None else modules[process]
            got[number] = [getattr(module, name)() for name in chosen]
            if tells:
                told.set((*told.get(), number))

        for name in before:
            for module in [process_state] if modules is None else modules.values():
                getattr(module, name)()
        for number, (process, chosen) in enumerate(actors):
            world.actor(f"actor {number}", do, number, process, chosen, process=process if modules is None else None)

        @world.at_end
        def said():
            main = process_state if modules is None else modules["main"]
            world.outcome(repr((sorted(got.items()), told.get(), main.shown())))

    return scenario, len({process for process, _ in actors}) > 1


def agrees(seed, copies, strategy="dpor"):
    scenario, several = program(seed, None)
    if not several:
        return
    settings = Settings(instrument=("tests.process_state",), max_executions=400, shrink=0)
    own = simharness.explore(scenario, strategy, stop_on_first=False, settings=settings)
    settings = Settings(instrument=tuple(f"process_state_of_{process}" for process in PROCESSES), max_executions=400, shrink=0)
    oracle = simharness.explore(program(seed, copies)[0], strategy, stop_on_first=False, settings=settings)
    if Verdict.INCONCLUSIVE in (own.verdict, oracle.verdict):
        assert own.verdict is not Verdict.VERIFIED or oracle.outcomes <= own.outcomes, seed
        return
    assert own.verdict is oracle.verdict, seed
    assert own.outcomes == oracle.outcomes, seed
    # In `main` a variable and the list that it leads to have one name, and conflict; elsewhere they have two.
    assert own.executions <= oracle.executions, seed


@pytest.mark.parametrize("first", range(0, 30, 10))
def test_processes_have_what_copies_of_the_module_have(first, copies):
    for seed in range(first, first + 10):
        agrees(seed, copies)


@pytest.mark.long
@pytest.mark.parametrize("first", range(100, 500, 10))
def test_processes_have_what_copies_of_the_module_have_in_many_programs(first, copies):
    for seed in range(first, first + 10):
        agrees(seed, copies)


HERE = Settings(instrument=("tests.process_state",))


def test_what_two_processes_change_for_themselves_has_one_ordering():
    def scenario(world):
        for process in "pq":
            world.actor(process, lambda: [action() for action in ACTIONS], process=process)

    assert simharness.explore(scenario, "dpor", settings=HERE).executions == 1


def test_what_set_up_has_made_every_process_has_for_itself():
    def scenario(world):
        inner = process_state.set_up()
        out = world.shared((), "out")

        def work(name):
            out.set((*out.get(), (name, *process_state.through_alias(inner, name))))

        world.actor("a", work, "a", process="p")
        world.actor("b", work, "b", process="q")

        @world.at_end
        def each_has_its_own():
            for name, made, names in out.get():
                assert (made, names) == ([(name, 1), ("n", 1)], 3)

    result = simharness.explore(scenario, settings=HERE)
    assert result.verdict is Verdict.VERIFIED
    assert process_state.cache == {}


def counting(process, guard):
    """Two actors add to a count that is outside of both, such as a file, under a guard."""

    def scenario(world):
        durable = world.shared(0, "file")
        inside = threading.Lock()

        def add():
            with guard or inside:
                durable.set(durable.get() + 1)

        world.actor("a", add, process="web")
        world.actor("b", add, process=process)

        @world.at_end
        def both():
            assert durable.get() == 2

    return scenario


def test_a_lock_of_a_module_does_not_keep_two_processes_apart():
    assert simharness.explore(counting("worker", process_state.lock), settings=HERE).verdict is Verdict.VIOLATED


@pytest.mark.parametrize("lock", [process_state.lock, process_state.again], ids=["lock", "rlock"])
def test_it_keeps_two_actors_of_one_process_apart(lock):
    result = simharness.explore(counting("web", lock), settings=HERE)
    assert result.verdict is Verdict.VERIFIED
    assert result.executions == 2


def test_a_lock_of_a_module_that_is_not_instrumented_does_not_keep_two_processes_apart():
    result = simharness.explore(counting("worker", process_state_elsewhere.lock), settings=HERE)
    assert result.verdict is Verdict.VIOLATED
    together = simharness.explore(counting("web", process_state_elsewhere.lock), settings=HERE)
    assert together.verdict is Verdict.VERIFIED
    assert "process_state_elsewhere" not in str(together.bounds)


def test_what_it_guards_is_shared_and_named():
    def scenario(world):
        def use():
            with process_state_elsewhere.lock:
                pass

        world.actor("a", use, process="web")
        world.actor("b", use, process="worker")

    result = simharness.explore(scenario, settings=HERE)
    assert result.verdict is Verdict.VERIFIED
    assert "the state of tests.process_state_elsewhere, which several processes use," in str(result.bounds)


def test_an_event_of_such_a_module_is_not_set_by_another_process():
    def scenario(world):
        world.actor("a", process_state_elsewhere.ready.set, process="web")
        world.actor("b", process_state_elsewhere.ready.wait, process="worker")

    assert simharness.explore(scenario, settings=HERE).verdict is Verdict.VIOLATED


def test_a_lock_that_actors_of_two_processes_have_from_the_scenario_is_refused():
    with pytest.raises(simharness.Misuse, match="processes share no memory"):
        simharness.explore(counting("worker", None), settings=HERE)


def cached(process):
    """One actor changes a price and clears the cache, the other one asks twice for the price."""

    def scenario(world):
        price = world.shared(1, "price")
        process_state.price_of(price)
        changed = world.shared(False, "changed")

        def change():
            process_state.change(price, 2)
            changed.set(True)

        def ask():
            changed.wait_until(bool)
            assert process_state.price_of(price) == 2

        world.actor("changer", change, process="admin")
        world.actor("asker", ask, process=process)

    return scenario


def test_a_cache_in_a_module_is_stale_in_the_other_process():
    assert simharness.explore(cached("web"), settings=HERE).verdict is Verdict.VIOLATED


def test_it_is_not_stale_in_the_same_process():
    assert simharness.explore(cached("admin"), settings=HERE).verdict is Verdict.VERIFIED


def test_an_object_that_two_processes_have_from_the_scenario_is_named():
    def scenario(world):
        thing = process_state.Config()
        for name in "pq":
            world.actor(name, process_state.more, thing, process=name)

    result = simharness.explore(scenario, settings=HERE)
    assert result.verdict is Verdict.VERIFIED
    assert "which several processes use" in str(result.remarks)


def test_what_code_in_c_holds_is_one_for_all_processes_and_named():
    def scenario(world):
        view = memoryview(process_state.data)
        for name in "pq":
            world.actor(name, process_state.fill, view, process=name)

    result = simharness.explore(scenario, settings=HERE)
    assert "tests.process_state.data, which several processes use" in str(result.remarks)


def test_a_variable_that_a_check_reads_and_another_process_has_changed_is_named():
    def scenario(world):
        for name in "pq":
            world.actor(name, process_state.bump, process=name)

        @world.at_end
        def none():
            assert process_state.seen() == 0

    result = simharness.explore(scenario, settings=HERE)
    assert result.verdict is Verdict.VERIFIED
    assert "tests.process_state.count in process p" in str(result.remarks)


def test_a_process_that_is_started_again_begins_with_the_baseline():
    def scenario(world):
        process_state.bump()
        out = world.shared((), "out")
        process_state.name_it()

        def work():
            process_state.bump()
            out.set((*out.get(), process_state.seen()))
            process_state.name_it()

        world.actor("a", work, process="p")
        world.actor("b", lambda: None, process="q")
        world.on_restart("p", lambda: out.set((*out.get(), process_state.seen(), process_state.name_it())))

        @world.at_end
        def said():
            world.outcome(out.get())

    settings = Settings(instrument=("tests.process_state",))
    result = simharness.explore(scenario, faults="crash=1@p", stop_on_first=False, settings=settings)
    assert {ends[-2:] for ends in result.outcomes if len(ends) > 1} == {(0, 2)}
    assert result.outcomes == {(2,), (0, 2)}
