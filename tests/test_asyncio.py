"""asyncio: counts made by hand, the three orders, threads, what asyncio hides, loops that only look, what is refused."""

import asyncio
import sys
import threading

import pytest

import simharness
from simharness import Settings, Verdict

ORDERS = ("loop", "arrivals", "any")
OLD = asyncio.new_event_loop()
OLD.close()


def explored(program, order=None, **options):
    settings = Settings(asyncio_order=order, shrink=0, confirm=False, max_executions=options.pop("most", 1500), max_steps=3000)
    return simharness.explore(program, settings=settings, **options)


def gathered(tasks, pauses, seconds):
    def program():
        async def work():
            for _ in range(pauses):
                await asyncio.sleep(seconds)

        async def main():
            await asyncio.gather(*(work() for _ in range(tasks)))

        asyncio.run(main())

    return simharness.scenario(max_delay=0.0)(program)


@pytest.mark.parametrize(
    ("tasks", "pauses", "seconds", "loop", "arrivals", "unordered"),
    [(2, 1, 0, 1, 4, 14), (2, 2, 0, 1, 12, 50), (2, 1, 1, 8, 6, 56), (3, 1, 0, 1, 30, None), (2, 2, 1, 48, 24, None)],
)
def test_gathered_tasks_with_pauses_have_as_many_orders_as_were_counted_by_hand(tasks, pauses, seconds, loop, arrivals, unordered):
    for order, count in zip(ORDERS, (loop, arrivals, unordered), strict=True):
        if count is not None:
            result = explored(gathered(tasks, pauses, seconds), order, strategy="dpor")
            assert (result.verdict, result.executions) == (Verdict.VERIFIED, count)


def lost_update():
    number = [0]

    async def work():
        before = number[0]
        await asyncio.sleep(0)
        number[0] = before + 1

    async def main():
        await asyncio.gather(work(), work())

    asyncio.run(main())
    assert number[0] == 2


def the_second_pause_overtakes():
    log = []

    async def twice():
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        log.append("twice")

    async def once():
        await asyncio.sleep(0)
        log.append("once")

    async def main():
        await asyncio.gather(twice(), once())

    asyncio.run(main())
    assert log == ["once", "twice"]


class Semaphore:
    """A waiter that is cancelled after it was woken wakes nobody."""

    def __init__(self, mended):
        self.free, self.waiters, self.mended = 0, [], mended

    async def acquire(self):
        while self.free <= 0:
            waiter = asyncio.get_running_loop().create_future()
            self.waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if self.mended and self.free > 0:
                    self.wake()
                raise
        self.free -= 1

    def wake(self):
        while self.waiters:
            waiter = self.waiters.pop(0)
            if not waiter.done():
                waiter.set_result(None)
                return

    def release(self):
        self.free += 1
        self.wake()


def cancelled_between_wake_up_and_run(mended=False):
    async def main():
        semaphore = Semaphore(mended)

        async def use():
            await semaphore.acquire()
            semaphore.release()

        first, second = asyncio.create_task(use()), asyncio.create_task(use())

        async def cancel():
            await asyncio.sleep(0)
            first.cancel()

        async def give():
            await asyncio.sleep(0)
            semaphore.release()

        await asyncio.gather(cancel(), give())
        await asyncio.wait([second])

    asyncio.run(main())


def mended_semaphore():
    cancelled_between_wake_up_and_run(mended=True)


def gather_leaves_a_sibling():
    written = []

    async def fails():
        await asyncio.sleep(0)
        raise ValueError

    async def writes():
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        written.append(1)

    async def main():
        try:
            await asyncio.gather(fails(), writes())
        except ValueError:
            before = list(written)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert written == before

    asyncio.run(main())


@simharness.scenario(max_delay=0.0)
def a_slot_is_handed_to_a_waiter_that_times_out():
    async def main():
        waiters, free = [], [0]

        async def acquire():
            if free[0]:
                free[0] -= 1
                return
            waiter = asyncio.get_running_loop().create_future()
            waiters.append(waiter)
            await waiter

        def release():
            if waiters:
                waiters.pop(0).cancelled() or None
                taken.append(1)
            else:
                free[0] += 1

        taken = []

        async def user():
            waiter = asyncio.get_running_loop().create_future()
            waiters.append(waiter)
            try:
                async with asyncio.timeout(1):
                    await waiter
            except TimeoutError:
                return
            release_to_next(waiters, free)

        def release_to_next(waiting, slots):
            while waiting:
                waiter = waiting.pop(0)
                if not waiter.done():
                    waiter.set_result(None)
                    return
            slots[0] += 1

        async def holder():
            await asyncio.sleep(1)
            release_to_next(waiters, free)

        await asyncio.gather(user(), holder())
        assert free[0] == 1

    asyncio.run(main())


def started_after_one_pause():
    seen = []

    async def work():
        seen.append(1)
        await asyncio.Event().wait()

    async def main():
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        assert seen
        task.cancel()

    asyncio.run(main())


def tasks_start_in_order():
    seen = []

    async def work(number):
        seen.append(number)

    async def main():
        await asyncio.gather(*map(work, range(3)))

    asyncio.run(main())
    assert seen == [0, 1, 2]


def callbacks_run_in_order():
    seen = []

    async def main():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        for number in range(3):
            loop.call_soon(seen.append, number)
        loop.call_soon(done.set_result, None)
        await done

    asyncio.run(main())
    assert seen == [0, 1, 2]


def a_child_that_never_began_is_cancelled():
    started = []

    async def fails():
        started.append("fails")
        await asyncio.sleep(0)
        raise ValueError

    async def later():
        started.append("later")

    async def main():
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fails())
                group.create_task(later())
        except* ValueError:
            pass
        assert started == ["fails", "later"]

    asyncio.run(main())


def three_holders_of_a_lock():
    async def main():
        lock, inside = asyncio.Lock(), [0]

        async def hold():
            async with lock:
                inside[0] += 1
                assert inside[0] == 1
                await asyncio.sleep(0)
                inside[0] -= 1

        await asyncio.gather(hold(), hold(), hold())

    asyncio.run(main())


@simharness.scenario(max_delay=0.0)
def timeout_around_a_sleep():
    async def main():
        done = []
        try:
            async with asyncio.timeout(1):
                await asyncio.sleep(1)
                done.append(1)
        except TimeoutError:
            assert not done
        else:
            assert done

    asyncio.run(main())


V, OK = Verdict.VIOLATED, Verdict.VERIFIED


@pytest.mark.parametrize(
    ("program", "loop", "arrivals", "unordered"),
    [
        (lost_update, V, V, V),
        (the_second_pause_overtakes, OK, V, V),
        (cancelled_between_wake_up_and_run, OK, V, V),
        (mended_semaphore, OK, OK, None),
        (gather_leaves_a_sibling, OK, V, V),
        (a_slot_is_handed_to_a_waiter_that_times_out, V, V, V),
        (started_after_one_pause, OK, OK, V),
        (tasks_start_in_order, OK, OK, V),
        (callbacks_run_in_order, OK, OK, OK),
        (a_child_that_never_began_is_cancelled, OK, OK, V),
        (three_holders_of_a_lock, OK, OK, None),
        (timeout_around_a_sleep, OK, OK, OK),
    ],
    ids=lambda value: getattr(value, "__name__", getattr(value, "name", None)),
)
def test_the_default_finds_what_breaks_with_real_io_and_alarms_for_no_program_that_relies_on_the_order_of_registration(
    program, loop, arrivals, unordered
):
    for order, verdict in zip(ORDERS, (loop, arrivals, unordered), strict=True):
        if verdict is not None:
            assert explored(program, order).verdict is verdict, order


def test_a_lock_with_three_holders_has_one_order_as_registrations_are_in_order():
    assert [explored(three_holders_of_a_lock, order, strategy="dpor").executions for order in ("loop", "arrivals")] == [1, 1]


def test_a_timeout_around_a_sleep_has_as_many_orders_as_were_counted_by_hand():
    assert [explored(timeout_around_a_sleep, order, strategy="dpor").executions for order in ORDERS] == [6, 4, 10]


def test_what_one_step_has_registered_stays_together():
    @simharness.scenario
    def program(world):
        log = []

        async def main():
            event = asyncio.Event()

            async def wait(name):
                await event.wait()
                log.append(name)

            async def pause():
                await asyncio.sleep(0)
                log.append("pause")

            async def wake():
                event.set()

            await asyncio.gather(wait("a"), wait("b"), pause(), wake())

        asyncio.run(main())
        world.outcome(" ".join(log))

    assert explored(program, stop_on_first=False).outcomes == {"pause a b", "a b pause"}


def test_a_counterexample_says_whether_the_loop_can_do_it_today():
    today = simharness.explore(lost_update, settings=Settings(confirm=False, shrink=5)).counterexample.shortness
    assert "fail too: lost_update::" in today
    assert ":asyncio=loop:" in today
    elsewhere = simharness.explore(the_second_pause_overtakes, settings=Settings(confirm=False, shrink=5)).counterexample.shortness
    assert "fails (all 1 tried): it takes the completion of a pause, such as I/O, at another moment" in elsewhere


def test_an_unknown_order_is_refused():
    for wrong in (lambda: Settings(asyncio_order="fifo"), lambda: simharness.scenario(asyncio_order="fifo")(lost_update)):
        with pytest.raises(simharness.Misuse, match=r"asyncio_order='fifo': it must be one of loop, arrivals, any"):
            wrong()


def test_a_token_repeats_the_execution_in_its_order():
    found = explored(lost_update, "any").counterexample
    assert ":asyncio=any:" in found.token
    assert simharness.replay(lost_update, found.token).failure


def test_a_loop_that_is_told_to_stop_completes_its_iteration():
    @simharness.scenario
    def program(world):
        log, loop = [], asyncio.new_event_loop()
        for call in (lambda: log.append("before"), loop.stop, lambda: log.append("after")):
            loop.call_soon(call)
        loop.call_soon(lambda: loop.call_soon(log.append, "next"))
        loop.run_forever()
        loop.close()
        world.outcome(" ".join(log))

    for order in ("loop", "arrivals"):
        assert explored(program, order, stop_on_first=False).outcomes == {"before after"}


# Threads


def one_to_thread():
    async def main():
        assert await asyncio.to_thread(lambda: 5) == 5

    asyncio.run(main())


def two_threads_and_a_counter():
    lock, count = threading.Lock(), [0]

    def bump():
        with lock:
            before = count[0]
        with lock:
            count[0] = before + 1

    async def main():
        await asyncio.gather(asyncio.to_thread(bump), asyncio.to_thread(bump))

    asyncio.run(main())
    assert count[0] == 2


def a_loop_in_a_thread():
    ready, made = threading.Event(), []

    def serve():
        loop = asyncio.new_event_loop()
        made.append(loop)
        loop.call_soon(ready.set)
        loop.run_forever()
        loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    ready.wait()

    async def one():
        await asyncio.sleep(0)
        return 1

    assert asyncio.run_coroutine_threadsafe(one(), made[0]).result() == 1
    made[0].call_soon_threadsafe(made[0].stop)
    thread.join()


def two_loops_and_a_counter():
    lock, count = threading.Lock(), [0]

    def run():
        async def main():
            with lock:
                before = count[0]
            await asyncio.sleep(0)
            assert asyncio.get_running_loop() is not None
            with lock:
                count[0] = before + 1

        asyncio.run(main())

    threads = [threading.Thread(target=run, name=name) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count[0] == 2


def test_threads_and_loops_share_one_world():
    assert explored(one_to_thread).verdict is OK
    assert explored(one_to_thread, strategy="dpor").executions <= 4
    assert explored(two_threads_and_a_counter).verdict is V
    assert explored(a_loop_in_a_thread).verdict is OK
    assert explored(two_loops_and_a_counter).verdict is V


def test_a_call_from_a_thread_may_come_between_two_registrations_of_one_step():
    def program(world):
        log = []

        async def main():
            loop = asyncio.get_running_loop()
            thread = threading.Thread(target=loop.call_soon_threadsafe, args=(log.append, "thread"))
            thread.start()
            loop.call_soon(log.append, "first")
            loop.call_soon(log.append, "second")
            while len(log) < 3:
                await asyncio.sleep(0.1)
            thread.join()

        asyncio.run(main())
        world.outcome(" ".join(log))

    found = explored(simharness.scenario(max_delay=0.0)(program), stop_on_first=False).outcomes
    assert found == {"thread first second", "first thread second", "first second thread"}


def test_the_clock_may_move_in_the_middle_of_a_step_in_which_no_timer_fires():
    @simharness.scenario
    def program(world):
        log, lock = [], threading.Lock()

        async def main():
            asyncio.get_running_loop().call_later(1, log.append, "timer")
            await asyncio.sleep(0)
            with lock:
                log.append(f"in at {asyncio.get_running_loop().time() - 1000:g}")
            log.append("out")
            await asyncio.sleep(2)

        asyncio.run(main())
        world.outcome(" ".join(log))

    results = [explored(program, strategy=strategy, stop_on_first=False) for strategy in ("dpor", "exhaustive")]
    late = {"in at 1 out timer", "in at 1 out"}  # the completion of the timer may come after that of `sleep`
    assert results[0].executions == results[1].executions
    assert results[0].outcomes == results[1].outcomes == {"timer in at 1 out", "in at 0 out timer", "in at 0 out", *late}


def served(world):
    """A loop in a daemon thread, which a crash may end."""
    made, ready = [], threading.Event()

    def serve():
        loop = asyncio.new_event_loop()
        made.append(loop)
        loop.call_soon(ready.set)
        loop.run_forever()

    def ask():
        ready.wait()
        future = asyncio.run_coroutine_threadsafe(asyncio.sleep(1, "answer"), made[0])
        world.outcome(future.result())

    threading.Thread(target=serve, daemon=True).start()
    threading.Thread(target=ask).start()


def slept(world):
    async def main():
        begun = asyncio.get_running_loop().time()
        await asyncio.gather(asyncio.sleep(1), asyncio.sleep(2))
        world.outcome(asyncio.get_running_loop().time() - begun >= 2)

    world.actor("sleeper", lambda: asyncio.run(main()))


@pytest.mark.parametrize(
    ("program", "faults"), [(served, None), (slept, None), (slept, "crash=1"), (slept, "stall=1"), (slept, "suspend=1")]
)
def test_daemons_and_faults_of_processes_are_explored_as_brute_force_does(program, faults):
    scenario = simharness.scenario(max_delay=0.0, allow_deadlock=True)(program)
    results = [explored(scenario, faults=faults, strategy=strategy, stop_on_first=False) for strategy in ("dpor", "exhaustive")]
    assert results[0].verdict is results[1].verdict is OK
    assert results[0].outcomes == results[1].outcomes
    assert True in results[0].outcomes or "answer" in results[0].outcomes


# What asyncio hides


async def dies():
    raise ValueError("died")


def nobody_looks(handler=None):
    async def main():
        asyncio.get_running_loop().set_exception_handler(handler)
        task = asyncio.create_task(dies())
        await asyncio.sleep(0)
        assert task.done()

    asyncio.run(main())


def a_callback_raises(handler=None):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(handler)
        loop.call_soon([].index, 1)
        await asyncio.sleep(0)

    asyncio.run(main())


def a_thread_wakes_nobody(handler=None):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(handler)
        future = loop.create_future()
        thread = threading.Thread(target=future.set_result, args=(1,))
        thread.start()
        await future
        thread.join()

    asyncio.run(main())


def never_awaited():
    async def main():
        dies()
        await asyncio.sleep(0)

    asyncio.run(main())


def test_what_asyncio_hides_is_a_failure():
    for program, said in (
        (nobody_looks, "died"),
        (a_callback_raises, "ValueError"),
        (a_thread_wakes_nobody, "by a thread that does not run the loop"),
        (never_awaited, "coroutine 'dies' was never awaited"),
    ):
        result = explored(program)
        assert result.verdict is V
        assert said in str(result.counterexample.failure)


@pytest.mark.parametrize("program", [nobody_looks, a_callback_raises, a_thread_wakes_nobody])
def test_what_the_programs_own_handler_handles_is_no_failure(program):
    assert explored(lambda: program(lambda loop, context: None)).verdict is OK


def test_a_filter_of_warnings_decides_about_coroutines_that_are_never_awaited():
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="coroutine .* was never awaited")
        assert explored(never_awaited).verdict is OK


def test_a_task_that_died_in_a_loop_that_is_never_closed_is_a_failure():
    def program():
        async def main():
            task = asyncio.create_task(dies())
            await asyncio.sleep(0)
            assert task.done()

        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())

    assert explored(program).verdict is V


def test_an_exit_in_a_task_ends_the_loop_and_not_more():
    def program():
        async def leaves():
            await asyncio.sleep(0)
            raise SystemExit(3)

        async def main():
            await asyncio.wait([asyncio.create_task(leaves())])

        lock = threading.Lock()
        with pytest.raises(SystemExit):
            asyncio.run(main())
        with lock:
            pass

    assert explored(program).verdict is OK


def test_a_task_whose_exception_somebody_takes_is_no_failure():
    def program():
        async def main():
            task = asyncio.create_task(dies())
            await asyncio.wait([task])
            assert isinstance(task.exception(), ValueError)

        asyncio.run(main())

    assert explored(program).verdict is OK


# Loops that only look


def test_loops_that_look_again_and_again_end():
    def task(pauses):
        async def main():
            box = []

            async def work():
                for _ in range(pauses):
                    await asyncio.sleep(0)
                box.append(1)

            other = asyncio.create_task(work())
            while not box:
                await asyncio.sleep(0)
            await other

        return main

    async def timer():
        box = []
        asyncio.get_running_loop().call_later(10, box.append, 1)
        while not box:
            await asyncio.sleep(0)

    async def thread():
        box = []
        other = threading.Thread(target=box.append, args=(1,))
        other.start()
        while not box:
            await asyncio.sleep(0)
        other.join()

    assert explored(lambda: asyncio.run(task(2)())).verdict is OK
    for main in (timer, thread):
        assert explored(lambda main=main: asyncio.run(main())).verdict is OK


def test_a_deadlock_of_two_locks_says_where_the_tasks_wait():
    def program():
        async def main():
            a, b = asyncio.Lock(), asyncio.Lock()

            async def take(first, second):
                async with first:
                    await asyncio.sleep(0)
                    async with second:
                        pass

            await asyncio.gather(take(a, b), take(b, a))

        asyncio.run(main())

    result = explored(program)
    assert result.deadlocks
    assert "take waits for Lock.acquire at" in str(result.counterexample.failure)


# Cancellation as a fault


def request(safe, limited=False):
    def program():
        free, lock = [1], asyncio.Lock()

        async def request():
            free[0] -= 1
            try:
                await asyncio.sleep(0)
            except BaseException:
                free[0] += safe
                raise
            free[0] += 1

        async def other():
            async with lock:
                await asyncio.sleep(0)

        async def main():
            made = [asyncio.create_task(request()), asyncio.create_task(other())]
            await asyncio.wait(made)
            assert not lock.locked()

        asyncio.run(main())
        assert free == [1]

    return program


def test_a_cancellation_strikes_where_a_named_task_resumes():
    assert explored(request(safe=False)).verdict is OK
    assert explored(request(safe=False), faults="cancel=1").verdict is V
    assert explored(request(safe=False), faults="cancel=1@request").verdict is V
    assert explored(request(safe=False), faults="cancel=1@other").verdict is OK
    found = explored(request(safe=False), faults="cancel=1").counterexample
    assert "it is cancelled" in found.timeline or "cancel" in found.timeline


def test_with_cancellations_reduction_and_brute_force_agree_and_a_safe_twin_is_verified():
    results = [explored(request(safe=True), faults="cancel=1", strategy=strategy) for strategy in ("dpor", "exhaustive")]
    assert [result.verdict for result in results] == [OK, OK]
    assert results[0].executions == results[1].executions


# The same in every execution


def test_sets_of_tasks_and_their_names_are_the_same_in_every_execution():
    orders, names = set(), set()

    def program():
        async def main():
            async def work(number):
                await asyncio.sleep(0)
                return number

            made = [asyncio.create_task(work(number)) for number in range(3)]
            names.add(tuple(task.get_name() for task in made))
            assert len(asyncio.all_tasks()) == 4
            orders.add(tuple(asyncio.all_tasks()) == tuple(sorted(asyncio.all_tasks(), key=hash)))
            await asyncio.wait(made)

        asyncio.run(main())

    assert explored(program, "any", most=30).executions == 30
    assert orders == {True}
    assert len(names) == 1


def test_a_trivial_program_has_no_steps_of_the_loop_s_own_shutdown():
    steps = []

    @simharness.scenario
    def program():
        async def main():
            await asyncio.sleep(0)

        asyncio.run(main())

    with simharness_steps(steps):
        explored(program)
    assert min(steps) <= 4


class simharness_steps:
    """Notes how many steps each execution makes."""

    def __init__(self, steps):
        self.steps = steps

    def __enter__(self):
        from simharness.engine.kernel import Kernel

        self.real, steps = Kernel.run, self.steps

        def run(kernel, *arguments, **options):
            self.real(kernel, *arguments, **options)
            steps.append(kernel.record.n)

        Kernel.run = run

    def __exit__(self, *_):
        from simharness.engine.kernel import Kernel

        Kernel.run = self.real


def test_eager_tasks_and_asynchronous_generators_do_as_they_do_without_a_simulation():
    if sys.version_info < (3, 12):
        pytest.skip("eager tasks came with Python 3.12")

    def program(world=None):
        log = []

        async def work(number):
            log.append(f"begin {number}")
            await asyncio.sleep(0)
            log.append(f"end {number}")

        async def main():
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
            await asyncio.gather(work(1), work(2))

        asyncio.run(main())
        return log

    genuine, found = program(), []
    assert explored(lambda: found.append(program()), "loop").verdict is OK
    assert found[0] == genuine


# What is refused


def run_the_old_loop():
    OLD.run_forever()


class OwnLoop(asyncio.SelectorEventLoop):
    pass


def read_a_socket():
    async def main():
        asyncio.get_running_loop().add_reader(0, print)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (run_the_old_loop, "loop.run_forever.*the loop was made before the execution"),
        (OwnLoop, "only asyncio's own loop is simulated"),
        (read_a_socket, "add_reader.*real I/O cannot be scheduled"),
    ],
)
def test_what_is_not_modelled_is_refused_by_name(program, said):
    with pytest.raises(simharness.Refused, match=said):
        explored(program)


def test_outside_a_simulation_asyncio_is_untouched():
    explored(lost_update)
    loop = asyncio.new_event_loop()
    assert type(loop) is asyncio.SelectorEventLoop
    loop.close()
    asyncio.run(asyncio.sleep(0))


def test_the_callback_of_a_timer_may_touch_memory_that_tasks_share():
    def program():
        waiters, woken = [], []

        def wake():
            while waiters:
                woken.append(len(waiters))
                waiters.pop().set_result(None)

        async def waits(loop):
            waiters.append(loop.create_future())
            if len(waiters) == 1:
                loop.call_later(10, wake)
            await waiters[-1]

        async def main():
            loop = asyncio.get_running_loop()
            await asyncio.wait_for(asyncio.gather(waits(loop), waits(loop)), 60)
            assert woken == [2, 1]

        asyncio.run(main())

    result = simharness.explore(program, settings=Settings(instrument=(__name__,)))
    assert result.verdict == "verified"
    assert "memory of test_asyncio" in result.bounds
