"""Every outcome that real threads reach on random tiny programs is one that a verified exploration has, too."""

from __future__ import annotations

import random
import threading

import pytest

from simharness import Settings, explore
from simharness.instrument import loader
from simharness.runtimes.control import installed
from tests import random_objects
from tests.opcode_oracle import Oracle

FILE = "random_objects_program.py"
LIMITS = Settings(max_executions=3_000, shrink=0, max_steps=400)


@pytest.fixture(scope="module")
def oracle():
    oracle = Oracle(FILE, random_objects.VARIABLES, random_objects.ATTRIBUTES)
    with installed():
        yield oracle
    oracle.close()


def plain(text):
    return compile(text, FILE, "exec", dont_inherit=True)


def instrumented(text):
    return loader.compiled(text, FILE)


def missed(text, oracle, most):
    """The outcomes of real threads that exploring misses, each with a schedule; None where either is too large."""
    reached = oracle.outcomes(random_objects.program(text, plain, oracle.lock), most=most)
    if reached is None:
        return None
    explored = explore(random_objects.program(text, instrumented, threading.Lock), stop_on_first=False, settings=LIMITS)
    assert explored.redundant == 0, text
    if "stopped at" in explored.bounds:
        return None
    return {outcome: schedule for outcome, schedule in reached.items() if outcome not in explored.outcomes}


def compare(seed, oracle, statements, most):
    """Hold one random program against the oracle; return False where that is too large."""
    text = random_objects.source(random.Random(seed), statements=statements)
    difference = missed(text, oracle, most)
    assert not difference, f"seed {seed}: real threads reach {difference}\n{text}"
    return difference is not None


@pytest.mark.parametrize("first", range(0, 300, 50))
def test_real_threads_reach_nothing_that_exploring_misses(oracle, first):
    assert sum(compare(seed, oracle, statements=2, most=600) for seed in range(first, first + 50)) > 40


@pytest.mark.long
@pytest.mark.parametrize("first", range(10_000, 15_000, 100))
def test_real_threads_reach_nothing_on_many_programs_that_exploring_misses(oracle, first):
    assert sum(compare(seed, oracle, statements=2, most=1_500) for seed in range(first, first + 100)) > 70


def test_the_oracle_finds_what_the_interpreter_can_do_between_two_opcodes(oracle):
    program = """
def program(world):
    count, box = 0, Box()

    def bump(box=box):
        nonlocal count
        count += 1
        box.x += 1

    world.actor("a", bump)
    world.actor("b", bump)
    world.at_end(lambda: world.outcome(repr((count, box.x))))
"""
    reached = oracle.outcomes(random_objects.program(program, plain, oracle.lock))
    assert set(reached) == {"(1, 1)", "(1, 2)", "(2, 1)", "(2, 2)"}


def test_the_oracle_sees_deadlocks_and_locks(oracle):
    program = """
def program(world):
    one, two, box = new_lock(), new_lock(), Box()

    def work(first, second, box=box):
        with first:
            box.x += 1
            with second:
                pass

    world.actor("a", work, one, two)
    world.actor("b", work, SECOND)
    world.at_end(lambda: world.outcome(box.x))
"""
    opposite = random_objects.program(program.replace("SECOND", "two, one"), plain, oracle.lock)
    assert set(oracle.outcomes(opposite)) == {"deadlock", 2}
    alike = random_objects.program(program.replace("SECOND", "one, two"), plain, oracle.lock)
    assert set(oracle.outcomes(alike)) == {2}
