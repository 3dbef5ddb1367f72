"""On random programs over plain objects, what is learned and reduced comes to what comes of every interleaving of every access."""

from __future__ import annotations

import pytest

from simharness.runtimes.control import installed
from tests.random_memory import compare


@pytest.fixture(scope="module", autouse=True)
def _runtimes_in_place():
    with installed():
        yield


def test_random_programs_over_plain_objects_come_to_the_same_as_when_every_access_is_a_point(monkeypatch):
    assert sum(compare(seed, monkeypatch, limit=150) for seed in range(30)) > 15


@pytest.mark.long
@pytest.mark.parametrize("first", range(10_000, 10_600, 100))
def test_many_random_programs_over_plain_objects_come_to_the_same_as_when_every_access_is_a_point(monkeypatch, first):
    assert sum(compare(seed, monkeypatch) for seed in range(first, first + 100)) > 40
