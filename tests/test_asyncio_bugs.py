"""Bugs of asynchronous programs that were reported in public, in our own words: found under the default, and the repairs verified."""

import asyncio
import sys

import pytest

import simharness
from simharness import Settings, Verdict


def verdict(program, *arguments, **options):
    scenario = simharness.scenario(max_delay=0.0)(lambda: asyncio.run(program(*arguments)))
    limits = Settings(shrink=0, confirm=False, max_executions=2000)
    return simharness.explore(scenario, settings=limits, **options).verdict


async def one_connection(repaired):
    """A caller is cancelled between its request and the reply; the connection is used again, and the next caller gets that reply."""
    replies = []

    async def call(question):
        replies.append(f"reply to {question}")
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            if repaired:
                replies.clear()  # the connection is closed
            raise
        return replies.pop(0)

    first = asyncio.create_task(call("a"))

    async def disconnect():
        await asyncio.sleep(0)
        first.cancel()

    await asyncio.gather(disconnect(), first, return_exceptions=True)
    assert await call("b") == "reply to b"


async def wait_for_meets_cancel():
    """The caller of `wait_for` is cancelled as the inner future completes: the cancellation must not be lost."""
    loop = asyncio.get_running_loop()
    inner, after = loop.create_future(), []

    async def caller():
        await asyncio.wait_for(inner, 10)
        await asyncio.sleep(5)
        after.append("went on")

    task = asyncio.create_task(caller())
    loop.call_later(1, lambda: inner.done() or inner.set_result(None))
    loop.call_later(1, task.cancel)
    await asyncio.wait([task])
    assert task.cancelled(), after


async def notify_meets_cancel():
    """The waiter that `Condition.notify` has chosen is cancelled: another one must be woken."""
    condition, woken = asyncio.Condition(), []

    async def wait(name):
        async with condition:
            await condition.wait()
            woken.append(name)

    first, second = asyncio.create_task(wait("first")), asyncio.create_task(wait("second"))
    await asyncio.sleep(0)

    async def notify():
        await asyncio.sleep(0)
        async with condition:
            condition.notify()

    async def cancel():
        await asyncio.sleep(0)
        first.cancel()

    await asyncio.gather(notify(), cancel())
    await asyncio.wait([first])
    if first.cancelled():
        await asyncio.wait_for(second, 1)
    else:
        second.cancel()


async def refresh_a_token(repaired):
    """Two requests see an expired token; each refreshes it, and the second refresh invalidates what the first one got."""
    token, refreshes, lock = ["expired"], [], asyncio.Lock()

    async def refresh():
        if token[0] == "expired":
            await asyncio.sleep(0)
            refreshes.append(1)
            token[0] = "fresh"

    async def request():
        if repaired:
            async with lock:
                await refresh()
        else:
            await refresh()

    await asyncio.gather(request(), request())
    assert len(refreshes) == 1


async def acquire_with_a_time_out(repaired):
    """A connection is handed over in the moment in which the time of its waiter is over: it must not be lost."""
    free, waiters = [], []
    loop = asyncio.get_running_loop()

    def release(connection):
        while waiters:
            waiter = waiters.pop(0)
            if not waiter.done():
                waiter.set_result(connection)
                return
        free.append(connection)

    async def acquire():
        waiter = loop.create_future()
        waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if repaired and waiter.done() and not waiter.cancelled():
                release(waiter.result())
            raise

    async def user():
        try:
            async with asyncio.timeout(1):
                connection = await acquire()
        except TimeoutError:
            return
        release(connection)

    loop.call_later(1, release, "connection")
    await user()
    await asyncio.sleep(1)
    assert free == ["connection"]


@pytest.mark.parametrize("program", [one_connection, refresh_a_token, acquire_with_a_time_out])
def test_a_reported_bug_is_found_under_the_default_and_its_repair_is_verified(program):
    assert verdict(program, False) is Verdict.VIOLATED
    assert verdict(program, True) is Verdict.VERIFIED


def test_the_cancellation_that_wait_for_loses_in_python_3_11_is_found_there_only():
    assert verdict(wait_for_meets_cancel) is (Verdict.VIOLATED if sys.version_info < (3, 12) else Verdict.VERIFIED)


def test_the_notification_that_a_condition_loses_before_python_3_13_is_found_there():
    assert verdict(notify_meets_cancel) is (Verdict.VIOLATED if sys.version_info < (3, 13) else Verdict.VERIFIED)
