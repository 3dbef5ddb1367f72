"""`multiprocessing.pool.ThreadPool`, modelled: numbers of orderings counted by hand, results handled in order, and what is refused."""

from __future__ import annotations

import contextvars
import threading
import time
from multiprocessing.pool import ThreadPool

import pytest

import simharness
from simharness import Settings

QUICK = Settings(shrink=0, max_executions=4_000)
VARIABLE = contextvars.ContextVar("VARIABLE")


def explored(main):
    """Explore a program whose only declared actor calls `main`, the result of which is the outcome."""

    def program(world):
        kept = []
        world.actor("main", lambda: kept.append(main()))
        world.at_end(lambda: world.outcome(str(kept.pop())))

    return simharness.explore(program, stop_on_first=False, settings=QUICK)


@pytest.mark.parametrize(("workers", "tasks", "orderings"), [(1, 1, 1), (1, 2, 1), (2, 2, 2), (2, 3, 6)])
def test_tasks_that_share_nothing_are_ordered_by_their_results(workers, tasks, orderings):
    def main():
        with ThreadPool(workers) as pool:
            return pool.map(abs, range(tasks), chunksize=1)

    # With two workers: two orders of two results. Of three: the first of the first two tasks, then the order of the two others;
    # and the third task begins before or after the second of the first two has ended.
    assert explored(main).executions == orderings


def test_callbacks_are_called_one_after_the_other_in_the_order_of_the_results():
    def main():
        called = []

        def call_back(value):
            called.append(f"begin {value}")
            time.sleep(1.0)
            called.append(f"end {value}")

        with ThreadPool(2) as pool:
            results = [pool.apply_async(abs, (number,), callback=call_back) for number in (1, 2)]
            for result in results:
                result.wait()
        return called

    orders = [["begin 1", "end 1", "begin 2", "end 2"], ["begin 2", "end 2", "begin 1", "end 1"]]
    assert explored(main).outcomes == {str(order) for order in orders}


def test_with_one_worker_the_next_task_may_run_before_a_result_is_ready():
    def main():
        with ThreadPool(1) as pool:
            first = pool.apply_async(abs, (-1,))
            ready = pool.apply(first.ready)
            first.wait()
        return ready

    assert explored(main).outcomes == {"True", "False"}


def test_an_error_goes_to_its_callback_and_to_get():
    def main():
        told = []
        with ThreadPool(1) as pool:
            result = pool.apply_async(int, ("seven",), error_callback=lambda error: told.append(type(error).__name__))
            with pytest.raises(ValueError, match="seven"):
                result.get()
            return told, result.successful(), result.ready()

    assert explored(main).outcomes == {"(['ValueError'], False, True)"}


def test_starmap_and_imap_come_in_order_and_imap_unordered_as_the_results_do():
    def main():
        with ThreadPool(2) as pool:
            return pool.starmap(pow, [(2, 1), (2, 2)]), list(pool.imap(abs, [1, 2])), list(pool.imap_unordered(abs, [1, 2]))

    assert explored(main).outcomes == {"([2, 4], [1, 2], [1, 2])", "([2, 4], [1, 2], [2, 1])"}


def test_a_race_of_two_tasks_is_found_and_its_repair_verified():
    def program(locked):
        def scenario(world):
            cell, lock = world.shared(0, "cell"), threading.Lock()

            def bump(_):
                with lock if locked else threading.Semaphore(2):
                    cell.set(cell.get() + 1)

            def main():
                pool = ThreadPool(2)
                pool.map_async(bump, range(2))
                pool.close()
                pool.join()
                assert cell.get() == 2

            world.actor("main", main)

        return scenario

    assert simharness.explore(program(False)).verdict == "violated"
    assert simharness.explore(program(True)).verdict == "verified"


def test_a_task_that_waits_for_another_of_a_pool_of_one_is_a_deadlock():
    def main():
        with ThreadPool(1) as pool:
            pool.apply(lambda: pool.apply(int))

    result = simharness.explore(main)
    assert result.verdict == "violated"
    assert "a free worker" in result.counterexample.failure


def test_a_pool_that_is_closed_takes_no_job_and_one_that_runs_is_not_joined():
    def main():
        pool = ThreadPool(1)
        with pytest.raises(ValueError, match="still running"):
            pool.join()
        pool.close()
        with pytest.raises(ValueError, match="not running"):
            pool.apply(int)
        pool.join()

    assert explored(main).outcomes == {"None"}


def leave_open():
    pool = ThreadPool(1)
    pool.apply(int)
    pool._state = "CLOSE"  # or its finaliser warns


def cut_off():
    with ThreadPool(1) as pool:
        pool.apply_async(int)


def use(function, *arguments):
    with ThreadPool(2) as pool:
        return pool.apply(function, arguments)


def imap_a_generator():
    with ThreadPool(1) as pool:
        return list(pool.imap(abs, (number for number in range(2))))


def look_inside():
    with ThreadPool(1) as pool:
        return pool._inqueue


REFUSED = {
    "left open": (leave_open, "neither joined nor terminated"),
    "cut off": (cut_off, "cuts tasks off"),
    "an initializer": (lambda: ThreadPool(1, initializer=int), "use a ThreadPoolExecutor"),
    "an identity": (lambda: use(threading.get_ident), "use a ThreadPoolExecutor"),
    "a context variable": (lambda: use(VARIABLE.set, 1), "use a ThreadPoolExecutor"),
    "a generator": (imap_a_generator, "pass a list"),
    "insides": (look_inside, "use a ThreadPoolExecutor"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_need_the_genuine_threads_is_refused_by_name(name):
    main, said = REFUSED[name]
    with pytest.raises(simharness.Refused, match=said):
        explored(main)
