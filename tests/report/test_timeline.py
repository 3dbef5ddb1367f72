"""Timelines are files that a person has read. To write them anew: SIMHARNESS_GOLDEN=write pytest tests/report; then read them."""

import dataclasses
import os
import re
import sqlite3
from pathlib import Path

import pytest

import simharness
from simharness.engine.kinds import declared
from simharness.places import Place
from simharness.runtimes import control  # noqa: F401  # declares the kinds of all runtimes
from simharness.runtimes.sqlite.kinds import of_verb
from simharness.timeline.render import render
from simharness.trace.data import Step, Trace
from tests.outside.hostile import at_most
from tests.report import small_pools, small_races

GOLDEN = Path(__file__).parent / "golden"
NAMES = [
    "lost_update",
    "order_of_writes",
    "lease_expires",
    "two_locks",
    "rotation",
    "lapsed_lease",
    "tasks_of_a_pool",
    "a_pool_that_is_too_small",
]
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def counterexample(name):
    found = simharness.explore(getattr(small_races, name, None) or getattr(small_pools, name)).counterexample
    assert found is not None
    return found


@pytest.mark.parametrize("width", [100, 80])
@pytest.mark.parametrize("name", NAMES)
def test_the_timeline_of_a_small_scenario_is_the_one_that_was_read(name, width):
    text = render(counterexample(name).trace, width) + "\n"
    file = GOLDEN / f"{name}_{width}.txt"
    if os.environ.get("SIMHARNESS_GOLDEN") == "write":
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_no_line_is_wider_than_asked_for(name, full, width):
    for line in render(counterexample(name).trace, width, full=full).splitlines():
        assert len(line) <= width


@pytest.mark.parametrize("name", NAMES)
def test_colour_changes_no_character(name):
    trace = counterexample(name).trace
    coloured = render(trace, 100, colour=True)
    assert ESCAPES.search(coloured)
    assert [line.rstrip() for line in ESCAPES.sub("", coloured).splitlines()] == render(trace, 100).splitlines()


def test_source_lines_are_shown_on_demand():
    trace = counterexample("lost_update").trace
    assert "counter.set(value + 1)" in render(trace, source=True)
    assert "counter.set(value + 1)" not in render(trace)


def test_the_full_timeline_shows_every_step():
    trace = counterexample("rotation").trace
    text = render(trace, 100, full=True)
    for step in trace.steps:
        assert re.search(rf"^.? +{step.number} ", text, re.MULTILINE), step


def kind_of(text):
    family, _, name = text.rpartition(".")
    return of_verb(name) if family == "sqlite" else declared()[text]


def made_up(kinds, **changes):
    steps = tuple(
        Step(
            number=number,
            actor=actor,
            kind=kind_of(kind),
            detail=detail,
            place=Place("/src/store.py", number, "f"),
            notes=(),
            time=0,
            database=(),
            held={},
            shown={},
            log=(),
            choices=2,
        )
        for number, (actor, kind, detail) in enumerate(kinds, start=1)
    )
    actors = {actor: "main" for actor, _, _ in kinds if actor != "clock"}
    trace = Trace("made_up", {}, actors, steps, (), "it fails", len(steps), {})
    return dataclasses.replace(trace, **changes)


def test_a_transaction_that_nobody_interrupted_is_one_line():
    work = [
        ("a", "lock.acquire", "lock"),
        ("a", "sqlite.begin", "BEGIN IMMEDIATE"),
        ("a", "sqlite.write", "INSERT INTO sessions (id) VALUES (?)"),
        ("a", "sqlite.commit", "COMMIT"),
        ("a", "lock.release", "lock"),
    ]
    text = render(made_up(work))
    assert "INSERT INTO sessions" in text
    assert not re.search(r"BEGIN|COMMIT|acquire|release", text)
    interrupted = [*work[:3], ("b", "step", "looks"), *work[3:]]
    assert re.search(r"BEGIN.*INSERT.*looks.*COMMIT", render(made_up(interrupted)), re.DOTALL)


def test_statements_that_ran_behind_a_clock_reading_are_shown_instead_of_it():
    trace = made_up([("a", "lock.acquire", "lock"), ("a", "clock.read", ""), ("a", "lock.release", "lock"), ("b", "step", "x")])
    notes = ("BEGIN IMMEDIATE", "INSERT OR IGNORE INTO leases (holder) VALUES (?)", "0 rows", "COMMIT", "committed: nothing")
    steps = [trace.steps[0], dataclasses.replace(trace.steps[1], notes=notes), *trace.steps[2:]]
    text = render(dataclasses.replace(trace, steps=tuple(steps)))
    assert re.search(r"2 │ INSERT OR IGNORE INTO leases → 0 rows +store.py:2", text)
    assert not re.search(r"BEGIN|COMMIT|acquire|clock", text)


def test_the_statements_of_a_long_transaction_have_a_line_each():
    trace = made_up([("a", "sqlite.begin", "BEGIN"), ("b", "step", "x")])
    statements = tuple(f"UPDATE table_number_{number} SET x = 1" for number in range(4))
    steps = (dataclasses.replace(trace.steps[0], kind=kind_of("clock.read"), notes=("BEGIN", *statements, "COMMIT")), trace.steps[1])
    lines = render(dataclasses.replace(trace, steps=steps)).splitlines()
    assert [line.split("UPDATE")[1].split()[0] for line in lines if "UPDATE" in line] == [f"table_number_{n}" for n in range(4)]


def test_the_middle_of_a_long_run_is_left_out_and_counted():
    trace = made_up([("a", "step", f"work {number}") for number in range(50)] + [("b", "step", "end")])
    text = render(trace)
    assert "… 44 steps, nothing committed" in text
    assert len(text.splitlines()) < 20
    assert len(render(trace, full=True).splitlines()) > 50


def test_a_step_made_again_and_again_is_one_line():
    trace = made_up([("a", "step", "polls")] * 5)
    same = tuple(dataclasses.replace(step, place=trace.steps[0].place) for step in trace.steps)
    assert "polls (5 times)" in render(dataclasses.replace(trace, steps=same))


def test_actors_that_only_start_and_join_have_no_column():
    trace = made_up([("main", "thread.start", "a"), ("a", "step", "works"), ("main", "thread.join", "a")])
    assert "main" not in render(trace)
    assert "main" in render(trace, full=True)


def test_steps_after_the_failure_are_counted_not_shown():
    text = render(made_up([("a", "step", "breaks"), ("b", "step", "goes on"), ("b", "step", "and on")], failed_at=1))
    assert "goes on" not in text
    assert "not shown: 2 steps of b after the failure" in text
    assert re.search(r"^✗ 1 . breaks", text, re.MULTILINE)


def test_a_failure_in_the_initial_state_says_so():
    assert "(in the initial state)" in render(made_up([("a", "step", "x")], failed_at=0))


def test_many_actors_with_long_words_still_fit():
    kinds = [(f"actor_with_a_long_name_{n}", "step", "a very long description of what it does " * 3) for n in range(12)]
    for line in render(made_up(kinds), 80).splitlines():
        assert len(line) <= 80


def test_processes_are_named_where_there_are_several():
    assert "a [gateway]" in render(made_up([("a", "step", "x"), ("b", "step", "y")], actors={"a": "gateway", "b": "worker"}))


def test_long_results_are_shortened_in_linear_time():
    with at_most(30):
        assert render(made_up([("a", "step", f"read → {'a' * 300_000}")])).count("a") < 200


def test_values_with_line_breaks_stay_on_their_line():
    trace = made_up([("a", "step", "one\ntwo\tthree")])
    shown = dataclasses.replace(trace.steps[0], shown={"state": "x\ny"}, log=("INFO a: b\nc",), database=("+ t (a\nb)",))
    text = render(dataclasses.replace(trace, steps=(shown,)))
    for words in ("one two three", "x\\ny", "log INFO a: b\\nc", "+ t (a b)"):
        assert words in text


def test_rows_are_called_by_their_key_and_what_nobody_reads_is_left_out():
    def scenario(world):
        path = world.path("x.db")
        database = sqlite3.connect(path, isolation_level=None)
        database.execute("CREATE VIRTUAL TABLE found USING fts5(body)")
        database.execute("CREATE TABLE sold (count, shop, ticket, image, PRIMARY KEY (shop, ticket))")
        database.execute("INSERT INTO sold VALUES (0, 'north', 7, NULL)")

        def sell():
            mine = sqlite3.connect(path, isolation_level=None)
            mine.execute("UPDATE sold SET count = count + 1, image = x'00ff'")
            mine.execute("INSERT INTO found VALUES ('hello')")

        world.actor("left", sell)
        world.actor("right", sell)

        @world.at_end
        def sold_once():
            assert database.execute("SELECT count FROM sold").fetchone() == (1,)

    timeline = str(simharness.explore(scenario).counterexample.timeline)
    assert "~ sold north/7, count: 0 → 1, image: - → 2 bytes" in timeline
    assert "+ found hello" in timeline
    assert "found_" not in timeline
