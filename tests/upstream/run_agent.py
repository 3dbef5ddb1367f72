"""Answers to `run_agent.AIAgent`, so that upstream's regression test runs, unmodified, against the reference store."""

from __future__ import annotations

from typing import Any

from hermes_state import Agent, SessionDB


class AIAgent(Agent):
    """The reference agent, built with upstream's arguments; those that it has no use for are ignored."""

    def __init__(self, *, session_db: SessionDB, session_id: str, model: str = "test/model", **_unused: Any) -> None:
        super().__init__(session_db, session_id, model=model)
