"""Hypothesis draws schedules and parameters, shrinks both, remembers what failed; explorations inside its tests; rules as actors."""

import itertools
import subprocess
import sys
import threading
import time
from typing import ClassVar

import hypothesis
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from hypothesis.database import InMemoryExampleDatabase
from hypothesis.errors import NoSuchExample
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, precondition, rule

import simharness
import simharness.search.named
from simharness import Misuse, Nondeterminism, Settings, TokenError, Verdict
from simharness.authoring.loading import load
from simharness.hypothesis import Schedule, execute, rules_as_actors, schedules
from simharness.search import named
from simharness.verdicts.results import FRESH

FEW = Settings(max_executions=60)


@pytest.fixture(autouse=True, scope="module")
def profile():
    hypothesis.settings.register_profile("quick", database=InMemoryExampleDatabase(), deadline=None, max_examples=60)
    hypothesis.settings.load_profile("quick")
    yield
    hypothesis.settings.load_profile("default")


@simharness.scenario(rounds=st.integers(1, 20), style=["plain", "fancy"])
def tallies(world, rounds, style):
    """Loses updates, but says so only where there are three rounds or more."""
    cell = world.shared(0, "cell")

    def bump():
        for _ in range(rounds):
            cell.set(cell.get() + 1)

    world.actor("a", bump)
    world.actor("b", bump)

    @world.at_end
    def all_counted():
        assert rounds < 3 or cell.get() == 2 * rounds


def lost_update(world, by=1):
    cell = world.shared(0, "cell")

    def bump():
        cell.set(cell.get() + by)

    world.actor("a", bump)
    world.actor("b", bump)

    @world.at_end
    def both_counted():
        assert cell.get() == 2 * by


def safe_update(world, by=1):
    cell = world.shared(0, "cell")
    world.actor("a", cell.add, by)
    world.actor("b", cell.add, by)

    @world.at_end
    def both_counted():
        assert cell.get() == 2 * by
        world.outcome(cell.get())


# The strategy


def test_schedule_and_parameters_are_drawn_and_shrunk_together():
    result = simharness.explore(tallies, "hypothesis")
    assert result.verdict is Verdict.VIOLATED
    assert result.parameters == {"rounds": 3, "style": "plain"}
    found = result.counterexample
    assert found.trace.parameters == result.parameters
    movers = [step.actor for step in found.steps]
    assert sum(one != two for one, two in itertools.pairwise(movers)) == 2
    again = simharness.replay(tallies, found.token)
    assert (again.failure, again.trace_hash) == (found.failure, found.trace_hash)


def test_what_failed_once_is_what_the_next_exploration_begins_with():
    def late(world, number):
        cell = world.shared(0, "cell")
        world.actor("a", cell.add, number)
        world.at_end(lambda: _at_most(cell.get(), 500))

    given = {"number": st.integers(0, 1000)}
    first = simharness.explore(late, "hypothesis", given)
    second = simharness.explore(late, "hypothesis", given)
    assert first.executions > second.executions == 1
    assert first.parameters == second.parameters == {"number": 501}


def _at_most(value, limit):
    assert value <= limit


def test_one_seed_draws_the_same_executions_where_the_database_holds_nothing():
    def outcomes(seed):
        def scenario(world):
            seen = []
            for name in "abc":
                world.actor(name, lambda name=name: (world.step(name), seen.append(name), world.step(name), seen.append(name)))
            world.at_end(lambda: world.outcome("".join(seen)))

        return simharness.explore(scenario, "hypothesis", settings=Settings(max_executions=20, seed=seed)).outcomes

    assert outcomes(1) == outcomes(1) != outcomes(2)


def test_nothing_found_proves_nothing_and_the_budget_is_kept():
    result = simharness.explore(safe_update, "hypothesis", {"by": st.integers()}, settings=FEW)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.executions == 60
    assert "stopped at max_executions=60" in result.bounds
    assert "gives no probability" in result.bounds
    assert result.parameters == {"by": "integers()"}
    small = simharness.explore(safe_update, "hypothesis")
    assert small.verdict is Verdict.INCONCLUSIVE
    assert "Hypothesis drew nothing new" in small.bounds
    assert small.outcomes == {2}


def test_without_stopping_at_the_first_failure_all_examples_are_run_and_the_first_one_is_reported():
    result = simharness.explore(lost_update, "hypothesis", {"by": st.integers(1, 9)}, stop_on_first=False, settings=FEW)
    assert result.verdict is Verdict.VIOLATED
    assert 40 < result.executions <= 60
    assert simharness.replay(lost_update, result.counterexample.token).failure == result.counterexample.failure


def test_data_choices_clock_and_assumptions_are_drawn_too():
    def scenario(world):
        def work():
            number = world.choose(range(8))
            world.assume(number != 0)
            time.sleep(number)
            world.outcome((number, world.clock.elapsed_ns() // 10**9))

        world.actor("a", work)
        world.actor("b", world.step, "nothing")

    result = simharness.explore(scenario, "hypothesis", settings=FEW)
    assert result.outcomes == {(number, number) for number in range(1, 8)}
    assert result.blocked


def test_a_deadlock_found_and_shrunk_names_who_waits_for_whom():
    def scenario(world, locks):
        held = [threading.Lock() for _ in range(locks)]

        def work(order):
            for lock in order:
                lock.acquire()
            for lock in order:
                lock.release()

        world.actor("up", work, held)
        world.actor("down", work, held[::-1])

    result = simharness.explore(scenario, "hypothesis", {"locks": st.integers(0, 5)})
    assert result.parameters == {"locks": 2}
    assert result.counterexample.failure.startswith("deadlock: ")


def test_exploring_starts_over_when_it_learns_what_checks_read():
    def torn(world):
        left, right = world.shared(0, "left"), world.shared(0, "right")
        world.actor("a", lambda: (left.set(1), right.set(1)))
        world.actor("b", lambda: (left.get(), right.get()))

        @world.always
        def never_far_apart():
            assert left.get() >= right.get()
            world.outcome((left.get(), right.get()))

    result = simharness.explore(torn, "hypothesis", settings=FEW)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.executions > 5
    assert result.outcomes == {(0, 0), (1, 0), (1, 1)}


def test_what_a_callback_raises_comes_out():
    class Broken(simharness.Progress):
        def advanced(self, executions, seconds, estimate):
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        simharness.explore(lost_update, "hypothesis", progress=Broken())


def test_a_scenario_that_does_not_repeat_itself_is_an_error_of_its_own():
    runs = []

    def scenario(world, number):
        runs.append(1)
        for name in "ab"[: 1 + len(runs) % 2]:
            world.actor(name, world.step, str(number))

    with pytest.raises(Nondeterminism):
        simharness.explore(scenario, "hypothesis", {"number": st.integers()})


def test_wrong_uses_say_what_to_do(monkeypatch):
    with pytest.raises(Misuse, match="rounds is drawn by Hypothesis: use strategy='hypothesis', or give it a value"):
        simharness.explore(tallies)
    with pytest.raises(Misuse, match=r"Hypothesis: .*min_value"):
        simharness.explore(lost_update, "hypothesis", {"by": st.integers(2, 1)})
    with pytest.raises(Misuse, match="cannot be called twice"):
        simharness.explore(_twice, "hypothesis")
    monkeypatch.setattr(named.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Misuse, match="pip install hypothesis"):
        simharness.explore(lost_update, "hypothesis")


def _twice(world):
    raise Misuse("cannot be called twice")


def test_hypothesis_is_imported_only_when_it_is_used():
    code = "import simharness, sys; simharness.explore(lambda world: None, settings=simharness.Settings(confirm=False))"
    done = subprocess.run([sys.executable, "-c", f"{code}; print('hypothesis' in sys.modules)"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# Tokens of drawn values


@pytest.mark.parametrize("value", [3, "3", -1.5, "x y", [1, ("a", None)], {"k": {1}}, "", "None", True, b"\x00"])
def test_a_token_says_what_a_drawn_value_was(value):
    def scenario(world, value):
        world.actor("a", lambda: _never(value))

    given = {"value": st.just(value)}
    token = simharness.explore(scenario, "hypothesis", given, settings=Settings(confirm=False)).counterexample.token
    assert repr(value) in simharness.replay(scenario, token).failure
    with pytest.raises(TokenError, match="case"):
        simharness.replay(scenario, token, {"value": "another"})


def _never(value):
    raise RuntimeError(repr(value))


@pytest.mark.confirms
def test_a_counterexample_with_drawn_parameters_is_confirmed_in_a_fresh_process(tmp_path):
    path = tmp_path / "drawn.py"
    path.write_text(
        "import simharness\nfrom hypothesis import strategies as st\n\n@simharness.scenario(numbers=st.lists(st.integers()))\n"
        "def none_large(world, numbers):\n    world.actor('a', world.step, 'look')\n\n    @world.at_end\n    def all_small():\n"
        "        assert not any(number > 9 for number in numbers)\n"
    )
    result = simharness.explore(load(f"{path}::none_large")[0], "hypothesis")
    assert result.parameters == {"numbers": [10]}
    assert result.counterexample.confirmed == FRESH


# Properties of one's own


def test_a_property_that_draws_schedules_fails_with_the_timeline_and_its_locked_twin_passes():
    @given(schedules(), st.integers(1, 9))
    def racy(schedule, by):
        execute(lost_update, schedule, {"by": by})

    with pytest.raises(AssertionError) as caught:
        racy()
    notes = "\n".join(caught.value.__notes__)
    assert "by=1" in notes
    assert "replay: simharness.replay(lost_update, 'lost_update:by=1:" in notes
    assert "set cell: 1 → 1" in notes

    @given(schedules(), st.integers(1, 9))
    def safe(schedule, by):
        assert execute(safe_update, schedule, {"by": by}) == {2 * by}

    safe()


def test_what_hypothesis_does_in_the_middle_of_an_execution_is_no_part_of_it():
    lock, began = threading.Lock(), time.perf_counter()

    def below(limit):
        with lock:
            assert time.perf_counter() - began < 1000
            return limit - 1

    def scenario(world):
        def work():
            for _ in range(3):
                with lock:
                    world.outcome(world.clock.elapsed_ns())

        world.actor("a", work)
        world.actor("b", work)

    assert execute(scenario, Schedule(below)) == {0}
    with pytest.raises(KeyboardInterrupt):
        execute(scenario, Schedule(_interrupted))


def _interrupted(limit):
    raise KeyboardInterrupt


def test_every_ordering_can_be_explored_for_each_example():
    seen = {}

    @given(st.integers(1, 3))
    def every_ordering(steps):
        def scenario(world):
            cell = world.shared(0, "cell")
            for name in "ab":
                world.actor(name, lambda: [cell.add(1) for _ in range(steps)])

        result = simharness.explore(scenario)
        assert result.verdict is Verdict.VERIFIED
        seen[steps] = result.executions

    every_ordering()
    assert seen == {1: 2, 2: 6, 3: 20}


@pytest.mark.long
def test_the_body_of_a_hypothesis_test_can_be_explored_under_each_of_its_examples():
    @given(st.integers(1, 9))
    def body(by):
        count, lock = [0], threading.Lock()

        def bump():
            with lock:
                value = count[0]
            with lock:
                count[0] = value + by

        threads = [threading.Thread(target=bump) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert count[0] == 2 * by

    inner, tried = body.hypothesis.inner_test, []

    def explored(**values):
        tried.append(values)
        result = simharness.explore(lambda: inner(**values))
        assert result.verdict is Verdict.VERIFIED, result.counterexample.timeline

    body.hypothesis.inner_test = explored
    with pytest.raises(AssertionError, match="an assertion fails: assert 1 == "):
        body()
    assert tried[-1] == {"by": 1}
    with pytest.raises(Misuse, match="body is a Hypothesis test"):
        simharness.explore(body)


# State machines


class RacyCounter(RuleBasedStateMachine):
    """Adds in two critical sections."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()
        self.value = self.wanted = 0

    @rule(by=st.integers(1, 9))
    def add(self, by):
        with self.lock:
            value = self.value
        with self.lock:
            self.value = value + by
            self.wanted += by

    @rule()
    def read(self):
        with self.lock:
            assert self.value >= 0

    @precondition(lambda self: self.wanted > 0)
    @rule()
    def reset(self):
        with self.lock:
            self.value = self.wanted = 0

    @invariant()
    def nothing_is_lost(self):
        assert self.value == self.wanted


class LockedCounter(RacyCounter):
    @rule(by=st.integers(1, 9))
    def add(self, by):
        with self.lock:
            self.value += by
            self.wanted += by


ONE_EACH = {"a": [("add", {"by": 1})], "b": [("add", {"by": 1})]}


def test_rules_as_actors_find_a_race_and_shrink_it_to_the_fewest_rules():
    machine = rules_as_actors(RacyCounter, actors=3, rules=4)
    result = simharness.explore(machine, "hypothesis", settings=Settings(max_executions=2000))
    assert result.verdict is Verdict.VIOLATED
    programs = result.parameters["programs"]
    assert sorted(map(len, programs.values())) == [0, 1, 1]
    assert {"add"} < {name for calls in programs.values() for name, _ in calls} | {"reset"}
    assert "nothing_is_lost does not hold" in result.counterexample.failure
    assert simharness.replay(machine, result.counterexample.token).failure == result.counterexample.failure


def test_the_locked_twin_of_a_state_machine_passes_under_hypothesis_and_under_every_ordering():
    machine = rules_as_actors(LockedCounter)
    assert simharness.explore(machine, "hypothesis", settings=FEW).counterexample is None
    assert simharness.explore(machine, parameters={"programs": ONE_EACH}).verdict is Verdict.VERIFIED
    racy = simharness.explore(rules_as_actors(RacyCounter), parameters={"programs": ONE_EACH})
    assert racy.verdict is Verdict.VIOLATED


class Accounts(RuleBasedStateMachine):
    """Uses bundles, several results, values that are used up, and rules that come first."""

    accounts = Bundle("accounts")
    closed = Bundle("closed")
    log: ClassVar = []

    @initialize(target=accounts, names=st.just(("x", "y")))
    def open_two(self, names):
        return multiple(*names)

    @rule(target=accounts, source=accounts)
    def copy(self, source):
        self.log.append(f"copy {source}")
        return source * 2

    @rule(target=closed, account=consumes(accounts))
    def close(self, account):
        self.log.append(f"close {account}")
        return account

    @rule(account=closed)
    def archive(self, account):
        self.log.append(f"archive {account}")

    def teardown(self):
        self.log.append("teardown")


def test_bundles_hold_what_rules_returned_and_rules_that_lack_a_value_are_passed_over():
    machine = rules_as_actors(Accounts, actors=["only"])

    def run(*calls):
        Accounts.log.clear()
        programs = {"start": [("open_two", {"names": ("x", "y")})], "only": calls}
        result = simharness.explore(machine, parameters={"programs": programs}, settings=Settings(shrink=0))
        assert result.counterexample is None
        return Accounts.log[: len(Accounts.log) // 2]

    assert run(("copy", {"source": 0}), ("close", {"account": 0}), ("archive", {"account": 5})) == [
        "copy y",
        "close yy",
        "archive yy",
        "teardown",
    ]
    assert run(("archive", {"account": 0}), ("close", {"account": 1}), ("copy", {"source": 3})) == ["close x", "copy y", "teardown"]
    assert run(*[("close", {"account": 0})] * 3) == ["close y", "close x", "teardown"]
    with pytest.raises(Misuse, match="has no rule 'open'"):
        run(("open", {}))
    with pytest.raises(Misuse, match="close takes account"):
        run(("close", {"accounts": 1}))
    with pytest.raises(Misuse, match="no actor 'other'"):
        simharness.explore(machine, parameters={"programs": {"other": []}})
    assert simharness.explore(machine, "hypothesis", settings=FEW).verdict is Verdict.INCONCLUSIVE


def test_machines_that_cannot_be_actors_are_refused():
    class Empty(RuleBasedStateMachine):
        pass

    class Mapped(RuleBasedStateMachine):
        names = Bundle("names")

        @rule(name=names.map(str))
        def use(self, name):
            pass

    with pytest.raises(Misuse, match="Empty has no rules"):
        rules_as_actors(Empty)
    with pytest.raises(Misuse):
        simharness.explore(rules_as_actors(Mapped), "hypothesis", settings=FEW)
    with pytest.raises(Misuse, match="actors=0"):
        rules_as_actors(RacyCounter, actors=0)
    with pytest.raises(Misuse, match="'start'"):
        rules_as_actors(RacyCounter, actors=["start"])


def test_an_exploration_in_a_hypothesis_test_leaves_its_randomness_alone():
    def drawn():
        numbers = []

        @hypothesis.seed(5)
        @hypothesis.settings(max_examples=10, database=None, suppress_health_check=list(HealthCheck))
        @given(st.integers(), st.randoms(use_true_random=True))
        def test(number, random):
            numbers.append((number, random.random()))
            if explore:
                simharness.explore(lost_update, settings=Settings(shrink=0, confirm=False))

        test()
        return numbers

    explore = False
    plain = drawn()
    explore = True
    assert drawn() == plain


def test_finding_an_example_works_with_schedules():
    def torn(schedule):
        return execute(_two_halves, schedule) == {("b", "a")}

    hypothesis.find(schedules(), torn, settings=hypothesis.settings(database=None))
    with pytest.raises(NoSuchExample):
        hypothesis.find(schedules(), lambda schedule: not execute(_two_halves, schedule), settings=hypothesis.settings(database=None))


def _two_halves(world):
    seen = []
    for name in "ab":
        world.actor(name, lambda name=name: (world.step("go"), seen.append(name)))
    world.at_end(lambda: world.outcome(tuple(seen)))
