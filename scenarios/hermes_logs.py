"""What the lines of Hermes' logs mean, for `simharness incident`: templates from upstream's own `logger` calls, and a fork's signature.

Upstream's `logs/agent.log`, `errors.log` and `gateway.log` have one format. After a rotation its session tag keeps the old id in some
releases and changes in others, so it only says to which conversation a line belongs.

Releases 0.15.2 to 0.19.0 differ in wording, in the loggers, and in what a turn does; `release_of` finds out which one wrote a log.
"""

from simharness.incident import Log, Rows, Template

LOOP, COMPRESSION, GATEWAY = "agent.conversation_loop", "agent.conversation_compression", "gateway.run"
TURN = (LOOP, "agent.turn_context")
STARTED, DONE, SKIPPED, ROTATED = "compression starts", "compression ends", "contender steps back", "late contender steps back"
TRIED_AGAIN = "compression is tried again"

TEMPLATES = (
    Template("message comes in", GATEWAY, "inbound message: platform={platform} user={user} chat={chat} msg={text}"),
    Template(
        "process ended",
        GATEWAY,
        "Process {process_id} finished — injecting agent notification for session {session_key} chat={chat} thread={thread_id}",
    ),
    Template(
        "turn starts",
        TURN,
        "conversation turn: session={session} model={model} provider={provider} platform={platform} history={history} msg={text}",
    ),
    Template("threshold reached", TURN, "Preflight compression: ~{tokens} tokens >= {threshold} threshold (model {model}, ctx {context})"),
    Template(
        TRIED_AGAIN,
        LOOP,
        "Pre-API compression: ~{tokens} request tokens >= {threshold} threshold (context={context}, attempt={attempt}/3)",
    ),
    Template(
        STARTED,
        COMPRESSION,
        "context compression started: session={session} messages={messages} tokens=~{tokens} model={model} focus={focus}",
    ),
    Template(
        SKIPPED,
        COMPRESSION,
        "compression skipped: another path is compressing session={session} (holder={holder}) — "
        "returning messages unchanged to avoid session fork",
    ),
    Template(ROTATED, COMPRESSION, "compression skipped: session={session} was already rotated by another compression path"),
    Template(
        DONE,
        COMPRESSION,
        "context compression done: session={session} messages={before}->{after} rough_tokens=~{tokens} awaiting_real_usage=true",
        goes_on=True,
    ),
    Template(DONE, COMPRESSION, "context compression done: session={session} messages={before}->{after} tokens=~{tokens}", goes_on=True),
    Template("session adopted", LOOP, "session adopted: {session} has ended and goes on in {new}"),
    Template("turn ends", LOOP, "Turn ended: reason={reason} {details} session={session}"),
    Template("routing follows", GATEWAY, "Session split detected: {session} → {new} (compression)"),
    Template("answer goes out", GATEWAY, "response ready: platform={platform} chat={chat} {details}"),
)

FREE = (
    Template("prompt is rebuilt", LOOP, "Stored system prompt for session {session} {why}"),
    Template("messages are repaired", LOOP, "Repaired {number} message-alternation violations before request (session={session})"),
    Template("model is called", LOOP, "API call #{number}: {details}"),
    Template("two turns at once", "agent.agent_runtime_helpers", "turn {turn} starting while turn {other} {details}"),
)
"""Lines that name a session, and that no turn of the scenario logs."""

OLD_WORDING = "0.15.2"
"""The first release of which there are templates; it says how many tokens are left in other words than those that followed."""


def fork(lines):
    """Two compressions of one session that both came to an end, each with a child of its own, and nobody stepped back."""
    started = {}
    for line in lines:
        if line.event == STARTED:
            started.setdefault(line.fields["session"], []).append(line)
    done = [line for line in lines if line.event == DONE]
    skipped = [line for line in lines if line.event in (SKIPPED, ROTATED)]
    twice = [line for starts in started.values() if len(starts) > 1 for line in starts]
    return [] if skipped or not twice or len({line.fields["session"] for line in done}) < 2 else [*twice, *done]


def release_of(lines):
    """The release that logs like that, as the scenario's parameter; nothing for a log of the reference.

    Two releases whose turns do the same may be mistaken for each other.
    """
    if not any(line.event == "turn ends" and "api_calls=" in line.fields["details"] for line in lines):
        return {}
    events = {line.event for line in lines}
    if any(line.event == DONE and line.message.partition("->")[2].count(" tokens=~") for line in lines):
        return {"release": OLD_WORDING}
    if not any(line.logger == TURN[1] for line in lines):
        return {"release": "0.16.0"}
    if ROTATED in events:
        return {"release": "0.19.0"}
    return {"release": "0.18.2" if TRIED_AGAIN in events else "0.17.0"}


CHAIN = "id = :session OR parent_session_id = :session"

HERMES = Log(
    templates=TEMPLATES,
    ids={"session": "session", "new": "session", "holder": "holder", "chat": "chat", "session_key": "chat key"},
    tags={"session_tag": "session"},
    format="%(asctime)s %(levelname)s%(session_tag)s %(name)s: %(message)s",
    signature=fork,
    parameters=release_of,
    free=FREE,
    rows=(
        Rows(
            "the session and its children",
            "SELECT id, parent_session_id, ended_at IS NOT NULL AS ended, coalesce(end_reason, '') AS end_reason "
            f"FROM sessions WHERE {CHAIN} ORDER BY id",
            ids={"id": "session", "parent_session_id": "session"},
        ),
        Rows(
            "compression locks",
            f"SELECT session_id FROM compression_locks WHERE session_id IN (SELECT id FROM sessions WHERE {CHAIN})",
            ids={"session_id": "session"},
        ),
        Rows(
            "who spoke last in each session",
            "SELECT session_id, role FROM messages AS last WHERE id = (SELECT max(id) FROM messages WHERE session_id = last.session_id) "
            f"AND session_id IN (SELECT id FROM sessions WHERE {CHAIN})",
            ids={"session_id": "session"},
            subset=True,  # some releases write down neither the history of a session nor what a refused turn has said
        ),
    ),
)
