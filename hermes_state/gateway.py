"""The gateway's routing: which session a chat is on, and the turns that events start there.

An entry is read when an event arrives and written when the event's turn has moved to another session. In between, a
rotation by another agent is not known here, so an entry may be stale at any time. Promise, with a store that follows
`fenced`: an event still reaches the one live session of its chat, because the agent adopts it, and an entry never moves
backwards. On the older rungs the last propagation wins, whichever rotation it reports (#34089).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from hermes_state.agent import PREVIEW_CHARACTERS, Agent
from hermes_state.store import SessionDB

logger = logging.getLogger("gateway.run")


@dataclass
class SessionEntry:
    """Where a chat's events go."""

    session_key: str
    session_id: str
    platform: str = "discord"
    user: str = "user"
    chat_id: str = "0"
    thread_id: str | None = None


class Gateway:
    """Routes events of chats to sessions; `make_agent` builds the agent of a turn for a session id."""

    def __init__(self, session_db: SessionDB, make_agent: Callable[[str], Agent]) -> None:
        self.session_db = session_db
        self._make_agent = make_agent
        self._lock = threading.Lock()
        self._entries: dict[str, SessionEntry] = {}

    def route(self, entry: SessionEntry) -> None:
        """Begin to route a chat's events."""
        with self._lock:
            self._entries[entry.session_key] = entry

    def session_of(self, session_key: str) -> str:
        """The session that the chat's entry names now. `KeyError` for a chat that is not routed."""
        with self._lock:
            return self._entries[session_key].session_id

    def handle_message(self, session_key: str, text: str) -> str:
        """Run a turn of the chat with a user's message; return the answer."""
        entry, session_id = self._look_up(session_key)
        return self._run_turn(entry, session_id, text)

    def handle_process_completed(self, session_key: str, process_id: str, exit_code: int = 0) -> str:
        """Notify the agent, as by a message, that a background process of the chat has ended; return the answer."""
        entry, session_id = self._look_up(session_key)
        logger.info(
            "Process %s finished — injecting agent notification for session %s chat=%s thread=%s",
            process_id,
            session_key,
            entry.chat_id,
            entry.thread_id,
        )
        text = f"[background process {process_id} completed, exit code {exit_code}]"
        return self._run_turn(entry, session_id, text)

    def _look_up(self, session_key: str) -> tuple[SessionEntry, str]:
        """The chat's entry, and the session id that it has at this moment."""
        with self._lock:
            entry = self._entries[session_key]
            return entry, entry.session_id

    def _run_turn(self, entry: SessionEntry, session_id: str, text: str) -> str:
        logger.info(
            "inbound message: platform=%s user=%s chat=%s msg=%r",
            entry.platform,
            entry.user,
            entry.chat_id,
            text[:PREVIEW_CHARACTERS],
        )
        agent = self._make_agent(session_id)
        try:
            return agent.run_turn(text)
        finally:
            if agent.session_id != session_id:
                self.follow(entry.session_key, session_id, agent.session_id)
            agent.close()

    def follow(self, session_key: str, old: str, new: str) -> None:
        """Let the chat's entry follow a turn that began on `old` and ended on `new`.

        Under `fenced` the entry gets the session that is live now, read while no other propagation can come between:
        a chain only grows, so a later propagation finds the same session or a later one.
        """
        with self._lock:
            if self.session_db.rung.fenced:
                new = self.session_db.live_session(new) or new
            self._entries[session_key].session_id = new
        logger.info("Session split detected: %s → %s (compression)", old, new)
