"""cachetools: memoising decorators and caches."""

import threading

import pytest
from cachetools import LRUCache, TTLCache, cached

instrumented = pytest.mark.interleave(instrument=("cachetools",))


@pytest.mark.xfail(strict=True, raises=(AssertionError, KeyError), reason="no lock was asked for")
@instrumented
def test_a_cached_function_without_a_lock_is_called_once(together):
    calls = []

    @cached(LRUCache(maxsize=2))
    def load(key):
        calls.append(key)
        return key

    together(lambda: load(1), lambda: load(1))
    assert calls == [1]


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="the lock is not held during the call")
@instrumented
def test_a_cached_function_with_a_lock_is_called_once(together):
    calls = []

    @cached(LRUCache(maxsize=2), lock=threading.Lock())
    def load(key):
        calls.append(key)
        return key

    together(lambda: load(1), lambda: load(1))
    assert calls == [1]


@instrumented
def test_a_cached_function_with_a_lock_gives_everybody_one_object(together):
    got = []

    @cached(LRUCache(maxsize=2), lock=threading.Lock())
    def load(key):
        return object()

    together(lambda: got.append(load(1)), lambda: got.append(load(1)))
    assert got[0] is got[1]


@instrumented
def test_a_cached_function_with_a_condition_is_called_once(together):
    calls = []

    @cached(LRUCache(maxsize=2), condition=threading.Condition(), info=True)
    def load(key):
        calls.append(key)
        return key

    together(lambda: load(1), lambda: load(1), lambda: load(2))
    assert sorted(calls) == [1, 2]
    assert load.cache_info().hits == 1


@pytest.mark.xfail(strict=True, raises=KeyError, reason="caches are not thread-safe by themselves")
@instrumented
def test_an_lru_cache_without_a_lock_keeps_to_its_size(together):
    cache = LRUCache(maxsize=1)
    together(lambda: cache.update(a=1), lambda: cache.update(b=2))
    assert len(cache) <= 1
    assert cache.currsize == len(cache)


@instrumented
def test_a_ttl_cache_without_a_lock_expires_what_is_old(together):
    cache = TTLCache(maxsize=2, ttl=1)
    cache["old"] = 1

    def look():
        assert cache.get("old") in (1, None)

    together(look, look)


@pytest.mark.xfail(strict=True, raises=KeyError, reason="it expires between the two looks")
@pytest.mark.interleave(instrument=("cachetools",), timescales=1)
def test_a_key_that_was_just_found_is_still_there(together):
    cache = TTLCache(maxsize=2, ttl=1)
    cache["k"] = 1

    def look():
        if "k" in cache:
            assert cache["k"] == 1

    together(look, lambda: None)
