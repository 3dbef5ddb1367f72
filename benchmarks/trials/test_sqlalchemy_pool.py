"""SQLAlchemy: QueuePool over real SQLite connections."""

import sqlite3

import pytest
from sqlalchemy.pool import QueuePool

instrumented = pytest.mark.interleave(instrument=("sqlalchemy.pool.impl", "sqlalchemy.util.queue"))


def pool_of(path, **options):
    return QueuePool(lambda: sqlite3.connect(path, check_same_thread=False), **options)


@instrumented
def test_a_pool_without_overflow_hands_out_one_connection_at_a_time(tmp_path, together):
    pool = pool_of(tmp_path / "a.db", pool_size=1, max_overflow=0)
    out = []

    def use():
        connection = pool.connect()
        out.append(1)
        assert len(out) == 1
        out.pop()
        connection.close()

    together(use, use)
    assert pool.checkedout() == 0
    assert pool.checkedin() == 1


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="counted without a lock where there is no limit")
@instrumented
def test_a_pool_of_unlimited_overflow_knows_how_many_are_out(tmp_path, together):
    pool = pool_of(tmp_path / "a.db", pool_size=1, max_overflow=-1)
    held = []
    together(lambda: held.append(pool.connect()), lambda: held.append(pool.connect()))
    assert pool.checkedout() == 2
