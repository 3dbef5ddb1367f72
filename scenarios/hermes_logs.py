"""What the lines of Hermes' logs mean, for `simharness incident`: templates from upstream's own `logger` calls, and a fork's signature.

Upstream's `logs/agent.log`, `errors.log` and `gateway.log` have one format. After a rotation its session tag keeps the old id in some
releases and changes in others, so it only says to which conversation a line belongs.
"""

from simharness.incident import Log, Rows, Template

LOOP, COMPRESSION, GATEWAY = "agent.conversation_loop", "agent.conversation_compression", "gateway.run"
STARTED, DONE, SKIPPED = "compression starts", "compression ends", "contender steps back"

TEMPLATES = (
    Template("message comes in", GATEWAY, "inbound message: platform={platform} user={user} chat={chat} msg={text}"),
    Template(
        "process ended",
        GATEWAY,
        "Process {process_id} finished — injecting agent notification for session {session_key} chat={chat} thread={thread_id}",
    ),
    Template(
        "turn starts",
        LOOP,
        "conversation turn: session={session} model={model} provider={provider} platform={platform} history={history} msg={text}",
    ),
    Template("threshold reached", LOOP, "Preflight compression: ~{tokens} tokens >= {threshold} threshold (model {model}, ctx {context})"),
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
    Template(
        "late contender steps back", COMPRESSION, "compression skipped: session={session} was already rotated by another compression path"
    ),
    Template(
        DONE,
        COMPRESSION,
        "context compression done: session={session} messages={before}->{after} rough_tokens=~{tokens} awaiting_real_usage=true",
        goes_on=True,
    ),
    Template("session adopted", LOOP, "session adopted: {session} has ended and goes on in {new}"),
    Template("turn ends", LOOP, "Turn ended: reason={reason} {details} session={session}"),
    Template("routing follows", GATEWAY, "Session split detected: {session} → {new} (compression)"),
    Template("answer goes out", GATEWAY, "response ready: platform={platform} chat={chat} {details}"),
)


def fork(lines):
    """Two compressions of one session that both came to an end, each with a child of its own, and nobody stepped back."""
    started = {}
    for line in lines:
        if line.event == STARTED:
            started.setdefault(line.fields["session"], []).append(line)
    done = [line for line in lines if line.event == DONE]
    skipped = [line for line in lines if line.event in (SKIPPED, "late contender steps back")]
    twice = [line for starts in started.values() if len(starts) > 1 for line in starts]
    return [] if skipped or not twice or len({line.fields["session"] for line in done}) < 2 else [*twice, *done]


CHAIN = "id = :session OR parent_session_id = :session"

HERMES = Log(
    templates=TEMPLATES,
    ids={"session": "session", "new": "session", "holder": "holder", "chat": "chat", "session_key": "chat key"},
    tags={"session_tag": "session"},
    format="%(asctime)s %(levelname)s%(session_tag)s %(name)s: %(message)s",
    signature=fork,
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
        ),
    ),
)
