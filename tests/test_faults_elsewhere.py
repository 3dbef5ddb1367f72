"""Faults beside the rest: bounds, samplers, Hypothesis, short counterexamples, their causes, fresh processes."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

import simharness
from simharness import Settings, Verdict
from simharness.authoring.loading import load
from simharness.engine.actors import SHIFT
from simharness.engine.facts import until_settled
from simharness.runtimes import control
from simharness.search.exhaustive import Exhaustive
from simharness.simulation.simulation import Simulation
from simharness.verdicts.results import FRESH
from tests.test_random_faults import MODELS, both, scenario

BOUNDS = [{"preemptions": 1}, {"delays": 1}]


def within(seed, faults, bound, most):
    """Compare a bounded search with every interleaving within the bound; False where there are more than `most`."""
    limits = Settings(max_executions=most, shrink=0, max_steps=400, confirm=False, **bound)
    return both(scenario(seed, MODELS[faults]), faults, limits, f"seed {seed}, {faults}, {bound}") is not None


@pytest.mark.parametrize("faults", MODELS)
def test_a_bounded_search_under_faults_comes_to_what_every_interleaving_within_the_bound_comes_to(faults):
    with control.installed():
        for bound in BOUNDS:
            assert sum(within(seed, faults, bound, 150) for seed in range(1, 6)) >= 1


@pytest.mark.long
@pytest.mark.parametrize("faults", MODELS)
def test_bounded_searches_of_many_programs_under_faults_come_to_what_every_interleaving_within_the_bound_comes_to(faults):
    with control.installed():
        for bound in [*BOUNDS, {"delays": 2}]:
            assert sum(within(seed, faults, bound, 1_000) for seed in range(2_000, 2_012)) > 2


@pytest.mark.parametrize("faults", MODELS)
@pytest.mark.long
def test_samplers_draw_faults_and_come_to_nothing_that_no_interleaving_comes_to(faults):
    limits = Settings(max_executions=40, shrink=0, max_steps=400, confirm=False)
    with control.installed():
        for seed in range(1, 3):
            program = scenario(seed, MODELS[faults])
            everything = simharness.explore(program, faults=faults, stop_on_first=False, settings=Settings(shrink=0, confirm=False))
            for strategy in ("random", "pct", "pos", "hypothesis"):
                found = simharness.explore(program, strategy, faults=faults, stop_on_first=False, settings=limits)
                assert found.verdict is Verdict.INCONCLUSIVE
                assert found.outcomes <= everything.outcomes, f"seed {seed}, {strategy}"


# Counterexamples


def every_end(program, faults, most):
    """Return for each outcome how many executions come to it, and the fewest switches between actors; None if there are too many."""
    with Simulation(program, {"faults": faults}, Settings()) as simulation:
        kernel = simulation.kernel

        def whole_round(mark):
            count, fewest, search = Counter(), {}, Exhaustive(kernel)
            while (plan := search.begin()) is not None and sum(count.values()) < most and mark.holds:
                execution = simulation.execute(plan, search.choose, search.expected())
                movers = [key >> SHIFT for key in kernel.record.keys if key >> SHIFT in kernel.cast.actors]
                switches = sum(1 for before, after in pairwise(movers) if before != after)
                for outcome in execution.outcomes if execution.status == "complete" else ():
                    count[outcome] += 1
                    fewest[outcome] = min(switches, fewest.get(outcome, switches))
                search.end()
            return (count, fewest) if plan is None else None

        return until_settled(kernel.learned, whole_round)


def shortest(seed, faults, most):
    """Compare the counterexample for the rarest outcome with every interleaving; False where it says nothing."""
    found = every_end(scenario(seed, MODELS[faults]), faults, most)
    if found is None or len(found[0]) < 2:
        return False
    count, fewest = found
    bad = min(count, key=lambda outcome: (count[outcome], outcome))
    target = scenario(seed, MODELS[faults], bad=bad)
    counterexample = simharness.explore(target, faults=faults, settings=Settings(confirm=False)).counterexample
    assert counterexample is not None, f"seed {seed}, {faults}"
    if "the fewest among" not in counterexample.shortness:
        assert counterexample.trace.switches == fewest[bad], f"seed {seed}, {faults}: {counterexample.shortness}"
    assert counterexample.trace.switches >= fewest[bad], f"seed {seed}, {faults}"
    assert simharness.replay(target, counterexample.token).trace_hash == counterexample.trace_hash
    for token in [blame.token for blame in counterexample.blame] + ([counterexample.passing.token] if counterexample.passing else []):
        assert simharness.replay(target, token).failure is None, f"seed {seed}, {faults}"
    return True


@pytest.mark.parametrize("faults", MODELS)
@pytest.mark.long
def test_counterexamples_under_faults_are_as_short_as_they_say_and_their_causes_pass(faults):
    with control.installed():
        assert sum(shortest(seed, faults, 200) for seed in range(1, 6)) >= 1


@pytest.mark.parametrize(("seed", "faults"), [(3026, "stall=1"), (3024, "suspend=1")])
def test_the_first_actor_to_move_costs_no_switch_where_the_clock_or_a_stall_moves_before_it(seed, faults):
    with control.installed():
        assert shortest(seed, faults, 1_000)


@pytest.mark.long
@pytest.mark.parametrize("faults", MODELS)
def test_counterexamples_of_many_programs_under_faults_are_as_short_as_they_say(faults):
    with control.installed():
        assert sum(shortest(seed, faults, 1_000) for seed in range(3_000, 3_020)) > 4


def test_a_counterexample_has_no_fault_that_the_failure_does_not_need():
    def unaware(world):
        failed = world.shared(0, "failed")

        def work():
            try:
                fetch(world)
            except OSError:
                failed.add(1)

        for name in "ab":
            world.actor(name, work)
        world.at_end(lambda: fail_unless(not failed.get()))

    for seed in range(5):
        found = simharness.explore(unaware, "random", faults="error=2@fetch:OSError", settings=Settings(seed=seed)).counterexample
        assert found.timeline.count("raises OSError") == 1


def fail_unless(holds):
    """Fail unless it holds."""
    assert holds


def test_the_cause_of_a_failure_may_be_a_fault():
    def unaware(world):
        cell = world.shared(0, "cell")
        world.actor("a", lambda: cell.set(fetch(world)))
        world.actor("b", cell.get)

    found = simharness.explore(unaware, faults="error=1@fetch:OSError").counterexample
    assert "with no fault instead, the execution passes" in found.timeline
    assert simharness.replay(unaware, found.blame[0].token).failure is None


def test_the_cause_of_a_failure_may_be_a_crash():
    def half_done(world):
        one, two = world.shared(0, "one"), world.shared(0, "two")
        world.actor("worker", lambda: (one.set(1), two.set(1)), process="P")

        @world.at_end
        def both_or_none():
            assert one.get() == two.get()

    found = simharness.explore(half_done, faults="crash=1").counterexample
    assert "P crashes: with no fault instead, the execution passes" in found.timeline
    assert simharness.replay(half_done, found.blame[0].token).failure is None


def fetch(world):
    """Give a number."""
    world.step("fetch")
    return 1


SCENARIO = """
import simharness

@simharness.scenario(size=[1, 2])
def half_done(world, size):
    one, two = world.shared(0, "one"), world.shared(0, "two")
    world.actor("worker", lambda: (one.set(size), two.set(size)))

    @world.at_end
    def both_or_none():
        assert one.get() == two.get()
"""


@pytest.mark.parametrize("faults", ["crash=1", simharness.Faults(crash=1)])
@pytest.mark.confirms
def test_a_counterexample_with_faults_is_confirmed_in_a_fresh_process(tmp_path, faults):
    (tmp_path / "scenarios.py").write_text(SCENARIO, encoding="utf-8")
    [half_done] = load(f"{tmp_path / 'scenarios.py'}::half_done")
    for result in simharness.explore_all(half_done, faults=faults):
        assert result.verdict is Verdict.VIOLATED
        assert result.counterexample.confirmed == FRESH
        assert "at most 1 crash of a process" in result.bounds


SHARED = """
import threading

def program(world):
    lock, counts = threading.Lock(), {"n": 0}

    def bump():
        counts["n"] += 1
        with lock:
            counts["n"] += 1

    for name in "abc":
        world.actor(name, bump, process=name)
"""


def test_a_lock_that_processes_share_is_refused_also_when_what_is_a_scheduling_point_has_just_been_learned(tmp_path):
    (tmp_path / "sharing.py").write_text(SHARED, encoding="utf-8")
    [program] = load(f"{tmp_path / 'sharing.py'}::program")
    with pytest.raises(simharness.Misuse, match="processes share no memory"):
        simharness.explore(program)
