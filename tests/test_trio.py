"""Trio programs as they are, under the kernel: what is found, what is verified, how many orderings there are, what is left as it was."""

import gc
import random
import signal
import sqlite3
import sys
import threading
import time

import pytest
import trio
import trio.testing
from replays import assert_identical

import simharness
from simharness import Settings, Verdict
from simharness.authoring.loading import load
from simharness.runtimes import control
from simharness.verdicts.results import FRESH

ALL = {"stop_on_first": False}


def explored(scenario, order="any", strategy="dpor", **options):
    return simharness.explore(scenario, strategy=strategy, settings=Settings(trio_order=order, shrink=0), **{**ALL, **options})


def children(*functions):
    """Return an async function that runs these in a nursery."""

    async def main():
        async with trio.open_nursery() as nursery:
            for function in functions:
                nursery.start_soon(function)

    return main


def two_checkpoints(world):
    seen = []

    def child(me):
        async def work():
            for _ in range(2):
                await trio.lowlevel.checkpoint()
                seen.append(me)

        return work

    async def main():
        await children(child("0"), child("1"))()
        world.outcome("".join(seen))

    world.actor("a", main)


SIX = {"0011", "0101", "0110", "1001", "1010", "1100"}


@pytest.mark.parametrize("strategy", ["dpor", "exhaustive"])
def test_two_tasks_with_two_checkpoints_have_six_orders_of_which_trio_in_batches_does_four(strategy):
    freely, in_batches = explored(two_checkpoints, strategy=strategy), explored(two_checkpoints, "batches", strategy)
    assert freely.outcomes == SIX
    assert in_batches.outcomes == SIX - {"0011", "1100"}
    assert freely.verdict is in_batches.verdict is Verdict.VERIFIED
    assert (freely.executions, in_batches.executions) == (20, 8)
    assert "trio (one task at a time; all steps of a run conflict)" in freely.bounds
    assert "trio (one batch at a time; all steps of a run conflict)" in in_batches.bounds


@pytest.mark.parametrize(("tasks", "orderings"), [(1, 1), (2, 6), (3, 90)])
def test_tasks_of_two_steps_have_as_many_orderings_as_their_steps_can_be_merged(tasks, orderings):
    result = explored(lambda world: world.actor("a", children(*[trio.lowlevel.checkpoint] * tasks)))
    assert (result.executions, result.redundant) == (orderings, 0)


def test_two_runs_that_share_nothing_have_the_orderings_of_each():
    def scenario(world):
        for name in "ab":
            world.actor(name, children(trio.lowlevel.checkpoint, trio.lowlevel.checkpoint))

    assert explored(scenario).executions == 36


def test_runs_and_threads_that_meet_in_one_cell_have_the_orderings_of_that_cell():
    def scenario(world):
        cell = world.shared(0, "cell")

        async def run():
            await trio.lowlevel.checkpoint()
            cell.add(1)
            await trio.lowlevel.checkpoint()

        world.actor("a", run)
        world.actor("b", run)
        world.actor("c", cell.add, 1)

    assert explored(scenario).executions == 6


def test_trio_is_named_in_verdicts_only_where_it_was_used():
    assert "trio" not in explored(lambda world: world.actor("a", world.step, "one")).bounds


SCENARIOS = load("scenarios/trio_races.py")


@pytest.mark.parametrize("order", ["any", "batches"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_races_of_the_scenarios_are_found_and_their_twins_verified(scenario, order):
    for case in scenario.cases():
        result = simharness.explore(scenario, parameters=case, settings=Settings(trio_order=order, shrink=0, confirm=False))
        if order == "any" or scenario.name != "lost_wake_up":
            assert result.verdict == scenario.expected(case)
        else:
            assert result.verdict is Verdict.VERIFIED


def test_a_counterexample_says_whether_the_installed_trio_would_do_it():
    few = Settings(shrink=20, confirm=False)
    named = {scenario.name: scenario for scenario in SCENARIOS}
    found = {name: simharness.explore(named[name], settings=few).counterexample for name in ("check_then_act", "lost_wake_up")}
    assert f"the batches of trio {trio.__version__} fail too: check_then_act:" in found["check_then_act"].shortness
    assert f"no order of the batches of trio {trio.__version__} fails (all 4 tried)" in found["lost_wake_up"].shortness


@pytest.mark.parametrize("order", ["any", "batches"])
@pytest.mark.confirms
def test_a_token_is_replayed_in_the_order_that_it_was_found_in(order):
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == "check_then_act")
    result = simharness.explore(scenario, settings=Settings(trio_order=order, shrink=20))
    assert result.counterexample.confirmed == FRESH
    assert_identical(scenario, result.counterexample)
    assert ("trio=batches" in result.counterexample.token) == (order == "batches")


def test_an_order_that_there_is_not_is_misuse():
    for wrong in (lambda: Settings(trio_order="fifo"), lambda: simharness.scenario(trio_order="fifo")(two_checkpoints)):
        with pytest.raises(simharness.Misuse, match=r"trio_order='fifo': it must be one of any, batches"):
            wrong()


def test_the_order_is_an_option_of_the_scenario_too():
    assert explored(simharness.scenario(trio_order="batches")(two_checkpoints), None).executions == 8


# Ways to start one


async def a_root():
    """Two tasks, one of which fails."""

    async def fails():
        await trio.lowlevel.checkpoint()
        raise AssertionError("in a task")

    await children(fails, trio.sleep_forever)()


def test_an_async_def_is_its_own_root_and_an_assertion_in_a_task_is_the_failure():
    found = simharness.explore(a_root).counterexample
    assert found.failure.startswith("an assertion fails: in a task at ")
    assert "fails" in found.timeline


@simharness.scenario(times=[1, 2])
async def a_parametrised_root(world, times):
    for _ in range(times):
        await trio.lowlevel.checkpoint()
    world.outcome(times)


def test_an_async_def_can_take_the_world_and_parameters():
    assert [simharness.explore(a_parametrised_root, parameters={"times": n}).outcomes for n in (1, 2)] == [{1}, {2}]


def test_plain_code_can_call_trio_run_again_and_again_and_in_threads():
    def root():
        async def name():
            await trio.sleep(1)
            return threading.current_thread().name

        assert trio.run(name) == "MainThread"
        seen = []
        thread = threading.Thread(target=lambda: seen.append(trio.run(name)), name="other")
        thread.start()
        assert trio.run(name) == "MainThread"
        thread.join()
        assert seen == ["other"]

    assert simharness.explore(root).verdict is Verdict.VERIFIED


def test_a_run_inside_a_run_and_a_run_in_a_check_are_refused_as_they_should_be():
    async def nested():
        with pytest.raises(RuntimeError, match="from inside a run"):
            trio.run(trio.sleep, 0)

    def checked(world):
        world.actor("a", nested)
        world.at_end(lambda: trio.run(trio.sleep, 0))

    assert simharness.explore(nested).verdict is Verdict.VERIFIED
    with pytest.raises(simharness.Misuse, match="a check cannot call"):
        simharness.explore(checked)


# Deadlines


def test_deadlines_are_virtual_and_exact():
    @simharness.scenario(max_delay=0)
    async def sleeps():
        began, real = trio.current_time(), time.monotonic()
        with trio.move_on_after(3600) as scope:
            await trio.sleep(7200.25)
        assert scope.cancelled_caught
        assert trio.current_time() - began == time.monotonic() - real == 3600
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.1):
            await trio.sleep_forever()
        assert trio.current_time() - began == pytest.approx(3600.1)

    assert explored(sleeps).verdict is Verdict.VERIFIED


def test_a_cancellation_lands_at_every_checkpoint_that_a_late_task_can_be_at():
    def scenario(world):
        async def main():
            steps = 0
            with trio.move_on_after(1):
                for steps in range(1, 4):
                    world.outcome(steps)
                    await trio.lowlevel.checkpoint()
                steps = "all"
            world.outcome(f"ended at {steps}")

        world.actor("a", main)

    assert explored(scenario).outcomes == {1, 2, 3, "ended at 1", "ended at 2", "ended at 3", "ended at all"}


def test_lateness_does_not_run_into_a_deadline_that_is_further_away_than_it_goes():
    def scenario(world):
        async def main():
            with trio.move_on_after(5) as scope:
                await trio.lowlevel.checkpoint()
            world.outcome(scope.cancelled_caught)

        world.actor("a", main)

    assert explored(scenario).outcomes == {False}


def test_a_thread_and_a_task_sleep_on_the_same_clock():
    def scenario(world):
        log = []

        async def task():
            await trio.sleep(1)
            log.append("task")

        def thread():
            time.sleep(2)
            log.append("thread")
            world.outcome(tuple(log))

        world.actor("a", task)
        world.actor("b", thread)

    late, punctual = explored(scenario), explored(simharness.scenario(max_delay=0)(scenario))
    assert late.outcomes == {("task", "thread"), ("thread",)}
    assert punctual.outcomes == {("task", "thread")}


@pytest.mark.parametrize("clock", [None, 0])
def test_a_test_with_an_autojump_clock_runs_as_it_is(clock):
    async def test_function(autojump_clock, nursery):
        event = trio.Event()
        nursery.start_soon(event.wait)
        await trio.testing.wait_all_tasks_blocked()
        event.set()
        began = trio.current_time()
        await trio.sleep(100)
        assert trio.current_time() - began == 100

    def root():
        found = trio.testing.MockClock(autojump_threshold=0) if clock is not None else None

        async def fixtures():
            async with trio.open_nursery() as nursery:
                await test_function(found, nursery)

        trio.run(fixtures, clock=found)

    assert simharness.explore(root).verdict is Verdict.VERIFIED


# Threads


def test_a_tasks_step_is_atomic_for_its_siblings_and_not_for_threads():
    def scenario(world, other):
        cell = world.shared(0, "cell")

        async def bump():
            cell.set(cell.get() + 1)

        world.actor("a", children(bump, bump))
        if other:
            world.actor("b", lambda: cell.set(cell.get() + 1))

        @world.at_end
        def counted():
            assert cell.get() == 2 + other

    assert explored(simharness.scenario(other=[0])(scenario)).verdict is Verdict.VERIFIED
    assert explored(simharness.scenario(other=[1])(scenario)).verdict is Verdict.VIOLATED


def test_a_threading_lock_that_is_held_at_a_checkpoint_blocks_the_whole_run():
    lock = threading.Lock()

    async def holds():
        with lock:
            await trio.lowlevel.checkpoint()

    found = simharness.explore(children(holds, holds)).counterexample
    assert "holds 2 waits for lock" in found.failure
    assert "holds waits for its turn" in found.failure


def test_worker_threads_come_back_into_their_run():
    def scenario(world):
        async def twice(number):
            await trio.lowlevel.checkpoint()
            return number * 2

        def work():
            return trio.from_thread.run(twice, trio.from_thread.run_sync(len, "abc"))

        async def main():
            world.outcome(await trio.to_thread.run_sync(work))

        world.actor("a", main)

    for order in ("any", "batches"):
        result = explored(scenario, order)
        assert (result.verdict, result.outcomes) == (Verdict.VERIFIED, {6})


def test_a_thread_looks_whether_its_task_was_cancelled_before_and_after_that():
    def scenario(world):
        def work():
            try:
                trio.from_thread.check_cancelled()
            except trio.Cancelled:
                world.outcome("cancelled")
                raise
            world.outcome("not yet")

        async def main():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, work)
                await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()

        world.actor("a", main)

    assert explored(scenario).outcomes == {"cancelled", "not yet"}


def test_a_foreign_thread_can_call_until_the_run_is_over():
    def scenario(world):
        tokens = world.shared(None, "token")

        async def main():
            tokens.set(trio.lowlevel.current_trio_token())
            await trio.lowlevel.checkpoint()

        def thread():
            token = tokens.wait_until(lambda value: value is not None)
            try:
                token.run_sync_soon(world.outcome, "called")
            except trio.RunFinishedError:
                world.outcome("too late")

        world.actor("a", main)
        world.actor("b", thread)

    assert explored(scenario).outcomes == explored(scenario, strategy="exhaustive").outcomes == {"called", "too late"}


def test_an_abandoned_thread_holds_nobody_up():
    def scenario(world):
        never = threading.Event()

        async def main():
            with trio.move_on_after(1):
                await trio.to_thread.run_sync(never.wait, abandon_on_cancel=True)

        world.actor("a", main)

    assert explored(scenario).verdict is Verdict.VERIFIED


def test_a_sqlite_connection_is_shared_by_the_tasks_of_a_run_and_refused_to_its_threads():
    def scenario(world):
        connection = sqlite3.connect(world.path("state.db"))
        connection.close()

        async def main():
            db = sqlite3.connect(world.path("state.db"))
            db.execute("CREATE TABLE t (n)")

            async def insert():
                db.execute("INSERT INTO t VALUES (1)")

            await children(insert, insert)()
            assert db.execute("SELECT count(*) FROM t").fetchone() == (2,)
            with pytest.raises(sqlite3.ProgrammingError):
                await trio.to_thread.run_sync(db.execute, "SELECT 1")
            db.close()

        world.actor("a", main)

    assert explored(scenario).verdict is Verdict.VERIFIED


# What is refused, and what is left


async def connects():
    await trio.open_tcp_stream("localhost", 80)


async def starts_a_process():
    await trio.run_process(["true"])


async def waits_for_signals():
    with trio.open_signal_receiver(signal.SIGUSR1):
        pass


async def waits_for_a_descriptor():
    await trio.lowlevel.wait_readable(0)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (connects, "open_tcp_stream"),
        (starts_a_process, r"trio\.run_process"),
        (waits_for_signals, r"trio\.open_signal_receiver"),
        (waits_for_a_descriptor, r"trio\.lowlevel\.wait_readable"),
    ],
)
def test_real_io_is_refused_by_name_and_line(function, name):
    with pytest.raises(simharness.Misuse, match=rf"test_trio.py:\d+: MainThread called .*{name}, which a simulation refuses"):
        simharness.explore(function)


@pytest.mark.alone
def test_signal_handlers_the_wake_up_descriptor_the_hooks_and_trios_context_are_left_as_they_were_found():
    def state():
        descriptor = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(descriptor)
        return (
            signal.getsignal(signal.SIGINT),
            descriptor,
            sys.get_asyncgen_hooks(),
            vars(trio._core._run.GLOBAL_RUN_CONTEXT).copy(),
            trio.run,
        )

    before = state()
    for scenario in (two_checkpoints, a_root):
        assert explored(scenario, "batches", stop_on_first=True).executions
        assert state() == before
    assert trio.run(trio.sleep, 0) is None


def test_asynchronous_generators_are_closed_in_their_run():
    def scenario(world):
        def make(name):
            async def numbers():
                try:
                    yield 1
                    yield 2
                finally:
                    world.outcome((name, trio.lowlevel.current_root_task() is not None))

            async def main():
                async for _ in numbers():
                    await trio.lowlevel.checkpoint()
                    break

            return main

        world.actor("a", make("a"))
        world.actor("b", make("b"))

    with pytest.warns(ResourceWarning, match="garbage collected"):
        assert explored(scenario).outcomes == {("a", True), ("b", True)}


def test_a_real_run_in_another_thread_is_not_disturbed():
    seen = []

    async def real():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 0.001)
            seen.append(await trio.to_thread.run_sync(threading.get_ident))

    stop = threading.Event()

    problems = []

    def runs():
        try:
            while not stop.is_set():
                trio.run(real)
        except BaseException as error:
            problems.append(error)

    with control.installed():
        thread = threading.Thread(target=runs)
        thread.start()
        while len(seen) < 3 and not problems:
            assert explored(two_checkpoints).outcomes == SIX
        stop.set()
        thread.join()
    assert not problems


@pytest.mark.long
def test_executions_that_get_stuck_leave_nothing_behind():
    def scenario(world):
        async def stuck(event):
            try:
                await event.wait()
            finally:
                world.outcome("ran on")
                with trio.CancelScope(shield=True):
                    await trio.sleep(1)

        async def main():
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(stuck, trio.Event())

        world.actor("a", main)

    def left(executions):
        gc.collect()
        before = len(gc.get_objects())
        result = simharness.explore(scenario, settings=Settings(max_executions=executions, shrink=0), stop_on_first=False)
        assert result.deadlocks
        del result
        gc.collect()
        return len(gc.get_objects()) - before

    with control.installed():
        left(10)
        assert left(100) - left(10) < 80


def test_explorations_leave_no_run_and_no_task_behind():
    def present():
        gc.collect()
        kinds = ("Runner", "Task", "Nursery", "Kernel")
        modules = ("trio._core._run", "simharness.engine.kernel")
        return [thing for thing in gc.get_objects() if type(thing).__module__.startswith(modules) and type(thing).__name__ in kinds]

    before = present()  # what other tests have left
    for scenario in (two_checkpoints, a_root):
        explored(scenario, "batches")
    found = {id(thing) for thing in before}
    assert not [thing for thing in present() if id(thing) not in found]


ORDER_OF_A_SET = """
import trio, simharness

@simharness.scenario(expect="violated")
def scenario(world):
    async def main():
        events = [trio.Event() for _ in range(3)]
        async with trio.open_nursery() as nursery:
            for event in events:
                nursery.start_soon(event.wait)
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
        assert False
    world.actor("a", main)
"""


@pytest.mark.confirms
def test_a_cancellation_of_many_tasks_is_the_same_in_a_fresh_process_with_another_hash_seed(tmp_path):
    file = tmp_path / "cancels.py"
    file.write_text(ORDER_OF_A_SET, encoding="utf-8")
    [scenario] = load(str(file))
    settings = Settings(max_executions=5, shrink=0)
    assert simharness.explore(scenario, settings=settings).counterexample.confirmed == FRESH


def test_a_task_may_be_called_as_the_loop_is():
    async def loop():
        await trio.lowlevel.checkpoint()

    def scenario(world):
        world.actor("a", children(loop, loop))
        world.actor("loop", children(loop))

    assert explored(scenario, "batches").verdict is explored(children(loop, loop)).verdict is Verdict.VERIFIED


def test_random_numbers_of_a_task_do_not_depend_on_its_siblings():
    def scenario(world):
        def draws(name):
            async def work():
                await trio.lowlevel.checkpoint()
                world.outcome((name, random.random()))

            return work

        world.actor("a", children(draws("one"), draws("two")))

    assert len(explored(scenario).outcomes) == 2
