"""A counterexample in hand is never lost: whatever goes wrong afterwards makes the report poorer and never takes the verdict back.

And what the harness does besides running the program, naming things above all, runs none of the user's code.
"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import simharness
import simharness.exploring.explore as exploring
import simharness.verdicts.counterexample as reporting
from simharness import Nondeterminism, Settings, Verdict
from simharness.authoring.loading import load
from simharness.errors import HarnessBug, Misuse
from simharness.exploring.rounds import Rounds
from simharness.simulation.simulation import Simulation
from tests.runtimes.exploring import actors


def lost(world):
    cell = world.shared(0, "counter")

    def bump():
        cell.set(cell.get() + 1)

    world.actor("a", bump)
    world.actor("b", bump)

    @world.at_end
    def both_counted():
        assert cell.get() == 2


def written(folder, source, name="scenario"):
    file = folder / f"{name}.py"
    file.write_text(source, encoding="utf-8")
    return load(f"{file}::{name}")[0]


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


ERRORS = [Misuse("it does not fit"), Nondeterminism("another run"), HarnessBug("a slip"), ZeroDivisionError("our own")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    ("owner", "name", "words"),
    [
        (reporting.Shrinker, "run", "not shortened: "),
        (reporting, "explain", "not explained: "),
        (Simulation, "record", "not recorded: "),
    ],
)
def test_an_error_after_a_counterexample_was_found_makes_the_report_poorer(monkeypatch, owner, name, words, error):
    monkeypatch.setattr(owner, name, raising(error))
    result = simharness.explore(lost)
    assert result.verdict is Verdict.VIOLATED
    found = result.counterexample
    assert found.failure.startswith("both_counted does not hold")
    assert words in found.shortness
    assert str(error) in found.shortness
    assert found.timeline, "it can be shown"
    monkeypatch.undo()
    assert simharness.replay(lost, found.token).failure == found.failure


def test_a_shorter_schedule_that_does_not_fail_again_leaves_the_one_in_hand(monkeypatch):
    witness, calls = reporting.witness, []

    def once(simulation, keys):
        calls.append(keys)
        if len(calls) > 1:
            raise Nondeterminism("gone")
        return witness(simulation, keys)

    monkeypatch.setattr(reporting, "witness", once)
    monkeypatch.setattr(reporting, "_explained", lambda simulation, failing: ([*failing.keys, 0], "short", None))
    result = simharness.explore(lost)
    assert (result.verdict, result.counterexample.shortness) == (Verdict.VIOLATED, "not shortened: gone")


@pytest.fixture
def started_over(monkeypatch):
    """Have exploring start over once a counterexample is in hand, as if explaining it had taught something; return when it has."""
    real, over = reporting.counterexample, []

    def learns(simulation, failing, keep):
        found = real(simulation, failing, keep)
        if over:
            return found
        over.append(True)
        simulation.kernel.learned.start_over()
        return None

    monkeypatch.setattr(exploring, "counterexample", learns)
    monkeypatch.setattr(exploring.Explorer, "_still_failing", lambda explorer, rounds: None)
    return over


def test_where_what_is_in_hand_still_fails_with_what_explaining_it_has_taught_nothing_is_explored_anew(monkeypatch, started_over):
    monkeypatch.undo()
    real, run, calls = reporting.counterexample, Rounds.run, []

    def learns(simulation, failing, keep):
        found = real(simulation, failing, keep)
        calls.append("explained")
        if len(calls) == 2:
            simulation.kernel.learned.start_over()
            return None
        return found

    monkeypatch.setattr(exploring, "counterexample", learns)
    monkeypatch.setattr(Rounds, "run", lambda rounds: calls.append("explored") or run(rounds))
    result = simharness.explore(lost)
    assert calls == ["explored", "explained", "explained"]
    assert result.verdict is Verdict.VIOLATED
    assert simharness.replay(lost, result.counterexample.token).failure == result.counterexample.failure


def test_when_exploring_that_starts_over_reaches_a_limit_the_counterexample_in_hand_is_reported(monkeypatch, started_over):
    limit = Rounds.limit_reached
    monkeypatch.setattr(
        Rounds, "limit_reached", lambda rounds: bool(setattr(rounds, "gave_up", "out of time") or True) if started_over else limit(rounds)
    )
    result = simharness.explore(lost)
    assert started_over
    assert (result.verdict, result.exit_status) == (Verdict.VIOLATED, 1)
    assert result.counterexample.failure.startswith("both_counted does not hold")
    assert "not shortened: exploring again, with what this taught, did not find it" in result.counterexample.shortness
    assert result.bounds.startswith("stopped at the first violation; ")


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_when_exploring_that_starts_over_meets_an_error_the_counterexample_in_hand_is_reported(monkeypatch, started_over, error):
    run = Rounds.run
    monkeypatch.setattr(Rounds, "run", lambda rounds: raising(error)() if started_over else run(rounds))
    result = simharness.explore(lost)
    assert result.verdict is Verdict.VIOLATED
    assert str(error) in result.counterexample.shortness


def test_what_is_in_hand_and_does_not_fail_any_more_is_no_counterexample(monkeypatch, started_over):
    run = Rounds.run
    monkeypatch.setattr(Rounds, "run", lambda rounds: raising(Misuse("another thing"))() if started_over else run(rounds))
    monkeypatch.setattr(exploring, "from_hand", lambda *_: None)
    with pytest.raises(Misuse, match="another thing"):
        simharness.explore(lost)


def test_an_error_before_there_is_a_counterexample_is_an_error(monkeypatch):
    monkeypatch.setattr(Rounds, "run", raising(Misuse("too early")))
    with pytest.raises(Misuse, match="too early"):
        simharness.explore(lost)


LEARNS = """
import simharness

class Box:
    n = 0

@simharness.scenario(expect="violated")
def scenario(world):
    box = Box()
    held = world.shared(0, "held")
    skipped = world.shared(0, "skipped")

    def holder():
        box.n = 1
        held.set(1)
        box.n = 2
        held.set(0)

    def late():
        if held.get():
            box.n += 10
            skipped.set(1)

    world.actor("holder", holder)
    world.actor("late", late)

    @world.at_end
    def the_late_one_is_turned_away():
        assert skipped.get()
"""


@pytest.mark.parametrize("strategy", ["dpor", "exhaustive", "random"])
@pytest.mark.parametrize(("made", "shared"), [("    n = 0", "box.n"), ("    def __init__(self): self.items = [0]", "box.items[0]")])
@pytest.mark.confirms
def test_what_explaining_a_counterexample_teaches_is_used(tmp_path, strategy, made, shared):
    source = LEARNS.replace("    n = 0", made).replace("box.n", shared)
    result = simharness.explore(written(tmp_path, source), strategy, settings=Settings(max_executions=200))
    assert result.verdict is Verdict.VIOLATED
    assert "memory" in result.counterexample.token, "the point that was learned is one of the counterexample's"
    assert "write " in result.counterexample.timeline
    assert result.counterexample.confirmed == "replayed in a fresh process with another hash seed"


def test_an_error_of_another_order_of_trios_tasks_leaves_the_counterexample(monkeypatch):
    trio = pytest.importorskip("trio")

    async def bump(counter):
        seen = counter[0]
        await trio.lowlevel.checkpoint()
        counter[0] = seen + 1

    async def both():
        counter = [0]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bump, counter)
            nursery.start_soon(bump, counter)
        assert counter[0] == 2

    real = exploring.Explorer.run

    def run(explorer):
        if explorer.settings.trio_order == "batches":
            raise Misuse("no batches here")
        return real(explorer)

    monkeypatch.setattr(exploring.Explorer, "run", run)
    result = simharness.explore(both)
    assert result.verdict is Verdict.VIOLATED
    assert "could not be tried: no batches here" in result.counterexample.shortness


# Nobody's code is run to name things

NOSY = """
import simharness

class Nosy:
    calls = []
    def __init__(self):
        self.__dict__["n"] = 0
    @property
    def __class__(self):
        Nosy.calls.append("__class__")
        return type(self)

class Reading:
    calls = []
    def __init__(self):
        object.__setattr__(self, "n", 0)
    def __getattribute__(self, name):
        if name.startswith("__"):
            Reading.calls.append(name)
        return object.__getattribute__(self, name)

@simharness.scenario
def scenario(world):
    things = [Nosy(), Reading(), (Nosy(), [Reading()])]
    box = {{"things": things}}
    def put():
        box["last"] = things[{which}]
    world.actor("a", put)
    world.actor("b", put)
    @world.at_end
    def nobody_was_asked():
        calls, Nosy.calls[:], Reading.calls[:] = [*Nosy.calls, *Reading.calls], [], []
        assert not calls, calls
"""


@pytest.mark.parametrize("which", [0, 1, 2])
def test_an_object_that_says_what_it_is_by_code_of_its_own_is_not_asked(tmp_path, which):
    result = simharness.explore(written(tmp_path, NOSY.format(which=which)))
    assert result.verdict is Verdict.VERIFIED, result.counterexample
    assert result.executions == 2


SPEC = """
import simharness

class Spec:
    def __init__(self):
        self.spec = None
        self.n = 0
    @property
    def __class__(self):
        return int if self.spec is None else self.spec

@simharness.scenario(locked=[False, True], expect={False: "violated: both_counted"})
def scenario(world, locked):
    import threading
    thing, lock = Spec(), threading.Lock()
    def bump():
        if locked:
            with lock:
                thing.n += 1
        else:
            thing.n += 1
    world.actor("a", bump)
    world.actor("b", bump)
    @world.at_end
    def both_counted():
        assert thing.n == 2
"""


def test_an_update_of_an_object_whose_class_is_a_property_is_seen_to_be_lost(tmp_path):
    results = simharness.explore_all(written(tmp_path, SPEC))
    assert [(str(result.verdict), result.as_expected) for result in results] == [("violated", True), ("verified", True)]


LOCAL = """
import threading
import simharness

class Local(threading.local):
    def __init__(self, start=0, *, name="x"):
        super().__init__()
        self.n, self.name = start, name

before = Local(3, name="y")

@simharness.scenario
def scenario(world):
    inside = Local()
    def work():
        inside.n = 1
        inside.n += 1
        before.n += 1
        assert (inside.n, inside.name, before.n, before.name) == (2, "x", 4, "y")
    world.actor("a", work)
    world.actor("b", work)
"""


def test_a_subclass_of_a_thread_local_with_an_init_is_private_made_inside_and_before(tmp_path):
    result = simharness.explore(written(tmp_path, LOCAL))
    assert (result.verdict, result.executions) == (Verdict.VERIFIED, 1), result.counterexample or result.bounds


def test_what_thread_locals_share_is_shared(tmp_path):
    source = LOCAL.replace("self.n, self.name = start, name", "self.n, self.name, self.box = start, name, box").replace(
        "before = ", "box = [0]\nbefore = "
    )
    asserted = 'assert (inside.n, inside.name, before.n, before.name) == (2, "x", 4, "y")'
    source = source.replace(asserted, "inside.box[0] = inside.box[0] + 1")
    source += "    @world.at_end\n    def counted():\n        total, box[0] = box[0], 0\n        assert total == 2\n"
    assert simharness.explore(written(tmp_path, source)).verdict is Verdict.VIOLATED


# What failed, in words


def test_a_failing_assertion_of_an_actor_says_where_it_failed_and_not_that_the_actor_does_not_hold():
    def scenario(world):
        def writer():
            world.step("writes")
            assert False, "not two"  # noqa: B011, PT015  # as people write it

        actors(world, writer)

    failure = simharness.explore(scenario).counterexample.failure
    assert failure.startswith("an assertion fails in writer: not two at ")


def test_a_failing_assertion_of_a_thread_and_of_the_root():
    def root(where):
        def work():
            assert where != "thread", "not two"

        thread = threading.Thread(target=work, name="thread-a")
        thread.start()
        thread.join()
        assert where != "root", "not three"

    failures = [simharness.explore(lambda where=where: root(where)).counterexample.failure for where in ("thread", "root")]
    here = Path(__file__).name
    assert failures[0].startswith("an assertion fails in thread-a: not two at ")
    assert failures[1].startswith("an assertion fails: not three at ")
    assert all(here in failure for failure in failures)


CLASS_WIDE = """
import threading
import simharness

class Local(threading.local):
    total = 0
    def __init__(self):
        self.n = 0

@simharness.scenario
def scenario(world):
    Local.total = 0
    local, seen = Local(), []
    world.actor("reads", lambda: seen.append(local.total))
    def put():
        Local.total = 1
    world.actor("writes", put)
    @world.at_end
    def nothing_was_there():
        assert seen == [0]
"""


def test_an_attribute_of_the_class_that_is_read_through_a_thread_local_is_shared(tmp_path):
    result = simharness.explore(written(tmp_path, CLASS_WIDE))
    assert result.verdict is Verdict.VIOLATED
    assert "read Local.total" in result.counterexample.timeline


class MadeBefore(threading.local):
    def __init__(self, start, *, name):
        self.n, self.name = start, name


class Shy:
    def __init__(self):
        vars(Shy)["n_of"].__set__(self, 0)

    __slots__ = ("__weakref__", "n_of", "rest")

    @property
    def __dict__(self):
        raise AssertionError("the harness asks for the attributes")


_made_before = MadeBefore(3, name="y")
OWN = Settings(instrument=(__name__,))


def test_a_thread_local_of_a_class_from_before_the_simulation_is_private_and_made_with_its_arguments():
    def program(world):
        def work():
            _made_before.n += 1
            assert (_made_before.n, _made_before.name) == (4, "y")

        world.actor("a", work)
        world.actor("b", work)

    result = simharness.explore(program, settings=OWN)
    assert (result.verdict, result.executions) == (Verdict.VERIFIED, 1), result.counterexample or result.bounds


def test_an_object_is_not_asked_for_its_attributes():
    def program(world):
        shy = Shy()

        def bump():
            shy.n_of = shy.n_of + 1

        world.actor("a", bump)
        world.actor("b", bump)

        @world.at_end
        def both_counted():
            assert shy.n_of == 2

    found = simharness.explore(program, settings=OWN).counterexample
    assert found.failure.startswith("both_counted") or "both_counted" in found.timeline
    assert "read Shy.n_of: 0" in found.timeline
