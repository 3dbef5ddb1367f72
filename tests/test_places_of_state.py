"""Wherever Python keeps a value that two actors can reach, a lost update on it is found, or the verdict names what was not seen."""

from __future__ import annotations

import argparse
import ast
import collections
import contextvars
import ctypes
import dataclasses
import decimal
import enum
import fractions
import functools
import importlib.util
import io
import ipaddress
import logging
import operator
import os
import string
import sys
import tempfile
import threading
import types
import unittest
import unittest.mock
import weakref
from xml.etree import ElementTree as Tree

import pytest

import simharness
from simharness import Settings

OWN = Settings(instrument=(__name__,))


class Plain:
    """An object with attributes."""


class Failure(Exception):
    """An exception of one's own."""


class Pair(ctypes.Structure):
    _fields_ = (("n", ctypes.c_int),)


class Whole(int):
    """A number with attributes."""


class Member(enum.Enum):
    ONE = 1


@dataclasses.dataclass
class Record:
    n: int = 0


def attribute(make, name="n", start=0):
    """Return how an attribute is made, read and written."""

    def made():
        owner = make()
        setattr(owner, name, start)
        return owner

    return made, lambda owner: getattr(owner, name) - start, lambda owner, n: setattr(owner, name, n + start)


def assigned(make, read):
    """Return how `owner.n` is made, read and written, by statements."""

    def made():
        owner = make()
        owner.n = 0
        return owner

    def write(owner, n):
        owner.n = n

    return made, read, write


def noted(error, n):
    if len(getattr(error, "__notes__", ())) < n:
        error.add_note("again")


def with_contents(start=0):
    target = ctypes.c_int(start)
    return target, ctypes.pointer(target)


def two_pointers():
    target = ctypes.c_int(0)
    return ctypes.pointer(target), ctypes.pointer(target)


class Items(list):
    """A list that can be referred to weakly."""


def through_a_proxy():
    owner = Record()
    return owner, weakref.proxy(owner)


def items_through_a_proxy():
    owner = Items([0])
    return owner, weakref.proxy(owner)


def in_context():
    return contextvars.copy_context(), contextvars.ContextVar("v", default=0)


def of_class(number):
    return type(str(number), (Plain,), {"number": number})


def classed(number):
    owner = Plain()
    owner.__class__ = of_class(number)
    return owner


PLACES = {
    "an attribute of an exception": attribute(lambda: ValueError("x")),
    "the arguments of an exception": (lambda: ValueError(0), lambda e: e.args[0], lambda e, n: setattr(e, "args", (n,))),
    "the text of an exception": (lambda: Failure(0), lambda e: int(str(e)), lambda e, n: setattr(e, "args", (n,))),
    "the number of an OSError": (lambda: OSError(0, "x"), lambda e: e.errno, lambda e, n: setattr(e, "errno", n)),
    "the notes of an exception": (lambda: Failure(0), lambda e: len(getattr(e, "__notes__", ())), noted),
    "the cause of an exception": (
        lambda: Failure(0),
        lambda e: e.__cause__.args[0] if e.__cause__ else 0,
        lambda e, n: setattr(e, "__cause__", Failure(n)),
    ),
    "an attribute of a partial": attribute(lambda: functools.partial(int)),
    "the keywords of a partial": (
        lambda: functools.partial(dict, n=0),
        lambda p: p()["n"],
        lambda p, n: operator.setitem(p.keywords, "n", n),
    ),
    "an attribute of a function": attribute(lambda: lambda: 0),
    "the name of a function": (
        lambda: types.FunctionType((lambda: 0).__code__, {}, "0"),
        lambda f: int(f.__name__),
        lambda f, n: setattr(f, "__name__", str(n)),
    ),
    "the defaults of a function": (lambda: lambda n=0: n, lambda f: f(), lambda f, n: setattr(f, "__defaults__", (n,))),
    "the defaults by name of a function": (lambda: lambda *, n=0: n, lambda f: f(), lambda f, n: setattr(f, "__kwdefaults__", {"n": n})),
    "the contents of a cell": (lambda: types.CellType(0), lambda c: c.cell_contents, lambda c, n: setattr(c, "cell_contents", n)),
    "an attribute of a logger": attribute(lambda: logging.getLogger("of a test of places")),
    "the level of a logger": (
        lambda: logging.Logger("x", 0),
        lambda logger: logger.level,
        lambda logger, n: setattr(logger, "level", n),
    ),
    "an attribute of a static method": attribute(lambda: staticmethod(int)),
    "an attribute of a fraction": assigned(lambda: type("Half", (fractions.Fraction,), {})(1, 2), lambda o: o.n),
    "a slot of an address": attribute(lambda: type("Own", (ipaddress.IPv4Address,), {"__slots__": ("n",)})("1.1.1.1")),
    "an attribute of a number": attribute(lambda: Whole(1)),
    "an attribute of a member of an enumeration": attribute(lambda: Member.ONE),
    "an attribute of a class of the standard library": attribute(lambda: string.Template),
    "an attribute of a module": attribute(lambda: types.ModuleType("made")),
    "a namespace": attribute(types.SimpleNamespace),
    "the namespace of arguments": attribute(argparse.Namespace),
    "an attribute of a mock": attribute(unittest.mock.Mock),
    "an attribute of a condition": attribute(threading.Condition),
    "the precision of a decimal context": attribute(decimal.Context, "prec", 1),
    "the text of an element": attribute(lambda: Tree.Element("a"), "text"),
    "a node of a syntax tree": attribute(lambda: ast.Constant(0), "value"),
    "a number of C": attribute(ctypes.c_int, "value"),
    "a structure of C": attribute(Pair),
    "what a pointer of C points to": (
        lambda: ctypes.pointer(ctypes.c_int(0)),
        lambda p: p.contents.value,
        lambda p, n: setattr(p.contents, "value", n),
    ),
    "a number of C, through a pointer": (with_contents, lambda both: both[0].value, lambda both, n: operator.setitem(both[1], 0, n)),
    "a number of C, through two pointers": (
        two_pointers,
        lambda both: both[0][0],
        lambda both, n: operator.setitem(both[1], 0, n),
    ),
    "a class attribute of a test case": attribute(unittest.TestCase, "longMessage"),
    "the text of a namespace": assigned(types.SimpleNamespace, lambda o: int(repr(o)[len("namespace(n=") : -1])),
    "a namespace that is compared": assigned(types.SimpleNamespace, [types.SimpleNamespace(n=n) for n in range(3)].index),
    "the buffer of a BytesIO": (lambda: io.BytesIO(b"\0"), lambda b: b.getbuffer()[0], lambda b, n: operator.setitem(b.getbuffer(), 0, n)),
    "a context": (in_context, lambda both: both[0].get(both[1], 0), lambda both, n: both[0].run(both[1].set, n)),
    "the class of an object": (
        lambda: classed(0),
        lambda o: type(o).number,
        lambda o, n: setattr(o, "__class__", of_class(n)),
    ),
    "the dictionary of an object": (lambda: Record(0), lambda o: o.n, lambda o, n: setattr(o, "__dict__", {"n": n})),
    "the fields of a dataclass, as text": assigned(Record, lambda o: int(repr(o)[len("Record(n=") : -1])),
    "an attribute, through a weak proxy": (
        through_a_proxy,
        lambda both: both[0].n,
        lambda both, n: setattr(both[1], "n", n),
    ),
    "an item, through a weak proxy": (items_through_a_proxy, lambda both: both[1][0], lambda both, n: operator.setitem(both[0], 0, n)),
    "the maps of a ChainMap": (
        lambda: collections.ChainMap({"n": 0}),
        lambda m: collections.ChainMap({}, *m.maps)["n"],
        lambda m, n: setattr(m, "maps", [{"n": n}]),
    ),
    "what a UserList keeps": (lambda: collections.UserList([0]), lambda o: o.copy()[0], lambda o, n: setattr(o, "data", [n])),
    "the default of a defaultdict": (
        lambda: collections.defaultdict(int),
        lambda d: d.copy()["x"],
        lambda d, n: setattr(d, "default_factory", lambda: n),
    ),
}


def both(work, guard):
    def counted():
        with guard:
            work()

    threads = [threading.Thread(target=counted) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Open:
    def __enter__(self):
        pass

    def __exit__(self, *error):
        pass


def explored(name, guard):
    make, read, write = PLACES[name]

    def program():
        owner = make()
        both(lambda: write(owner, read(owner) + 1), guard())
        assert read(owner) == 2

    return simharness.explore(program, settings=OWN)


@pytest.mark.parametrize("name", PLACES)
def test_a_lost_update_is_found_wherever_the_number_is_kept_or_the_verdict_names_it(name):
    result = explored(name, Open)
    assert result.verdict == "violated" or any("except for" in said for said in result.remarks)


@pytest.mark.parametrize("name", PLACES)
def test_under_a_lock_no_update_is_lost_wherever_the_number_is_kept(name):
    assert explored(name, threading.Lock).verdict == "verified"


def looked_at(look):
    """Return a program in which one actor lets an object die that another one looks for."""

    def program():
        record = Plain()
        reference, values, members, keys = (
            weakref.ref(record),
            weakref.WeakValueDictionary(),
            weakref.WeakSet(),
            weakref.WeakKeyDictionary(),
        )
        values["x"] = record
        members.add(record)
        keys[record] = 1
        holder = [record]
        del record
        drops = threading.Thread(target=holder.clear)
        looks = threading.Thread(target=lambda: look(reference, values, members, keys))
        drops.start()
        looks.start()
        drops.join()
        looks.join()

    return program


LOOKS = {
    "a reference": lambda reference, values, members, keys: reference(),
    "a dictionary of values": lambda reference, values, members, keys: "x" in values and values["x"],
    "a set": lambda reference, values, members, keys: len(members),
    "a dictionary of keys": lambda reference, values, members, keys: list(keys),
}


@pytest.mark.parametrize("name", LOOKS)
def test_what_a_weak_reference_shows_of_an_object_that_another_actor_lets_die_is_named(name):
    result = simharness.explore(looked_at(LOOKS[name]), settings=OWN)
    assert "except for the memory of weak references" in result.remarks


def test_weak_references_to_what_stays_or_is_ones_own_are_not_named():
    def program():
        record = Plain()
        reference = weakref.ref(record)

        def works():
            assert reference() is record
            own = Plain()
            inner, values = weakref.ref(own), weakref.WeakValueDictionary(x=own)
            assert inner() is values["x"]
            del own
            assert inner() is None
            assert "x" not in values

        both(works, Open())

    result = simharness.explore(program, settings=OWN)
    assert result.verdict == "verified"
    assert not any("except for" in said for said in result.remarks)


def test_an_attribute_of_the_world_is_shared_by_its_actors():
    @simharness.scenario(instrument=(__name__,))
    def scenario(world):
        world.n = 0

        def count():
            world.n = world.n + 1

        world.actor("a", count)
        world.actor("b", count)

        @world.at_end
        def both_counted():
            assert world.n == 2

    assert simharness.explore(scenario).verdict == "violated"


def test_a_property_of_an_object_that_is_not_instrumented_reads_what_its_methods_change():
    seen = set()

    def program():
        maps = collections.ChainMap({"a": 1}, {"b": 2})
        thread = threading.Thread(target=lambda: setattr(maps, "maps", [{}, {"c": 3}]))
        thread.start()
        seen.add(tuple(maps.parents))
        thread.join()

    assert simharness.explore(program, settings=OWN).verdict == "verified"
    assert seen == {("b",), ("c",)}


def test_functions_that_running_code_makes_after_its_module_was_instrumented_are_explored_too():
    source = """
import threading
import simharness

def explored_one_after_the_other():
    found = []
    for _ in range(3):

        def program():
            counts = [0]

            def count():
                counts[0] += 1

            threads = [threading.Thread(target=count) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert counts == [2]

        found.append(simharness.explore(program, settings=simharness.Settings(instrument=(__name__,))).verdict)
    return found
"""
    module = types.ModuleType("made_by_a_test_of_places")
    with tempfile.TemporaryDirectory() as folder:
        module.__file__ = os.path.join(folder, "made.py")
        with open(module.__file__, "w") as file:
            file.write(source)
        module.__spec__ = importlib.util.spec_from_file_location(module.__name__, module.__file__)
        sys.modules[module.__name__] = module
        try:
            exec(compile(source, module.__file__, "exec"), vars(module))
            assert module.explored_one_after_the_other() == ["violated"] * 3
        finally:
            del sys.modules[module.__name__]
