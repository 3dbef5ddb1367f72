"""Counterexamples are short, and what is said about how short they are is true: held against every interleaving of random programs."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

import simharness
from simharness import Settings
from simharness.authoring.scenario import as_scenario
from simharness.search.exhaustive import Exhaustive
from simharness.simulation.simulation import Simulation
from tests.random_drawing import LOCKS, each
from tests.random_programs import CLOCKED, Machine, Program, TooMany, runtimes_in_place

TIMED = sorted(CLOCKED - {"timed_join"})
PLAIN: dict[str, Any] = {"extra": (*LOCKS, "choose", "step", "wait_until")}
CLOCKS: dict[str, Any] = {"extra": (*LOCKS, "wait_until", *TIMED)}
SLEEP: dict[str, Any] = {"extra": (*LOCKS, "choose", "step", "wait_until", "sleep")}
THREADS: dict[str, Any] = {"extra": (*LOCKS, "choose", "step", "wait_until", *TIMED), "threads": True}
DAEMONS: dict[str, Any] = {"extra": (*LOCKS, "choose", "assume", "step"), "threads": True, "daemons": True}


@pytest.fixture(scope="module", autouse=True)
def threads_are_simulated() -> Iterator[None]:
    with runtimes_in_place():
        yield


def switches(keys, clock_key):
    movers = [key >> 16 for key in keys if key != clock_key]
    return sum(1 for before, after in pairwise(movers) if before != after)


def every_end(target, most):
    """Run every interleaving; return, for each way of ending, the fewest context switches that lead to it and how many do.

    Raises:
        TooMany: there are more than `most`.
    """
    fewest, count = {}, Counter()
    with Simulation(as_scenario(target), {}, Settings()) as simulation:
        search = Exhaustive(simulation.kernel)
        while (plan := search.begin()) is not None:
            execution = simulation.execute(plan, search.choose)
            search.end()
            if sum(count.values()) > most:
                raise TooMany
            end = execution.status, *execution.outcomes
            taken = switches(execution.keys, simulation.kernel.movers.clock_key)
            fewest[end] = min(fewest.get(end, taken), taken)
            count[end] += 1
    return fewest, count


def ends_in(program, bad, deadlock):
    """A scenario of the program that fails when it ends with these values in its cells, or stuck."""

    @simharness.scenario(allow_deadlock=not deadlock)
    def ends(world):
        machine = Machine(program, world)

        @world.at_end
        def another_end():
            values = tuple(cell.get() for cell in machine.cells)
            world.outcome(values)
            assert values != bad

    return ends


def shortest(program: Program, most: int) -> bool:
    """Compare the counterexample for the rarest end with every interleaving. Return whether there were two ends and not too many runs."""
    try:
        fewest, count = every_end(ends_in(program, None, False), most)
    except TooMany:
        return False
    end = min(count, key=lambda end: (count[end], str(end)))
    if len(count) == 1 or end[0] not in ("complete", "deadlock"):
        return False
    deadlock = end[0] == "deadlock"
    target = ends_in(program, None if deadlock else end[1], deadlock)
    found = simharness.explore(target).counterexample
    assert found is not None, program
    least = fewest[end]
    assert found.trace.switches >= least, program
    if "the fewest among" not in found.shortness:
        assert found.trace.switches == least, (found.shortness, program)
    else:
        _, _, claimed = found.shortness.partition("none with fewer than ")
        assert not claimed or int(claimed.split()[0]) <= least, program
    for token in [blame.token for blame in found.blame] + ([found.passing.token] if found.passing else []):
        assert simharness.replay(target, token).failure is None, program
    return True


def passes_through(program, bad):
    """A scenario of the program that fails as soon as its cells have these values."""

    def through(world):
        machine = Machine(program, world)

        @world.always
        def another_state():
            assert tuple(cell.get() for cell in machine.cells) != bad

    return simharness.scenario(allow_deadlock=True)(through)


def shortest_to_a_state(program: Program, most: int) -> bool:
    """Compare the counterexample for the rarest state with every interleaving. Return whether there were not too many runs."""
    states = Counter()

    def watched(world):
        machine = Machine(program, world)

        @world.always
        def look():
            states[tuple(cell.get() for cell in machine.cells)] += 1

    try:
        every_end(simharness.scenario(allow_deadlock=True)(watched), most)
    except TooMany:
        return False
    bad = min(states, key=lambda state: (states[state], state))
    target, fewest = passes_through(program, bad), []
    with Simulation(as_scenario(target), {}, Settings()) as simulation:
        search = Exhaustive(simulation.kernel)
        while (plan := search.begin()) is not None:
            execution = simulation.execute(plan, search.choose)
            search.end()
            if execution.failure is not None:
                fewest.append(switches(execution.keys[: execution.failure.step + 1], simulation.kernel.movers.clock_key))
    found = simharness.explore(target).counterexample
    assert found is not None, program
    assert found.trace.switches >= min(fewest), program
    assert "the fewest among" in found.shortness or found.trace.switches == min(fewest), (found.shortness, program)
    for token in [blame.token for blame in found.blame] + ([found.passing.token] if found.passing else []):
        assert simharness.replay(target, token).failure is None, program
    return True


def check(compare: Callable[[Program, int], bool], first: int, count: int, most: int, kind: dict[str, Any]) -> None:
    """Compare so many programs of a kind, each of at most so many interleavings, from a seed on."""
    each(lambda program: compare(program, most), first, count, kind)


def test_no_interleaving_of_a_random_program_fails_with_fewer_switches_where_that_is_said() -> None:
    check(shortest, 0, 25, 300, PLAIN)


@pytest.mark.long
def test_no_interleaving_of_a_random_program_with_a_clock_fails_with_fewer_switches_where_that_is_said() -> None:
    check(shortest, 0, 15, 300, CLOCKS)


def test_no_interleaving_of_a_random_program_reaches_a_state_with_fewer_switches_where_that_is_said() -> None:
    check(shortest_to_a_state, 0, 15, 300, SLEEP)


@pytest.mark.long
def test_no_interleaving_of_a_hundred_random_programs_reaches_a_state_with_fewer_switches_where_that_is_said() -> None:
    check(shortest_to_a_state, 10_000, 100, 1_500, THREADS)


@pytest.mark.long
def test_no_interleaving_of_a_hundred_random_programs_fails_with_fewer_switches_where_that_is_said() -> None:
    check(shortest, 10_000, 100, 1_500, THREADS)


@pytest.mark.long
def test_no_interleaving_of_random_programs_with_daemons_fails_with_fewer_switches_where_that_is_said() -> None:
    check(shortest, 10_000, 60, 1_500, DAEMONS)


def test_a_switch_that_is_not_needed_is_taken_out():
    def late(world):
        flag, done, noise = world.shared(False, "flag"), world.shared(False, "done"), world.shared(0, "noise")

        def writer():
            flag.set(True)
            for _ in range(3):
                noise.add(1)
            flag.set(False)

        def reader():
            noise.get()
            done.set(flag.get())

        world.actor("writer", writer)
        world.actor("reader", reader)

        @world.at_end
        def never_seen():
            assert not done.get()

    for strategy in ("dpor", "exhaustive"):
        found = simharness.explore(late, strategy=strategy).counterexample
        assert found.trace.switches == 2
        assert found.shortness.startswith("2 context switches (1 interrupts an actor that could continue): no failing schedule has fewer")


def test_switches_that_nobody_can_avoid_are_told_from_interruptions():
    def hand_over(world):
        ball, catches = world.shared(0, "ball"), world.shared(0, "catches")

        def player(mine):
            for turn in range(2):
                ball.wait_until(lambda value: value == 2 * turn + mine)
                ball.add(1)
            catches.add(1)

        world.actor("left", player, 0)
        world.actor("right", player, 1)

        @world.at_end
        def nobody_caught_it():
            assert catches.get() == 0

    found = simharness.explore(hand_over).counterexample
    assert found.trace.switches == 3
    assert "none interrupts an actor that could continue" in found.shortness


def test_sequential_runs_that_fail_say_that_none_has_fewer_switches():
    def apart(world):
        cell = world.shared(0, "cell")
        for name in "abc":
            world.actor(name, cell.add, 1)

        @world.at_end
        def nothing_happened():
            assert cell.get() == 0

    found = simharness.explore(apart).counterexample
    assert found.shortness == "2 context switches (none interrupts an actor that could continue): no complete schedule has fewer"


def test_what_comes_after_the_failure_is_not_counted():
    def early(world):
        cell = world.shared(0, "cell")
        for name in "abc":
            world.actor(name, cell.add, 1)

        @world.always
        def untouched():
            assert cell.get() == 0

    found = simharness.explore(early).counterexample
    assert (found.trace.failed_at, found.trace.switches, found.shortness) == (1, 0, "no context switch")


def racing(world):
    """Each of two workers has to be interrupted by the other twice, among steps that have nothing to do with it."""
    cells = [world.shared(0, name) for name in "xyz"]
    lock = threading.Lock()

    def work(own):
        for cell in cells:
            value = cell.get()
            with lock:
                own.add(1)
            cell.set(value + 1)

    for name in ("a", "b"):
        world.actor(name, work, world.shared(0, f"{name}'s"))

    @world.at_end
    def all_lost():
        assert [cell.get() for cell in cells] != [1, 1, 1]


def test_a_search_that_the_budget_ends_claims_no_more_than_it_has_tried():
    found = simharness.explore(racing, settings=Settings(shrink=20)).counterexample
    assert "the fewest among 10 schedules tried" in found.shortness
    assert "no schedule with fewer" not in found.shortness


def test_without_a_budget_nothing_is_shrunk_or_explained():
    found = simharness.explore(racing, settings=Settings(shrink=0)).counterexample
    assert "the fewest among 0 schedules tried" in found.shortness
    assert (found.blame, found.passing, found.explanation) == ((), None, [])


def test_beginnings_that_differ_by_independent_steps_are_tried_once():
    def crowd(world):
        counter = world.shared(0, "counter")

        def alone(own):
            for _ in range(5):
                own.add(1)

        def bump():
            counter.set(counter.get() + 1)

        for name in "ab":
            world.actor(name, bump)
        for name in "cde":
            world.actor(name, alone, world.shared(0, f"{name}'s"))

        @world.at_end
        def both_counted():
            assert counter.get() == 2

    found = simharness.explore(crowd).counterexample
    assert found.trace.switches == 5
    assert "no failing schedule has fewer" in found.shortness
