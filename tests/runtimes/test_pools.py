"""`ThreadPoolExecutor`, modelled: tasks are actors, orderings are counted by hand, and genuine workers are back once they are seen."""

from __future__ import annotations

import concurrent.futures
import contextlib
import contextvars
import dataclasses
import decimal
import functools
import io
import logging
import sqlite3
import threading
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor

import pytest

import simharness
from simharness import Settings

QUICK = Settings(shrink=0, max_executions=4_000)
OWN = Settings(shrink=0, max_executions=4_000, instrument=(__name__,))


def outcomes(program):
    return simharness.explore(program, stop_on_first=False, settings=QUICK)


def in_an_actor(main):
    """Return a program whose only declared actor calls `main`, the result of which is the outcome."""

    def program(world):
        kept = []
        world.actor("main", lambda: kept.append(main()))
        world.at_end(lambda: world.outcome(str(kept.pop())))

    return program


def mapped(workers, tasks, work=abs):
    def main():
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(work, range(tasks)))

    return main


@pytest.mark.parametrize(
    ("workers", "tasks", "orderings"),
    [(1, 1, 1), (1, 2, 1), (1, 3, 1), (2, 2, 1), (2, 3, 3), (3, 3, 1), (3, 4, 7)],
)
def test_tasks_that_share_nothing_are_ordered_only_by_who_frees_a_worker(workers, tasks, orderings):
    # Of the first tasks, any that is not empty may have ended before the last begins: two tasks, three sets; three tasks, seven sets.
    assert outcomes(in_an_actor(mapped(workers, tasks))).executions == orderings


def test_tasks_that_append_under_a_lock_have_the_orders_of_the_appends():
    def main():
        lock, log = threading.Lock(), []

        def work(number):
            with lock:
                log.append(number)

        mapped(2, 3, work)()
        return log

    result = outcomes(in_an_actor(main))
    # The last task waits for one of the others to end: 6 orders of three appends less the two in which it is first.
    assert len(result.outcomes) == 4
    assert result.executions == 8


def test_a_task_that_waits_for_another_of_its_pool_is_a_deadlock_unless_there_is_a_worker_for_it():
    def program(workers):
        def main():
            with ThreadPoolExecutor(workers) as pool:
                assert list(pool.map(lambda _: pool.submit(int).result(), range(2))) == [0, 0]

        return main

    found = simharness.explore(program(2))
    assert found.verdict == "violated"
    assert "a free worker" in found.counterexample.failure
    assert simharness.explore(program(4)).verdict == "verified"


def test_a_later_task_may_end_while_an_earlier_one_has_not_begun_and_is_cancelled():
    def main():
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.submit(int), pool.submit(int)
            second.result()
            return first.cancel()

    assert outcomes(in_an_actor(main)).outcomes == {"True", "False"}


def test_with_one_worker_a_task_begins_only_when_the_one_before_has_ended_with_its_callbacks():
    def main():
        seen = []
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(int)
            first.add_done_callback(lambda done: (threading.Event().set(), seen.append("callback")))
            pool.submit(seen.append, "second")
        return seen

    assert outcomes(in_an_actor(main)).outcomes == {"['callback', 'second']"}


def test_a_callback_runs_in_the_worker_or_at_once():
    def main():
        seen = []
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(int)
            adding = [True]
            future.add_done_callback(lambda done: seen.append(bool(adding)))
            adding.clear()
        return seen

    assert outcomes(in_an_actor(main)).outcomes == {"[True]", "[False]"}


def test_wait_for_the_first_may_miss_an_earlier_one_that_ends_while_it_looks():
    def main():
        with ThreadPoolExecutor(1) as pool:
            futures = [pool.submit(int) for _ in range(5)]
            done, _ = concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_COMPLETED)
            return sorted(futures.index(future) for future in done)

    # What can be missed depends on the order of a set of them, here 0, 3, 2, 1, 4.
    assert {"[0]", "[0, 1]", "[0, 1, 2]", "[0, 4]"} < outcomes(in_an_actor(main)).outcomes


def test_as_completed_yields_in_the_order_of_completion():
    def main():
        with ThreadPoolExecutor(1) as pool:
            futures = [pool.submit(int) for _ in range(2)]
            iterator = concurrent.futures.as_completed(futures)
            return [futures.index(future) for future in iterator]

    assert outcomes(in_an_actor(main)).outcomes >= {"[0, 1]"}


def test_a_time_out_of_map_cancels_what_has_not_begun():
    def main():
        event = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            try:
                return list(pool.map(event.wait, (2.0, 2.0), timeout=1.0))
            except TimeoutError:
                event.set()
                return "too late"

    program = simharness.scenario(max_delay=0)(in_an_actor(main))
    assert outcomes(program).outcomes == {"too late"}


def test_an_exception_is_raised_by_result_and_returned_by_exception():
    def main():
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(int, "seven")
            with pytest.raises(ValueError, match="seven"):
                future.result()
            return type(future.exception()).__name__, future.done(), future.running(), future.cancelled()

    assert outcomes(in_an_actor(main)).outcomes == {"('ValueError', True, False, False)"}


def test_a_pool_that_is_never_shut_down_is_no_deadlock():
    kept = []

    def program(world):
        kept[:] = [ThreadPoolExecutor(1)]

        def use(number):
            return kept[0].submit(abs, number).result()

        world.actor("a", use, 1)
        world.actor("b", use, 2)

    result = simharness.explore(program)
    assert (result.verdict, result.executions) == ("verified", 2)


def test_a_future_that_outlives_its_execution_is_an_ordinary_one():
    kept = []

    def main():
        with ThreadPoolExecutor(1) as pool:
            kept[:] = [pool.submit(abs, -1), pool]
        return 0

    outcomes(in_an_actor(main))
    future, pool = kept
    assert future.result() == 1
    assert future.done()
    assert future._state == "FINISHED"
    assert pool._shutdown
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(int)


LOCAL = threading.local()
VARIABLE = contextvars.ContextVar("VARIABLE")
RLOCK = threading.RLock()


class Subclass(ThreadPoolExecutor):
    def submit(self, fn, /, *args, **kwargs):
        return super().submit(fn, *args, **kwargs)


def with_pool(work=int, make=ThreadPoolExecutor, use=None):
    """Return a function that has two workers do the same work twice, and returns whether the results are the same.

    Args:
        use: called with the pool and the futures.
    """

    def main():
        with make(2) as pool:
            futures = [pool.submit(work), pool.submit(work)]
            if use is not None:
                use(pool, futures)
        one, other = (future.result() for future in futures)
        return one == other

    return main


def counted_in_a_local():
    LOCAL.n = getattr(LOCAL, "n", 0) + 1
    return LOCAL.n


def counted_in_a_context():
    VARIABLE.set(VARIABLE.get(0) + 1)
    return VARIABLE.get()


SEES = {
    "current_thread": with_pool(threading.current_thread),
    "get_ident": with_pool(threading.get_ident),
    "get_native_id": with_pool(threading.get_native_id),
    "name": with_pool(lambda: threading.current_thread().name, functools.partial(ThreadPoolExecutor, thread_name_prefix="it")),
    "thread-local": with_pool(counted_in_a_local),
    "context variable": with_pool(counted_in_a_context),
}
"""What tells one worker from another: twice the same worker, or not."""


@pytest.mark.parametrize("name", SEES)
def test_where_a_worker_is_seen_one_or_two_workers_run_two_tasks(name):
    assert outcomes(in_an_actor(SEES[name])).outcomes == {"True", "False"}
    assert "workers-seen" in token_of(SEES[name])


def token_of(main):
    """Return the token of an execution in which `main` is called, then something fails: it contains what was learned."""

    def program(world):
        def fail():
            main()
            raise AssertionError

        world.actor("main", fail)

    return simharness.explore(program, settings=QUICK).counterexample.token


def complete_by_hand(pool, futures):
    futures[0].result()
    with pytest.raises(InvalidStateError):
        futures[0].set_result(1)


def connect_once():
    """Two tasks use a connection of the one that comes first."""
    made = []

    def work():
        if not made:
            made.append(sqlite3.connect(":memory:"))
        with contextlib.suppress(sqlite3.ProgrammingError):
            made[0].execute("SELECT 1")

    return work


def submit_from_a_daemon(pool, futures):
    thread = threading.Thread(target=pool.submit, args=(int,), daemon=True)
    thread.start()
    thread.join()


LOOKS = {
    "_threads": with_pool(use=lambda pool, futures: pool._threads),
    "_work_queue": with_pool(use=lambda pool, futures: pool._work_queue.qsize()),
    "_shutdown": with_pool(use=lambda pool, futures: pool._shutdown),
    "more workers": with_pool(use=lambda pool, futures: (setattr(pool, "_max_workers", 3), pool.submit(int))),
    "_state": with_pool(use=lambda pool, futures: futures[0]._state),
    "_condition": with_pool(use=lambda pool, futures: futures[0]._condition.acquire() and futures[0]._condition.release()),
    "completed by hand": with_pool(use=complete_by_hand),
    "futures of another kind": with_pool(use=lambda pool, futures: concurrent.futures.wait([*futures, Future()], 1.0)),
    "a daemon submits": with_pool(use=submit_from_a_daemon),
    "decimal": with_pool(lambda: decimal.getcontext().prec),
    "an RLock is left behind": with_pool(lambda: RLOCK.acquire(blocking=False) and None),
    "a connection": with_pool(connect_once()),
    "a task shuts down": with_pool(use=lambda pool, futures: pool.submit(pool.shutdown).exception()),
    "cancelled at the end": with_pool(use=lambda pool, futures: pool.shutdown(cancel_futures=True)),
    "a callback ends its worker": with_pool(use=lambda pool, futures: futures[0].add_done_callback(lambda done: exit())),
}
"""What else shows the workers, or what the model does not serve."""


@pytest.mark.parametrize("name", LOOKS)
def test_a_program_that_looks_at_the_workers_gets_the_genuine_ones(name):
    assert "workers-seen" in token_of(LOOKS[name])


@pytest.mark.parametrize("ask", [threading.enumerate, threading.active_count])
def test_where_somebody_asks_which_threads_there_are_the_workers_are_among_them(ask):
    def main():
        with ThreadPoolExecutor(1) as pool:
            pool.submit(int).result()
            return ask() if ask is threading.active_count else len(ask())

    assert "3" in outcomes(in_an_actor(main)).outcomes


def logs(handler, form=None, condition=None):
    """Return work that logs a line, for this handler alone."""

    def work():
        logger = logging.getLogger("tests.pools")
        if form is not None:
            handler.setFormatter(logging.Formatter(form))
        logger.filters[:] = [condition] if condition is not None else []
        logger.handlers[:], logger.propagate = [handler], False
        logger.warning("a line")

    return with_pool(work)


class Keeps(logging.Handler):
    """One of the user's."""

    def emit(self, record):
        return None


LOG_LINES = {
    "a plain line": (lambda: logs(logging.StreamHandler(io.StringIO()), "%(levelname)s %(message)s"), False),
    "with the name of the thread": (lambda: logs(logging.StreamHandler(io.StringIO()), "%(threadName)s %(message)s"), True),
    "a handler of the user's": (lambda: logs(Keeps()), True),
    "a filter": (lambda: logs(logging.NullHandler(), condition=lambda record: record.threadName), True),
}


@pytest.mark.parametrize("name", LOG_LINES)
def test_a_log_line_shows_the_worker_if_its_handler_or_a_filter_can(name):
    make, shows = LOG_LINES[name]
    assert ("workers-seen" in token_of(make())) == shows


def test_functions_given_to_a_pool_touch_what_they_are_bound_to():
    def submitted():
        log = []
        with ThreadPoolExecutor(2) as pool:
            for number in (1, 2):
                pool.submit(log.append, number)
        return log

    def called_back():
        log = []
        with ThreadPoolExecutor(2) as pool:
            futures = [pool.submit(int), pool.submit(int)]
            for future in futures:
                future.add_done_callback(log.append)
        return [futures.index(future) for future in log]

    assert simharness.explore(in_an_actor(submitted), stop_on_first=False, settings=OWN).outcomes == {"[1, 2]", "[2, 1]"}
    assert simharness.explore(in_an_actor(called_back), stop_on_first=False, settings=OWN).outcomes == {"[0, 1]", "[1, 0]"}


def test_a_handler_that_submits_while_its_actor_does_waits_for_the_lock_of_the_pool():
    def program(world):
        pools = []

        def main():
            pools.append(ThreadPoolExecutor(1))
            pools[0].submit(int)

        world.actor("main", main)
        world.handler(lambda: pools and pools[0].submit(int), on="main")

    result = simharness.explore(program, settings=QUICK)
    assert result.verdict == "violated"
    assert "deadlock" in result.counterexample.failure


@dataclasses.dataclass
class Point:
    x: int = 1


def test_a_repr_of_a_dataclass_shows_no_worker():
    assert outcomes(in_an_actor(with_pool(lambda: repr(Point())))).executions == 1


@pytest.mark.parametrize(
    "make", [Subclass, functools.partial(ThreadPoolExecutor, initializer=int)], ids=["a subclass that overrides", "an initializer"]
)
def test_some_executors_have_genuine_workers_from_the_start(make):
    assert outcomes(in_an_actor(with_pool(make=make))).executions > 1


class Named(ThreadPoolExecutor):
    """Overrides nothing that matters."""

    def __init__(self, name):
        super().__init__(2)
        self.name = name

    def describe(self):
        return self.name


def test_a_subclass_that_overrides_nothing_is_modelled():
    assert outcomes(in_an_actor(with_pool(make=lambda size: Named("pool")))).executions == 1
