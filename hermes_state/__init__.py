"""The reference session store: conversations in one SQLite file, rotated without forking (`hermes_state.rotation`)."""

from hermes_state.agent import Agent, Compressor, KeepTail, approximate_tokens
from hermes_state.gateway import Gateway, SessionEntry
from hermes_state.lock import DEFAULT_TTL, LeaseRefresher
from hermes_state.protocols import DEFAULT_PROTOCOL, LADDER, PROTOCOL_VARIABLE, PROTOCOLS, Rung
from hermes_state.rotation import new_session_id
from hermes_state.store import SessionClosedError, SessionDB
from hermes_state.transcript import Message

__all__ = [
    "DEFAULT_PROTOCOL",
    "DEFAULT_TTL",
    "LADDER",
    "PROTOCOLS",
    "PROTOCOL_VARIABLE",
    "Agent",
    "Compressor",
    "Gateway",
    "KeepTail",
    "LeaseRefresher",
    "Message",
    "Rung",
    "SessionClosedError",
    "SessionDB",
    "SessionEntry",
    "approximate_tokens",
    "new_session_id",
]
