"""Each execution begins with the state that instrumented modules had before the first one."""

from __future__ import annotations

import collections
import gc
import os
import sys
import threading
import types
import weakref

import pytest

import simharness
from simharness import Settings, Verdict
from simharness.engine import folders
from simharness.instrument.marks import HOOKS
from simharness.runtimes.heap.containers import LARGE
from simharness.runtimes.heap.heap import YOUNG, Heap
from simharness.runtimes.memory import hooks
from tests import stateful

HERE = Settings(instrument=("tests.stateful",))


def both_get(get):
    def program():
        got = []
        threads = [threading.Thread(target=lambda: got.append(get()), name=name) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert got[0] is got[1]

    return program


@pytest.mark.parametrize("isolation", ["undo", "fork"])
@pytest.mark.parametrize("get", stateful.RACY.values(), ids=stateful.RACY)
def test_a_lazy_singleton_is_made_twice(get, isolation):
    result = simharness.explore(both_get(get), settings=Settings(instrument=("tests.stateful",), isolation=isolation))
    assert result.verdict is Verdict.VIOLATED


@pytest.mark.parametrize("isolation", ["undo", "fork"])
@pytest.mark.parametrize("get", stateful.SAFE.values(), ids=stateful.SAFE)
def test_a_locked_lazy_singleton_is_verified(get, isolation):
    result = simharness.explore(both_get(get), settings=Settings(instrument=("tests.stateful",), isolation=isolation))
    assert result.verdict is Verdict.VERIFIED
    assert result.executions > 1


def test_nothing_is_left_when_exploring_is_over():
    before = dict(vars(stateful))
    simharness.explore(both_get(stateful.instance), settings=HERE)
    simharness.explore(both_get(stateful.absent), settings=HERE)
    assert {name: value for name, value in vars(stateful).items() if name != HOOKS} == {k: v for k, v in before.items() if k != HOOKS}
    assert stateful._made == {}


def test_a_cache_a_counter_and_a_default_argument_begin_anew():
    seen = set()

    def scenario(world):
        seen.add((stateful.compute(), stateful.counted(), stateful.compute.cache_info().misses))
        world.actor("a", stateful.counted)
        world.actor("b", stateful.compute)

    simharness.explore(scenario, settings=HERE)
    assert seen == {(1, 1, 1)}


def test_an_alias_stays_the_same_object_and_shows_what_is_put_back():
    alias = stateful.by_name
    seen = []

    def scenario(world):
        seen.append((alias is stateful.by_name is stateful.ALSO, dict(alias)))
        world.actor("a", lambda: stateful.by_name.update(b=2))
        world.actor("b", lambda: stateful.ALSO.pop("a"))

    simharness.explore(scenario, settings=HERE)
    assert set(map(str, seen)) == {"(True, {'a': 1})"}
    assert alias == {"a": 1}


def test_exploring_starts_over_where_executions_have_begun_with_what_nobody_has_announced():
    ran = []

    def scenario(world):
        ran.append(1)
        cell = world.shared(0, "cell")
        began_with = sorted(stateful.by_name)
        if len(ran) == 3:
            exec("by_name['unannounced'] = 1", vars(stateful))
        for name in "abc":
            world.actor(name, cell.set, name)

        @world.at_end
        def said():
            world.outcome(tuple(began_with))

    assert simharness.explore(scenario, "dpor", settings=HERE).outcomes == {("a",)}
    assert stateful.by_name == {"a": 1}


# Units


@pytest.fixture
def module(request):
    made = types.ModuleType("tests_heap_module")
    vars(made)[HOOKS] = hooks
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]


def put_back(heap):
    """Sample, as after the first execution, and put back."""
    heap.sample()
    heap.put_back()


def test_what_code_that_announces_nothing_has_changed_is_found_by_a_sample(module):
    module.items = [1]
    heap = Heap()
    module.items.append(2)
    assert heap.sample()
    assert not heap.sample()
    heap.put_back()
    assert module.items == [1]
    module.items.append(3)
    heap.put_back()
    assert module.items == [1]


def test_deleted_and_added_variables_are_put_back(module):
    module.gone = module.changed = 1
    heap = Heap()
    del module.gone
    module.changed, module.new = 2, 3
    put_back(heap)
    assert (module.gone, module.changed, hasattr(module, "new")) == (1, 1, False)


def test_containers_are_put_back_in_place_and_in_order(module):
    kinds = {
        "list": [3, 1],
        "deque": collections.deque([3, 1], maxlen=4),
        "dict": {"b": 1, "a": 1},
        "ordered": collections.OrderedDict(b=1, a=1),
        "default": collections.defaultdict(list, b=[1]),
        "set": {3, 1, 2},
        "bytes": bytearray(b"ab"),
    }
    vars(module).update(kinds)
    heap = Heap()
    before = {name: (id(kind), list(kind)) for name, kind in kinds.items()}
    module.list.sort()
    module.deque.extend([7, 8, 9])
    module.dict.update(b=module.dict.pop("b"))
    module.ordered.move_to_end("b")
    module.default["new"], module.default.default_factory = [], None
    module.set.clear()
    module.bytes.clear()
    put_back(heap)
    assert {name: (id(vars(module)[name]), list(vars(module)[name])) for name in kinds} == before
    assert module.default.default_factory is list
    assert module.deque.maxlen == 4


def test_keys_whose_hash_raises_are_no_trouble(module):
    class Key:
        broken = False

        def __hash__(self):
            if self.broken:
                raise ValueError("broken")
            return 1

    key = Key()
    module.items = {key: 1}
    heap = Heap()
    module.items.clear()
    key.broken = True
    put_back(heap)
    assert list(module.items.values()) == [1]


def test_what_cannot_be_put_back_is_named_and_nothing_else_fails(module):
    module.data, module.count = bytearray(b"a"), 1
    heap = Heap()
    module.data[0:1] = b"b"
    module.count = 2
    view = memoryview(module.data)
    put_back(heap)
    assert heap.lasting == {"tests_heap_module.data"}
    assert module.count == 1
    view.release()


def test_what_a_finaliser_changes_is_put_back_too(module):
    class Leaves:
        def __del__(self):
            module.alive -= 1

    module.alive, module.it = 0, None
    heap = Heap()
    module.alive, module.it = 1, Leaves()
    put_back(heap)
    assert (module.alive, module.it) == (0, None)


class Leaves:
    """Counts itself out of a module when it dies, which takes a collection."""

    def __init__(self, module):
        self.me, self.module = self, module

    def __del__(self):
        self.module.alive.append(1)


@pytest.fixture
def no_collections():
    """As in a simulation: only what is asked for is collected."""
    gc.disable()
    yield
    gc.enable()


def test_what_the_finalisers_of_garbage_change_is_found_once_and_put_back_from_then_on(module, no_collections):
    module.alive, module.it = [], None
    heap = Heap()
    heap.put_back()
    module.it = Leaves(module)
    assert heap.put_back()
    assert (module.alive, module.it) == ([], None)
    for _ in range(9):
        module.it = Leaves(module)
        assert not heap.put_back()
        assert module.alive == []


def test_what_the_finalisers_of_older_garbage_change_is_put_back_when_it_is_collected(module, no_collections):
    module.alive = []
    heap = Heap()
    for _ in range(3):
        heap.put_back()
    Leaves(module)
    assert not heap.put_back(YOUNG)
    assert module.alive == [1]
    assert heap.put_back()
    assert module.alive == []


CASES_OF_GARBAGE = """
import gc

alive = 0


class Counted:
    def __init__(self):
        global alive
        alive += 1
        self.me = self

    def __del__(self):
        global alive
        alive -= 1


def make(collect):
    Counted()
    if collect:
        gc.collect()
    return alive
"""


@pytest.mark.parametrize("collect", [False, pytest.param(True, marks=pytest.mark.long)])
def test_an_execution_meets_no_object_of_an_earlier_one(tmp_path, monkeypatch, collect):
    (tmp_path / "left_garbage.py").write_text(CASES_OF_GARBAGE)
    monkeypatch.syspath_prepend(str(tmp_path))
    import left_garbage

    def scenario(world):
        began = left_garbage.alive
        cell = world.shared(0, "cell")
        for name in "ab":
            world.actor(name, lambda name=name: cell.set(left_garbage.make(collect and name == "a")))

        @world.at_end
        def said():
            world.outcome((began, cell.get(), left_garbage.alive))

    def explored(isolation):
        settings = Settings(instrument=("left_garbage",), isolation=isolation)
        result = simharness.explore(scenario, "dpor", settings=settings)
        assert result.verdict is Verdict.VERIFIED
        return result.executions, result.outcomes

    try:
        assert explored("undo") == explored("fork")
        assert left_garbage.alive == 0
    finally:
        del sys.modules["left_garbage"]


def test_an_object_that_a_weak_dictionary_holds_lives_as_long_as_the_heap(module):
    class Thing:
        pass

    thing = Thing()
    module.weak = weakref.WeakValueDictionary(k=thing)
    heap = Heap()
    del thing
    assert "k" in module.weak
    module.weak.clear()
    put_back(heap)
    assert type(module.weak["k"]) is Thing


def test_the_class_of_an_object_and_an_assigned_dictionary_of_attributes_are_put_back(module):
    class Old:
        pass

    class New:
        pass

    module.thing = Old()
    module.thing.n = 1
    heap = Heap()
    module.thing.__class__, module.thing.__dict__ = New, {"m": 2}
    put_back(heap)
    assert (type(module.thing), vars(module.thing)) == (Old, {"n": 1})


def test_of_a_large_container_a_sample_finds_what_the_length_and_the_touched_items_do_not_show(module):
    module.table = list(range(2 * LARGE))
    heap = Heap()
    module.table.reverse()
    assert heap.sample()
    heap.put_back()
    assert module.table == list(range(2 * LARGE))


def test_objects_of_other_modules_are_left_alone(module):
    module.os, module.environ, module.lock = os, os.environ, threading.Lock()
    heap = Heap()
    assert id(os) not in heap._records
    assert id(module.lock) not in heap._records


# What is left behind


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A module that is not instrumented."""
    (tmp_path / "left_registry.py").write_text(
        "entries = {}\n\ndef register(name):\n    if name in entries:\n        raise ValueError('duplicate')\n    entries[name] = True\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import left_registry

    monkeypatch.setattr(stateful, "registry", left_registry, raising=False)
    yield left_registry
    del sys.modules["left_registry"]


@pytest.mark.parametrize("late", [False, True])
def test_a_failure_that_needs_what_an_earlier_execution_has_left_behind_is_no_violation(registry, late):
    def scenario(world):
        cell, other = world.shared(not late, "cell"), world.shared(0, "other")

        def register():
            if cell.get():
                registry.register("it")

        world.actor("a", register)
        world.actor("b", cell.set, True)
        world.actor("c", other.set, 1)
        world.actor("d", other.set, 2)

    with pytest.raises(simharness.Nondeterminism, match=r"state left behind: left_registry\.entries, made at .*left_registry\.py:6; "):
        simharness.explore(scenario, settings=HERE)


def test_in_processes_of_their_own_executions_leave_nothing_behind(registry):
    def scenario(world):
        cell = world.shared(0, "cell")
        world.actor("a", lambda: (registry.register("it"), cell.set(1)))
        world.actor("b", lambda: cell.set(2))

    result = simharness.explore(scenario, settings=Settings(isolation="fork"))
    assert result.verdict is Verdict.VERIFIED
    assert registry.entries == {}


def test_a_failure_of_its_own_is_a_violation_beside_state_that_is_left_behind(registry):
    def scenario(world):
        cell = world.shared(0, "cell")
        world.actor("a", lambda: (registry.entries.update(it=True), cell.set(1)))
        world.actor("b", lambda: cell.set(2))

        @world.at_end
        def last():
            assert cell.get() == 2

    assert simharness.explore(scenario, settings=HERE).verdict is Verdict.VIOLATED


def test_the_replay_from_before_the_first_execution_leaves_no_folder_behind(registry, monkeypatch, tmp_path):
    monkeypatch.setattr(folders, "MEMORY_FOLDER", str(tmp_path))
    before = os.listdir(tmp_path)

    def scenario(world):
        cell = world.shared(0, "cell")
        path = world.path("state")

        def work():
            with open(path, "a"):
                cell.set(cell.get() + 1)

        world.actor("a", work)
        world.actor("b", work)

        @world.at_end
        def both():
            assert registry.entries == {}
            assert cell.get() == 2

    assert simharness.explore(scenario, settings=HERE).verdict is Verdict.VIOLATED
    assert os.listdir(tmp_path) == before


# The setting


def test_an_unknown_isolation_is_refused_and_hypothesis_draws_in_this_process():
    with pytest.raises(simharness.Misuse, match="isolation='spoon': it must be one of undo, fork"):
        Settings(isolation="spoon")
    with pytest.raises(simharness.Misuse, match="Hypothesis draws in this process"):
        simharness.explore(lambda world: None, "hypothesis", settings=Settings(isolation="fork"))


def test_an_outcome_that_cannot_be_sent_to_another_process_is_misuse():
    def scenario(world):
        world.actor("a", lambda: world.outcome(lambda: None))

    with pytest.raises(simharness.Misuse, match="isolation='fork': what an execution gives to exploring cannot be sent"):
        simharness.explore(scenario, settings=Settings(isolation="fork"))


def test_the_baseline_of_a_module_that_an_execution_imports_is_its_state_after_the_import(tmp_path, monkeypatch):
    (tmp_path / "late_package").mkdir()
    (tmp_path / "late_package" / "__init__.py").write_text("")
    (tmp_path / "late_package" / "late.py").write_text("made = []\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    seen = []

    def scenario(world):
        from late_package import late

        seen.append(list(late.made))
        world.actor("a", late.made.append, 1)
        world.actor("b", late.made.append, 2)

    try:
        simharness.explore(scenario, settings=Settings(instrument=("late_package",)))
        assert len(seen) > 2
        assert not any(seen)
        assert sys.modules["late_package.late"].made == []
    finally:
        for name in ("late_package", "late_package.late"):
            sys.modules.pop(name, None)
