"""Proofs within bounds, of explorations that do not end: what is proved is true, and it is said what is not."""

from __future__ import annotations

import importlib.metadata
import threading
import time
from pathlib import Path

import pytest

import simharness
from simharness import Misuse, Settings, Verdict, World
from simharness.authoring.scenario import Scenario
from simharness.settings import Proof
from tests.random_drawing import program as drawn
from tests.random_programs import Machine, Program
from tests.test_random_programs import KINDS

QUICK = Settings(shrink=0, confirm=False)


def limited(executions: int, proof: str | None = None) -> Settings:
    return Settings(shrink=0, confirm=False, max_executions=executions, proof=proof)


def counts(world: World) -> None:
    """Four actors that each bump three counters, not atomically: very many orderings."""
    cells = [world.shared(0, name) for name in "xyz"]
    for name in "abcd":
        world.actor(name, lambda: [cell.set(cell.get() + 1) for cell in cells])

    @world.at_end
    def something_was_counted() -> None:
        assert all(cell.get() for cell in cells)


def stops_a_helper(world: World) -> None:
    """An idle helper, and a `stop` that waits for its end for a second: few orderings unless threads are late."""
    over, left = threading.Event(), world.shared(5, "left")

    def refreshes() -> None:
        while not over.wait(60):
            left.add(1)

    def main() -> None:
        helpers = [threading.Thread(target=refreshes, name=f"helper {number}") for number in range(2)]
        for helper in helpers:
            helper.start()
        left.add(-1)
        over.set()
        for helper in helpers:
            helper.join(timeout=1.0)

    world.actor("main", main)

    @world.at_end
    def something_is_left() -> None:
        assert left.get() > 0


def test_what_is_proved_within_bounds_is_said_with_what_is_not_and_what_to_try_next() -> None:
    result = simharness.explore(counts, settings=limited(200))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.proved == ("preemptions<=0",)
    assert result.proof_to_try == "preemptions<=0"
    assert result.executions == 200
    assert "; proved: no failure in schedules with at most 0 preemptions; not finished without that bound: 200 of about " in result.bounds
    assert "; next: proof='preemptions<=0' makes that enough; " in result.bounds


def test_a_proof_with_threads_together_late_by_less_than_the_smallest_time_out() -> None:
    whole = simharness.explore(stops_a_helper, "dpor", settings=QUICK)
    assert whole.verdict is Verdict.VERIFIED
    most = whole.executions - 1
    result = simharness.explore(stops_a_helper, settings=limited(most))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "lateness<1" in result.proved
    assert "proved: no failure with threads together late by less than 1 s" in result.bounds
    assert simharness.explore(stops_a_helper, settings=limited(most + 1)).verdict is Verdict.VERIFIED


def test_a_named_bound_is_enough_for_a_verdict_that_says_it_rests_on_it() -> None:
    whole = simharness.explore(stops_a_helper, "dpor", settings=QUICK)
    result = simharness.explore(stops_a_helper, settings=limited(whole.executions - 1, "lateness<1"))
    assert (result.verdict, result.exit_status, result.proved) == (Verdict.VERIFIED, 0, ("lateness<1",))
    assert result.executions < whole.executions
    assert "late by less than 1 s of virtual time" in result.bounds
    assert any("only with threads together late by less than 1 s" in remark for remark in result.remarks)
    within = simharness.explore(counts, settings=limited(1_000, "preemptions<=0"))
    assert (within.verdict, within.executions, within.sampled) == (Verdict.VERIFIED, 24, 0)
    assert "only schedules with at most 0 preemptions" in within.bounds


def test_a_named_bound_that_is_not_reached_gives_no_verdict() -> None:
    result = simharness.explore(counts, settings=limited(300, "preemptions<=3"))
    assert (result.verdict, result.proved, result.proof_to_try) == (Verdict.INCONCLUSIVE, (), "")
    assert "not proved in schedules with at most 3 preemptions: stopped at max_executions=300" in result.bounds


def test_where_the_whole_is_small_a_named_bound_changes_nothing() -> None:
    def small(world: World) -> None:
        cell = world.shared(0, "cell")
        for name in "ab":
            world.actor(name, lambda: cell.set(cell.get() + 1))
        world.at_end(lambda: world.outcome(cell.get()))

    plain, bounded = (simharness.explore(small, settings=Settings(confirm=False, proof=proof)) for proof in (None, "preemptions<=0"))
    assert (plain.verdict, plain.executions, plain.outcomes, plain.bounds) == (
        bounded.verdict,
        bounded.executions,
        bounded.outcomes,
        bounded.bounds,
    )
    assert bounded.outcomes == {1, 2}


def in_the_opposite_order(world: World) -> None:
    """Fails where six actors come in one order, of 720; without a preemption."""
    order = world.shared("", "order")

    def arrives(name: str) -> None:
        seen = order.get()
        assert (seen, name) != ("edcba", "z")
        order.set(seen + name)

    for name in "abcdez":
        world.actor(name, arrives, name)


def test_a_failure_within_a_bound_is_a_violation_that_replays() -> None:
    result = simharness.explore(in_the_opposite_order, settings=Settings(confirm=False, proof="preemptions<=0"))
    assert result.verdict is Verdict.VIOLATED
    assert result.proved == ()
    assert result.executions == 256
    assert result.counterexample is not None
    assert simharness.replay(in_the_opposite_order, result.counterexample.token).failure == result.counterexample.failure


def test_a_failure_within_a_bound_on_lateness_replays_without_the_bound() -> None:
    def scenario(world: World) -> None:
        order = world.shared("", "order")

        def arrives(name: str) -> None:
            order.set(order.get() + name)

        def starts(name: str) -> None:
            helper = threading.Thread(target=arrives, args=(name,))
            helper.start()
            helper.join(timeout=1.0)
            if not helper.is_alive():
                order.get()

        world.actor("one", starts, "ab")
        world.actor("other", starts, "c")
        world.actor("third", starts, "d")

        @world.at_end
        def not_in_the_opposite_order() -> None:
            assert order.get() != "dcab"

    result = simharness.explore(scenario, settings=Settings(confirm=False, proof="lateness=0", max_seconds=30))
    assert result.verdict is Verdict.VIOLATED
    assert result.counterexample is not None
    assert simharness.replay(scenario, result.counterexample.token).failure == result.counterexample.failure


def test_what_fails_beyond_a_bound_is_not_called_proved_without_it() -> None:
    def scenario(world: World) -> None:
        ready = threading.Event()

        def waits() -> None:
            assert ready.wait(timeout=2.0), "in time"

        def sets() -> None:
            time.sleep(1.0)
            ready.set()

        world.actor("waits", waits)
        world.actor("sets", sets)

    assert simharness.explore(scenario, settings=QUICK).verdict is Verdict.VIOLATED
    assert simharness.explore(scenario, settings=Settings(confirm=False, proof="lateness<1")).verdict is Verdict.VIOLATED


@pytest.mark.parametrize("bound", ["lateness=0", "lateness<1", "preemptions<=1"])
def test_a_proof_has_the_outcomes_of_an_exploration_within_the_bound(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simharness.exploring.proofs.A_LITTLE", 1)
    compared = 0
    for seed in range(200):
        program = drawn(seed, **KINDS["clocks"])

        def scenario(world: World, program: Program = program) -> None:
            machine = Machine(program, world)
            world.at_end(lambda: world.outcome(repr(sorted(machine.finished)) + repr([cell.get() for cell in machine.cells])))

        late = {"lateness=0": 0.0, "lateness<1": 1.0}.get(bound, program.max_delay)
        within = Settings(shrink=0, confirm=False, max_executions=300, preemptions=1 if bound == "preemptions<=1" else None)
        asked = Scenario(scenario, allow_deadlock=True, max_delay=min(late, program.max_delay))
        expected = simharness.explore(asked, "dpor", settings=within)
        whole = Scenario(scenario, allow_deadlock=True, max_delay=program.max_delay)
        result = simharness.explore(whole, settings=limited(300, bound))
        if expected.verdict is not Verdict.VERIFIED or not result.proved:
            assert result.verdict is not Verdict.VERIFIED or not result.proved
            continue
        assert (result.verdict, result.executions, result.outcomes) == (Verdict.VERIFIED, expected.executions, expected.outcomes), program
        compared += 1
        if compared == 8:
            return
    raise AssertionError(f"only {compared} programs")


def test_under_faults_schedules_without_preemptions_come_first() -> None:
    def scenario(world: World) -> None:
        total = world.shared(0, "total")
        for name in "abc":
            world.actor(name, lambda: [total.add(1) for _ in range(4)], process=name)

    result = simharness.explore(scenario, faults="crash=1", settings=limited(800))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.proved[:1] == ("preemptions<=0",)


def test_the_rest_of_the_time_goes_to_the_search_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**9))
    for module in ("rounds", "proofs", "reporter", "explore"):
        monkeypatch.setattr(f"simharness.exploring.{module}._monotonic", lambda: next(clock) / 1_000)
    result = simharness.explore(counts, settings=Settings(shrink=0, confirm=False, max_seconds=3))
    again = simharness.explore(counts, settings=Settings(shrink=0, confirm=False, max_seconds=2.2))
    assert result.proved[:1] == again.proved[:1] == ("preemptions<=0",)
    assert result.executions > again.executions > 0
    assert "stopped at max_seconds=3" in result.bounds


def test_where_a_bound_is_enough_the_search_of_the_whole_leaves_it_most_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**9))
    for module in ("rounds", "proofs", "reporter", "explore"):
        monkeypatch.setattr(f"simharness.exploring.{module}._monotonic", lambda: next(clock) / 100)
    result = simharness.explore(counts, settings=Settings(shrink=0, confirm=False, max_seconds=3, proof="preemptions<=0"))
    assert (result.verdict, result.proved) == (Verdict.VERIFIED, ("preemptions<=0",))


def test_an_exploration_that_continues_after_its_proofs_has_the_same_orderings(monkeypatch: pytest.MonkeyPatch) -> None:
    def scenario(world: World) -> None:
        total = world.shared(0, "total")
        for name in "ab":
            world.actor(name, lambda: [total.add(1) for _ in range(6)])

    plain = simharness.explore(scenario, "dpor", settings=QUICK)
    clock = iter(range(10**9))
    for module in ("rounds", "proofs", "reporter", "explore"):
        monkeypatch.setattr(f"simharness.exploring.{module}._monotonic", lambda: next(clock) / 1_000)
    monkeypatch.setattr("simharness.exploring.proofs.SHARE", 1.25)
    result = simharness.explore(scenario, settings=Settings(shrink=0, confirm=False, max_seconds=4))
    assert (result.verdict, result.executions, result.branching) == (plain.verdict, plain.executions, plain.branching)
    assert result.verdict is Verdict.VERIFIED


@pytest.mark.parametrize(
    "text", ["lateness<0", "lateness<=1", "preemptions<2", "preemptions<=-1", "delays<=1", "lateness", "", "lateness<x"]
)
def test_a_bound_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Misuse, match=r"such as lateness<0\.9"):
        Settings(proof=text)


@pytest.mark.parametrize("text", ["lateness=0", "lateness<0.9", "preemptions<=1", "preemptions<=0", "lateness<12"])
def test_a_bound_is_written_as_it_is_read(text: str) -> None:
    assert str(Proof.of(text)) == text


def test_a_bound_with_another_one_or_with_a_sampler_is_refused() -> None:
    with pytest.raises(Misuse, match="cannot be combined"):
        simharness.explore(counts, settings=Settings(proof="lateness=0", preemptions=1))
    with pytest.raises(Misuse, match="use auto or dpor"):
        simharness.explore(counts, "pos", settings=Settings(proof="lateness=0"))


LATE = """
import threading
import simharness

@simharness.scenario
def stops_a_helper(world):
    over, left = threading.Event(), world.shared(5, "left")

    def refreshes():
        while not over.wait(60):
            left.add(1)

    def main():
        helpers = [threading.Thread(target=refreshes, name=f"helper {number}") for number in range(4)]
        for helper in helpers:
            helper.start()
        left.add(-1)
        over.set()
        for helper in helpers:
            helper.join(timeout=1.0)

    world.actor("main", main)

    @world.at_end
    def something_is_left():
        assert left.get() > 0
"""


@pytest.mark.confirms
def test_a_verdict_that_rests_on_a_bound_is_confirmed_in_a_fresh_process(tmp_path: Path) -> None:
    file = tmp_path / "late.py"
    file.write_text(LATE)
    [scenario] = simharness.load(f"{file}::stops_a_helper")
    result = simharness.explore(scenario, settings=Settings(proof="lateness=0", max_executions=80))
    assert (result.verdict, result.proved) == (Verdict.VERIFIED, ("lateness=0",))


PROGRAM = """
import threading
import pytest

class Count:
    def __init__(self):
        self.x = self.y = self.z = 0

@pytest.mark.interleave(max_executions=400)
def test_counts():
    count = Count()
    def work():
        count.x += 1
        count.y += 1
        count.z += 1
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count.x and count.y and count.z
"""
pytest_plugins = ["pytester"]
INSTALLED = any(entry.value == "simharness.pytest_plugin" for entry in importlib.metadata.entry_points(group="pytest11"))
PLUGIN = ("-p", "no:cacheprovider") if INSTALLED else ("-p", "no:cacheprovider", "-p", "simharness.pytest_plugin")


def test_pytest_says_what_is_proved_in_its_line_its_failure_and_junit_with_a_command_that_makes_it_pass(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    file = pytester.makepyfile(test_it=PROGRAM)
    sentence = "proved: no failure in schedules with at most 0 preemptions"
    run = pytester.runpytest_inprocess(*PLUGIN, "--junitxml=out.xml", file)
    out = run.stdout.str()
    command = "pytest test_it.py::test_counts -o 'interleave=proof=preemptions<=0'"
    assert run.ret == 1
    assert out.count(sentence) >= 3
    assert out.count(command) >= 2
    assert sentence in (pytester.path / "out.xml").read_text()
    again = pytester.runpytest_inprocess(*PLUGIN, "test_it.py::test_counts", "-o", "interleave=proof=preemptions<=0")
    assert again.ret == 0
    again.stdout.fnmatch_lines(["verified *24 orderings*", "*only in schedules with at most 0 preemptions*"])


def test_the_command_line_prints_a_command_that_makes_what_is_proved_enough(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from simharness.cli.main import app

    file = tmp_path / "many.py"
    file.write_text(
        "import simharness\n\n@simharness.scenario(size=[3])\ndef many(world, size):\n"
        "    cells = [world.shared(0, str(n)) for n in range(size)]\n"
        "    for name in 'abcd':\n        world.actor(name, lambda: [cell.set(cell.get() + 1) for cell in cells])\n"
        "    world.at_end(lambda: world.outcome(cells[0].get()))\n"
    )
    done = CliRunner().invoke(app, ["explore", f"{file}::many", "--max-executions", "150"])
    assert done.exit_code == 3
    assert f"simharness explore {file}::many --parameter size=3 --proof 'preemptions<=0'" in done.output
    again = CliRunner().invoke(
        app, ["explore", f"{file}::many", "--parameter", "size=3", "--proof", "preemptions<=0", "--max-executions", "150"]
    )
    assert again.exit_code == 0, again.output
    crashing = CliRunner().invoke(app, ["explore", f"{file}::many", "--max-executions", "150", "--faults", "crash=1"])
    assert f"simharness explore {file}::many --parameter size=3 --faults crash=1 --proof 'preemptions<=0'" in crashing.output
    assert "only in schedules with at most 0 preemptions" in " ".join(again.output.split())
