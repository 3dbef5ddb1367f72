"""The default hash and repr of objects of instrumented classes are the same in each execution; others stay what they are."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import enum
import logging
import os
import random
import subprocess
import sys
import weakref

import pytest

import simharness
from simharness import Verdict


class Plain:
    """An object with the default hash."""

    def __init__(self, name):
        self.name = name


class Word(Plain, str):
    """A string: its hash is that of `str`."""

    def __new__(cls, name):
        return str.__new__(cls, name)


class Equal:  # noqa: PLW1641  # it is to have no hash
    """An object that is equal to all others: it has no hash."""

    def __eq__(self, other):
        return True


class Mixed:
    """A class with the default hash, from which others inherit."""


class Kind(Mixed, enum.Enum):
    """An enumeration."""

    ONE = "one"


BEFORE = {Plain("before")}
PLAIN = dict(vars(Plain))


PROGRAM = """
import simharness

class Plain:
    def __init__(self, name):
        self.name = name

def orders(world):
    class Local:
        def __init__(self, name):
            self.name = name

    def work(actor):
        things = {kind(f"{actor}{number}") for number in range(5) for kind in (Plain, Local)}
        world.step("first", writes=["x"])
        order = " ".join(thing.name for thing in things)
        world.step(order, writes=["x"])
        world.outcome((actor, order))

    for name in "ab":
        world.actor(name, work, name)

if __name__ == "__main__":
    import sets_of_plain_objects
    result = simharness.explore(simharness.scenario(instrument=("sets_of_plain_objects",))(sets_of_plain_objects.orders))
    print(result.verdict, sorted(result.outcomes))
"""


def test_sets_of_plain_objects_have_one_order_in_each_execution_and_each_process(tmp_path):
    file = tmp_path / "sets_of_plain_objects.py"
    file.write_text(PROGRAM)
    said = set()
    for seed in ("1", "2"):
        variables = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(
            [sys.executable, str(file)], check=False, capture_output=True, text=True, env=variables, timeout=100, cwd=tmp_path
        )
        assert not done.returncode, done.stderr
        said.add(done.stdout)
    [text] = said
    assert text.count("('a', ") == 1, "each actor has one order"
    assert text.count("('b', ") == 1


def test_other_hashes_and_those_of_what_was_there_before_stay_what_they_are():
    def scenario(world):
        def work():
            assert hash(Word("key")) == hash("key")
            assert {Word("key"): 1}["key"] == 1
            assert all(thing in BEFORE for thing in BEFORE)
            assert hash(Kind.ONE) == hash(Kind.ONE.name)
            with pytest.raises(TypeError):
                hash(Equal())

            @dataclasses.dataclass
            class Point(Plain):
                name: str

            with pytest.raises(TypeError):
                hash(Point("x"))
            thing = Plain("x")
            assert hash(thing) == hash(thing) != hash(Plain("x"))
            assert thing in {thing}

        world.actor("a", work)

    result = simharness.explore(simharness.scenario(instrument=(__name__,))(scenario))
    assert result.verdict is Verdict.VERIFIED, result.counterexample
    assert dict(vars(Plain)) == PLAIN


def test_an_object_that_lives_on_is_found_by_the_hash_that_it_had():
    kept = []

    def scenario(world):
        def work():
            thing = Plain("x")
            if not kept:
                kept.append((thing, {thing}))

        world.actor("a", work)
        world.actor("b", work)

    with contextlib.suppress(simharness.Nondeterminism):
        simharness.explore(simharness.scenario(instrument=(__name__,))(scenario))
    assert all(thing in found for thing, found in kept)


class Slotted:
    """An object that no weak reference can refer to."""

    __slots__ = ("name",)

    def __init__(self, name):
        self.name = name


class Below(Plain):
    """An object of a class below one with the default hash."""


class Strict(type):
    """A metaclass that lets nobody set attributes."""

    def __setattr__(cls, name, value):
        raise AssertionError(name)

    def __delattr__(cls, name):
        raise AssertionError(name)


class Fixed(metaclass=Strict):
    """A class that is not to be changed."""


class Pair(ctypes.Structure):
    """A class whose metaclass is written in C."""

    _fields_ = (("x", ctypes.c_int),)


REMEMBERED = [Plain(0), Slotted(1), Below(2)]


@pytest.mark.parametrize("seed", range(12))
def test_random_sets_and_dictionaries_hold_what_lists_hold(seed):
    """The oracle compares identities in a list; it asks for no hash."""

    def scenario(world):
        def work(actor):
            draw = random.Random(f"{seed} {actor}")
            tables, models = [set(REMEMBERED), dict.fromkeys(REMEMBERED), weakref.WeakSet()], [[*REMEMBERED], [*REMEMBERED], []]
            things = [*REMEMBERED, *(draw.choice([Plain, Slotted, Below])(number) for number in range(6))]
            for _ in range(40):
                thing, which = draw.choice(things), draw.randrange(3)
                table, model = tables[which], models[which]
                if which == 2 and type(thing) is Slotted:
                    continue
                there = any(one is thing for one in model)
                assert (thing in table) is there
                if there:
                    model[:] = [one for one in model if one is not thing]
                    table.pop(thing) if which == 1 else table.discard(thing)
                else:
                    model.append(thing)
                    table.setdefault(thing) if which == 1 else table.add(thing)
                assert sorted(map(id, table)) == sorted(map(id, model))

        world.actor("a", work, "a")
        world.actor("b", work, "b")

    assert simharness.explore(simharness.scenario(instrument=(__name__,))(scenario)).verdict is Verdict.VERIFIED
    assert not [cls for cls in (Plain, Slotted, Below) if vars(cls).get("__hash__") is not None]


class Above:
    """A class with Python's hash and repr, which those below ask for."""


class Asking(Above):
    """Its own methods ask the ones above."""

    def __hash__(self):
        return super().__hash__() ^ 1

    def __repr__(self):
        return f"asking {super().__repr__()}"

    def __eq__(self, other):
        return self is other


@dataclasses.dataclass
class Shown(Above):
    """A class with a repr of its own."""

    name: str


def test_methods_that_ask_the_default_ones_above_them_get_these():
    seen = []

    def scenario(world):
        def work():
            thing = Asking()
            assert {thing: 1}[thing] == 1
            assert repr(thing) == f"asking <{__name__}.Asking object at {id(thing):#x}>"
            seen.append(repr(thing))

        world.actor("a", work)

    assert simharness.explore(simharness.scenario(instrument=(__name__,))(scenario)).verdict is Verdict.VERIFIED
    assert len(set(seen[1:])) == 1


def test_the_default_repr_is_the_same_in_each_execution_and_shows_the_id():
    before = repr(REMEMBERED[0])
    texts = set()

    def scenario(world):
        def work(actor):
            class Local:
                pass

            @dataclasses.dataclass
            class Point(Plain):
                name: str

            things = [Plain("x"), Local(), Slotted("y")]
            for thing in things:
                assert f"{id(thing):#x}" in repr(thing) == str(thing) == f"{thing}" == f"{thing!r}"
            assert repr(REMEMBERED[0]) == before
            assert repr(Point("z")).endswith("Point(name='z')")
            assert repr(Word("word")) == "'word'"
            assert repr(Kind.ONE) == "<Kind.ONE: 'one'>"
            assert repr(Shown("s")) == "Shown(name='s')"
            world.step("first", writes=["x"])
            world.outcome((actor, str(things)))
            texts.add((actor, str(things)))

        world.actor("a", work, "a")
        world.actor("b", work, "b")

    result = simharness.explore(simharness.scenario(instrument=(__name__,))(scenario))
    assert result.verdict is Verdict.VERIFIED, result.counterexample
    assert len(result.outcomes) == 2
    assert repr(REMEMBERED[0]) == before
    assert "__repr__" not in vars(Plain)


def test_an_order_of_texts_is_the_same_in_each_execution():
    def scenario(world):
        def work(actor):
            for thing in sorted([Plain(number) for number in range(6)], key=repr):
                world.step(f"{actor} {thing.name}", writes=["x"])

        world.actor("a", work, "a")

    assert simharness.explore(simharness.scenario(instrument=(__name__,))(scenario)).verdict is Verdict.VERIFIED


def test_what_only_people_read_is_no_reason_to_number_objects():
    def scenario(world):
        def work():
            thing = Plain("x")
            print(thing)
            logging.getLogger("defaults").warning("%s", thing)
            world.outcome(repr(thing) != "")

        world.actor("a", work)
        world.actor("b", world.step, "other", (), ["x"])

    assert simharness.explore(simharness.scenario(instrument=(__name__,))(scenario)).verdict is Verdict.VERIFIED


THINGS = """
class Thing:
    def __init__(self, name):
        self.name = name

def in_order(things):
    return [thing.name for thing in {*things}]

def by_text(things):
    return [thing.name for thing in sorted(things, key=repr)]
"""


@pytest.fixture
def things(tmp_path, monkeypatch):
    (tmp_path / "things_of_others.py").write_text(THINGS)
    monkeypatch.syspath_prepend(str(tmp_path))
    import things_of_others

    yield things_of_others
    del sys.modules["things_of_others"]


def explore_several_times(scenario):
    """Explore; again, since addresses may happen to have one order."""
    for _ in range(3):
        simharness.explore(simharness.scenario(instrument="test")(scenario))


@pytest.mark.parametrize(("order", "what"), [("in_order", "hash"), ("by_text", "repr")])
def test_a_run_that_depends_on_addresses_names_the_class_and_the_line(things, order, what):
    def scenario(world):
        def work():
            for name in getattr(things, order)([things.Thing(number) for number in range(12)]):
                world.step(f"{name}", writes=["x"])

        world.actor("a", work)

    named = rf"the default {what} of things_of_others\.Thing, asked for at .*things_of_others\.py:\d+.*, is made of addresses"
    with pytest.raises(simharness.Nondeterminism, match=named + r": name the module, instrument=\('things_of_others',\)"):
        explore_several_times(scenario)
    assert simharness.explore(simharness.scenario(instrument=("things_of_others",))(scenario)).verdict is Verdict.VERIFIED
    assert "__hash__" not in vars(things.Thing)


def test_a_run_that_depends_on_something_else_names_no_class(things):
    count = [0]

    def scenario(world):
        def work():
            things.in_order([things.Thing(0)])
            count[0] += 1
            world.step(f"{count[0]}", writes=["x"])

        world.actor("a", work)

    with pytest.raises(simharness.Nondeterminism) as raised:
        simharness.explore(simharness.scenario(instrument="test")(scenario))
    assert "is made of addresses" not in str(raised.value)


def test_classes_with_metaclasses_of_their_own_are_as_they_were_afterwards():
    before = [dict(vars(cls)) for cls in (Fixed, Pair)]

    def scenario(world):
        world.actor("a", lambda: (repr(Fixed()), repr(Pair())))

    result = simharness.explore(simharness.scenario(instrument=(__name__,))(scenario))
    assert result.verdict is not Verdict.VIOLATED
    assert [dict(vars(cls)) for cls in (Fixed, Pair)] == before
