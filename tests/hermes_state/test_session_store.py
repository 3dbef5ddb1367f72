"""The store by itself: sessions, messages, the choice of a protocol."""

from __future__ import annotations

import ast
import sqlite3
from pathlib import Path

import pytest
from store_kit import PARENT, Clock, OpenStore, contents, session_ids

import hermes_state
from hermes_state import PROTOCOLS, Agent, SessionClosedError, SessionDB

OLDER = [name for name in PROTOCOLS if name != "fenced"]


def test_the_ladder_has_its_five_rungs_in_the_order_of_history() -> None:
    assert PROTOCOLS == ("unlocked", "lease", "lease_recheck", "lease_fail_open", "fenced")


def test_fenced_is_what_one_gets_without_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HERMES_STATE_PROTOCOL", raising=False)
    db = SessionDB(tmp_path / "state.db")
    assert db.protocol == "fenced"
    db.close()


def test_the_environment_names_the_protocol_and_an_argument_overrides_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_STATE_PROTOCOL", "lease")
    by_environment, by_argument = SessionDB(tmp_path / "a.db"), SessionDB(tmp_path / "b.db", "unlocked")
    assert (by_environment.protocol, by_argument.protocol) == ("lease", "unlocked")
    by_environment.close()
    by_argument.close()


def test_an_unknown_protocol_is_refused_with_the_names_of_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'leese'.*unlocked, lease, lease_recheck, lease_fail_open, fenced"):
        SessionDB(tmp_path / "state.db", "leese")
    assert not (tmp_path / "state.db").exists()


def test_the_file_is_in_wal_mode_with_foreign_keys_and_a_busy_timeout_of_thirty_seconds(open_store: OpenStore) -> None:
    pragmas = [
        open_store("fenced")._conn.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "foreign_keys", "busy_timeout")
    ]
    assert pragmas == ["wal", 1, 30_000]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_session_is_created_read_ended_and_keeps_its_first_reason(open_store: OpenStore, clock: Clock, protocol: str) -> None:
    db = open_store(protocol)
    assert db.get_session(PARENT) is None
    assert db.create_session(PARENT, source="cli", model="m", model_config={"k": 1}) == PARENT
    db.create_session(PARENT, source="other")
    clock.advance(5)
    db.end_session(PARENT, "reset")
    db.end_session(PARENT, "later")
    session = db.get_session(PARENT)
    assert session is not None
    assert (session["source"], session["model"], session["model_config"]) == ("cli", "m", '{"k": 1}')
    assert (session["ended_at"] - session["started_at"], session["end_reason"]) == (5, "reset")
    db.reopen_session(PARENT)
    assert db.live_session(PARENT) == PARENT


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_messages_come_back_in_order_with_the_row_ids_that_appending_gave(open_store: OpenStore, protocol: str) -> None:
    db = open_store(protocol)
    db.create_session(PARENT, source="cli", messages=[{"role": "system", "content": "zero"}])
    row_ids = [db.append_message(PARENT, "user", "one"), db.append_message(PARENT, "tool", None, tool_calls=[1])]
    messages = db.get_messages(PARENT)
    assert [message["id"] for message in messages[1:]] == row_ids
    assert [message["content"] for message in messages] == ["zero", "one", None]
    assert messages[2]["tool_calls"] == "[1]"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_unknown_session_takes_no_message(open_store: OpenStore, protocol: str) -> None:
    db = open_store(protocol)
    with pytest.raises(sqlite3.IntegrityError):
        db.append_message("nowhere", "user", "hello")


@pytest.mark.parametrize("protocol", OLDER)
def test_an_older_protocol_writes_to_a_session_that_has_ended(open_store: OpenStore, protocol: str) -> None:
    db = open_store(protocol)
    db.create_session(PARENT, source="cli")
    db.end_session(PARENT, "compression")
    db.append_message(PARENT, "user", "into the void")
    assert contents(db, PARENT) == ["into the void"]


def test_fenced_refuses_a_message_to_an_ended_session_and_names_the_live_one(open_store: OpenStore) -> None:
    db = open_store("fenced")
    db.create_session(PARENT, source="cli")
    db.end_session(PARENT, "compression")
    db.create_session("child", source="cli", parent_session_id=PARENT, kind="compression")
    db.end_session("child", "compression")
    db.create_session("grandchild", source="cli", parent_session_id="child", kind="compression")
    with pytest.raises(SessionClosedError, match="goes on in grandchild") as refusal:
        db.append_message(PARENT, "user", "hello")
    assert refusal.value.live_session_id == "grandchild"
    assert contents(db, PARENT) == []


def test_lease_closed_is_selected_by_name_and_refuses_a_message_to_an_ended_session(open_store: OpenStore) -> None:
    db = open_store("lease_closed")
    assert (db.protocol, db.rung.recheck, db.rung.fenced) == ("lease_closed", True, False)
    db.create_session(PARENT, source="cli")
    db.end_session(PARENT, "compression")
    with pytest.raises(SessionClosedError, match="no live session continues it"):
        Agent(db, PARENT).append("user", "are you there?")
    assert contents(db, PARENT) == []
    assert db.live_session(PARENT) is None


def test_fenced_names_no_live_session_when_the_conversation_has_ended(open_store: OpenStore) -> None:
    db = open_store("fenced")
    db.create_session(PARENT, source="cli")
    db.end_session(PARENT, "reset")
    with pytest.raises(SessionClosedError, match="no live session") as refusal:
        db.append_message(PARENT, "user", "hello")
    assert refusal.value.live_session_id is None
    assert db.recover_rotation(PARENT) is None


def test_a_child_of_another_kind_does_not_continue_a_session(open_store: OpenStore) -> None:
    db = open_store("fenced")
    db.create_session(PARENT, source="cli")
    db.create_session("delegate", source="cli", parent_session_id=PARENT)
    db.create_session("delegate 2", source="cli", parent_session_id=PARENT)
    db.end_session(PARENT, "reset")
    assert db.live_session(PARENT) is None
    assert db.get_compression_children(PARENT) == []


def test_a_second_compression_child_cannot_even_be_inserted_under_fenced(open_store: OpenStore) -> None:
    db = open_store("fenced")
    db.create_session(PARENT, source="cli")
    db.create_session("child", source="cli", parent_session_id=PARENT, kind="compression")
    with pytest.raises(sqlite3.IntegrityError):
        db.create_session("second", source="cli", parent_session_id=PARENT, kind="compression")


@pytest.mark.parametrize("protocol", OLDER)
def test_the_older_protocols_have_no_backstop(open_store: OpenStore, protocol: str) -> None:
    db = open_store(protocol)
    db.create_session(PARENT, source="cli")
    for child in ("first", "second"):
        db.create_session(child, source="cli", parent_session_id=PARENT, kind="compression")
    assert db.get_compression_children(PARENT) == ["first", "second"]


def test_a_file_that_was_forked_before_can_be_opened_under_fenced(open_store: OpenStore, caplog: pytest.LogCaptureFixture) -> None:
    older = open_store("unlocked")
    older.create_session(PARENT, source="cli")
    for child in ("first", "second"):
        older.create_session(child, source="cli", parent_session_id=PARENT, kind="compression")
    assert open_store("fenced").get_compression_children(PARENT) == ["first", "second"]
    assert "forked" in caplog.text


def test_fenced_does_not_reopen_a_session_that_has_been_rotated(open_store: OpenStore) -> None:
    db = open_store("fenced")
    db.create_session(PARENT, source="cli")
    db.end_session(PARENT, "compression")
    db.create_session("child", source="cli", parent_session_id=PARENT, kind="compression")
    db.reopen_session(PARENT)
    assert db.live_session(PARENT) == "child"


def test_an_error_inside_a_transaction_leaves_nothing_behind_and_the_store_usable(open_store: OpenStore) -> None:
    db = open_store("fenced")

    def fails(conn: sqlite3.Connection) -> None:
        conn.execute("INSERT INTO sessions (id, source, started_at) VALUES ('half', 'cli', 0)")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        db.write(fails)
    assert session_ids(db) == []
    db.create_session(PARENT, source="cli")


def test_pruning_deletes_old_ended_sessions_but_under_fenced_never_the_way_to_a_child(open_store: OpenStore, clock: Clock) -> None:
    db = open_store("fenced")
    for name, parent in ((PARENT, None), ("child", PARENT), ("other", None), ("open", None)):
        db.create_session(name, source="cli", parent_session_id=parent, kind="compression" if parent else None)
    db.append_message("other", "user", "hello")
    for name, reason in ((PARENT, "compression"), ("other", "reset")):
        db.end_session(name, reason)
    assert db.prune_sessions(1.0) == 0
    clock.advance(2 * 86_400)
    assert db.prune_sessions(1.0) == 1
    assert session_ids(db) == [PARENT, "child", "open"]


def test_a_rotated_session_whose_child_was_pruned_is_not_brought_back(open_store: OpenStore, clock: Clock) -> None:
    db = open_store("fenced")
    db.create_session(PARENT, source="cli")
    db.end_session(PARENT, "compression")
    db.create_session("child", source="cli", parent_session_id=PARENT, kind="compression")
    db.end_session("child", "reset")
    clock.advance(1)
    assert db.prune_sessions(0.0) == 1
    assert db.recover_rotation(PARENT) is None


@pytest.mark.parametrize("protocol", OLDER)
def test_pruning_under_an_older_protocol_orphans_the_child(open_store: OpenStore, clock: Clock, protocol: str) -> None:
    db = open_store(protocol)
    db.create_session(PARENT, source="cli")
    db.end_session(PARENT, "compression")
    db.create_session("child", source="cli", parent_session_id=PARENT, kind="compression")
    assert db.prune_sessions(0.0) == 1
    child = db.get_session("child")
    assert child is not None
    assert child["parent_session_id"] is None


def test_the_package_imports_neither_the_harness_nor_the_scenarios() -> None:
    for path in Path(hermes_state.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & {"simharness", "scenarios"}, path
