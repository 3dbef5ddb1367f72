"""The default strategy: what samples between the reduction's executions find, and that they change no verdict and no number."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import simharness
from benchmarks import sctbench
from simharness import Settings, Verdict, World
from simharness.authoring.scenario import Scenario
from simharness.search.auto import FIRST, SAMPLES
from tests.programs import ROWS, Row
from tests.random_drawing import program as drawn
from tests.random_programs import Machine, Program, runtimes_in_place
from tests.test_random_programs import KINDS

QUICK = Settings(shrink=0, confirm=False)


@pytest.fixture(scope="module", autouse=True)
def threads_are_simulated() -> Iterator[None]:
    with runtimes_in_place():
        yield


def runs(result: simharness.Result) -> int:
    return result.executions + result.redundant + result.blocked + result.sampled


def to_the_bug(program: Callable[[World], None], seeds: range, most: int = 300) -> list[int]:
    """Return after how many executions each seed finds the bug; those that need more than `most` are left out."""

    def scenario(world: World) -> None:
        program(world)

    found = []
    for seed in seeds:
        result = simharness.explore(scenario, settings=Settings(shrink=0, confirm=False, seed=seed, max_executions=most))
        if result.verdict is Verdict.VIOLATED and runs(result) <= most:
            found.append(runs(result))
    return found


@pytest.mark.parametrize("name", ["reorder_5", "reorder_10", "reorder_20", "wronglock_7", "twostage_20"])
def test_bugs_that_are_far_from_the_first_ordering_are_found_within_sixty_executions(name: str) -> None:
    found = to_the_bug(sctbench.PROGRAMS[name], range(4))
    assert len(found) == 4
    assert statistics.mean(found) <= 60
    assert min(found) > FIRST


@pytest.mark.long
@pytest.mark.parametrize("name", ["reorder_5", "reorder_10", "reorder_20", "wronglock_7", "twostage_20", "twostage_50"])
def test_twenty_seeds_find_the_bug_within_sixty_executions_on_average_or_within_three_hundred_where_it_is_rare(name: str) -> None:
    found = to_the_bug(sctbench.PROGRAMS[name], range(20))
    assert len(found) >= (18 if name.startswith("twostage") else 20)
    assert statistics.mean(found) <= (300 if name.startswith("twostage") else 60)


@pytest.mark.parametrize("name", ["twostage", "token_ring", "account", "stringbuffer", "lazy", "carter", "philosophers_5"])
def test_what_the_reduction_finds_within_its_first_executions_takes_no_sample(name: str) -> None:
    auto, dpor = (simharness.explore(Scenario(sctbench.PROGRAMS[name]), strategy, settings=QUICK) for strategy in ("auto", "dpor"))
    assert dpor.verdict is Verdict.VIOLATED
    assert dpor.executions <= FIRST
    assert (auto.executions, auto.sampled) == (dpor.executions, 0)
    assert auto.counterexample is not None
    assert dpor.counterexample is not None
    assert auto.counterexample.token == dpor.counterexample.token


def late(world: World) -> None:
    """It shows only where one actor begins after the other has ended, which passes time, as a contender does that is late throughout."""
    done = world.shared(0, "done")

    def holder() -> None:
        for number in range(24):
            time.sleep(0.1)
            world.step("work", writes=[f"row {number}"])
        done.set(1)

    def contender() -> None:
        assert not done.get()
        for number in range(24):
            world.step("look", writes=[f"row {number}"])

    world.actor("holder", holder)
    world.actor("contender", contender)


def test_a_failure_that_shows_only_where_one_actor_is_late_throughout_is_found_within_the_first_samples() -> None:
    found = to_the_bug(late, range(6), most=FIRST + SAMPLES)
    assert len(found) >= 5
    assert min(found) > FIRST


# What samples do not change


def most_samples(executions: int) -> int:
    return 256 if executions <= 1_000 else executions // 10


@pytest.mark.parametrize("row", [row for row in ROWS if FIRST < row.complete + row.deadlocked + row.blocked <= 1_500], ids=str)
def test_known_numbers_of_orderings_are_the_same_with_samples(row: Row) -> None:
    def program(world: World) -> None:
        row.scenario(world)

    auto, dpor = (
        simharness.explore(Scenario(program, allow_deadlock=True), strategy, stop_on_first=False, settings=QUICK)
        for strategy in ("auto", "dpor")
    )
    assert same(auto) == same(dpor)
    assert 0 < auto.sampled <= most_samples(runs(dpor))


def same(result: simharness.Result) -> tuple[object, ...]:
    """Return what must not depend on samples."""
    counts = result.executions, result.deadlocks, result.blocked, result.redundant
    return (result.verdict, *counts, result.outcomes, result.bounds, result.remarks, result.branching)


def both(program: Program) -> bool:
    """Compare the two strategies; return whether samples were drawn in a program that was explored to its end."""

    def scenario(world: World) -> None:
        machine = Machine(program, world)

        @world.at_end
        def said() -> None:
            world.outcome(repr([(event.actor, event.name, event.target, event.result) for event in sorted(machine.log, key=by_actor)]))

    def by_actor(event: Any) -> int:
        return int(event.actor)

    results = []
    for strategy in ("auto", "dpor"):
        asked = Scenario(scenario, allow_deadlock=True, max_delay=program.max_delay)
        try:
            results.append(
                simharness.explore(
                    asked, strategy, stop_on_first=False, settings=Settings(shrink=0, confirm=False, max_executions=400, max_steps=500)
                )
            )
        except simharness.Misuse:
            return False
    auto, dpor = results
    if dpor.verdict is Verdict.VERIFIED:
        assert same(auto) == same(dpor), program
        assert auto.sampled <= most_samples(runs(dpor))
    else:
        assert auto.verdict is dpor.verdict, program
    return dpor.verdict is Verdict.VERIFIED and auto.sampled > 0


def compare(kind: str, first: int, count: int) -> None:
    compared = 0
    for seed in range(first, first + 40 * count):
        compared += both(drawn(seed, **KINDS[kind]))
        if compared == count:
            return
    raise AssertionError(f"only {compared} programs of {kind} have enough orderings")


@pytest.mark.parametrize("kind", KINDS)
def test_random_programs_have_the_same_orderings_outcomes_and_verdict_with_samples(kind: str) -> None:
    compare(kind, 0, 1 if kind == "sql" else 3)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_many_random_programs_have_the_same_orderings_outcomes_and_verdict_with_samples(kind: str) -> None:
    compare(kind, 20_000, 40)


def counts_to(times: int) -> Callable[[World], None]:
    """A scenario with many orderings: two actors that add so many times, one step each."""

    def scenario(world: World) -> None:
        total = world.shared(0, "total")
        for name in "ab":
            world.actor(name, lambda: [total.add(1) for _ in range(times)])

    return scenario


def test_a_program_of_more_than_a_thousand_orderings_runs_at_most_a_tenth_more() -> None:
    result = simharness.explore(counts_to(7), settings=QUICK)
    assert (result.verdict, result.executions) == (Verdict.VERIFIED, 3_432)
    assert SAMPLES < result.sampled <= 343


def test_a_sample_never_makes_a_verdict_verified() -> None:
    for most in (FIRST, FIRST + 1, 30, 60, 251):
        result = simharness.explore(counts_to(5), settings=Settings(confirm=False, max_executions=most))
        assert (result.verdict, result.executions) == (Verdict.INCONCLUSIVE, most)
    assert simharness.explore(counts_to(5), settings=Settings(confirm=False, max_executions=252)).verdict is Verdict.VERIFIED


def test_a_limit_on_executions_limits_the_search_and_the_bounds_say_how_many_samples_ran_beside_it() -> None:
    result = simharness.explore(counts_to(7), settings=Settings(confirm=False, max_executions=40))
    assert result.bounds.startswith(f"40 executions and {result.sampled} samples; stopped at max_executions=40")
    assert result.sampled == 40 - FIRST


def test_a_seed_repeats_a_run_and_another_one_draws_other_samples() -> None:
    def scenario(world: World) -> None:
        sctbench.PROGRAMS["reorder_10"](world)

    first, again, *others = (simharness.explore(scenario, settings=Settings(confirm=False, seed=seed)) for seed in (1, 1, 2, 3, 4))
    assert first.counterexample is not None
    assert again.counterexample is not None
    assert (runs(first), first.counterexample.token) == (runs(again), again.counterexample.token)
    assert {runs(other) for other in others} != {runs(first)}


def test_what_a_sample_finds_is_shortened_explained_and_replays() -> None:
    def scenario(world: World) -> None:
        sctbench.PROGRAMS["reorder_10"](world)

    result = simharness.explore(scenario)
    found = result.counterexample
    assert found is not None
    assert result.sampled > 0
    assert f"after {result.executions} executions and {result.sampled} samples" in result.bounds
    assert "no failing schedule has fewer" in found.shortness
    assert found.blame
    assert simharness.replay(scenario, found.token).failure == found.failure
    assert len(found.steps) <= 3 * 10


def test_what_a_sample_teaches_makes_exploring_start_over() -> None:
    executions: list[bool] = []

    def scenario(world: World) -> None:
        a, b, other = (world.shared(0, name) for name in ("a", "b", "other"))
        rare: list[bool] = []
        executions.append(False)

        def sets() -> None:
            a.set(1)
            b.set(-1)

        def looks() -> None:
            if (a.get(), b.get()) == (1, 0):
                rare.append(True)

        for number in range(4):
            world.actor(f"setter {number}", sets)
        world.actor("looks", looks)
        world.actor("adds", other.add, 1)

        @world.always
        def reads_more_after_what_is_rare() -> None:
            if rare:
                executions[-1] = True
                assert other.get() >= 0

    result = simharness.explore(scenario, settings=Settings(shrink=0, confirm=False, max_executions=50))
    teaches = executions.index(True) + 1
    assert teaches > FIRST
    assert result.executions == 50
    assert len(executions) >= teaches + result.executions + result.sampled


def test_a_sample_that_becomes_much_longer_than_the_executions_of_the_search_is_given_up() -> None:
    turns: list[int] = []

    def scenario(world: World) -> None:
        last = world.shared("", "last")
        turns.append(0)

        def until_undisturbed(name: str) -> None:
            while last.swap(name) != name:
                turns[-1] += 1

        for number in range(40):
            world.actor(f"a{number}", until_undisturbed, f"a{number}")

    result = simharness.explore(scenario, settings=Settings(max_executions=FIRST + 12, confirm=False))
    assert (result.executions, result.sampled) == (FIRST + 12, 12)
    assert max(turns[: FIRST + 1]) < 60
    assert 300 < max(turns) < 600


def test_samples_run_real_threads_and_locks() -> None:
    def scenario() -> None:
        one, two = threading.Lock(), threading.Lock()
        first, second = [0], [0]

        def writes() -> None:
            with one:
                first[0] = 1
            with two:
                second[0] = first[0] + 1

        def reads() -> None:
            with one:
                seen = first[0]
            if seen:
                with two:
                    assert second[0] == seen + 1

        threads = [threading.Thread(target=writes) for _ in range(9)] + [threading.Thread(target=reads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    for seed in range(3):
        result = simharness.explore(scenario, settings=Settings(shrink=0, confirm=False, seed=seed, max_executions=100))
        assert result.verdict is Verdict.VIOLATED, seed
