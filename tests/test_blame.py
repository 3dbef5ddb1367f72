"""The explanation under a counterexample names the culprit that was planted, and nothing that is innocent."""

from __future__ import annotations

import json
import sqlite3
import threading

import pytest

import simharness
from simharness import Settings
from simharness.report import json_report


def explained(target, **options):
    """Explore; check that every claim of the explanation holds; return the counterexample."""
    found = simharness.explore(target, **options).counterexample
    assert found is not None
    assert simharness.replay(target, found.token).failure == found.failure
    for blame in found.blame:
        assert simharness.replay(target, blame.token).failure is None
    passing = found.passing
    if passing is not None:
        other = simharness.replay(target, passing.token)
        assert other.failure is None
        mine, theirs = ([(step.actor, step.notes) for step in execution.steps] for execution in (found, other))
        position = passing.parts_at - 1
        assert [actor for actor, _ in mine[:position]] == [actor for actor, _ in theirs[:position]]
        assert mine[position] != theirs[position]
        assert theirs[position][0] == passing.actor
    return found


def sides(found):
    """The races to blame, each as (actor and kind of the first step, actor and kind of the second)."""
    steps = found.steps

    def side(number, actor):
        return f"{steps[number - 1].actor} {steps[number - 1].kind}" if number is not None else f"{actor} waits"

    return [[(side(race.first, ""), side(race.second, race.actor)) for race in blame.races] for blame in found.blame]


def test_a_lost_update_is_due_to_the_read_that_came_before_the_others_write():
    def lost_update(world):
        counter = world.shared(0, "counter")

        def bump():
            counter.set(counter.get() + 1)

        world.actor("a", bump)
        world.actor("b", bump)

        @world.at_end
        def both_counted():
            assert counter.get() == 2

    found = explained(lost_update)
    assert sides(found) == [[("a get", "b set")], [("b get", "a set")]]
    (race,) = found.blame[0].races
    assert race.resources == ("counter",)
    assert found.passing.parts_at == race.first
    assert found.explanation == [
        f"a's get counter ({place(found, race.first)}) came before b's set counter ({place(found, race.second)}): "
        "in the opposite order, the execution passes"
    ]


def place(found, number):
    where = found.steps[number - 1].place
    return f"{where.file.rpartition('/')[2]}:{where.line}"


def test_a_check_and_an_act_that_are_torn_apart_are_named_with_their_table(tmp_path):
    def two_leases(world):
        path = world.path("state.db")
        setup = sqlite3.connect(path, isolation_level=None)
        setup.execute("PRAGMA journal_mode=WAL")
        setup.execute("CREATE TABLE leases (holder TEXT)")
        setup.close()

        def acquire(name):
            connection = sqlite3.connect(path, isolation_level=None)
            if connection.execute("SELECT count(*) FROM leases").fetchone() == (0,):
                connection.execute("INSERT INTO leases VALUES (?)", (name,))
            connection.close()

        world.actor("main_turn", acquire, "main_turn")
        world.actor("review_fork", acquire, "review_fork")

        @world.at_end
        def one_holder():
            connection = sqlite3.connect(path)
            (count,) = connection.execute("SELECT count(*) FROM leases").fetchone()
            connection.close()
            assert count == 1

    found = explained(two_leases)
    (sentence,) = found.explanation
    assert sentence.startswith("main_turn's SELECT count(*) FROM leases (test_blame.py:")
    assert "came before review_fork's INSERT INTO leases (test_blame.py:" in sentence
    assert "leases" in "".join(found.blame[0].races[0].resources)


def test_a_deadlock_is_due_to_the_lock_that_was_taken_too_early():
    def crossed(world):
        first, second = threading.Lock(), threading.Lock()

        def transfer(one, other):
            with one, other:
                pass

        world.actor("payer", transfer, first, second)
        world.actor("refunder", transfer, second, first)

    found = explained(crossed)
    assert sides(found)[0] == [("refunder lock.acquire", "payer waits")]
    assert found.explanation[0].startswith("refunder's acquire lock")


def both_races(world):
    """It fails when each of two independent pairs comes out the wrong way: neither alone is enough."""
    one, two = world.shared(0, "one"), world.shared(0, "two")
    seen = []
    world.actor("writer_one", one.set, 1)
    world.actor("writer_two", two.set, 1)
    world.actor("reader_one", lambda: seen.append(one.get()))
    world.actor("reader_two", lambda: seen.append(two.get()))

    @world.at_end
    def somebody_was_late():
        assert 0 in seen


def test_two_independent_races_of_which_each_is_needed_are_blamed_each_alone():
    assert sorted(sides(explained(both_races))) == [
        [("writer_one set", "reader_one get")],
        [("writer_two set", "reader_two get")],
    ]


def test_two_races_of_which_one_is_enough_to_fail_are_blamed_together():
    def either_race(world):
        one, two = world.shared(0, "one"), world.shared(0, "two")
        seen = []
        world.actor("writer_one", one.set, 1)
        world.actor("writer_two", two.set, 1)
        world.actor("reader_one", lambda: seen.append(one.get()))
        world.actor("reader_two", lambda: seen.append(two.get()))

        @world.at_end
        def everybody_was_late():
            assert seen == [0, 0]

    found = explained(either_race)
    assert [sorted(races) for races in sides(found)] == [[("writer_one set", "reader_one get"), ("writer_two set", "reader_two get")]]
    assert found.explanation[0].startswith("no single race decides it; writer_one's")
    assert found.explanation[0].endswith("with both reversed, the execution passes")


def test_a_race_that_changes_nothing_is_not_blamed():
    def decoy(world):
        log, counter = world.shared("", "log"), world.shared(0, "counter")

        def bump(name):
            log.set(name)
            value = counter.get()
            log.set(name)
            counter.set(value + 1)
            log.set(name)

        world.actor("a", bump, "a")
        world.actor("b", bump, "b")

        @world.at_end
        def both_counted():
            assert counter.get() == 2

    found = explained(decoy)
    assert found.blame
    for blame in found.blame:
        (race,) = blame.races
        assert race.resources == ("counter",)


def test_a_failure_of_every_ordering_blames_nothing_and_says_so():
    def doomed(world):
        cell = world.shared(0, "cell")
        world.actor("a", cell.set, 1)
        world.actor("b", cell.set, 2)

        @world.at_end
        def untouched():
            assert cell.get() == 0

    found = explained(doomed)
    assert (found.blame, found.passing) == ((), None)
    assert found.explanation == [f"no single race decides it (1 tried); no passing ordering was found ({found.trace.why.tried} tried)"]


def test_a_failure_in_the_initial_state_is_not_explained():
    def broken(world):
        cell = world.shared(0, "cell")
        world.actor("a", cell.set, 1)

        @world.always
        def never():
            assert cell.get() == 1

    found = explained(broken)
    assert (found.blame, found.passing, found.explanation) == ((), None, [])


def test_a_failure_without_races_says_so():
    def alone(world):
        world.actor("a", world.shared(0, "cell").get)

        @world.at_end
        def never():
            raise AssertionError

    assert explained(alone).explanation[0].startswith("no two steps could have come in the opposite order; no passing ordering")


def test_a_reversal_that_fails_in_another_way_is_not_blamed():
    def frying_pan(world):
        cell = world.shared(0, "cell")
        world.actor("a", cell.set, 1)
        world.actor("b", cell.set, 2)

        @world.at_end
        def not_two():
            assert cell.get() != 2

        @world.at_end
        def not_one():
            assert cell.get() != 1

    found = explained(frying_pan)
    assert (found.blame, found.passing) == ((), None)


def test_a_data_choice_that_decides_is_named_with_the_value_that_passes():
    def chosen(world):
        counter = world.shared(0, "counter")

        def work(name):
            mode = world.choose(["fast", "safe"], "mode") if name == "a" else "safe"
            counter.add(1 if mode == "safe" else 2)

        world.actor("a", work, "a")
        world.actor("b", work, "b")

        @world.at_end
        def two():
            assert counter.get() == 2

    found = explained(chosen)
    (race,) = found.blame[0].races
    assert (race.first, race.instead) == (race.second, "mode: 'safe'")
    assert found.explanation[0].startswith("a's choice of mode: 'fast' (test_blame.py:")
    assert found.explanation[0].endswith(": with mode: 'safe' instead, the execution passes")
    assert "a makes another choice" in found.timeline


def test_a_clock_that_moved_too_early_is_blamed():
    def stale(world):
        age = world.shared(0, "age")

        def holder():
            taken = world.clock.time()
            age.set(world.clock.time() - taken)

        world.actor("holder", holder)
        world.actor("sleeper", world.clock.sleep, 1.0)

        @world.at_end
        def in_time():
            assert age.get() < 1

    found = explained(stale)
    assert sides(found)[0] == [("clock clock.advance", "holder clock.read")]
    assert found.explanation[0].startswith("the clock's move to 1 s came before holder's read")


def test_a_timeout_that_came_before_the_signal_is_blamed():
    def timed_out(world):
        ready, late = threading.Event(), world.shared(False, "late")

        def waiter():
            late.set(not ready.wait(1.0))

        world.actor("waiter", waiter)
        world.actor("worker", ready.set)

        @world.at_end
        def in_time():
            assert not late.get()

    assert sides(explained(timed_out))[0] == [("waiter event.wait", "worker event.set")]


def test_the_timeline_marks_the_step_at_which_a_passing_ordering_parts_and_gives_its_token():
    found = explained(both_races)
    marked = [line for line in found.timeline.splitlines() if line.startswith(("▸", "✗▸"))]
    assert len(marked) == 2
    assert f" {found.passing.parts_at} " in marked[0]
    assert marked[1].startswith(f"▸ a passing ordering diverges here, at step {found.passing.parts_at}: ")
    assert found.passing.token in found.timeline


def test_the_explanation_is_in_the_json():
    result = simharness.explore(both_races)
    told = json.loads(json.dumps(json_report.entry(result)))["counterexample"]
    assert told["explanation"] == list(result.counterexample.explanation)
    assert [blame["token"] for blame in told["blame"]] == [blame.token for blame in result.counterexample.blame]
    assert told["blame"][0]["races"][0].keys() == {"first", "second", "actor", "resources", "instead"}
    assert told["passing"].keys() == {"token", "parts_at", "actor", "reversed", "trace"}


def test_a_replay_explains_nothing():
    found = explained(both_races)
    again = simharness.replay(both_races, found.token)
    assert again.trace.why is None
    assert "passes" not in again.timeline


@pytest.mark.parametrize("budget", [1, 2, 3, 5, 8])
def test_a_small_budget_leaves_out_but_claims_nothing_false(budget):
    found = explained(both_races, settings=Settings(shrink=budget))
    assert found.trace.why.tried <= budget
    assert found.blame or "not all" in found.explanation[0] or "budget" in found.explanation[0]
    for races in sides(found):
        assert races in ([("writer_one set", "reader_one get")], [("writer_two set", "reader_two get")])


def test_an_explanation_is_the_same_with_both_strategies_where_the_counterexample_is():
    first, second = (explained(both_races, strategy=strategy) for strategy in ("dpor", "exhaustive"))
    assert sorted(sides(first)) == sorted(sides(second))
