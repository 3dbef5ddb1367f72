"""What the tests share: the runtimes stay in place from test to test, which saves finding what to replace for each exploration.

Tests about how they come and go are marked `alone`. The short run confirms no result in a fresh process, but for tests marked
`confirms`; the long run confirms all of them. The short run takes a share of the cases of the slowest tests, the long run all.
Of the largest families of long tests it takes a share; `--overnight` takes all, and so do the mutants of the short tests.
"""

from collections import Counter
from contextlib import ExitStack

import pytest

import simharness.cli.main
import simharness.exploring.explore
import simharness.runtimes.control

SHARES = {
    "test_opcode_oracle.py": 8,
    "test_scenarios.py": 4,  # most are cases that `make explore` explores, too
    "test_replays.py": 8,
    "test_faults_elsewhere.py": 6,
    "test_guards.py": 6,
    "test_sqlite_oracle.py": 2,
    "test_random_queues.py": 6,
    "test_random_thread_views.py": 4,
    "test_outside_written.py": 4,
    "test_random_pools.py": 4,
    "test_random_state.py": 60,
    "test_process_globals.py": 12,
    "test_handlers.py": 4,
    "test_random_thread_pools.py": 2,
    "test_endings.py": 3,
    "test_random_polls.py": 5,
    "test_parallel.py": 6,
    "test_checkpoints.py": 3,
    "test_random_futures.py": 2,
    "test_random_clocks.py": 2,
    "test_set_up_threads.py": 4,
    "test_trio_agreement.py": 2,
    "test_random_faults.py": 3,
    "test_random_files.py": 2,
    "test_check.py": 20,
    "test_check_random.py": 6,
    "test_asyncio_orders.py": 4,
}
"""Of the long tests of these modules, one in so many is run."""
SHORT = {
    "test_real_threads_reach_nothing_that_exploring_misses": 6,
    "test_what_is_put_back_is_what_a_process_of_its_own_for_each_execution_begins_with": 5,
    "test_each_strategy_finds_the_same_in_processes_of_their_own": 3,
    "test_what_each_action_changes_is_put_back": 2,
    "test_locks_taken_in_opposite_orders_deadlock_and_one_lock_excludes_whatever_holds_them": 6,
    "test_random_programs_under_faults_come_to_the_same_with_and_without_reduction": 3,
    "test_random_scripts_do_what_they_can_really_do": 6,
    "test_each_classic_bug_is_found_and_its_locked_twin_verified_with_the_number_of_orderings_known": 2,
    "test_a_deep_bug_is_found_by_the_samplers_made_for_it_and_missed_by_the_others": 2,
    "test_every_interleaving_of_a_known_program_is_run_and_reaches_the_final_states_of_the_reduced_ones": 2,
    "test_a_bounded_search_under_faults_comes_to_what_every_interleaving_within_the_bound_comes_to": 3,
    "test_an_actor_that_looks_at_an_object_sees_it_before_and_after_the_others_change": 3,
    "test_real_threads_reach_nothing_with_a_queue_that_exploring_misses": 2,
    "test_random_programs_have_the_same_outcomes_with_and_without_reduction_and_each_ordering_is_run_once": 3,
    "test_random_programs_have_the_same_orderings_outcomes_and_verdict_with_samples": 3,
    "test_the_upstream_test_fails_on_the_late_contender_under_a_lease_and_is_verified_when_fenced": 2,
    "test_random_programs_have_the_outcomes_of_every_place_at_which_the_handler_can_stand": 2,
    "test_faults_strike_alike_whether_databases_are_kept_or_not": 3,
    "test_a_small_cell_comes_out_as_its_author_expects_and_its_counterexample_replays": 4,
    "test_a_cell_of_three_contenders_comes_out_as_its_author_expects_and_its_counterexample_replays": 4,
    "test_a_wrong_question_about_an_incident_ends_in_one_line_and_status_2": 3,
    "test_a_planted_bug_is_found_in_the_smallest_programs_and_its_twin_is_spared": 5,
}
"""Of the cases of these tests the short run takes one in so many."""


def pytest_addoption(parser):
    parser.addoption("--overnight", action="store_true", help="run all long tests, not a share of the largest families")


def share_of(item, short):
    """Return which family a test belongs to, and that one in so many of it is run."""
    if item.get_closest_marker("long") is not None:
        return item.path.name, SHARES.get(item.path.name, 1)
    return item.originalname, SHORT.get(item.originalname, 1) if short else 1


def pytest_collection_modifyitems(config, items):
    if config.getoption("overnight"):
        return
    short, seen, chosen, left = is_short(config), Counter(), [], []
    for item in items:
        family, share = share_of(item, short)
        (left if seen[family] % share else chosen).append(item)
        seen[family] += 1
    items[:] = chosen
    config.hook.pytest_deselected(items=left)


def is_short(config):
    return config.option.markexpr == "not long"


@pytest.fixture(scope="session")
def kept():
    stacks = []
    yield stacks
    for stack in stacks:
        stack.close()


@pytest.fixture(autouse=True)
def runtimes_in_place(request, kept):
    if request.node.get_closest_marker("alone") is not None:
        while kept:
            kept.pop().close()
    elif not kept:
        kept.append(ExitStack())
        kept[0].enter_context(simharness.runtimes.control.installed())


@pytest.fixture(autouse=True)
def confirmed_only_where_it_is_asked(request, monkeypatch):
    if is_short(request.config) and request.node.get_closest_marker("confirms") is None:
        for module in (simharness.exploring.explore, simharness.cli.main):
            monkeypatch.setattr(module, "confirmed", lambda results, *_: list(results))
