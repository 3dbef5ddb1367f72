"""One case on several processes: everything that a result says is what one process says, whatever answers when, twice or never."""

import os
import pickle
import random
import re
import subprocess
import sys
import threading

import pytest

import simharness
from simharness import Settings, Verdict
from simharness.engine.actors import SHIFT
from simharness.engine.facts import Fact
from simharness.engine.kernel import Kernel, current
from simharness.exploring.parallel import crew
from simharness.exploring.parallel.border import Border, Table, flat
from simharness.exploring.parallel.places import Places
from simharness.exploring.parallel.processes import Processes
from simharness.search.dpor import WakeupNode
from simharness.simulation.forks import possible
from tests.parallel_kit import Inline, explored, inline, of_program, of_row, same
from tests.programs import ROWS, Row, casw
from tests.random_drawing import program as drawn
from tests.random_programs import runtimes_in_place
from tests.test_random_faults import MODELS, scenario
from tests.test_random_programs import KINDS

WAYS = (
    {"strategy": "dpor", "stop_on_first": False},
    {"strategy": "dpor"},
    {"strategy": "dpor", "max_executions": 37},
    {"strategy": "auto"},
    {"strategy": "auto", "stop_on_first": False},
)
forks = pytest.mark.skipif(not possible(), reason="this platform has no forks")


@pytest.fixture(scope="module", autouse=True)
def threads_are_simulated():
    with runtimes_in_place():
        yield


def compare(monkeypatch, kind, first, count, most):
    before = Inline.answered
    for seed in range(first, first + count):
        bad = (0, 0, 97, 211, 13)[seed % 5]
        options = {"max_executions": most, **WAYS[seed % (len(WAYS) if most > 200 else 3)]}
        same(monkeypatch, of_program(drawn(seed, **KINDS[kind]), bad), seed, (0, 0.2)[seed // 4 % 2], **options)
    assert Inline.answered >= before + count


# In random order, with losses, answers that come twice, slices of a few executions and forced splits


@pytest.mark.parametrize("kind", KINDS)
def test_two_hundred_random_programs_are_explored_by_workers_as_by_one_process(kind, monkeypatch):
    compare(monkeypatch, kind, 0, 2 if kind == "sql" else 6, 50)
    compare(monkeypatch, kind, 100, 2 if kind == "sql" else 22, 20)


@pytest.mark.parametrize("seed", [199, 212])
def test_beside_daemons_a_branch_waits_for_what_the_branches_before_it_do(seed, monkeypatch):
    same(monkeypatch, of_program(drawn(seed, **KINDS["daemons"])), seed, strategy="dpor", max_executions=50)


def test_the_owner_goes_on_where_workers_have_come_to_after_a_failure(monkeypatch):
    same(monkeypatch, of_program(drawn(7, **KINDS["clocks"]), 97), 7, strategy="dpor", stop_on_first=False, max_executions=400)


def test_samples_are_drawn_among_executions_of_workers(monkeypatch):
    alone = same(monkeypatch, of_casw(count=4), 1)
    assert alone[1][-1] > 100


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_two_thousand_random_programs_are_explored_by_workers_as_by_one_process(kind, monkeypatch):
    compare(monkeypatch, kind, 30_000, 250, 250)


@pytest.mark.parametrize("faults", MODELS)
def test_random_programs_under_faults_are_explored_by_workers_as_by_one_process(faults, monkeypatch):
    same(monkeypatch, scenario(3, MODELS[faults]), 3, 0.1, faults=faults, max_executions=40, strategy="dpor")


@pytest.mark.long
@pytest.mark.parametrize("faults", MODELS)
def test_many_random_programs_under_faults_are_explored_by_workers_as_by_one_process(faults, monkeypatch):
    for seed in range(2_000, 2_012):
        same(
            monkeypatch,
            scenario(seed, MODELS[faults], seed % 3 == 0),
            seed,
            0.1,
            faults=faults,
            **{**WAYS[seed % 2], "max_executions": 250},
        )


@pytest.mark.parametrize("row", [row for row in ROWS if 120 < row.complete <= 150], ids=str)
def test_known_programs_are_explored_by_workers_as_by_one_process_with_samples(row, monkeypatch):
    same(monkeypatch, of_row(row), row.complete, 0.1, strategy="auto", stop_on_first=False)


@pytest.mark.long
@pytest.mark.parametrize("row", [row for row in ROWS if row.complete <= 3_000], ids=str)
def test_all_known_programs_are_explored_by_workers_as_by_one_process(row, monkeypatch):
    for seed in range(3):
        same(monkeypatch, of_row(row), seed, 0.1, strategy=("dpor", "auto")[seed % 2], stop_on_first=False)


SHIPPED = ("tutorial", "fault_tutorial", "contenders", "incident_fork", "compression_fork", "trio_races", "plain_objects")


@pytest.mark.long
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_cases_are_explored_by_workers_as_by_one_process(name, monkeypatch):
    cases = [(scenario, case) for scenario in simharness.load(f"scenarios/{name}.py") for case in scenario.cases()]
    for seed, (one, case) in enumerate(random.Random(7).sample(cases, min(len(cases), 12))):
        same(monkeypatch, one, seed, 0.1, parameters=case, max_executions=120, strategy=("dpor", "auto")[seed % 2])


# Real processes


def hurried(monkeypatch):
    """Have workers at once, and short tasks."""
    monkeypatch.setattr(crew, "ALONE", -1.0)
    monkeypatch.setattr(crew, "SLICE", 0.02)


def of_casw(bad=None, count=3):
    """A scenario that fails in some of its orderings."""

    def failing(world):
        Row("casw", casw, (count,), 0).scenario(world)
        cell = world.shared(0, "x")

        @world.at_end
        def never():
            assert cell.get() != bad

    return simharness.scenario(failing)


def of_adders(bad=None):
    """A scenario of 924 orderings; it fails in the one in which an actor has seen these numbers."""

    def adders(world):
        total = world.shared(0, "total")
        seen = {name: [] for name in "ab"}
        for name in "ab":
            world.actor(name, lambda name=name: [seen[name].append(total.add(1)) for _ in range(6)])

        @world.at_end
        def never():
            assert seen["a"] != bad

    return simharness.scenario(adders)


@forks
@pytest.mark.parametrize("strategy", ["dpor", "auto"])
def test_two_three_and_eight_workers_say_what_one_process_says(strategy, monkeypatch):
    hurried(monkeypatch)
    results = [explored(of_adders(), workers, strategy, stop_on_first=False) for workers in (1, 2, 3, 8)]
    assert results[0][0] == Verdict.VERIFIED
    assert results == results[:1] * 4


@forks
def test_the_counterexample_and_its_token_are_the_same_for_any_number_of_workers(monkeypatch):
    hurried(monkeypatch)
    for strategy, stop in (("dpor", True), ("dpor", False), ("auto", True)):
        results = [explored(of_adders([3, 4, 6, 7, 9, 11]), workers, strategy, stop_on_first=stop) for workers in (1, 2, 3, 8)]
        assert results[0][0] == Verdict.VIOLATED
        assert results[0][1][0] > 100
        assert results == results[:1] * 4


@forks
def test_nothing_is_lost_when_workers_are_killed_at_random_moments(monkeypatch):
    hurried(monkeypatch)
    alone = explored(of_casw(count=4), 1, "dpor")
    draw, killed, pieces = random.Random(5), [], Processes.pieces

    def after_a_death(self, seconds):
        if len(killed) < 10 and draw.random() < 0.5:
            killed.append(draw.choice(self.workers).process)
            os.kill(killed[-1], 9)
        yield from pieces(self, seconds)

    monkeypatch.setattr(Processes, "pieces", after_a_death)
    for _ in range(3):
        assert explored(of_casw(count=4), 2, "dpor") == alone
    assert len(killed) == 10


@forks
def test_where_every_worker_ends_the_owner_explores_alone(monkeypatch):
    hurried(monkeypatch)
    owner = os.getpid()

    def program(world):
        if os.getpid() != owner:
            os._exit(1)
        casw_of_two(world)

    assert explored(simharness.scenario(program), 2, "dpor")[:2] == explored(simharness.scenario(program), 1, "dpor")[:2]


def casw_of_two(world):
    Row("casw", casw, (2,), 0).scenario(world)


@forks
def test_what_a_worker_learns_makes_exploring_start_over_as_on_one_process(monkeypatch):
    hurried(monkeypatch)

    class Late(Fact, word="test-late"):
        pass

    try:

        def program(world):
            cell = world.shared(0, "x")
            for name in "abc":
                world.actor(name, lambda: [cell.add(1) for _ in range(2)])
            last = world.shared("", "last")
            world.actor("d", lambda: last.set(cell.get()))

            @world.at_end
            def learns():
                if last.get() == 2:
                    current().learned.learn(Late())

        alone, together = (explored(simharness.scenario(program), workers, "dpor") for workers in (1, 2))
        assert alone == together
    finally:
        Fact.known.pop("test-late")


@forks
def test_names_that_workers_meet_in_different_orders_mean_the_same(monkeypatch):
    hurried(monkeypatch)

    def program(world):
        cell = world.shared(0, "x")

        def work(me):
            for _ in range(2):
                seen = cell.add(1)
                world.shared(0, f"cell {me} {seen}").set(seen)

        for me in range(3):
            world.actor(f"a{me}", work, me)

    alone, *others = (explored(simharness.scenario(program), workers, "dpor", stop_on_first=False) for workers in (1, 2, 3))
    assert others == [alone, alone]


@forks
def test_outcomes_that_mean_something_else_in_another_process_are_collected_by_the_owner(monkeypatch):
    hurried(monkeypatch)

    def program(world):
        casw_of_two(world)
        world.at_end(lambda: world.outcome(world))

    assert explored(simharness.scenario(program), 2, "dpor")[:2] == explored(simharness.scenario(program), 1, "dpor")[:2]


@forks
def test_a_worker_that_sees_another_run_than_the_first_time_says_so(monkeypatch):
    hurried(monkeypatch)
    owner, runs = os.getpid(), []

    def program(world):
        runs.append(0)
        cell = world.shared(0, "x")
        for name in "abc":
            world.actor(name, lambda: [cell.add(1 + (os.getpid() != owner and len(runs) % 2)) for _ in range(2)])

    with pytest.raises(simharness.Nondeterminism, match="not deterministic"):
        simharness.explore(program, "dpor", settings=Settings(workers=2, confirm=False))


@forks
@pytest.mark.parametrize("options", [{"preemptions": 1}, {"strategy": "exhaustive"}, {"strategy": "pct", "max_executions": 20}])
def test_a_search_that_cannot_be_spread_says_that_it_stays_on_one_core(options, monkeypatch):
    hurried(monkeypatch)
    strategy = options.pop("strategy", "dpor")
    result = simharness.explore(casw_of_two, strategy, settings=Settings(workers=2, confirm=False, **options))
    assert "on one core: only auto and dpor without a bound use several" in result.bounds


def test_workers_must_be_a_number_of_at_least_one():
    with pytest.raises(simharness.Misuse, match="workers=0: it must be at least 1"):
        Settings(workers=0)


def test_a_case_of_less_than_a_second_starts_no_worker(monkeypatch):
    monkeypatch.setattr(Processes, "start", lambda self: pytest.fail("a worker was started"))
    assert explored(of_casw(), 2)[0] == Verdict.VERIFIED


@forks
def test_executions_of_workers_count_in_progress(monkeypatch):
    hurried(monkeypatch)
    seen = []

    class Seen(simharness.Progress):
        def advanced(self, executions, seconds, estimate):
            seen.append((executions, estimate))

    monkeypatch.setattr(simharness.exploring.reporter, "_monotonic", iter(range(10**9)).__next__)
    result = simharness.explore(of_casw(), "dpor", settings=Settings(workers=2, confirm=False), progress=Seen())
    assert max(executions for executions, _ in seen) <= result.executions
    assert len({executions for executions, _ in seen}) > 3
    assert any(estimate is not None and estimate.low <= estimate.high for _, estimate in seen)


TEST = """
import threading
import pytest

@pytest.mark.interleave(workers=2, max_seconds=None)
def test_some_orderings_are_skipped():
    values = []
    threads = [threading.Thread(target=values.append, args=(n,)) for n in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    if values[0] == 3:
        pytest.skip("not this one")
"""


@forks
@pytest.mark.alone
def test_a_marked_test_is_explored_by_workers_and_says_what_one_process_says(tmp_path):
    said = []
    (tmp_path / "conftest.py").write_text("from simharness.exploring.parallel import crew\ncrew.ALONE = -1.0\n", encoding="utf-8")
    for workers in (2, 1):
        (tmp_path / "test_it.py").write_text(TEST.replace("workers=2", f"workers={workers}"), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "test_it.py"]
        run = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert run.returncode == 0, run.stdout
        said.append(re.sub(r"\d+\.\d+ ?s", "some time", run.stdout))
    assert said[0] == said[1]


# The parts


def test_keys_masks_and_trees_of_another_process_are_moved_to_the_names_of_this_one():
    ours, theirs = Kernel(), Kernel()
    for name in ("a", "b", "c"):
        ours.names.bit(name)
    for name in ("c", "new", "a"):
        theirs.names.bit(name)
    theirs.movers.fault_key("crash", "p")
    border = Border(ours, Table.of(theirs))
    for name in theirs.names.all():
        assert border.mask(7 | theirs.names.bit(name)) == 7 | ours.names.bit(name)
        assert border.key(theirs.names.index(name) << SHIFT | 5) == ours.names.index(name) << SHIFT | 5
    assert ours.movers.faults[ours.names.index("crash of p")] == ("crash", "p")
    top = WakeupNode(theirs.names.index("c") << SHIFT, theirs.names.bit("a"), theirs.names.bit("new"))
    top.branches = [WakeupNode(theirs.names.index("a") << SHIFT, 1, 2), WakeupNode(theirs.names.index("new") << SHIFT, 0, 0)]
    moved = border.tree(flat([top, top]))
    assert [[branch.key for branch in node.branches] for node in moved] == [[ours.names.index(n) << SHIFT for n in ("a", "new")]] * 2
    assert (moved[1].key, moved[1].reads, moved[1].writes) == (ours.names.index("c") << SHIFT, ours.names.bit("a"), ours.names.bit("new"))
    for kernel in (ours, theirs):
        kernel.close()


def test_a_tree_as_deep_as_an_execution_is_long_can_be_sent():
    kernel = Kernel()
    top = node = WakeupNode(1 << SHIFT, 0, 0)
    for _ in range(5_000):
        node.branches.append(WakeupNode(1 << SHIFT, 0, 0))
        node = node.branches[0]
    sent = pickle.loads(pickle.dumps(flat([top])))
    assert flat(Border(kernel, Table.of(kernel)).tree(sent)) == sent
    kernel.close()


def test_places_are_taken_once_and_given_back():
    places = Places()
    assert places.take()
    assert not places.shared
    with places.opened(2):
        assert [places.take() for _ in range(3)] == [True, True, False]
        places.give(1)
        assert [places.take() for _ in range(2)] == [True, False]
    assert places.take()


def test_a_part_of_another_thread_is_no_hindrance():
    found = []
    thread = threading.Thread(target=lambda: found.append(explored(of_casw(), 2)[0]))
    thread.start()
    thread.join()
    assert found == [Verdict.VERIFIED]


def test_the_harness_loses_and_repeats_answers(monkeypatch):
    with inline(monkeypatch, 1, 0.5, 0.5):
        assert explored(of_casw(), 3, "dpor")[0] == Verdict.VERIFIED
