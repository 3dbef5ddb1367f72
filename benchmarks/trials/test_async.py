"""asyncio packages: what they promise about tasks that run beside one another."""

import asyncio

import aiocache
import aiolimiter
import aiosqlite
import async_lru
import asyncstdlib
import pytest

pytestmark = pytest.mark.asyncio


async def calls_at_once(cached):
    """Return the keys for which a function is called that two tasks ask at once, through what `cached` makes of it."""
    calls = []

    async def load(key):
        calls.append(key)
        await asyncio.sleep(0)
        return key

    asked = cached(load)
    await asyncio.gather(asked("x"), asked("x"))
    return calls


@pytest.mark.interleave(instrument=("async_lru",))
async def test_async_lru_calls_once_for_tasks_that_ask_at_once():
    assert await calls_at_once(async_lru.alru_cache) == ["x"]


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="tasks that ask while a call is under way call, too; the documentation promises no more"
)
@pytest.mark.interleave(instrument=("asyncstdlib",))
async def test_asyncstdlib_lru_cache_calls_once_for_tasks_that_ask_at_once():
    assert await calls_at_once(asyncstdlib.lru_cache) == ["x"]


@pytest.mark.interleave(instrument=("asyncstdlib",))
async def test_asyncstdlib_cached_property_computes_once():
    calls = []

    class Thing:
        @asyncstdlib.cached_property(asyncio.Lock)
        async def value(self):
            calls.append(1)
            await asyncio.sleep(0)
            return 1

    thing = Thing()

    async def ask():
        return await thing.value

    await asyncio.gather(ask(), ask())
    assert calls == [1]


@pytest.mark.interleave(instrument=("asyncstdlib",))
async def test_asyncstdlib_tee_gives_each_task_everything():
    async def numbers():
        for number in range(2):
            await asyncio.sleep(0)
            yield number

    async def taken(iterator):
        return [item async for item in iterator]

    async with asyncstdlib.tee(numbers(), 2, lock=asyncio.Lock()) as (one, other):
        assert await asyncio.gather(taken(one), taken(other)) == [[0, 1], [0, 1]]


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="tasks that ask while a call is under way call, too")
@pytest.mark.interleave(instrument=("aiocache",))
async def test_aiocache_calls_once_for_tasks_that_ask_at_once():
    assert await calls_at_once(aiocache.cached()) == ["x"]


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="a task that is late by the lease of 2 s calls, too")
@pytest.mark.interleave(instrument=("aiocache",))
async def test_aiocache_stampede_calls_once():
    assert await calls_at_once(aiocache.cached_stampede(lease=2)) == ["x"]


@pytest.mark.interleave(instrument=("aiolimiter",))
async def test_aiolimiter_lets_no_more_through_than_its_rate():
    limiter = aiolimiter.AsyncLimiter(1, 10)
    times = []

    async def use():
        async with limiter:
            times.append(asyncio.get_running_loop().time())

    await asyncio.gather(use(), use())
    assert max(times) - min(times) >= 9.9


@pytest.mark.interleave(max_executions=200, inconclusive="pass")
async def test_aiosqlite_counts_each_update(tmp_path):
    async def count():
        async with aiosqlite.connect(tmp_path / "n.db", timeout=60) as database:
            await database.execute("UPDATE t SET n = n + 1")
            await database.commit()

    async with aiosqlite.connect(tmp_path / "n.db") as database:
        await database.execute("CREATE TABLE t (n)")
        await database.execute("INSERT INTO t VALUES (0)")
        await database.commit()
    await asyncio.gather(count(), count())
    async with aiosqlite.connect(tmp_path / "n.db") as database, database.execute("SELECT n FROM t") as cursor:
        assert await cursor.fetchone() == (2,)


@pytest.mark.interleave
async def test_sqlalchemy_on_aiosqlite_reads_what_it_wrote(tmp_path):
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 's.db'}")
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE t (n)"))
        await connection.execute(text("INSERT INTO t VALUES (1)"))
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT n FROM t"))).scalar_one() == 1
    await engine.dispose()
