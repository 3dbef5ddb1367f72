"""More locks, limits and retries: filelock, tenacity, limits, PyPubSub, structlog."""

import filelock
import limits
import pytest
import structlog
import tenacity
from pubsub.core import Publisher


@pytest.mark.interleave(max_delay=0.1, preemptions=1)
def test_a_file_lock_lets_one_thread_in(tmp_path, together):
    inside = []

    def work():
        with filelock.FileLock(tmp_path / "a.lock"):
            inside.append(1)
            assert len(inside) == 1
            inside.pop()

    together(work, work)


@pytest.mark.xfail(strict=True, raises=KeyError, reason="threads share the statistics of a decorated function")
@pytest.mark.interleave(instrument=("tenacity",))
def test_tenacity_retries_until_it_works(together):
    calls = []

    @tenacity.retry(wait=tenacity.wait_fixed(1), stop=tenacity.stop_after_attempt(3))
    def work():
        calls.append(1)
        if len(calls) < 3:
            raise OSError

    together(work, work)
    assert 3 <= len(calls) <= 5


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="the count is read again after the lock")
@pytest.mark.interleave(instrument=("limits.storage.memory",))
def test_a_rate_limit_in_memory_lets_one_through(together):
    storage = limits.storage.MemoryStorage()
    limiter = limits.strategies.FixedWindowRateLimiter(storage)
    limit = limits.parse("1/minute")
    let = []
    together(lambda: let.append(limiter.hit(limit, "x")), lambda: let.append(limiter.hit(limit, "x")))
    assert sorted(let) == [False, True]


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="topics are made without a lock")
@pytest.mark.interleave(instrument=("pubsub",))
def test_a_topic_of_pypubsub_is_made_once(together):
    publisher = Publisher()
    got = []

    def first(number):
        got.append(number)

    def second(number):
        got.append(number)

    together(lambda: publisher.subscribe(first, "topic"), lambda: publisher.subscribe(second, "topic"))
    publisher.sendMessage("topic", number=1)
    assert got == [1, 1]


@pytest.mark.interleave(instrument=("structlog.contextvars",))
def test_context_variables_of_structlog_stay_with_their_thread(together):
    seen = {}

    def work(name):
        structlog.contextvars.bind_contextvars(user=name)
        seen[name] = structlog.contextvars.get_contextvars()["user"]

    together(lambda: work("alice"), lambda: work("bob"))
    assert seen == {"alice": "alice", "bob": "bob"}
