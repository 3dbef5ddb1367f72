"""A small agent: it holds a conversation on one session and compresses it when it grows too long.

Promises, with a store that follows `fenced`:

- A turn reaches the live session of its conversation, however stale the agent's session id is: a message that is
  refused because its session has been rotated is appended to the child instead, which the agent adopts.
- `_compress_context` changes the session id of the contender that rotates, and of no other. A contender that does not
  rotate gets its messages back unchanged.
- An agent keeps no messages between turns: at the start of each turn it reads the conversation from the
  store.

One agent serves one thread. Agents that share a session may run at the same time.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Callable
from typing import Any, Protocol

from hermes_state.lock import DEFAULT_TTL
from hermes_state.rotation import ChildFields, Reason, Rotated, Rotation, StepBack
from hermes_state.store import SessionClosedError, SessionDB
from hermes_state.transcript import Message, text_of

CHARACTERS_PER_TOKEN = 4
PREVIEW_CHARACTERS = 80

turn_log = logging.getLogger("agent.conversation_loop")
compression_log = logging.getLogger("agent.conversation_compression")


class Compressor(Protocol):
    """Makes a short list of messages from a long one."""

    def compress(self, messages: list[Message]) -> list[Message]:
        """The messages that replace `messages`; an empty list if it failed."""
        ...


class KeepTail:
    """A compressor that needs no model: a line that says how many messages were left out, and the last messages."""

    def __init__(self, tail: int = 2) -> None:
        self._tail = tail

    def compress(self, messages: list[Message]) -> list[Message]:
        """A summary line and the last messages."""
        left_out = max(0, len(messages) - self._tail)
        summary = {"role": "user", "content": f"[summary of {left_out} earlier messages]"}
        tail = [{"role": message["role"], "content": message["content"]} for message in messages[left_out:]]
        return [summary, *tail]


def approximate_tokens(messages: list[Message]) -> int:
    """A rough count of the tokens of `messages`, from their length in characters."""
    return sum(len(text_of(message.get("content")) or "") for message in messages) // CHARACTERS_PER_TOKEN


def _acknowledge(messages: list[Message]) -> str:
    return f"done, after {len(messages)} messages"


class Agent:
    """One agent, pinned to a session of a store.

    `respond` stands for the model: it gets the turn's messages and returns the assistant's text. With
    `threshold_tokens` a turn whose messages reach it is compressed before the model is asked.
    """

    def __init__(
        self,
        session_db: SessionDB,
        session_id: str,
        context_compressor: Compressor | None = None,
        *,
        model: str = "reference-model",
        provider: str = "custom",
        platform: str = "cli",
        threshold_tokens: int | None = None,
        context_length: int = 200_000,
        lease_ttl: float = DEFAULT_TTL,
        respond: Callable[[list[Message]], str] = _acknowledge,
    ) -> None:
        self.session_db = session_db
        self.session_id = session_id
        self.context_compressor: Compressor = context_compressor or KeepTail()
        self.model = model
        self.provider = provider
        self.platform = platform
        self.threshold_tokens = threshold_tokens
        self.context_length = context_length
        self.lease_ttl = lease_ttl
        self.respond = respond
        self.closed = False
        self._tag = secrets.randbits(48)

    def run_turn(self, user_text: str, system_message: str = "") -> str:
        """Store the user's message, compress if it is time, answer, store the answer and return it."""
        if self.closed:
            raise RuntimeError("this agent is closed")
        self.append("user", user_text)
        messages = self.session_db.get_messages(self.session_id)
        turn_log.info(
            "conversation turn: session=%s model=%s provider=%s platform=%s history=%d msg=%r",
            self.session_id,
            self.model,
            self.provider,
            self.platform,
            len(messages) - 1,
            _preview(user_text),
        )
        messages = self._compress_if_long(messages, system_message)
        answer = self.respond(messages)
        self.append("assistant", answer)
        turn_log.info("Turn ended: reason=%s response_len=%d session=%s", "text_response", len(answer), self.session_id)
        return answer

    def fork_review(self) -> Agent:
        """An agent for the review after a turn: it inherits the session id that is current now."""
        return Agent(
            self.session_db,
            self.session_id,
            self.context_compressor,
            model=self.model,
            provider=self.provider,
            platform=self.platform,
            threshold_tokens=self.threshold_tokens,
            context_length=self.context_length,
            lease_ttl=self.lease_ttl,
            respond=self.respond,
        )

    def close(self) -> None:
        """Take no more turns. The session continues; the store stays open."""
        self.closed = True

    def append(self, role: str, content: str) -> int:
        """Append to the live session of the conversation, adopting it if it is no longer this agent's.

        Each refusal leads further down the chain of children, so this ends.
        """
        while True:
            try:
                return self.session_db.append_message(self.session_id, role, content)
            except SessionClosedError as refusal:
                live = refusal.live_session_id
                if live is None and self.session_db.rung.fenced:
                    live = self.session_db.recover_rotation(self.session_id)
                if live is None:
                    raise
                turn_log.info("session adopted: %s has ended and goes on in %s", self.session_id, live)
                self.session_id = live

    def _compress_if_long(self, messages: list[Message], system_message: str) -> list[Message]:
        tokens = approximate_tokens(messages)
        if self.threshold_tokens is None or tokens < self.threshold_tokens:
            return messages
        turn_log.info(
            "Preflight compression: ~%s tokens >= %s threshold (model %s, ctx %s)",
            f"{tokens:,}",
            f"{self.threshold_tokens:,}",
            self.model,
            f"{self.context_length:,}",
        )
        compressed, _ = self._compress_context(messages, system_message, approx_tokens=tokens)
        return compressed

    def _compress_context(
        self,
        messages: list[Message],
        system_message: str,
        *,
        approx_tokens: int | None = None,
        focus_topic: str | None = None,
        **_upstream_only: Any,
    ) -> tuple[list[Message], str]:
        """Compress `messages` and rotate the session: the child's messages, and the system prompt.

        A contender that is refused before compressing never calls the compressor; one that loses at publication has
        called it. Both get the same `messages` back and keep their session id. Keyword arguments that only upstream
        uses are accepted.
        """
        compression_log.info(
            "context compression started: session=%s messages=%d tokens=~%s model=%s focus=%r",
            self.session_id,
            len(messages),
            f"{approx_tokens:,}" if approx_tokens else "unknown",
            self.model,
            focus_topic,
        )
        rotation = Rotation(self.session_db, self.session_id, self._new_holder(), self.lease_ttl)
        try:
            outcome = rotation.claim() or self._compress_and_publish(rotation, messages, system_message)
            if isinstance(outcome, StepBack):
                self._log_step_back(outcome)
                return messages, system_message
            self.session_id = outcome.session_id
            compression_log.info(
                "context compression done: session=%s messages=%d->%d rough_tokens=~%s awaiting_real_usage=true",
                self.session_id,
                len(messages),
                len(outcome.messages),
                f"{approximate_tokens(outcome.messages):,}",
            )
            return outcome.messages, system_message
        finally:
            rotation.release()

    def _compress_and_publish(self, rotation: Rotation, messages: list[Message], system_message: str) -> Rotated | StepBack:
        with rotation.keep_lease():
            compressed = self.context_compressor.compress(list(messages))
        if not compressed:
            return StepBack(Reason.EMPTY)
        return rotation.publish(messages, compressed, ChildFields(self.platform, self.model, system_message))

    def _log_step_back(self, step_back: StepBack) -> None:
        if step_back.reason is Reason.HELD:
            compression_log.warning(
                "compression skipped: another path is compressing session=%s (holder=%s) — "
                "returning messages unchanged to avoid session fork",
                self.session_id,
                step_back.holder,
            )
        elif step_back.reason is Reason.ROTATED:
            compression_log.info("compression skipped: session=%s was already rotated by another compression path", self.session_id)
        elif step_back.reason is Reason.EMPTY:
            compression_log.warning("compression of session=%s came to nothing: not rotated", self.session_id)

    def _new_holder(self) -> str:
        nonce = secrets.token_hex(4)
        return f"pid={os.getpid()}:tid={threading.get_ident()}:agent={self._tag:x}:nonce={nonce}"


def _preview(text: str) -> str:
    short = text[:PREVIEW_CHARACTERS] + "..." if len(text) > PREVIEW_CHARACTERS else text
    return short.replace("\n", " ")
