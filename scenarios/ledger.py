"""The ledger: eight bug reports of one family, each as a scenario that finds the bug, and the repaired protocol, which is verified.

All occurred in production: an ordering, or an ordering plus one fault, of two or three actors on one `state.db`. A scenario's docstring
says what was reported. Its first protocol is a stage of the history that had the bug. If the bug needs a fault to show, the budget is the
smallest one: without it the same protocol is verified here as well. The other protocol, `fenced`, is verified within the same
budget. `make ledger` prints a row for each report, `simharness explore scenarios/ledger.py::NAME` the ordering.

In each, `parent` is the session that is due for compression. Agents that are threads of one gateway share its store; where one process
dies or stalls, each has a store of its own.
"""

import logging
import sqlite3
import time

import simharness
from hermes_state import Agent, SessionClosedError, SessionDB

PARENT = "parent"
HISTORY = ("please finish the migration", "working on it", "run the build too", "the build is running")
LEASE_SECONDS = 300.0
REFRESH_SECONDS = 60.0
CLOSED_WRITES = """
CREATE TABLE closed_writes (message TEXT, session_id TEXT);
CREATE TRIGGER closed_write AFTER INSERT ON messages
WHEN (SELECT ended_at FROM sessions WHERE id = NEW.session_id) IS NOT NULL
BEGIN INSERT INTO closed_writes VALUES (NEW.content, NEW.session_id); END;
"""


class Summary:
    """Stands in for the model that summarises, which takes a while."""

    def __init__(self, seconds=0.0):
        self.seconds = seconds

    def compress(self, messages):
        if self.seconds:
            time.sleep(self.seconds)
        return [{"role": "user", "content": f"[summary of {len(messages)} messages]"}]


class Conversation:
    """A conversation on a fresh file, its agents, and its properties."""

    def __init__(self, world, protocol):
        self.world = world
        self.protocol = protocol
        self.path = world.path("state.db")
        self.agents = {}
        self.store = self.open()
        self.store.create_session(PARENT, source="discord")
        for number, text in enumerate(HISTORY):
            self.store.append_message(PARENT, "user" if number % 2 == 0 else "assistant", text)
        self.messages = self.store.get_messages(PARENT)
        self._reader = sqlite3.connect(self.path)
        if self.store.rung.lease:
            world.show("lease", self.holder, until=self.expiry)

    def open(self):
        return SessionDB(self.path, self.protocol)

    def agent(self, name, *, store=None, seconds=0.0):
        """An agent on the parent, with the shared store or its own."""
        agent = Agent(store or self.store, PARENT, Summary(seconds), platform="discord", lease_ttl=LEASE_SECONDS)
        self.agents[name] = agent
        return agent

    def compress(self, agent):
        agent._compress_context([dict(message) for message in self.messages], "be brief", approx_tokens=59_211)

    def contend(self, *names):
        """Actors that compress the parent, all over one store."""
        for name in names:
            self.world.actor(name, self.compress, self.agent(name))

    def rows(self, query, *values):
        """Rows of the file, on a connection of no process: a process's connection would die with it."""
        return self._reader.execute(query, values).fetchall()

    def parent_is(self):
        rows = self.rows("SELECT ended_at FROM sessions WHERE id = ?", PARENT)
        return "gone" if not rows else "open" if rows[0][0] is None else "ended"

    def lease(self):
        """The holder in the lease's row, and its expiry."""
        rows = self.rows("SELECT holder, expires_at FROM compression_locks")
        return rows[0] if rows else ("", None)

    def holder(self):
        holder = self.lease()[0]
        return next((name for name, agent in self.agents.items() if f":agent={agent._tag:x}:" in holder), "-")

    def expiry(self):
        return self.lease()[1]

    def children(self):
        return [row[0] for row in self.rows("SELECT id FROM sessions WHERE parent_session_id = ? AND kind = 'compression'", PARENT)]

    def has_one_child(self):
        """Declare the one-child invariant."""
        self.world.show("children", lambda: len(self.children()))

        @self.world.at_end
        def one_compression_child():
            number = len(self.children())
            self.world.outcome(number)
            assert number <= 1, f"the session has {number} compression children"

    def goes_on(self):
        """Declare that one session of the conversation is live, and that an agent that has rotated is on an existing session."""
        self.world.show("parent", self.parent_is)

        @self.world.at_end
        def the_conversation_goes_on():
            for name, agent in self.agents.items():
                there = self.rows("SELECT id FROM sessions WHERE id = ?", agent.session_id)
                assert there or agent.session_id == PARENT, f"there is no session {agent.session_id}, in which {name} goes on"
            live = self.rows("SELECT id FROM sessions WHERE ended_at IS NULL")
            assert len(live) == 1, f"{len(live) or 'no'} sessions of the conversation take messages"


@simharness.scenario(instrument="test", protocol=["unlocked", "fenced"], expect={"unlocked": "violated"})
def two_at_once_34351(world, protocol):
    """#34351: two paths compress one session.

    The main turn and the review fork that it started both compressed, at once, and nothing kept them apart: the conversation forked into
    two children, one of which the user never saw again. Without a lease it does not even take an overlap: the second one forks.
    """
    conversation = Conversation(world, protocol)
    conversation.contend("main_turn", "review_fork")
    conversation.has_one_child()


@simharness.scenario(instrument="test", protocol=["unlocked", "fenced"], faults=["db_error=1"], expect={"protocol=unlocked": "violated"})
def child_not_stored_33906(world, protocol):
    """#33906: the child cannot be stored.

    The database was locked, or the disk full, when the child was inserted, after the parent's end had been committed. The agent
    continued under the child's id, for which there was no row, and each of its later writes failed.
    """
    conversation = Conversation(world, protocol)
    conversation.contend("main_turn")
    conversation.goes_on()


@simharness.scenario(instrument="test", protocol=["lease", "fenced"], expect={"lease": "violated"})
def late_contender_38727(world, protocol):
    """#38727: the contender comes late.

    The winner had released the lease before the loser asked, so the loser got it, and compressed a session that had been rotated. It takes
    no fault and no overlap: the event comes when the compression, which takes 20 s, is about to end.
    """
    conversation = Conversation(world, protocol)
    main, event = conversation.agent("main_turn", seconds=20.0), conversation.agent("late_event")

    def come_late():
        time.sleep(20.0)
        conversation.compress(event)

    world.actor("main_turn", conversation.compress, main)
    world.actor("late_event", come_late)
    conversation.has_one_child()


@simharness.scenario(
    instrument="test", protocol=["lease_fail_open", "fenced"], faults=["db_error=1@BUSY"], expect={"protocol=lease_fail_open": "violated"}
)
def error_is_success_63129(world, protocol):
    """#63129: an error counts as the lease.

    The database was busy when a contender asked for the lease. It took the error for success and compressed beside the holder.
    """
    conversation = Conversation(world, protocol)
    conversation.contend("main_turn", "review_fork")
    conversation.has_one_child()


@simharness.scenario(instrument="test", protocol=["lease_recheck", "fenced"], expect={"lease_recheck": "violated"})
def pruned_parent_68929(world, protocol):
    """#68929: the parent is pruned half-way.

    The session was older than the pruner keeps, so it was deleted between its end and the insert of its child. The child could not be
    stored then, since it had no parent: the conversation was gone.
    """
    conversation = Conversation(world, protocol)
    conversation.contend("main_turn")
    world.actor("pruner", conversation.store.prune_sessions, 0.0)
    conversation.goes_on()


@simharness.scenario(instrument="test", protocol=["lease_recheck", "fenced"], expect={"lease_recheck": "violated"})
def write_after_end_71001(world, protocol):
    """#71001: a write to the closed parent.

    The worker did not know of the rotation. What it wrote was missing in the conversation, which continued in the child.
    """
    conversation = Conversation(world, protocol)
    conversation.store._conn.executescript(CLOSED_WRITES)
    worker = conversation.agent("worker")
    conversation.contend("main_turn")
    world.actor("worker", worker.append, "assistant", "the build is green")
    world.show("parent", conversation.parent_is)

    @world.at_end
    def no_write_to_a_closed_session():
        rows = conversation.rows("SELECT message, session_id FROM closed_writes")
        assert not rows, f"the message {rows[0][0]!r} went to session {rows[0][1]!r}, which had ended"


@simharness.scenario(
    instrument="test", protocol=["lease_recheck", "fenced"], faults=["stall=1@gateway"], expect={"protocol=lease_recheck": "violated"}
)
def late_refresher_71790(world, protocol):
    """#71790: an expired lease is not revived.

    The machine slept, while a session was compressed, for longer than the lease lasts. No other agent had taken the lease, but no refresh
    revived it: the owner continued without one, and the next agent could compress the same session. One refresh after the machine
    wakes up the lease must be held again, unless the compression is over.

    The lease lasts for 180 s here and is refreshed every 60 s, the compression takes 260 s, and the lid is opened at 200 s.
    """
    conversation = Conversation(world, protocol)
    main = conversation.agent("main_turn", seconds=260.0)
    main.lease_ttl = 180.0
    world.actor("main_turn", conversation.compress, main, process="gateway")
    world.actor("lid", time.sleep, 200.0, process="user")

    def the_lease_is_held():
        held = (conversation.expiry() or 0.0) >= world.clock.time()
        assert held or conversation.parent_is() == "ended", "nobody holds the lease"

    world.eventually(the_lease_is_held, within=REFRESH_SECONDS + 10.0)


@simharness.scenario(
    instrument="test", protocol=["lease_closed", "fenced"], faults=["crash=1@gateway"], expect={"protocol=lease_closed": "violated"}
)
def stuck_for_good_80337(world, protocol):
    """#80337: a crash half-way, stuck for good.

    The process died between the parent's end and the insert of its child. Since #71001 a session that has ended refuses messages, because
    it continues in its child; this one had none. Compressing it again was refused, too, because it had been rotated "already". The next
    process comes when the dead one's lease has expired, and tries both.
    """
    conversation = Conversation(world, protocol)
    world.actor("main_turn", conversation.compress, conversation.agent("main_turn"), process="gateway")
    agent = conversation.agent("next_turn", store=conversation.open())

    def come_back():
        time.sleep(LEASE_SECONDS + 10.0)
        conversation.compress(agent)
        try:
            agent.append("user", "are you there?")
        except SessionClosedError as refusal:
            logging.getLogger("gateway.run").warning("refused: %s", refusal)

    world.actor("next_turn", come_back, process="next")
    conversation.goes_on()
