"""Contenders for one session, each in its own process: what they do, and the properties that must hold.

For the fault columns of `compression_fork.py`. A process has its own connection to the file, opened before anything moves, and its own
memory; checks read the file through connections of their own. A contender does only what a property needs:

- *a turn*: the main turn compresses the session, once;
- *keeps trying*: the review fork compresses it too; while it is refused because the lease is held, or because of an error, it tries again
  after a pause that is longer than a lease lasts. The other can be stalled until the instant at which it wakes up.

Compressing takes no virtual time here, so no refresher runs: it would be a thread in each process with nothing to do.
"""

import contextlib
import sqlite3
import time
from dataclasses import replace

from hermes_state import DEFAULT_TTL, Agent, Gateway, SessionClosedError, SessionDB, SessionEntry
from hermes_state.rotation import Reason, Rotation

PARENT = "20260527_234659_e65f0e"
CHAT = "agent:main:discord:dm:1184023377"
HISTORY = ("please finish the migration", "working on it")
CLOSED_WRITES = """
CREATE TABLE closed_writes (message INTEGER, session_id TEXT);
CREATE TRIGGER closed_write AFTER INSERT ON messages
WHEN (SELECT ended_at FROM sessions WHERE id = NEW.session_id) IS NOT NULL
BEGIN INSERT INTO closed_writes VALUES (NEW.id, NEW.session_id); END;
"""
PUBLICATIONS = """
CREATE TABLE publications (child TEXT, holder TEXT, generation INTEGER);
CREATE TRIGGER publication AFTER INSERT ON sessions WHEN NEW.kind = 'compression'
BEGIN INSERT INTO publications SELECT NEW.id, (SELECT holder FROM compression_locks), (SELECT generation FROM compression_generations); END;
"""
ENDED_AGAIN = """
CREATE TABLE ended_again (reason TEXT);
CREATE TRIGGER ended_again AFTER UPDATE OF end_reason ON sessions WHEN OLD.end_reason IS NOT NULL
BEGIN INSERT INTO ended_again VALUES (OLD.end_reason); END;
"""
WATCHES = {
    "no_write_to_a_closed_session": CLOSED_WRITES,
    "every_property": CLOSED_WRITES,
    "last_to_acquire_publishes": PUBLICATIONS,
    "what_has_ended_stays_ended": ENDED_AGAIN,
}
"""Triggers that record what a property needs."""
JUMP = 3_600.0
PAUSE = DEFAULT_TTL + 6.0
"""Longer than a lease lasts from its last refresh, lateness included."""
PAUSES = {"clock_jump": (PAUSE, JUMP), "stall": (PAUSE, PAUSE)}
"""Between tries: after a jump backwards a lease may last longer by the jump, and a stalled contender may take it late."""
SUMMARY = "summary by "


class Summary:
    """Stands in for the model that summarises; its summary names the contender."""

    def __init__(self, name, seconds):
        self.name = name
        self.seconds = seconds
        self.given = []

    def compress(self, messages):
        if self.seconds:
            time.sleep(self.seconds)
        self.given += [message["content"] for message in messages]
        return [{"role": "user", "content": SUMMARY + self.name}]


class Store(SessionDB):
    """A store that remembers the last lease that it took, and whether it failed to release one."""

    gave_back = kept = True
    taken = None

    def try_acquire_compression_lock(self, session_id, holder, ttl_seconds=DEFAULT_TTL):
        """As the store does."""
        acquired = super().try_acquire_compression_lock(session_id, holder, ttl_seconds)
        if acquired:
            self.taken = holder, self.fencing_token(session_id, holder)
        return acquired

    def refresh_compression_lock(self, session_id, holder, ttl_seconds=DEFAULT_TTL):
        """As the store does."""
        self.kept = super().refresh_compression_lock(session_id, holder, ttl_seconds)
        return self.kept

    def release_compression_lock(self, session_id, holder):
        """As the store does."""
        self.gave_back = False
        super().release_compression_lock(session_id, holder)
        self.gave_back = True


class Contender(Agent):
    """An agent that remembers why it stepped back, and whether it came to its end."""

    why = None
    ended = False
    holder = None

    def _new_holder(self):
        return self.holder or super()._new_holder()

    def _log_step_back(self, step_back):
        super()._log_step_back(step_back)
        self.why = step_back.reason


class Contenders:
    """The store's file, an agent in each of two processes, and the gateway of the main turn's process."""

    def __init__(self, world, protocol, property, *, faults=None, holder=None, older=None, seconds=0.0, ttl=DEFAULT_TTL, arrivals=()):
        self.world = world
        self.path = world.path("state.db")
        self.protocol = protocol
        self.older = older
        self.holder = holder
        self.seconds = seconds
        self.ttl = ttl
        self.arrivals = arrivals
        self.pauses = next((pauses for kind, pauses in PAUSES.items() if kind in str(faults)), (PAUSE,))
        self.agents = {}
        self.compressors = {}
        self.results = {}
        self.acknowledged = []
        self.main = self.contender("main_turn")
        self.review = self.contender("review_fork")
        store = self.main.session_db
        store.create_session(PARENT, source="discord", messages=[{"role": "user", "content": text} for text in HISTORY])
        if property in WATCHES:
            store._conn.executescript(WATCHES[property])
        self.messages = store.get_messages(PARENT)
        self.gateway = Gateway(store, lambda session_id: Agent(store, session_id))
        self.gateway.route(SessionEntry(CHAT, PARENT, user="damien", chat_id="1184023377"))
        world.show("lease", self.lease)

    def contender(self, name):
        """An agent with its own store; a new one of the same name when its process is restarted."""
        store = Store(self.path, protocol=(self.older if name == "review_fork" else None) or self.protocol)
        store.rung = replace(store.rung, refreshes=self.seconds > 0)
        compressor = self.compressors[name] = Summary(name, self.seconds)
        agent = self.agents[name] = Contender(store, PARENT, compressor, platform="discord", lease_ttl=self.ttl)
        agent.holder = self.holder
        return agent

    # What the actors do

    def compress(self, agent):
        messages = [dict(message) for message in self.messages]
        before = [dict(message) for message in messages]
        agent.why = None
        try:
            returned, _ = agent._compress_context(messages, "be brief", approx_tokens=59_211)
        except OSError:  # the model cannot be reached
            returned = messages
        self.results[agent.context_compressor.name] = (agent.session_id, returned is messages and messages == before)

    def keep_trying(self, agent):
        self.compress(agent)
        for pause in self.pauses:
            if agent.session_id != PARENT or agent.why not in (Reason.HELD, Reason.ERROR):
                break
            time.sleep(pause)
            self.compress(agent)

    def say(self, agent, text):
        """Write to the transcript; a refused message is not acknowledged."""
        with contextlib.suppress(sqlite3.Error, SessionClosedError):
            agent.append("assistant", text)
            self.acknowledged.append(text)

    def main_turn(self):
        self.compress(self.main)
        self.main.ended = True

    def main_turn_vanishes(self):
        """The main turn takes the lease, and its process ends."""
        self.main.session_db.try_acquire_compression_lock(PARENT, self.main._new_holder())

    def main_turn_is_routed(self):
        """The gateway runs the main turn: when its session has rotated, the chat's entry follows."""
        self.main_turn()
        if self.main.session_id != PARENT:
            with contextlib.suppress(sqlite3.Error):
                self.gateway.follow(CHAT, PARENT, self.main.session_id)

    def review_fork(self):
        self.keep_trying(self.review)
        self.review.ended = True

    def review_fork_once(self):
        """The review fork compresses; it may come later, and may have slept more than once by then."""
        for pause in self.arrivals:
            time.sleep(pause)
        self.compress(self.review)
        self.review.ended = True

    def review_fork_notes(self):
        """The review fork writes to its transcript, and then compresses."""
        self.say(self.review, "review: remember the build command")
        self.review_fork()

    def review_fork_takes_the_lease(self):
        """The review fork takes the lease and gives it back; while it is refused because it is held, it tries again."""
        for pause in (0.0, *self.pauses):
            if pause:
                time.sleep(pause)
            rotation = Rotation(self.review.session_db, PARENT, self.review._new_holder(), self.ttl)
            refused = rotation.claim()
            rotation.release()
            self.review.why = refused and refused.reason
            if self.review.why is not Reason.HELD:
                break
        self.review.ended = True

    def review_fork_writes(self):
        """The review fork writes to its transcript, now and once more later."""
        self.say(self.review, "review: remember the build command")
        time.sleep(PAUSE)
        self.say(self.review, "review: and the test command")

    def review_restarts(self):
        """The process of the review fork is restarted some time after a crash, and keeps trying."""
        time.sleep(PAUSE)
        self.keep_trying(self.contender("review_fork"))

    def somebody_resets(self):
        """The user ends the session, which needs no lease."""
        with contextlib.suppress(sqlite3.Error):
            self.review.session_db.end_session(PARENT, "reset")

    # What must hold

    def query(self, sql, *parameters):
        """Rows of the file, through the check's own connection."""
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(sql, parameters).fetchall()

    def lease(self):
        """The holder in the lease row, for timelines."""
        names = {f"agent={agent._tag:x}": name for name, agent in self.agents.items()}
        rows = self.query("SELECT holder FROM compression_locks")
        return next(
            (names.get(part, part) for (holder,) in rows for part in holder.split(":") if part in names), rows[0][0] if rows else "-"
        )

    def children(self):
        return [row[0] for row in self.query("SELECT id FROM sessions WHERE parent_session_id = ? AND kind = 'compression'", PARENT)]

    def live_sessions(self):
        return [row[0] for row in self.query("SELECT id FROM sessions WHERE ended_at IS NULL")]

    def texts(self, session_id):
        return [row[0] for row in self.query("SELECT content FROM messages WHERE session_id = ? ORDER BY id", session_id)]

    def one_compression_child(self):
        children = self.children()
        self.world.outcome(len(children))
        assert len(children) <= 1, f"the session has {len(children)} compression children"

    def no_ended_parent_without_a_child(self):
        ended = "SELECT id FROM sessions s WHERE end_reason = 'compression' AND NOT EXISTS"
        [*stuck] = self.query(f"{ended} (SELECT 1 FROM sessions c WHERE c.parent_session_id = s.id AND c.kind = 'compression')")
        assert not stuck, "the session has ended and has no child: nobody can write to it"

    def lock_released(self):
        """A lease is released; one whose owner died or failed blocks no contender once its time is over."""
        assert not (self.review.ended and self.review.why is Reason.HELD), "one TTL after its last refresh the lease still blocks"
        self.leases_are_given_back()

    def leases_are_given_back(self):
        rows = self.query("SELECT holder FROM compression_locks")
        abandoned = [agent for agent in self.agents.values() if not (agent.ended and agent.session_db.gave_back)]
        assert len(rows) <= len(abandoned), "the lease row is still there"

    def later_contender_completes(self):
        [*live] = self.query(
            "SELECT c.id FROM sessions c WHERE c.parent_session_id = ? AND c.kind = 'compression' AND c.ended_at IS NULL", PARENT
        )
        assert live, "who keeps trying never gets the session compressed"

    def loser_unchanged(self):
        losers_are_unchanged(self.results, self.children())

    def no_message_lost(self):
        live = self.live_sessions()
        assert len(live) == 1, f"{len(live)} sessions are live: what is written to one is lost to the other"
        stored = self.texts(live[0])
        winners = [compressor for compressor in self.compressors.values() if SUMMARY + compressor.name in stored]
        given = {text for compressor in winners for text in compressor.given}
        for text in (*HISTORY, *self.acknowledged):
            assert text in stored or text in given, f"the acknowledged message {text!r} is lost"

    def no_write_to_a_closed_session(self):
        rows = self.query("SELECT session_id FROM closed_writes")
        assert not rows, f"{len(rows)} message(s) went to a session that had ended"

    def routing_follows_the_live_session(self):
        """A later event, in its own process, which knows the chat's entry."""
        with contextlib.closing(SessionDB(self.path, protocol=self.protocol)) as store:
            later = Gateway(store, lambda session_id: Agent(store, session_id))
            later.route(SessionEntry(CHAT, self.gateway.session_of(CHAT), user="damien"))
            with contextlib.suppress(SessionClosedError, sqlite3.IntegrityError):
                later.handle_process_completed(CHAT, "proc_later")
        live = self.live_sessions()
        assert len(live) == 1, f"the chat has {len(live)} live sessions"
        assert any("proc_later" in text for text in self.texts(live[0])), "the later event did not reach the live session"

    def every_property(self):
        self.one_compression_child()
        self.no_ended_parent_without_a_child()
        self.lock_released()
        self.loser_unchanged()
        self.no_message_lost()
        self.no_write_to_a_closed_session()
        self.routing_follows_the_live_session()

    # Further promises of the reference

    def work_is_done_once(self):
        at_work = [compressor.name for compressor in self.compressors.values() if compressor.given]
        assert len(at_work) <= 1, f"{' and '.join(at_work)} have both compressed the session"

    def last_to_acquire_publishes(self):
        for child, *lease in self.query("SELECT child, holder, generation FROM publications"):
            [winner] = [agent for agent in self.agents.values() if SUMMARY + agent.context_compressor.name in self.texts(child)]
            is_its_own = winner.session_db.taken == tuple(lease) or not winner.session_db.rung.fenced
            assert is_its_own, f"{winner.context_compressor.name} published, and the lease was another's"

    def what_has_ended_stays_ended(self):
        again = self.query("SELECT reason FROM ended_again")
        assert not again, "the session was reset, and rotated after that"

    def lease_is_kept_while_nobody_takes_it(self):
        lost = not self.main.session_db.kept and self.review.session_db.taken is None
        assert not lost, "nobody took the lease that had expired, and its refresher could not revive it"


def losers_are_unchanged(results, children):
    """Fail unless at most one contender rotated, to a child, and the others have their messages unchanged.

    Args:
        results: for each name its session and whether its messages are unchanged.
    """
    rotated = [name for name in sorted(results) if results[name][0] != PARENT]
    for name in sorted(results):
        session_id, unchanged = results[name]
        assert name in rotated or unchanged, f"{name} lost, and its messages were changed"
        assert name not in rotated or session_id in children, f"{name} moved to {session_id}, which is no child"
    assert len(rotated) <= 1, f"{' and '.join(rotated)} both rotated: neither stepped back"


def check(world, incident, name):
    """Make the incident's property of this name an invariant of the world."""

    def holds():
        getattr(incident, name)()

    holds.__name__ = name
    world.at_end(holds)


def contend(world, contenders, property, cast):
    """Declare the two contenders, each in a process of its own, and the property."""
    for name, work in zip(("main_turn", "review_fork"), cast, strict=True):
        world.actor(name, getattr(contenders, work), process=name)
    if property == "later_contender_completes":
        world.on_restart("review_fork", contenders.review_restarts)
    check(world, contenders, property)
