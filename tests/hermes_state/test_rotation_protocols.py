"""Rotation: what each protocol keeps, and what it is known to break.

An ordering of two contenders is made by hand: what the second one does is run inside the first one's compressor.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import pytest
from store_kit import PARENT, Clock, OpenStore, ScriptedCompressor, compress, contents, session_ids

from hermes_state import PROTOCOLS, Agent, Message, SessionDB

LEASED = [name for name in PROTOCOLS if name != "unlocked"]
OLDER = [name for name in PROTOCOLS if name != "fenced"]
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)


def parent_with_messages(db: SessionDB, count: int = 3) -> None:
    db.create_session(PARENT, source="discord", user_id="u")
    for number in range(count):
        db.append_message(PARENT, "user", f"m{number}")


def contender(db: SessionDB, meanwhile: Callable[[], object] = lambda: None) -> Agent:
    return Agent(db, PARENT, ScriptedCompressor(meanwhile))


def calls(agent: Agent) -> int:
    assert isinstance(agent.context_compressor, ScriptedCompressor)
    return len(agent.context_compressor.calls)


def failing(error: Exception) -> Callable[..., Any]:
    def fails(*_args: object, **_keywords: object) -> Any:
        raise error

    return fails


@every_protocol
def test_a_rotation_ends_the_parent_and_goes_on_in_one_child(
    open_store: OpenStore, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    db = open_store(protocol)
    parent_with_messages(db)
    agent = contender(db)
    assert [message["content"] for message in compress(agent)] == ["summary"]
    [child] = db.get_compression_children(PARENT)
    parent, row = db.get_session(PARENT), db.get_session(child)
    assert parent is not None
    assert row is not None
    assert agent.session_id == child
    assert re.fullmatch(r"\d{8}_\d{6}_[0-9a-f]{6}", child)
    assert parent["end_reason"] == "compression"
    assert (row["system_prompt"], row["kind"], row["ended_at"]) == ("system", "compression", None)
    assert contents(db, child) == ["summary"]
    assert contents(db, PARENT) == ["m0", "m1", "m2"]
    assert db.get_compression_lock_holder(PARENT) is None
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        (
            "agent.conversation_compression",
            f"context compression started: session={PARENT} messages=3 tokens=~unknown model=reference-model focus=None",
        ),
        (
            "agent.conversation_compression",
            f"context compression done: session={child} messages=3->1 rough_tokens=~1 awaiting_real_usage=true",
        ),
    ]


@pytest.mark.parametrize("protocol", LEASED)
def test_who_finds_the_lease_held_never_compresses_and_gets_its_very_messages_back(
    open_store: OpenStore, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    db = open_store(protocol)
    parent_with_messages(db)
    loser = contender(db)
    messages: list[Message] = [{"role": "user", "content": "m"}]
    returned: list[object] = []
    holders: list[str | None] = []

    def meanwhile() -> None:
        holders.append(db.get_compression_lock_holder(PARENT))
        returned.append(loser._compress_context(messages, "sys"))

    winner = contender(db, meanwhile)
    compress(winner)
    assert returned == [(messages, "sys")]
    assert messages == [{"role": "user", "content": "m"}]
    assert (calls(loser), loser.session_id) == (0, PARENT)
    assert db.get_compression_children(PARENT) == [winner.session_id]
    [holder] = holders
    assert re.fullmatch(r"pid=\d+:tid=\d+:agent=[0-9a-f]+:nonce=[0-9a-f]{8}", str(holder))
    assert [record.getMessage() for record in caplog.records] == [
        f"compression skipped: another path is compressing session={PARENT} (holder={holder}) — "
        "returning messages unchanged to avoid session fork"
    ]


def test_without_a_lease_two_contenders_at_once_fork_the_session(open_store: OpenStore) -> None:
    db = open_store("unlocked")
    parent_with_messages(db)
    second = contender(db)
    compress(contender(db, lambda: compress(second)))
    assert len(db.get_compression_children(PARENT)) == 2


@pytest.mark.parametrize(("protocol", "children"), [("lease", 2), ("lease_recheck", 1), ("fenced", 1)])
def test_a_contender_that_comes_after_the_release_forks_only_where_nobody_looks_at_the_parent(
    open_store: OpenStore, protocol: str, children: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    db = open_store(protocol)
    parent_with_messages(db)
    late = contender(db)
    compress(contender(db))
    messages = [{"role": "user", "content": "m"}]
    returned, _ = late._compress_context(messages, "sys")
    assert len(db.get_compression_children(PARENT)) == children
    assert db.get_compression_lock_holder(PARENT) is None
    if children == 1:
        assert returned is messages
        assert (calls(late), late.session_id) == (0, PARENT)
        assert f"compression skipped: session={PARENT} was already rotated by another compression path" in caplog.text


@pytest.mark.parametrize(("protocol", "children"), [("lease", 2), ("lease_recheck", 2), ("lease_fail_open", 2), ("fenced", 1)])
def test_a_holder_stalled_past_its_ttl_forks_the_session_on_every_rung_but_the_last(
    open_store: OpenStore, clock: Clock, protocol: str, children: int
) -> None:
    db = open_store(protocol)
    parent_with_messages(db)
    second = contender(db)

    def stall() -> None:
        clock.advance(400.0)
        compress(second)

    stalled = contender(db, stall)
    messages = db.get_messages(PARENT)
    returned, _ = stalled._compress_context(messages, "sys")
    assert len(db.get_compression_children(PARENT)) == children
    if protocol == "fenced":
        assert returned is messages
        assert (calls(stalled), stalled.session_id) == (1, PARENT)
        assert db.get_compression_children(PARENT) == [second.session_id]


def test_fenced_refuses_a_holder_whose_lease_was_taken_over_and_given_back_although_the_parent_is_open(
    open_store: OpenStore, clock: Clock
) -> None:
    db = open_store("fenced")
    parent_with_messages(db)

    def stall() -> None:
        clock.advance(400.0)
        assert db.try_acquire_compression_lock(PARENT, "other")
        db.release_compression_lock(PARENT, "other")

    stalled = contender(db, stall)
    compress(stalled)
    assert stalled.session_id == PARENT
    assert db.get_compression_children(PARENT) == []
    assert db.live_session(PARENT) == PARENT


def test_fenced_publishes_finished_work_although_the_lease_has_expired_if_nobody_took_it(open_store: OpenStore, clock: Clock) -> None:
    db = open_store("fenced")
    parent_with_messages(db)
    agent = contender(db, lambda: clock.advance(400.0))
    compress(agent)
    assert db.get_compression_children(PARENT) == [agent.session_id]


def test_fenced_never_makes_a_child_of_a_parent_that_was_ended_by_somebody_without_a_lease(
    open_store: OpenStore,
) -> None:
    db = open_store("fenced")
    parent_with_messages(db)
    agent = contender(db, lambda: db.end_session(PARENT, "reset"))
    compress(agent)
    assert agent.session_id == PARENT
    assert session_ids(db) == [PARENT]


@pytest.mark.parametrize(("protocol", "goes_on"), [(name, name in ("lease", "lease_fail_open")) for name in LEASED])
def test_an_error_while_acquiring_counts_as_acquired_only_where_history_had_it_so(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch, protocol: str, goes_on: bool
) -> None:
    db = open_store(protocol)
    parent_with_messages(db)
    agent = contender(db)
    monkeypatch.setattr(db, "try_acquire_compression_lock", failing(sqlite3.OperationalError("disk I/O error")))
    compress(agent)
    assert calls(agent) == (1 if goes_on else 0)
    assert len(db.get_compression_children(PARENT)) == (1 if goes_on else 0)


@pytest.mark.parametrize("protocol", ["lease_recheck", "fenced"])
def test_a_lease_whose_acknowledgement_was_lost_is_given_back(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    db = open_store(protocol)
    parent_with_messages(db)
    acquire = db.try_acquire_compression_lock

    def acquires_and_raises(*args: Any) -> bool:
        acquire(*args)
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(db, "try_acquire_compression_lock", acquires_and_raises)
    agent = contender(db)
    compress(agent)
    assert (calls(agent), agent.session_id) == (0, PARENT)
    assert db.get_compression_lock_holder(PARENT) is None


def refuse_child_inserts(db: SessionDB) -> None:
    db._conn.execute(
        "CREATE TEMP TRIGGER disk_is_full BEFORE INSERT ON main.sessions BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
    )


@every_protocol
def test_an_error_at_the_childs_insert_leaves_the_parent_open_only_under_fenced(open_store: OpenStore, protocol: str) -> None:
    db = open_store(protocol)
    parent_with_messages(db)
    refuse_child_inserts(db)
    agent = contender(db)
    compress(agent)
    assert session_ids(db) == [PARENT]
    assert db.get_compression_lock_holder(PARENT) is None
    if protocol == "fenced":
        assert agent.session_id == db.live_session(PARENT) == PARENT
    else:
        assert db.live_session(PARENT) is None
        assert db.get_session(agent.session_id) is None


def test_fenced_rotates_again_after_a_rotation_that_failed(open_store: OpenStore) -> None:
    db = open_store("fenced")
    parent_with_messages(db)
    refuse_child_inserts(db)
    compress(contender(db))
    db._conn.execute("DROP TRIGGER disk_is_full")
    agent = contender(db)
    compress(agent)
    assert db.get_compression_children(PARENT) == [agent.session_id]


@pytest.mark.parametrize("protocol", LEASED)
def test_a_dead_holders_lease_blocks_compressing_for_its_ttl_and_appending_never(
    open_store: OpenStore, clock: Clock, protocol: str
) -> None:
    dead, db = open_store(protocol), open_store(protocol)
    parent_with_messages(db)
    dead.try_acquire_compression_lock(PARENT, "dead")
    agent = contender(db)
    compress(agent)
    assert calls(agent) == 0
    db.append_message(PARENT, "user", "still here")
    clock.advance(301.0)
    compress(agent)
    assert db.get_compression_children(PARENT) == [agent.session_id]


@every_protocol
def test_what_is_appended_while_compressing_goes_to_the_child_under_fenced_and_is_left_behind_before(
    open_store: OpenStore, protocol: str
) -> None:
    db = open_store(protocol)
    parent_with_messages(db)
    agent = contender(db, lambda: db.append_message(PARENT, "user", "late"))
    returned = [message["content"] for message in compress(agent)]
    expected = ["summary", "late"] if protocol == "fenced" else ["summary"]
    assert contents(db, agent.session_id) == returned == expected


def test_a_row_of_another_writer_is_carried_even_if_it_is_older_than_one_that_the_compressor_saw(
    open_store: OpenStore,
) -> None:
    db = open_store("fenced")
    parent_with_messages(db)
    messages = db.get_messages(PARENT)
    db.append_message(PARENT, "user", "unseen")
    own = db.append_message(PARENT, "user", "own")
    agent = contender(db)
    agent._compress_context([*messages, {"id": own, "role": "user", "content": "own"}], "sys")
    assert contents(db, agent.session_id) == ["summary", "unseen"]


def test_messages_without_a_row_id_cover_one_row_of_their_text_each_the_oldest_first(open_store: OpenStore) -> None:
    db = open_store("fenced")
    db.create_session(PARENT, source="cli")
    for text in ("yes", "no", "yes", "go"):
        db.append_message(PARENT, "user", text)
    agent = contender(db)
    agent._compress_context([{"role": "user", "content": text} for text in ("yes", "no", "unstored")], "sys")
    assert contents(db, agent.session_id) == ["summary", "yes", "go"]


@every_protocol
def test_a_compressor_that_returns_nothing_rotates_nothing(open_store: OpenStore, protocol: str) -> None:
    class Empty:
        def compress(self, messages: list[Message]) -> list[Message]:
            messages.clear()
            return []

    db = open_store(protocol)
    parent_with_messages(db)
    agent = Agent(db, PARENT, Empty())
    assert [message["content"] for message in compress(agent)] == ["m0", "m1", "m2"]
    assert agent.session_id == db.live_session(PARENT) == PARENT
    assert db.get_compression_lock_holder(PARENT) is None


@every_protocol
def test_a_compressor_that_raises_gives_the_lease_back(open_store: OpenStore, protocol: str) -> None:
    db = open_store(protocol)
    parent_with_messages(db)
    agent = contender(db, failing(RuntimeError("no model")))
    with pytest.raises(RuntimeError, match="no model"):
        compress(agent)
    assert db.get_compression_lock_holder(PARENT) is None
    assert db.live_session(PARENT) == PARENT


@every_protocol
def test_an_error_while_releasing_does_not_undo_the_rotation(open_store: OpenStore, monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    db = open_store(protocol)
    parent_with_messages(db)
    monkeypatch.setattr(db, "release_compression_lock", failing(sqlite3.OperationalError("locked")))
    agent = contender(db)
    compress(agent)
    assert db.get_compression_children(PARENT) == [agent.session_id]


def test_fenced_refuses_a_holder_whose_lease_was_released_by_somebody_else(open_store: OpenStore) -> None:
    db = open_store("fenced")
    parent_with_messages(db)

    def take_it_away() -> None:
        db.write(lambda conn: conn.execute("DELETE FROM compression_locks"))

    agent = contender(db, take_it_away)
    compress(agent)
    assert (agent.session_id, db.get_compression_children(PARENT)) == (PARENT, [])


def test_fenced_refuses_an_earlier_acquisition_although_the_later_one_goes_by_the_same_name(
    open_store: OpenStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, restarted = open_store("fenced"), open_store("fenced")
    parent_with_messages(db)

    def stall() -> None:
        clock.advance(400.0)
        assert restarted.try_acquire_compression_lock(PARENT, "the name")

    agent = contender(db, stall)
    monkeypatch.setattr(agent, "_new_holder", lambda: "the name")
    compress(agent)
    assert (agent.session_id, db.get_compression_children(PARENT)) == (PARENT, [])


@pytest.mark.parametrize(("protocol", "tries"), [(name, 8 if name == "fenced" else 5) for name in LEASED])
def test_the_lease_is_refreshed_while_compressing_and_under_fenced_failures_do_not_end_that(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch, protocol: str, tries: int
) -> None:
    db = open_store(protocol)
    parent_with_messages(db)
    tried: list[str] = []
    enough = threading.Event()

    def refresh(session_id: str, *_: object) -> bool:
        tried.append(session_id)
        if len(tried) == 8:
            enough.set()
        raise sqlite3.OperationalError("database is locked")

    def wait_for_the_refresher() -> None:
        [refresher] = [thread for thread in threading.enumerate() if thread.name == "compression-lease-refresher"]
        if protocol == "fenced":
            assert enough.wait(10)
        else:
            refresher.join(10)
            assert not refresher.is_alive()

    agent = Agent(db, PARENT, ScriptedCompressor(wait_for_the_refresher), lease_ttl=0.003)
    monkeypatch.setattr(db, "refresh_compression_lock", refresh)
    compress(agent)
    assert tried[:tries] == [PARENT] * tries
    assert protocol == "fenced" or len(tried) == tries
    assert db.get_compression_children(PARENT) == [agent.session_id]


def test_fenced_refuses_a_holder_whose_lease_was_taken_over_by_an_older_protocol_which_draws_no_token(
    open_store: OpenStore, clock: Clock
) -> None:
    db, older = open_store("fenced"), open_store("lease_recheck")
    parent_with_messages(db)

    def stall() -> None:
        clock.advance(400.0)
        assert older.try_acquire_compression_lock(PARENT, "another")

    agent = contender(db, stall)
    compress(agent)
    assert (agent.session_id, db.get_compression_children(PARENT)) == (PARENT, [])
    assert db.get_compression_lock_holder(PARENT) == "another"
