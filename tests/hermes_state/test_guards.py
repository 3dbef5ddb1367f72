"""Why each guard of the reference rotation is there: what the explorer finds when it is taken away, alone or with what backs it up.

A guard is taken away by replacing the function that it is, or by the rung's own field; the rest of the rotation stays as it is. A
*trial* is a property asked of two contenders under a fault model. For each set of guards that is needed a trial finds its absence; a guard
whose absence no trial finds is backed up by others, and is named with them.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

import simharness
from hermes_state import lock, rotation, store, transcript
from hermes_state.agent import Agent
from hermes_state.rotation import ChildFields, Reason, Rotated, Rotation, StepBack, new_session_id
from hermes_state.store import SessionDB
from scenarios.contenders import Contenders, contend

Patch = tuple[Any, str, Any]


# Each guard's absence


def without_looking(conn: sqlite3.Connection, session_id: str, holder: str, ttl: float, *, open_only: bool) -> bool:
    """Acquire without looking whether the session has ended."""
    return ACQUIRE(conn, session_id, holder, ttl, open_only=False)


def any_holder(conn: sqlite3.Connection, session_id: str, _holder: str, generation: int) -> bool:
    """Whether no token was issued since, whoever has the row."""
    row = conn.execute("SELECT generation FROM compression_generations WHERE session_id = ?", (session_id,)).fetchone()
    return row is not None and row["generation"] == generation


def any_generation(conn: sqlite3.Connection, session_id: str, holder: str, _generation: int) -> bool:
    """Whether the lease row is of the holder's name."""
    row = conn.execute("SELECT holder FROM compression_locks WHERE session_id = ?", (session_id,)).fetchone()
    return row is not None and row["holder"] == holder


def end_in_any_case(conn: sqlite3.Connection, parent: str, now: float) -> bool:
    """End the parent, ended or not."""
    conn.execute("UPDATE sessions SET ended_at = ?, end_reason = 'compression' WHERE id = ?", (now, parent))
    return True


def publish_in_two_transactions(self: Rotation, seen: list[Any], compressed: list[Any], fields: ChildFields) -> Rotated | StepBack:
    """End the parent under the guards, and make the child in a transaction of its own."""
    db, parent, now = self._db, self._session_id, time.time()
    token = db.fencing_token(parent, self._holder)

    def end(conn: sqlite3.Connection) -> bool:
        return token is not None and rotation.is_current(conn, parent, self._holder, token) and rotation.end_parent(conn, parent, now)

    def insert(conn: sqlite3.Connection) -> Rotated:
        child = new_session_id(now)
        conn.execute(
            "INSERT INTO sessions (id, source, parent_session_id, kind, started_at) VALUES (?, ?, ?, 'compression', ?)",
            (child, fields.source, parent, now),
        )
        transcript.insert_messages(conn, child, compressed, now)
        return Rotated(child, [*compressed, *transcript.carry_unseen(conn, parent, child, seen)])

    try:
        return db.write(insert) if db.write(end) else self._why_refused()
    except sqlite3.Error as error:
        return self._failed("publishing", error)


def append_once(self: Agent, role: str, content: str) -> int:
    """Append, and adopt nothing."""
    return self.session_db.append_message(self.session_id, role, content)


def insert_anywhere(conn: sqlite3.Connection, session_id: str, message: Any, now: float, *, open_only: bool) -> int | None:
    """Add a message to a session, ended or not."""
    return INSERT(conn, session_id, message, now, open_only=False)


def release_unless_it_raised(self: Rotation) -> None:
    """Release, but not when the compressor has raised."""
    if sys.exc_info()[0] is None:
        RELEASE(self)


def claim_and_trust_errors(self: Rotation) -> StepBack | None:
    """Claim; an acquisition that raised has not happened, so there is nothing to release."""
    refused = CLAIM(self)
    if refused is not None and refused.reason is Reason.ERROR:
        self._must_release = False
    return refused


def publish_and_trust(self: Rotation, seen: list[Any], compressed: list[Any], fields: ChildFields) -> Rotated | StepBack:
    """Publish; an error at it is no reason to step back."""
    published = PUBLISH(self, seen, compressed, fields)
    failed = isinstance(published, StepBack) and published.reason is Reason.ERROR
    return Rotated(new_session_id(time.time()), compressed) if failed else published


def claim_in_spite_of_errors(self: Rotation) -> StepBack | None:
    """Claim; an error at it counts as acquired."""
    self._rung = replace(self._rung, error_counts_as_acquired=True)
    return CLAIM(self)


def refresh_no_expired_row(conn: sqlite3.Connection, session_id: str, holder: str, ttl: float, *, revive: bool) -> bool:
    """Refresh, but not what has expired."""
    return REFRESH(conn, session_id, holder, ttl, revive=False)


ACQUIRE, REFRESH, INSERT = lock.acquire, lock.refresh, transcript.insert_message
RELEASE, CLAIM, PUBLISH = Rotation.release, Rotation.claim, Rotation.publish
NO_FENCE: Patch = (rotation, "is_current", lambda *_: True)

ABSENCES: dict[str, list[Patch]] = {
    "lease": [(Rotation, "claim", lambda _: None), NO_FENCE, (SessionDB, "fencing_token", lambda *_: 0)],
    "look at the parent": [(lock, "acquire", without_looking)],
    "holder": [(rotation, "is_current", any_holder)],
    "generation": [(rotation, "is_current", any_generation)],
    "holder and generation": [NO_FENCE],
    "conditional update": [(rotation, "end_parent", end_in_any_case)],
    "unique index": [(store, "BACKSTOP", "SELECT 1")],
    "one transaction": [(Rotation, "publish", publish_in_two_transactions)],
    "carrying": [(rotation, "carry_unseen", lambda *_: [])],
    "ended sessions refuse": [(store, "insert_message", insert_anywhere)],
    "adoption": [(Agent, "append", append_once)],
    "recovery": [(SessionDB, "recover_rotation", lambda *_: None)],
    "release": [(Rotation, "release", lambda _: None)],
    "release in finally": [(Rotation, "release", release_unless_it_raised)],
    "release after an error": [(Rotation, "claim", claim_and_trust_errors)],
    "acquiring fails closed": [(Rotation, "claim", claim_in_spite_of_errors)],
    "publishing fails closed": [(Rotation, "publish", publish_and_trust)],
    "refresher": [(Rotation, "keep_lease", lambda _: contextlib.nullcontext())],
    "reviving": [(lock, "refresh", refresh_no_expired_row)],
}
"""For each guard what to put in its place."""

ACQUIRE_FAILS = "error=1@hermes_state.SessionDB.try_acquire_compression_lock:sqlite3.OperationalError"
NO_MODEL = "error=1@scenarios.contenders.Summary.compress:OSError"
LONG_WORK = {"seconds": 65.0, "ttl": 60.0, "arrivals": [62.0]}


@dataclass(frozen=True)
class Trial:
    """A property, asked of what two contenders do under a fault model."""

    property: str
    faults: str | None = None
    cast: tuple[str, str] = ("main_turn", "review_fork")
    options: dict[str, Any] = field(default_factory=dict)

    def explore(self, **bound: int) -> simharness.Result:
        """Explore it, on the reference as it is now, within a bound if one is given."""

        @simharness.scenario(max_delay=0.0 if self.options.get("seconds") else None)
        def trial(world: simharness.World) -> None:
            contenders = Contenders(world, "fenced", self.property, faults=self.faults, **self.options)
            contend(world, contenders, self.property, self.cast)

        return simharness.explore(trial, faults=self.faults, settings=simharness.Settings(shrink=0, **bound))


ONCE = ("main_turn", "review_fork_once")
NEEDED: dict[tuple[str, ...], Trial] = {
    ("lease",): Trial("work_is_done_once", cast=ONCE),
    ("look at the parent",): Trial("work_is_done_once", cast=ONCE),
    ("holder",): Trial("last_to_acquire_publishes", "stall=1", options={"older": "lease_recheck"}),
    ("generation",): Trial("last_to_acquire_publishes", options={"holder": "pid=1"}),
    ("holder and generation",): Trial("last_to_acquire_publishes", "stall=1"),
    ("conditional update",): Trial("what_has_ended_stays_ended", cast=("main_turn", "somebody_resets")),
    ("unique index",): Trial("one_compression_child", cast=ONCE, options={"older": "lease"}),
    ("one transaction",): Trial("no_ended_parent_without_a_child", "crash=1@main_turn", ONCE),
    ("carrying",): Trial("no_message_lost", cast=("main_turn", "review_fork_writes")),
    ("ended sessions refuse",): Trial("no_write_to_a_closed_session", cast=("main_turn", "review_fork_writes")),
    ("adoption",): Trial("routing_follows_the_live_session", cast=ONCE),
    ("recovery",): Trial("routing_follows_the_live_session", "crash=1@review_fork", ONCE, {"older": "lease_recheck"}),
    ("release",): Trial("leases_are_given_back", cast=ONCE),
    ("release in finally",): Trial("leases_are_given_back", NO_MODEL, ONCE),
    ("release after an error",): Trial("leases_are_given_back", "lost_ack=1", ONCE),
    ("acquiring fails closed",): Trial("work_is_done_once", ACQUIRE_FAILS, ONCE),
    ("publishing fails closed",): Trial("loser_unchanged", "db_error=1@FULL", ONCE),
    ("refresher",): Trial("work_is_done_once", cast=ONCE, options=LONG_WORK),
    ("reviving",): Trial("lease_is_kept_while_nobody_takes_it", "stall=1@main_turn", ONCE, LONG_WORK),
}
"""For each set of guards what finds its absence: the smallest fault budget that does."""


BOTH = ("conditional update", "unique index")
ONE_CHILD = "one_compression_child"
TOGETHER: dict[tuple[str, ...], Trial] = {
    (*BOTH, "lease"): Trial(ONE_CHILD, cast=ONCE),
    (*BOTH, "look at the parent"): Trial(ONE_CHILD, cast=ONCE),
    (*BOTH, "holder and generation"): Trial(ONE_CHILD, "stall=1"),
    (*BOTH, "generation"): Trial(ONE_CHILD, cast=ONCE, options={"holder": "pid=1"}),
}
"""Sets of guards that keep a session from having two children, among contenders of this protocol; none of them is without one."""

BACKED_UP: list[tuple[str, ...]] = [
    BOTH,
    (*BOTH, "holder"),
    ("conditional update", "lease"),
    ("conditional update", "look at the parent", "holder and generation"),
    ("unique index", "lease"),
    ("unique index", "look at the parent", "holder and generation"),
]
"""The largest sets without which a session still has one child: what is left keeps it."""


SLOW = [("holder",), ("publishing fails closed",), ("recovery",), ("reviving",), (*BOTH, "holder and generation")]


def quick_and_slow(trials: dict[tuple[str, ...], Trial]) -> list[Any]:
    """The sets of guards as pytest's parameters, those that take more than a second marked."""
    return [pytest.param(guards, marks=[pytest.mark.long] if guards in SLOW else [], id=", ".join(guards)) for guards in trials]


@contextlib.contextmanager
def without(*guards: str) -> Iterator[None]:
    """Take guards away for the length of a block."""
    with pytest.MonkeyPatch.context() as patches:
        for guard in guards:
            for owner, name, instead in ABSENCES[guard]:
                patches.setattr(owner, name, instead)
        yield


@pytest.mark.parametrize("guards", quick_and_slow(NEEDED))
def test_without_a_guard_the_explorer_finds_what_it_is_for(guards: tuple[str, ...]) -> None:
    trial = NEEDED[guards]
    with without(*guards):
        result = trial.explore()
    assert result.verdict == "violated"
    assert result.counterexample.failure.startswith(trial.property), result.counterexample.failure


@pytest.mark.parametrize("guards", quick_and_slow(TOGETHER))
def test_without_guards_that_back_each_other_up_a_session_gets_two_children(guards: tuple[str, ...]) -> None:
    with without(*guards):
        result = TOGETHER[guards].explore()
    assert result.verdict == "violated"
    assert result.counterexample.failure.startswith(ONE_CHILD)


@pytest.mark.long
@pytest.mark.parametrize("faults", [None, "stall=1", "clock_jump=1"])
@pytest.mark.parametrize("guards", BACKED_UP, ids=", ".join)
def test_what_is_left_of_the_guards_keeps_a_session_to_one_child(guards: tuple[str, ...], faults: str | None) -> None:
    with without(*guards):
        assert Trial(ONE_CHILD, faults).explore().verdict == "verified"


@pytest.mark.long
@pytest.mark.parametrize("guards", NEEDED, ids=", ".join)
def test_with_all_guards_the_same_trial_is_verified(guards: tuple[str, ...]) -> None:
    bound = {"preemptions": 1} if guards == ("reviving",) else {}  # a refresher that may stall: more orderings than can be run here
    assert NEEDED[guards].explore(**bound).verdict == "verified"


@pytest.mark.long
@pytest.mark.parametrize("guards", [guards for guards, trial in NEEDED.items() if trial.faults], ids=", ".join)
def test_the_fault_budget_that_shows_an_absence_is_the_smallest(guards: tuple[str, ...]) -> None:
    with without(*guards):
        assert replace(NEEDED[guards], faults=None).explore().verdict == "verified"
