"""Replaying a counterexample often: every replay must be the same execution."""

from __future__ import annotations

import simharness

FEW, MANY = 5, 100


def assert_identical(scenario, counterexample, times=FEW):
    """Replay the counterexample's token so many times and compare trace hashes and failures with its own."""
    found = [simharness.replay(scenario, counterexample.token) for _ in range(times)]
    assert len(found) == times
    assert {replayed.trace_hash for replayed in found} == {counterexample.trace_hash}
    assert {replayed.failure for replayed in found} == {counterexample.failure}
