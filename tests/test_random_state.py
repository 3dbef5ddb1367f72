"""Random programs with state that outlives executions: putting it back gives what a process of its own for each execution gives."""

import pytest

from tests import kept_state
from tests.random_state import explored

pytestmark = pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no forks")


def agrees(seed, strategy="dpor"):
    before = kept_state.shown()
    assert explored(seed, "undo", strategy) == explored(seed, "fork", strategy), seed
    assert kept_state.shown() == before, seed


@pytest.mark.parametrize("seed", range(30))
def test_what_is_put_back_is_what_a_process_of_its_own_for_each_execution_begins_with(seed):
    agrees(seed)


@pytest.mark.long
@pytest.mark.parametrize("first", range(100, 3100, 10))
def test_what_is_put_back_is_what_a_process_of_its_own_for_each_execution_begins_with_in_many_programs(first):
    for seed in range(first, first + 10):
        agrees(seed)


@pytest.mark.parametrize("strategy", ["auto", "exhaustive", "pct", "pos", "surw", "random"])
def test_each_strategy_finds_the_same_in_processes_of_their_own(strategy):
    for seed in (44, 47):
        agrees(seed, strategy)


@pytest.mark.parametrize("action", kept_state.ACTIONS, ids=lambda action: action.__name__)
def test_what_each_action_changes_is_put_back(action):
    import simharness

    begun = set()
    before = kept_state.shown()

    def scenario(world):
        begun.add(kept_state.shown())
        world.actor("a", action)
        world.actor("b", action)

    simharness.explore(scenario, "dpor", settings=simharness.Settings(instrument=("tests.kept_state",), max_executions=30, shrink=0))
    assert begun == {before}
    assert kept_state.shown() == before
