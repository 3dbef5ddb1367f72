"""On random programs with deadlines the reduction, in which late advances of the clock conflict with little, loses no outcome."""

from __future__ import annotations

import ast
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

import simharness
from simharness import World
from simharness.search.dpor import Dpor
from simharness.search.exhaustive import Exhaustive
from tests import declared_steps
from tests.random_drawing import each
from tests.random_drawing import program as drawn
from tests.random_programs import CLOCKED, Program, TooMany, explored, runtimes_in_place

WAITING = ("choose", "wait_until")
KINDS: tuple[dict[str, Any], ...] = (
    {"extra": WAITING, "primitives": True, "clocks": True},
    {"extra": WAITING, "primitives": True, "clocks": True, "threads": True},
    {"extra": (*WAITING, "lock", "unlock"), "primitives": True, "clocks": True, "threads": True, "daemons": True},
)


@pytest.fixture(scope="module", autouse=True)
def threads_are_simulated() -> Iterator[None]:
    with runtimes_in_place():
        yield


def same(program: Program, most: int) -> bool:
    """Compare the outcomes with those of every interleaving; return False if there are more, or if no deadline is a matter of lateness."""
    if not program.uses(CLOCKED) or program.timescale is not None:
        return False
    try:
        every = explored(program, Exhaustive, most)
    except TooMany:
        return False
    reduced = explored(program, Dpor, 4 * most)
    assert reduced.outcomes == every.outcomes, program
    assert reduced.states == every.states, program
    return True


def test_random_programs_with_deadlines_have_the_outcomes_of_every_interleaving() -> None:
    each(lambda program: same(program, 150), 40_000, 75, *KINDS)


@pytest.mark.long
def test_many_random_programs_with_deadlines_have_the_outcomes_of_every_interleaving() -> None:
    each(lambda program: same(program, 400), 50_000, 750, *KINDS)


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(18, id="a step races with one after a free advance"),
        pytest.param(82, id="two steps race with one after a free advance"),
        pytest.param(1023, id="free advances are late in a reversal, and too late together"),
        pytest.param(901_354, id="the second step of a race comes before an advance that is too late in the reversal"),
    ],
)
def test_no_outcome_is_lost_where_an_advance_is_free_in_one_order_and_late_in_the_other(seed: int) -> None:
    assert same(drawn(seed, **KINDS[0]), 600)


TAKES, TRIES = (("take",), ("event_set",)), (("try_take",),)
SLEEPS = (("sleep", 1.0), ("give",), ("timed_event", 1.5))


@pytest.mark.parametrize("order", [(TAKES, TRIES, SLEEPS), (TRIES, TAKES, SLEEPS), (SLEEPS, TAKES, TRIES)])
def test_no_outcome_is_lost_where_an_advance_is_free_only_after_the_second_step_of_a_race(order: Any) -> None:
    assert same(Program(actors=order, max_delay=2.0), 600)
    assert same(Program(actors=order, max_delay=2.0, threads=frozenset({1, 2}), daemons=frozenset({2})), 2_000)


def test_no_outcome_is_lost_where_a_daemons_advance_is_too_late_in_a_reversal() -> None:
    assert same(drawn(902_142, **KINDS[2]), 600)


def test_a_deadline_that_is_set_after_an_advance_is_another_one_also_if_only_the_code_of_a_step_sets_it() -> None:
    sets_a_deadline = (("get", 0), ("sleep", 2.0), ("time",))
    assert same(Program(actors=(sets_a_deadline, (("sleep", 1.0),))), 600)


def test_a_wait_that_ends_in_time_decides_to_which_instant_the_clock_moves_next() -> None:
    program = drawn(61_750, **KINDS[1])
    assert same(replace(program, max_delay=2.2), 40_000)


def test_an_advance_that_was_planned_late_is_tried_free_too_though_the_one_before_it_stays_late() -> None:
    for shift in range(5):
        actors = declared_steps.TWO_ADVANCES[shift:] + declared_steps.TWO_ADVANCES[:shift]
        found, redundant = declared_steps.reduced(actors, 2.5, 100)
        assert (found, redundant) == (declared_steps.expected(actors, 2.5, 10_000), 0)


def declared(first: int, count: int, most: int) -> None:
    checked, seed = 0, first
    while checked < count:
        for draw in (declared_steps.drawn, declared_steps.changed):
            actors, max_delay = draw(seed)
            try:
                every = declared_steps.expected(actors, max_delay, 200 * most)
                found, redundant = declared_steps.reduced(actors, max_delay, most)
            except TooMany:
                continue
            assert (found, redundant) == (every, 0), (seed, actors, max_delay)
            checked += 1
        seed += 1
        assert seed - first < 10 * count


def test_random_programs_of_declared_steps_have_the_outcomes_of_a_model() -> None:
    declared(0, 40, 60)


@pytest.mark.long
def test_many_random_programs_of_declared_steps_have_the_outcomes_of_a_model() -> None:
    declared(1_000, 700, 120)


@pytest.mark.parametrize("writes", [0, 1, 5])
def test_steps_that_do_not_see_the_time_do_not_multiply_the_orderings_of_a_late_advance(writes: int) -> None:
    def program(world: World) -> None:
        event, cell = threading.Event(), world.shared(0, "cell")

        def busy() -> None:
            for _ in range(writes):
                cell.add(1)

        world.actor("waits", lambda: event.wait(1))
        world.actor("sets", event.set)
        world.actor("busy", busy)

    # The event is set in time; or the clock moves first, and then either of the two comes first.
    assert simharness.explore(program, strategy="dpor").executions == 3


def a_timescale(world: World) -> None:
    world.timescale(100.0)


def a_promise(world: World) -> None:
    world.eventually(lambda: None, within=1000.0)


def trio_runs(world: World) -> None:
    async def nothing() -> None:
        await trio.lowlevel.checkpoint()

    world.actor("trio", trio.run, nothing)


@pytest.mark.parametrize("thing", [a_timescale, a_promise, trio_runs])
def test_a_late_advance_conflicts_with_everything_where_all_may_depend_on_the_time(thing: Callable[[World], None]) -> None:
    def program(world: World) -> None:
        thing(world)
        event, cell = threading.Event(), world.shared(0, "cell")
        world.actor("waits", lambda: event.wait(1))
        world.actor("sets", event.set)
        world.actor("busy", lambda: cell.add(1))

    assert simharness.explore(program, strategy="dpor").executions > 3


def test_the_time_at_which_a_file_is_written_is_a_matter_of_lateness() -> None:
    def outcomes(strategy: str) -> set[tuple[float, ...]]:
        found = set()

        def program(world: World) -> None:
            path, seen = world.path("file"), []
            world.actor("writes", lambda: Path(path).write_text("x"))
            world.actor("looks", lambda: seen.append(os.stat(path).st_mtime if os.path.exists(path) else 0.0))
            world.actor("sleeps", time.sleep, 1)
            world.at_end(lambda: found.add(tuple(seen)))

        assert simharness.explore(program, strategy=strategy).verdict is simharness.Verdict.VERIFIED
        return found

    assert outcomes("dpor") == outcomes("exhaustive")


TIME_READERS = re.compile(r"\b(clock\.now|movers\.wall\(\)|kernel\.monotonic\(\))")
SAY_SO = re.compile(r"\b(sees_time|read_clock|_read|_?kernel\.step)\(")
OTHERWISE_KNOWN = {
    ("trio/run.py", "stop"),  # where Trio runs, everything depends on the time
    ("trio/run.py", "_settled"),
    ("aio/run.py", "_declare"),  # where a loop of asyncio's runs, too
    ("aio/run.py", "_time_has_passed"),
    ("aio/run.py", "call_at"),
    ("aio/run.py", "_none_may_move_yet"),
    ("aio/run.py", "_stopped"),
    ("tasks/actors.py", "instant"),
    ("threads/thread.py", "_join"),  # its deadline is that of its step
    ("templates.py", "__init__"),  # no actor moves while one is made
    ("templates.py", "_make"),
}


def test_code_that_reads_the_virtual_clock_without_a_step_says_so() -> None:
    silent = set()
    folder = Path(simharness.__file__).parent / "runtimes"
    for file in folder.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)) if TIME_READERS.search(text) else ():
            if isinstance(node, ast.FunctionDef):
                source = "\n".join(lines[node.lineno - 1 : node.end_lineno])
                if TIME_READERS.search(source) and not SAY_SO.search(source):
                    silent.add((str(file.relative_to(folder)), node.name))
    assert silent == OTHERWISE_KNOWN
