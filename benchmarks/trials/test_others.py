"""Pools, limits, locks and dictionaries: DBUtils, ratelimit, readerwriterlock, expiringdict, pylru, more_itertools, wrapt, cacheout."""

import contextlib
import sqlite3

import cacheout
import more_itertools
import pylru
import pytest
import ratelimit
import wrapt
from dbutils.pooled_db import PooledDB
from expiringdict import ExpiringDict
from readerwriterlock import rwlock


@pytest.mark.interleave(instrument=("dbutils.pooled_db",))
def test_pooled_db_hands_one_connection_to_one_thread_at_a_time(tmp_path, together):
    pool = PooledDB(sqlite3, maxconnections=1, blocking=True, database=str(tmp_path / "a.db"), check_same_thread=False)
    out = []

    def use():
        connection = pool.connection()
        out.append(1)
        assert len(out) == 1
        out.pop()
        connection.close()

    together(use, use)


@pytest.mark.interleave(instrument=("ratelimit",))
def test_ratelimit_lets_one_call_through_in_a_period(together):
    passed = []

    @ratelimit.limits(calls=1, period=10)
    def call():
        passed.append(1)

    def attempt():
        with contextlib.suppress(ratelimit.RateLimitException):
            call()

    together(attempt, attempt)
    assert passed == [1]


@pytest.mark.interleave(instrument=("ratelimit",))
def test_ratelimit_sleeps_and_tries_again(together):
    passed = []

    @ratelimit.sleep_and_retry
    @ratelimit.limits(calls=1, period=10)
    def call():
        passed.append(1)

    together(call, call)
    assert passed == [1, 1]


@pytest.mark.interleave(instrument=("readerwriterlock.rwlock",))
@pytest.mark.parametrize("kind", [rwlock.RWLockRead, rwlock.RWLockWrite, rwlock.RWLockFair])
def test_a_reader_writer_lock_keeps_the_writer_alone(kind, together):
    lock = kind()
    inside = []

    def read():
        with lock.gen_rlock():
            inside.append("r")
            assert "w" not in inside
            inside.remove("r")

    def write():
        with lock.gen_wlock():
            inside.append("w")
            assert inside == ["w"]
            inside.remove("w")

    together(read, write)


@pytest.mark.interleave(instrument=("expiringdict",))
def test_an_expiring_dict_keeps_to_its_length(together):
    cache = ExpiringDict(max_len=1, max_age_seconds=10)
    together(lambda: cache.__setitem__("a", 1), lambda: cache.__setitem__("b", 2))
    assert len(cache) == 1


@pytest.mark.xfail(strict=True, raises=KeyError, reason="it expires between the two looks")
@pytest.mark.interleave(instrument=("expiringdict",), timescales=1)
def test_a_key_of_an_expiring_dict_that_was_just_found_is_still_there(together):
    cache = ExpiringDict(max_len=2, max_age_seconds=1)
    cache["k"] = 1

    def look():
        if "k" in cache:
            assert cache["k"] == 1

    together(look, lambda: None)


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="it is not thread-safe")
@pytest.mark.interleave(instrument=("pylru",))
def test_a_pylru_cache_holds_what_was_put_into_it(together):
    cache = pylru.lrucache(2)
    together(lambda: cache.__setitem__("a", 1), lambda: cache.__setitem__("b", 2))
    assert sorted(cache.items()) == [("a", 1), ("b", 2)]


@pytest.mark.interleave(instrument=("more_itertools.more",))
def test_synchronized_hands_each_element_to_one_thread(together):
    @more_itertools.synchronized
    def numbers():
        yield from range(4)

    source = numbers()
    got = []
    together(lambda: got.append(next(source)), lambda: got.append(next(source)))
    assert sorted(got) == [0, 1]


@pytest.mark.interleave(instrument=("wrapt.synchronization",))
def test_wrapt_synchronized_methods_of_one_object_exclude_each_other(together):
    class Account:
        def __init__(self):
            self.balance = 0

        @wrapt.synchronized
        def add(self, amount):
            self.balance += amount

    account = Account()
    together(lambda: account.add(1), lambda: account.add(2))
    assert account.balance == 3


@pytest.mark.interleave(instrument=("cacheout",))
def test_cacheout_makes_a_value_once(together):
    cache = cacheout.Cache(maxsize=2, ttl=5)
    made = []

    def load(key):
        made.append(key)
        return key

    together(lambda: cache.get("k", default=load), lambda: cache.get("k", default=load))
    assert made == ["k"]


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="the lock is not held during the call")
@pytest.mark.interleave
def test_a_memoized_function_of_cacheout_is_called_once(together):
    cache = cacheout.Cache(maxsize=2)
    calls = []

    @cache.memoize()
    def load(key):
        calls.append(key)
        return key

    together(lambda: load(1), lambda: load(1))
    assert calls == [1]
