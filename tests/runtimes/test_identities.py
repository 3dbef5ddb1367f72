"""`id` is the same in each execution, equal for the same object only, and what ran before finds what it has remembered."""

from __future__ import annotations

import copy
import gc
import random
import threading
import unittest.mock

import pytest

import simharness
from simharness import Verdict


class Thing:
    """An object with attributes."""


MADE_BEFORE = Thing()
KNOWN = {id(MADE_BEFORE): MADE_BEFORE, id(Thing): Thing}


def test_an_id_that_is_shown_is_the_same_in_each_execution_and_each_process():
    def scenario(world):
        shared = Thing()

        def work(name):
            mine, some = Thing(), [[] for _ in range(random.randrange(5))]
            world.step("first", writes=["x"])
            world.step(f"{id(mine):x} {id(some):x}", writes=["x"])
            world.outcome((name, id(mine), id(some)))

        world.outcome(id(shared))
        for name in "ab":
            world.actor(name, work, name)
        world.at_end(lambda: None)

    first = simharness.explore(scenario)
    noise = [Thing() for _ in range(1000)]
    again = simharness.explore(scenario)
    assert noise
    assert first.verdict is again.verdict is Verdict.VERIFIED
    assert first.outcomes == again.outcomes
    assert len(first.outcomes) == 3


def test_what_was_made_before_keeps_its_address():
    def scenario(world):
        def work():
            world.step("work")
            assert KNOWN[id(MADE_BEFORE)] is MADE_BEFORE
            assert KNOWN[id(Thing)] is Thing
            assert id(Thing()) not in KNOWN

        world.actor("a", work)
        world.actor("b", work)
        world.at_end(lambda: None)

    assert simharness.explore(scenario).verdict is Verdict.VERIFIED
    assert KNOWN[id(MADE_BEFORE)] is MADE_BEFORE


def test_ids_of_living_objects_differ_and_the_id_of_an_object_stays():
    def scenario(world):
        def work():
            world.step("work")
            draw = random.Random(3)
            living, ids = [], {}
            for number in range(300):
                if living and draw.random() < 0.4:
                    ids.pop(id(living[-1]))
                    living.pop()
                else:
                    living.append(draw.choice([Thing, list, dict, set])())
                    assert id(living[-1]) not in ids
                    ids[id(living[-1])] = number
                assert [id(one) in ids for one in living] == [True] * len(living)
            assert len({id(one) for one in living}) == len(living)

        world.actor("a", work)
        world.actor("b", work)
        world.at_end(lambda: None)

    assert simharness.explore(scenario).verdict is Verdict.VERIFIED


class Node:
    """Copies itself with a memo of its own making."""

    def __init__(self):
        self.loop = self

    def __deepcopy__(self, memo):
        made = memo[id(self)] = Node.__new__(Node)
        made.loop = copy.deepcopy(self.loop, memo)
        return made


def test_the_standard_library_and_the_user_mean_the_same_object_by_an_id():
    def scenario(world):
        def work():
            world.step("work")
            nodes = [Node() for _ in range(3)]
            nodes[0].loop = nodes
            copied = copy.deepcopy(nodes)
            assert copied[0].loop is copied
            assert copied[1].loop is copied[1]
            world.outcome(repr(unittest.mock.Mock(name="m")))

        world.actor("a", work)
        world.actor("b", work)
        world.at_end(lambda: None)

    result = simharness.explore(scenario)
    assert result.verdict is Verdict.VERIFIED
    assert len(result.outcomes) == 2


def test_locks_taken_in_the_order_of_their_ids_never_deadlock_and_in_any_other_order_they_do():
    def scenario(ordered):
        def program():
            locks = [threading.Lock(), threading.Lock()]
            things = [Thing(), Thing()]
            for thing, lock in zip(things, locks, strict=True):
                thing.lock = lock

            def work(pair):
                first, second = sorted(pair, key=id) if ordered else pair
                with first.lock, second.lock:
                    pass

            threads = [threading.Thread(target=work, args=(pair,)) for pair in (things, things[::-1])]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        return program

    assert simharness.explore(scenario(True)).verdict is Verdict.VERIFIED
    assert simharness.explore(scenario(False)).verdict is Verdict.VIOLATED


@pytest.mark.confirms
def test_a_counterexample_with_ids_is_replayed_from_its_token():
    def scenario(world):
        cell = world.shared("")

        def work():
            cell.set(cell.get() + f"{id(Thing()):x}"[-1])

        for name in "ab":
            world.actor(name, work)

        @world.at_end
        def both():
            assert len(cell.get()) == 2

    result = simharness.explore(scenario)
    token = result.counterexample.token
    assert "facts1=ids" in token
    gc.collect()
    assert simharness.replay(scenario, token).failure == result.counterexample.failure
