"""What the tests of the reference store share: a clock that is set by hand, a compressor, what they look up."""

from __future__ import annotations

from collections.abc import Callable

from hermes_state import Agent, Message, SessionDB

OpenStore = Callable[[str], SessionDB]
PARENT = "parent"


class Clock:
    """A wall clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.now += seconds


class ScriptedCompressor:
    """A compressor that runs `meanwhile` while it compresses, once, and counts its calls."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.meanwhile = meanwhile
        self.calls: list[list[Message]] = []

    def compress(self, messages: list[Message]) -> list[Message]:
        """One summary line, after whatever happens meanwhile."""
        self.calls.append(messages)
        action, self.meanwhile = self.meanwhile, lambda: None
        action()
        return [{"role": "user", "content": "summary"}]


def contents(db: SessionDB, session_id: str) -> list[str]:
    """What the messages of a session say."""
    return [message["content"] for message in db.get_messages(session_id)]


def compress(agent: Agent) -> list[Message]:
    """Let the agent compress what the store has of its session."""
    messages, _ = agent._compress_context(agent.session_db.get_messages(agent.session_id), "system")
    return messages


def session_ids(db: SessionDB) -> list[str]:
    """All sessions of the file, oldest first."""
    return [row["id"] for row in db.read(lambda conn: conn.execute("SELECT id FROM sessions ORDER BY rowid").fetchall())]
