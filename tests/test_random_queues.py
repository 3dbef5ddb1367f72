"""Queues whose insides are used come to what real threads come to, and to the same with and without reduction."""

from __future__ import annotations

import random

import pytest

import simharness
from simharness.instrument import loader
from simharness.runtimes.control import installed
from tests import random_queues
from tests.opcode_oracle import Oracle

FILE = "random_queues_program.py"
LIMITS = simharness.Settings(max_executions=2_000, shrink=0, max_steps=400)


@pytest.fixture(scope="module")
def oracle():
    oracle = Oracle(FILE, (), ())
    oracle.kinds = random_queues.kinds_on(oracle, plain)
    with installed():
        yield oracle
    oracle.close()


def plain(text):
    return compile(text, FILE, "exec", dont_inherit=True)


def instrumented(text):
    return loader.compiled(text, FILE)


def explored(text, compiled=instrumented, strategy="dpor"):
    """The result of exploring a program; None where it is too large."""
    scenario = simharness.scenario(allow_deadlock=True, max_delay=5)(random_queues.program(text, compiled, random_queues.genuine_kinds()))
    result = simharness.explore(scenario, strategy=strategy, stop_on_first=False, settings=LIMITS)
    return None if "stopped at" in result.bounds else result


def outcomes(result):
    return result.outcomes | ({"deadlock"} if result.deadlocks else set())


def hold(seed, oracle, most):
    """Compare a program with real threads; False where either is too large."""
    text = random_queues.source(random.Random(seed))
    reached = oracle.outcomes(random_queues.program(text, plain, oracle.kinds), preemptions=1, most=most)
    result = explored(text)
    if reached is None or result is None:
        return False
    assert result.redundant == 0, f"seed {seed}\n{text}"
    missed = {outcome: schedule for outcome, schedule in reached.items() if outcome not in outcomes(result)}
    assert not missed, f"seed {seed}: real threads reach {missed}\n{text}"
    return True


def compare(seed):
    """Compare a program with brute force; False where that is too large."""
    three = seed % 3 == 0
    text = random_queues.source(random.Random(seed), statements=1 if three else 1 + seed % 2, timed=True, actors="abc" if three else "ab")
    compiled = plain if seed % 5 == 0 else instrumented
    everything = explored(text, compiled, "exhaustive")
    if everything is None:
        return False
    reduced = explored(text, compiled)
    assert reduced is not None, f"seed {seed}\n{text}"
    assert outcomes(reduced) == outcomes(everything), f"seed {seed}\n{text}"
    assert reduced.verdict == everything.verdict, f"seed {seed}\n{text}"
    assert reduced.redundant == 0, f"seed {seed}\n{text}"
    assert reduced.executions <= everything.executions, f"seed {seed}\n{text}"
    return True


@pytest.mark.parametrize("first", range(0, 60, 30))
def test_real_threads_reach_nothing_with_a_queue_that_exploring_misses(oracle, first):
    assert sum(hold(seed, oracle, most=1_500) for seed in range(first, first + 30)) > 25


@pytest.mark.long
@pytest.mark.parametrize("first", range(10_000, 13_000, 250))
def test_real_threads_reach_nothing_with_a_queue_on_many_programs_that_exploring_misses(oracle, first):
    assert sum(hold(seed, oracle, most=3_000) for seed in range(first, first + 250)) > 200


def test_exploring_a_queue_reaches_nothing_that_real_threads_do_not(oracle):
    for seed in range(20):
        text = random_queues.source(random.Random(seed), statements=1)
        reached = oracle.outcomes(random_queues.program(text, plain, oracle.kinds), most=8_000)
        assert outcomes(explored(text)) == set(reached), f"seed {seed}\n{text}"


def test_random_programs_with_a_queue_come_to_the_same_with_and_without_reduction():
    with installed():
        assert sum(compare(seed) for seed in range(40)) > 30


@pytest.mark.long
@pytest.mark.parametrize("first", range(20_000, 23_000, 250))
def test_many_random_programs_with_a_queue_come_to_the_same_with_and_without_reduction(first):
    with installed():
        assert sum(compare(seed) for seed in range(first, first + 250)) > 200
