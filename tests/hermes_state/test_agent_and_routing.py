"""Turns of the small agent, and the gateway's routing of events to sessions."""

from __future__ import annotations

import pytest
from store_kit import PARENT, OpenStore, ScriptedCompressor, compress, contents

from hermes_state import PROTOCOLS, Agent, Gateway, KeepTail, SessionClosedError, SessionDB, SessionEntry

OLDER = [name for name in PROTOCOLS if name != "fenced"]
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)
CHAT = "agent:main:discord:dm:1"


def rotate(db: SessionDB, session_id: str) -> str:
    agent = Agent(db, session_id, ScriptedCompressor())
    compress(agent)
    return agent.session_id


@every_protocol
def test_a_short_turn_stores_the_question_and_the_answer(open_store: OpenStore, protocol: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "agent.conversation_loop")
    db = open_store(protocol)
    db.create_session(PARENT, source="cli")
    agent = Agent(db, PARENT, threshold_tokens=1000, respond=lambda messages: f"seen {len(messages)}")
    assert agent.run_turn("hello") == "seen 1"
    assert agent.run_turn("again") == "seen 3"
    assert contents(db, PARENT) == ["hello", "seen 1", "again", "seen 3"]
    assert caplog.messages[:2] == [
        f"conversation turn: session={PARENT} model=reference-model provider=custom platform=cli history=0 msg='hello'",
        f"Turn ended: reason=text_response response_len=6 session={PARENT}",
    ]


@every_protocol
def test_a_turn_over_the_threshold_goes_on_in_the_child(open_store: OpenStore, protocol: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "agent.conversation_loop")
    db = open_store(protocol)
    db.create_session(PARENT, source="cli")
    for number in range(5):
        db.append_message(PARENT, "user", f"{number}" * 1000)
    agent = Agent(db, PARENT, KeepTail(1), threshold_tokens=1000, respond=lambda _: "answer")
    agent.run_turn("hello")
    assert db.get_compression_children(PARENT) == [agent.session_id]
    assert contents(db, agent.session_id) == ["[summary of 5 earlier messages]", "hello", "answer"]
    assert "Preflight compression: ~1,251 tokens >= 1,000 threshold (model reference-model, ctx 200,000)" in caplog.messages


def test_a_stale_agent_adopts_the_live_session_at_the_start_of_its_turn_under_fenced(open_store: OpenStore) -> None:
    db = open_store("fenced")
    db.create_session(PARENT, source="cli")
    stale = Agent(db, PARENT, respond=lambda _: "answer")
    live = rotate(db, rotate(db, PARENT))
    stale.run_turn("hello")
    assert stale.session_id == live
    assert contents(db, live) == ["summary", "hello", "answer"]
    assert contents(db, PARENT) == []


@pytest.mark.parametrize("protocol", OLDER)
def test_a_stale_agent_writes_to_the_dead_session_under_the_older_protocols(open_store: OpenStore, protocol: str) -> None:
    db = open_store(protocol)
    db.create_session(PARENT, source="cli")
    stale = Agent(db, PARENT, respond=lambda _: "answer")
    child = rotate(db, PARENT)
    stale.run_turn("hello")
    assert stale.session_id == PARENT
    assert contents(db, PARENT) == ["hello", "answer"]
    assert contents(db, child) == ["summary"]


def test_an_agent_whose_session_is_rotated_in_mid_turn_answers_in_the_child_under_fenced(
    open_store: OpenStore,
) -> None:
    db = open_store("fenced")
    db.create_session(PARENT, source="cli")
    children: list[str] = []

    def respond(_: object) -> str:
        children.append(rotate(db, PARENT))
        return "answer"

    agent = Agent(db, PARENT, respond=respond)
    agent.run_turn("hello")
    assert agent.session_id == children[0]
    assert contents(db, children[0]) == ["summary", "answer"]


def test_a_rotation_that_an_older_protocol_left_cut_in_two_is_recovered_by_the_next_turn_under_fenced(
    open_store: OpenStore,
) -> None:
    older, db = open_store("lease_recheck"), open_store("fenced")
    older.create_session(PARENT, source="cli")
    older.end_session(PARENT, "compression")
    agent = Agent(db, PARENT, respond=lambda _: "answer")
    agent.run_turn("hello")
    assert agent.session_id == PARENT
    assert contents(db, PARENT) == ["hello", "answer"]
    assert db.live_session(PARENT) == PARENT


def test_a_turn_on_a_conversation_that_has_ended_is_refused_under_fenced(open_store: OpenStore) -> None:
    db = open_store("fenced")
    db.create_session(PARENT, source="cli")
    db.end_session(PARENT, "reset")
    with pytest.raises(SessionClosedError):
        Agent(db, PARENT).run_turn("hello")


def test_a_review_fork_inherits_the_session_id_that_is_current_when_it_starts(open_store: OpenStore) -> None:
    db = open_store("fenced")
    db.create_session(PARENT, source="cli")
    agent = Agent(db, PARENT, ScriptedCompressor())
    before = agent.fork_review()
    compress(agent)
    assert (before.session_id, agent.fork_review().session_id) == (PARENT, agent.session_id)


def test_a_closed_agent_takes_no_turn_and_leaves_the_session_open(open_store: OpenStore) -> None:
    db = open_store("fenced")
    db.create_session(PARENT, source="cli")
    agent = Agent(db, PARENT)
    agent.close()
    with pytest.raises(RuntimeError, match="closed"):
        agent.run_turn("hello")
    assert db.live_session(PARENT) == PARENT


def gateway_on(db: SessionDB, threshold_tokens: int | None = None) -> tuple[Gateway, list[Agent]]:
    agents: list[Agent] = []

    def make_agent(session_id: str) -> Agent:
        agents.append(Agent(db, session_id, ScriptedCompressor(), threshold_tokens=threshold_tokens, respond=lambda _: "answer"))
        return agents[-1]

    db.create_session(PARENT, source="discord")
    gateway = Gateway(db, make_agent)
    gateway.route(SessionEntry(CHAT, PARENT, user="damien", chat_id="1"))
    return gateway, agents


@every_protocol
def test_the_entry_follows_a_rotation_and_the_log_tells_the_story(
    open_store: OpenStore, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gateway.run")
    db = open_store(protocol)
    gateway, agents = gateway_on(db, threshold_tokens=0)
    assert gateway.handle_process_completed(CHAT, "proc_1") == "answer"
    [child] = db.get_compression_children(PARENT)
    assert gateway.session_of(CHAT) == agents[0].session_id == child
    assert agents[0].closed
    assert [record.getMessage() for record in caplog.records if record.name == "gateway.run"] == [
        f"Process proc_1 finished — injecting agent notification for session {CHAT} chat=1 thread=None",
        "inbound message: platform=discord user=damien chat=1 msg='[background process proc_1 completed, exit code 0]'",
        f"Session split detected: {PARENT} → {child} (compression)",
    ]


@pytest.mark.parametrize(("protocol", "reached"), [(name, name == "fenced") for name in PROTOCOLS])
def test_an_event_that_reads_its_entry_before_the_propagation_reaches_the_live_session_only_under_fenced(
    open_store: OpenStore, protocol: str, reached: bool
) -> None:
    db = open_store(protocol)
    gateway, _ = gateway_on(db)
    child = rotate(db, PARENT)
    gateway.handle_message(CHAT, "hello")
    assert ("hello" in contents(db, child)) is reached
    assert gateway.session_of(CHAT) == (child if reached else PARENT)


@pytest.mark.parametrize(("protocol", "backwards"), [(name, name != "fenced") for name in PROTOCOLS])
def test_the_propagation_of_an_older_rotation_moves_the_entry_backwards_on_every_rung_but_the_last(
    open_store: OpenStore, protocol: str, backwards: bool
) -> None:
    db = open_store(protocol)
    gateway, _ = gateway_on(db)
    child = rotate(db, PARENT)
    grandchild = rotate(db, child)
    gateway.follow(CHAT, child, grandchild)
    gateway.follow(CHAT, PARENT, child)
    assert gateway.session_of(CHAT) == (child if backwards else grandchild)


def test_the_entry_follows_a_rotation_even_if_the_turn_fails_afterwards(open_store: OpenStore) -> None:
    db = open_store("lease_recheck")
    db.create_session(PARENT, source="discord")

    def fails(_: object) -> str:
        raise RuntimeError("no model")

    gateway = Gateway(db, lambda sid: Agent(db, sid, ScriptedCompressor(), threshold_tokens=0, respond=fails))
    gateway.route(SessionEntry(CHAT, PARENT))
    with pytest.raises(RuntimeError, match="no model"):
        gateway.handle_message(CHAT, "hello")
    assert [gateway.session_of(CHAT)] == db.get_compression_children(PARENT)
