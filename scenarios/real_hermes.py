"""Releases of the real package `hermes-agent`, as they are: `make hermes` runs these in an environment of each release.

Two real agents (`AIAgent`) compress one session of a real store (`SessionDB`). Four things are not real: the model's summary takes 0.25 s
and is always the same, the system prompt is a fixed text, the model is not asked for the size of its context, and no goal is moved to the
new session (that opens the store of `HERMES_HOME`). There is no network and there are no programs. The lease refresher of the releases that
have one runs as it is.

The folder of `HERMES_HOME` holds the configuration, `compression: {in_place: false}`: these scenarios are about rotation.
"""

import contextlib
import importlib
import os
import sqlite3
import time
from functools import partial
from pathlib import Path

import simharness

if os.environ.get("HERMES_HOME"):
    import hermes_state

    if hasattr(hermes_state, "__path__"):
        raise simharness.Misuse("the package hermes_state of this checkout hides the real one: explore from another folder")
    from run_agent import AIAgent

    from hermes_state import SessionDB

    scenario = simharness.scenario
    for name in (
        *("agent.agent_init", "agent.agent_runtime_helpers", "agent.conversation_compression", "agent.models_dev", "agent.system_prompt"),
        *("agent.transports.anthropic", "agent.transports.bedrock", "agent.transports.chat_completions", "agent.transports.codex"),
        *("aiohttp", "cli", "edge_tts", "gateway.platforms.yuanbao", "gateway.session_context", "hermes_cli.goals", "hermes_cli.profiles"),
        *("hermes_cli.model_normalize", "hermes_cli.nous_account", "hermes_logging", "httpx", "openai", "prompt_toolkit", "requests"),
        *("tools.checkpoint_manager", "tools.computer_use.cua_backend", "tools.env_probe", "tools.file_tools", "tools.lazy_deps"),
        *("tools.schema_sanitizer", "tools.tool_search"),
    ):
        with contextlib.suppress(ImportError):  # what the first agent imports; a release may lack some of it
            importlib.import_module(name)
    with contextlib.suppress(ImportError):
        importlib.import_module("hermes_cli.goals").migrate_goal_to_session = lambda *_, **__: False
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


def in_new_process(agent, path):
    """An agent that has not moved yet, with a store of its own: what a process that has just been started has."""
    agent._session_db = SessionDB(db_path=Path(path))
    return agent


def rows(path, question, *values):
    """The answer to a question about the file."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(question, values).fetchall()
    finally:
        connection.close()


def children(path):
    return [name for (name,) in rows(path, "SELECT id FROM sessions WHERE parent_session_id = ?", PARENT)]


def ended(path):
    return rows(path, "SELECT ended_at FROM sessions WHERE id = ?", PARENT) != [(None,)]


def at_most_one_child(world, path):
    @world.at_end
    def one_compression_child():
        found = children(path)
        world.outcome(len(found))
        assert len(found) <= 1, f"the session has {len(found)} compression children"


def goes_on(world, path):
    @world.at_end
    def an_ended_session_goes_on():
        assert not ended(path) or children(path), "the session has ended and has no child"


@scenario(outside="down", instrument="test", faults=FAULTS)
def two_agents(world, faults):
    """The main turn and the review fork of one gateway, which share a store; the later one may be late."""
    if "stall" in str(faults) or "suspend" in str(faults):
        world.timescale(LEASE)
    path = world.path("state.db")

    def build():
        db = opened(path)
        return db, [agent_for(db), agent_for(db)]

    _, (main, fork) = world.template(build)
    world.actor("main_turn", compress, main)
    world.actor("review_fork", compress, fork)
    at_most_one_child(world, path)
    goes_on(world, path)


@scenario(outside="down", instrument="test", faults=FAULTS)
def two_processes(world, faults):
    """The gateway and the command line, each with a store of its own on one file; after a crash, a new process compresses."""
    if "stall" in str(faults) or "suspend" in str(faults):
        world.timescale(LEASE)
    path = world.path("state.db")

    def build():
        opened(path).close()
        db = SessionDB(db_path=Path(path))
        other = SessionDB(db_path=Path(path))
        return agent_for(db), agent_for(other), [agent_for(db), agent_for(other)]

    first, second, restarted = world.template(build)
    world.actor("gateway", compress, first, process="gateway")
    world.actor("cli", compress, second, process="cli")

    def again(agent):
        time.sleep(LEASE + 1)
        if not children(path):  # else a new process goes on there
            compress(in_new_process(agent, path))

    for process, agent in zip(("gateway", "cli"), restarted, strict=True):
        world.on_restart(process, partial(again, agent))
    at_most_one_child(world, path)
    goes_on(world, path)


# Reports of the ledger, each alone: `make hermes` runs them on a release that has the bug and on one that has not


def one_store(world, *compressors, path=None):
    """A store, and an agent with each of the compressors."""
    path = path or world.path("state.db")

    def build():
        db = opened(path)
        return db, [agent_for(db, compressor()) for compressor in compressors]

    return world.template(build)


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
    _, (agent, restarted) = one_store(world, Compressor, Compressor, path=path)
    world.actor("gateway", compress, agent, process="gateway")

    def again():
        if not ended(path):
            assert compress(in_new_process(restarted, path)), "nobody compresses before the lease has run out"

    world.on_restart("gateway", again)


@scenario(outside="down", instrument="test")
def stale_writer(world):
    """#71001: a stale turn appends to the session that has been compressed."""
    db, (agent,) = one_store(world, Compressor)

    def append():
        time.sleep(0.3)
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
    _, (agent, restarted) = one_store(world, Compressor, Compressor, path=path)
    world.actor("gateway", compress, agent, process="gateway")

    def again():
        time.sleep(LEASE + 1)
        if not children(path):
            compress(in_new_process(restarted, path))

    world.on_restart("gateway", again)
    goes_on(world, path)
