"""Trio and faults: a crash ends a whole `trio.run`, a stall passes deadlines, a suspend does not, jumps of the wall clock touch none."""

import dataclasses
import time

import pytest
import trio
import trio_programs

import simharness
from simharness.runtimes import control

LIMITS = simharness.Settings(max_executions=3_000, shrink=0, max_steps=400)


def explored(scenario, faults, **options):
    return simharness.explore(simharness.scenario(**options)(scenario), faults=faults, stop_on_first=False, settings=LIMITS)


def test_a_crash_ends_all_tasks_of_the_process_and_none_of_their_finally_blocks_has_effects():
    def scenario(world):
        done, released = world.shared(0, "done"), world.shared(0, "released")

        async def work():
            try:
                await trio.lowlevel.checkpoint()
                done.add(1)
            finally:
                released.add(1)
                await trio.lowlevel.checkpoint()

        async def main():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(work)
                nursery.start_soon(work)

        def other():
            world.outcome(("other", done.get() <= 2))

        world.actor("service", main, process="worker")
        world.actor("other", other)

        @world.at_end
        def together():
            world.outcome((done.get(), released.get()))

    result = explored(scenario, "crash=1@worker")
    assert result.verdict == "verified"
    # between the two cells of a `finally` the process may die, too
    assert {outcome for outcome in result.outcomes if outcome[0] != "other"} == {(0, 0), (1, 0), (1, 1), (2, 1), (2, 2)}


def test_a_crash_of_a_process_whose_loop_waits_for_a_deadline_does_not_end_the_execution_of_the_others():
    def scenario(world):
        finished = world.shared(False, "finished")

        async def main():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep, 1)
                nursery.start_soon(trio.sleep, 1)

        def other():
            time.sleep(5)
            finished.set(True)

        world.actor("service", main, process="worker")
        world.actor("other", other, process="other")

        @world.at_end
        def the_other_has_finished():
            assert finished.get()

    assert explored(scenario, "crash=1@worker").verdict == "verified"


def test_a_process_that_is_started_again_may_run_trio_again():
    def scenario(world):
        done = world.shared(0, "done")

        async def work():
            await trio.sleep(1)
            done.add(1)
            await trio.lowlevel.checkpoint()

        world.actor("service", work, process="worker")
        world.on_restart("worker", work)

        @world.at_end
        def once_or_twice():
            world.outcome(done.get())

    assert explored(scenario, "crash=1").outcomes == {1, 2}


@pytest.mark.parametrize(("faults", "outcomes"), [(None, {"in time"}), ("stall=1", {"in time", "late"}), ("suspend=1", {"in time"})])
def test_a_stall_lets_a_deadline_pass_and_a_suspend_does_not(faults, outcomes):
    def scenario(world):
        async def work():
            with trio.move_on_after(60) as scope:
                await trio.sleep(1)
                await trio.lowlevel.checkpoint()
            world.outcome("late" if scope.cancelled_caught else "in time")

        world.actor("service", work, process="worker")
        world.actor("other", lambda: time.sleep(100))

    assert explored(scenario, faults).outcomes == outcomes


def test_deadlines_of_a_suspended_process_come_so_much_later():
    def scenario(world):
        async def work():
            began, there = trio.current_time(), world.clock.elapsed_ns()
            await trio.sleep(10)
            world.outcome((round(trio.current_time() - began), (world.clock.elapsed_ns() - there) // 10**9))

        async def main():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(work)
                await trio.lowlevel.checkpoint()

        world.actor("service", main, process="worker")
        world.actor("other", lambda: time.sleep(100))

    assert explored(scenario, "suspend=1").outcomes == {(10, 10), (10, 20), (10, 100), (10, 110)}


def test_a_jump_of_the_wall_clock_touches_no_deadline():
    def scenario(world):
        async def work():
            wall, steady = time.time(), trio.current_time()
            await trio.sleep(10)
            world.outcome((round(time.time() - wall), round(trio.current_time() - steady)))

        world.actor("service", work)

    assert {steady for _, steady in explored(scenario, "clock_jump=1").outcomes} == {10}
    assert len(explored(scenario, "clock_jump=1").outcomes) == 3


KINDS = {"plain": trio_programs.PLAIN, "timed": trio_programs.PLAIN[:6] + trio_programs.TIMED}
MODELS = ("crash=1", "stall=1", "crash=1,stall=1", "suspend=1")


def compare(kind, seed, order, limit):
    """Explore a random program under a fault model both ways and compare; False when brute force would take too long."""
    program = simharness.scenario(allow_deadlock=True)(trio_programs.scenario(trio_programs.program(seed, KINDS[kind], tasks=(1, 2))))
    limits = dataclasses.replace(LIMITS, trio_order=order, max_executions=limit)
    model = MODELS[seed % len(MODELS)]
    everything = simharness.explore(program, strategy="exhaustive", stop_on_first=False, settings=limits, faults=model)
    if "stopped at" in everything.bounds:
        return False
    reduced = simharness.explore(program, "dpor", stop_on_first=False, settings=limits, faults=model)
    where = f"{kind} {seed} {order} {model}"
    assert reduced.outcomes == everything.outcomes, where
    assert (reduced.deadlocks > 0) == (everything.deadlocks > 0), where
    assert reduced.verdict == everything.verdict, where
    assert reduced.executions <= everything.executions, where
    return True


@pytest.mark.parametrize("order", ["any", "batches"])
def test_random_programs_under_faults_come_to_the_same_with_and_without_reduction(order):
    with control.installed():
        assert sum(compare(kind, seed, order, 200) for kind in KINDS for seed in range(6)) > 4


@pytest.mark.long
@pytest.mark.parametrize("first", range(1_000, 1_050, 50))
@pytest.mark.parametrize("order", ["any", "batches"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_many_random_programs_under_faults_come_to_the_same_with_and_without_reduction(kind, order, first):
    with control.installed():
        assert sum(compare(kind, seed, order, 2_000) for seed in range(first, first + 50)) > 10
