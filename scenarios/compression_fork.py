"""The compression fork: three paths compress one session at once, on a real `state.db`, under every protocol of the
ladder, without faults and with them.

The actors are those of the incident. The **main turn** has reached the compression threshold. The **review fork**,
started after the turn's answer, inherits its session id. A **background process** has ended; the gateway looks up the
chat's current session and starts a turn there. All three share the gateway's store. Each property of the store is a
column of the table:

- *one compression child*: the session has at most one compression child;
- *lock released*: when all have ended no contender holds the lease, and its row is gone;
- *loser unchanged*: a contender that did not rotate got its messages back unchanged and kept its session id until it
  next wrote;
- *no message lost*: every acknowledged message is a row of the live session or was given to the winning compressor;
- *no write to a closed session*: no message is added to a session that has ended;
- *routing follows the live session*: an event that arrives when all have ended reaches the chat's one live session.

`under_faults` has the main turn and the review fork, each in its own process (`contenders.py`), a column for each
kind of fault, and two more properties:

- *no ended parent without a child*: every session that was ended by a compression has a child;
- *later contender completes*: a contender that keeps trying gets the session compressed, whatever happened to the other;
- *lock released* then means: a lease is released unless its owner died or got an error; in that case it blocks no other
  contender once a TTL has passed since the last refresh (after a jump backwards also the jump's length).

`fenced` keeps them all, in every column. Each earlier rung breaks some of them; the expected verdicts stand beside each
scenario. What may surprise:

- An unlocked session has an heir after every single fault, since the second contender compresses it again.
- Under a `lease` without a recheck, a contender that comes after a crash creates the missing child (as release 0.16.0 did); with the
  recheck it finds that the parent was rotated, and always refuses (0.19.0).
- A contender that is stalled with the write lock makes the other's statement fail after waiting for 30 s, so a stall breaks all that
  an error between the two transactions breaks.
- `lease_fail_open` forks under a lost acknowledgement too: that of a transaction in which a contender was refused.

Reductions. Two contenders; the clock jumps by an hour; only the review fork waits for a lease to expire, so only the main turn is
stalled past it; no refresher where compressing takes no time. `refreshed_lease` has one, and is about the rungs that rely on it.
"""

import sqlite3
import time

import simharness
from hermes_state import PROTOCOLS, Agent, Gateway, SessionDB, SessionEntry
from scenarios.contenders import CHAT, CLOSED_WRITES, PARENT, Contenders, check, contend, losers_are_unchanged

HISTORY = ("please finish the migration", "working on it", "run the build too", "the build is running")


class Compressor:
    """Stands in for the model that summarises; remembers its input."""

    def __init__(self):
        self.given = []
        self.seconds = 0.0

    def compress(self, messages):
        if self.seconds:
            time.sleep(self.seconds)
        self.given.append([message["content"] for message in messages])
        return [{"role": "user", "content": f"[summary of {len(messages)} messages]"}]


class Incident:
    """The store, the three agents and the gateway of the incident, and its properties."""

    def __init__(self, world, protocol, *, watch_writes=False):
        self.world = world
        self.path = world.path("state.db")
        self.db = SessionDB(self.path, protocol=protocol)
        self.db.create_session(PARENT, source="discord")
        for number, text in enumerate(HISTORY):
            self.db.append_message(PARENT, "user" if number % 2 == 0 else "assistant", text)
        if watch_writes:
            self.db._conn.executescript(CLOSED_WRITES)
        self.messages = self.db.get_messages(PARENT)
        self.main = Agent(self.db, PARENT, Compressor(), platform="discord", respond=lambda messages: "the build is green")
        self.review = self.main.fork_review()
        self.review.context_compressor = Compressor()
        self.turns = []
        self.gateway = Gateway(self.db, self.make_event_agent)
        self.gateway.route(SessionEntry(CHAT, PARENT, user="damien", chat_id="1184023377"))
        self.results = {}
        self.acknowledged = []
        self.names = {f"{self.main._tag:x}": "main_turn", f"{self.review._tag:x}": "review_fork"}
        world.show("lease", self.lease_holder, until=self.lease_expiry)
        self.compress_event = True

    def make_event_agent(self, session_id):
        agent = Agent(
            self.db,
            session_id,
            Compressor(),
            platform="discord",
            threshold_tokens=1 if self.compress_event else None,
            respond=lambda messages: "noted",
        )
        self.names[f"{agent._tag:x}"] = "process_event"
        self.turns.append(agent)
        return agent

    def lease(self):
        connection = sqlite3.connect(self.path)
        row = connection.execute("SELECT holder, expires_at FROM compression_locks").fetchone()
        connection.close()
        return row

    def lease_expiry(self):
        row = self.lease()
        return row and row[1]

    def lease_holder(self):
        row = self.lease()
        if row is None:
            return "-"
        tag = next(part.removeprefix("agent=") for part in row[0].split(":") if part.startswith("agent="))
        return self.names.get(tag, row[0])

    # What the actors do

    def compress(self, name, agent):
        messages = [dict(message) for message in self.messages]
        before = [dict(message) for message in messages]
        returned, _ = agent._compress_context(messages, "be brief", approx_tokens=59_211)
        self.results[name] = (agent.session_id, returned is messages and messages == before)

    def say(self, agent, text):
        agent.append("assistant", text)
        self.acknowledged.append(text)

    def main_turn(self):
        self.compress("main_turn", self.main)

    def review_fork(self):
        self.compress("review_fork", self.review)

    def main_turn_is_routed(self):
        """The main turn as the gateway runs it: when its session has rotated, the chat's entry follows."""
        self.main_turn()
        if self.main.session_id != PARENT:
            self.gateway.follow(CHAT, PARENT, self.main.session_id)

    def review_fork_notes(self):
        """The review fork writes to its transcript after it has compressed, or lost."""
        self.review_fork()
        self.say(self.review, "review: remember the build command")

    def process_event(self):
        """The event's turn as the gateway runs it: notify, compress when over the threshold, answer, let the routing follow."""
        answer = self.gateway.handle_process_completed(CHAT, "proc_7d1e02c94a1b")
        self.acknowledged += ["[background process proc_7d1e02c94a1b completed, exit code 0]", answer]

    def process_event_compresses(self):
        """What the event's turn does before it asks the model: look up the session, compress, let the routing follow."""
        session_id = self.gateway.session_of(CHAT)
        agent = self.make_event_agent(session_id)
        self.compress("process_event", agent)
        if agent.session_id != session_id:
            self.gateway.follow(CHAT, session_id, agent.session_id)

    def process_event_notifies(self):
        """What the event's turn does first: look up the session and append the notification."""
        agent = self.make_event_agent(self.gateway.session_of(CHAT))
        self.say(agent, "[background process proc_7d1e02c94a1b completed]")

    # What must hold

    def children(self):
        return self.db.get_compression_children(PARENT)

    def one_compression_child(self):
        children = self.children()
        self.world.outcome(len(children))
        assert len(children) <= 1, f"the session has {len(children)} compression children"

    def lock_released(self):
        holder = self.db.get_compression_lock_holder(PARENT)
        assert holder is None, f"{holder} still holds the lease"
        rows = self.db.read(lambda connection: connection.execute("SELECT count(*) FROM compression_locks").fetchone()[0])
        assert rows == 0, "the lease row is still there"

    def loser_unchanged(self):
        losers_are_unchanged(self.results, self.children())

    def no_message_lost(self):
        live = [row["id"] for row in self.live_sessions()]
        assert len(live) == 1, f"{len(live)} sessions are live: what is written to one is lost to the other"
        stored = {message["content"] for message in self.db.get_messages(live[0])}
        winners = [self.main, self.review, *self.turns]
        given = {text for agent in winners for texts in agent.context_compressor.given for text in texts}
        for text in self.acknowledged:
            assert text in stored or text in given, f"the acknowledged message {text!r} is lost"

    def no_write_to_a_closed_session(self):
        rows = self.db.read(lambda connection: connection.execute("SELECT session_id FROM closed_writes").fetchall())
        assert not rows, f"{len(rows)} message(s) went to a session that had ended"

    def routing_follows_the_live_session(self):
        self.compress_event = False
        self.gateway.handle_process_completed(CHAT, "proc_later")
        live = [row["id"] for row in self.live_sessions()]
        assert len(live) == 1, f"the chat has {len(live)} live sessions"
        texts = [message["content"] for message in self.db.get_messages(live[0])]
        assert any("proc_later" in text for text in texts), "the later event did not reach the live session"

    def live_sessions(self):
        return self.db.read(lambda connection: connection.execute("SELECT id FROM sessions WHERE ended_at IS NULL").fetchall())


CASTS = {
    "one_compression_child": ("main_turn", "review_fork", "process_event_compresses"),
    "lock_released": ("main_turn", "review_fork", "process_event_compresses"),
    "loser_unchanged": ("main_turn", "review_fork", "process_event_compresses"),
    "no_message_lost": ("main_turn", "review_fork_notes", "process_event_notifies"),
    "no_write_to_a_closed_session": ("main_turn", "review_fork_notes", "process_event_notifies"),
    "routing_follows_the_live_session": ("main_turn_is_routed", "review_fork", "process_event_compresses"),
}
"""What each of the three does, by property: only what the property needs."""

ACTORS = ("main_turn", "review_fork", "process_event")
NOT_FENCED = ("unlocked", "lease", "lease_recheck", "lease_fail_open")
LATE = ("unlocked", "lease")
"""The rungs on which a contender that comes after the winner has released compresses the session again."""


def expect(**violated):
    """For each property, the protocols that break it; all other cases are expected to be verified."""
    return {(protocol, name): "violated" for name, protocols in violated.items() for protocol in protocols}


@simharness.scenario(
    instrument="test",
    protocol=list(PROTOCOLS),
    property=list(CASTS),
    expect=expect(
        one_compression_child=LATE,
        loser_unchanged=LATE,
        no_message_lost=NOT_FENCED,
        no_write_to_a_closed_session=NOT_FENCED,
        routing_follows_the_live_session=NOT_FENCED,
    ),
)
def three_contenders(world, protocol, property):
    """The main turn, the review fork and the background process's event."""
    incident = Incident(world, protocol, watch_writes=property == "no_write_to_a_closed_session")
    for name, work in zip(ACTORS, CASTS[property], strict=True):
        world.actor(name, getattr(incident, work))
    check(world, incident, property)


@simharness.scenario(
    instrument="test",
    protocol=list(PROTOCOLS),
    property=["one_compression_child", "lock_released", "loser_unchanged"],
    expect=expect(one_compression_child=LATE, loser_unchanged=LATE),
)
def two_contenders(world, protocol, property):
    """The main turn and the review fork, which share nothing but the store."""
    incident = Incident(world, protocol)
    world.actor("main_turn", incident.main_turn)
    world.actor("review_fork", incident.review_fork)
    check(world, incident, property)


@simharness.scenario(
    instrument="test",
    protocol=list(PROTOCOLS),
    property=["no_message_lost", "no_write_to_a_closed_session", "routing_follows_the_live_session"],
    expect=expect(no_message_lost=NOT_FENCED, no_write_to_a_closed_session=NOT_FENCED, routing_follows_the_live_session=LATE),
)
def event_turn(world, protocol, property):
    """The main turn, and the whole of the turn that the event starts: notification, compression, answer, routing."""
    incident = Incident(world, protocol, watch_writes=property == "no_write_to_a_closed_session")
    world.actor("main_turn", incident.main_turn_is_routed)
    world.actor("process_event", incident.process_event)
    check(world, incident, property)


def compress_and_be_late(world, protocol, property, compression, arrival):
    """The main turn compresses for `compression` seconds from the start; the event comes `arrival` seconds after the start."""
    incident = Incident(world, protocol)
    incident.main.context_compressor.seconds = compression

    def event():
        time.sleep(arrival)
        incident.process_event_compresses()

    world.actor("main_turn", incident.main_turn)
    world.actor("process_event", event)
    check(world, incident, property)


@simharness.scenario(
    instrument="test",
    protocol=list(PROTOCOLS),
    property=["one_compression_child", "lock_released"],
    expect=expect(one_compression_child=LATE),
)
def late_contender(world, protocol, property):
    """The main turn compresses for 20 s; the event comes about when it is done, a little before or a little after."""
    compress_and_be_late(world, protocol, property, compression=20.0, arrival=20.0)


@simharness.scenario(
    instrument="test",
    protocol=list(PROTOCOLS),
    property=["one_compression_child"],
    expect=expect(one_compression_child=LATE[:1]),
    max_delay=1.0,
)
def long_compression(world, protocol, property):
    """A compression of 400 s, longer than the lease's 300: the refresher keeps the lease from the contender that comes at 350 s."""
    compress_and_be_late(world, protocol, property, compression=400.0, arrival=350.0)


FAULTS = (
    None,
    "crash=1",
    "stall=1",
    "clock_jump=1",
    "db_error=1",
    "lost_ack=1",
    "error=1@SessionDB.try_acquire_compression_lock:sqlite3.OperationalError",
)
FAULT_CASTS = {
    "one_compression_child": ("main_turn", "review_fork"),
    "no_ended_parent_without_a_child": ("main_turn", "review_fork_once"),
    "later_contender_completes": ("main_turn", "review_fork"),
    "lock_released": ("main_turn", "review_fork_takes_the_lease"),
    "loser_unchanged": ("main_turn", "review_fork_once"),
    "no_message_lost": ("main_turn", "review_fork_notes"),
    "no_write_to_a_closed_session": ("main_turn", "review_fork_writes"),
    "routing_follows_the_live_session": ("main_turn_is_routed", "review_fork_once"),
}


FAIL_OPEN = ("lease_fail_open",)
RECHECKED = ("lease_recheck", "lease_fail_open")
LEASED = ("lease", "lease_recheck", "lease_fail_open")
BROKEN = {
    "one_compression_child": {
        "": LATE,
        "stall": RECHECKED,
        "clock_jump": RECHECKED,
        "db_error": FAIL_OPEN,
        "lost_ack": FAIL_OPEN,
        "error": FAIL_OPEN,
    },
    "no_ended_parent_without_a_child": {"crash": LEASED, "stall": LEASED, "db_error": LEASED, "lost_ack": LEASED},
    "later_contender_completes": {"crash": RECHECKED, "stall": LEASED, "db_error": LEASED, "lost_ack": RECHECKED},
    "lock_released": {},
    "loser_unchanged": {
        "": LATE,
        "stall": RECHECKED,
        "clock_jump": RECHECKED,
        "db_error": RECHECKED,
        "lost_ack": FAIL_OPEN,
        "error": FAIL_OPEN,
    },
    "no_message_lost": {"": NOT_FENCED},
    "no_write_to_a_closed_session": {"": NOT_FENCED},
    "routing_follows_the_live_session": {"": NOT_FENCED},
}
"""For each property, the protocols that break it: in every column (""), and under each kind of fault."""


def expected_under_faults(protocol, property, faults):
    """The expected verdict of a case."""
    broken = BROKEN[property]
    kind = str(faults).partition("=")[0]
    return "violated" if protocol in (*broken.get("", ()), *broken.get(kind, ())) else "verified"


@simharness.scenario(instrument="test", protocol=list(PROTOCOLS), property=list(FAULT_CASTS), faults=FAULTS, expect=expected_under_faults)
def under_faults(world, protocol, property, faults):
    """The main turn and the review fork in processes of their own, and one fault at every place where it can strike."""
    contend(world, Contenders(world, protocol, property, faults=faults), property, FAULT_CASTS[property])


def only_fenced_keeps(protocol, property, faults):
    """The verdict of a property that only the reference keeps, with faults and without."""
    return "verified" if protocol == "fenced" else "violated"


@simharness.scenario(
    instrument="test", protocol=list(PROTOCOLS[1:]), property=["every_property"], faults=FAULTS[:3], expect=only_fenced_keeps
)
def holder_used_twice(world, protocol, property, faults):
    """All properties at once, where both contenders give the same name as the holder of the lease."""
    contend(world, Contenders(world, protocol, property, faults=faults, holder="pid=1"), property, ("main_turn", "review_fork"))


@simharness.scenario(instrument="test", protocol=list(PROTOCOLS[1:]), property=["lock_released"], faults=[None, "clock_jump=1"])
def abandoned_lease(world, protocol, property, faults):
    """The main turn takes the lease and is never heard of again; the wall clock jumps."""
    contend(world, Contenders(world, protocol, property, faults=faults), property, ("main_turn_vanishes", "review_fork_takes_the_lease"))


@simharness.scenario(
    instrument="test",
    protocol=list(LEASED),
    property=["one_compression_child"],
    faults=[None, "stall=1@main_turn"],
    expect={"faults=stall=1@main_turn": "violated"},
    max_delay=0.0,
)
def refreshed_lease(world, protocol, property, faults):
    """A compression of 65 s, longer than the lease's 60, whose refresher may be stalled; the review fork comes after 62 s."""
    contenders = Contenders(world, protocol, property, seconds=65.0, ttl=60.0, arrivals=[62.0])
    contend(world, contenders, property, ("main_turn", "review_fork_once"))
