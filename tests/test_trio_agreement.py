"""Random Trio programs: reduction comes to what brute force comes to, and batches come to what the genuine Trio comes to."""

import dataclasses

import pytest
import trio_programs

import simharness
from simharness.runtimes import control

LIMITS = simharness.Settings(max_executions=150, shrink=0, max_steps=400)
KINDS = {
    "plain": trio_programs.PLAIN,
    "timed": trio_programs.PLAIN[:8] + trio_programs.TIMED,
    "threaded": trio_programs.PLAIN[:6] + trio_programs.THREADED,
}


def compare(kind, seed, order, limit=150):
    """Explore both ways and compare; False when brute force would take too long."""
    program = simharness.scenario(allow_deadlock=True)(trio_programs.scenario(trio_programs.program(seed, KINDS[kind])))
    limits = dataclasses.replace(LIMITS, trio_order=order, max_executions=limit)
    everything = simharness.explore(program, strategy="exhaustive", stop_on_first=False, settings=limits)
    if "stopped at" in everything.bounds:
        return False
    reduced = simharness.explore(program, "dpor", stop_on_first=False, settings=limits)
    where = f"{kind} {seed} {order}"
    assert reduced.outcomes == everything.outcomes, where
    assert (reduced.deadlocks > 0) == (everything.deadlocks > 0), where
    assert reduced.verdict == everything.verdict, where
    assert reduced.executions <= everything.executions, where
    assert reduced.redundant == 0, where
    if kind == "plain":
        assert reduced.executions == everything.executions, where
    return True


@pytest.mark.parametrize(("kind", "seeds"), [("plain", 8), ("timed", 4), ("threaded", 6)])
@pytest.mark.parametrize("order", ["any", "batches"])
def test_random_programs_come_to_the_same_with_and_without_reduction(kind, seeds, order):
    with control.installed():
        assert sum(compare(kind, seed, order) for seed in range(seeds)) > seeds // 4


@pytest.mark.long
@pytest.mark.parametrize("first", range(1_000, 1_050, 50))
@pytest.mark.parametrize("order", ["any", "batches"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_many_random_programs_come_to_the_same_with_and_without_reduction(kind, order, first):
    with control.installed():
        assert sum(compare(kind, seed, order, 1_500) for seed in range(first, first + 50)) > 10


def agree_with_genuine(seeds):
    """Compare what batches and the genuine Trio come to; return for how many programs that could be done."""
    compared = 0
    for seed in seeds:
        program = trio_programs.program(seed, trio_programs.PLAIN)
        genuine = trio_programs.genuine_outcomes(program, 200)
        if genuine is None:
            continue
        scenario = simharness.scenario(allow_deadlock=True)(trio_programs.scenario(program))
        batches, freely = (
            simharness.explore(scenario, stop_on_first=False, settings=dataclasses.replace(LIMITS, trio_order=order))
            for order in ("batches", "any")
        )
        assert batches.outcomes == genuine, seed
        assert freely.outcomes >= genuine or "stopped at" in freely.bounds, seed
        compared += 1
    return compared


def test_batches_come_to_exactly_what_the_genuine_trio_comes_to():
    with control.installed():
        assert agree_with_genuine(range(12)) > 6


@pytest.mark.long
def test_batches_of_many_programs_come_to_exactly_what_the_genuine_trio_comes_to():
    with control.installed():
        assert agree_with_genuine(range(1_000, 1_200)) > 150
