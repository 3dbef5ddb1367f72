"""Where the steps of Trio's tasks are reduced, a call of code whose state is not seen counts as touching everything."""

from __future__ import annotations

import decimal
import gc
import sys
from typing import Any

import pytest

import simharness
from simharness.instrument.loader import compiled
from simharness.runtimes.control import installed

PROGRAM = """
import decimal, gc, math, sys
import trio

async def program(world):
    {}
    got = {{}}

    async def take(name):
        await trio.sleep(0)
        {}

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, "a")
        nursery.start_soon(take, "b")
    world.outcome(repr(sorted(got.items())))
"""


@pytest.fixture(scope="module", autouse=True)
def _runtimes_in_place():
    limit, precision = sys.getrecursionlimit(), decimal.getcontext().prec
    with installed():
        yield
    sys.setrecursionlimit(limit)
    decimal.getcontext().prec = precision
    gc.enable()


def explored(statement: str, begin: str = "pass") -> simharness.Result:
    """Explore two tasks that make a statement; brute force must come to the same."""
    space: dict[str, Any] = {"__name__": "trio_unknown"}
    exec(compiled(PROGRAM.format(begin, statement), "trio_unknown.py"), space)
    reduced = simharness.explore(space["program"], "dpor", stop_on_first=False)
    brute = simharness.explore(space["program"], stop_on_first=False, strategy="exhaustive")
    assert reduced.outcomes == brute.outcomes
    return reduced


@pytest.mark.parametrize(
    ("begin", "statement"),
    [
        ("decimal.getcontext().prec = 28", "context = decimal.getcontext(); got[name] = context.prec; context.prec += 1"),
        ("sys.setrecursionlimit(1_000)", "got[name] = sys.getrecursionlimit(); sys.setrecursionlimit(got[name] + 1)"),
        ("gc.enable()", "got[name] = gc.isenabled(); gc.disable()"),
    ],
)
def test_the_order_of_calls_whose_state_is_not_seen_is_explored_both_ways(begin, statement):
    assert len(explored(statement, begin).outcomes) == 2


@pytest.mark.parametrize("statement", ["got[name] = math.sqrt(4)", "got[name] = sys.getsizeof(name) > 0", "got[name] = len(name)"])
def test_calls_that_leave_nothing_behind_add_no_orderings(statement):
    assert explored(statement).executions == 1
