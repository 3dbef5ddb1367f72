"""The compression fork as it shows in an incident's log: whole turns, with every line that upstream logs, for `simharness incident`.

`turns` is one gateway process. A user's message and the end of a background process each start a turn on the chat's session, and when the
message has been answered a review fork inherits the session id of that moment. `processes` is a turn in each of two processes (the gateway
and a command line) on one `state.db`; a crash, or a stall longer than the lease, affects one of the two.

What a turn does depends on the `release`: that of the reference, or one of upstream's, which `simharness incident` finds in the log
(`--parameter release=0.16.0` overrides it). Which protocol the store follows is another parameter.

Two things must hold at the end: the session has at most one compression child, and exactly one if a compression has ended it.
"""

import logging
import threading
import time
from dataclasses import dataclass
from functools import partial

import simharness
from hermes_state import PROTOCOLS, Agent, Gateway, SessionDB, SessionEntry
from hermes_state.agent import approximate_tokens
from scenarios.hermes_logs import HERMES

PARENT = "20260527_234659_e65f0e"
CHAT = "agent:main:discord:dm:1184023377"
CHAT_ID = "1184023377"
LONG = " the migration moves the sessions of every profile into one file" * 8
HISTORY = ("please finish the migration" + LONG, "working on it" + LONG)
THRESHOLD = 200
LEASE = 300.0
BOTH = ("unlocked", "lease")

gateway_log = logging.getLogger("gateway.run")
turn_log = logging.getLogger("agent.conversation_loop")


@dataclass(frozen=True)
class Release:
    """What a turn of a release does besides that of the reference."""

    retries: int = 0
    """How often a turn that is still too long tries to compress again, before the model is asked."""
    reviews: tuple[str, ...] = ("stores",)
    """What a review does: it stores its messages and compresses like every turn, or it only answers; both where that depends on how much
    of the history it is given."""


RELEASES = {
    "reference": Release(),
    "0.15.2": Release(reviews=("answers", "stores")),
    "0.16.0": Release(reviews=("answers", "stores")),
    "0.17.0": Release(reviews=("answers",)),
    "0.18.2": Release(retries=3, reviews=("answers",)),
    "0.19.0": Release(retries=3, reviews=("answers",)),
}


def release_named(name):
    """The release of that name."""
    if name not in RELEASES:
        raise simharness.Misuse(f"--parameter release={name}: there is no such release here; there are: {', '.join(RELEASES)}")
    return RELEASES[name]


class ReleasedAgent(Agent):
    """An agent whose turns do what those of a release do."""

    release = Release()

    def _compress_if_long(self, messages, system_message):
        messages = super()._compress_if_long(messages, system_message)
        for attempt in range(1, self.release.retries + 1):
            tokens = approximate_tokens(messages)
            if self.threshold_tokens is None or tokens < self.threshold_tokens:
                break
            turn_log.info(
                "Pre-API compression: ~%s request tokens >= %s threshold (context=%s, attempt=%s/3)",
                f"{tokens:,}",
                f"{self.threshold_tokens:,}",
                f"{self.context_length:,}",
                attempt,
            )
            messages, _ = self._compress_context(messages, system_message, approx_tokens=tokens)
        return messages


class Compressor:
    """Stands in for the model that summarises."""

    def compress(self, messages):
        return [{"role": "user", "content": f"[summary of {len(messages)} messages]"}, {"role": "assistant", "content": "noted"}]


def new_store(world, protocol):
    """A store with the parent session, as before the incident."""
    db = SessionDB(world.path("state.db"), protocol=protocol)
    db.create_session(PARENT, source="discord")
    for number, text in enumerate(HISTORY):
        db.append_message(PARENT, "user" if number % 2 == 0 else "assistant", text)
    return db


def agent_for(db, session_id, answer, release):
    agent = ReleasedAgent(
        db, session_id, Compressor(), platform="discord", threshold_tokens=THRESHOLD, lease_ttl=LEASE, respond=lambda _: answer
    )
    agent.release = release
    return agent


def only_answer(agent, text):
    """A turn that asks the model, and stores nothing."""
    turn_log.info(
        "conversation turn: session=%s model=%s provider=%s platform=%s history=%d msg=%r",
        agent.session_id,
        agent.model,
        agent.provider,
        agent.platform,
        len(HISTORY),
        text,
    )
    turn_log.info("Turn ended: reason=%s response_len=%d session=%s", "text_response", len(agent.respond([])), agent.session_id)


def check(world, db):
    """Make the two properties invariants of the world; `db` returns the store to query."""

    @world.at_end
    def one_compression_child():
        children = db().get_compression_children(PARENT)
        world.outcome(len(children))
        assert len(children) <= 1, f"the session has {len(children)} compression children"

    @world.at_end
    def an_ended_session_goes_on():
        parent = db().get_session(PARENT)
        assert parent["ended_at"] is None or db().get_compression_children(PARENT), "the session has ended and has no child"


@simharness.scenario(instrument="test", protocol=list(PROTOCOLS), expect=dict.fromkeys(BOTH, "violated"), log=HERMES)
def turns(world, protocol, release="reference"):
    """A message's turn with its review, and the turn of a background process that has ended, in one gateway."""
    released = release_named(release)
    db = new_store(world, protocol)
    here = threading.local()

    def make_agent(session_id):
        here.agent = agent_for(db, session_id, "the build is green", released)
        return here.agent

    gateway = Gateway(db, make_agent)
    gateway.route(SessionEntry(CHAT, PARENT, user="damien", chat_id=CHAT_ID))

    def answered(text):
        gateway_log.info("response ready: platform=%s chat=%s response=%d chars", "discord", CHAT_ID, len(text))

    def review():
        agent = here.agent.fork_review()
        kinds = released.reviews if agent.session_id == PARENT else released.reviews[:1]
        kind = kinds[0] if len(kinds) == 1 else world.choose(kinds, "what the review does")
        return agent.run_turn if kind == "stores" else partial(only_answer, agent)

    def message():
        answered(gateway.handle_message(CHAT, "please finish the migration and run the build"))
        threading.Thread(target=review(), args=("Review the conversation above",), name="bg-review").start()

    def process_event():
        answered(gateway.handle_process_completed(CHAT, "proc_7d1e02c94a1b"))

    world.actor("message", message)
    world.actor("process_event", process_event)
    check(world, lambda: db)


@simharness.scenario(
    instrument="test",
    protocol=list(PROTOCOLS),
    later=[0, 301],
    expect={(protocol, later): "violated" for protocol in BOTH for later in (0, 301)},
    log=HERMES,
)
def processes(world, protocol, later, faults=None, release="reference"):
    """A turn in each of two processes on one file; the command line's comes so many seconds later."""
    released = release_named(release)
    if "stall" in str(faults):
        world.timescale(LEASE)
    new_store(world, protocol).close()

    def opened():
        return SessionDB(world.path("state.db"), protocol=protocol)

    def turn(db, text, delay=0):
        if delay:
            time.sleep(delay)
        agent_for(db, PARENT, "the build is green", released).run_turn(text)

    world.actor("gateway", turn, opened(), "please finish the migration", process="gateway")
    world.actor("cli", turn, opened(), "what is left to do?", later, process="cli")
    check(world, opened)
