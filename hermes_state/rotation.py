"""Rotating a session: ending it and creating the child that continues from its summary, by any of the five protocols.

The **one-child invariant**: a session has at most one compression child, ever. Only `fenced` keeps it. It also
guarantees that a rotation loses nothing that was appended to the parent before, and that no parent is left ended without
a child.

What each guard of `fenced` is for, and what exposes its absence: the counterexample, and the smallest fault budget. The
tests remove each guard and find the counterexample (`tests/hermes_state/test_guards.py`).

1. *The lease* keeps two paths from compressing the same session at once. It saves the work; it does not keep the invariant, because a
   holder that is stalled longer than the TTL loses it without knowing. Without it both compress (no fault).
2. *The parent is looked at in the transaction that acquires*. Without it a contender that comes after the winner has released gets the
   lease, and compresses a session that is closed already (#38727; no fault). 5, 6 and 8 still keep it from making a second child.
3. *Errors while acquiring, and while publishing, fail closed*: an error does not say which contender holds the lease (#63129). Without the
   first, a contender whose acquisition fails compresses beside the holder (`error=1`; 5 keeps it from publishing). Without the second it
   continues in a child that does not exist (`db_error=1`). An acquisition whose acknowledgement was lost is released again, so that it
   blocks nobody for the TTL (`lost_ack=1`), and so is one whose compressor raises (`error=1`), or that was used (no fault).
4. *The lease refresher* keeps a long compression from losing its lease: without it a later contender compresses too (no fault). It revives
   an expired row that no contender took (#71790): without that the lease of a holder that was stalled stays lost (`stall=1`). It never
   gives up (#97948).
5. *Holder and generation are checked at publication*: a contender that took over the lease may be compressing newer messages. Its work
   must be kept, even if it has released the lease; for this the token outlives the lease. Without both a holder that was stalled publishes
   although another has the lease (`stall=1`). The holder alone is needed because a process that follows an older protocol takes leases
   without drawing tokens (`stall=1`), the generation alone because two may give the same name (no fault); among processes of this protocol
   with names of their own each backs up the other. An expired lease that no contender took is as good as a live one: finished work is
   not thrown away.
6. *The conditional update of the parent* (`ended_at IS NULL`, exactly one row) is what keeps the invariant against writers that take no
   lease. Without it a session that its user has reset is rotated after that (no fault).
7. *One transaction* for the parent's end, the child, its messages. In two, a crash or an error between them leaves a parent that has ended
   and has no child (#33906, #80337; `crash=1`); a pruner finds nothing half done (#68929).
8. *The unique partial index* on the parent of compression children keeps processes of an older protocol from making a second child
   (no fault). Among contenders of this protocol it backs up 6, as do 2 and 5: a second child needs the absence of 6, of 8, and of 1 or 2
   (no fault) or 5 (`stall=1`; where a name is used twice, of the generation, no fault).
9. *Rows that the compressor has not seen are carried* into the child: its summary cannot contain what came later. Without that a message
   that is written while the compressor is at work is lost (no fault).
10. *The loser's session id is left alone*: it returns its messages as they came, and adopts the child when it next writes. Without adoption
    its later messages are refused for good (no fault).
11. *A session that has ended takes no messages*: without that check a stale agent writes where it is never read (#71001; no fault).
12. *Recovery* reopens a parent that an older protocol has ended without a child; without it no agent can write to that conversation
    (`crash=1` of a process of that protocol).
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING

from hermes_state.lock import LeaseRefresher, is_current
from hermes_state.schema import COMPRESSION
from hermes_state.transcript import Message, carry_unseen, insert_messages

if TYPE_CHECKING:
    from hermes_state.store import SessionDB

logger = logging.getLogger("agent.conversation_compression")


def new_session_id(now: float) -> str:
    """A session id in upstream's style: local date and time, and six random hexadecimal digits."""
    return f"{datetime.fromtimestamp(now):%Y%m%d_%H%M%S}_{secrets.token_hex(3)}"


def end_parent(conn: sqlite3.Connection, parent: str, now: float) -> bool:
    """End a session that is rotated; False, with nothing changed, if it has ended already."""
    ended = conn.execute(
        "UPDATE sessions SET ended_at = ?, end_reason = ? WHERE id = ? AND ended_at IS NULL",
        (now, COMPRESSION, parent),
    )
    return ended.rowcount == 1


class Reason(Enum):
    """Why a contender steps back."""

    HELD = "another path holds the lease"
    ROTATED = "the parent has ended"
    EMPTY = "the compressor returned nothing"
    ERROR = "the store failed"


@dataclass(frozen=True)
class StepBack:
    """The contender did not rotate; `holder` holds the lease, if that is the reason and it is known."""

    reason: Reason
    holder: str | None = None


@dataclass(frozen=True)
class Rotated:
    """The contender rotated: the child's id, and the messages that the child begins with."""

    session_id: str
    messages: list[Message]


@dataclass(frozen=True)
class ChildFields:
    """What a child is created with, apart from its messages."""

    source: str
    model: str | None
    system_prompt: str | None


class Rotation:
    """One contender's attempt to rotate one session: `claim`, compress inside `keep_lease`, `publish`, `release`.

    `release` must follow whatever happened. How the steps are done is the rung of the store.
    """

    def __init__(self, db: SessionDB, session_id: str, holder: str, ttl: float) -> None:
        self._db = db
        self._rung = db.rung
        self._session_id = session_id
        self._holder = holder
        self._ttl = ttl
        self._must_release = False

    def claim(self) -> StepBack | None:
        """Get the right to compress; the reason to step back if the contender does not get it."""
        if not self._rung.lease:
            return None
        self._must_release = True  # an acquisition that raises may still have happened
        try:
            acquired = self._db.try_acquire_compression_lock(self._session_id, self._holder, self._ttl)
        except sqlite3.Error as error:
            if not self._rung.error_counts_as_acquired:
                return self._failed("acquiring the lease", error)
            logger.warning("lease counts as acquired after an error: session=%s (%s)", self._session_id, error)
            acquired = True
        try:
            if not acquired:
                self._must_release = False
                return self._why_refused()
            if self._rung.recheck and not self._rung.fenced and self._parent_was_rotated():
                return StepBack(Reason.ROTATED)
        except sqlite3.Error as error:
            return self._failed("looking at the parent", error)
        return None

    def keep_lease(self) -> AbstractContextManager[object]:
        """A block within which the lease is refreshed; nothing on the rung without leases."""
        if not self._rung.lease or not self._rung.refreshes:
            return nullcontext()
        return LeaseRefresher(
            lambda: self._db.refresh_compression_lock(self._session_id, self._holder, self._ttl),
            self._ttl,
            self._rung.refresher_gives_up_after,
        )

    def publish(self, seen: list[Message], compressed: list[Message], fields: ChildFields) -> Rotated | StepBack:
        """End the parent and create its child; `seen` is the compressor's input, `compressed` its output."""
        if not self._rung.fenced:
            return self._publish_in_two(compressed, fields)
        try:
            published = self._db.write(lambda conn: self._publish_fenced(conn, seen, compressed, fields))
            return published or self._why_refused()
        except sqlite3.Error as error:
            return self._failed("publishing the child", error)

    def release(self) -> None:
        """Give the lease up, if it may be held. An error is logged: the row then ends with its TTL."""
        if not self._must_release:
            return
        self._must_release = False
        try:
            self._db.release_compression_lock(self._session_id, self._holder)
        except sqlite3.Error as error:
            logger.warning("compression lease of session=%s was not released: %s", self._session_id, error)

    def _publish_fenced(
        self, conn: sqlite3.Connection, seen: list[Message], compressed: list[Message], fields: ChildFields
    ) -> Rotated | None:
        """The publishing transaction; None, with nothing changed, if a guard refuses (guards 5, 6, 7 and 9 above)."""
        parent = self._session_id
        token = self._db.fencing_token(parent, self._holder)
        if token is None or not is_current(conn, parent, self._holder, token):
            return None
        now = time.time()
        if not end_parent(conn, parent, now):
            return None
        child = new_session_id(now)
        conn.execute(
            "INSERT INTO sessions (id, source, user_id, model, model_config, system_prompt, parent_session_id, kind,"
            " started_at) SELECT ?, source, user_id, ?, model_config, ?, id, ?, ? FROM sessions WHERE id = ?",
            (child, fields.model, fields.system_prompt, COMPRESSION, now, parent),
        )
        insert_messages(conn, child, compressed, now)
        carried = carry_unseen(conn, parent, child, seen)
        return Rotated(child, [*compressed, *carried])

    def _publish_in_two(self, compressed: list[Message], fields: ChildFields) -> Rotated | StepBack:
        """As it was before `fenced`: two transactions, nothing checked.

        As upstream did, the caller moves to the child's id even if the child could not be inserted (#33906).
        """
        try:
            self._db.end_session(self._session_id, COMPRESSION)
        except sqlite3.Error as error:
            return self._failed("ending the parent", error)
        child = new_session_id(time.time())
        try:
            self._db.create_session(
                child,
                fields.source,
                model=fields.model,
                system_prompt=fields.system_prompt,
                parent_session_id=self._session_id,
                kind=COMPRESSION,
                messages=compressed,
            )
        except sqlite3.Error as error:
            logger.warning("compression child %s of session=%s was not stored: %s", child, self._session_id, error)
        return Rotated(child, compressed)

    def _parent_was_rotated(self) -> bool:
        parent = self._db.get_session(self._session_id)
        return parent is not None and parent["end_reason"] == COMPRESSION

    def _why_refused(self) -> StepBack:
        if not self._rung.fenced:
            return StepBack(Reason.HELD, self._db.get_compression_lock_holder(self._session_id))
        ended_at, holder = self._db.read(
            lambda conn: conn.execute(
                "SELECT (SELECT ended_at FROM sessions WHERE id = ?), (SELECT holder FROM compression_locks WHERE session_id = ?)",
                (self._session_id, self._session_id),
            ).fetchone()
        )
        return StepBack(Reason.HELD, holder) if ended_at is None else StepBack(Reason.ROTATED)

    def _failed(self, what: str, error: sqlite3.Error) -> StepBack:
        logger.warning("compression of session=%s given up: %s failed (%s)", self._session_id, what, error)
        return StepBack(Reason.ERROR)
