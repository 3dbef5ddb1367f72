"""Releases of the real package `hermes-agent`, as they are: `make hermes` runs these in an environment of each release.

Two real agents (`AIAgent`) compress one session of a real store (`SessionDB`). Three things are not real: the model's summary takes 0.25 s
and is always the same, the system prompt is a fixed text, and the model is not asked for the size of its context. There is no network and
there are no programs. The lease refresher of the releases that have one runs as it is.

The folder of `HERMES_HOME` holds the configuration, `compression: {in_place: false}`: these scenarios are about rotation.
"""

import contextlib
import os
import time
from pathlib import Path

import simharness

if os.environ.get("HERMES_HOME"):
    from run_agent import AIAgent

    from hermes_state import SessionDB

    scenario = simharness.scenario
else:  # there is no release here: nothing is a scenario

    def scenario(**_):
        return lambda function: function


PARENT = "20260527_234659_e65f0e"
MESSAGES = [{"role": "user" if number % 2 == 0 else "assistant", "content": f"message {number}"} for number in range(6)]
SUMMARY = [{"role": "user", "content": "[CONTEXT COMPACTION] summary"}, {"role": "user", "content": "tail"}]
LEASE = 300.0
FAULTS = [None, "stall=1", "suspend=1", "crash=1", "db_error=1"]


class Compressor:
    """Stands in for the model that summarises; `inside`, if agents share it, counts how many do so at once."""

    compression_count = 1
    last_prompt_tokens = last_completion_tokens = 0
    _last_summary_error = _last_aux_model_failure_model = _last_aux_model_failure_error = None
    _last_compress_aborted = False

    def __init__(self, inside=None, seconds=0.25):
        self.inside = [0] if inside is None else inside
        self.seconds = seconds

    def compress(self, messages, **_):
        self.inside[0] += 1
        assert self.inside[0] == 1, "two compress one session at the same time"
        time.sleep(self.seconds)
        self.inside[0] -= 1
        return [dict(message) for message in SUMMARY]


def agent_for(db, compressor=None):
    """A real agent on the parent session."""
    agent = AIAgent(
        api_key="test-key",
        base_url="https://openrouter.ai/api/v1",
        model="test/model",
        quiet_mode=True,
        session_db=db,
        session_id=PARENT,
        skip_context_files=True,
        skip_memory=True,
    )
    agent.context_compressor = compressor or Compressor()
    agent.compression_in_place = False
    agent._compression_feasibility_checked = True
    agent._build_system_prompt = lambda *_, **__: "be brief"
    agent._print_fn = lambda *_, **__: None
    return agent


def opened(path):
    """A store with the parent session and its history."""
    db = SessionDB(db_path=Path(path))
    db.create_session(PARENT, source="discord")
    for message in MESSAGES:
        db.append_message(PARENT, message["role"], message["content"])
    return db


def compress(agent):
    """What a turn does at the threshold; returns whether the agent rotated the session."""
    agent._compress_context([dict(message) for message in MESSAGES], "be brief", approx_tokens=120_000)
    return agent.session_id != PARENT


def children(db):
    with db._lock:
        return [row[0] for row in db._conn.execute("SELECT id FROM sessions WHERE parent_session_id = ?", (PARENT,))]


def ended(db):
    with db._lock:
        row = db._conn.execute("SELECT ended_at FROM sessions WHERE id = ?", (PARENT,)).fetchone()
    return row is None or row[0] is not None


def check(world, db):
    """The session has at most one compression child, and exactly one if it has ended."""

    @world.at_end
    def one_compression_child():
        found = children(db())
        world.outcome(len(found))
        assert len(found) <= 1, f"the session has {len(found)} compression children"

    @world.at_end
    def an_ended_session_goes_on():
        assert not ended(db()) or children(db()), "the session has ended and has no child"


@scenario(outside="down", instrument="test", faults=FAULTS)
def two_agents(world, faults):
    """The main turn and the review fork of one gateway, which share a store; the later one may be late."""
    if "stall" in str(faults) or "suspend" in str(faults):
        world.timescale(LEASE)
    path = world.path("state.db")

    def build():
        db = opened(path)
        return db, [agent_for(db), agent_for(db)]

    db, (main, fork) = world.template(build)
    world.actor("main_turn", compress, main)
    world.actor("review_fork", compress, fork)
    check(world, lambda: db)


@scenario(outside="down", instrument="test", faults=FAULTS)
def two_processes(world, faults):
    """The gateway and the command line, each with a store of its own on one file; after a crash, a new process compresses."""
    if "stall" in str(faults) or "suspend" in str(faults):
        world.timescale(LEASE)
    path = world.path("state.db")

    def build():
        opened(path).close()
        return [(db, agent_for(db)) for db in (SessionDB(db_path=Path(path)) for _ in range(2))]

    (db, first), (_, second) = world.template(build)
    world.actor("gateway", compress, first, process="gateway")
    world.actor("cli", compress, second, process="cli")

    def again():
        time.sleep(LEASE + 1)
        compress(agent_for(SessionDB(db_path=Path(path))))

    for process in ("gateway", "cli"):
        world.on_restart(process, again)
    check(world, lambda: db)


# Reports of the ledger, each alone: `make hermes` runs them on a release that has the bug and on one that has not


def one_store(world, *compressors, path=None):
    """A store, and an agent with each of the compressors."""
    path = path or world.path("state.db")

    def build():
        db = opened(path)
        return db, [agent_for(db, compressor()) for compressor in compressors]

    return world.template(build)


def goes_on(world, db):
    @world.at_end
    def an_ended_session_goes_on():
        assert not ended(db()) or children(db()), "the session has ended and has no child"


@scenario(outside="down", instrument="test", faults=["db_error=1"])
def child_not_stored(world):
    """#33906: the parent has ended, and the child cannot be stored."""
    db, (agent,) = one_store(world, Compressor)
    world.actor("main_turn", compress, agent)

    @world.at_end
    def the_agent_is_on_a_session_that_exists():
        assert db.get_session(agent.session_id) is not None, "the agent goes on in a session that has no row"


@scenario(outside="down", instrument="test", faults=["db_error=1"])
def error_as_lease(world):
    """#63129: an error while the lease is asked for counts as the lease: two compress at the same time."""
    inside = [0]
    _, (main, fork) = one_store(world, lambda: Compressor(inside), lambda: Compressor(inside))
    world.actor("main_turn", compress, main)
    world.actor("review_fork", compress, fork)


@scenario(outside="down", instrument="test")
def pruned_half_way(world):
    """#68929: ended sessions are pruned between the end of the parent and the insert of the child."""
    db, (agent,) = one_store(world, Compressor)
    world.actor("main_turn", compress, agent)
    world.actor("pruner", lambda: db.prune_sessions(older_than_days=-1))

    @world.at_end
    def the_child_is_stored():
        assert db.get_session(agent.session_id) is not None, "the agent goes on in a session that has no row"


@scenario(outside="down", instrument="test", faults=["crash=1"])
def killed_holder(world):
    """#65775: after a crash of the holder nobody compresses before the lease has run out."""
    path = world.path("state.db")
    _, (agent,) = one_store(world, Compressor, path=path)
    world.actor("gateway", compress, agent, process="gateway")

    def again():
        restarted = agent_for(SessionDB(db_path=Path(path)))
        compress(restarted)
        assert restarted.session_id != PARENT or ended(restarted._session_db), "nobody compresses before the lease has run out"

    world.on_restart("gateway", again)


@scenario(outside="down", instrument="test")
def stale_writer(world):
    """#71001: a stale turn appends to the session that has been compressed."""
    db, (agent,) = one_store(world, Compressor)

    def append():
        time.sleep(0.1)
        with contextlib.suppress(Exception):  # a release may refuse it
            db.append_message(PARENT, "user", "late")

    world.actor("main_turn", compress, agent)
    world.actor("stale_turn", append)

    @world.at_end
    def nothing_is_written_to_a_closed_session():
        with db._lock:
            [(late,)] = db._conn.execute(
                "SELECT count(*) FROM messages m JOIN sessions s ON s.id = m.session_id "
                "WHERE m.content = 'late' AND m.timestamp > s.ended_at"
            ).fetchall()
        assert not late, "a message was written to the session after its end"


@scenario(outside="down", instrument="test")
def wedged_holder(world):
    """#79584: a holder that does not come to an end keeps its lease: another agent, after the lease's time, is refused."""
    _, (main, other) = one_store(world, lambda: Compressor(seconds=2 * LEASE), Compressor)

    def later():
        time.sleep(LEASE + 1)
        assert compress(other), "another agent is refused after the lease's time"

    world.actor("wedged", compress, main)
    world.actor("other", later)


@scenario(outside="down", instrument="test", faults=["crash=1"])
def crash_half_way(world):
    """#80337: after a crash between the end of the parent and the insert of the child, nobody can go on."""
    path = world.path("state.db")
    db, (agent,) = one_store(world, Compressor, path=path)
    world.actor("gateway", compress, agent, process="gateway")

    def again():
        time.sleep(LEASE + 1)
        compress(agent_for(SessionDB(db_path=Path(path))))

    world.on_restart("gateway", again)
    goes_on(world, lambda: db)
