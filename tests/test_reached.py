"""Scheduling points that an exploration never reached, and how widely it branched."""

import sys
import threading

import pytest

import simharness
from simharness import Settings
from simharness.search.estimate import Branching


def retreating(world):
    cell = world.shared(0, "cell")
    never_taken = threading.Lock()
    names = {"a": 1}

    def work():
        if cell.get() > 5:
            with never_taken:
                cell.set(0)
                names.get("a")
        else:
            cell.add(1)

    world.actor("a", work)
    world.actor("b", work)

    @world.at_end
    def both():
        assert cell.get() == 2


def explored(scenario, **settings):
    return simharness.explore(scenario, settings=Settings(confirm=False, **settings))


def test_the_points_of_a_branch_that_no_ordering_takes_are_named_with_their_lines():
    result = explored(retreating, reached=True)
    first = retreating.__code__.co_firstlineno
    file = "tests/test_reached.py"
    assert result.never_reached == (f"{file}:{first + 7} in work: never_taken", f"{file}:{first + 8} in work: cell.set")
    assert explored(retreating).never_reached is None


def test_nothing_is_named_where_everything_was_reached():
    def whole(world):
        lock = threading.Lock()

        def work():
            with lock:
                world.step("inside", writes=["x"])

        world.actor("a", work)
        world.actor("b", work)

    assert explored(whole, reached=True).never_reached == ()


@pytest.mark.skipif(not hasattr(sys, "monitoring"), reason="Python has no sys.monitoring")
def test_tool_numbers_of_monitoring_are_given_back():
    before = [sys.monitoring.get_tool(number) for number in range(6)]
    explored(retreating, reached=True)
    assert [sys.monitoring.get_tool(number) for number in range(6)] == before


@pytest.mark.skipif(hasattr(sys, "monitoring"), reason="Python has sys.monitoring")
def test_a_tracer_of_somebody_else_stays_and_nothing_is_told():
    def tracer(frame, event, argument):
        return None

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        result = explored(retreating, reached=True)
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)
    assert result.never_reached is None
    explored(retreating, reached=True)
    assert sys.gettrace() is before


def test_seeing_lines_changes_no_ordering():
    one, two = explored(retreating), explored(retreating, reached=True)
    assert (one.executions, one.branching, one.outcomes) == (two.executions, two.branching, two.outcomes)


@pytest.mark.parametrize(
    ("depths", "points", "mean"), [([], 0, 1.0), ([2, 1, 2, 0], 4, 2.0), ([2, 2, 2], 1, 4.0), ([3, 1, 3, 3, 1], 3, 8 / 3)]
)
def test_branches_are_counted_at_the_points_that_are_open(depths, points, mean):
    branching = Branching()
    for depth in depths:
        branching.branch(depth)
    assert (branching.points, branching.mean) == (points, pytest.approx(mean))


def test_a_full_tree_of_two_by_two_steps_has_five_points():
    def two_steps(world):
        for name in "ab":
            world.actor(name, lambda: (world.step("1", writes=["x"]), world.step("2", writes=["x"])))

    result = simharness.explore(two_steps, strategy="exhaustive", settings=Settings(confirm=False))
    assert result.executions == 6
    assert result.branching == (5, 2.0)
    assert simharness.explore(two_steps, strategy="random", settings=Settings(confirm=False, max_executions=5)).branching is None
