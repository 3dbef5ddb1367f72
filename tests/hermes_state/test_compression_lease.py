"""The lease: who gets it, when it expires, and what keeps it alive."""

from __future__ import annotations

import threading

import pytest
from store_kit import PARENT, Clock, OpenStore

import simharness.check
from hermes_state import PROTOCOLS, LeaseRefresher

OLDER = [name for name in PROTOCOLS if name != "fenced"]
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)


@every_protocol
def test_one_holder_at_a_time_and_only_the_holder_can_release(open_store: OpenStore, protocol: str) -> None:
    db = open_store(protocol)
    assert db.try_acquire_compression_lock(PARENT, "a") is True
    assert db.try_acquire_compression_lock(PARENT, "b") is False
    assert db.try_acquire_compression_lock("another session", "b") is True
    db.release_compression_lock(PARENT, "b")
    assert db.get_compression_lock_holder(PARENT) == "a"
    db.release_compression_lock(PARENT, "a")
    assert db.get_compression_lock_holder(PARENT) is None
    assert db.try_acquire_compression_lock(PARENT, "b") is True


@every_protocol
def test_acquiring_again_by_the_same_holder_succeeds(open_store: OpenStore, protocol: str) -> None:
    db = open_store(protocol)
    assert db.try_acquire_compression_lock(PARENT, "a")
    assert db.try_acquire_compression_lock(PARENT, "a")


@every_protocol
def test_an_expired_lease_counts_as_none_and_goes_to_the_next_who_asks(open_store: OpenStore, clock: Clock, protocol: str) -> None:
    db = open_store(protocol)
    db.try_acquire_compression_lock(PARENT, "a", ttl_seconds=300.0)
    clock.advance(300.0)
    assert db.get_compression_lock_holder(PARENT) == "a"
    assert db.try_acquire_compression_lock(PARENT, "b") is False
    clock.advance(0.5)
    assert db.get_compression_lock_holder(PARENT) is None
    assert db.try_acquire_compression_lock(PARENT, "b") is True
    assert db.refresh_compression_lock(PARENT, "a") is False


@every_protocol
def test_a_refreshed_lease_lasts_a_ttl_from_the_refresh(open_store: OpenStore, clock: Clock, protocol: str) -> None:
    db = open_store(protocol)
    db.try_acquire_compression_lock(PARENT, "a")
    clock.advance(200.0)
    assert db.refresh_compression_lock(PARENT, "a") is True
    assert db.refresh_compression_lock(PARENT, "b") is False
    clock.advance(200.0)
    assert db.get_compression_lock_holder(PARENT) == "a"


@pytest.mark.parametrize(("protocol", "revived"), [(name, name == "fenced") for name in PROTOCOLS])
def test_only_fenced_revives_an_expired_lease_that_nobody_took(open_store: OpenStore, clock: Clock, protocol: str, revived: bool) -> None:
    db = open_store(protocol)
    db.try_acquire_compression_lock(PARENT, "a")
    clock.advance(400.0)
    assert db.refresh_compression_lock(PARENT, "a") is revived
    assert db.get_compression_lock_holder(PARENT) == ("a" if revived else None)


def test_each_acquisition_under_fenced_draws_a_larger_token_also_after_a_release(open_store: OpenStore) -> None:
    db = open_store("fenced")
    tokens = []
    for holder in ("a", "b", "a"):
        db.try_acquire_compression_lock(PARENT, holder)
        tokens.append(db.fencing_token(PARENT, holder))
        db.release_compression_lock(PARENT, holder)
        assert db.fencing_token(PARENT, holder) is None
    assert tokens == [1, 2, 3]


def test_fenced_gives_no_lease_on_a_session_that_has_ended(open_store: OpenStore) -> None:
    db = open_store("fenced")
    db.create_session(PARENT, source="cli")
    db.end_session(PARENT, "reset")
    assert db.try_acquire_compression_lock(PARENT, "a") is False
    assert db.get_compression_lock_holder(PARENT) is None


@pytest.mark.parametrize("protocol", [name for name in OLDER if name != "unlocked"])
def test_the_older_protocols_give_a_lease_on_a_session_that_has_ended(open_store: OpenStore, protocol: str) -> None:
    db = open_store(protocol)
    db.create_session(PARENT, source="cli")
    db.end_session(PARENT, "compression")
    assert db.try_acquire_compression_lock(PARENT, "a") is True


class ScriptedRefresh:
    """Answers refreshes from a script, and says when the script is at its end."""

    def __init__(self, answers: list[bool | Exception]) -> None:
        self.answers = answers
        self.done = threading.Event()

    def __call__(self) -> bool:
        answer = self.answers.pop(0) if self.answers else True
        if not self.answers:
            self.done.set()
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_a_refresher_that_never_gives_up_survives_any_number_of_failures() -> None:
    refresh = ScriptedRefresh([OSError("disk"), False, False, OSError("disk"), False, False, False, True])
    with LeaseRefresher(refresh, ttl=0.003):
        assert refresh.done.wait(10)


def test_a_refresher_that_gives_up_does_so_after_that_many_failures_in_a_row() -> None:
    refresh = ScriptedRefresh([False, True, False, False, True])
    refresher = LeaseRefresher(refresh, ttl=0.003, give_up_after=2)
    with refresher:
        refresher._thread.join(10)
        assert not refresher._thread.is_alive()
    assert refresh.answers == [True]


def test_leaving_the_block_ends_the_refreshing_thread() -> None:
    refresher = LeaseRefresher(lambda: True, ttl=300.0)
    with refresher:
        assert refresher._thread.is_alive()
        assert refresher._thread.daemon
    assert not refresher._thread.is_alive()


@pytest.mark.parametrize(("ttl", "interval"), [(300.0, 60.0), (1200.0, 60.0), (30.0, 10.0)])
def test_the_lease_is_refreshed_a_few_times_within_each_ttl_and_at_least_once_a_minute(ttl: float, interval: float) -> None:
    assert LeaseRefresher(lambda: True, ttl)._interval == interval


def test_the_operations_of_a_lease_fit_a_serial_order_when_two_threads_of_one_holder_call_them():
    """Two acquisitions must leave the later token, and an acquisition whose lease was released none."""
    found = simharness.check.run(
        "hermes_state.store:SessionDB(path())",
        ("try_acquire_compression_lock('a', 'a')", "release_compression_lock('a', 'a')", "fencing_token('a', 'a')"),
        threads=2,
        calls=1,
    )
    assert found.verdict == "verified", [str(failure.program) for failure in found.failures]
