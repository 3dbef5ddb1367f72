"""What functions of the standard library keep for the whole process, and what code in C does to the objects that it receives."""

from __future__ import annotations

import abc
import copyreg
import csv
import functools
import gc
import io
import locale
import logging
import mmap
import random
import socket
import struct
import sys
import threading
import tracemalloc
import warnings
from itertools import permutations
from xml.etree import ElementTree as Tree

import pytest

import simharness
from simharness import Verdict


def both(work):
    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def explored(program, locked=False):
    """Explore two actors that do the same, each under a lock or not."""

    @simharness.scenario(instrument=(__name__,))
    def scenario(world):
        lock = threading.Lock()
        work, holds = program()

        def guarded(number):
            with lock:
                work(number)

        def main():
            both(guarded if locked else work)
            assert holds()

        world.actor("main", main)

    return simharness.explore(scenario)


def set_and_get(setter, getter, values):
    """Return a program in which each actor sets a value and expects to find it."""

    def program():
        found = []

        def work(number):
            setter(values[number])
            found.append(getter() == values[number])

        return work, lambda: all(found)

    return program


def raises(number):
    with warnings.catch_warnings():
        warnings.simplefilter("error" if number else "ignore")
        try:
            warnings.warn("x", stacklevel=1)
        except UserWarning:
            return number == 1
        return number == 0


def filters():
    found = []
    return lambda number: found.append(raises(number)), lambda: all(found)


def dialects():
    found = []

    def work(number):
        if "shop" not in csv.list_dialects():
            csv.register_dialect("shop", delimiter=";")
            found.append(number)

    return work, lambda: len(found) == 1


def enabled():
    log, found = logging.getLogger("levels"), []

    def work(number):
        log.setLevel((logging.DEBUG, logging.ERROR)[number])
        found.append(log.isEnabledFor(logging.INFO) == (number == 0))

    return work, lambda: all(found)


LEVELS = logging.getLogger("levels")
PROGRAMS = {
    "filters": filters,
    "dialects": dialects,
    "enabled": enabled,
    "recursion": set_and_get(sys.setrecursionlimit, sys.getrecursionlimit, (2_000, 2_001)),
    "switching": set_and_get(sys.setswitchinterval, sys.getswitchinterval, (0.125, 0.25)),
    "collecting": set_and_get(lambda on: (gc.enable if on else gc.disable)(), gc.isenabled, (False, True)),
    "thresholds": set_and_get(gc.set_threshold, lambda: gc.get_threshold()[0], (600, 601)),
    "time-out": set_and_get(socket.setdefaulttimeout, socket.getdefaulttimeout, (1.0, 2.0)),
    "locale": set_and_get(
        lambda name: locale.setlocale(locale.LC_CTYPE, name), lambda: locale.setlocale(locale.LC_CTYPE), ("C", "C.UTF-8")
    ),
    "tracing": set_and_get(lambda on: (tracemalloc.start if on else tracemalloc.stop)(), tracemalloc.is_tracing, (False, True)),
    "disabling": set_and_get(logging.disable, lambda: logging.root.manager.disable, (0, 50)),
    "level": set_and_get(LEVELS.setLevel, lambda: LEVELS.level, (10, 20)),
    "effective": set_and_get(LEVELS.setLevel, LEVELS.getEffectiveLevel, (10, 20)),
}


def settings():
    return {
        "recursion": sys.getrecursionlimit(),
        "collecting": gc.isenabled(),
        "time-out": socket.getdefaulttimeout(),
        "dialects": csv.list_dialects(),
        "filters": list(warnings.filters),
        "disabled": logging.root.manager.disable,
        "locale": locale.setlocale(locale.LC_ALL),
    }


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("locked", [False, True])
def test_two_actors_that_change_a_setting_of_the_process_are_explored_in_every_order(name, locked):
    before = settings()

    result = explored(PROGRAMS[name], locked)
    assert result.verdict is (Verdict.VERIFIED if locked else Verdict.VIOLATED), result.error
    tracemalloc.stop()
    assert settings() == before


def packed():
    buffer = bytearray(4)

    def work(number):
        (value,) = struct.unpack_from("i", buffer)
        struct.pack_into("i", buffer, 0, value + 1)

    return work, lambda: struct.unpack("i", buffer) == (2,)


def packed_by_object():
    buffer, form = bytearray(4), struct.Struct("i")

    def work(number):
        (value,) = form.unpack_from(buffer)
        form.pack_into(buffer, 0, value + 1)

    return work, lambda: struct.unpack("i", buffer) == (2,)


def filled():
    buffer = bytearray(1)

    def work(number):
        value = buffer[0]
        io.BytesIO(bytes([value + 1])).readinto(buffer)

    return work, lambda: buffer[0] == 2


def mapped():
    memory = mmap.mmap(-1, 1)

    def work(number):
        memory[0] = memory[0] + 1

    return work, lambda: memory[0] == 2


def grown():
    root = Tree.Element("root")

    def work(number):
        if root.find("child") is None:
            Tree.SubElement(root, "child")

    return work, lambda: len(root) == 1


def counted():
    def numbers():
        number = 0
        while True:
            number += 1
            yield number

    source, found = numbers(), []
    return lambda number: found.append(next(source)), lambda: sorted(found) == [1, 2]


@pytest.mark.parametrize("program", [packed, packed_by_object, filled, mapped, grown, counted], ids=lambda program: program.__name__)
@pytest.mark.parametrize("locked", [False, True])
def test_what_code_in_c_changes_of_what_it_receives_is_explored(program, locked):
    result = explored(program, locked)
    assert result.verdict is (Verdict.VERIFIED if locked else Verdict.VIOLATED), result.error


class Plain:
    pass


def run_code():
    names = {"n": 0}
    return (lambda number: exec("n = n + 1", names)), "code that eval or exec runs"


def dispatched():
    @functools.singledispatch
    def shown(value):
        return "base"

    return (lambda number: shown.register(int, lambda value: "int")), "functools.register"


def registered():
    class Shape(abc.ABC):  # noqa: B024  # nothing but a registry
        pass

    return (lambda number: Shape.register(Plain)), "abc.register"


def copied():
    return (lambda number: copyreg.pickle(Plain, lambda plain: (Plain, ()))), "copyreg.pickle"


def seeded():
    return (lambda number: (random.seed(number), random.random())), "the generator of random"


@pytest.mark.parametrize("program", [run_code, dispatched, registered, copied, seeded], ids=lambda program: program.__name__)
def test_what_is_not_explored_is_named(program):
    work, named = program()
    result = explored(lambda: (work, lambda: True))
    copyreg.dispatch_table.pop(Plain, None)
    assert result.verdict is Verdict.VERIFIED, result.error
    assert named in " ".join(result.remarks)


def test_settings_that_nobody_sets_cost_no_ordering():
    def work(number):
        sys.getrecursionlimit()
        logging.getLogger("levels").debug("x")
        random.random()

    result = explored(lambda: (work, lambda: True))
    assert (result.verdict, result.executions) == (Verdict.VERIFIED, 1)


@pytest.mark.parametrize("seed", range(6))
def test_random_programs_of_settings_come_to_what_all_their_orders_come_to(seed):
    draw = random.Random(seed)
    sizes = [draw.choice((1, 2)) for _ in range(draw.choice((2, 3)))]
    programs = [[draw.choice((None, 2_000 + 10 * actor + step)) for step in range(size)] for actor, size in enumerate(sizes)]
    limit = sys.getrecursionlimit()

    @simharness.scenario(instrument=(__name__,))
    def scenario(world):
        def work(mine, actor, found):
            for value in mine:
                if value is None:
                    found.append(f"{actor}: {sys.getrecursionlimit()}")
                else:
                    sys.setrecursionlimit(value)

        def main():
            found = [[] for _ in programs]
            threads = [threading.Thread(target=work, args=(mine, actor, found[actor])) for actor, mine in enumerate(programs)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            world.outcome(repr((found, sys.getrecursionlimit())))

        world.actor("main", main)

    wanted = set()
    for order in set(permutations([actor for actor, mine in enumerate(programs) for _ in mine])):
        now, found, left = limit, [[] for _ in programs], [list(mine) for mine in programs]
        for actor in order:
            value = left[actor].pop(0)
            if value is None:
                found[actor].append(f"{actor}: {now}")
            else:
                now = value
        wanted.add(repr((found, now)))
    result = simharness.explore(scenario, stop_on_first=False)
    assert result.verdict is Verdict.VERIFIED, result.error
    assert set(result.outcomes) == wanted
