"""The compression fork as it shows in an incident's log: whole turns, with every line that upstream logs, for `simharness incident`.

`turns` is one gateway process. A user's message and the end of a background process each start a turn on the chat's session, and when the
message has been answered a review fork inherits the session id of that moment. `processes` is a turn in each of two processes (the gateway
and a command line) on one `state.db`; a crash, or a stall longer than the lease, affects one of the two.

Two things must hold at the end: the session has at most one compression child, and exactly one if a compression has ended it.
"""

import logging
import threading
import time

import simharness
from hermes_state import PROTOCOLS, Agent, Gateway, SessionDB, SessionEntry
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


def agent_for(db, session_id, answer):
    return Agent(db, session_id, Compressor(), platform="discord", threshold_tokens=THRESHOLD, lease_ttl=LEASE, respond=lambda _: answer)


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
def turns(world, protocol):
    """A message's turn with its review, and the turn of a background process that has ended, in one gateway."""
    db = new_store(world, protocol)
    here = threading.local()

    def make_agent(session_id):
        here.agent = agent_for(db, session_id, "the build is green")
        return here.agent

    gateway = Gateway(db, make_agent)
    gateway.route(SessionEntry(CHAT, PARENT, user="damien", chat_id=CHAT_ID))

    def answered(text):
        gateway_log.info("response ready: platform=%s chat=%s response=%d chars", "discord", CHAT_ID, len(text))

    def message():
        answered(gateway.handle_message(CHAT, "please finish the migration and run the build"))
        review = here.agent.fork_review()
        threading.Thread(target=review.run_turn, args=("Review the conversation above",), name="bg-review").start()

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
def processes(world, protocol, later, faults=None):
    """A turn in each of two processes on one file; the command line's comes so many seconds later."""
    if "stall" in str(faults):
        world.timescale(LEASE)
    new_store(world, protocol).close()

    def opened():
        return SessionDB(world.path("state.db"), protocol=protocol)

    def turn(db, text, delay=0):
        if delay:
            time.sleep(delay)
        agent_for(db, PARENT, "the build is green").run_turn(text)

    world.actor("gateway", turn, opened(), "please finish the migration", process="gateway")
    world.actor("cli", turn, opened(), "what is left to do?", later, process="cli")
    check(world, opened)
