"""Waiting by looking again and again is waiting: what real code polls is verified, or its bug found, in tens of orderings."""

import sys
import threading
import time
from pathlib import Path

import pytest

import simharness
from simharness.verdicts.results import Verdict
from tests import polls

HERE = Path(__file__).parent
SCENARIOS = {scenario.name: scenario for scenario in simharness.load(str(HERE / "polls.py"))}
SETTINGS = simharness.Settings(max_executions=400, max_steps=2_000)


@pytest.mark.parametrize("kind", [kind.__name__ for kind in polls.KINDS])
def test_every_way_to_poll_is_verified_and_its_bug_is_found(kind):
    right = simharness.explore(SCENARIOS["poll"], "dpor", {"kind": kind, "right": True}, settings=SETTINGS)
    assert right.verdict is Verdict.VERIFIED
    assert right.executions < 200
    assert right.redundant == 0
    wrong = simharness.explore(SCENARIOS["poll"], "dpor", {"kind": kind, "right": False}, settings=SETTINGS)
    assert wrong.verdict is Verdict.VIOLATED


@pytest.mark.parametrize("how", [function.__name__ for function in polls.LIMITED])
def test_a_loop_that_changes_what_no_step_shows_takes_all_its_turns(how):
    result = simharness.explore(SCENARIOS["gives_up"], parameters={"how": how}, settings=SETTINGS)
    assert result.verdict is Verdict.VIOLATED
    assert "gave up" in result.counterexample.failure


def test_a_loop_that_nobody_can_end_is_a_livelock_that_names_what_is_looked_at():
    result = simharness.explore(SCENARIOS["livelock"], settings=SETTINGS)
    assert result.verdict is Verdict.VIOLATED
    place = result.counterexample.failure.rpartition(" at ")[2].partition(";")[0]
    assert result.counterexample.failure == (
        f"livelock: poller waits for a write of State.done at {place}; no actor can write State.done any more"
    )
    assert "poller looks at State.done again and again" in " ".join(result.counterexample.timeline.split())
    again = simharness.replay(SCENARIOS["livelock"], result.counterexample.token)
    assert again.failure == result.counterexample.failure


def test_a_loop_under_a_lock_that_the_other_needs_is_a_livelock():
    result = simharness.explore(SCENARIOS["looks_under_the_lock_that_the_finisher_needs"], settings=SETTINGS)
    assert result.verdict is Verdict.VIOLATED
    assert "livelock" in result.counterexample.failure


@pytest.mark.parametrize("pause", [0.01, None])
def test_an_actor_that_gives_the_lock_back_between_looks_does_not_wait_while_it_holds_it(pause):
    result = simharness.explore(SCENARIOS["gives_the_lock_back_between_looks"], "dpor", {"pause": pause}, settings=SETTINGS)
    assert result.verdict is Verdict.VERIFIED


@pytest.mark.parametrize("which", [0, 1])
def test_all_that_a_turn_reads_in_a_loop_inside_it_ends_the_wait(which):
    result = simharness.explore(SCENARIOS["looks_at_each_after_another_look"], "dpor", {"which": which}, settings=SETTINGS)
    assert result.bounds.startswith("all")
    assert result.outcomes == {"found"}


def test_brute_force_takes_every_turn():
    def alone(world):
        never = world.shared(0, "never")

        def poller():
            while not never.get():
                pass

        world.actor("poller", poller)

    settings = simharness.Settings(max_steps=60, shrink=0)
    assert simharness.explore(alone, "dpor", settings=settings).counterexample.failure.startswith("livelock: poller")
    assert "cut at max_steps=60 (repeating: get)" in simharness.explore(alone, "exhaustive", settings=settings).bounds


def test_memory_that_changes_without_a_step_ends_no_wait_falsely():
    def unseen(world):
        cell, box = world.shared(0, "cell"), polls.Box()

        def poller():
            while not (cell.get() or finished(box)):
                pass

        def finisher():
            world.step("before")
            box.looks = 1

        world.actor("poller", poller)
        world.actor("finisher", finisher)

    result = simharness.explore(unseen, settings=simharness.Settings(max_steps=100, max_executions=50))
    assert result.verdict is not Verdict.VIOLATED


def finished(box):
    return box.looks > 0


def test_the_timeline_of_a_livelock_says_what_an_actor_waits_for():
    result = simharness.explore(SCENARIOS["livelock"], settings=SETTINGS)
    shown = simharness.replay(SCENARIOS["livelock"], result.counterexample.token)
    assert shown.timeline == (HERE / "golden" / "livelock.txt").read_text().rstrip("\n")


@pytest.mark.confirms
def test_a_token_with_an_await_replays_in_a_fresh_process():
    result = simharness.explore(SCENARIOS["livelock"], settings=SETTINGS)
    assert "polls+poller" in result.counterexample.token
    assert "fresh process" in result.counterexample.confirmed


def test_a_write_between_two_looks_of_one_turn_ends_the_wait():
    def twice(world):
        cell = world.shared(0, "cell")

        def poller():
            while not (cell.get() == 1 or cell.get() == 2):
                pass

        world.actor("poller", poller)
        world.actor("setter", cell.set, 1)

    result = simharness.explore(twice, "dpor", settings=SETTINGS)
    assert result.counterexample is None
    assert "all" in result.bounds
    assert not result.deadlocks


def test_where_a_clock_is_read_every_instant_of_a_sleeping_loop_is_explored():
    @simharness.scenario(max_delay=8.0)
    def timed(world):
        cell = world.shared(0, "cell")

        def poller():
            while not cell.get():
                time.sleep(0.5)

        def setter():
            world.outcome(time.monotonic() - 1000)
            cell.set(1)

        world.actor("poller", poller)
        world.actor("setter", setter)

    outcomes = simharness.explore(timed, "dpor", settings=SETTINGS).outcomes
    assert outcomes == {number / 2 for number in range(16)}


def test_an_actor_that_waited_looks_when_it_would_have_looked_and_not_at_once():
    @simharness.scenario(max_delay=0.0)
    def timed(world):
        done, value = world.shared(0, "done"), world.shared(0, "value")

        def finisher():
            time.sleep(20.5)
            done.set(1)
            time.sleep(0.3)
            value.set(1)

        def poller():
            while True:
                if done.get():
                    break
                time.sleep(1.0)
            assert value.get() == 1

        world.actor("poller", poller)
        world.actor("finisher", finisher)

    result = simharness.explore(timed, "dpor", settings=SETTINGS)
    assert result.verdict is Verdict.VERIFIED
    assert "loops that only look" in result.bounds


def test_programs_that_do_not_poll_learn_nothing_about_polling():
    def plain(world):
        counter, lock = world.shared(0, "counter"), threading.Lock()

        def work():
            for _ in range(3):
                with lock:
                    counter.set(counter.get() + 1)

        world.actor("a", work)
        world.actor("b", work)

    result = simharness.explore(plain, "dpor", stop_on_first=False, settings=SETTINGS)
    assert result.executions == 20


def test_an_actor_that_handlers_interrupt_takes_every_turn_and_those_beside_it_wait():
    def handled(world):
        never = world.shared(0, "never")

        def poller():
            while not never.get():
                pass

        world.actor("poller", poller)
        world.handler(never.set, 1, on="poller")

    result = simharness.explore(handled, settings=simharness.Settings(max_steps=60, max_executions=100))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "loops that only look" not in result.bounds

    def beside(world):
        done = world.shared(0, "done")

        def poller():
            while not done.get():
                pass

        world.actor("poller", poller)
        world.actor("setter", done.set, 1)
        world.handler(world.step, "handled", on="setter")

    assert simharness.explore(beside, "dpor", settings=SETTINGS).bounds.startswith("all")


@pytest.mark.parametrize(("get", "install"), [(sys.gettrace, sys.settrace), (sys.getprofile, sys.setprofile)])
def test_no_turn_is_examined_while_a_debugger_or_a_coverage_tool_traces(get, install):
    def tool(frame, event, argument):
        pass

    before = get()
    install(tool)
    try:
        result = simharness.explore(SCENARIOS["livelock"], "dpor", settings=simharness.Settings(max_steps=60, max_executions=20))
        assert get() is tool
    finally:
        install(before)
    assert result.verdict is Verdict.INCONCLUSIVE


def test_a_debugger_that_begins_in_the_middle_of_an_actor_gets_all_that_follows():
    lines = []

    def tool(frame, event, argument):
        if frame.f_code is followed.__code__ and event == "line":
            lines.append(frame.f_lineno - frame.f_code.co_firstlineno)
        return tool

    def followed(cell):
        cell.get()
        return cell.get()

    def scenario(world):
        cell = world.shared(0, "cell")

        def poller():
            while not cell.get():
                pass
            before = sys.gettrace()
            sys.settrace(tool)
            sys._getframe().f_trace = tool
            lines.clear()
            followed(cell)
            sys.settrace(before)

        world.actor("poller", poller)
        world.actor("setter", cell.set, 1)

    assert simharness.explore(scenario, "dpor", settings=SETTINGS).counterexample is None
    assert lines == [1, 2]
