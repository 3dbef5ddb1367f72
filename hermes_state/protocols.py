"""The ladder of rotation protocols: what each stage of the store's history does to keep one compression child.

Each rung is a real stage, unchanged, with its faults, so that every incident can be shown on the rung that had it.
The last rung, `fenced`, is the reference; the others are for comparison. A rung is data: the code that acts on it is in
`hermes_state.rotation` (rotating), `hermes_state.lock` (leases) and `hermes_state.store` (appending).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

PROTOCOL_VARIABLE = "HERMES_STATE_PROTOCOL"
DEFAULT_PROTOCOL = "fenced"


@dataclass(frozen=True)
class Rung:
    """One protocol of the ladder: which guards it has."""

    name: str
    lease: bool = False
    """A lease row is taken before compressing, kept alive meanwhile, and released afterwards."""
    recheck: bool = False
    """The parent is looked at when the lease is taken; a parent already rotated makes the contender step back."""
    error_counts_as_acquired: bool = False
    """An `sqlite3.Error` while acquiring is taken for success (the bug of #63129) instead of failing closed."""
    fenced: bool = False
    """Publishing is one guarded transaction, newer rows are carried into the child, a rotation cut in two is undone."""
    refuses_closed: bool = False
    """A session that has ended takes no messages (the fix of #71001)."""
    refreshes: bool = True
    """A thread refreshes the lease while compressing; what takes no time needs none."""
    refresher_gives_up_after: int | None = None
    """How many refreshes may fail in a row before the lease refresher ends (None: it never gives up)."""


LADDER: tuple[Rung, ...] = (
    Rung("unlocked"),
    Rung("lease", lease=True, error_counts_as_acquired=True, refresher_gives_up_after=5),
    Rung("lease_recheck", lease=True, recheck=True, refresher_gives_up_after=5),
    Rung("lease_fail_open", lease=True, recheck=True, error_counts_as_acquired=True, refresher_gives_up_after=5),
    Rung("fenced", lease=True, recheck=True, fenced=True, refuses_closed=True),
)

PROTOCOLS: tuple[str, ...] = tuple(rung.name for rung in LADDER)

BESIDE: tuple[Rung, ...] = (Rung("lease_closed", lease=True, recheck=True, refuses_closed=True, refresher_gives_up_after=5),)
"""Stages that are not rungs, as they did not change rotating; they are selected by name like the others.

`lease_closed` is `lease_recheck` whose ended sessions refuse messages, but that does not undo a rotation cut in two (#80337).
"""


def rung_named(name: str | None = None) -> Rung:
    """The rung of that name; without one, of the environment's `HERMES_STATE_PROTOCOL`, else `fenced`.

    Raises `ValueError`, naming the known protocols, when there is none of that name.
    """
    wanted = name or os.environ.get(PROTOCOL_VARIABLE) or DEFAULT_PROTOCOL
    known = (*LADDER, *BESIDE)
    for rung in known:
        if rung.name == wanted:
            return rung
    raise ValueError(f"unknown protocol {wanted!r}; known protocols: {', '.join(rung.name for rung in known)}")
