"""On random small programs the reduction gives what every interleaving gives, and runs each ordering once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from simharness.errors import Misuse
from simharness.runtimes.sqlite.kept.image import KeptDatabase
from simharness.runtimes.sqlite.kept.keeper import Keeper
from simharness.search.dpor import Dpor
from simharness.search.exhaustive import Exhaustive
from tests.orderings import counted
from tests.random_drawing import LOCKS
from tests.random_drawing import program as drawn
from tests.random_programs import CLOCKED, Program, TooMany, explored, runtimes_in_place

OTHERS = ("choose", "assume", "step")
PLAIN = (*LOCKS, *OTHERS)
WAITING = (*PLAIN, "wait_until")
REFUSED = re.compile("check look raised OperationalError: database is locked")
"""What a check meets that reads a database without WAL while a commit waits for readers."""


@pytest.fixture(scope="module", autouse=True)
def threads_are_simulated() -> Iterator[None]:
    with runtimes_in_place():
        yield


@dataclass
class Tally:
    """How many programs were compared, how many of them by their orderings; how many were too large, or their checks refused."""

    compared: int = 0
    counted: int = 0
    skipped: int = 0
    refused: int = 0


def check(program: Program, most: int, tally: Tally) -> None:
    """Compare the reduction with every interleaving, if there are at most so many."""
    try:
        every = explored(program, Exhaustive, most)
    except TooMany:
        tally.skipped += 1
        return
    except Misuse:
        tally.refused += 1
        with pytest.raises(Misuse, match=REFUSED):
            explored(program, Dpor, 4 * most)
        return
    reduced = explored(program, Dpor, 4 * most)
    tally.compared += 1
    assert reduced.outcomes == every.outcomes, program
    assert reduced.states == every.states, program
    if program.uses(CLOCKED) or program.timescale is not None:
        return
    tally.counted += 1
    orderings = counted(program, every)
    assert counted(program, reduced).keys() == orderings.keys(), program
    assert len(reduced.executions) == len(orderings), program
    assert program.daemons or reduced.redundant == 0, program


def compare(kind: str, first: int, count: int, most: int) -> Tally:
    """Compare so many programs of a kind, from a seed on; most of those drawn must be small enough."""
    tally, seed = Tally(), first
    while tally.compared < count:
        check(drawn(seed, **KINDS[kind]), most, tally)
        seed += 1
    assert tally.skipped + tally.refused < tally.compared
    return tally


KINDS: dict[str, dict[str, Any]] = {
    "cells and locks": {"extra": PLAIN},
    "waiting for cells": {"extra": WAITING},
    "every primitive": {"extra": OTHERS, "primitives": True},
    "threads": {"extra": ("choose", "wait_until"), "primitives": True, "threads": True},
    "daemons": {"extra": PLAIN, "threads": True, "daemons": True},
    "sql": {"extra": (*OTHERS, "lock", "unlock"), "sql": True},
    "clocks": {"extra": ("choose", "wait_until"), "primitives": True, "clocks": True},
    "threads and clocks": {"extra": ("choose", "wait_until"), "primitives": True, "threads": True, "clocks": True},
}
FEW = {
    "cells and locks": 15,
    "waiting for cells": 10,
    "every primitive": 45,
    "threads": 10,
    "daemons": 10,
    "sql": 12,
    "clocks": 13,
    "threads and clocks": 5,
}
MANY = {
    "cells and locks": 500,
    "waiting for cells": 400,
    "every primitive": 400,
    "threads": 250,
    "daemons": 200,
    "sql": 250,
    "clocks": 200,
    "threads and clocks": 100,
}


@pytest.mark.parametrize("kind", KINDS)
def test_random_programs_have_the_same_outcomes_with_and_without_reduction_and_each_ordering_is_run_once(kind: str) -> None:
    compare(kind, 0, FEW[kind], 300)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_many_random_programs_have_the_same_outcomes_with_and_without_reduction_and_each_ordering_is_run_once(kind: str) -> None:
    compare(kind, 10_000, MANY[kind], 1_000)


def test_a_hundred_programs_are_compared_in_the_short_run_and_two_thousand_in_the_long_one() -> None:
    assert sum(FEW.values()) >= 100
    assert sum(MANY.values()) >= 2_000


@pytest.mark.long
def test_random_programs_on_databases_do_the_same_whether_databases_are_kept_between_executions_or_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = compare_keeping(monkeypatch, 500, 25)
    assert taken > 100


@pytest.mark.long
def test_many_random_programs_on_databases_do_the_same_whether_databases_are_kept_between_executions_or_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compare_keeping(monkeypatch, 20_000, 250)


def compare_keeping(monkeypatch: pytest.MonkeyPatch, first: int, count: int) -> int:
    """Compare so many programs; return how often a connection was one of an earlier execution."""
    taken = 0
    take = KeptDatabase.take

    def counting(self: KeptDatabase, which: int | str) -> Any:
        nonlocal taken
        connection = take(self, which)
        taken += connection is not None
        return connection

    for seed in range(first, first + count):
        program = drawn(seed, **KINDS["sql"])
        found = []
        for wanted in (True, False):
            with monkeypatch.context() as patch:
                patch.setattr(KeptDatabase, "take", counting)
                patch.setattr(Keeper, "may_keep", wanted)
                try:
                    kept = explored(program, Dpor, 300)
                except (TooMany, Misuse) as error:
                    found.append(repr(error))
                else:
                    found.append(repr((kept.executions, sorted(map(repr, kept.states)), sorted(map(repr, kept.outcomes)), kept.redundant)))
        assert found[0] == found[1], program
    return taken
