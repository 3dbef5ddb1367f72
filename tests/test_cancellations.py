"""Cancellation as a fault, at every moment of a wait: planted bugs are found on asyncio, Trio, and AnyIO over Trio; twins are verified."""

import asyncio
import collections

import anyio
import pytest
import trio
import trio.testing
import trio_programs
from asyncio_programs import PLAIN, TIMED, Program, TooMany, every

import simharness
from simharness import Settings, Verdict
from simharness.runtimes import control

OK, V = Verdict.VERIFIED, Verdict.VIOLATED
LATE = Settings(shrink=0, confirm=False)


class OnAsyncio:
    """What the programs below use of asyncio."""

    event, lock, pause = asyncio.Event, asyncio.Lock, staticmethod(lambda: asyncio.sleep(0))

    def run(self, *tasks, then=lambda: None):
        async def main():
            await asyncio.wait([asyncio.create_task(task()) for task in tasks])
            then()

        asyncio.run(main())


class OnTrio:
    """What the programs below use of Trio."""

    event, lock, pause = trio.Event, trio.Lock, staticmethod(trio.lowlevel.checkpoint)

    def run(self, *tasks, then=lambda: None):
        async def main():
            async with trio.open_nursery() as nursery:
                for task in tasks:
                    nursery.start_soon(task)
            then()

        trio.run(main)


class OnAnyIO:
    """What the programs below use of AnyIO."""

    event, lock, pause = anyio.Event, anyio.Lock, staticmethod(lambda: anyio.sleep(0))

    def __init__(self, backend):
        self.backend = backend

    def run(self, *tasks, then=lambda: None):
        async def main():
            async with anyio.create_task_group() as group:
                for task in tasks:
                    group.start_soon(task)
            then()

        anyio.run(main, backend=self.backend)


LIBRARIES = {"asyncio": OnAsyncio(), "trio": OnTrio(), "anyio-trio": OnAnyIO("trio")}


def explored(program, faults="cancel=1@request", **options):
    return simharness.explore(simharness.scenario(**options)(program), faults=faults)


# Planted bugs, and their repaired twins


def slot(library, repaired):
    """A lock is not released if its holder is cancelled while it waits for a reply."""
    lock, reply = once(library.lock), once(library.event)

    async def request():
        if repaired:
            async with lock():
                await reply().wait()
            return
        await lock().acquire()
        await reply().wait()
        lock().release()

    async def answer():
        await library.pause()
        reply().set()

    library.run(request, answer, then=lambda: check(not lock().locked()))


def update(library, repaired):
    """Half an update is applied before a wait, half after it."""
    stock, reply = [1, 0], once(library.event)

    async def request():
        if not repaired:
            stock[0] -= 1
        await reply().wait()
        if repaired:
            stock[0] -= 1
        stock[1] += 1

    async def answer():
        await library.pause()
        reply().set()

    library.run(request, answer, then=lambda: check(sum(stock) == 1))


def pool(library, repaired):
    """A connection goes back to its pool only if the query succeeds."""
    free = ["connection"]

    async def request():
        connection = free.pop()
        try:
            await library.pause()
        except BaseException:
            if repaired:
                free.append(connection)
            raise
        free.append(connection)

    library.run(request, then=lambda: check(free == ["connection"]))


def taken(library, repaired):
    """What was taken from a queue is lost if the taker is cancelled before it has stored it."""
    waiting, stored = ["item"], []

    async def request():
        item = waiting[0] if repaired else waiting.pop()
        await library.pause()
        stored.append(item)
        if repaired:
            waiting.pop()

    library.run(request, then=lambda: check(len(waiting) + len(stored) == 1))


def check(holds):
    assert holds


def once(make):
    """Return what returns one and the same thing, made at its first use."""
    made = []

    def get():
        if not made:
            made.append(make())
        return made[0]

    return get


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("program", [slot, update, pool, taken])
def test_what_a_cancelled_task_leaves_behind_is_found_and_the_repaired_twin_verified(program, library):
    def either(repaired):
        return lambda: program(LIBRARIES[library], repaired)

    assert explored(either(False), faults=None).verdict is OK
    assert explored(either(False)).verdict is V
    assert explored(either(True)).verdict is OK
    assert explored(either(False), faults="cancel=1@other").verdict is OK


def hand_over(skips_the_cancelled, gives_back):
    """A queue that hands its items to those who wait, as `asyncio.Semaphore` did."""
    items, waiters, got = collections.deque(), collections.deque(), []

    def put(item):
        while waiters:
            waiter = waiters.popleft()
            if not (skips_the_cancelled and waiter.done()):
                waiter.set_result(item)
                return
        items.append(item)

    async def request():
        waiter = asyncio.get_running_loop().create_future()
        waiters.append(waiter)
        try:
            got.append(await waiter)
        except asyncio.CancelledError:
            if gives_back and waiter.done() and not waiter.cancelled():
                put(waiter.result())
            raise

    async def main():
        made = asyncio.create_task(request())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if not waiters:
            return
        put("item")
        await asyncio.wait([made])
        assert len(items) + len(got) == 1

    asyncio.run(main())


def test_a_waiter_is_cancelled_long_before_the_hand_over_and_after_it_before_it_runs():
    assert explored(lambda: hand_over(False, False), faults=None).verdict is OK
    dead = explored(lambda: hand_over(False, True))
    assert dead.verdict is V
    assert "InvalidStateError" in str(dead.counterexample.failure)
    lost = explored(lambda: hand_over(True, False))
    assert lost.verdict is V
    assert "assert" in str(lost.counterexample.failure)
    assert explored(lambda: hand_over(True, True)).verdict is OK


def reply_that_never_comes(library):
    async def request():
        await library.event().wait()

    library.run(request, then=lambda: check(False))


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_task_that_waits_for_what_never_comes_is_set_free_by_a_cancellation(library):
    scenario = simharness.scenario(allow_deadlock=True)(lambda: reply_that_never_comes(LIBRARIES[library]))
    result = simharness.explore(scenario, faults="cancel=1@request")
    assert result.verdict is V
    assert "request is cancelled" in result.counterexample.timeline
    assert simharness.replay(scenario, result.counterexample.token).failure is not None


@pytest.mark.parametrize("library", ["asyncio", "trio"])
@pytest.mark.parametrize("strategy", ["dpor", "exhaustive"])
def test_the_moments_of_a_wait_are_counted_by_hand(library, strategy):
    """Not at all, before the task starts, while it waits; of a sleep also after its time has come, and after the timer has fired."""

    def number(sleeps):
        def program():
            async def request():
                await (LIBRARIES[library].event().wait() if not sleeps else asyncio.sleep(1) if library == "asyncio" else trio.sleep(1))

            LIBRARIES[library].run(request)

        scenario = simharness.scenario(allow_deadlock=True, max_delay=0.0)(program)
        return simharness.explore(scenario, strategy=strategy, faults="cancel=1@request", settings=LATE).executions

    assert number(sleeps=False) == 3
    assert number(sleeps=True) == (6 if library == "asyncio" else 5)  # a timer whose time has come may still fire before the task runs


# The scopes of Trio


def test_a_scope_of_trio_is_cancelled_by_the_name_of_the_function_that_opens_it():
    def program():
        seen = []

        async def query():
            with trio.move_on_after(60):
                seen.append("begins")
                await trio.sleep(1)
                seen.append("ends")

        async def main():
            await query()
            assert seen == ["begins", "ends"]

        trio.run(main)

    assert explored(program, faults="cancel=1").verdict is OK  # the main task is not cancelled unless it is named
    assert explored(program, faults="cancel=1@main").verdict is OK  # it does not come to its assertion
    result = explored(program, faults="cancel=1@query")
    assert result.verdict is V
    assert "query of MainThread is cancelled" in result.counterexample.timeline


# Random programs


def outcomes_on_asyncio(program, order, strategy, faults, most=300):
    """Return the logs of a program and the number of its executions; None if there are too many."""
    logs = set()

    @simharness.scenario(max_delay=0.0, asyncio_order=order)
    def scenario():
        logs.add(" ".join(program()))

    limits = Settings(max_executions=most, shrink=0, confirm=False)
    result = simharness.explore(scenario, strategy=strategy, faults=faults, settings=limits)
    assert result.verdict is not V, (program.plans, result.counterexample.failure)
    return (logs, result.executions) if result.verdict is OK else None


def agrees_on_asyncio(seed, operations, order, cancels):
    """Compare reduction, brute force, and a model without the runtime; whether that could be done."""
    program = Program(seed, operations, tasks=(1, 2), lengths=(1, 2) if cancels < 2 else (1,), leaves=True)
    reduced = outcomes_on_asyncio(program, order, "dpor", f"cancel={cancels}")
    if reduced is None:
        return False
    brute = outcomes_on_asyncio(program, order, "exhaustive", f"cancel={cancels}", 1200)
    assert brute is None or brute == reduced, program.plans
    if order != "any":
        try:
            assert every(program, order, 1500, cancels) == reduced[0], program.plans
        except TooMany:
            return False
    return True


@pytest.mark.parametrize("order", ["loop", "arrivals", "any"])
def test_on_asyncio_reduction_brute_force_and_a_model_agree(order):
    assert sum(agrees_on_asyncio(seed, operations, order, 1) for seed in (4,) for operations in (PLAIN, TIMED)) > 0


@pytest.mark.long  # some two minutes of processor time
@pytest.mark.parametrize("order", ["loop", "arrivals", "any"])
@pytest.mark.parametrize("cancels", [1, 2])
def test_on_asyncio_they_agree_on_many_programs(order, cancels):
    assert sum(agrees_on_asyncio(seed, operations, order, cancels) for seed in range(30) for operations in (PLAIN, TIMED)) > 20


def agrees_on_trio(seeds, most=300):
    """Compare reduction, brute force and the genuine Trio; return for how many programs that could be done."""
    compared = 0
    limits = Settings(max_executions=2000, shrink=0, max_steps=400)
    for seed in seeds:
        program = trio_programs.program(seed, trio_programs.PLAIN, tasks=(1, 2))
        genuine = trio_programs.genuine_outcomes(program, most, cancels=1)
        if genuine is None:
            continue
        for order in ("batches", "any"):
            scenario = simharness.scenario(allow_deadlock=True, trio_order=order)(trio_programs.scenario(program))
            reduced, brute = (
                simharness.explore(scenario, strategy, faults="cancel=1@task", stop_on_first=False, settings=limits)
                for strategy in ("dpor", "exhaustive")
            )
            assert "stopped at" in reduced.bounds or (reduced.outcomes >= genuine if order == "any" else reduced.outcomes == genuine), seed
            both = "stopped at" not in reduced.bounds + brute.bounds
            assert not both or (reduced.outcomes, reduced.executions) == (brute.outcomes, brute.executions), seed
            compared += both
    return compared


def test_on_trio_reduction_brute_force_and_the_genuine_trio_agree():
    with control.installed():
        assert agrees_on_trio(range(3)) > 1


@pytest.mark.long  # some two minutes of processor time
def test_on_trio_they_agree_on_many_programs():
    with control.installed():
        assert agrees_on_trio(range(100, 160), 1500) > 40
