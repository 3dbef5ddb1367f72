"""Programs on which the reduction was once wrong, or is wrong without a rule that is easily forgotten; as small as found."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

import simharness
from simharness.search.dpor import Dpor
from simharness.search.exhaustive import Exhaustive
from tests.orderings import counted
from tests.random_databases import Database
from tests.random_programs import Program, explored, runtimes_in_place


@pytest.fixture(scope="module", autouse=True)
def threads_are_simulated() -> Iterator[None]:
    with runtimes_in_place():
        yield


def compared(program: Program) -> tuple[int, int]:
    """Explore both ways; nothing may be lost, and nothing run twice. Return the numbers of orderings and of redundant executions."""
    every, reduced = explored(program, Exhaustive, 20_000), explored(program, Dpor, 20_000)
    orderings = counted(program, every)
    assert counted(program, reduced).keys() == orderings.keys()
    assert reduced.outcomes == every.outcomes
    assert len(reduced.executions) == len(orderings)
    assert reduced.states == every.states
    return len(orderings), reduced.redundant


def test_a_compare_and_set_that_would_succeed_elsewhere_is_then_a_write_of_what_a_check_reads() -> None:
    """Reversed, the last actor's compare-and-set becomes a write, and writes of checked cells do not commute."""
    found = compared(
        Program(
            actors=((("compare_and_set", 1, 0, 2),), (("set", 0, 0),), (("set", 0, 0),), (("compare_and_set", 1, 1, 2),)),
            always=(0, 1),
        )
    )
    assert found == (12, 0)


def test_a_failed_compare_and_set_of_a_checked_cell_that_would_have_succeeded_loses_no_ordering() -> None:
    found = compared(
        Program(
            actors=(
                (("compare_and_set", 0, 1, 2), ("set", 0, 1)),
                (("set", 1, 2),),
                (("compare_and_set", 0, 1, 1), ("compare_and_set", 0, 0, 1)),
            ),
            always=(0, 1),
        )
    )
    assert found == (12, 0)


def test_a_sleeping_step_that_reads_what_the_reversal_writes_does_not_cover_it() -> None:
    compared(
        Program(
            actors=(
                (("lock", 0),),
                (("lock", 0), ("set", 0, 1), ("add", 1)),
                (("if", 1, (("lock", 0), ("unlock", 0)), (("compare_and_set", 1, 2, 0), ("swap", 1, 0))),),
            ),
            locks=1,
            reentrant=frozenset({0}),
            always=(0, 1),
        )
    )


def test_a_step_that_may_be_the_last_of_its_actor_where_it_is_moved_to_conflicts_with_a_daemon() -> None:
    compared(
        Program(
            actors=(
                (("get", 0), ("get", 0)),
                (("get", 1), ("get", 0)),
                (("compare_and_set", 0, 0, 0), ("get", 0)),
            ),
            threads=frozenset({1}),
            daemons=frozenset({1}),
        )
    )


def test_a_step_that_ends_its_actor_only_for_some_values_loses_no_ordering_with_a_daemon() -> None:
    """Whether an actor's step is its last depends on the value it reads, which the reversal of a race changes."""
    compared(
        Program(
            actors=(
                (("set", 0, 1), ("compare_and_set", 0, 1, 2)),
                (("get", 1),),
                (("get", 0), ("if", 1, (("set", 0, 1), ("set", 1, 1)), ())),
            ),
            threads=frozenset({1}),
            daemons=frozenset({1}),
        )
    )


def test_a_try_lock_beside_a_daemon_runs_no_ordering_twice() -> None:
    compared(
        Program(
            actors=((("lock", 0), ("set", 0, 1)), (("try_lock", 0), ("set", 0, 1)), (("set", 0, 1),)),
            locks=1,
            threads=frozenset({2}),
            daemons=frozenset({2}),
        )
    )


def test_a_daemon_that_writes_what_the_last_steps_write_is_explored_on_both_sides_of_them() -> None:
    compared(
        Program(
            actors=((("set", 0, 3),), (("set", 0, 1), ("set", 2, None)), (("set", 2, 1), ("set", 2, 2))),
            cells=3,
            threads=frozenset({2}),
            daemons=frozenset({2}),
        )
    )


def test_each_alternative_of_a_data_choice_that_a_daemon_was_about_to_make_is_tried_before_the_end() -> None:
    """One alternative may be asleep where the execution ends; the others are not."""
    found = compared(
        Program(
            actors=((("swap", 1, 2), ("get", 0)), (("get", 1), ("choose", 2))),
            threads=frozenset({1}),
            daemons=frozenset({1}),
        )
    )
    assert found[0] == 7


def test_puts_that_are_refused_by_a_full_queue_commute() -> None:
    """What is not put is no unfinished task either."""
    found = compared(Program(actors=((("put", 1, 0), ("try_put", 1, 1), ("set", 0, 1)), (("get", 0), ("try_put", 1, 2), ("task_done", 1)))))
    assert found[1] == 0


def test_a_check_of_one_table_does_not_order_commits_to_another_with_the_cells_that_it_reads() -> None:
    """Not even where somebody takes a snapshot, which all commits are ordered with."""
    reader = (("begin", "DEFERRED"), ("select", "t"))
    found = compared(
        Program(
            actors=((("set", 0, 1),), (("update", "u", 1),), reader),
            always=(0,),
            database=Database(connections=(0, 1, 2), checked=("t",)),
        )
    )
    assert found == (2, 0)


def test_a_thread_that_waits_for_a_lock_is_not_moved_to_before_its_start():
    """The clock may stand between the lock's taking and the start of the thread that then waits for it."""

    def sleeps_inside_a_lock():
        lock = threading.Lock()

        def work():
            with lock:
                time.sleep(0.1)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    reduced = simharness.explore(sleeps_inside_a_lock)
    assert reduced.verdict == simharness.explore(sleeps_inside_a_lock, strategy="exhaustive").verdict == "verified"
