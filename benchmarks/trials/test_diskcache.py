"""diskcache: a cache in a SQLite database."""

import diskcache
import pytest


@pytest.mark.interleave(instrument=("diskcache.core",))
def test_a_counter_in_diskcache_counts_both(tmp_path, together):
    cache = diskcache.Cache(tmp_path)
    together(lambda: cache.incr("n"), lambda: cache.incr("n"))
    assert cache["n"] == 2


@pytest.mark.interleave(instrument=("diskcache.core",))
def test_add_in_diskcache_succeeds_for_one(tmp_path, together):
    cache = diskcache.Cache(tmp_path)
    added = []
    together(lambda: added.append(cache.add("k", 1)), lambda: added.append(cache.add("k", 2)))
    assert sorted(added) == [False, True]


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="nothing is held during the call")
@pytest.mark.interleave(instrument=("diskcache.core",))
def test_a_memoized_function_of_diskcache_is_called_once(tmp_path, together):
    cache = diskcache.Cache(tmp_path)
    calls = []

    @cache.memoize()
    def load(key):
        calls.append(key)
        return key

    together(lambda: load(1), lambda: load(1))
    assert calls == [1]
