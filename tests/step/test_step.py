"""Stepping by hand: line by line, and on a terminal's screen."""

import asyncio
import io
import re
import time

import pytest
from typer.testing import CliRunner

import simharness
from simharness.authoring.scenario import as_scenario
from simharness.cli.main import app
from simharness.engine.kernel import current
from simharness.settings import Settings
from simharness.step.lines import Lines
from simharness.step.stepper import Stepper
from tests.report import small_races

RACES = "tests/report/small_races.py"


def stepper(scenario, token=None, **parameters):
    return Stepper(as_scenario(scenario), parameters, token, Settings())


def failing(scenario):
    return simharness.explore(scenario, settings=Settings(confirm=False)).counterexample


def told(scenario, *lines, token=None):
    """Return what stepping with these lines writes."""
    target = io.StringIO()
    Lines(stepper(scenario, token), io.StringIO("".join(f"{line}\n" for line in lines)), target, 100).run()
    return target.getvalue()


def command(*arguments, lines=()):
    return CliRunner().invoke(app, ["step", *arguments], input="".join(f"{line}\n" for line in lines))


def actors(point):
    return [step.actor for step in point.trace.steps]


def test_the_next_actor_is_picked_by_name_or_number_and_the_printed_token_replays_what_was_stepped():
    done = command(f"{RACES}::lost_update", lines=["deposit", "interest", "1", "1"])
    assert done.exit_code == 0
    assert "   1  deposit: get counter = 0" in done.stdout
    assert "✗ both_counted does not hold: the counter is 1, not 2" in done.stdout
    assert "every actor has ended" in done.stdout
    token = re.fullmatch(r"simharness replay \S+ '(\S+)'", done.stdout.splitlines()[-1]).group(1)
    replayed = simharness.replay(small_races.lost_update, token)
    assert [step.actor for step in replayed.steps] == ["deposit", "interest", "deposit", "interest"]
    assert replayed.failure is not None


def test_a_token_of_a_beginning_is_gone_on_from_and_replaying_it_is_refused():
    done = command(f"{RACES}::lost_update", lines=["interest"])
    beginning, whole = re.findall(r"'(lost_update::\S+)'", done.stdout)
    assert beginning.startswith("lost_update::b1:")
    assert stepper(small_races.lost_update, beginning).forward().position == 1
    with pytest.raises(simharness.SimharnessError, match="actors can still move"):
        simharness.replay(small_races.lost_update, beginning)
    assert simharness.replay(small_races.lost_update, whole).steps[0].actor == "interest"


def test_who_cannot_move_is_listed_with_the_reason_and_cannot_be_picked():
    text = told(small_races.two_locks, "payer", "refunder", "refunder", "2")
    assert re.search(r"–  refunder: acquire lock \S+ – cannot: lock \S+ is held by payer", text)
    assert re.search(r"refunder cannot move: lock \S+ is held by payer", text)
    assert "deadlock: no actor can move" in text
    assert "there is no move 2: deadlock: no actor can move" in text


def test_back_and_forward_along_a_token_and_to_the_failure():
    found = failing(small_races.rotation)
    walk = stepper(small_races.rotation, found.token)
    assert (walk.point.position, walk.point.total) == (0, len(found.steps))
    forward = [walk.forward().trace.steps for _ in found.steps]
    assert [repr(step) for step in forward[-1]] == [repr(step) for step in found.steps]
    backward = [walk.point.trace.steps, *(walk.back().trace.steps for _ in found.steps[1:])]
    assert repr(list(reversed(backward))) == repr(forward)
    assert walk.back().position == walk.back().position == 0
    point = walk.to_failure()
    assert point.position == found.trace.failed_at
    assert point.trace.failure == found.failure
    assert walk.point.token == found.token


def test_choosing_otherwise_drops_what_was_ahead_and_choosing_the_same_keeps_it():
    found = failing(small_races.rotation)
    walk = stepper(small_races.rotation, found.token)
    assert walk.point.ahead.actor == found.steps[0].actor
    assert walk.pick_actor(found.steps[0].actor).total == len(found.steps)
    other = next(move.actor for move in walk.point.possible if move.actor != found.steps[1].actor)
    assert walk.pick_actor(other).total == 2
    assert walk.to_failure().notice == "the steps chosen so far do not fail"


def test_an_invariant_that_breaks_on_the_way_shows_before_the_execution_is_over():
    point = stepper(small_races.order_of_writes).pick_actor("indexer")
    assert not point.end
    assert "index_is_never_ahead does not hold" in point.trace.failure


def test_the_clock_data_choices_and_faults_are_moves_like_others():
    def scenario(world):
        def work():
            world.clock.sleep(0.5)
            world.outcome(world.choose(["red", "green"], "colour"))

        world.actor("a", work)
        world.actor("b", world.step, "x")

    text = told(scenario, "clock", "a", "2", "b")
    assert "   1  the clock moves to 0.5 s" in text
    assert "a: choose colour: 'green'" in text
    assert "   3  a: choose colour: 'green'" in text
    crashing = Stepper(as_scenario(scenario), {"faults": "crash=1"}, None, Settings())
    number = next(number for number, move in enumerate(crashing.point.possible, 1) if move.fault == "crash")
    point = crashing.pick(number)
    assert point.end == "every actor has ended"
    assert ":!crash.0.1:" in point.token


def test_rows_log_lines_and_the_timeline_are_shown_when_asked_for():
    text = told(small_races.rotation, "main_turn", "main_turn", "main_turn", "r", "l", "w", "t", "?")
    assert "state.db sessions (changed by this step)" in text
    assert "    PARENT | – | 1.5 | compression" in text
    assert "   3  INFO agent: main_turn has rotated" in text
    assert re.search(r"^  3 │ INSERT INTO sessions", text, re.MULTILINE)
    assert re.search(r"^> t\nrotation::a3:[0-9a-f]{6}:facts1=several-on\+state.db$", text, re.MULTILINE)
    assert "forward along the token" in text


def test_where_a_step_cannot_be_looked_at_the_execution_stays_where_it_was():
    broken = []

    def scenario(world):
        cell = world.shared(0, "cell")
        world.actor("a", lambda: [cell.set(number) for number in range(4)])

        @world.always
        def check():
            if broken and cell.get() == 1:
                raise LookupError("not a verdict")

    walk = stepper(scenario)
    walk.forward()
    broken.append(True)
    with pytest.raises(simharness.Misuse, match="check check raised LookupError"):
        walk.forward()
    assert walk.point.position == 1
    broken.clear()
    assert walk.forward().position == 2


def test_forward_with_nothing_ahead_lets_whoever_moved_go_on():
    walk = stepper(small_races.rotation)
    walk.pick_actor("review_fork")
    assert actors(walk.forward()) == ["review_fork", "review_fork"]


def test_between_two_looks_the_standard_library_is_itself():
    walk = stepper(small_races.lost_update)
    before = time.monotonic()
    walk.forward()
    assert time.monotonic() >= before
    assert current() is None


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([RACES], "has no scenario"),
        (["scenarios/compression_fork.py"], "scenarios; name one"),
        ([f"{RACES}::lost_update", "rotation::a1:000000"], "belongs to scenario 'rotation'"),
        ([f"{RACES}::lost_update", "lost_update::b1:000000"], "but lead to other steps"),
        ([f"{RACES}::lost_update", "--parameter", "x=1"], "lost_update has no parameters"),
        (["scenarios/compression_fork.py::two_contenders", "--parameter", "protocol=none"], "protocol: unlocked, lease"),
        ([f"{RACES}::lost_update", "--faults", "flood=1"], "flood"),
        (["none.py::x"], "no such file"),
    ],
)
def test_misuse_is_one_line_and_status_2(arguments, complaint):
    done = command(*arguments)
    assert done.exit_code == 2
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout


@pytest.mark.parametrize("size", [(80, 24), pytest.param((120, 40), marks=pytest.mark.long)])
def test_the_screen_steps_with_keys_and_shows_the_world(size):
    from simharness.step.screen import Screen

    found = failing(small_races.rotation)
    walk = stepper(small_races.rotation, found.token)

    async def keys():
        screen = Screen(walk)
        async with screen.run_test(size=size) as pilot:
            await pilot.pause()
            seen = [walk.point.position]
            for key in ("right", "right", "left", "enter", "j", "a", "2"):
                await pilot.press(key)
                await pilot.pause()
                seen.append(walk.point.position)
            picture = screen.export_screenshot()
            await pilot.press("c")
            await pilot.press("q")
        return seen, re.sub(r"&#160;", " ", picture)

    seen, picture = asyncio.run(keys())
    assert seen == [0, 1, 2, 1, 2, found.trace.failed_at, 0, 1]
    assert actors(walk.point) == ["review_fork"]
    for text in ("after step 1", "so far", "next move", "the world", "main_turn: SELECT", "PARENT"):
        assert text in picture, text
