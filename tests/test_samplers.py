"""Samplers: the deep bugs that each of them finds or misses within a budget, what they promise, and that a seed says it all."""

import math
import re
import threading
import time

import pytest

import simharness
from simharness import Settings, Verdict
from tests.programs import Stage, philosophers

SAMPLERS = ["random", "pct", "pos", "surw"]


def overtaken(world):
    """Fails if twenty-five steps of the rival, which race with nothing, and one that does come before the victim's first."""
    own, done = world.shared(0, "own"), world.shared(False, "done")

    def rival():
        for _ in range(25):
            own.add(1)
        done.set(True)

    def victim():
        assert not done.get(), "overtaken"

    world.actor("rival", rival)
    world.actor("victim", victim)


def overtaken_in_a_race(world):
    """Fails if the victim looks once in the middle and then not before the end, while each step of the rival races with its next one."""
    count = world.shared(0, "count")

    def rival():
        for _ in range(30):
            count.add(1)

    def victim():
        first, second = count.get(), count.get()
        assert not (10 <= first < 20 and second == 30), "overtaken"

    world.actor("rival", rival)
    world.actor("victim", victim)


def two_late_steps(world):
    """Fails if the three are done in the order of their steps, the slowest first; only their last two race."""
    seen = world.shared((), "seen")

    def work(name, steps):
        own = world.shared(0, f"own {name}")
        for _ in range(steps):
            own.add(1)
        seen.set((*seen.get(), name))

    for name, steps in (("a", 40), ("b", 20), ("c", 1)):
        world.actor(name, work, name, steps)

    @world.at_end
    def never_the_slowest_first():
        assert seen.get() != ("a", "b", "c")


FINDS = [
    (overtaken, "random", False),
    (overtaken, "pct", True),
    (overtaken, "pos", True),
    (two_late_steps, "random", False),
    (two_late_steps, "pct", True),
    (two_late_steps, "pos", True),
    (two_late_steps, "surw", True),
    (overtaken_in_a_race, "random", False),
    (overtaken_in_a_race, "pos", False),
    (overtaken_in_a_race, "surw", True),
    (overtaken_in_a_race, "pct", True),
]


@pytest.mark.parametrize(
    ("scenario", "strategy", "finds", "seed"), [(*row, seed) for row in FINDS for seed in (1, 2) if row[2] or seed == 1]
)
def test_a_deep_bug_is_found_by_the_samplers_made_for_it_and_missed_by_the_others(scenario, strategy, finds, seed):
    result = simharness.explore(scenario, strategy, settings=Settings(max_executions=2_000, seed=seed))
    assert result.verdict is (Verdict.VIOLATED if finds else Verdict.INCONCLUSIVE)
    if finds:
        assert simharness.replay(scenario, result.counterexample.token).failure == result.counterexample.failure


@pytest.mark.parametrize("strategy", SAMPLERS)
def test_a_sampler_that_finds_nothing_is_inconclusive_and_says_what_its_paper_promises(strategy):
    def harmless(world):
        cell = world.shared(0, "cell")
        for name in "abc":
            world.actor(name, lambda: (cell.add(1), cell.add(1)))

    result = simharness.explore(harmless, strategy, settings=Settings(max_executions=2_000, seed=7))
    assert (result.verdict, result.executions, result.exit_status) == (Verdict.INCONCLUSIVE, 2_000, 3)
    assert result.bounds.startswith("2000 executions; stopped at max_executions=2000; drawn with seed 7: ")
    assert "n = 3 actors, k = 6 steps" in result.bounds
    promise = {
        "random": f"n^-k = {3**-6:.2g}",
        "pct": "1/(n·k²) = 1/108",
        "pos": f"n^-k·R^U ≥ n^-k = {3**-6:.2g}",
        "surw": "surw draws each order",
    }
    assert promise[strategy] in result.bounds
    met = int(re.search(r"([\d,]+) distinct orderings", result.bounds).group(1))
    assert met <= math.factorial(6) // 2**3
    if strategy != "pct":
        assert met == math.factorial(6) // 2**3


def test_a_sampler_without_a_limit_has_a_default_one_and_says_so():
    def one_step(world):
        world.actor("a", world.step, "x")
        world.actor("b", world.step, "y")

    result = simharness.explore(one_step, "random")
    assert (result.verdict, result.executions) == (Verdict.INCONCLUSIVE, 10_000)
    assert "stopped at 10,000 executions, since neither max_executions nor max_seconds says otherwise" in result.bounds
    assert "one ordering" in result.bounds


@pytest.mark.parametrize(("depth", "formula"), [(1, "1/n = 1/2"), (2, "1/(n·k) = 1/54"), (4, "1/(n·k³) = 1/39,366")])
def test_the_depth_decides_what_pct_promises(depth, formula):
    result = simharness.explore(overtaken, "pct", stop_on_first=False, settings=Settings(max_executions=10, depth=depth))
    assert f"pct, depth {depth}: each execution finds a bug of depth {depth} with probability at least {formula}" in result.bounds


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_pct_finds_bugs_of_its_depth_at_least_as_often_as_it_promises(depth):
    turns = depth - 1
    found = []

    def in_turn(world):
        count = world.shared(0, "count")

        def one():
            for _ in range(turns):
                count.add(1)
            world.step("last", writes=["end"])

        def other():
            seen = [count.get() for _ in range(turns)]
            world.step("last", writes=["end"])
            found.append(seen == list(range(1, turns + 1)))

        world.actor("one", one)
        world.actor("other", other)

    simharness.explore(in_turn, "pct", settings=Settings(max_executions=3_000, depth=depth))
    assert sum(found) / len(found) >= 1 / (2 * (2 * depth) ** (depth - 1))


@pytest.mark.parametrize("strategy", SAMPLERS)
def test_equal_seeds_draw_equal_executions_and_other_seeds_others(strategy):
    def drawn(seed):
        orders = []

        def scenario(world):
            order = []
            for name in "abcd":
                world.actor(name, lambda name=name: (world.step("1"), order.append(name), world.step("2"), order.append(name)))
            orders.append(order)

        simharness.explore(scenario, strategy, settings=Settings(max_executions=30, seed=seed))
        return orders

    assert drawn(5) == drawn(5)
    assert drawn(5) != drawn(6)


@pytest.mark.parametrize("strategy", SAMPLERS)
def test_samplers_draw_data_choices_and_move_the_clock(strategy):
    def late(world):
        ready = threading.Event()

        def waiter():
            picked = world.choose(range(5), "number")
            world.outcome((picked, ready.wait(timeout=1.0)))

        def setter():
            time.sleep(0.9)
            ready.set()

        world.actor("waiter", waiter)
        world.actor("setter", setter)

    result = simharness.explore(late, strategy, settings=Settings(max_executions=400))
    assert result.outcomes == simharness.explore(late).outcomes
    assert len(result.outcomes) == 10
    assert "up to 5 alternatives" in result.bounds
    assert "n = 3 actors" in result.bounds


@pytest.mark.parametrize("strategy", SAMPLERS)
def test_samplers_find_deadlocks_and_start_over_when_they_learn_what_checks_read(strategy):
    def dinner(world):
        philosophers(Stage(world), 3)

    assert "deadlock" in simharness.explore(dinner, strategy).counterexample.failure

    def states(world):
        x, y = world.shared(0, "x"), world.shared(0, "y")
        world.actor("a", x.set, 1)
        world.actor("b", y.set, 1)

        @world.always
        def never_x_alone():
            assert not (x.get() == 1 and y.get() == 0)

    assert simharness.explore(states, strategy).verdict is Verdict.VIOLATED
